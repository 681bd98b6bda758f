"""The keys of a sweep: which settings an experiment tries, and how they are found."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag

from neurocohort.settings.base import Group, Seed

MOST_DRAWS = 1000
INDEPENDENT: Literal["independent"] = "independent"
HALVING: Literal["successive_halving"] = "successive_halving"
BAYESIAN: Literal["bayesian"] = "bayesian"


class Range(Group):
    """A range of numbers to draw from, ``log`` on a logarithmic scale."""

    low: float
    high: float
    log: bool = False


SweepKey = Annotated[
    str,
    StringConstraints(
        pattern=r"^(training[.](epochs|batch_size|learning_rate|optimizer|schedule|warm_up|weight_decay|gradient_clip|mixup|augmentation[.]"
        r"[a-z_]+)|network[.](name|channels|dropout|norm))$(?!\n)"
    ),
]
SweepValues = Annotated[
    Annotated[list[Any], Field(min_length=1), Tag("a list")] | Annotated[Range, Tag("a range")],
    Discriminator(lambda value: "a range" if isinstance(value, dict | Range) else "a list"),
]


class Sweep(Group):
    """Settings to try."""

    method: Literal["independent", "successive_halving", "bayesian"] = Field(
        INDEPENDENT,
        description="How the draws are found. `independent`: none depends on another one. `successive_halving`: all draws get "
        "few epochs, and the best of them more. `bayesian`: the later draws follow from the criterion of the earlier ones. See "
        "[Sweeps](#sweeps).",
    )
    draws: int = Field(
        0,
        ge=0,
        le=MOST_DRAWS,
        description="Random draws of the `values`, with `bayesian` all draws; 0 tries every combination. See [Sweeps](#sweeps).",
    )
    reduction: int = Field(
        3,
        ge=2,
        le=10,
        description="`successive_halving` only: the best of so many draws goes on, with so many times the epochs.",
    )
    at_once: int = Field(
        4,
        ge=1,
        le=100,
        description="`bayesian` only: draws of a round, which are trained at the same time. Fewer learn more from each other.",
    )
    seed: Seed = Field(1, description="Seed of the draws.")
    values: dict[SweepKey, SweepValues] = Field(
        min_length=1,
        title="keys such as training.learning_rate, each with a list or a range",
        description="By key of the experiment, such as training.learning_rate, a list of values, or a range {low, high} with "
        "`log: true` for a logarithmic scale.",
    )
