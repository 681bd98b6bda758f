"""What must come out of a bad table, tree or archive: an error, excluded rows, notes and values, and how that is compared."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from neurocohort.errors import InputError

Words = str | tuple[str, ...]


class Must(NamedTuple):
    """``error``: words of the sentence that stops the ingest. ``excluded`` and ``noted``: words of exclusions and notes.
    ``values``: by column of scans.tsv, the texts of its rows in their order. Nothing is excluded or stops where no words say so.
    """

    error: Words = ""
    excluded: Words = ""
    noted: Words = ""
    values: dict[str, list[str]] | None = None


def what_is_wrong(ingest: Callable[[Path], object], folder: Path, must: Must) -> str:
    """What ``ingest`` (which writes to ``folder``) does otherwise than it must; empty where all is right."""
    try:
        ingest(folder)
    except InputError as error:
        return _lacking("error", must.error or "(no error)", [str(error)])
    except Exception as error:  # a traceback is what a user must never see
        return f"{type(error).__name__}: {error}"
    if must.error:
        return f"no error; expected {must.error!r}"
    scans, exclusions, notes = (_rows(folder / f"{name}.tsv") for name in ("scans", "exclusions", "notes"))
    reasons = [f"{row['scan_id']} {row['reason']}" for row in exclusions]
    wrong = [
        _lacking("exclusions", must.excluded, reasons),
        _lacking("notes", must.noted, [row["note"] for row in notes]),
    ]
    if reasons and not must.excluded:
        wrong.append(f"excluded {reasons}")
    for column, expected in (must.values or {}).items():
        found = [row.get(column) for row in scans]
        if found != expected:
            wrong.append(f"{column} is {found}; expected {expected}")
    return "; ".join(filter(None, wrong))


def _lacking(what: str, words: Words, found: list[str]) -> str:
    absent = [word for word in ((words,) if isinstance(words, str) else words) if word not in " | ".join(found)]
    return f"{what} {found}; expected {absent}" if absent else ""


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as stream:
        return [*csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)]
