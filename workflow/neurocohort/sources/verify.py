"""Whether a file is the one that was wanted: leading bytes, length, published md5, or the sha256 of its first download.

What is published decides. Where nothing is, the first download is looked through for signs that it is cut short,
trusted, and written down; every later download must equal it.
"""

import fcntl
import gzip
import hashlib
import os
import tarfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from neurocohort import files
from neurocohort.sources.archives import StrictTarInfo
from neurocohort.sources.whole_tables import TABLES, why_table_is_cut

WEB_PAGE = "the server sent a web page (HTML) in the file's place: a login, a notice, or an address that moved."
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
    """What is known of a file before it comes. ``name`` in the record is the destination's path beside the record."""

    destination: Path
    size_bytes: int | None
    md5: str | None
    magic: str | None
    checksums_record: Path
    sha256: str | None = None

    def why_wrong_head(self, path: Path) -> str | None:
        """A sentence on the first bytes of ``path``, or None where they are as expected."""
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
        if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower().startswith((b"<!doctype html", b"<html", b"<head")):
            return WEB_PAGE
        if self.magic is not None and not MAGIC[self.magic][1](head):
            return f"the content is not {MAGIC[self.magic][0]}; it begins with {head[:16]!r}."
        return None

    def why_wrong(self, path: Path, against_record: bool = True) -> str | None:
        """A sentence on what is wrong with the file at ``path``, or None where it passes every check."""
        if problem := self.why_wrong_head(path):
            return problem
        size = path.stat().st_size
        if self.size_bytes not in (None, size):
            return f"the file has {size} bytes, and {self.size_bytes} are expected."
        if self.md5 is not None:
            md5 = _checksums(path)["md5"]
            return None if md5 == self.md5.lower() else f"the md5 is {md5}, and {self.md5.lower()} is expected."
        if self.sha256 is not None:
            sha256 = _checksums(path)["sha256"]
            return None if sha256 == self.sha256 else f"the sha256 is {sha256}, and {self.sha256} is expected."
        recorded = self._recorded() if against_record else None
        if recorded is None:
            return _why_cut_short(path, self.magic)
        if (sha256 := _checksums(path)["sha256"]) != recorded:
            return (
                f"the sha256 is {sha256}, and its first download had {recorded} (noted in "
                f"{self.checksums_record}). If the new file is the right one, delete that line and run again."
            )
        return None

    def record(self, path: Path) -> None:
        """Write the file's length and sha256 into the record, replacing what stood there for it."""
        self.checksums_record.parent.mkdir(parents=True, exist_ok=True)
        row = {"file": self._name, "bytes": path.stat().st_size, "sha256": _checksums(path)["sha256"]}
        # Several archives of a cohort may finish at once, and each rewrites the whole record.
        with self.checksums_record.with_name(f".{self.checksums_record.name}.lock").open("w") as lock:
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
            rows = [other for other in self._rows() if other["file"] != self._name]
            rows = sorted([*rows, row], key=lambda other: other["file"])
            table = pd.DataFrame(rows, columns=["file", "bytes", "sha256"])
            files.write_table(self.checksums_record, table)

    @property
    def _name(self) -> str:
        beside = os.path.relpath(self.destination.absolute(), self.checksums_record.parent.absolute())
        return Path(beside).as_posix()

    def _rows(self) -> list[dict]:
        if not self.checksums_record.exists():
            return []
        return files.read_table(self.checksums_record, ("file", "bytes", "sha256")).to_dict("records")

    def _recorded(self) -> str | None:
        return next((row["sha256"] for row in self._rows() if row["file"] == self._name), None)


_known_sums: dict[tuple, dict[str, str]] = {}


def _checksums(path: Path) -> dict[str, str]:
    """md5 and sha256 in one pass; kept per file version, because a check is followed by a record of the same file."""
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


def _why_cut_short(path: Path, magic: str | None) -> str | None:
    """Look a file of unknown checksum through to its end, so that a cut archive is never trusted."""
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
