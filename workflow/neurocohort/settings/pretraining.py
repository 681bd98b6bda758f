"""The keys `pretraining` of an experiment: what a network learns from scans without labels."""

from typing import Literal

from pydantic import Field

from neurocohort.settings.base import Group

PRETRAINING = "pretraining"  # the task
MASKED, CONTRASTIVE = "masked", "contrastive"
OF_METHOD = {  # keys that only one method has
    MASKED: ("mask_fraction", "mask_voxels", "mask_value"),
    CONTRASTIVE: ("temperature", "crop", "cutout"),
}


class Pretraining(Group):
    """What a pretraining learns from scans without labels."""

    method: Literal["masked", "contrastive"] = Field(
        "masked",
        description="`masked`: random cubes of each scan are hidden, and the network reconstructs them. `contrastive`: the "
        "network recognises two changed views of the same scan among those of the others in the batch.",
    )
    mask_fraction: float = Field(
        0.6, gt=0, lt=1, description="`masked` only: fraction of the cubes that are hidden in each scan."
    )
    mask_voxels: int = Field(8, ge=1, le=256, description="`masked` only: edge of a cube, in voxels.")
    mask_value: Literal["zero", "noise"] = Field(
        "zero",
        description="`masked` only: what hides a cube, in standardised intensities: 0, the mean of the brain, or Gaussian noise "
        "with a standard deviation of 1.",
    )
    temperature: float = Field(
        0.1,
        gt=0,
        le=10,
        description="`contrastive` only: what similarities are divided by; smaller values weigh the most similar scans more.",
    )
    crop: float = Field(
        0.7,
        gt=0,
        le=1,
        description="`contrastive` only: smallest side of the random crop that half of the views are enlarged from, as a "
        "fraction of the field of view; 1 for none.",
    )
    cutout: float = Field(
        0.3,
        ge=0,
        le=0.9,
        description="`contrastive` only: largest side of a box that is set to 0 in half of the views, as a fraction of the field "
        "of view, in place of `training.augmentation.cutout`.",
    )
