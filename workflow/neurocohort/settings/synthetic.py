"""The keys `synthetic`: synthetic archives."""

from typing import Literal

from pydantic import Field

from neurocohort.settings.base import Group, Seed, Unique


class SyntheticArchives(Group):
    """Synthetic archives of either source."""

    participants: int = Field(ge=8, le=400, description="Number of synthetic participants.")
    seed: Seed = Field(1, description="Seed of the synthetic cohort.")
    spacing_mm: float = Field(3.0, ge=0.5, le=6, description="Edge of a voxel of the synthetic scans, in mm.")


class SyntheticOasis1(SyntheticArchives):
    """Synthetic archives in the layout of OASIS-1."""

    discs: int = Field(
        2,
        ge=1,
        le=12,
        description="Number of discs over which they are distributed; one holds some thirty.",
    )
    grey: float = Field(
        0.68,
        ge=0.3,
        le=0.95,
        description="Signal of grey matter as a fraction of that of white matter: the contrast of another scanner.",
    )


class SyntheticIxi(SyntheticArchives):
    """Synthetic archives in the layout of IXI."""

    modalities: Unique[Literal["T1w", "T2w", "PDw", "FA", "MD"]] = Field(
        ["T1w"],
        min_length=1,
        title="a list that begins with T1w, then any of T2w, PDw, FA and MD",
        description="Kinds of images to make, each in its own archive; FA and MD are one archive of diffusion-weighted images.",
    )


class Synthetic(Group):
    """Synthetic archives to make, each in the layout of the source it is named after."""

    ixi: SyntheticIxi | None = Field(
        None,
        description="Archives of a synthetic IXI, for a cohort whose base_url is resources/synthetic/ixi.",
    )
    oasis1: SyntheticOasis1 | None = Field(
        None,
        description="Archives of a synthetic OASIS-1, for a cohort whose base_url is resources/synthetic/oasis1.",
    )
