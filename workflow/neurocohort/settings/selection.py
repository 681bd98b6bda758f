"""The keys of an experiment that the selection of its samples depends on."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag

from neurocohort.settings.base import CohortName, Group, Unique

MOST_FILTER_CHARACTERS = 5000
WITH_VALUES = ("regression", "classification")  # tasks whose target is a variable
Variable = Annotated[str, StringConstraints(pattern=r"\S")]
LossWeight = Annotated[float, Field(gt=0, le=10)]
ClassValue = Annotated[str, StringConstraints(pattern=r"\S")] | int | float
ClassValues = Annotated[
    Annotated[ClassValue, Tag("one value")] | Annotated[list[ClassValue], Field(min_length=1), Tag("several values")],
    Discriminator(lambda value: "several values" if isinstance(value, list) else "one value"),
    Field(title="a text, a number, or a list of them"),
]


class SelectionKeys(Group):
    """Keys of an experiment that the selection of its samples depends on."""

    task: Literal["regression", "classification", "segmentation", "pretraining", "translation"] = Field(
        description="What the network does. `pretraining` learns from scans without labels, for other experiments to start from. "
        "`translation` predicts one kind of image from others."
    )
    target: str = Field(
        title="the name of a variable",
        description="The variable to predict. A number (regression), a class (classification; see `classes`), or `dseg`, the "
        "reference label map (segmentation), or a channel such as `T2w` (translation). A pretraining has none.",
    )
    cohorts: Unique[CohortName] = Field(
        min_length=1, description="Cohorts that are split, trained on, and tested on their held-out part."
    )
    external: Unique[CohortName] = Field(
        [],
        description="Cohorts that are tested completely and never trained on. Scans without a value of the target only "
        "get predictions.",
    )
    classes: Unique[ClassValues] | None = Field(
        None,
        min_length=2,
        max_length=10,
        title="values of the target, such as [CN, AD] or [0, 0.5, [1, 2]]",
        description="Classification only: the values that are the classes, the negative one first; a list in the list is one "
        "class of several values, as in `[0, 0.5, [1, 2]]` for CDR. Scans with other values are left out. Needed where the "
        "target is a text (other than `sex`) or has more than two values.",
    )
    auxiliary: dict[Variable, LossWeight] | None = Field(
        None,
        min_length=1,
        title="weights by the name of a variable, such as {sex: 0.3}",
        description="Regression and classification: variables that the network learns besides the target, numbers or two "
        "classes, each with the weight of its loss relative to the target's. The target alone chooses the epoch and is the "
        "main result. See [Auxiliary variables](../docs/networks.md#auxiliary-variables).",
    )
    filter: str = Field(
        "",
        title="a condition such as age >= 18 and sex == 'F'",
        description=f"Keeps the scans for which the condition is true, at most {MOST_FILTER_CHARACTERS} characters; see below.",
    )


class SelectionSettings(SelectionKeys):
    """What the selection of an experiment's samples depends on besides its cohorts' tables.

    ``shuffle_seed``: of the permutation of the targets trained on, for a control. ``left_out_site``: its participants are
    tested and never trained on. ``test_folds``: the study's number of them. ``development``: whether only the rows that training
    may see are written; with test folds, those that the trainings of ``test_fold`` may see. ``own_participants``: how many of the
    development part are kept, for a learning curve, drawn with ``participants_seed``; 0 for all. ``drawn_for``: the key that asks
    for them, if it isn't ``learning_curve``.
    """

    shuffle_seed: int | None = None
    left_out_site: str = ""
    development: bool = False
    test_folds: int = 0
    test_fold: int = 0
    own_participants: int = 0
    participants_seed: int = 0
    drawn_for: str | None = None
