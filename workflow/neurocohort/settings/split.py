"""The keys `split`: how the participants of each cohort are split."""

from pydantic import Field

from neurocohort.settings.base import Group, OpenFraction, Seed


class Split(Group):
    """How the participants of each cohort are split."""

    seed: Seed = Field(1, description="Seed of the split.")
    validation: OpenFraction = Field(0.1, description="Fraction of the participants on which the best epoch is chosen.")
    held_out: OpenFraction = Field(
        0.2,
        description="Fraction of the participants that no choice ever uses. Added to `split.validation` it must be below 1. Not "
        "used with `split.test_folds`.",
    )
    folds: int = Field(
        5,
        ge=0,
        le=20,
        description="Folds into which the participants outside the held-out part are divided as well; 0 for none.",
    )
    test_folds: int = Field(
        0,
        ge=0,
        le=20,
        description="Test folds (outer folds): each is held out once, so that every participant is tested once; 0 for a single "
        "held-out part. See [Everybody tested once](#everybody-tested-once).",
    )


class SplitSettings(Split):
    """What a cohort's split depends on besides its scans.

    ``class_column``: the column of scans.tsv over whose classes the parts are balanced.
    """

    class_column: str
