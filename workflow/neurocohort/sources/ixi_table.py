"""IXI's spreadsheet (sheet ``Table``): it holds some people twice and uses 0 for "not known".

What is done about it is decided by rule, not by a list of people, and each rule stands in the data dictionary.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from neurocohort.errors import InputError
from neurocohort.sources.local_tables import few
from neurocohort.sources.spreadsheets import number, read_spreadsheet
from neurocohort.sources.variable_numbers import AGE_RANGE_YEARS

SITES = {
    "Guys": ("Guy's Hospital", "Philips 1.5 T"),
    "HH": ("Hammersmith Hospital", "Philips 3 T"),
    "IOP": ("Institute of Psychiatry", "GE 1.5 T"),
}
SEX_COLUMN = "SEX_ID (1=m, 2=f)"
SEXES = {1: "M", 2: "F"}
# Two rows of one person were entered separately: their ages agree to the day or the rows are not one person's.
AGE_TOLERANCE_YEARS = 0.1
# Adults. Beyond them lie typing errors only: heights of 1520, 1850 and 75 cm, weights of 710 and 960 kg.
HEIGHT_RANGE_CM = (100, 250)
WEIGHT_RANGE_KG = (25, 300)
MEASURES = {"height_cm": ("HEIGHT", HEIGHT_RANGE_CM), "weight_kg": ("WEIGHT", WEIGHT_RANGE_KG)}

CODES = {
    "ethnicity": ("ETHNIC_ID", {1: "white", 2: "code-2", 3: "asian", 4: "black", 5: "chinese", 6: "other"}),
    "marital_status": ("MARITAL_ID", {1: "single", 2: "married", 3: "cohabiting", 4: "divorced", 5: "widowed"}),
    "occupation": (
        "OCCUPATION_ID",
        {
            1: "full-time",
            2: "part-time",
            3: "student",
            4: "housework",
            5: "retired",
            6: "unemployed",
            7: "work-at-home",
            8: "other",
        },
    ),
    "qualification": (
        "QUALIFICATION_ID",
        {1: "no-qualifications", 2: "o-levels", 3: "a-levels", 4: "further", 5: "university"},
    ),
}
_MERGED = "Where the spreadsheet has two rows of a participant, empty fields are filled from the other row, and a field"
_MERGED += " on which they disagree is n/a."
VARIABLES = {
    "age": {
        "Description": "Age at the scan, as the spreadsheet gives it; n/a where it gives none",
        "Units": "year",
        "Derivation": f"AGE. Participants with two rows whose ages differ by more than {AGE_TOLERANCE_YEARS} years, or "
        "whose sexes differ, are excluded.",
    },
    "sex": {"Description": "Sex", "Levels": {"M": "male", "F": "female"}, "Derivation": "SEX_ID: 1 = M, 2 = F."},
    "site": {
        "Description": "Hospital of the scan",
        "Levels": {code: name for code, (name, _) in SITES.items()},
        "Derivation": "From the image's file name.",
    },
    "scanner": {
        "Description": "Vendor and field strength of the scanner",
        "Levels": {scanner: name for name, scanner in SITES.values()},
        "Derivation": "From the site.",
    },
    "height_cm": {
        "Description": "Height",
        "Units": "cm",
        "Derivation": f"HEIGHT. 0 is n/a; so is what lies outside {HEIGHT_RANGE_CM[0]} to {HEIGHT_RANGE_CM[1]} cm, "
        f"which are typing errors such as 1520 and 1850. {_MERGED}",
    },
    "weight_kg": {
        "Description": "Weight",
        "Units": "kg",
        "Derivation": f"WEIGHT. 0 is n/a; so is what lies outside {WEIGHT_RANGE_KG[0]} to {WEIGHT_RANGE_KG[1]} kg, "
        f"which are typing errors such as 710 and 960. {_MERGED}",
    },
    "ethnicity": {
        "Description": "Ethnicity",
        "Levels": {
            "white": "White",
            "code-2": "code 2, which the spreadsheet uses and does not define",
            "asian": "Asian or Asian British",
            "black": "Black or Black British",
            "chinese": "Chinese",
            "other": "Other",
        },
        "Derivation": f"ETHNIC_ID; 0 is n/a. {_MERGED}",
    },
    "marital_status": {
        "Description": "Marital status",
        "Levels": {
            "single": "Single",
            "married": "Married",
            "cohabiting": "Cohabiting",
            "divorced": "Divorced or separated",
            "widowed": "Widowed",
        },
        "Derivation": f"MARITAL_ID; 0 is n/a. {_MERGED}",
    },
    "occupation": {
        "Description": "Occupation",
        "Levels": {
            "full-time": "Goes out to full-time employment",
            "part-time": "Goes out to part-time employment (less than 25 hours a week)",
            "student": "Studies at college or university",
            "housework": "Full-time housework",
            "retired": "Retired",
            "unemployed": "Unemployed",
            "work-at-home": "Works for pay at home",
            "other": "Other",
        },
        "Derivation": f"OCCUPATION_ID; 0 is n/a. {_MERGED}",
    },
    "qualification": {
        "Description": "Highest qualification",
        "Levels": {
            "no-qualifications": "No qualifications",
            "o-levels": "O-levels, GCSEs or CSEs",
            "a-levels": "A-levels",
            "further": "Further education, e.g. City & Guilds or NVQs",
            "university": "University or polytechnic degree",
        },
        "Derivation": f"QUALIFICATION_ID; 0 is n/a. {_MERGED}",
    },
}
DEMOGRAPHICS = ("age", "sex", "height_cm", "weight_kg", *CODES)


class Demographics(NamedTuple):
    """What is known of each IXI number, why a number is excluded, rows without a number, and what a person should know."""

    people: dict[int, dict]
    conflicts: dict[int, str]
    nameless: list[str]
    notes: list[str]


def read_demographics(spreadsheet: Path | str) -> Demographics:
    """Read the spreadsheet.

    Ages are in years, heights in cm, weights in kg; a value that is not known is None. Raises InputError where a
    column is absent or a cell holds what it can't hold.
    """
    coded = [column for column, _ in CODES.values()]
    required = ("IXI_ID", SEX_COLUMN, "HEIGHT", "WEIGHT", *coded, "AGE")
    table = read_spreadsheet(spreadsheet, required, sheet="Table")
    rows: dict[int, list[dict]] = {}
    nameless = []
    for row in table.index:
        identity = number(spreadsheet, table, row, "IXI_ID")
        if identity is None or identity != int(identity) or not 0 < identity < 1000:
            nameless.append(
                f"Row {row} of the spreadsheet has the IXI_ID {table.at[row, 'IXI_ID']!r}, which names nobody."
            )
            continue
        rows.setdefault(int(identity), []).append(_person(spreadsheet, table, row))
    people, conflicts = {}, {}
    for identity, several in rows.items():
        if reason := _conflict(several):
            conflicts[identity] = reason
        else:
            people[identity] = {name: _agreed([one[name] for one in several], name) for name in DEMOGRAPHICS}
    return Demographics(people, conflicts, nameless, [*_outside_limits(spreadsheet, table)])


def _outside_limits(spreadsheet: Path | str, table: pd.DataFrame) -> Iterator[str]:
    """Sentences on heights and weights that nobody has."""
    for column, (low, high) in MEASURES.values():
        values = (number(spreadsheet, table, row, column) for row in table.index)
        if outside := [f"{value:g}" for value in values if value and not low <= value <= high]:
            yield (
                f"{len(outside)} cell(s) of {column} in the spreadsheet are outside {low} to {high} and taken as n/a: "
                f"{few(outside)}."
            )


def _person(spreadsheet: Path | str, table: pd.DataFrame, row: int) -> dict:
    """One row in this project's words."""
    person = {
        "age": number(spreadsheet, table, row, "AGE", AGE_RANGE_YEARS) or None,
        "sex": _coded(spreadsheet, table, row, SEX_COLUMN, SEXES),
    }
    for name, (column, (low, high)) in MEASURES.items():
        value = number(spreadsheet, table, row, column)
        person[name] = value if value is not None and low <= value <= high else None
    for name, (column, words) in CODES.items():
        person[name] = _coded(spreadsheet, table, row, column, words)
    return person


def _coded(spreadsheet: Path | str, table: pd.DataFrame, row: int, column: str, words: dict[int, str]) -> str | None:
    code = number(spreadsheet, table, row, column)
    if code and code not in words:
        known = ", ".join(f"{known} ({word})" for known, word in words.items())
        raise InputError(f"{spreadsheet}, row {row}, column {column!r} holds {code:g}; known are 0 (missing), {known}.")
    return words[int(code)] if code else None


def _conflict(several: list[dict]) -> str | None:
    """Why the rows of one IXI number can't be the same person, or None."""
    ages = [one["age"] for one in several if one["age"] is not None]
    sexes = {one["sex"] for one in several} - {None}
    contradictions = []
    if ages and max(ages) - min(ages) > AGE_TOLERANCE_YEARS:
        contradictions.append("age (" + " and ".join(f"{age:.2f}" for age in ages) + " years)")
    if len(sexes) > 1:
        contradictions.append("sex")
    if not contradictions:
        return None
    return (
        f"The spreadsheet has {len(several)} rows of this participant that disagree in {' and '.join(contradictions)}."
    )


def _agreed(values: list, name: str) -> object:
    """The one value that the rows agree on; None where there is none or they differ (ages differ by hours only)."""
    known = [value for value in values if value is not None]
    return known[0] if known and (name == "age" or len(set(known)) == 1) else None
