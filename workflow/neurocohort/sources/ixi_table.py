"""IXI's spreadsheet (sheet ``Table``): it lists some people twice and uses 0 for "not known".

General rules decide such cases, not a list of people; the data dictionary states each rule.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from neurocohort.sources.data_dictionary import Entry
from neurocohort.sources.spreadsheets import PublishedTable, Row, read_published
from neurocohort.sources.variable_numbers import AGE_RANGE_YEARS
from neurocohort.text import few

SITES = {
    "Guys": ("Guy's Hospital", "Philips 1.5 T"),
    "HH": ("Hammersmith Hospital", "Philips 3 T"),
    "IOP": ("Institute of Psychiatry", "GE 1.5 T"),
}
SEX_COLUMN = "SEX_ID (1=m, 2=f)"
SEXES = {1: "M", 2: "F"}
# Two rows of one person were entered separately: their ages agree to the day or the rows are not one person's.
AGE_TOLERANCE_YEARS = 0.1


class Measure(NamedTuple):
    """A number of the spreadsheet; values outside ``low`` to ``high`` are typing errors, such as those of ``errors``."""

    column: str
    description: str
    unit: str
    low: int
    high: int
    errors: str


class Coded(NamedTuple):
    """A coded variable. ``levels``: by code in the spreadsheet, the level here and its meaning."""

    column: str
    description: str
    levels: dict[int, tuple[str, str]]


MEASURES = {  # the ranges are those of adults
    "height_cm": Measure("HEIGHT", "Height", "cm", 100, 250, "1520 and 1850"),
    "weight_kg": Measure("WEIGHT", "Weight", "kg", 25, 300, "710 and 960"),
}
CODED = {
    "ethnicity": Coded(
        "ETHNIC_ID",
        "Ethnicity",
        {
            1: ("white", "White"),
            2: ("code-2", "code 2, which the spreadsheet uses and does not define"),
            3: ("asian", "Asian or Asian British"),
            4: ("black", "Black or Black British"),
            5: ("chinese", "Chinese"),
            6: ("other", "Other"),
        },
    ),
    "marital_status": Coded(
        "MARITAL_ID",
        "Marital status",
        {
            1: ("single", "Single"),
            2: ("married", "Married"),
            3: ("cohabiting", "Cohabiting"),
            4: ("divorced", "Divorced or separated"),
            5: ("widowed", "Widowed"),
        },
    ),
    "occupation": Coded(
        "OCCUPATION_ID",
        "Occupation",
        {
            1: ("full-time", "Goes out to full-time employment"),
            2: ("part-time", "Goes out to part-time employment (less than 25 hours a week)"),
            3: ("student", "Studies at college or university"),
            4: ("housework", "Full-time housework"),
            5: ("retired", "Retired"),
            6: ("unemployed", "Unemployed"),
            7: ("work-at-home", "Works for pay at home"),
            8: ("other", "Other"),
        },
    ),
    "qualification": Coded(
        "QUALIFICATION_ID",
        "Highest qualification",
        {
            1: ("no-qualifications", "No qualifications"),
            2: ("o-levels", "O-levels, GCSEs or CSEs"),
            3: ("a-levels", "A-levels"),
            4: ("further", "Further education, e.g. City & Guilds or NVQs"),
            5: ("university", "University or polytechnic degree"),
        },
    ),
}
_MERGED = "Where the spreadsheet has two rows of a participant, empty fields are filled from the other row, and a field"
_MERGED += " on which they disagree is n/a."
VARIABLES: dict[str, Entry] = {
    "age": {
        "Description": "Age at the scan, from the spreadsheet; n/a if it has none",
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
    **{
        name: {
            "Description": one.description,
            "Units": one.unit,
            "Derivation": f"{one.column}. 0 is n/a; so are values outside {one.low} to {one.high} {one.unit}, "
            f"which are typing errors such as {one.errors}. {_MERGED}",
        }
        for name, one in MEASURES.items()
    },
    **{
        name: {
            "Description": one.description,
            "Levels": dict(one.levels.values()),
            "Derivation": f"{one.column}; 0 is n/a. {_MERGED}",
        }
        for name, one in CODED.items()
    },
}
DEMOGRAPHICS = ("age", "sex", *MEASURES, *CODED)


def read_demographics(spreadsheet: Path | str) -> PublishedTable[int]:
    """Read the spreadsheet: ages in years, heights in cm, weights in kg, by IXI number.

    Raises:
        InputError: If a column is absent, or a cell has an impossible value.
    """
    measured = (one.column for one in MEASURES.values())
    coded = (one.column for one in CODED.values())
    table = read_published(spreadsheet, ("IXI_ID", SEX_COLUMN, *measured, *coded, "AGE"), sheet="Table")
    rows: dict[int, list[dict[str, object]]] = {}
    nameless = []
    for row in table:
        identity = row.number_in("IXI_ID")
        if identity is None or identity != int(identity) or not 0 < identity < 1000:
            nameless.append(
                f"Row {row.number} of the spreadsheet has the IXI_ID {row.cells['IXI_ID']!r}, which names nobody."
            )
        else:
            rows.setdefault(int(identity), []).append(_person(row))
    conflicts = {identity: reason for identity, several in rows.items() if (reason := _conflict(several))}
    known = {
        identity: {name: _agreed([one[name] for one in several], name) for name in DEMOGRAPHICS}
        for identity, several in rows.items()
        if identity not in conflicts
    }
    return PublishedTable(known, conflicts, nameless, [*_outside_limits(table)])


def _outside_limits(table: list[Row]) -> Iterator[str]:
    """Sentences on impossible heights and weights."""
    for one in MEASURES.values():
        values = (row.number_in(one.column) for row in table)
        if outside := [f"{value:g}" for value in values if value and not one.low <= value <= one.high]:
            yield (
                f"{len(outside)} cell(s) of {one.column} in the spreadsheet are outside {one.low} to {one.high} and taken as "
                f"n/a: {few(outside)}."
            )


def _person(row: Row) -> dict[str, object]:
    """The variables of one row, by name."""
    person: dict[str, object] = {
        "age": row.number_in("AGE", AGE_RANGE_YEARS) or None,
        "sex": _coded(row, SEX_COLUMN, SEXES),
    }
    for name, one in MEASURES.items():
        value = row.number_in(one.column)
        person[name] = value if value is not None and one.low <= value <= one.high else None
    for name, coded in CODED.items():
        person[name] = _coded(row, coded.column, {code: level for code, (level, _) in coded.levels.items()})
    return person


def _coded(row: Row, column: str, levels: dict[int, str]) -> str | None:
    code = row.number_in(column)
    if code and code not in levels:
        known = ", ".join(f"{known} ({level})" for known, level in levels.items())
        raise row.fault(column, f"holds {code:g}; known are 0 (missing), {known}.")
    return levels[int(code)] if code else None


def _conflict(several: list[dict]) -> str | None:
    """Why the rows of one IXI number can't be of the same person, or None."""
    ages = [one["age"] for one in several if one["age"] is not None]
    contradictions = []
    if ages and max(ages) - min(ages) > AGE_TOLERANCE_YEARS:
        contradictions.append("age (" + " and ".join(f"{age:.2f}" for age in ages) + " years)")
    if len({one["sex"] for one in several} - {None}) > 1:
        contradictions.append("sex")
    if not contradictions:
        return None
    return (
        f"The spreadsheet has {len(several)} rows of this participant that disagree in {' and '.join(contradictions)}."
    )


def _agreed(values: list, name: str) -> object:
    """The one value that the rows agree on; None if there is none or they differ (ages differ by hours only)."""
    known = [value for value in values if value is not None]
    return known[0] if known and (name == "age" or len(set(known)) == 1) else None
