"""Writing files aside and renaming them: a file under its final name is whole, and a second writer does no harm.

pandas is imported where a table is read: every Snakemake process imports this module.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from neurocohort.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def aside_of(path: Path) -> Path:
    """A name beside ``path`` with the same suffixes, under which it is made before it is renamed. It holds the machine and the
    process id, so that two writers of the same output do not meet."""
    return path.with_name(f".{socket.gethostname()}.{os.getpid()}.{path.name}")


@contextmanager
def written_aside(path: Path | str) -> Iterator[Path]:
    """Yield the name ``aside_of(path)``; rename the file made there to ``path`` when the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_of(path)
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def remove_asides(folder: Path | str, name: str) -> None:
    """Delete what writers of ``name`` (which may have ``*``) in ``folder`` left when they were killed. Only for files that nobody
    writes now."""
    for aside in Path(folder).glob(f".*.{name}"):
        aside.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: object) -> None:
    """Write ``value`` as JSON in the order given; NaN is refused, missing is ``null``."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def keep_private(path: Path, original: Path) -> None:
    """Take from ``path`` the permissions of group and others that ``original``, which it was made from, doesn't give."""
    allowed = stat.S_IMODE(path.stat().st_mode) & (stat.S_IMODE(original.stat().st_mode) | stat.S_IRWXU)
    if allowed != stat.S_IMODE(path.stat().st_mode):
        path.chmod(allowed)


@contextmanager
def private_as(originals: Iterable[Path]) -> Iterator[None]:
    """Files written inside have no permission for group and others that one of ``originals`` doesn't give."""
    withheld = 0
    for original in originals:
        withheld |= ~stat.S_IMODE(original.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO) & 0o066
    before = os.umask(0o077)  # there is no other way to read it
    os.umask(before | withheld)
    try:
        yield
    finally:
        os.umask(before)


def read_json(path: Path | str) -> dict:
    """Read a JSON object. Raises InputError where the file is absent or isn't JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} is not there; run the workflow again to have it made.") from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} can't be read as JSON: {error}. Delete it and run again to have it made anew."
        ) from error


def write_table(path: Path | str, table: pd.DataFrame) -> None:
    """Write a BIDS-style TSV: tab-separated, ``n/a`` for missing, floats with the shortest exact text."""
    with written_aside(path) as aside:
        table.to_csv(aside, sep="\t", index=False, na_rep="n/a", lineterminator="\n")


def read_table(path: Path | str, required: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read a BIDS-style TSV. Columns named ``*_id`` are text; only ``n/a`` and empty fields are missing.

    Raises InputError where the file can't be read or a required column is absent.
    """
    import pandas as pd

    try:
        header = pd.read_csv(path, sep="\t", nrows=0).columns
        text_columns = {name: str for name in header if name.endswith("_id")}
        table = pd.read_csv(path, sep="\t", dtype=text_columns, na_values=["n/a", ""], keep_default_na=False)
    except FileNotFoundError as error:
        raise InputError(f"{path} is not there; run the workflow again to have it made.") from error
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
