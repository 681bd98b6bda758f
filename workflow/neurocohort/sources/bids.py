"""A user's own scans in a BIDS folder, raw or derivatives: whatever holds ``sub-X[/ses-Y]/anat``."""

import os
from collections.abc import Sequence
from pathlib import Path

from neurocohort.errors import InputError
from neurocohort.notes import Notes
from neurocohort.sources.bids_plan import plan_bids
from neurocohort.sources.data_dictionary import read_object
from neurocohort.sources.local_scans import ingest_local

CARRIED_OVER = ("Name", "License")  # of dataset_description.json


def ingest_bids(
    source: Path | str,
    folder: Path | str,
    *,
    pattern: str = "*_T1w.nii*",
    run: str = "first",
    modalities: Sequence[str] = ("T1w",),
) -> dict:
    """Turn a BIDS folder into the raw BIDS layout under ``folder``.

    ``pattern`` (file names, with ``*`` and ``?``) says which images in an anat folder are the T1-weighted ones; an Analyze
    pair counts as a .nii. Of several in one session ``run`` takes the ``first`` or ``last``, by run entity and then by
    name, or ``all``, as scans of their own, among those of the best kind (`image_choice`). An image that is named as another
    participant's or session's is left out. A further modality is the image whose name is as the pattern with the other
    suffix, or else any with that suffix; a session without it is excluded. The image's reference segmentation is the file
    beside it whose name has ``dseg`` for its suffix (see `local_labels`), and may be absent. A .nii.gz is linked, .nii and
    Analyze are written as .nii.gz. Values of sessions.tsv and sub-X_sessions.tsv go before those of participants.tsv.

    Returns the numbers of scans, participants, excluded rows and the notes. Raises InputError where ``source`` isn't a BIDS
    folder or no image of it can be used, where a table can't be read, and for an unknown ``run``.
    """
    source, folder = Path(source), Path(folder)
    place, real = Path(os.path.realpath(folder)), Path(os.path.realpath(source))
    if place in (real, *real.parents):
        raise InputError(
            f"{source} lies in {folder}, where this cohort is written; move it, or call the cohort something else."
        )
    plan = plan_bids(source, pattern=pattern, run=run, modalities=modalities)
    return ingest_local(plan, folder, _description(plan.notes, source), source)


def _description(notes: Notes, source: Path) -> dict:
    given = read_object(source / "dataset_description.json", notes)
    kept = {name: given[name] for name in CARRIED_OVER if isinstance(given.get(name), str)}
    return {"Name": source.resolve().name, **kept, "DatasetType": "raw"}
