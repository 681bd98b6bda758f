"""The keys `translation` of an experiment: how one kind of image is predicted from others."""

from typing import Literal

from pydantic import Field

from neurocohort.settings.base import Group

TRANSLATION = "translation"  # the task
PAIRED, UNPAIRED = "paired", "unpaired"
OF_METHOD = {  # keys that only one method has
    PAIRED: ("adversarial",),
    UNPAIRED: ("cycle", "identity"),
}


class Translation(Group):
    """How one kind of image is predicted from others."""

    method: Literal["paired", "unpaired"] = Field(
        "paired",
        description="`paired`: learns from both images of the same person, by the absolute error inside the brain. `unpaired`: a "
        "CycleGAN, which learns from images of different people.",
    )
    adversarial: float = Field(
        0.0,
        ge=0,
        le=10,
        description="`paired` only: weight of the loss of a discriminator, relative to the absolute error; 0 for none.",
    )
    cycle: float = Field(
        10.0,
        gt=0,
        le=100,
        description="`unpaired` only: weight of the absolute error after both translations, there and back.",
    )
    identity: float = Field(
        5.0,
        ge=0,
        le=100,
        description="`unpaired` only: weight of the change of an image that already is of the predicted kind.",
    )
