"""IXI: T1-weighted scans of healthy volunteers from three London sites, and what its spreadsheet says of them.

The spreadsheet (sheet ``Table``) holds some people twice and uses 0 for "not known". What is done about it is decided
by rule, not by a list of people, and each rule stands in the data dictionary.
"""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from neurocohort.cohorts import raw_bids
from neurocohort.cohorts.archives import stream_members
from neurocohort.cohorts.spreadsheets import number, read_spreadsheet
from neurocohort.errors import InputError, ScanExcluded

T1_NAME = re.compile(r"IXI(\d{3})-(Guys|HH|IOP)-(\d{4})-T1\.nii\.gz")
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
DESCRIPTION = {
    "Name": "IXI",
    "DatasetType": "raw",
    "License": "CC BY-SA 3.0",
    "Acknowledgements": "IXI - Information eXtraction from Images (EPSRC GR/S21533/02), brain-development.org",
    "SourceDatasets": [{"URL": "https://brain-development.org/ixi-dataset/"}],
}


def ingest_ixi(archives: Sequence[Path | str], spreadsheet: Path | str, folder: Path | str) -> dict:
    """Turn IXI's T1 archive(s) and spreadsheet into the raw BIDS layout under ``folder``.

    Images are copied byte for byte. An image that can't be read, and every image of a participant whose two rows in
    the spreadsheet contradict each other, becomes a row of ``exclusions.tsv``. An image without a row in the
    spreadsheet, or without an age, stays with n/a. A row without an image is no scan and is only counted in the notes.

    Returns the numbers of scans, participants, excluded rows and the notes. Raises InputError where an archive is
    damaged or holds no T1 image, and where the spreadsheet lacks a column or has a cell of the wrong kind.
    """
    people, conflicts, nameless = read_demographics(spreadsheet)
    collected = raw_bids.Ingested(Path(folder))
    for reason in nameless:
        collected.exclude(None, None, reason)
    seen: dict[str, str] = {}
    others: list[str] = []
    for archive in archives:
        for name, content in stream_members(archive, lambda name: bool(_t1(name))):
            if content is None:
                others.append(name)
                continue
            number_text, site = _t1(name).group(1, 2)
            if number_text in seen:
                collected.note(
                    f"{Path(archive).name}: {name} is a second T1 image after {seen[number_text]}; it is ignored."
                )
                continue
            seen[number_text] = name
            _take(collected, int(number_text), site, content, people, conflicts)
    if not seen:
        where = ", ".join(str(archive) for archive in archives) or "the archives (none are given)"
        raise InputError(
            f"No member of {where} has a name like IXI012-HH-1211-T1.nii.gz (found: "
            f"{', '.join(others[:3]) or 'nothing'}); IXI-T1.tar is expected."
        )
    if others:
        collected.note(
            f"{len(others)} file(s) in the archives are not T1 images by name, and are ignored: {_few(others)}."
        )
    if unpictured := sorted({*people, *conflicts} - {int(text) for text in seen}):
        collected.note(
            f"{len(unpictured)} of the {len(people) + len(conflicts)} people in the spreadsheet have no T1 image in "
            f"the archives: {_few([f'IXI{one:03d}' for one in unpictured])}."
        )
    return raw_bids.write_tables(
        collected, VARIABLES, DESCRIPTION, ("age", "sex", "site", "scanner", *DEMOGRAPHICS[2:])
    )


def read_demographics(spreadsheet: Path | str) -> tuple[dict[int, dict], dict[int, str], list[str]]:
    """Read the spreadsheet: (what is known of each IXI number, why a number is excluded, rows without a number).

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
    return people, conflicts, nameless


def _t1(name: str) -> re.Match | None:
    return T1_NAME.fullmatch(PurePosixPath(name).name)


def _take(
    collected: raw_bids.Ingested, identity: int, site: str, content: bytes, people: dict, conflicts: dict
) -> None:
    """Keep or exclude one image."""
    participant_id = f"sub-IXI{identity:03d}"
    scan_id = f"{participant_id}_ses-1"
    try:
        if identity in conflicts:
            raise ScanExcluded(raw_bids.STAGE, conflicts[identity])
        raw_bids.check_nifti(content)
    except ScanExcluded as exclusion:
        collected.exclude(participant_id, scan_id, exclusion.reason)
        return
    path = f"{participant_id}/ses-1/anat/{scan_id}_T1w.nii.gz"
    collected.scans[scan_id] = {
        "participant_id": participant_id,
        "session_id": "ses-1",
        "scan_id": scan_id,
        "site": site,
        "scanner": SITES[site][1],
        "path": path,
        "image_sha256": collected.write_image(path, content),
        **people.get(identity, {}),
    }


def _person(spreadsheet: Path | str, table: pd.DataFrame, row: int) -> dict:
    """One row in this project's words."""
    person = {
        "age": number(spreadsheet, table, row, "AGE") or None,
        "sex": _coded(spreadsheet, table, row, SEX_COLUMN, SEXES),
    }
    for name, column, (low, high) in (
        ("height_cm", "HEIGHT", HEIGHT_RANGE_CM),
        ("weight_kg", "WEIGHT", WEIGHT_RANGE_KG),
    ):
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


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
