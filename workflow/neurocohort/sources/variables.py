"""The variables of a user's own cohort: their kinds, for the check of the configuration, and their values for scans.tsv.

This module imports little, because the configuration is checked at the start of every Snakemake process.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from neurocohort.notes import Kind, Notes
from neurocohort.sources.cells import DECIMAL_COMMA, MISSING_NUMBERS, MISSING_TEXTS
from neurocohort.sources.columns import LABELS, PATH_COLUMNS
from neurocohort.sources.data_dictionary import ACCEPTED_SEXES, SEXES, UNITS_PER_YEAR, Entries, Entry, entry_of, unit_of
from neurocohort.sources.local_plan import LocalPlan
from neurocohort.sources.local_tables import CohortTables, LocalTable, Texts, read_local_table
from neurocohort.sources.variable_kinds import CATEGORIES, LABEL_MAP, NAME, NUMBER, TWO_CLASSES
from neurocohort.sources.variable_numbers import AGE_RANGE_YEARS, number_of
from neurocohort.text import few

NEWBORN_YEARS = 10.0  # if nobody else is younger, an age of 0 probably means a missing one
LONGEST_STUDY_YEARS = 30.0
SAME_AGE_YEARS = 1.0  # between an age in whole years and one in months
MEASURE = r"%|kg|g|mm|cm|m|ml|l|mm3|cm3|y|yr|yrs|years?|mo|months?|d|days?"
# Decimal commas, thousands, limits of detection, units: what a person reads as a number.
NEARLY_A_NUMBER = re.compile(
    rf"[<>\u2264\u2265]?=?\s*[+\u2212-]?\d+([.,]\d+|[ '\u00a0\u202f]\d{{3}})*\s*({MEASURE})?", re.IGNORECASE
)
# Names of columns that may be meant for a known variable.
MAY_MEAN = {"age": re.compile(r"(?i)age(?=_|$)(?<![a-z]age)"), "sex": re.compile(r"(?i)(gender|sex)(?=_|$)")}
TABLE_KEYS = ("participant_id", "session_id", *PATH_COLUMNS.values())
EVERY_COHORT: dict[str, str | None] = {name: NAME for name in ("participant_id", "session_id", "scan_id")}
EVERY_COHORT |= {"site": CATEGORIES, "scanner": CATEGORIES, "age": NUMBER, "sex": TWO_CLASSES}


class Variables(NamedTuple):
    """The variables of a cohort's scans.

    ``values``: by scan and variable; None for missing. ``dictionary``: entry of the data dictionary of each variable. ``notes``:
    what is changed or doubtful. ``why_missing``: by variable, the note on values that are n/a.
    """

    values: dict[str, dict[str, object]]
    dictionary: dict[str, Entry]
    notes: Notes
    why_missing: dict[str, str]


def kinds_of_plan(plan: LocalPlan) -> dict[str, str | None]:
    """The kind of each variable that scans.tsv will have; None if every value is missing. ``dseg``: if a scan has a label map."""
    tables = plan.tables
    kinds = {name: _kind(name, tables.texts(name)) for name in tables.names if name not in EVERY_COHORT}
    return EVERY_COHORT | kinds | ({LABELS: LABEL_MAP} if any(scan.segmented for scan in plan.scans) else {})


def values_of_plan(plan: LocalPlan) -> Variables:
    """The variables of the scans of a plan, as scans.tsv will have them."""
    return values_for_scans(plan.tables, plan.keys, plan.entries)


def read_scan_table(table: Path, notes: Notes | None = None, *, masks: tuple[str, ...] = ()) -> LocalTable:
    """Read a user's table of scans; ``masks``: columns with the paths of masks.

    Raises:
        InputError: If it can't be read, or lacks ``participant_id`` or ``path``.
    """
    return read_local_table(table, required=("participant_id", "path"), kept=(*TABLE_KEYS, *masks), notes=notes)


def cohort_of(table: LocalTable, keys: dict[int, tuple[str, str]]) -> CohortTables:
    """A table of scans in the form of a cohort's tables. ``keys``: participant and session by row."""
    names = {name: (column, table.path.name) for name, column in table.names.items()}
    sessions = {keys[number]: {name: row[name] for name in names} for number, row in table.rows.items()}
    return CohortTables(names, {}, sessions)


def values_for_scans(tables: CohortTables, scans: dict[str, tuple[str, str]], entries: Entries) -> Variables:
    """The variables of ``scans``, as scans.tsv has them.

    Ages are years from 0 to 120, sexes M or F, sites and scanners texts. A column with only numbers (and codes for a missing
    value, such as None) is numeric, unless its name ends with ``_id``. Other values are None.

    Args:
        tables: The cohort's tables.
        scans: Participant and session by scan_id.
        entries: The source's own data dictionary.
    """
    texts = {scan_id: tables.of(*key) for scan_id, key in scans.items()}
    made = Variables({scan_id: {} for scan_id in scans}, {}, Notes(), {})
    for name in tables.names:
        _add_variable(made, tables, name, texts, entries)
    overridden = Counter(
        name
        for participant_id, session_id in scans.values()
        for name, text in tables.sessions.get((participant_id, session_id), {}).items()
        if text is None and tables.participants.get(participant_id, {}).get(name) is not None
    )
    for name, count in sorted(overridden.items()):
        sentence = f"{name} is n/a in {count} session(s) by their own table, although the participant has a value."
        made.notes.add(Kind.VALUES, sentence)
    _note_contradictions(made.notes, tables, scans)
    for name, meaning in (("age", "the age in years"), ("sex", "the sex")):
        if name not in tables.names:
            meant = [column for one, (column, _) in tables.names.items() if MAY_MEAN[name].search(one)]
            hint = f" Rename {meant[0]!r} to {name} if it is {meaning}." if meant else ""
            made.why_missing[name] = f"No table has a column {name}: it is n/a for every scan.{hint}"
            made.notes.add(Kind.VALUES, made.why_missing[name])
    return made


def _add_variable(made: Variables, tables: CohortTables, name: str, texts: dict[str, Texts], entries: Entries) -> None:
    """Convert one variable. ``texts``: by scan."""
    column, file = tables.names[name]
    source = f"The column {column!r} of {file}"
    entry = entry_of(entries, column) or {"Description": f"Column {column!r} of {file}"}
    convert, entry = _conversion(name, f"Column {column!r} of {file}", entry, tables.texts(name))
    made.dictionary[name] = entry
    if name not in EVERY_COHORT and name != column:
        made.notes.add(Kind.VALUES, f"{source} is called {name} here.")
    found = Counter(text for row in texts.values() if (text := row.get(name)) is not None)
    converted = {text: convert(text) for text in found}
    for scan_id, row in texts.items():
        text = row.get(name)
        made.values[scan_id][name] = None if text is None else converted[text]
    if lost := {text: count for text, count in found.items() if converted[text] is None}:
        made.why_missing[name] = (
            f"{sum(lost.values())} scan(s) have n/a for {name}, because the column {column!r} of {file} has invalid values: "
            f"{few(map(repr, sorted(lost)))}.{_accepted(name, lost)}"
        )
        made.notes.add(Kind.VALUES, made.why_missing[name])
    for sentence in (*_doubts(name, source, found), *_unlike_levels(name, source, found, entry)):
        made.notes.add(Kind.VALUES, sentence)


def is_numeric(name: str, texts: Iterable[str]) -> bool:
    """Whether these texts of a variable are all numbers, or codes for a missing value. ``*_id`` is text: 007 is not 7."""
    numbers = [number_of(text) for text in texts if text.upper() not in MISSING_TEXTS]
    return bool(numbers) and not name.endswith("_id") and None not in numbers


def _kind(name: str, texts: set[str]) -> str | None:
    if is_numeric(name, texts):
        return TWO_CLASSES if {number_of(text) for text in texts} - {None} == {0.0, 1.0} else NUMBER
    return {0: None, 2: TWO_CLASSES}.get(len(texts), CATEGORIES)


def _conversion(name: str, source: str, entry: Entry, texts: set[str]) -> tuple[Callable[[str], object], Entry]:
    """The conversion of a variable's texts to values, and its entry of the data dictionary."""
    if name == "age":
        low, high = AGE_RANGE_YEARS
        unit = unit_of(entry) or "year"
        divided = f", divided by {UNITS_PER_YEAR[unit]:g}" if unit != "year" else ""
        derivation = f"{source}{divided}; other values than numbers from {low:g} to {high:g} years are n/a."
        kept = _without(entry, "Units", "units", "Unit", "unit", "Levels")
        return _age, {**kept, "Units": "year", "Derivation": derivation}
    kept = _without(entry, "Units", "Levels")
    if name == "sex":
        derivation = f"{source}: {ACCEPTED_SEXES}, or codes that Levels explain; n/a for all else."
        levels = {"M": "male", "F": "female"}
        return lambda text: SEXES.get(text.lower()), {**kept, "Levels": levels, "Derivation": derivation}
    numeric = is_numeric(name, texts)
    if (
        numeric and name in EVERY_COHORT
    ):  # site and scanner are categories, and a reader of the table would take 1 for a number
        return lambda text: f"{name}-{text}", {
            **kept,
            "Derivation": f"{source}, whose numbers have {name}- before them.",
        }
    return (number_of if numeric else str), entry


def _accepted(name: str, lost: Iterable[str]) -> str:
    """What to do about invalid values, if that is known."""
    if name == "sex":
        return f" Accepted are {ACCEPTED_SEXES}; explain other codes by `Levels` in the table's data dictionary."
    if any(DECIMAL_COMMA.fullmatch(text) for text in lost):
        return " Write decimals with a point."
    return f" Expected years from {AGE_RANGE_YEARS[0]:g} to {AGE_RANGE_YEARS[1]:g}." if name == "age" else ""


def _doubts(name: str, column: str, found: Counter[str]) -> Iterator[str]:
    """Sentences on values that are used as they are and may be meant differently. ``found``: the texts and how often."""
    numbers = {text: number for text in found if (number := number_of(text)) is not None}
    numeric, known = is_numeric(name, found), name in ("age", "sex")
    usual = [number for number in numbers.values() if number not in MISSING_NUMBERS]
    codes = [text for text, number in numbers.items() if number in MISSING_NUMBERS and _stands_out(number, usual)]
    codes += [text for text in found if not numeric and text.upper() in MISSING_TEXTS]
    if codes and not known:
        yield (
            f"{column} holds {few(sorted(codes))} for {sum(found[text] for text in codes)} scan(s), which is used as a value of "
            f"{name}; write n/a if a value is missing."
        )
    others = [number for number in numbers.values() if number > 0]
    if name == "age" and 0 in numbers.values() and others and min(others) >= NEWBORN_YEARS:
        count = sum(found[text] for text, number in numbers.items() if number == 0)
        yield f"{column} holds 0 for {count} scan(s), which is used as an age of 0 years; write n/a if it is missing."
    texts = [text for text in found if text not in numbers]
    nearly = [text for text in texts if NEARLY_A_NUMBER.fullmatch(text)]
    mostly_numbers = len(numbers) + len(nearly) > len(texts) - len(nearly)
    if name not in EVERY_COHORT and not name.endswith("_id") and not numeric and mostly_numbers:
        yield (
            f"{column} holds {few(map(repr, sorted(texts)))} in addition to numbers, so that {name} is categories and not a "
            "number; write n/a for missing values, and decimals with a point."
        )
    alike = defaultdict(list)
    for text in sorted(found) if name in ("site", "scanner") or not (numeric or known) else ():
        alike[f"{numbers[text]:g}" if text in numbers else _plain(text)].append(text)
    for same in alike.values():
        if len(same) > 1:
            shown = few(map(repr, same))
            yield f"{column} holds {shown}, which differ only in capitals, blanks or zeros and are {len(same)} values."


def _unlike_levels(name: str, column: str, found: Counter[str], entry: Entry) -> Iterator[str]:
    """A sentence on values that the ``Levels`` of the data dictionary lack."""
    levels = entry.get("Levels")
    if isinstance(levels, dict) and levels and name not in ("age", "sex"):
        known = {_as_level(str(level)) for level in levels}
        if strange := [text for text in found if _as_level(text) not in known]:
            yield f"{column} holds {few(map(repr, sorted(strange)))}, which its `Levels` don't explain."


def _as_level(text: str) -> str:
    """A level as it is compared: 1.0 is 1."""
    number = number_of(text)
    return text if number is None else f"{number:g}"


def _stands_out(code: float, usual: list[float]) -> bool:
    """Whether a code for a missing value is far from all other numbers."""
    if not usual:
        return True
    if -9 < code < 0 and max(usual) == -code:  # a symmetric scale
        return False
    return all(number >= 0 for number in usual) if code < 0 else code > 2 * max(usual)


def _plain(text: str) -> str:
    """A text without capitals, blanks, underscores and invisible characters."""
    letters = unicodedata.normalize("NFKC", text).casefold()
    return "".join(one for one in letters if not one.isspace() and one != "_" and unicodedata.category(one) != "Cf")


def _note_contradictions(notes: Notes, tables: CohortTables, scans: dict[str, tuple[str, str]]) -> None:
    """Note participants whose age or sex differs from all their sessions', and sessions that seem to be of two people."""
    sessions: dict[str, list[Texts]] = defaultdict(list)
    for participant_id, session_id in sorted(set(scans.values())):
        sessions[participant_id].append(tables.sessions.get((participant_id, session_id), {}))
    for name in ("age", "sex"):
        differ, apart = [], []
        for participant_id, rows in sessions.items():
            own = tables.participants.get(participant_id, {}).get(name)
            values = [text for row in rows if (text := row.get(name)) is not None]
            if own is not None and values and not _agrees(name, own, values):
                differ.append(participant_id)
            if not _of_one_person(name, values):
                apart.append(participant_id)
        what = f"participant(s) have another {name} in participants.tsv than in their sessions, whose value is used"
        notes.add_list(Kind.VALUES, differ, what)
        what = f"ages of more than {LONGEST_STUDY_YEARS:g} years apart" if name == "age" else "different sexes"
        notes.add_list(Kind.VALUES, apart, f"participant(s) have sessions with {what}, as of two people")


def _agrees(name: str, own: str, values: list[str]) -> bool:
    """Whether a participant's value is one of the sessions'; an age may be between those of two sessions."""
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


def _without(entry: Entry, *keys: str) -> Entry:
    return {key: value for key, value in entry.items() if key not in keys}
