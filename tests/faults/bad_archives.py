"""Bad archives of IXI, each by name: how it is made of good images, and what must come out of the ingest."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable

from bad_files import good, zipped
from outcomes import Must

IMAGE = zipped(good(shape=(6, 7, 8)))
PEOPLE = (12, 13, 14)
GOOD = {f"IXI{number:03d}-HH-{1200 + number}-T1.nii.gz": IMAGE for number in PEOPLE}
FIRST, SECOND, _ = GOOD
ALL = {"participant_id": [f"sub-IXI{number:03d}" for number in PEOPLE]}
WITHOUT_FIRST = {"participant_id": ["sub-IXI013", "sub-IXI014"]}
EXTRA = "IXI014-HH-1299-T1.nii.gz"
DAMAGED = "is cut short or damaged"
OUTSIDE = "which reaches outside the folder"


def member(
    name: str, content: bytes = IMAGE, kind: bytes = tarfile.REGTYPE, link: str = "", form: int = tarfile.GNU_FORMAT
) -> bytes:
    """A member as it lies in an archive, its header and its content."""
    header = tarfile.TarInfo(name)
    header.type, header.linkname, header.size = kind, link, len(content)
    return header.tobuf(form, errors="surrogateescape") + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def tar(*members: bytes) -> bytes:
    """An archive of members, with its proper end."""
    return b"".join(members) + bytes(tarfile.RECORDSIZE)


def usual(*more: bytes) -> bytes:
    """The good images and more members behind them."""
    return tar(*(member(name) for name in GOOD), *more)


def special(kind: bytes, link: str = "") -> bytes:
    return usual(member("IXI015-HH-1215-T1.nii.gz", b"", kind, link))


def with_first(content: bytes) -> bytes:
    """Another content in the place of the first image."""
    return tar(*(member(name, content if name == FIRST else image) for name, image in GOOD.items()))


def resized(size: int) -> bytes:
    """The first member's header claims another size than its content has."""
    archive = bytearray(usual())
    archive[124:136] = b"%011o\0" % size
    archive[148:156] = b"%06o\0 " % (sum(archive[:512]) - sum(archive[148:156]) + 8 * 32)
    return bytes(archive)


def wrong_sum() -> bytes:
    archive = bytearray(usual())
    archive[148:156] = b"000001\0 "
    return bytes(archive)


def extended(**fields: str) -> bytes:
    """A member of the pax form, whose name, size or links stand in a header of their own."""
    header = tarfile.TarInfo(EXTRA)
    header.size, header.pax_headers = len(IMAGE), fields
    return usual(header.tobuf(tarfile.PAX_FORMAT) + IMAGE + bytes(-len(IMAGE) % 512))


def packed(form: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as parts:
        for name, image in GOOD.items():
            parts.writestr(name, image)
    zip_archive = bytearray(content.getvalue())
    if form == "password":
        zip_archive[6] |= 1
    return bytes(zip_archive)


def changed_middle() -> bytes:
    content = bytearray(gzip.compress(usual(), mtime=0))
    content[len(content) // 2] ^= 0xFF
    return bytes(content)


ARCHIVES: dict[str, tuple[Callable[[], bytes], Must]] = {
    # names
    "a path that goes up": (lambda: usual(member("../../IXI015-HH-1215-T1.nii.gz")), Must(OUTSIDE)),
    "a path that goes up in its middle": (lambda: usual(member("a/../../IXI015-HH-1215-T1.nii.gz")), Must(OUTSIDE)),
    "an absolute path": (lambda: usual(member("/tmp/IXI015-HH-1215-T1.nii.gz")), Must(OUTSIDE)),
    "a path that goes up in a pax header": (lambda: extended(path="../" + EXTRA), Must(OUTSIDE)),
    "a name twice": (lambda: usual(member(SECOND)), Must(noted="is a second T1 image after", values=ALL)),
    "two images of one number": (lambda: usual(member(EXTRA)), Must(noted="is a second T1 image after", values=ALL)),
    "a name in other capitals": (
        lambda: usual(member(FIRST.lower())),
        Must(noted="are not T1 images by name", values=ALL),
    ),
    "a name that isn't UTF-8": (lambda: usual(member("IXI015-\udcff-T1.nii.gz")), Must(noted="\\udcff", values=ALL)),
    "a name with a line break": (
        lambda: usual(member("IXI015\n-HH-1215-T1.nii.gz")),
        Must(noted="are ignored", values=ALL),
    ),
    "a name of 5000 characters": (
        lambda: usual(member("x" * 5000)),
        Must(noted="are not T1 images by name", values=ALL),
    ),
    "folders before the names": (
        lambda: tar(member("./IXI/", b"", tarfile.DIRTYPE), *(member(f"./IXI/{name}") for name in GOOD)),
        Must(values=ALL),
    ),
    "a folder named as an image": (
        lambda: usual(member("IXI015-HH-1215-T1.nii.gz", b"", tarfile.DIRTYPE)),
        Must(values=ALL),
    ),
    # kinds of members
    "a symbolic link": (lambda: special(tarfile.SYMTYPE, "/etc/passwd"), Must("which is a link")),
    "a hard link": (lambda: special(tarfile.LNKTYPE, FIRST), Must("which is a link")),
    "a character device": (lambda: special(tarfile.CHRTYPE), Must("which is a device or another special file")),
    "a block device": (lambda: special(tarfile.BLKTYPE), Must("which is a device or another special file")),
    "a named pipe": (lambda: special(tarfile.FIFOTYPE), Must("which is a device or another special file")),
    "a member of an unknown kind": (lambda: special(b"Z"), Must("which is a device or another special file")),
    # sizes
    "a size below the content's": (lambda: resized(100), Must(DAMAGED)),
    "a size that takes in the next member": (
        lambda: resized(2 * len(member(FIRST)) - 512),
        Must(excluded="sub-IXI012_ses-1", noted="have no T1 image in the archives: IXI013"),
    ),
    "a size beyond the archive": (lambda: resized(1 << 30), Must(DAMAGED)),
    "a negative size": (lambda: extended(size="-1024"), Must(DAMAGED)),
    "a size of letters": (lambda: extended(size="abc"), Must(DAMAGED)),
    "a wrong sum of a header": (wrong_sum, Must(DAMAGED)),
    # images
    "an empty image": (lambda: with_first(b""), Must(excluded="sub-IXI012_ses-1", values=WITHOUT_FIRST)),
    "a cut image": (lambda: with_first(IMAGE[:200]), Must(excluded="not a whole gzip file", values=WITHOUT_FIRST)),
    "an archive in an archive": (
        lambda: with_first(zipped(usual())),
        Must(excluded="sub-IXI012_ses-1", values=WITHOUT_FIRST),
    ),
    "an archive and nothing else": (lambda: tar(member("IXI-T1.tar", usual())), Must("No member of")),
    # the whole
    "cut in an image": (lambda: usual()[: len(member(FIRST)) + 700], Must(DAMAGED)),
    "cut between two images": (lambda: usual()[: len(member(FIRST))], Must(DAMAGED)),
    "compressed and cut": (lambda: gzip.compress(usual(), mtime=0)[:-9], Must(DAMAGED)),
    "compressed and changed": (changed_middle, Must(DAMAGED)),
    "compressed under the name .tar": (lambda: gzip.compress(usual(), mtime=0), Must(values=ALL)),
    "two archives joined": (
        lambda: usual() + tar(member("IXI015-HH-1215-T1.nii.gz")),
        Must("like two joined archives"),
    ),
    "no byte": (lambda: b"", Must(DAMAGED)),
    "no member": (lambda: tar(), Must("No member of")),
    "no member, compressed": (lambda: gzip.compress(tar(), mtime=0), Must("No member of")),
    "other images": (lambda: usual().replace(b"-T1.nii", b"-T9.nii"), Must(DAMAGED)),
    "a zip": (lambda: packed("zip"), Must("is a zip archive, and a .tar or .tar.gz is expected")),
    "a zip with a password": (lambda: packed("password"), Must("is a zip archive")),
    "an empty zip": (lambda: b"PK\x05\x06" + bytes(18), Must("is a zip archive")),
    "7z": (lambda: b"7z\xbc\xaf'\x1c" + bytes(3000), Must("is a 7z archive")),
    "rar": (lambda: b"Rar!\x1a\x07\x00" + bytes(3000), Must("is a rar archive")),
    "xz": (lambda: lzma.compress(usual()), Must("is compressed with xz")),
    "bzip2": (lambda: bz2.compress(usual()), Must("is compressed with bzip2")),
    "a page of HTML": (lambda: b"\n<!DOCTYPE html><title>Log in", Must("is a page of HTML or XML")),
    "an image in the place of the archive": (lambda: IMAGE, Must(DAMAGED)),
    "a text": (lambda: b"404: not found\n" * 100, Must(DAMAGED)),
}
