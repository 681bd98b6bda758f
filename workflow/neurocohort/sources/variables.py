"""The variables of a user's own cohort: what each is, for checking the configuration, and its values for scans.tsv.

Imports are light, because the configuration is checked at the start of every Snakemake process.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from neurocohort.notes import Kind, Notes
from neurocohort.sources.cells import DECIMAL_COMMA, MISSING_NUMBERS, MISSING_TEXTS
from neurocohort.sources.data_dictionary import ACCEPTED_SEXES, SEXES, UNITS_PER_YEAR, entry_of, unit_of
from neurocohort.sources.local_files import LABELS, PATH_COLUMNS
from neurocohort.sources.local_plan import LocalPlan
from neurocohort.sources.local_tables import CohortTables, LocalTable, few, read_local_table
from neurocohort.sources.variable_kinds import CATEGORIES, LABEL_MAP, NAME, NUMBER, TWO_CLASSES
from neurocohort.sources.variable_numbers import AGE_RANGE_YEARS, number_of

NEWBORN_YEARS = 10.0  # where nobody else is younger, an age of 0 is a code for a missing one
LONGEST_STUDY_YEARS = 30.0
SAME_AGE_YEARS = 1.0  # an age in whole years, and another in months
MEASURE = r"%|kg|g|mm|cm|m|ml|l|mm3|cm3|y|yr|yrs|years?|mo|months?|d|days?"
# Decimal commas, thousands, limits of detection, measures: what a person takes for a number.
NEARLY_A_NUMBER = re.compile(
    rf"[<>\u2264\u2265]?=?\s*[+\u2212-]?\d+([.,]\d+|[ '\u00a0\u202f]\d{{3}})*\s*({MEASURE})?", re.IGNORECASE
)
# Names of columns that may be meant for a known variable.
MAY_MEAN = {"age": re.compile(r"(?i)age(?=_|$)(?<![a-z]age)"), "sex": re.compile(r"(?i)(gender|sex)(?=_|$)")}
TABLE_KEYS = ("participant_id", "session_id", *PATH_COLUMNS.values())
EVERY_COHORT: dict[str, str | None] = {name: NAME for name in ("participant_id", "session_id", "scan_id")}
EVERY_COHORT |= {"site": CATEGORIES, "scanner": CATEGORIES, "age": NUMBER, "sex": TWO_CLASSES}


class Variables(NamedTuple):
    """``values``: by scan, its value of each variable (None for missing). ``dictionary``: each variable's entry of the data
    dictionary. ``notes``: what was changed, or isn't understood. ``why_missing``: by variable, the note on values that are n/a.
    """

    values: dict[str, dict[str, object]]
    dictionary: dict[str, dict]
    notes: Notes
    why_missing: dict[str, str]


def kinds_of_plan(plan: LocalPlan) -> dict[str, str | None]:
    """The variables that scans.tsv will have for a user's own cohort, and what each is; None where every value is missing.

    ``dseg`` is among them where a scan has a label map.
    """
    labelled = any(scan.labels for scan in plan.scans)
    return _kinds(plan.tables) | ({LABELS: LABEL_MAP} if labelled else {})


def values_of_plan(plan: LocalPlan) -> Variables:
    """The variables of the scans of a plan, as scans.tsv will have them."""
    return values_for_scans(plan.tables, plan.keys, plan.entries)


def read_scan_table(table: Path, notes: Notes | None = None) -> LocalTable:
    """A user's table of scans. Raises InputError where it can't be read, or lacks ``participant_id`` or ``path``."""
    return read_local_table(table, required=("participant_id", "path"), kept=TABLE_KEYS, notes=notes)


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

    Ages are years from 0 to 120, sexes M or F, sites and scanners texts; columns that hold numbers alone (and codes for a
    missing value, such as None) are numbers, except those named ``*_id``. What can't be one is None. ``entries``: the source's
    own data dictionary, by its columns' names.
    """
    texts = {scan_id: tables.of(*key) for scan_id, key in scans.items()}
    values: dict[str, dict[str, object]] = {scan_id: {} for scan_id in scans}
    dictionary: dict[str, dict] = {}
    notes, why_missing = Notes(), {}
    for name, (column, file) in tables.names.items():
        entry = entry_of(entries, column) or {"Description": f"Column {column!r} of {file}"}
        convert, entry = _conversion(name, column, file, entry, set(tables.texts(name)) - {None})
        dictionary[name] = entry
        if name not in EVERY_COHORT and name != column:
            notes.add(Kind.VALUES, f"The column {column!r} of {file} is called {name} here.")
        lost = Counter()
        for scan_id, row in texts.items():
            text = row.get(name)
            values[scan_id][name] = None if text is None else convert(text)
            lost[text] += values[scan_id][name] is None and text is not None
        if lost := +lost:
            why_missing[name] = (
                f"{lost.total()} scan(s) have n/a for {name}, because the column {column!r} of {file} holds no such value: "
                f"{few(map(repr, sorted(lost)))}.{_accepted(name, lost)}"
            )
            notes.add(Kind.VALUES, why_missing[name])
        found = Counter(row[name] for row in texts.values() if row.get(name) is not None)
        for sentence in _doubts(name, f"The column {column!r} of {file}", found, entry):
            notes.add(Kind.VALUES, sentence)
    overridden = Counter(
        name
        for participant_id, session_id in scans.values()
        for name, text in tables.sessions.get((participant_id, session_id), {}).items()
        if text is None and tables.participants.get(participant_id, {}).get(name) is not None
    )
    for name, count in sorted(overridden.items()):
        notes.add(
            Kind.VALUES,
            f"{name} is n/a in {count} session(s) by their own table, although the participant has a value.",
        )
    for sentence in _contradictions(tables, scans):
        notes.add(Kind.VALUES, sentence)
    for name in ("age", "sex"):
        if name not in tables.names:
            meant = [column for one, (column, _) in tables.names.items() if MAY_MEAN[name].search(one)]
            kind = "the age in years" if name == "age" else "the sex"
            hint = f" Rename {meant[0]!r} to {name} if it is {kind}." if meant else ""
            why_missing[name] = f"No table has a column {name}: it is n/a for every scan.{hint}"
            notes.add(Kind.VALUES, why_missing[name])
    return Variables(values, dictionary, notes, why_missing)


def is_numeric(name: str, texts: Iterable[str]) -> bool:
    """Whether these texts of a variable are all numbers, but for codes for a missing value; ``*_id`` stays text, for 007 is not
    7."""
    numbers = [number_of(text) for text in texts if text.upper() not in MISSING_TEXTS]
    return bool(numbers) and not name.endswith("_id") and None not in numbers


def _kinds(tables: CohortTables) -> dict[str, str | None]:
    return EVERY_COHORT | {
        name: _kind(name, set(tables.texts(name)) - {None}) for name in tables.names if name not in EVERY_COHORT
    }


def _kind(name: str, texts: set[str]) -> str | None:
    if is_numeric(name, texts):
        return TWO_CLASSES if {number_of(text) for text in texts} - {None} == {0.0, 1.0} else NUMBER
    return {0: None, 2: TWO_CLASSES}.get(len(texts), CATEGORIES)


def _conversion(
    name: str, column: str, file: str, entry: dict, texts: set[str]
) -> tuple[Callable[[str], object], dict]:
    """How a text of this variable becomes its value, and the entry of the data dictionary that says so."""
    if name == "age":
        low, high = AGE_RANGE_YEARS
        unit = unit_of(entry) or "year"
        derivation = f"Column {column!r} of {file}"
        derivation += f", divided by {UNITS_PER_YEAR[unit]:g}" if unit != "year" else ""
        derivation += f"; what is no number from {low:g} to {high:g} years is n/a."
        return _age, _without(entry, "Units", "units", "Unit", "unit", "Levels") | {
            "Units": "year",
            "Derivation": derivation,
        }
    if name == "sex":
        made = {"Levels": {"M": "male", "F": "female"}}
        made["Derivation"] = (
            f"Column {column!r} of {file}: {ACCEPTED_SEXES}, or codes that Levels explain; n/a for all else."
        )
        return lambda text: SEXES.get(text.lower()), _without(entry, "Units", "Levels") | made
    numeric = is_numeric(name, texts)
    if numeric and name in EVERY_COHORT:  # site and scanner are categories, and a table's reader takes 1 for a number
        made = {"Derivation": f"Column {column!r} of {file}, whose numbers have {name}- before them."}
        return lambda text: f"{name}-{text}", _without(entry, "Units", "Levels") | made
    return (number_of if numeric else str), entry


def _accepted(name: str, lost: Iterable[str]) -> str:
    """What to do about values that are none, where that is known."""
    if name == "sex":
        return (
            f" Accepted are {ACCEPTED_SEXES}; explain other codes by `Levels` in the data dictionary beside the table."
        )
    if any(DECIMAL_COMMA.fullmatch(text) for text in lost):
        return " Write decimals with a point."
    return f" Expected years from {AGE_RANGE_YEARS[0]:g} to {AGE_RANGE_YEARS[1]:g}." if name == "age" else ""


def _doubts(name: str, column: str, found: Counter, entry: dict) -> Iterable[str]:
    """Sentences on values that are taken as they stand and may be meant otherwise. ``found``: the texts and how often."""
    numbers = {text: number for text in found if (number := number_of(text)) is not None}
    numeric = is_numeric(name, found)
    usual = [number for number in numbers.values() if number not in MISSING_NUMBERS]
    codes = [text for text, number in numbers.items() if number in MISSING_NUMBERS and _stands_out(number, usual)]
    if not numeric and name not in ("age", "sex"):
        codes += [text for text in found if text.upper() in MISSING_TEXTS]
    if codes and name not in ("age", "sex"):
        count = sum(found[text] for text in codes)
        yield (
            f"{column} holds {few(sorted(codes))} for {count} scan(s), which is taken as a value of {name}; write n/a "
            "where a value is "
            "missing."
        )
    others = [number for number in numbers.values() if number > 0]
    if name == "age" and 0 in numbers.values() and others and min(others) >= NEWBORN_YEARS:
        count = sum(found[text] for text, number in numbers.items() if number == 0)
        yield f"{column} holds 0 for {count} scan(s), which is taken as an age of 0 years; write n/a where it is missing."
    texts = [text for text in found if text not in numbers]
    nearly = [text for text in texts if NEARLY_A_NUMBER.fullmatch(text)]
    apart = len(texts) - len(nearly)
    if name not in EVERY_COHORT and not name.endswith("_id") and not numeric and len(numbers) + len(nearly) > apart:
        yield (
            f"{column} holds {few(map(repr, sorted(texts)))} beside numbers, so that {name} is categories and not a "
            "number; write n/a for "
            "what is missing, and decimals with a point."
        )
    alike = defaultdict(list)
    for text in sorted(found) if name in ("site", "scanner") or not (numeric or name in ("age", "sex")) else ():
        alike[f"{numbers[text]:g}" if text in numbers else _plain(text)].append(text)
    for same in alike.values():
        if len(same) > 1:
            shown = few(map(repr, same))
            yield f"{column} holds {shown}, which differ in capitals, blanks or zeros alone and are {len(same)} values."
    levels = entry.get("Levels")
    if isinstance(levels, dict) and levels and name not in ("age", "sex"):
        known = {str(level) for level in levels} | {
            f"{number:g}" for level in levels if (number := number_of(str(level))) is not None
        }
        strange = [text for text in found if text not in known and f"{numbers.get(text, float('nan')):g}" not in known]
        if strange:
            yield f"{column} holds {few(map(repr, sorted(strange)))}, which its `Levels` don't explain."


def _stands_out(code: float, usual: list[float]) -> bool:
    """Whether a number that other programs write for a missing value is far from all the others."""
    if not usual:
        return True
    if -9 < code < 0 and max(usual) == -code:  # a scale with as much below 0 as above
        return False
    return all(number >= 0 for number in usual) if code < 0 else code > 2 * max(usual)


def _plain(text: str) -> str:
    """A text as a person compares it: without capitals, blanks, underscores and characters that nobody sees."""
    letters = unicodedata.normalize("NFKC", text).casefold()
    return "".join(one for one in letters if not one.isspace() and one != "_" and unicodedata.category(one) != "Cf")


def _contradictions(tables: CohortTables, scans: dict[str, tuple[str, str]]) -> Iterable[str]:
    """Sentences on participants whose own age or sex is that of none of their sessions, or whose sessions are of two people."""
    sessions = defaultdict(list)
    for participant_id, session_id in sorted(set(scans.values())):
        sessions[participant_id].append(tables.sessions.get((participant_id, session_id), {}))
    for name in ("age", "sex"):
        differ, apart = [], []
        for participant_id, rows in sessions.items():
            own = tables.participants.get(participant_id, {}).get(name)
            values = [row[name] for row in rows if row.get(name) is not None]
            if own is not None and values and not _agrees(name, own, values):
                differ.append(participant_id)
            if not _of_one_person(name, values):
                apart.append(participant_id)
        if differ:
            yield (
                f"{len(differ)} participant(s) have another {name} in participants.tsv than in their sessions, whose value is "
                f"taken: {few(differ)}."
            )
        if apart:
            what = f"ages of more than {LONGEST_STUDY_YEARS:g} years apart" if name == "age" else "different sexes"
            yield f"{len(apart)} participant(s) have sessions with {what}, as of two people: {few(apart)}."


def _agrees(name: str, own: str, values: list[str]) -> bool:
    """Whether a participant's value is one of the sessions' own; an age may lie between those of two sessions."""
    if name == "sex":
        return SEXES.get(own.lower(), own) in {SEXES.get(text.lower(), text) for text in values}
    age, ages = number_of(own), _numbers(values)
    return age is None or not ages or min(ages) - SAME_AGE_YEARS <= age <= max(ages) + SAME_AGE_YEARS


def _of_one_person(name: str, values: list[str]) -> bool:
    """Whether sessions with these values may be of one person."""
    if name == "sex":
        return len({SEXES.get(text.lower(), text) for text in values}) < 2
    ages = _numbers(values)
    return not ages or max(ages) - min(ages) <= LONGEST_STUDY_YEARS


def _numbers(texts: list[str]) -> list[float]:
    return [number for text in texts if (number := number_of(text)) is not None]


def _age(text: str) -> float | None:
    value = number_of(text)
    return value if value is not None and AGE_RANGE_YEARS[0] <= value <= AGE_RANGE_YEARS[1] else None


def _without(entry: dict, *keys: str) -> dict:
    return {key: value for key, value in entry.items() if key not in keys}
