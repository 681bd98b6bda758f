"""Reading tar archives member by member in one pass, and refusing broken and unsafe ones.

Nothing is unpacked under a name from the archive: callers get bytes and choose where to write them.
"""

import gzip
import hashlib
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from neurocohort.errors import InputError
from neurocohort.nifti_files import LARGEST_FILE_BYTES, LARGEST_GZIP_RATIO
from neurocohort.user_files import UnusableFile, open_regular, printable

HEADER_TYPES = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)  # pax headers, and GNU's long names and links
LONGEST_HEADER_BYTES = 1 << 20
MOST_MEMBERS = 200_000  # a disc of OASIS-1 has some 2,000, and IXI 600
LARGEST_SKIPPED_BYTES = 64 << 30  # of a member in a compressed archive, which must be unpacked to be skipped
LARGEST_PADDING_BYTES = 64 << 20  # after an archive's end
OTHER_FORMATS = {
    b"PK\x03\x04": "a zip archive",
    b"PK\x05\x06": "a zip archive",  # an empty one
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a rar archive",
    b"\xfd7zXZ": "compressed with xz",
    b"BZh": "compressed with bzip2",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"\x1f\x9d": "compressed with compress",
    b"<": "a page of HTML or XML, as servers send instead of a file",
}
FIRST_BYTES = 8


class Oversized(NamedTuple):
    """Replaces the content of a member that is larger than any image of a head. ``bytes``: its size."""

    bytes: int

    def __str__(self) -> str:
        return f"The archive's member has {self.bytes} bytes, and a head's image has at most {LARGEST_FILE_BYTES}."


class StrictTarInfo(tarfile.TarInfo):
    """Treats every end of an archive without its end mark as an error; tarfile accepts a cut before a header.

    It also limits long names and other extended headers, which tarfile reads whole.
    """

    @classmethod
    def fromtarfile(cls, archive):
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"no proper end of the archive: {error or 'it stops'}") from None
        except ValueError as error:  # from a sparse member's numbers
            raise tarfile.ReadError(f"a member's header has no number where one is expected: {error}") from None

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        member = super().frombuf(buf, encoding, errors)
        if member.type in HEADER_TYPES and member.size > LONGEST_HEADER_BYTES:
            raise tarfile.ReadError(f"a member's header of {member.size} bytes")
        return member


class _Read:
    """Counts and hashes every byte that is read from a file."""

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
    """Yield (name, content) of the regular files of a .tar or .tar.gz, in the archive's order.

    Args:
        archive: The archive.
        wanted: Whether to read the content of a member with this name; it is None if not.
        sums: Takes the length and sha256 of the archive.

    Raises:
        InputError: If the archive is absent, damaged or cut short (also after its last member), if it unpacks to more than a
            cohort, or if a member is a link, a device, or has an absolute path or ``..`` in its name.
    """
    archive = Path(archive)
    try:
        raw = open_regular(archive)
    except UnusableFile as fault:
        raise InputError(f"The archive {archive} {fault}: run the download again, or correct its path.") from None
    try:
        with raw:
            first = raw.read(FIRST_BYTES)
            _refuse_other_format(archive, first)
            compressed = first.startswith(b"\x1f\x8b")
            raw.seek(0)
            hashed = _Read(raw)
            longest = os.fstat(raw.fileno()).st_size * (LARGEST_GZIP_RATIO if compressed else 1)
            # gzip's own reader and not tarfile's: only gzip's checks the CRC.
            stream: Any = gzip.GzipFile(fileobj=hashed) if compressed else hashed  # type: ignore[call-overload]
            yield from _members(archive, stream, wanted, longest, compressed)
            _read_end(stream, compressed)
            while hashed.read(1 << 22):
                pass
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"The archive {archive} is cut short or damaged ({error}): delete it and download it again."
        ) from error
    if sums is not None:
        sums[archive] = hashed.bytes, hashed.digest.hexdigest()


def _members(
    archive: Path, stream: Any, wanted: Callable[[str], bool], longest: int, compressed: bool
) -> Iterator[tuple[str, bytes | Oversized | None]]:
    """The regular files of an archive that unpacks to at most ``longest`` bytes."""
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=StrictTarInfo) as members:
        for number, member in enumerate(members):
            _refuse_unsafe(archive, member)
            if members.offset > longest:  # tarfile would try to read as many bytes after the end of the file
                raise tarfile.ReadError(f"{printable(member.name)} ends at byte {members.offset} by its header")
            if number >= MOST_MEMBERS or (compressed and member.size > LARGEST_SKIPPED_BYTES):
                raise tarfile.ReadError(f"it unpacks to more than a cohort, at {printable(member.name)}")
            if member.isfile():
                name = str(PurePosixPath(member.name))
                yield name, (_content(members, member) if wanted(name) else None)


def _read_end(stream: Any, compressed: bool) -> None:
    """Read the padding after the last member, so that gzip checks the CRC, and refuse anything else there."""
    padding = 0
    while block := stream.read(1 << 20):
        padding += len(block)
        if block.count(0) < len(block):
            raise tarfile.ReadError("it continues after its end, like two joined archives")
        if compressed and padding > LARGEST_PADDING_BYTES:
            raise tarfile.ReadError("it continues after its end")


def _refuse_other_format(archive: Path, first: bytes) -> None:
    for magic, what in OTHER_FORMATS.items():
        if first.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(magic):
            raise InputError(
                f"The archive {archive} is {what}, and a .tar or .tar.gz is expected: delete it and download it again, or pack "
                "its files as one."
            )


def _content(members: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | Oversized:
    if member.size > LARGEST_FILE_BYTES:  # a sparse member can claim bytes that the archive doesn't have
        return Oversized(member.size)
    file = members.extractfile(member)
    content = file.read() if file else b""
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
        f"The archive {archive} holds {member.name!r}, which {problem}; no archive of a cohort needs that, and this "
        "member was not written. Check where the archive comes from, and download it again."
    )
