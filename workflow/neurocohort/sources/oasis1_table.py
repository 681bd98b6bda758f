"""OASIS-1's table: one row a session, with its rating, and the data dictionary of what is made of it."""

import re
from pathlib import Path

import pandas as pd

from neurocohort.errors import InputError
from neurocohort.sources.spreadsheets import number, read_spreadsheet
from neurocohort.sources.variable_numbers import AGE_RANGE_YEARS

SESSION_NAME = r"OAS1_[0-9]{4}_MR[12]"
SITE, SCANNER = "WashU", "Siemens 1.5 T"
# Cells of the published table that are known to be wrong: taken as missing while they hold this value.
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
VARIABLES = {
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
    "education": {
        "Description": "Education",
        "Levels": {
            "1": "less than high school",
            "2": "high school",
            "3": "some college",
            "4": "college",
            "5": "beyond college",
        },
    },
    "ses": {
        "Description": "Socioeconomic status (Hollingshead)",
        "Levels": {"1": "highest", "2": "second highest", "3": "middle", "4": "second lowest", "5": "lowest"},
    },
    "etiv_cm3": {"Description": "Estimated total intracranial volume, as published", "Units": "cm3"},
    "nwbv": {"Description": "Whole-brain volume as a share of the atlas mask, as published", "Units": "1"},
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


def read_table(table: Path | str) -> tuple[dict[str, dict], dict[str, str], list[str]]:
    """Read the table: (what is known of each session, why a session is excluded, rows that name no session).

    Sessions are named as in the table, ``OAS1_0001_MR1``. A value that is not known is None. Raises InputError where a
    column is absent or a cell holds what it can't hold.
    """
    rows = read_spreadsheet(table, ("ID", "M/F", "Hand", *NUMBERS.values()))
    people: dict[str, dict] = {}
    conflicts, nameless = {}, []
    for row in rows.index:
        session = rows.at[row, "ID"]
        if not re.fullmatch(SESSION_NAME, str(session)):
            nameless.append(f"Row {row} of the table has the ID {session!r}, which names no session.")
            continue
        person = {name: number(table, rows, row, column, LIMITS.get(name)) for name, column in NUMBERS.items()}
        for name, column in NUMBERS.items():
            if person[name] is not None and person[name] == WRONG_CELLS.get((session, column)):
                person[name] = None
        person["sex"] = _one_of(table, rows, row, "M/F", {"M": "M", "F": "F"})
        person["handedness"] = _one_of(table, rows, row, "Hand", {"R": "right", "L": "left"})
        person["dementia"] = None if person["cdr"] is None else int(person["cdr"] > 0)
        if people.setdefault(session, person) != person:
            conflicts[session] = "The table has two rows of this session that disagree."
    return {session: people[session] for session in people if session not in conflicts}, conflicts, nameless


def _one_of(table: Path | str, rows: pd.DataFrame, row: int, column: str, words: dict[str, str]) -> str | None:
    cell = rows.at[row, column]
    if cell is not None and str(cell).upper() not in words:
        raise InputError(f"{table}, row {row}, column {column!r} holds {cell!r}; {' or '.join(words)} is expected.")
    return None if cell is None else words[str(cell).upper()]
