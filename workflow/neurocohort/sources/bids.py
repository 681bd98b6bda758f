"""The ingest of a user's BIDS folder, raw or derivatives: any folder with ``sub-X[/ses-Y]/anat``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from neurocohort.notes import Notes
from neurocohort.sources.bids_plan import plan_bids
from neurocohort.sources.columns import IngestResult
from neurocohort.sources.data_dictionary import Entry, read_object
from neurocohort.sources.local_masks import want_structures
from neurocohort.sources.local_scans import check_source_outside, ingest_local

CARRIED_OVER = ("Name", "License")  # of dataset_description.json


def ingest_bids(
    source: Path | str,
    folder: Path | str,
    *,
    pattern: str = "*_T1w.nii*",
    run: str = "first",
    modalities: Sequence[str] = ("T1w",),
    structures: Mapping[str, list[int]] | None = None,
    masks: Mapping[str, str] | None = None,
) -> IngestResult:
    """Turn a BIDS folder into the raw BIDS layout.

    A .nii.gz is linked; .nii and Analyze are written as .nii.gz. An image named as another participant's or session's is left
    out. The reference segmentation of an image is the file with the suffix ``dseg`` in the same folder (see `local_labels`), and
    may be absent. Values of sessions.tsv and sub-X_sessions.tsv override those of participants.tsv.

    Args:
        source: The BIDS folder.
        folder: The cohort's folder.
        pattern: File names of the T1-weighted images, with ``*`` and ``?``; an Analyze pair counts as a .nii.
        run: Which of several images of a session: the ``first`` or ``last`` of the best kind (`image_choice`), by run entity and
            then by name, or ``all``, each as a scan.
        modalities: T1w first. Another one is the image named as the pattern with its suffix, or else any with its suffix; a
            session without it is excluded.
        structures: By name, their values in the label maps; None for CSF, GM and WM.
        masks: By name, structures with a mask of their own, and the end of its name, such as ``label-lesion_mask``.

    Raises:
        InputError: If ``source`` isn't a BIDS folder, no image can be used, a table can't be read, or ``run`` is unknown.
    """
    source, folder = Path(source), Path(folder)
    check_source_outside(source, folder)
    plan = plan_bids(source, pattern=pattern, run=run, modalities=modalities, masks=masks)
    want_structures(plan, structures or {}, masks or {})
    return ingest_local(plan, folder, carried_over(plan.notes, source), source)


def carried_over(notes: Notes, source: Path) -> Entry:
    """The content of the cohort's dataset_description.json: name and licence of the user's folder."""
    given = read_object(source / "dataset_description.json", notes)
    kept = {name: given[name] for name in CARRIED_OVER if isinstance(given.get(name), str)}
    return {"Name": source.resolve().name, **kept, "DatasetType": "raw"}
