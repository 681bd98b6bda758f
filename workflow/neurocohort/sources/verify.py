"""Checks of a downloaded file: leading bytes, length, published checksum, or the sha256 of its first download.

If no checksum is published, the first download is searched for signs that it is cut short, and recorded; every later download
must equal it.
"""

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from neurocohort.sources.archives import StrictTarInfo
from neurocohort.sources.checksums import RECORD, read_checksums, record_checksum
from neurocohort.sources.whole_tables import TABLES, why_table_is_cut

WEB_PAGE = "the server sent a web page (HTML) instead of the file: a login, a notice, or an address that moved."
HEAD_BYTES = 4096
_BLOCK_BYTES = 1 << 22


def _is_tar(head: bytes) -> bool:
    with suppress(tarfile.TarError):
        return bool(tarfile.TarInfo.frombuf(head[:512], "utf-8", "surrogateescape"))
    return False


def _is_text_table(head: bytes) -> bool:
    return b"\0" not in head and any(mark in head for mark in (b",", b";", b"\t"))


MAGIC: dict[str, tuple[str, Callable[[bytes], bool]]] = {
    "tar": ("a tar archive", _is_tar),
    "gzip": ("a gzip file", lambda head: head.startswith(b"\x1f\x8b\x08")),
    "xls": ("an Excel 97 workbook", lambda head: head.startswith(bytes.fromhex("d0cf11e0a1b11ae1"))),
    "xlsx": ("an Excel workbook (.xlsx)", lambda head: head.startswith(b"PK\x03\x04")),
    "csv": ("a text table", _is_text_table),
}


@dataclass(frozen=True)
class Expected:
    """What is known of a file before its download. ``magic``: its kind, a key of MAGIC; None for anything. ``git_blob``: git's
    name of its content, a SHA-1."""

    destination: Path
    magic: str | None
    size_bytes: int | None = None
    md5: str | None = None
    sha256: str | None = None
    git_blob: str | None = None

    def why_wrong_head(self, path: Path) -> str | None:
        """A sentence on what is wrong with the first bytes of ``path``, or None."""
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
        if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower().startswith((b"<!doctype html", b"<html", b"<head")):
            return WEB_PAGE
        if self.magic is not None and not MAGIC[self.magic][1](head):
            return f"the content is not {MAGIC[self.magic][0]}; it begins with {head[:16]!r}."
        return None

    def why_wrong(self, path: Path, against_record: bool = True) -> str | None:
        """A sentence on what is wrong with the file at ``path``, or None if it passes every check."""
        if problem := self.why_wrong_head(path):
            return problem
        size = path.stat().st_size
        if self.size_bytes not in (None, size):
            return f"the file has {size} bytes, and {self.size_bytes} are expected."
        for kind, published in (("md5", self.md5), ("sha256", self.sha256), ("git_blob", self.git_blob)):
            if published is not None:
                found = _git_blob(path) if kind == "git_blob" else _checksums(path)[kind]
                wanted = published.lower()
                return None if found == wanted else f"the {kind} is {found}, and {wanted} is expected."
        record = self.destination.with_name(RECORD)
        recorded = read_checksums(record).get(self.destination.name) if against_record else None
        if recorded is None:
            return _why_cut_short(path, self.magic)
        if (sha256 := _checksums(path)["sha256"]) != recorded[1]:
            return (
                f"the sha256 is {sha256}, and its first download had {recorded[1]} (noted in {record}). If the new file is the "
                "right one, delete that line and run again."
            )
        return None

    def record(self, path: Path) -> None:
        """Record length and sha256 of the file at ``path`` as those of the destination."""
        record_checksum(self.destination, path.stat().st_size, _checksums(path)["sha256"])


_known_sums: dict[tuple, dict[str, str]] = {}


def _checksums(path: Path) -> dict[str, str]:
    """md5 and sha256 in one pass; cached, because a check is followed by a record of the same file."""
    status = path.stat()
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    if key not in _known_sums:
        sums = {"md5": hashlib.md5(usedforsecurity=False), "sha256": hashlib.sha256()}
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK_BYTES):
                for one in sums.values():
                    one.update(block)
        _known_sums[key] = {name: one.hexdigest() for name, one in sums.items()}
    return _known_sums[key]


def _git_blob(path: Path) -> str:
    """The name that git gives to the content of a file: the SHA-1 of the word blob, its length, a zero byte and the content."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _why_cut_short(path: Path, magic: str | None) -> str | None:
    """Read a file without a known checksum to its end, so that a cut archive is found."""
    try:
        if magic == "tar":
            with tarfile.open(path, "r:", tarinfo=StrictTarInfo) as archive:
                for _ in archive:
                    pass
        elif magic == "gzip":
            with gzip.open(path) as stream:
                while stream.read(_BLOCK_BYTES):
                    pass
        elif magic in TABLES:
            return why_table_is_cut(path, magic)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        return f"the archive is cut short or damaged ({error})."
    return None
