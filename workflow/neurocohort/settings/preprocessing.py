"""The keys `preprocessing`: how each scan is brought to the study's grid."""

from typing import Annotated

from pydantic import Field

from neurocohort.settings.base import Address
from neurocohort.settings.scan import ScanKeys, ScanSettings


class Preprocessing(ScanKeys):
    """How each scan is brought to the study's grid."""

    weights_url: Address = Field("", description="Where SynthStrip's weights are, if not at the published addresses.")
    spacing_mm: float = Field(1.0, ge=0.5, le=6, description="Edge of a voxel of the grid, in mm.")
    shape: list[Annotated[int, Field(ge=1, le=512)]] = Field(
        [160, 192, 160],
        min_length=3,
        max_length=3,
        description="Voxels along x, y and z. Shape times spacing must cover the template's brain, 146 x 180 x 156 mm, or with "
        "`space: native` the largest foreground. Networks "
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


class BatchSettings(ScanSettings):
    """The settings of a batch of scans. ``code``: the hash of the code behind a scan; another one computes every scan again."""

    code: str
