"""The keys `generation` of a regression: a model that makes images of a given value of the target and a given sex."""

from typing import Annotated

from pydantic import Field

from neurocohort.settings.base import Group

NORM_GROUPS = 4  # of the group normalisation: the channels of each level are a multiple of it
Channels = Annotated[int, Field(ge=NORM_GROUPS, le=1024, multiple_of=NORM_GROUPS)]
MOST_LEVELS = 5
GENERATION = "generation"  # the task of its training, and the key


class Counterfactual(Group):
    """Held-out scans as the generative model changes them for another value of the target."""

    change: float | None = Field(
        None,
        gt=0,
        description="How far the target is changed, up and down, in its unit. Absent: one standard deviation of the training "
        "targets. Values outside the range of the training targets are left out.",
    )
    strength: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Fraction of the noise levels that a scan is taken through before it is changed: more of them change more, "
        "and keep less of the person.",
    )
    scans: int = Field(24, ge=1, le=1000, description="Held-out scans that are changed, at most, one of a participant.")
    random_networks: int = Field(
        5,
        ge=2,
        le=100,
        description="Networks with random weights, and generative models with random diffusion weights, for comparison.",
    )


class Generation(Group):
    """A generative model of the training scans, and how long it is trained."""

    images: int | None = Field(
        None,
        ge=10,
        le=100000,
        description="Number of images that are drawn. Absent: as many as there are scans in the training and validation parts.",
    )
    channels: list[Channels] = Field(
        [16, 32, 64],
        min_length=2,
        max_length=MOST_LEVELS,
        description="Channels of each level of the autoencoder; every level but the first halves the grid.",
    )
    latent_channels: int = Field(4, ge=1, le=64, description="Channels of the autoencoder's latent maps.")
    diffusion_channels: list[Channels] = Field(
        [32, 64],
        min_length=1,
        max_length=MOST_LEVELS,
        description="Channels of each level of the diffusion network, which works on the latent maps.",
    )
    kl_weight: float = Field(
        0.0001,
        ge=0,
        le=1,
        description="Weight of the divergence of the latent maps from a normal distribution, relative to the mean absolute error "
        "of a voxel.",
    )
    epochs: int = Field(200, ge=1, le=100000, description="Passes of the generative model over the training part.")
    batch_size: int = Field(4, ge=1, le=1024, description="Scans in a step of the generative model.")
    learning_rate: float = Field(
        0.001, gt=0, le=1, description="Largest learning rate of the generative model's schedule."
    )
    steps: int = Field(
        50, ge=2, le=1000, description="Steps from noise to an image, of the 1000 that are learned (DDIM)."
    )
    counterfactual: Counterfactual | None = Field(
        None,
        description="Held-out scans with a changed target, compared with random weights; `{}` takes the defaults. It changes no "
        "training. See [Generation](../docs/generation.md#counterfactual-images).",
    )
