"""The tables of a user's own cohort, read as texts under the names that their variables will have in scans.tsv.

The configuration is checked with these names and ingest writes them, so that both agree. Imports are light.
"""

import datetime
import keyword
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from neurocohort.errors import InputError
from neurocohort.notes import Kind, Notes
from neurocohort.sources.bids_labels import EXPECTED, Labels
from neurocohort.sources.cells import MISSING_TEXTS, CellFault, Unseen, clean, rows_of, sheets_of
from neurocohort.sources.data_dictionary import Translation, read_dictionary
from neurocohort.sources.local_files import BIDS_TABLES, PATH_COLUMNS, session_tables
from neurocohort.user_files import UnusableFile, read_bytes

COLUMNS_WITH_MEANING = ("participant_id", "session_id", *PATH_COLUMNS.values())  # beside the variables
KNOWN_VARIABLES = ("age", "sex", "site", "scanner")  # taken under these names, whatever their capitals
# A user's column of such a name is renamed: the first are columns of scans.tsv, the others of the tables made from it.
OWN_COLUMNS = ("participant_id", "session_id", "scan_id", "path", "path_T2w", "path_PDw", "path_FLAIR", "image_sha256")
OWN_COLUMNS += ("voxels_sha256", "dseg_path", "dseg_reference_path", "dseg")
OWN_COLUMNS += ("row", "has_labels", "part", "stratum", "fold", "target", "cohort", "index")
FEW = 5
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")  # a cell of a BIDS table is a part of a line


class LocalTable(NamedTuple):
    """``names``: each variable, and its column's name in the file. ``rows``: by row number in the file (the header is row
    1), the texts of the variables and of the columns kept as they are; None where a cell is empty or ``n/a``.
    """

    path: Path
    names: dict[str, str]
    rows: dict[int, dict[str, str | None]]


class CohortTables(NamedTuple):
    """What a cohort's tables say. ``names``: each variable, its column's name and its file's. ``sessions`` override
    ``participants``, and an n/a there too: a participant's value is not that of another day.
    """

    names: dict[str, tuple[str, str]]
    participants: dict[str, dict[str, str | None]]
    sessions: dict[tuple[str, str], dict[str, str | None]]

    def of(self, participant_id: str, session_id: str) -> dict[str, str | None]:
        """The texts of one participant's session, by variable."""
        return self.participants.get(participant_id, {}) | self.sessions.get((participant_id, session_id), {})

    def texts(self, variable: str) -> Iterable[str | None]:
        """Every value of one variable."""
        for row in (*self.participants.values(), *self.sessions.values()):
            yield row.get(variable)


def read_local_table(
    path: Path, *, required: tuple[str, ...], kept: tuple[str, ...], notes: Notes | None = None
) -> LocalTable:
    """Read a .csv, .tsv, .xlsx or .xls. Columns in ``kept`` stay as they are and are no variables.

    ``notes`` takes what a person should know of the file. Raises InputError where the file can't be read, lacks a column of
    ``required``, has a row of another length than its header, repeats it, or has a cell that would be lost (`cells`).
    """
    unseen: list[Unseen] = []
    try:
        content = read_bytes(path)
        header, *body = rows_of(content, unseen=unseen) or [[]]
        sheets = sheets_of(content) if notes is not None else []
    except UnusableFile as fault:
        raise InputError(f"{path} {fault}; expected a .csv, .tsv or .xlsx file.") from None
    except CellFault as fault:
        raise InputError(f"{path}, {fault}") from None
    except Exception as error:  # the readers raise their own kinds for each way that a file can be broken
        raise InputError(
            f"{path} can't be read as a table ({error}); expected .csv or .tsv in UTF-8, or .xlsx, with a line of column names."
        ) from error
    header = ["" if cell is None else str(cell).strip() for cell in header]
    columns = _named(header, kept)
    if missing := [name for name in required if name not in columns]:
        raise InputError(
            f"{path} lacks the column(s) {', '.join(missing)}; it has {', '.join(filter(None, header)) or 'none'}"
            f"{f' in {sheets[0]}, the first of its {len(sheets)} sheets' if len(sheets) > 1 else ''}. "
            "Add them, or rename those that are meant."
        )
    rows, broken = {}, []
    for number, cells in enumerate(body, start=2):
        cells = [clean(cell) for cell in cells]
        if any(cell is not None for cell in cells[len(header) :]):
            raise InputError(
                f"{path}, row {number} has {len(cells)} cells, and the header has {len(header)}: put texts that hold the "
                "separator in quotes."
            )
        if len(header) > 1 and [_text(cell) for cell in cells] == header:
            raise InputError(f"{path}, row {number} repeats the header, as of two tables in one file: delete that row.")
        if any(cell is not None for cell in cells):
            cells += [None] * (len(header) - len(cells))
            rows[number] = {name: _text(cells[place]) for name, place in columns.items()}
            for name, text in rows[number].items():
                if text and name not in kept and not text.isprintable() and UNPRINTABLE.search(text):
                    rows[number][name] = UNPRINTABLE.sub(" ", text)
                    broken.append(header[columns[name]])
    names = {name: header[place] for name, place in columns.items() if name not in kept}
    if broken and notes is not None:
        sentence = f"{path.name} has line breaks, tabs or other such characters in {len(broken)} text(s) of "
        notes.add(Kind.VALUES, f"{sentence}{few(dict.fromkeys(broken))}; here they are blanks.")
    if notes is not None:
        _note_columns(notes, path, header, columns)
    for one in unseen if notes is not None else ():
        shown = f"{len(one.places)} {one.what} ({few(one.places)})"
        notes.add(Kind.TABLES, f"{path.name} has {shown}, {one.outcome}.")
    if len(sheets) > 1 and notes is not None:
        notes.add(
            Kind.TABLES, f"{path.name} has {len(sheets)} sheets ({few(sheets)}); the first, {sheets[0]}, is read."
        )
    return LocalTable(path, names, rows)


def _note_columns(notes: Notes, path: Path, header: list[str], columns: dict[str, int]) -> None:
    """Note columns that are left out for want of a name, and those that have one meaning."""
    if unnamed := [str(place) for place, name in enumerate(header, start=1) if not name]:
        notes.add(Kind.TABLES, f"{path.name} has no name for its column(s) {few(unnamed)}, which are left out.")
    for name, place in columns.items():
        same = [column for column in header if column.lower() == name.lower()]
        if (
            len(same) > 1
            and header[place].lower() == name.lower()
            and name in (*KNOWN_VARIABLES, *COLUMNS_WITH_MEANING)
        ):
            notes.add(
                Kind.TABLES,
                f"{path.name} has {len(same)} columns that mean {name}: {', '.join(same)}; {header[place]} in column {place + 1} "
                f"is taken for it.",
            )


def read_bids_tables(source: Path, notes: Notes | None = None) -> CohortTables:
    """participants.tsv, sessions.tsv and sub-X/sub-X_sessions.tsv of a BIDS folder, each of which may be absent.

    A participants.tsv with a column session_id is read as sessions. Participants and sessions are BIDS labels (`bids_labels`),
    ages years and sexes M or F as the data dictionaries beside the tables say (`data_dictionary`). ``notes`` takes what a person
    should know of the files. Raises InputError where a file can't be read, or two rows of one participant and session differ.
    """
    notes = Notes() if notes is None else notes
    tables = CohortTables({}, {}, {})
    people = read_dictionary(source / "participants.json", notes)
    sessions = people | read_dictionary(source / "sessions.json", notes)
    for name in BIDS_TABLES:
        required = ("participant_id",) if name == "participants.tsv" else ("participant_id", "session_id")
        if os.path.lexists(path := source / name):  # a link to nothing is a table that isn't fetched
            _take(tables, path, required, people if name == "participants.tsv" else sessions, notes)
    for participant_id, path in session_tables(source):
        entries = sessions | read_dictionary(path.with_suffix(".json"), notes)
        _take(tables, path, ("session_id",), entries, notes, participant_id)
    return tables


def few(names: Iterable[str]) -> str:
    """The first names of a list, and how many more there are."""
    names = list(names)
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")


def _take(
    tables: CohortTables,
    path: Path,
    required: tuple[str, ...],
    entries: dict[str, dict],
    notes: Notes,
    participant_id: str | None = None,
) -> None:
    """Add one file to ``tables``; ``participant_id``: of a table of one participant's sessions."""
    table = read_local_table(path, required=required, kept=("participant_id", "session_id"), notes=notes)
    origin = path.name if participant_id is None else "sub-*_sessions.tsv"
    for name, column in table.names.items():
        tables.names.setdefault(name, (column, origin))
    translation = Translation(table.names, entries, path.with_suffix(".json").name)
    people, sessions = Labels("sub-", path.name), Labels("ses-", path.name)
    first_rows: dict = {}
    for number, row in table.rows.items():
        participant = label_of(people, path, number, participant_id or row["participant_id"], "participant_id")
        session = row.get("session_id")
        if session is not None or "session_id" in required:
            session = label_of(sessions, path, number, session, "session_id", participant)
        values = {name: row[name] for name in table.names}
        key = (participant, session) if session else participant
        if values != first_rows.setdefault(key, (number, values))[1]:
            raise InputError(
                f"{path}, rows {first_rows[key][0]} and {number} are both of {' '.join(key) if session else key} and differ; "
                "leave one of them, or tell them apart by a column session_id."
            )
        values = translation.of(values)
        if session:
            before = tables.sessions.get(key, {})
            if other := [name for name, value in values.items() if value and before.get(name) not in (None, value)]:
                sentence = f"{few(other)} differ between {path.name}, whose value is taken, and a table before it."
                notes.add(Kind.TABLES, sentence, participant, f"{participant}_{session}")
            tables.sessions[key] = before | values
        else:
            tables.participants[key] = values
    if participant_id is None:
        people.note(notes)
    sessions.note(notes)


def label_of(labels: Labels, path: Path, number: int, text: str | None, column: str, whose: str = "") -> str:
    """The BIDS label of a cell. Raises InputError, with the row, where it is empty, says so, or can't be one."""
    if text is not None and text.upper() in MISSING_TEXTS:
        raise InputError(
            f"{path}, row {number}, column {column} holds {text!r}, which other programs write for a missing value; fill it in, "
            f"or write {labels.prefix}{text} where that is the name."
        )
    label = None if text is None else labels.of(text, whose)
    if label is None:
        found = "nothing" if text is None else repr(text)
        raise InputError(
            f"{path}, row {number}, column {column} holds {found}; expected {EXPECTED}, with or without "
            f"{labels.prefix} before them, "
            f"such as {labels.prefix}01."
        )
    return label


def _named(header: list[str], kept: tuple[str, ...]) -> dict[str, int]:
    """The place of each column by its name in scans.tsv; columns without a name (a spreadsheet's row numbers) are left out.

    A name must be an identifier for filters to use it, and stand once: ``MMSE score`` becomes ``MMSE_score``, ``path``
    (where it isn't kept) ``path_``, a second ``weight`` ``weight_2``.
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
            further = (f"{name}_{count}" for count in range(2, len(header) + 2))
            columns[next(one for one in (name, *further) if one not in columns)] = place
    return dict(sorted(columns.items(), key=lambda item: item[1]))


def _text(cell: object) -> str | None:
    """A cell as the text that a .csv would have: a workbook's 3.0 is 3, a day without a time is a date."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, datetime.datetime) and cell.time() == datetime.time():
        return cell.date().isoformat()
    return None if cell is None else str(cell)
