"""The keys `saliency`: how it is shown which parts of the brain a network uses."""

from typing import Literal

from pydantic import Field

from neurocohort import architectures
from neurocohort.settings.base import Group, Path, Seed


class Regions(Group):
    """How important the regions of an atlas are for a regression or classification."""

    atlas: Path | None = Field(
        None,
        description="Label map in MNI space (`.nii` or `.nii.gz`, values up to 255) with its table of the same name (`.tsv`, "
        "columns index and name, as BIDS' `_dseg.tsv`). Without it, the regions are blocks of the template's tissues. See "
        "[Interpretation](../docs/interpretation.md).",
    )
    scans: int = Field(100, ge=1, le=100000, description="Held-out scans in which each region is hidden, at most.")
    random_networks: int = Field(
        5, ge=2, le=100, description="Networks with random weights that the trained ones are compared with."
    )
    min_voxels: int = Field(
        20, ge=1, le=100000, description="A region with fewer voxels on the study's grid is listed as not evaluated."
    )


class Saliency(Group):
    """How it is shown which parts of the brain a regression or classification uses."""

    method: Literal["occlusion", "grad_cam", "attention", "none"] = Field(
        "occlusion",
        description="How the map is computed; `none` leaves it out. `attention` shows the weights of the cubes of "
        f"{architectures.with_option('attention')}, and Grad-CAM for other networks.",
    )
    scans: int = Field(20, ge=1, le=100000, description="Held-out scans over which the map is averaged, at most.")
    seed: Seed = Field(
        1,
        description="Seed of the choice of scans, and of the random weights that the map is compared with.",
    )
    regions: Regions | None = Field(
        None,
        description="Importance of atlas regions with intervals, compared with random weights; `{}` takes the defaults. It "
        "doesn't depend on `method`. Not in native space.",
    )
