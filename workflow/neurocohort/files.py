"""Reading and writing files. A file is written under a temporary name and renamed: under its final name it is complete.

Every Snakemake process imports this module, so that pandas is only imported when a table is read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurocohort.errors import READING_TOO, STORAGE_REASONS, InputError, StorageFailed, storage_reason

if TYPE_CHECKING:
    import pandas as pd


LEAST_FREE_BYTES = 1 << 20  # less is a full disk, whatever the library's error
FORGOTTEN_S = 3600.0  # a temporary file of another machine that is older has no writer any more
ASIDE = re.compile(r"\.(?P<host>.+?)\.(?P<pid>\d+)\.(?P<name>.+)")


def aside_of(path: Path) -> Path:
    """The temporary name of a file: same folder and suffixes, with the machine and the process id to keep writers apart."""
    return path.with_name(f".{socket.gethostname()}.{os.getpid()}.{path.name}")


@contextmanager
def written_aside(path: Path | str) -> Iterator[Path]:
    """Yield a temporary name, and rename the file made there to ``path`` if the block succeeds.

    Temporary files of killed writers in the folder are deleted first. Raises StorageFailed if the disk can't be written.
    """
    path = Path(path)
    aside = aside_of(path)
    try:
        with _disk_named(path, aside):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_forgotten(path)
            yield aside
            os.replace(aside, path)
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


@contextmanager
def folder_written_aside(path: Path | str) -> Iterator[Path]:
    """Like `written_aside`, for a folder: the folder made at the yielded name replaces ``path`` if the block succeeds."""
    path = Path(path)
    aside = aside_of(path)
    try:
        with _disk_named(path, aside):
            _remove_forgotten(path)
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            yield aside
            shutil.rmtree(path, ignore_errors=True)
            os.replace(aside, path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _disk_named(path: Path, aside: Path) -> Iterator[None]:
    """Turn an error of the disk in writing ``aside`` into StorageFailed for ``path``; errors of other files pass."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno in READING_TOO and error.filename:
            named = Path(os.fsdecode(error.filename))
            if named != aside and aside not in named.parents and named not in path.parents:
                raise
        reason = storage_reason(error)
        if not reason and isinstance(error, OSError | RuntimeError) and _is_full(path.parent):
            reason = STORAGE_REASONS[errno.ENOSPC]
        if not reason:
            raise
        raise StorageFailed(path, reason) from error


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < LEAST_FREE_BYTES
    except OSError:
        return False


def _remove_forgotten(path: Path) -> None:
    """Delete temporary files of killed writers: this machine's in the whole folder (once), another machine's of ``path``."""
    folder = path.parent
    first = folder not in _CLEARED
    _CLEARED.add(folder)
    try:
        found = [(entry.name, ASIDE.fullmatch(entry.name)) for entry in os.scandir(folder)] if first else []
    except OSError:  # absent or unreadable: the writing itself raises
        return
    for name, parts in found:
        if not parts:
            continue
        aside = folder / name
        if parts["host"] == socket.gethostname():
            forgotten = not _is_alive(int(parts["pid"]))
        else:
            forgotten = parts["name"] == path.name and _age_s(aside) > FORGOTTEN_S
        if forgotten:
            _delete(aside)


_CLEARED: set[Path] = set()  # folders that this process has searched


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:
        return 0.0


def _delete(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def remove_asides(folder: Path | str, name: str) -> None:
    """Delete temporary files of ``name`` (which may have ``*``) in ``folder``. Nobody may be writing them."""
    for aside in Path(folder).glob(f".*.{name}"):
        _delete(aside)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text; a failure leaves the old file."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: object) -> None:
    """Write ``value`` as JSON. NaN is an error; a missing value is ``null``."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def keep_private(path: Path, original: Path) -> None:
    """Remove from ``path`` the permissions of group and others that its ``original`` lacks."""
    allowed = stat.S_IMODE(path.stat().st_mode) & (stat.S_IMODE(original.stat().st_mode) | stat.S_IRWXU)
    if allowed != stat.S_IMODE(path.stat().st_mode):
        path.chmod(allowed)


@contextmanager
def private_as(originals: Iterable[Path]) -> Iterator[None]:
    """Files written in this block get no permission of group and others that one of ``originals`` lacks."""
    withheld = 0
    for original in originals:
        withheld |= ~stat.S_IMODE(original.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO) & 0o066
    before = os.umask(0o077)  # the only way to read it
    os.umask(before | withheld)
    try:
        yield
    finally:
        os.umask(before)


def read_json(path: Path | str) -> Any:
    """Read a JSON file. Raises InputError if it is absent or isn't JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} is not there; run the workflow again to make it.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read as JSON: {error}. Delete it and run again to rebuild it.") from error


def write_table(path: Path | str, table: pd.DataFrame) -> None:
    """Write a BIDS-style TSV: tab-separated, ``n/a`` for missing, floats with the shortest exact text."""
    with written_aside(path) as aside:
        table.to_csv(aside, sep="\t", index=False, na_rep="n/a", lineterminator="\n")


def read_table(path: Path | str, required: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read a BIDS-style TSV. Columns named ``*_id`` are text; only ``n/a`` and empty fields are missing.

    Raises InputError if the file can't be read or a required column is absent.
    """
    import pandas as pd

    try:
        header = pd.read_csv(path, sep="\t", nrows=0).columns
        text_columns = {name: str for name in header if name.endswith("_id")}
        table = pd.read_csv(path, sep="\t", dtype=text_columns, na_values=["n/a", ""], keep_default_na=False)
    except FileNotFoundError as error:
        raise InputError(f"{path} is not there; run the workflow again to make it.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read as a tab-separated table: {error}") from error
    missing = [name for name in required if name not in table.columns]
    if missing:
        raise InputError(
            f"{path} lacks the column(s) {', '.join(missing)}; it has {', '.join(map(str, table.columns))}."
        )
    return table


def sha256_of(path: Path | str) -> str:
    """The sha256 of a file's content, as hexadecimal text."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
