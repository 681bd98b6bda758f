"""Binary masks of a user's scans, such as lesions: an image each, in addition to a label map or without one.

Every Snakemake process finds them, so that this module imports little.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from neurocohort.notes import Kind
from neurocohort.sources.local_files import IMAGE_SUFFIXES, stem_and_suffix
from neurocohort.sources.local_plan import LocalPlan, LocalScan


def masks_beside(image: Path, endings: Mapping[str, str]) -> dict[str, Path]:
    """The masks of a BIDS image that exist: ``sub-01_label-lesion_mask.nii.gz`` for ``sub-01_T1w.nii.gz``.

    Args:
        image: The T1-weighted image.
        endings: By structure, the end of the mask's name, in the place of the image's suffix.

    Returns:
        By structure.
    """
    stem = stem_and_suffix(image.name)[0].rpartition("_")[0]
    found = {}
    for name, ending in endings.items():
        forms = (image.with_name(f"{stem}_{ending}{suffix}") for suffix in IMAGE_SUFFIXES)
        if path := next((form for form in forms if os.path.lexists(form)), None):
            found[name] = path
    return found


def want_structures(plan: LocalPlan, structures: Mapping[str, Sequence[int]], masks: Mapping[str, str]) -> None:
    """Say which structures the reference segmentations of a plan have.

    A scan that lacks one of its maps gets no reference segmentation: a structure that nobody drew there isn't background.

    Args:
        plan: The plan, with the masks of its scans.
        structures: By name, their values in the label maps.
        masks: By name, the structures with a mask, and where it is: the end of a file's name, or a column.
    """
    plan.structures = {name: [*values] for name, values in structures.items()}
    plan.masks = dict(masks)
    if not masks:
        return
    wanted = [*(["the label map"] if structures else []), *masks.values()]
    complete = {scan.scan_id: _complete(scan, plan) for scan in plan.scans}
    partly = [scan.scan_id for scan in plan.scans if not complete[scan.scan_id] and (scan.labels or scan.masks)]
    plan.scans = [
        scan._replace(labels=scan.labels if complete[scan.scan_id] and structures else None)
        if complete[scan.scan_id]
        else scan._replace(labels=None, masks={})
        for scan in plan.scans
    ]
    plan.notes.add_list(
        Kind.LABEL_MAPS,
        partly,
        f"scan(s) lack some of {', '.join(wanted)}, and so have no reference segmentation; a scan without a lesion needs an "
        "empty mask",
    )


def _complete(scan: LocalScan, plan: LocalPlan) -> bool:
    return plan.masks.keys() == scan.masks.keys() and (scan.labels is not None or not plan.structures)
