"""The keys `semi_supervised` of an experiment: what a segmentation learns from scans without a label map."""

from typing import Literal

from pydantic import Field

from neurocohort.settings.base import Group

MEAN_TEACHER, PSEUDO_LABELS = "mean_teacher", "pseudo_labels"
LABELLED = "semi_supervised.labelled"  # the key of an experiment that asks for fewer participants with label maps
FEWEST_LABELLED, MOST_LABELLED = 4, 1_000_000


class SemiSupervised(Group):
    """What a segmentation learns from scans without a label map."""

    method: Literal["mean_teacher", "pseudo_labels"] = Field(
        "mean_teacher",
        description="What the teacher, the moving average of the network's weights, teaches on scans without labels: "
        "`mean_teacher`, its probabilities (squared difference); `pseudo_labels`, its most likely label where it is sure of it "
        "(cross-entropy).",
    )
    labelled: int | None = Field(
        None,
        ge=FEWEST_LABELLED,
        le=MOST_LABELLED,
        description="Number of participants of the training and validation parts whose label maps are used; the other scans of "
        "the training part are learned from without theirs. Absent: all that have one.",
    )
    weight: float = Field(
        1.0,
        gt=0,
        le=100,
        description="Weight of the loss of scans without labels, relative to that of those with labels.",
    )
    ramp_up: float = Field(
        0.4, ge=0, le=1, description="Fraction of the steps over which this weight rises from nearly 0."
    )
    threshold: float = Field(
        0.95,
        ge=0,
        lt=1,
        description="`pseudo_labels` only: smallest probability of the teacher's most likely label for a voxel to count.",
    )
