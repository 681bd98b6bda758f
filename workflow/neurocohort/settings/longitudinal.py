"""The keys `longitudinal`: analyses that learn from the sequence of a participant's sessions."""

from typing import Literal

from pydantic import Field

from neurocohort.settings.base import CohortName, Group, Name, Seed, Unique
from neurocohort.settings.selection import MOST_FILTER_CHARACTERS, Variable

YEARS_OF_UNIT = {"years": 1.0, "months": 1 / 12, "days": 1 / 365.25}


class Longitudinal(Group):
    """One longitudinal analysis."""

    task: Literal["classification", "regression"] = Field(
        description="`classification`: a target of two classes for each participant, such as conversion (0 or 1). `regression`: "
        "a number for each participant, or with `change_per_year` a yearly change."
    )
    target: Variable = Field(
        title="the name of a variable",
        description="The variable to predict. Without `change_per_year`, all values of a participant must be the same.",
    )
    change_per_year: bool = Field(
        False,
        description="Regression only: the target is the change of the variable per year, from the last session that is an input "
        "to the participant's last session, which is not.",
    )
    cohorts: Unique[CohortName] = Field(min_length=1, description="The cohorts; the split is that of the study.")
    filter: str = Field(
        "",
        title="a condition such as age >= 55",
        description="Keeps the sessions for which the condition is true, "
        f"at most {MOST_FILTER_CHARACTERS} characters; see [Variables and filters](#variables-and-filters).",
    )
    time: Variable = Field(
        "age",
        title="the name of a variable",
        description="The time of each session, such as `age` or days since inclusion. Sessions are in its order; a "
        "session without a value is an error.",
    )
    time_unit: Literal["years", "months", "days"] = Field("years", description="The unit of `time` and `outcome_time`.")
    outcome_time: Variable | None = Field(
        None,
        title="the name of a variable",
        description="When the outcome occurred, on the scale of `time`, such as the age at conversion; missing where it didn't. "
        "Only sessions before it are inputs.",
    )
    min_sessions: int = Field(
        1,
        ge=1,
        le=100,
        description="Participants with fewer sessions left as inputs are left out, and counted.",
    )
    volumes: bool = Field(
        True, description="Inputs: the fractions of CSF, GM and WM, and the volume of the brain, of each session."
    )
    features: Name | None = Field(
        None,
        title="the name of an experiment",
        description="Inputs: the features of this experiment's first network. It must not have been trained on anybody who is "
        "tested here.",
    )
    components: int = Field(
        8,
        ge=1,
        le=64,
        description="Principal components of the `features`, fitted on the training part, that are inputs.",
    )
    variables: Unique[Variable] = Field(
        ["age"],
        title="a list of variables",
        description="Inputs: variables of each session, numbers or `sex`. The times since the first and the previous session are "
        "always inputs.",
    )
    models: Unique[Name] = Field(
        ["gru", "transformer"],
        min_length=1,
        title="a list of `gru` and `transformer`",
        description="The networks over the sessions; each is compared with the baselines.",
    )
    width: int = Field(16, ge=4, le=512, multiple_of=2, description="Number of hidden units, an even number.")
    layers: int = Field(1, ge=1, le=8, description="Number of layers.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Fraction of the hidden units that are dropped in training.")
    epochs: int = Field(
        200, ge=1, le=10000, description="Epochs; the one with the lowest loss on the validation part is used."
    )
    batch_size: int = Field(32, ge=1, le=10000, description="Participants in a batch.")
    learning_rate: float = Field(0.005, gt=0, le=1, description="Learning rate of AdamW.")
    weight_decay: float = Field(0.01, ge=0, le=1, description="Weight decay of AdamW.")
    seeds: Unique[Seed] = Field(
        [1, 2, 3], min_length=1, description="A network is trained with each seed; their predictions are averaged."
    )
