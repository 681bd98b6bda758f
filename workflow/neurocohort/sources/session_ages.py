"""The age at each session, for participants with several sessions and one age in the tables.

It is computed from dates or delays; without these, a note says that all sessions have one age.
"""

import datetime
import os
import re
from collections import defaultdict
from pathlib import Path

from neurocohort.errors import InputError
from neurocohort.notes import Kind
from neurocohort.sources.data_dictionary import DIGITS, UNITS_PER_YEAR, Entries, entry_of, given_unit, unit_of
from neurocohort.sources.local_files import scans_table, sidecar
from neurocohort.sources.local_plan import LocalPlan, LocalScan
from neurocohort.sources.local_tables import Texts, read_local_table
from neurocohort.sources.variable_numbers import number_of
from neurocohort.text import few
from neurocohort.user_files import UnusableFile, read_user_json

# Columns of a table of sessions with the time since the participant's age was taken, and their default units.
DELAYS = {"delay": "day", "delay_days": "day", "days_from_baseline": "day", "days_since_baseline": "day"}
DELAYS |= {"months_from_baseline": "month", "months_since_baseline": "month", "delay_months": "month"}
DELAYS |= {"years_from_baseline": "year", "years_since_baseline": "year", "delay_years": "year"}
DATE = re.compile(r"\d{4}-\d\d-\d\d")
DICOM_AGE = re.compile(r"(\d{3})([YMWD])")
DICOM_UNITS = {"Y": "year", "M": "month", "W": "week", "D": "day"}


def fill_session_ages(plan: LocalPlan, source: Path | None) -> None:
    """Put the age at the session into ``plan.tables`` for participants with several sessions and one age.

    The sources, in this order: the time since baseline in the session's row (DELAYS), ``acq_time`` in the session's row or in
    its ``_scans.tsv`` in ``source``, ``PatientAge`` in the image's .json. The participant's age counts as that of the first
    session. What was used is noted, and so are participants whose sessions all have one age.
    """
    sessions: dict[str, dict[str, LocalScan]] = defaultdict(dict)
    for scan in plan.scans:
        sessions[scan.participant_id].setdefault(scan.session_id, scan)
    filled: dict[str, list[str]] = defaultdict(list)
    for participant_id, scans in sessions.items():
        age = number_of(plan.tables.participants.get(participant_id, {}).get("age") or "")
        lacking = [one for one in scans if "age" not in plan.tables.sessions.get((participant_id, one), {})]
        if len(scans) < 2 or not lacking:
            continue
        ages, way = _ages(plan, source, scans, age)
        for session_id in lacking:
            if session_id in ages:
                row = plan.tables.sessions.setdefault((participant_id, session_id), {})
                row["age"] = repr(round(ages[session_id], DIGITS))
                filled[way].append(f"{participant_id}_{session_id}")
        if ages:
            plan.tables.names.setdefault("age", ("PatientAge", "the images' .json"))
    for way, names in filled.items():
        plan.notes.add(Kind.AGES, f"The age at {len(names)} session(s) is {way}: {few(names)}.")
    _note_one_age(plan, sessions)


def _ages(
    plan: LocalPlan, source: Path | None, scans: dict[str, LocalScan], age: float | None
) -> tuple[dict[str, float], str]:
    """The age at each session with known data, and how it was found."""
    (participant_id,) = {scan.participant_id for scan in scans.values()}
    rows = {session: plan.tables.sessions.get((participant_id, session), {}) for session in scans}
    if age is not None:
        delays = {session: _delay_years(row, plan.entries) for session, row in rows.items()}
        if known := {session: delay for session, delay in delays.items() if delay is not None}:
            way = "the participant's age and the time since baseline"
            return {session: age + delay for session, delay in known.items()}, way
        dates = {
            session: _date(rows[session].get("acq_time")) or _scan_date(plan, source, scan)
            for session, scan in scans.items()
        }
        dated = {session: date for session, date in dates.items() if date is not None}
        if len(dated) == len(dates):  # which session is first is certain only if every session has a date
            first = min(dated.values())
            years = {session: (date - first).days / UNITS_PER_YEAR["day"] for session, date in dated.items()}
            way = "the participant's age, used as that of the first session, and acq_time"
            return {session: age + delay for session, delay in years.items()}, way
    ages = {session: _patient_age(scan) for session, scan in scans.items()}
    return {session: found for session, found in ages.items() if found is not None}, "PatientAge of the image's .json"


def _delay_years(row: Texts, entries: Entries) -> float | None:
    for name, value in row.items():
        delay = number_of(value or "")
        if name.lower() in DELAYS and delay is not None:
            unit = unit_of(entry_of(entries, name), DELAYS[name.lower()])
            if unit is None:
                raise InputError(
                    f"`Units` of {name} is {given_unit(entry_of(entries, name))!r} in the data dictionary; expected years, "
                    "months, weeks or days. Correct it, or leave it out."
                )
            return delay / UNITS_PER_YEAR[unit]
    return None


def _date(text: str | None) -> datetime.date | None:
    if not text or not (found := DATE.match(text)):
        return None
    try:
        return datetime.date.fromisoformat(found[0])
    except ValueError:
        return None


def _scan_date(plan: LocalPlan, source: Path | None, scan: LocalScan) -> datetime.date | None:
    """The acq_time of the image in ``sub-X[_ses-Y]_scans.tsv`` next to its anat folder. An unreadable table is noted."""
    if source is None:
        return None
    image = scan.images["T1w"]
    path = scans_table(source, *image.parent.parent.relative_to(source).parts)
    if not os.path.lexists(path):
        return None
    try:
        rows = read_local_table(path, required=("filename",), kept=("filename", "acq_time")).rows.values()
    except InputError as error:
        plan.notes.add(Kind.TABLES, f"Its content is ignored: {error}", scan.participant_id, scan.scan_id)
        return None
    return next((_date(row.get("acq_time")) for row in rows if Path(row["filename"] or "").name == image.name), None)


def _patient_age(scan: LocalScan) -> float | None:
    try:
        found = DICOM_AGE.fullmatch(str(read_user_json(sidecar(scan.images["T1w"])).get("PatientAge")))
    except (UnusableFile, ValueError):
        return None
    return int(found[1]) / UNITS_PER_YEAR[DICOM_UNITS[found[2]]] if found else None


def _note_one_age(plan: LocalPlan, sessions: dict[str, dict[str, LocalScan]]) -> None:
    """Note the participants whose sessions all have the same age, which is right only for sessions within a few months."""
    same = []
    for participant_id, scans in sessions.items():
        ages = [plan.tables.of(participant_id, session_id).get("age") for session_id in scans]
        if len(ages) > 1 and ages[0] is not None and len(set(ages)) == 1:
            same.append(participant_id)
    if same:
        sentence = f"{len(same)} participant(s) have one age for all of their sessions, as if these were of one day: {few(same)}."
        plan.notes.add(Kind.AGES, f"{sentence} Give the age at each session in a table of sessions, or its acq_time.")
