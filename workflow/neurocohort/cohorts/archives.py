"""Reading tar archives member by member as they stream by, and refusing those that are broken or reach outside.

Nothing is ever unpacked under a name that the archive chooses: callers get bytes and write them where they decide.
"""

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from neurocohort.errors import InputError


class StrictTarInfo(tarfile.TarInfo):
    """Makes every end of an archive but the proper one an error; tarfile takes a cut at a header for the end."""

    @classmethod
    def fromtarfile(cls, archive):
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"no proper end of the archive: {error or 'it stops'}") from None


def stream_members(archive: Path | str, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes | None]]:
    """Yield (name, content) of the regular files of a .tar or .tar.gz in the archive's order.

    The content is None where ``wanted(name)`` is false. Raises InputError where the archive is missing, damaged or
    cut short (also after its last whole member), and where a member is a link, a device, or has an absolute path or
    ``..`` in its name.
    """
    archive = Path(archive)
    if not archive.is_file():
        raise InputError(f"The archive {archive} does not exist: let the download rule bring it, or correct its path.")
    try:
        with archive.open("rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            # gzip's own reader, and not tarfile's: only the former checks the CRC.
            stream = gzip.GzipFile(fileobj=raw) if compressed else raw
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=StrictTarInfo) as members:
                for member in members:
                    _refuse_unsafe(archive, member)
                    if member.isfile():
                        name = str(PurePosixPath(member.name))
                        yield name, (_content(members, member) if wanted(name) else None)
            while stream.read(1 << 22):  # the CRC stands behind the last block
                pass
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"The archive {archive} is cut short or damaged ({error}): delete it and download it again."
        ) from error


def _content(members: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
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
