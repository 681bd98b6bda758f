"""The diffusion-weighted images of a BIDS session. The configuration is checked with this module, so it imports little."""

import os
from pathlib import Path

from neurocohort.sources.columns import DiffusionFiles
from neurocohort.sources.image_choice import choose_images
from neurocohort.sources.local_files import stem_and_suffix

FOLDER = "dwi"
DIFFUSION_ENDINGS = (".nii", ".nii.gz", ".bval", ".bvec")


def diffusion_images(folder: Path) -> tuple[list[DiffusionFiles], str | None]:
    """The diffusion-weighted images in a session's folder ``dwi``, the best one first, or why there is none.

    Several runs or acquisitions are not joined: the first one is meant to be used. ``*_sbref`` images are no part of them.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return [], f"The session has no readable folder {FOLDER}, and FA and MD need its diffusion-weighted images."
    names = {entry.name for entry in entries}
    named = [entry for entry in entries if entry.name.endswith(("_dwi.nii", "_dwi.nii.gz"))]
    if not named:
        return [], f"The folder {FOLDER} of the session has no image named *_dwi.nii.gz, which FA and MD need."
    choice = choose_images(named, "all")
    if not choice.taken:
        return [], f"The folder {FOLDER} of the session has no magnitude image, which FA and MD need."
    found = []
    for entry in choice.taken:
        stem, _ = stem_and_suffix(entry.name)
        if {f"{stem}.bval", f"{stem}.bvec"} <= names:
            found.append(DiffusionFiles(Path(entry.path), folder / f"{stem}.bval", folder / f"{stem}.bvec"))
    if found:
        return found, None
    first = choice.taken[0].name
    return (
        [],
        f"{first} has no .bval and .bvec of the same name next to it, with the b-value and the direction of each volume.",
    )
