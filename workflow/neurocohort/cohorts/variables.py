"""The variables of a user's own cohort: what each is, for checking the configuration, and its values for scans.tsv.

Imports are light, because the configuration is checked at the start of every Snakemake process.
"""

import math
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from neurocohort.cohorts.local_files import LABELS, PATH_COLUMNS, anat_folders, labels_beside, matching_images
from neurocohort.cohorts.local_tables import CohortTables, LocalTable, few, read_bids_tables, read_local_table
from neurocohort.cohorts.variable_kinds import CATEGORIES, LABEL_MAP, NAME, NUMBER, TWO_CLASSES

NUMBER_TEXT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
SEXES = {"m": "M", "male": "M", "f": "F", "female": "F"}
AGE_RANGE_YEARS = (0.0, 120.0)
UNITS_PER_YEAR = {"month": 12.0, "week": 365.25 / 7, "day": 365.25}  # of an age whose data dictionary says so
TABLE_KEYS = ("participant_id", "session_id", *PATH_COLUMNS.values())
EVERY_COHORT: dict[str, str | None] = {name: NAME for name in ("participant_id", "session_id", "scan_id")}
EVERY_COHORT |= {"site": CATEGORIES, "scanner": CATEGORIES, "age": NUMBER, "sex": TWO_CLASSES}


class Variables(NamedTuple):
    """``values``: by scan, its value of each variable (None for missing). ``dictionary``: each variable's entry of the data
    dictionary. ``notes``: sentences on what was changed.
    """

    values: dict[str, dict[str, object]]
    dictionary: dict[str, dict]
    notes: list[str]


def kinds_of_bids(source: Path | str, pattern: str = "*_T1w.nii*") -> dict[str, str | None]:
    """The variables that scans.tsv will have for this BIDS folder, and what each is; None where every value is missing.

    ``dseg`` is among them where an image that matches ``pattern`` has a label map beside it. Raises InputError where
    ``source`` isn't a folder or one of its tables can't be read.
    """
    source = Path(source)
    labelled = any(
        labels_beside(image, anat.files)
        for anat in anat_folders(source)
        if any(LABELS in entry.name for entry in anat.files)
        for image in matching_images(anat.files, pattern)
    )
    return _kinds(read_bids_tables(source)) | ({LABELS: LABEL_MAP} if labelled else {})


def kinds_of_table(table: Path | str) -> dict[str, str | None]:
    """The variables that scans.tsv will have for this table of scans, and what each is; None where every value is missing.

    Raises InputError where the table can't be read, or lacks ``participant_id`` or ``path``.
    """
    content = read_scan_table(Path(table))
    labelled = any(row.get(PATH_COLUMNS[LABELS]) for row in content.rows.values())
    return _kinds(cohort_of(content)) | ({LABELS: LABEL_MAP} if labelled else {})


def read_scan_table(table: Path) -> LocalTable:
    """A user's table of scans. Raises InputError where it can't be read, or lacks ``participant_id`` or ``path``."""
    return read_local_table(table, required=("participant_id", "path"), kept=TABLE_KEYS)


def cohort_of(table: LocalTable, keys: dict[int, tuple[str, str]] | None = None) -> CohortTables:
    """A table of scans in the form of a cohort's tables. ``keys``: participant and session by row; by default, the row."""
    names = {name: (column, table.path.name) for name, column in table.names.items()}
    sessions = {
        keys[number] if keys else (str(number), ""): {name: row[name] for name in names}
        for number, row in table.rows.items()
    }
    return CohortTables(names, {}, sessions)


def values_for_scans(tables: CohortTables, scans: dict[str, tuple[str, str]], entries: dict[str, dict]) -> Variables:
    """The variables of ``scans`` (scan_id: participant and session), as scans.tsv has them.

    Ages are years from 0 to 120, sexes M or F, sites and scanners texts; columns that hold numbers alone are numbers, except
    those named ``*_id``. What can't be one is None. ``entries``: the source's own data dictionary, by its columns' names.
    """
    texts = {scan_id: tables.of(*key) for scan_id, key in scans.items()}
    values: dict[str, dict[str, object]] = {scan_id: {} for scan_id in scans}
    dictionary: dict[str, dict] = {}
    notes = []
    for name, (column, file) in tables.names.items():
        entry = entries.get(column, {"Description": f"Column {column!r} of {file}"})
        convert, entry = _conversion(name, column, file, entry, set(tables.texts(name)) - {None})
        dictionary[name] = entry
        if name not in EVERY_COHORT and name != column:
            notes.append(f"The column {column!r} of {file} is called {name} here.")
        lost = Counter()
        for scan_id, row in texts.items():
            text = row.get(name)
            values[scan_id][name] = None if text is None else convert(text)
            lost[text] += values[scan_id][name] is None and text is not None
        if lost := +lost:
            notes.append(
                f"{lost.total()} scan(s) have n/a for {name}, because the column {column!r} of {file} holds no such value: "
                f"{few(map(repr, sorted(lost)))}."
            )
    overridden = Counter(
        name
        for participant_id, session_id in scans.values()
        for name, text in tables.sessions.get((participant_id, session_id), {}).items()
        if text is None and tables.participants.get(participant_id, {}).get(name) is not None
    )
    for name, count in sorted(overridden.items()):
        notes.append(f"{name} is n/a in {count} session(s) by their own table, although the participant has a value.")
    for name in ("age", "sex"):
        if name not in tables.names:
            notes.append(f"No table has a column {name}: it is n/a for every scan.")
    return Variables(values, dictionary, notes)


def is_numeric(name: str, texts: set[str]) -> bool:
    """Whether these texts of a variable are all numbers; ``*_id`` stays text, for 007 is not 7."""
    return bool(texts) and not name.endswith("_id") and all(_number(text) is not None for text in texts)


def _kinds(tables: CohortTables) -> dict[str, str | None]:
    return EVERY_COHORT | {
        name: _kind(name, set(tables.texts(name)) - {None}) for name in tables.names if name not in EVERY_COHORT
    }


def _kind(name: str, texts: set[str]) -> str | None:
    if is_numeric(name, texts):
        return TWO_CLASSES if {float(text) for text in texts} == {0.0, 1.0} else NUMBER
    return {0: None, 2: TWO_CLASSES}.get(len(texts), CATEGORIES)


def _conversion(
    name: str, column: str, file: str, entry: dict, texts: set[str]
) -> tuple[Callable[[str], object], dict]:
    """How a text of this variable becomes its value, and the entry of the data dictionary that says so."""
    if name == "age":
        per_year = _units_per_year(entry)
        low, high = AGE_RANGE_YEARS
        told = {"Units": "year", "Derivation": f"Column {column!r} of {file}"}
        told["Derivation"] += f", divided by {per_year:g}" if per_year != 1 else ""
        told["Derivation"] += f"; what is no number from {low:g} to {high:g} years is n/a."
        return lambda text: _age(text, per_year), _without(entry, "Units", "Levels") | told
    if name == "sex":
        told = {"Levels": {"M": "male", "F": "female"}}
        told["Derivation"] = f"Column {column!r} of {file}: m, male, f and female in any capitals; n/a for all else."
        return lambda text: SEXES.get(text.lower()), _without(entry, "Units", "Levels") | told
    numeric = is_numeric(name, texts)
    if numeric and name in EVERY_COHORT:  # site and scanner are categories, and a table's reader takes 1 for a number
        told = {"Derivation": f"Column {column!r} of {file}, whose numbers have {name}- before them."}
        return lambda text: f"{name}-{text}", _without(entry, "Units", "Levels") | told
    return (_number if numeric else str), entry


def _units_per_year(entry: dict) -> float:
    units = str(entry.get("Units", "")).lower()
    return next((count for unit, count in UNITS_PER_YEAR.items() if units.startswith(unit)), 1.0)


def _age(text: str, per_year: float) -> float | None:
    value = _number(text)
    if value is None or not AGE_RANGE_YEARS[0] <= value / per_year <= AGE_RANGE_YEARS[1]:
        return None
    return value if per_year == 1 else round(value / per_year, 4)


def _number(text: str) -> float | None:
    value = float(text) if NUMBER_TEXT.fullmatch(text) else math.inf
    return value if math.isfinite(value) else None


def _without(entry: dict, *keys: str) -> dict:
    return {key: value for key, value in entry.items() if key not in keys}
