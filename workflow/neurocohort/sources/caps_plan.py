"""The plan of an ingest of the t1-linear images of a CAPS folder: one image per session, and its row of a table.

Clinica corrected them for the bias field and registered them affinely to MNI152NLin2009cSym. They are not skull-stripped.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from neurocohort.errors import InputError
from neurocohort.notes import Kind
from neurocohort.sources.bids_plan import Selection, note_participants, sessions_of
from neurocohort.sources.local_files import AnatFolder, anat_folders, matching_images, participant_folders
from neurocohort.sources.local_plan import LocalPlan
from neurocohort.sources.local_tables import read_session_table
from neurocohort.sources.session_ages import fill_session_ages
from neurocohort.sources.session_matching import match_sessions
from neurocohort.text import few

SUBJECTS, IMAGES = "subjects", "t1_linear"  # <CAPS>/subjects/sub-X/ses-Y/t1_linear
WHOLE = "*_space-MNI152NLin2009cSym_res-1x1x1_T1w.nii*"
CROPPED = "*_space-MNI152NLin2009cSym_desc-Crop_res-1x1x1_T1w.nii*"
EITHER = "*_space-MNI152NLin2009cSym*_res-1x1x1_T1w.nii*"


def plan_caps(
    source: Path, *, participants_tsv: Path | None = None, run: str = "first", modalities: Sequence[str] = ("T1w",)
) -> LocalPlan:
    """Plan what `ingest_caps` will do; its docstring describes the arguments.

    Raises:
        InputError: If ``source`` isn't a CAPS folder or has no t1-linear image, the table can't be read or names nobody who has
            an image, or ``run`` is unknown.
    """
    _check_folder(source)
    subjects = source / SUBJECTS
    selection = Selection(subjects, EITHER, run, modalities, IMAGES)
    cropped: list[str] = []
    for session in sessions_of(selection):
        selection.add(_best_of(session, cropped))
    if not selection.participants:
        raise _nothing_found(source)
    selection.note()
    plan = selection.plan
    what = "session(s) have only the cropped image (desc-Crop), which is used"
    plan.notes.add_list(Kind.IMAGES, cropped, what)
    if participants_tsv is None:
        sentence = "The cohort has no participants_tsv, which would give age, sex, diagnosis and other variables."
        plan.notes.add(Kind.TABLES, sentence)
        return plan
    plan.tables, plan.entries = read_session_table(participants_tsv, plan.notes)
    note_participants(plan, f"The rows of {participants_tsv}", selection.participants)
    match_sessions(plan, participants_tsv, selection.without_sessions)
    fill_session_ages(plan, None)
    return plan


def _best_of(session: AnatFolder, cropped: list[str]) -> AnatFolder:
    """The session without its cropped images, if it has a whole one; else its name is added to ``cropped``."""
    cut = matching_images(session.files, CROPPED)
    if not cut:
        return session
    if not matching_images(session.files, WHOLE):
        cropped.append(f"{session.participant_id}_{session.session_id}")
        return session
    left = {image.name for image in cut}
    return session._replace(files=[entry for entry in session.files if entry.name not in left])


def _check_folder(source: Path) -> None:
    expected = f"expected a CAPS folder, with {SUBJECTS}/sub-*/ses-*/{IMAGES}"
    if not os.path.isdir(source):
        raise InputError(f"{source} isn't a folder; {expected}.")
    if os.path.isdir(source / SUBJECTS):
        return
    if not participant_folders(source):
        raise InputError(f"{source} has no folder {SUBJECTS}; {expected}.")
    if source.resolve().name == SUBJECTS:
        raise InputError(
            f"{source} is the folder {SUBJECTS} of a CAPS folder; give the CAPS folder itself, {source.parent}."
        )
    raise InputError(
        f"{source} has folders sub-* and no folder {SUBJECTS}; {expected}. For a BIDS folder write `source: bids`."
    )


def _nothing_found(source: Path) -> InputError:
    folders = [*anat_folders(source / SUBJECTS, IMAGES)]
    found = [f"{one.participant_id}/{one.session_id}/{IMAGES}/{file.name}" for one in folders for file in one.files]
    sessions = [
        source / SUBJECTS / one.participant_id / one.session_id for one in folders if one.absent and one.session_id
    ]
    others = {entry.name for session in sessions if session.is_dir() for entry in session.iterdir() if entry.is_dir()}
    there = few(found) or (f"only {few(sorted(others))}" if others else "nothing")
    return InputError(
        f"{source} has no image named {EITHER} in {SUBJECTS}/sub-*/ses-*/{IMAGES}; found there: {there}. Only images of "
        "Clinica's pipeline t1-linear are read: run `clinica run t1-linear`, or give the BIDS folder with `source: bids`."
    )
