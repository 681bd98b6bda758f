"""The keys `saliency`: how it is shown which parts of the brain a network uses."""

from typing import Literal

from pydantic import Field

from neurocohort import architectures
from neurocohort.settings.base import Group, Seed


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
