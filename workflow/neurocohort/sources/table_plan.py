"""The plan of an ingest of a table of scans: the participant, session and files of each row."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from neurocohort.errors import InputError
from neurocohort.notes import Kind, Notes
from neurocohort.sources.bids_labels import Labels
from neurocohort.sources.columns import LABELS, PATH_COLUMNS
from neurocohort.sources.image_choice import misfiled
from neurocohort.sources.local_files import named_file
from neurocohort.sources.local_plan import LocalPlan, LocalScan, check_modalities
from neurocohort.sources.local_tables import LocalTable, label_of
from neurocohort.sources.session_ages import fill_session_ages
from neurocohort.sources.variables import cohort_of, read_scan_table
from neurocohort.text import few

SESSION = "ses-1"  # of rows without a session


def plan_table(
    table: Path,
    *,
    modalities: Sequence[str] = ("T1w",),
    base: Path | None = None,
    masks: Mapping[str, str] | None = None,
) -> LocalPlan:
    """Plan what `ingest_table` will do; its docstring describes the arguments.

    Raises:
        InputError: If the table can't be read, an ID can't be a BIDS label, two IDs become one label, two rows have the same
            participant and session, no image exists, or no file of a column with masks does.
    """
    check_modalities(modalities)
    notes = Notes()
    content = read_scan_table(table, notes, masks=tuple((masks or {}).values()))
    if not content.rows:
        raise InputError(f"{table} has a header and no row below it; expected one row per scan.")
    _check_path_columns(content, modalities, masks or {})
    keys = _keys(content, notes)
    plan = LocalPlan(cohort_of(content, keys), notes=notes)
    if without := sum(not row.get("session_id") for row in content.rows.values()):
        notes.add(Kind.SESSIONS, f"{without} row(s) name no session; their scans are {SESSION}.")
    for number, row in content.rows.items():
        participant_id, session_id = keys[number]
        cells = {modality: row.get(PATH_COLUMNS[modality]) for modality in modalities}
        images = {modality: named_file(cell, table, base) for modality, cell in cells.items() if cell}
        cell = row.get(PATH_COLUMNS[LABELS])
        if lacking := [PATH_COLUMNS[modality] for modality, cell in cells.items() if not cell]:
            reason = f"Row {number} of the table has no {' and no '.join(lacking)}."
            plan.exclude(participant_id, f"{participant_id}_{session_id}", reason)
        else:
            labels = named_file(cell, table, base) if cell else None
            drawn = {
                name: named_file(cell, table, base)
                for name, column in (masks or {}).items()
                if (cell := row.get(column))
            }
            plan.scans.append(LocalScan(participant_id, session_id, "", images, labels, drawn))
    if plan.scans and not any(os.path.lexists(scan.images["T1w"]) for scan in plan.scans):
        raise InputError(
            f"{table} names {len(plan.scans)} image(s), and none of them is there, such as {plan.scans[0].images['T1w']}; "
            f"expected absolute paths, or paths that start from {base or table.absolute().parent}."
        )
    for name, column in (masks or {}).items():
        named = [scan.masks[name] for scan in plan.scans if name in scan.masks]
        if named and not any(map(os.path.lexists, named)):
            raise InputError(
                f"{table} has {len(named)} cell(s) in the column {column}, which `masks` names for {name}, and none is the "
                f"path of a file that is there, such as {named[0]}; correct the paths, or name the column of the masks' paths."
            )
    _note_images(plan)
    fill_session_ages(plan, None)
    return plan


def _check_path_columns(table: LocalTable, modalities: Sequence[str], masks: Mapping[str, str]) -> None:
    columns: set[str] = set().union(*table.rows.values())
    if absent := [PATH_COLUMNS[modality] for modality in modalities if PATH_COLUMNS[modality] not in columns]:
        raise InputError(
            f"{table.path} lacks the column(s) {', '.join(absent)}, which the modalities {', '.join(modalities)} need; add "
            "them, or leave those modalities out."
        )
    for name, column in masks.items():
        if column not in columns:
            raise InputError(
                f"{table.path} lacks the column {column}, which `masks` names for {name}; add it, with the path of each scan's "
                f"mask, or correct the name. The table has {few(sorted(columns))}."
            )


def _keys(table: LocalTable, notes: Notes) -> dict[int, tuple[str, str]]:
    """Participant and session by row. Raises InputError if they can't be BIDS labels, or occur twice."""
    keys: dict[int, tuple[str, str]] = {}
    rows: dict[tuple[str, str], int] = {}
    people, sessions = Labels("sub-", table.path.name), Labels("ses-", table.path.name)
    for number, row in table.rows.items():
        participant_id = label_of(people, table.path, number, row.get("participant_id"), "participant_id")
        session = row.get("session_id") or SESSION
        session_id = label_of(sessions, table.path, number, session, "session_id", participant_id)
        key = participant_id, session_id
        if key in rows:
            raise InputError(
                f"{table.path}, rows {rows[key]} and {number} are both of {' '.join(key)}; give each scan a session_id of its "
                "own, or leave one of them out."
            )
        keys[number] = key
        rows[key] = number
    people.note(notes)
    sessions.note(notes)
    return keys


def _note_images(plan: LocalPlan) -> None:
    """Note images named as another participant's, and images that several rows name. The table decides."""
    users = defaultdict(list)
    for scan in plan.scans:
        image = scan.images["T1w"]
        users[os.path.realpath(image)].append(scan.scan_id)
        if whose := misfiled(image.name, scan.participant_id, None):
            sentence = f"The image {image.name} is named as {whose}, and is used for this participant, as in the table."
            plan.notes.add(Kind.IMAGES, sentence, scan.participant_id, scan.scan_id)
    for path, scans in users.items():
        if len(scans) > 1:
            plan.notes.add_list(Kind.IMAGES, scans, f"scans have the same image, {os.path.basename(path)}")
