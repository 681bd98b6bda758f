"""Checks of `saliency.regions`: the space, the experiments and the files that the importance of regions needs.

Imports stay light: this runs at the start of every Snakemake process.
"""

from collections.abc import Iterator
from pathlib import Path

from neurocohort.settings.scan import NATIVE
from neurocohort.sources.label_tables import own_table

ENDINGS = (".nii", ".nii.gz")
KEY = "`saliency.regions`"


def region_faults(config: dict) -> Iterator[str]:
    """Yield a sentence for each conflict of `saliency.regions` with the rest of the configuration (with all defaults)."""
    wanted = config["saliency"].get("regions")
    if wanted is None:
        return
    if config["preprocessing"]["space"] == NATIVE:
        yield f"{KEY} needs images in template space, and `preprocessing.space` is native; leave the key out."
    tasks = {experiment["task"] for experiment in config["experiments"].values()}
    if not tasks & {"regression", "classification"}:
        yield f"{KEY} is for regression and classification, and no experiment is one of them; leave the key out."
    atlas = wanted.get("atlas")
    if not atlas:
        return
    path = Path(atlas)
    if not path.name.endswith(ENDINGS):
        yield f"`saliency.regions.atlas` is {atlas}; expected a label map whose name ends with .nii or .nii.gz."
    elif absent := [str(one) for one in (path, own_table(path)) if not one.is_file()]:
        yield (
            f"`saliency.regions.atlas` needs the label map and its table with the columns index and name; absent: "
            f"{', '.join(absent)}. Fix the path, or put the table there."
        )
