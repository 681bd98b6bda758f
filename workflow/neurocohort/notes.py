"""Notes: what a stage noticed about a cohort and a person should know, though it excludes nothing.

Every source's ingest keeps its notes with `Notes` and writes them with `write_notes`, and so does the quality rule with the notes
in the records of preprocessed scans; `neurocohort check`, the end of a run and the report show them. Imports are light, because
the configuration is checked with it at the start of every Snakemake process.
"""

import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field
from enum import StrEnum
from pathlib import Path

from neurocohort.user_files import harmless

NOTE_COLUMNS = ("stage", "kind", "participant_id", "scan_id", "note")
INGEST, PREPROCESSING = "ingest", "preprocessing"
SCREEN_LINES, SCREEN_COLUMNS = 20, 118


class Kind(StrEnum):
    """What a note is about; `grouped` shows one line a kind."""

    IMAGES = "images chosen or left out"
    SESSIONS = "participants and sessions"
    NAMES = "names changed to BIDS labels"
    AGES = "ages"
    VALUES = "values"
    TABLES = "tables"
    LABEL_MAPS = "label maps"
    ORIENTATION = "orientation"
    SCANS = "scans that are used as they are"
    OTHER = "other"


@dataclass(frozen=True)
class Note:
    """One sentence, of one scan or participant, or of the whole cohort where both are None."""

    stage: str
    kind: str
    participant_id: str | None
    scan_id: str | None
    note: str

    @property
    def shown(self) -> str:
        """The sentence with whose it is before it."""
        whose = self.scan_id or self.participant_id
        return f"{whose}: {self.note}" if whose else self.note


@dataclass
class Notes:
    """The notes that one stage has collected, in the order in which they were added."""

    stage: str = INGEST
    notes: list[Note] = field(default_factory=list)

    def add(self, kind: Kind, sentence: str, participant_id: str | None = None, scan_id: str | None = None) -> Note:
        """Keep a sentence as one cell of a table: line breaks and tabs become blanks, and what can't be printed escapes."""
        sentence = harmless(re.sub(r"\s+", " ", sentence).strip())
        note = Note(self.stage, str(kind), participant_id, scan_id, sentence)
        self.notes.append(note)
        return note


def write_notes(path: Path | str, notes: Iterable[Note]) -> None:
    """Write the notes as a BIDS-style TSV with NOTE_COLUMNS; without notes it has a header alone."""
    import pandas as pd

    from neurocohort.files import write_table

    write_table(path, pd.DataFrame([astuple(note) for note in notes], columns=[*NOTE_COLUMNS]))


def read_notes(path: Path | str) -> list[Note]:
    """The notes of a file that `write_notes` wrote. Raises InputError where it can't be read."""
    from neurocohort.files import read_table

    rows = read_table(path, NOTE_COLUMNS)[[*NOTE_COLUMNS]].astype(object)
    return [Note(**row) for row in rows.where(rows.notna(), None).to_dict("records")]


def grouped(cohorts: Mapping[str, list[Note]], files: str) -> list[str]:
    """The notes of each cohort in at most a screen: a line for each kind, with an example where there are several.

    ``files`` names where all of them are (empty: nowhere). Empty where there are no notes.
    """
    count = sum(map(len, cohorts.values()))
    if not count:
        return []
    lines = []
    for cohort, notes in cohorts.items():
        by_kind: dict[str, list[Note]] = {}
        for note in notes:
            by_kind.setdefault(note.kind, []).append(note)
        for kind, found in by_kind.items():
            several = f" ({len(found)} notes), such as" if len(found) > 1 else ""
            lines.append(_shortened(f"{cohort}, {kind}{several}: {found[0].shown}"))
    if len(lines) > SCREEN_LINES - 2:
        left_out = len(lines) - (SCREEN_LINES - 3)
        lines = [*lines[: SCREEN_LINES - 3], f"... and {left_out} more lines"]
    return [f"{count} note{'s' * (count > 1)} on the data" + (f"; all are in {files}:" if files else ":"), *lines]


def _shortened(line: str) -> str:
    return textwrap.shorten(line, SCREEN_COLUMNS, placeholder=" ...")
