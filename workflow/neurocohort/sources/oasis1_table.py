"""OASIS-1's table: one row per session, with its dementia rating, and the data dictionary of its variables."""

import re
from pathlib import Path

from neurocohort.sources.data_dictionary import Entry
from neurocohort.sources.spreadsheets import PublishedTable, Row, read_published
from neurocohort.sources.variable_numbers import AGE_RANGE_YEARS

SESSION_NAME = r"OAS1_[0-9]{4}_MR[12]"
SITE, SCANNER = "WashU", "Siemens 1.5 T"
# Cells of the published table that are known to be wrong: missing as long as they have this value.
WRONG_CELLS = {("OAS1_0061_MR1", "ASF"): 1.441}

NUMBERS = {
    "age": "Age",
    "cdr": "CDR",
    "mmse": "MMSE",
    "education": "Educ",
    "ses": "SES",
    "etiv_cm3": "eTIV",
    "nwbv": "nWBV",
    "asf": "ASF",
    "delay_days": "Delay",
}
LIMITS = {"age": AGE_RANGE_YEARS, "cdr": (0, 3), "mmse": (0, 30), "education": (1, 5), "ses": (1, 5), "nwbv": (0, 1)}
EDUCATION = ("less than high school", "high school", "some college", "college", "beyond college")
STATUS = ("highest", "second highest", "middle", "second lowest", "lowest")


def _from_1(*meanings: str) -> dict[str, str]:
    """Levels 1, 2 and so on with these meanings."""
    return {str(level): meaning for level, meaning in enumerate(meanings, start=1)}


VARIABLES: dict[str, Entry] = {
    "age": {"Description": "Age at the session", "Units": "year"},
    "sex": {"Description": "Sex", "Levels": {"M": "male", "F": "female"}},
    "site": {"Description": "Site of the scan", "Levels": {SITE: "Washington University in St. Louis"}},
    "scanner": {"Description": "Vendor and field strength", "Levels": {SCANNER: "Siemens Vision, 1.5 T"}},
    "cdr": {
        "Description": "Clinical Dementia Rating",
        "Levels": {"0": "no dementia", "0.5": "very mild", "1": "mild", "2": "moderate"},
        "Derivation": "CDR; blank is n/a and means not rated (young people and repeat sessions), not healthy.",
    },
    "mmse": {"Description": "Mini-Mental State Examination", "Units": "points of 30"},
    "handedness": {"Description": "Handedness", "Levels": {"right": "right", "left": "left"}},
    "education": {"Description": "Education", "Levels": _from_1(*EDUCATION)},
    "ses": {"Description": "Socioeconomic status (Hollingshead)", "Levels": _from_1(*STATUS)},
    "etiv_cm3": {"Description": "Estimated total intracranial volume, as published", "Units": "cm3"},
    "nwbv": {"Description": "Whole-brain volume as a fraction of the atlas mask, as published", "Units": "1"},
    "asf": {
        "Description": "Atlas scaling factor, as published",
        "Units": "1",
        "Derivation": "ASF; the published 1.441 of OAS1_0061_MR1 is known to be wrong and is n/a.",
    },
    "delay_days": {"Description": "Days between a participant's first and repeat session", "Units": "day"},
    "dementia": {
        "Description": "Whether the participant is rated as demented",
        "Levels": {"0": "CDR is 0", "1": "CDR is above 0"},
        "Derivation": "From cdr; n/a where cdr is n/a.",
    },
}
PARTICIPANT_COLUMNS = ("age", "sex", "site", "scanner", "handedness", "education", "ses", "cdr", "mmse", "dementia")


def read_table(table: Path | str) -> PublishedTable[str]:
    """Read the table, by session as it names them: ``OAS1_0001_MR1``.

    Raises:
        InputError: If a column is absent, or a cell has an impossible value.
    """
    known: dict[str, dict[str, object]] = {}
    conflicts, nameless = {}, []
    for row in read_published(table, ("ID", "M/F", "Hand", *NUMBERS.values())):
        session = str(row.cells["ID"])
        if not re.fullmatch(SESSION_NAME, session):
            nameless.append(f"Row {row.number} of the table has the ID {row.cells['ID']!r}, which names no session.")
            continue
        person = _person(row, session)
        if known.setdefault(session, person) != person:
            conflicts[session] = "The table has two rows of this session that disagree."
    return PublishedTable({key: known[key] for key in known if key not in conflicts}, conflicts, nameless, [])


def _person(row: Row, session: str) -> dict[str, object]:
    """The variables of one row, by name."""
    numbers = {name: row.number_in(column, LIMITS.get(name)) for name, column in NUMBERS.items()}
    for name, column in NUMBERS.items():
        if numbers[name] is not None and numbers[name] == WRONG_CELLS.get((session, column)):
            numbers[name] = None
    return numbers | {
        "sex": _one_of(row, "M/F", {"M": "M", "F": "F"}),
        "handedness": _one_of(row, "Hand", {"R": "right", "L": "left"}),
        "dementia": None if numbers["cdr"] is None else int(numbers["cdr"] > 0),
    }


def _one_of(row: Row, column: str, words: dict[str, str]) -> str | None:
    cell = row.cells[column]
    if cell is not None and str(cell).upper() not in words:
        raise row.fault(column, f"holds {cell!r}; {' or '.join(words)} is expected.")
    return None if cell is None else words[str(cell).upper()]
