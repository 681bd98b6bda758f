"""Matching the rows of a BIDS folder's tables to its session folders."""

from collections import defaultdict
from pathlib import Path

from neurocohort.errors import InputError
from neurocohort.notes import Kind
from neurocohort.sources.bids_labels import without_zeros
from neurocohort.sources.local_plan import LocalPlan
from neurocohort.sources.local_tables import CohortTables
from neurocohort.text import few

Sessions = dict[str, set[str]]  # by participant


def match_sessions(plan: LocalPlan, source: Path, without_sessions: set[str]) -> None:
    """Give the rows of sessions in ``plan.tables`` the names of their folders, and note rows and folders without a partner.

    A row whose name differs from a folder of the participant only in leading zeros (ses-M00, ses-M000) belongs to that folder.
    The only row of a participant ``without_sessions`` (without session folders) belongs to their scan.

    Raises:
        InputError: If no row has a folder.
    """
    folders: Sessions = defaultdict(set)
    for scan in plan.scans:
        folders[scan.participant_id].add(scan.session_id)
    for exclusion in plan.exclusions:
        if exclusion.scan_id:  # None if a participant's folder can't be listed
            session = exclusion.scan_id.removeprefix(f"{exclusion.participant_id}_").partition("_")[0]
            folders[str(exclusion.participant_id)].add(session)
    rows: Sessions = defaultdict(set)
    for participant_id, session_id in plan.tables.sessions:
        rows[participant_id].add(session_id)
    _match_single_rows(plan, rows, folders, without_sessions)
    _match_without_zeros(plan, rows, folders)
    shared = [one for one in sorted(rows) if one in folders]
    without_folder = [f"{one}_{session}" for one in shared for session in sorted(rows[one] - folders[one])]
    without_row = [f"{one}_{session}" for one in shared for session in sorted(folders[one] - rows[one])]
    if shared and not any(rows[one] & folders[one] for one in shared):
        raise InputError(
            f"The tables of {source} name the sessions {few(without_folder)}, and none of them has a folder; the folders are "
            f"{few(without_row)}. Expected the folders' names in the column session_id."
        )
    plan.notes.add_list(Kind.SESSIONS, without_folder, "session(s) of the tables have no folder with an image")
    plan.notes.add_list(
        Kind.SESSIONS,
        without_row,
        "session folder(s) have no row in the tables of sessions, which have other sessions of the same participants, and stay "
        "with the participants' values or n/a",
    )


def _match_single_rows(plan: LocalPlan, rows: Sessions, folders: Sessions, without_sessions: set[str]) -> None:
    alone = [one for one in sorted(without_sessions & rows.keys()) if len(rows[one]) == 1 and len(folders[one]) == 1]
    for participant_id in alone:
        _rename(plan.tables, participant_id, *rows[participant_id], *folders[participant_id])
        rows[participant_id] = folders[participant_id]
    plan.notes.add_list(
        Kind.SESSIONS, alone, "participant(s) have one scan and one row of a session, which are matched"
    )


def _match_without_zeros(plan: LocalPlan, rows: Sessions, folders: Sessions) -> None:
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
    what = "session(s) have other leading zeros in the tables than in their folders, and are matched"
    plan.notes.add_list(Kind.SESSIONS, matched, what)


def _by_plain(sessions: set[str]) -> dict[str, list[str]]:
    """Sessions by their names without leading zeros."""
    found = defaultdict(list)
    for session in sorted(sessions):
        found[without_zeros(session)].append(session)
    return found


def _rename(tables: CohortTables, participant_id: str, session: str, folder: str) -> None:
    if session != folder:
        tables.sessions[participant_id, folder] = tables.sessions.pop((participant_id, session))
