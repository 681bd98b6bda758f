"""The keys `preprocessing`: how each scan is brought to the template's grid."""

from typing import Annotated, Literal

from pydantic import Field

from neurocohort.settings.base import Address, Group, Seed


class ScanKeys(Group):
    """Keys that the result of each scan depends on."""

    brain_extraction: Literal["deepbet", "synthstrip"] = Field(
        "deepbet",
        description="Program that finds the brain mask. deepbet includes its weights; SynthStrip's are downloaded (31 MB) and "
        "checked against their published sha256, and it takes more time and memory than deepbet.",
    )
    device: Literal["cpu", "cuda"] = Field(
        "cpu",
        description="Where the brain mask is found. `cuda` requests a GPU for every batch of scans, and reads the next scan in "
        "the meantime; its sums differ from the CPU's in the last bits, so a few voxels at the edge of a mask may differ.",
    )
    registration: Literal["affine", "deformable"] = Field(
        "affine",
        description="Transform from the scan to the template. `deformable` adds a displacement after the affine; it needs "
        "`pip install picsl-greedy==1.4.0.3`, which contains code under the GPL-3 and is therefore not installed by default.",
    )
    intensity: Literal["percentile", "zscore", "white_matter_peak"] = Field(
        "percentile",
        description="One intensity scale for all scans, from the voxels of the brain mask: percentiles 0.5 and 99.5, or mean "
        "and four standard deviations on both sides, become 0 and 1; or the peak of white matter becomes 0.75.",
    )
    seed: Seed = Field(1, description="Seed of the registration's sampling.")


class Preprocessing(ScanKeys):
    """How each scan is brought to the template's grid."""

    weights_url: Address = Field("", description="Where SynthStrip's weights are, if not at the published addresses.")
    spacing_mm: float = Field(1.0, ge=0.5, le=6, description="Edge of a voxel of the grid, in mm.")
    shape: list[Annotated[int, Field(ge=1, le=512)]] = Field(
        [160, 192, 160],
        min_length=3,
        max_length=3,
        description="Voxels along x, y and z. Shape times spacing must cover the template's brain, 146 x 180 x 156 mm. Networks "
        "that halve the grid need sides that they can halve and more than one voxel at the end; a message names those that fit.",
    )
    batch_size: int = Field(
        20,
        ge=1,
        le=1000,
        description="Scans that one job preprocesses, on average at most. The number of batches is a power of two and grows "
        "with the cohort; a cohort of at least 16 scans has four or more, so that several cores work. Another size distributes "
        "the scans to other jobs and preprocesses none of them again, but every later step runs.",
    )


class ScanSettings(ScanKeys):
    """What the result of a scan depends on besides its files and the template. ``code``: the hash of the code behind it."""

    code: str
    skull_stripped: bool
    mni_space: bool
