"""The output of `neurocohort check`: what ingest will do with the cohorts of a study (scans, exclusions and notes)."""

import os
from pathlib import Path

from neurocohort.notes import Note, grouped, read_notes
from neurocohort.sources.local_plan import LocalPlan
from neurocohort.sources.variables import values_of_plan
from neurocohort.study.cohorts import plan_of_cohort
from neurocohort.text import few
from neurocohort.user_files import printable

EXCLUSIONS_SHOWN = 5


def preview(cohorts: dict[str, dict], data: Path) -> list[str]:
    """Lines about each local cohort, and the notes of all cohorts, at most a screen.

    Args:
        cohorts: The configured cohorts.
        data: The folder that ingest writes to. It has the notes of a public cohort after its ingest.
    """
    lines, notes = [], {}
    for name, cohort in cohorts.items():
        if (plan := plan_of_cohort(cohort)) is not None:
            notes[name] = notes_of_plan(plan)
            lines += [f"{name}: {_counted(plan)}", *(f"  {row}" for row in _exclusions(plan))]
        elif (written := data / name / "notes.tsv").is_file():
            notes[name] = read_notes(written)
    return [*lines, *grouped(notes, f"data/<cohort>/notes.tsv{' after ingest' if lines else ''}")]


def notes_of_plan(plan: LocalPlan) -> list[Note]:
    """All notes that are possible before an image is opened."""
    return [*plan.notes.notes, *values_of_plan(plan).notes.notes]


def _counted(plan: LocalPlan) -> str:
    people = len({scan.participant_id for scan in plan.scans})
    sentence = f"{len(plan.scans)} scan(s) of {people} participant(s)"
    return f"{sentence}, {len(plan.exclusions)} excluded before reading" if plan.exclusions else sentence


def _exclusions(plan: LocalPlan) -> list[str]:
    rows = [
        f"excluded: {scan_id or participant_id}: {printable(reason)}"
        for participant_id, scan_id, reason in plan.exclusions
    ]
    absent = [scan.scan_id for scan in plan.scans if not all(os.path.exists(path) for path in scan.images.values())]
    if absent:
        rows.append(f"{len(absent)} scan(s) have an image that doesn't exist, and will be excluded: {few(absent)}.")
    more = len(rows) - EXCLUSIONS_SHOWN
    return [*rows[:EXCLUSIONS_SHOWN], f"... and {more} more"] if more > 0 else rows
