"""Which row of a BIDS folder's tables belongs to which session folder, and notes on the rows and folders that have no partner."""

from collections import defaultdict
from pathlib import Path

from neurocohort.errors import InputError
from neurocohort.notes import Kind
from neurocohort.sources.bids_labels import without_zeros
from neurocohort.sources.local_plan import LocalPlan
from neurocohort.sources.local_tables import CohortTables, few


def match_sessions(plan: LocalPlan, source: Path, without_folders: set[str]) -> None:
    """Give the rows of sessions in ``plan.tables`` the names of their folders, and note what has no partner.

    A row that differs from a folder of the participant in leading zeros alone (ses-M00, ses-M000) is that folder's. The one
    row of a participant ``without_folders`` of sessions is their scan's. Raises InputError where no row has a folder.
    """
    folders = defaultdict(set)
    for scan in plan.scans:
        folders[scan.participant_id].add(scan.session_id)
    for participant_id, scan_id, _ in plan.exclusions:
        if scan_id:  # None where a participant's folder can't be listed
            folders[participant_id].add(scan_id.removeprefix(f"{participant_id}_").partition("_")[0])
    rows = defaultdict(set)
    for participant_id, session_id in plan.tables.sessions:
        rows[participant_id].add(session_id)
    alone = [one for one in sorted(without_folders & rows.keys()) if len(rows[one]) == 1 and len(folders[one]) == 1]
    for participant_id in alone:
        _rename(plan.tables, participant_id, *rows[participant_id], *folders[participant_id])
        rows[participant_id] = folders[participant_id]
    if alone:
        plan.notes.add(
            Kind.SESSIONS,
            f"{len(alone)} participant(s) have one scan and one row of a session, which are taken together: {few(alone)}.",
        )
    _match_without_zeros(plan, rows, folders)
    shared = [one for one in sorted(rows) if one in folders]
    without_folder = [f"{one}_{session}" for one in shared for session in sorted(rows[one] - folders[one])]
    without_row = [f"{one}_{session}" for one in shared for session in sorted(folders[one] - rows[one])]
    if shared and not any(rows[one] & folders[one] for one in shared):
        raise InputError(
            f"The tables of {source} name the sessions {few(without_folder)}, and none of them has a folder; the folders are "
            f"{few(without_row)}. Expected the folders' names in the column session_id."
        )
    if without_folder:
        plan.notes.add(
            Kind.SESSIONS,
            f"{len(without_folder)} session(s) of the tables have no folder with an image: {few(without_folder)}.",
        )
    if without_row:
        plan.notes.add(
            Kind.SESSIONS,
            f"{len(without_row)} session folder(s) have no row in the tables of sessions, which have others of the "
            "same participants, "
            f"and stay with the participants' values or n/a: {few(without_row)}.",
        )


def _match_without_zeros(plan: LocalPlan, rows: dict[str, set[str]], folders: dict[str, set[str]]) -> None:
    matched = []
    for participant_id in sorted(rows.keys() & folders.keys()):
        of_rows, of_folders = (_by_plain(group[participant_id]) for group in (rows, folders))
        for plain, (session, *more) in of_rows.items():
            (folder, *others) = of_folders.get(plain, ["", ""])
            if more or others or session == folder:
                continue
            _rename(plan.tables, participant_id, session, folder)
            rows[participant_id] = rows[participant_id] - {session} | {folder}
            matched.append(f"{participant_id}_{session} is {folder}")
    if matched:
        plan.notes.add(
            Kind.SESSIONS,
            f"{len(matched)} session(s) have other leading zeros in the tables than in their folders, and are taken "
            "for the same: "
            f"{few(matched)}.",
        )


def _by_plain(sessions: set[str]) -> dict[str, list[str]]:
    """Sessions by their names without leading zeros."""
    found = defaultdict(list)
    for session in sorted(sessions):
        found[without_zeros(session)].append(session)
    return found


def _rename(tables: CohortTables, participant_id: str, session: str, folder: str) -> None:
    if session != folder:
        tables.sessions[participant_id, folder] = tables.sessions.pop((participant_id, session))
