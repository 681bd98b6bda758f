"""Notes: findings about a cohort that exclude nothing, and that a person should know.

Ingest and the quality rule write them to ``notes.tsv``. `neurocohort check`, the end of a run and the report show them. This
module imports little, because every Snakemake process imports it.
"""

import logging
import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from neurocohort.files import read_table, write_table
from neurocohort.text import counted, few
from neurocohort.user_files import harmless

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

NOTE_COLUMNS = ("stage", "kind", "participant_id", "scan_id", "note")
INGEST, PREPROCESSING, EVALUATION = "ingest", "preprocessing", "evaluation"
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
    INTERVALS = "prediction intervals"
    SCANS = "scans that are used as they are"
    OTHER = "other"


@dataclass(frozen=True)
class Note:
    """One sentence about one scan or participant, or about the whole cohort if both are None."""

    stage: str
    kind: str
    participant_id: str | None
    scan_id: str | None
    note: str

    @property
    def shown(self) -> str:
        """The sentence, after the name of its scan or participant."""
        whose = self.scan_id or self.participant_id
        return f"{whose}: {self.note}" if whose else self.note


@dataclass
class Notes:
    """The notes of one stage, in the order in which they were added. ``logged``: whether each is also written to the log."""

    stage: str = INGEST
    notes: list[Note] = field(default_factory=list)
    logged: bool = False

    def add(self, kind: Kind, sentence: str, participant_id: str | None = None, scan_id: str | None = None) -> None:
        """Add a sentence. Line breaks and tabs in it become blanks, other unprintable characters are escaped."""
        sentence = harmless(re.sub(r"\s+", " ", sentence).strip())
        self.extend([Note(self.stage, str(kind), participant_id, scan_id, sentence)])

    def add_list(self, kind: Kind, names: Iterable[object], what: str) -> None:
        """Add "3 scan(s) have no age: a, b, c." for ``what`` = "scan(s) have no age"; nothing if there are no ``names``."""
        if names := list(names):
            self.add(kind, f"{len(names)} {what}: {few(names)}.")

    def extend(self, notes: Iterable[Note]) -> None:
        """Add notes that were made elsewhere."""
        for note in notes:
            self.notes.append(note)
            if self.logged:
                logger.warning(note.shown)


def write_notes(path: Path | str, notes: Iterable[Note]) -> None:
    """Write the notes as a BIDS-style TSV with NOTE_COLUMNS; without notes it has only the header."""
    write_table(path, note_table(notes))


def note_table(notes: Iterable[Note]) -> "pd.DataFrame":
    """Return the notes as a table with NOTE_COLUMNS."""
    import pandas as pd

    return pd.DataFrame([astuple(note) for note in notes], columns=[*NOTE_COLUMNS])


def read_notes(path: Path | str) -> list[Note]:
    """Read a file that `write_notes` wrote. Raises InputError if it can't be read."""
    rows = read_table(path, NOTE_COLUMNS)[[*NOTE_COLUMNS]].astype(object)
    return [Note(**row) for row in rows.where(rows.notna(), None).to_dict("records")]


def grouped(cohorts: Mapping[str, list[Note]], files: str) -> list[str]:
    """Summarise the notes of all cohorts in at most SCREEN_LINES lines: one line per cohort and kind, with an example.

    Args:
        cohorts: The notes by cohort.
        files: Path pattern of the tables with all notes; empty if there are none yet.

    Returns:
        The lines; none if there are no notes.
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
            line = f"{cohort}, {kind}{several}: {found[0].shown}"
            lines.append(textwrap.shorten(line, SCREEN_COLUMNS, placeholder=" ..."))
    if len(lines) > SCREEN_LINES - 2:
        left_out = len(lines) - (SCREEN_LINES - 3)
        lines = [*lines[: SCREEN_LINES - 3], f"... and {left_out} more lines"]
    return [f"{counted(count, 'note')} on the data" + (f"; all are in {files}:" if files else ":"), *lines]
