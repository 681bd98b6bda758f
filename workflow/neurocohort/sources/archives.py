"""Reading tar archives member by member as they stream by, and refusing those that are broken or reach outside.

Nothing is ever unpacked under a name that the archive chooses: callers get bytes and write them where they decide.
"""

import gzip
import hashlib
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from neurocohort.errors import InputError
from neurocohort.nifti_files import LARGEST_FILE_BYTES, LARGEST_GZIP_RATIO
from neurocohort.user_files import UnusableFile, open_regular, printable

HEADER_TYPES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
HEADER_TYPES += (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
LONGEST_HEADER_BYTES = 1 << 20
MOST_MEMBERS = 200_000  # a disc of OASIS-1 has some 2,000, and IXI 600
LARGEST_SKIPPED_BYTES = 64 << 30  # of a member in a compressed archive, which must be unpacked to be passed over
LARGEST_PADDING_BYTES = 64 << 20  # behind an archive's end
OTHER_FORMATS = {
    b"PK\x03\x04": "a zip archive",
    b"PK\x05\x06": "a zip archive",  # an empty one
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a rar archive",
    b"\xfd7zXZ": "compressed with xz",
    b"BZh": "compressed with bzip2",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"\x1f\x9d": "compressed with compress",
    b"<": "a page of HTML or XML, as servers send in the place of a file",
}
FIRST_BYTES = 8


class Oversized(NamedTuple):
    """In the place of a member's content: it has so many ``bytes``, which no image of a head has."""

    bytes: int

    def __str__(self) -> str:
        return f"The archive's member has {self.bytes} bytes, and a head's image has at most {LARGEST_FILE_BYTES}."


class StrictTarInfo(tarfile.TarInfo):
    """Makes every end of an archive but the proper one an error; tarfile takes a cut at a header for the end.

    Long names and other additions to a header, which tarfile reads whole, are limited.
    """

    @classmethod
    def fromtarfile(cls, archive):
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"no proper end of the archive: {error or 'it stops'}") from None
        except ValueError as error:  # of a sparse member's numbers
            raise tarfile.ReadError(f"a member's header has no number where one is expected: {error}") from None

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        member = super().frombuf(buf, encoding, errors)
        if member.type in HEADER_TYPES and member.size > LONGEST_HEADER_BYTES:
            raise tarfile.ReadError(f"a member's header of {member.size} bytes")
        return member


class _Read:
    """A file of which every byte that is read is hashed."""

    def __init__(self, stream: BinaryIO):
        self.stream, self.bytes, self.digest = stream, 0, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self.stream.read(size)
        self.bytes += len(block)
        self.digest.update(block)
        return block


def stream_members(
    archive: Path | str, wanted: Callable[[str], bool], sums: dict[Path, tuple[int, str]] | None = None
) -> Iterator[tuple[str, bytes | Oversized | None]]:
    """Yield (name, content) of the regular files of a .tar or .tar.gz in the archive's order.

    The content is None where ``wanted(name)`` is false, and an Oversized where it is larger than any image. ``sums`` gets the
    length and the sha256 of the archive as it was read. Raises InputError where the archive is missing, damaged or cut short
    (also after its last whole member), where it unpacks without end, and where a member is a link, a device, or has an absolute
    path or ``..`` in its name.
    """
    archive = Path(archive)
    try:
        raw = open_regular(archive)
    except UnusableFile as fault:
        raise InputError(
            f"The archive {archive} {fault}: let the download rule bring it, or correct its path."
        ) from None
    try:
        with raw:
            first = raw.read(FIRST_BYTES)
            _refuse_other_format(archive, first)
            compressed = first.startswith(b"\x1f\x8b")
            raw.seek(0)
            hashed = _Read(raw)
            longest = os.fstat(raw.fileno()).st_size * (LARGEST_GZIP_RATIO if compressed else 1)
            # gzip's own reader, and not tarfile's: only the former checks the CRC.
            stream = gzip.GzipFile(fileobj=hashed) if compressed else hashed
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=StrictTarInfo) as members:
                for number, member in enumerate(members):
                    _refuse_unsafe(archive, member)
                    if members.offset > longest:  # tarfile would go on reading at the file's end for as many bytes
                        raise tarfile.ReadError(f"{printable(member.name)} is said to end at byte {members.offset}")
                    if number >= MOST_MEMBERS or (compressed and member.size > LARGEST_SKIPPED_BYTES):
                        raise tarfile.ReadError(f"it unpacks to more than a cohort, at {printable(member.name)}")
                    if member.isfile():
                        name = str(PurePosixPath(member.name))
                        yield name, (_content(members, member) if wanted(name) else None)
            behind = 0
            while block := stream.read(1 << 20):  # the CRC stands behind the last block
                behind += len(block)
                if block.count(0) < len(block):
                    raise tarfile.ReadError("it goes on behind its end, as two archives do that were joined")
                if compressed and behind > LARGEST_PADDING_BYTES:
                    raise tarfile.ReadError("it goes on behind its end")
            while hashed.read(1 << 22):
                pass
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"The archive {archive} is cut short or damaged ({error}): delete it and download it again."
        ) from error
    if sums is not None:
        sums[archive] = hashed.bytes, hashed.digest.hexdigest()


def _refuse_other_format(archive: Path, first: bytes) -> None:
    for magic, what in OTHER_FORMATS.items():
        if first.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(magic):
            raise InputError(
                f"The archive {archive} is {what}, and a .tar or .tar.gz is expected: delete it and download it again, or pack "
                "its files so."
            )


def _content(members: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | Oversized:
    if member.size > LARGEST_FILE_BYTES:  # a sparse member claims bytes that the archive hasn't
        return Oversized(member.size)
    content = members.extractfile(member).read()
    if len(content) != member.size:
        raise tarfile.ReadError(f"{member.name} has {len(content)} of {member.size} bytes")
    return content


def _refuse_unsafe(archive: Path, member: tarfile.TarInfo) -> None:
    if member.isfile() or member.isdir():
        path = PurePosixPath(member.name)
        if not path.is_absolute() and ".." not in path.parts:
            return
        problem = "reaches outside the folder"
    else:
        problem = "is a link" if member.issym() or member.islnk() else "is a device or another special file"
    raise InputError(
        f"The archive {archive} holds {member.name!r}, which {problem}; no archive of a cohort has that, and this "
        "member was not written. Check where the archive comes from, and download it again."
    )
