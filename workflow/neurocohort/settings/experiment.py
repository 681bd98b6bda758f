"""The keys of an experiment, and what the selection of its samples depends on."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag

from neurocohort.settings.base import CohortName, Group, Seed, Unique
from neurocohort.settings.cohorts import Modality
from neurocohort.settings.training import Network, Training, Transfer

MOST_DRAWS = 1000  # of a sweep
ClassValue = Annotated[str, StringConstraints(pattern=r"\S")] | int | float
ClassValues = Annotated[
    Annotated[ClassValue, Tag("one value")] | Annotated[list[ClassValue], Field(min_length=1), Tag("several values")],
    Discriminator(lambda value: "several values" if isinstance(value, list) else "one value"),
    Field(title="a text, a number, or a list of them"),
]


class Range(Group):
    """A range of numbers to draw from, ``log`` on a logarithmic scale."""

    low: float
    high: float
    log: bool = False


SweepKey = Annotated[
    str,
    StringConstraints(
        pattern=r"^(training[.](epochs|batch_size|learning_rate|schedule|warm_up|weight_decay|gradient_clip|augmentation[.]"
        r"[a-z_]+)|network[.](name|channels|dropout|norm))$(?!\n)"
    ),
]
SweepValues = Annotated[
    Annotated[list[Any], Field(min_length=1), Tag("a list")] | Annotated[Range, Tag("a range")],
    Discriminator(lambda value: "a range" if isinstance(value, dict | Range) else "a list"),
]


class Sweep(Group):
    """Settings to try."""

    draws: int = Field(
        0,
        ge=0,
        le=MOST_DRAWS,
        description="Random draws of the `values`; 0 tries every combination. See [Sweeps](#sweeps).",
    )
    seed: Seed = Field(1, description="Seed of the draws.")
    values: dict[SweepKey, SweepValues] = Field(
        min_length=1,
        title="keys such as training.learning_rate, each with a list or a range",
        description="By key of the experiment, such as training.learning_rate, a list of values, or a range {low, high} with "
        "`log: true` for a logarithmic scale.",
    )


class SelectionKeys(Group):
    """Keys of an experiment that the selection of its samples depends on."""

    task: Literal["regression", "classification", "segmentation"] = Field(description="What the network does.")
    target: str = Field(
        title="the name of a variable",
        description="The variable to predict. A number (regression), a class (classification; see `classes`), or `dseg`, the "
        "reference label map of the tissues (segmentation).",
    )
    cohorts: Unique[CohortName] = Field(
        min_length=1, description="Cohorts that are split, trained on, and tested on their held-out part."
    )
    external: Unique[CohortName] = Field([], description="Cohorts that are tested completely and never trained on.")
    classes: Unique[ClassValues] | None = Field(
        None,
        min_length=2,
        max_length=10,
        title="values of the target, such as [CN, AD] or [0, 0.5, [1, 2]]",
        description="Classification only: the values that are the classes, the negative one first; a list in the list is one "
        "class of several values, as in `[0, 0.5, [1, 2]]` for CDR. Scans with other values are left out. Needed where the "
        "target is a text (other than `sex`) or has more than two values.",
    )
    filter: str = Field(
        "",
        title="a condition such as age >= 18 and sex == 'F'",
        description="Keeps the scans for which the condition is true, at most 5,000 characters; see below.",
    )


class SelectionSettings(SelectionKeys):
    """What the selection of an experiment's samples depends on besides its cohorts' tables.

    ``shuffle_seed``: of the permutation of the targets trained on, for a control. ``left_out_site``: its participants are
    tested and never trained on. ``development``: whether only the rows that training may see are written.
    """

    shuffle_seed: int | None = None
    left_out_site: str = ""
    development: bool = False


class Experiment(SelectionKeys):
    """One experiment."""

    modalities: Unique[Modality] = Field(
        ["T1w"],
        min_length=1,
        description="The network's input channels; each cohort of the experiment must have them.",
    )
    control: Literal["shuffled_target"] | None = Field(
        None,
        description="Regression and classification: trains the same on permuted targets too, three times. These trainings must "
        "end at chance, and the report states whether they did.",
    )
    leave_one_site_out: Unique[Annotated[str, Field(title="a site's name", min_length=1)]] = Field(
        [],
        description="Sites to leave out in turn, such as `[Guys, HH, IOP]`: for each, the same is trained without the "
        "participants of that site and tested on all of them. The report's matrix of training against test sites has the "
        "results. One seed each.",
    )
    transfer: Transfer | None = Field(
        None, description="Which weights the training starts from, if not from random ones."
    )
    sweep: Sweep | None = Field(
        None,
        description="Settings to try; the validation part chooses, and the held-out part is only used with the chosen ones.",
    )
    network: Network
    training: Training = Training()
