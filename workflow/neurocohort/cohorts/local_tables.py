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

from neurocohort.cohorts.cells import clean, rows_of
from neurocohort.cohorts.local_files import BIDS_TABLES, session_tables
from neurocohort.errors import InputError
from neurocohort.user_files import UnusableFile, read_bytes

KNOWN_VARIABLES = ("age", "sex", "site", "scanner")  # taken under these names, whatever their capitals
# A user's column of such a name is renamed: the first are columns of scans.tsv, the others of the tables made from it.
OWN_COLUMNS = ("participant_id", "session_id", "scan_id", "path", "path_T2w", "path_PDw", "path_FLAIR", "image_sha256")
OWN_COLUMNS += ("voxels_sha256", "dseg_path", "dseg_reference_path", "dseg")
OWN_COLUMNS += ("row", "has_labels", "part", "stratum", "fold", "target", "cohort", "index")
LABEL = re.compile(r"[A-Za-z0-9]+")  # what BIDS allows after sub- and ses-
FEW = 5


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


def read_local_table(path: Path, *, required: tuple[str, ...], kept: tuple[str, ...]) -> LocalTable:
    """Read a .csv, .tsv, .xlsx or .xls. Columns in ``kept`` stay as they are and are no variables.

    Raises InputError where the file can't be read, lacks a column of ``required``, or has a row longer than its header.
    """
    try:
        header, *body = rows_of(read_bytes(path)) or [[]]
    except UnusableFile as fault:
        raise InputError(f"{path} {fault}; expected a .csv, .tsv or .xlsx file.") from None
    except Exception as error:  # the readers raise their own kinds for each way that a file can be broken
        raise InputError(
            f"{path} can't be read as a table ({error}); expected .csv or .tsv in UTF-8, or .xlsx, with a line of column names."
        ) from error
    header = ["" if cell is None else str(cell).strip() for cell in header]
    columns = _named(header, kept)
    if missing := [name for name in required if name not in columns]:
        raise InputError(
            f"{path} lacks the column(s) {', '.join(missing)}; it has {', '.join(filter(None, header)) or 'none'}. "
            "Add them, or rename those that are meant."
        )
    rows = {}
    for number, cells in enumerate(body, start=2):
        cells = [clean(cell) for cell in cells]
        if any(cell is not None for cell in cells[len(header) :]):
            raise InputError(
                f"{path}, row {number} has {len(cells)} cells, and the header has {len(header)}: put texts that hold the "
                "separator in quotes."
            )
        if any(cell is not None for cell in cells):
            cells += [None] * (len(header) - len(cells))
            rows[number] = {name: _text(cells[place]) for name, place in columns.items()}
    names = {name: header[place] for name, place in columns.items() if name not in kept}
    return LocalTable(path, names, rows)


def read_bids_tables(source: Path) -> CohortTables:
    """participants.tsv, sessions.tsv and sub-X/sub-X_sessions.tsv of a BIDS folder, each of which may be absent.

    A participants.tsv with a column session_id is read as sessions. Raises InputError where a file can't be read, or two
    rows of one participant and session differ.
    """
    tables = CohortTables({}, {}, {})
    for name in BIDS_TABLES:
        required = ("participant_id",) if name == "participants.tsv" else ("participant_id", "session_id")
        if os.path.lexists(source / name):
            _take(tables, source / name, required, None)
    for participant_id, path in session_tables(source):
        _take(tables, path, ("session_id",), participant_id)
    return tables


def with_prefix(text: str, prefix: str) -> str:
    """``text`` with ``sub-`` or ``ses-`` before it, which users leave out at times."""
    return text if text.startswith(prefix) else prefix + text


def few(names: Iterable[str]) -> str:
    """The first names of a list, and how many more there are."""
    names = list(names)
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")


def _take(tables: CohortTables, path: Path, required: tuple[str, ...], participant_id: str | None) -> None:
    """Add one file to ``tables``."""
    table = read_local_table(path, required=required, kept=("participant_id", "session_id"))
    origin = path.name if participant_id is None else "sub-*_sessions.tsv"
    for name, column in table.names.items():
        tables.names.setdefault(name, (column, origin))
    first_rows: dict = {}
    for number, row in table.rows.items():
        participant = participant_id or row["participant_id"]
        session = row.get("session_id")
        if participant is None or ("session_id" in required and session is None):
            raise InputError(
                f"{path}, row {number} has no {required[0] if participant is None else 'session_id'}; add it."
            )
        values = {name: row[name] for name in table.names}
        participant = with_prefix(participant, "sub-")
        key = (participant, with_prefix(session, "ses-")) if session else participant
        if values != first_rows.setdefault(key, (number, values))[1]:
            raise InputError(
                f"{path}, rows {first_rows[key][0]} and {number} are both of {' '.join(key) if session else key} and differ; "
                "leave one of them, or tell them apart by a column session_id."
            )
        if session:
            tables.sessions[key] = tables.sessions.get(key, {}) | values
        else:
            tables.participants[key] = values


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
