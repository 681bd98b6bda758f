"""The tables of a user's own cohort, read as texts under the names that the variables have in scans.tsv.

Both the check of the configuration and ingest use it, so that they agree. This module imports little.
"""

import datetime
import keyword
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from neurocohort.errors import InputError
from neurocohort.notes import Kind, Notes
from neurocohort.sources.bids_labels import EXPECTED, Labels
from neurocohort.sources.cells import MISSING_TEXTS, Sheet, read_table
from neurocohort.sources.columns import KNOWN_VARIABLES, OWN_COLUMNS, PATH_COLUMNS
from neurocohort.sources.data_dictionary import Entries, Translation, read_dictionary, read_object
from neurocohort.sources.local_files import BIDS_TABLES, session_tables
from neurocohort.text import few

COLUMNS_WITH_MEANING = (*KNOWN_VARIABLES, "participant_id", "session_id", *PATH_COLUMNS.values())
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")  # would break the lines of a BIDS table
Texts = dict[str, str | None]  # of one row, by variable; None if the cell is empty or n/a


class LocalTable(NamedTuple):
    """One table. ``names``: the column of each variable. ``rows``: by row number in the file (the header is row 1)."""

    path: Path
    names: dict[str, str]
    rows: dict[int, Texts]


class CohortTables(NamedTuple):
    """All tables of a cohort. ``names``: column and file of each variable.

    ``sessions`` override ``participants``, also with n/a: a participant's value may be that of another day.
    """

    names: dict[str, tuple[str, str]]
    participants: dict[str, Texts]
    sessions: dict[tuple[str, str], Texts]

    def of(self, participant_id: str, session_id: str) -> Texts:
        """The texts of one participant's session, by variable."""
        return self.participants.get(participant_id, {}) | self.sessions.get((participant_id, session_id), {})

    def texts(self, variable: str) -> set[str]:
        """Every value of one variable."""
        rows = (*self.participants.values(), *self.sessions.values())
        return {text for row in rows if (text := row.get(variable)) is not None}


def read_local_table(
    path: Path, *, required: Sequence[str], kept: Sequence[str], notes: Notes | None = None
) -> LocalTable:
    """Read a .csv, .tsv, .xlsx or .xls.

    Args:
        path: The file.
        required: Columns that the table must have.
        kept: Columns that keep their name and are no variables.
        notes: Takes what a person should know of the file.

    Raises:
        InputError: If the file can't be read, lacks a required column, repeats its header, or has a row of another length or a
            cell that would be lost (`cells`).
    """
    table = read_table(path)
    header, sheet = table.header, table.sheet
    columns = _named(header, kept)
    if missing := [name for name in required if name not in columns]:
        several = f" in {sheet.names[0]}, the first of its {len(sheet.names)} sheets" if len(sheet.names) > 1 else ""
        raise InputError(
            f"{path} lacks the column(s) {', '.join(missing)}; it has {', '.join(filter(None, header)) or 'none'}{several}. "
            "Add them, or rename existing columns."
        )
    rows: dict[int, Texts] = {}
    broken: list[str] = []
    for number, row in table.rows().items():
        texts = [_text(cell) for cell in row]
        if len(header) > 1 and texts == header:
            raise InputError(f"{path}, row {number} repeats the header, as of two tables in one file: delete that row.")
        rows[number] = {name: texts[place] for name, place in columns.items()}
        for name, text in rows[number].items():
            if text and name not in kept and not text.isprintable() and UNPRINTABLE.search(text):
                rows[number][name] = UNPRINTABLE.sub(" ", text)
                broken.append(header[columns[name]])
    if notes is not None:
        if broken:
            found = f"{len(broken)} text(s) of {few(dict.fromkeys(broken))}"
            sentence = f"{path.name} has line breaks, tabs or other such characters in {found}; here they are blanks."
            notes.add(Kind.VALUES, sentence)
        _note_columns(notes, path, header, columns)
        _note_sheets(notes, path, sheet)
    return LocalTable(path, {name: header[place] for name, place in columns.items() if name not in kept}, rows)


def _note_columns(notes: Notes, path: Path, header: list[str], columns: dict[str, int]) -> None:
    """Note columns that are left out because they have no name, and columns with the same meaning."""
    if unnamed := [str(place) for place, name in enumerate(header, start=1) if not name]:
        notes.add(Kind.TABLES, f"{path.name} has no name for its column(s) {few(unnamed)}, which are left out.")
    for name, place in columns.items():
        same = [column for column in header if column.lower() == name.lower()]
        if len(same) > 1 and header[place].lower() == name.lower() and name in COLUMNS_WITH_MEANING:
            notes.add(
                Kind.TABLES,
                f"{path.name} has {len(same)} columns that mean {name}: {', '.join(same)}; {header[place]} in column {place + 1} "
                "is used.",
            )


def _note_sheets(notes: Notes, path: Path, sheet: Sheet) -> None:
    """Note what a person may not see in a workbook, and sheets that aren't read."""
    for one in sheet.unseen:
        notes.add(Kind.TABLES, f"{path.name} has {len(one.places)} {one.what} ({few(one.places)}), {one.outcome}.")
    if len(sheet.names) > 1:
        sentence = (
            f"{path.name} has {len(sheet.names)} sheets ({few(sheet.names)}); the first, {sheet.names[0]}, is read."
        )
        notes.add(Kind.TABLES, sentence)


def read_bids_tables(source: Path, notes: Notes) -> CohortTables:
    """Read participants.tsv, sessions.tsv and sub-X/sub-X_sessions.tsv of a BIDS folder, each of which may be absent.

    A participants.tsv with a column session_id is read as sessions. Participants and sessions become BIDS labels
    (`bids_labels`), ages years and sexes M or F by the data dictionaries (`data_dictionary`).

    Args:
        source: The BIDS folder.
        notes: Takes what a person should know of the files.

    Raises:
        InputError: If a file can't be read, or two rows of one participant and session differ.
    """
    tables = CohortTables({}, {}, {})
    people = read_dictionary(source / "participants.json", notes)
    sessions = {**people, **read_dictionary(source / "sessions.json", notes)}
    for name in BIDS_TABLES:
        if os.path.lexists(path := source / name):  # a broken link is a table that isn't fetched
            whole = name == "participants.tsv"
            required = ("participant_id",) if whole else ("participant_id", "session_id")
            table = read_local_table(path, required=required, kept=("participant_id", "session_id"), notes=notes)
            _add(tables, table, people if whole else sessions, notes)
    for participant_id, path in session_tables(source):
        entries = {**sessions, **read_dictionary(path.with_suffix(".json"), notes)}
        table = read_local_table(path, required=("session_id",), kept=("participant_id", "session_id"), notes=notes)
        _add(tables, table, entries, notes, participant_id)
    return tables


def read_session_table(path: Path, notes: Notes) -> tuple[CohortTables, Entries]:
    """Read one table of participants or, with a column session_id, of sessions, such as ClinicaDL's labels.tsv.

    Returns:
        The table, with ages in years and sexes M or F, and its data dictionary: the objects in the .json of the same name.
        (ClinicaDL's labels.json holds the options of its command, which are not objects.)

    Raises:
        InputError: If the file can't be read, or two rows of one participant and session differ.
    """
    tables = CohortTables({}, {}, {})
    given = read_object(path.with_suffix(".json"), notes)
    entries = {name: entry for name, entry in given.items() if isinstance(entry, dict)}
    table = read_local_table(path, required=("participant_id",), kept=("participant_id", "session_id"), notes=notes)
    _add(tables, table, entries, notes)
    return tables, entries


def _add(
    tables: CohortTables, table: LocalTable, entries: Entries, notes: Notes, participant_id: str | None = None
) -> None:
    """Add one file to ``tables``. ``participant_id``: whose sessions they are, in a table of one participant."""
    path = table.path
    origin = path.name if participant_id is None else "sub-*_sessions.tsv"
    for name, column in table.names.items():
        tables.names.setdefault(name, (column, origin))
    translation = Translation(table.names, entries, path.with_suffix(".json").name)
    people, sessions = Labels("sub-", path.name), Labels("ses-", path.name)
    first_rows: dict[tuple[str, str], tuple[int, Texts]] = {}
    for number, row in table.rows.items():
        participant = label_of(people, path, number, participant_id or row["participant_id"], "participant_id")
        session = row.get("session_id")
        if session is not None or ("session_id" in row and path.name != "participants.tsv"):
            session = label_of(sessions, path, number, session, "session_id", participant)
        values = {name: row[name] for name in table.names}
        key = participant, session or ""
        if values != first_rows.setdefault(key, (number, values))[1]:
            raise InputError(
                f"{path}, rows {first_rows[key][0]} and {number} are both of {' '.join(filter(None, key))} and differ; delete "
                "one of them, or distinguish them by a column session_id."
            )
        values = translation.of(values)
        if session:
            before = tables.sessions.get(key, {})
            if other := [name for name, value in values.items() if value and before.get(name) not in (None, value)]:
                sentence = f"{few(other)} differ between {path.name}, whose value is used, and a table read before it."
                notes.add(Kind.TABLES, sentence, participant, f"{participant}_{session}")
            tables.sessions[key] = before | values
        else:
            tables.participants[participant] = values
    if participant_id is None:
        people.note(notes)
    sessions.note(notes)


def label_of(labels: Labels, path: Path, number: int, text: str | None, column: str, whose: str = "") -> str:
    """The BIDS label of a cell. Raises InputError, with the row, if it is empty, means a missing value, or can't be a label."""
    if text is not None and text.upper() in MISSING_TEXTS:
        raise InputError(
            f"{path}, row {number}, column {column} holds {text!r}, which other programs write for a missing value; fill it in, "
            f"or write {labels.prefix}{text} if that is the name."
        )
    label = None if text is None else labels.of(text, whose)
    if label is None:
        found = "nothing" if text is None else repr(text)
        raise InputError(
            f"{path}, row {number}, column {column} holds {found}; expected {EXPECTED}, with or without {labels.prefix} before "
            f"them, such as {labels.prefix}01."
        )
    return label


def _named(header: list[str], kept: Sequence[str]) -> dict[str, int]:
    """The place of each column, by its name in scans.tsv. Columns without a name (a spreadsheet's row numbers) are left out.

    A name must be unique, and an identifier that filters can use: ``MMSE score`` becomes ``MMSE_score``, ``path`` (unless kept)
    ``path_``, a second ``weight`` ``weight_2``.
    """
    columns: dict[str, int] = {}
    by_lower = {name.lower(): name for name in (*KNOWN_VARIABLES, *kept)}
    for place, column in enumerate(header):
        if column in by_lower.values():
            columns.setdefault(column, place)
    for place, column in enumerate(header):
        if by_lower.get(column.lower(), column) not in columns and column.lower() in by_lower:
            columns[by_lower[column.lower()]] = place
    for place, column in enumerate(header):
        if column and place not in columns.values():
            name = re.sub(r"[^A-Za-z0-9_]", "_", column)
            name = f"_{name}" if name[0].isdigit() else name
            name += "_" * (name in OWN_COLUMNS or keyword.iskeyword(name))
            others = (f"{name}_{count}" for count in range(2, len(header) + 2))
            columns[next(one for one in (name, *others) if one not in columns)] = place
    return dict(sorted(columns.items(), key=lambda item: item[1]))


def _text(cell: object) -> str | None:
    """A cell as the text that a .csv would have: 3.0 of a workbook is 3, a day without a time is a date."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, datetime.datetime) and cell.time() == datetime.time():
        return cell.date().isoformat()
    return None if cell is None else str(cell)
