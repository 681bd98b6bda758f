"""The keys `evaluation`: how confidence intervals are computed; and the settings of the baselines."""

from typing import Literal

from pydantic import Field

from neurocohort.settings.base import Group, Seed


class Evaluation(Group):
    """How confidence intervals are computed."""

    resamples: int = Field(
        2000,
        ge=100,
        le=100000,
        description="Bootstrap resamples of participants for each confidence interval.",
    )
    seed: Seed = Field(1, description="Seed of the resampling.")
    harmonisation: Literal["none", "combat"] = Field(
        "none",
        description="`combat` adds the baselines on volumes and on tissue maps with inputs that ComBat has corrected for sites; "
        "it needs `pip install combatlearn==2.3.0`.",
    )


class BaselineSettings(Group):
    """What an experiment's baselines depend on besides its samples.

    ``classes``: their number, in a classification. ``structures``: of a segmentation; None for CSF, GM and WM. ``lesions``: those
    that are lesions. ``folds``: of the cross-validation, 0 for none. ``tissue_maps``: whether the packs have them.
    ``harmonisation``: see `Evaluation`.
    """

    task: str
    target: str
    modalities: list[str]
    classes: int
    folds: int
    seed: int
    spacing_mm: float
    structures: list[str] | None = None
    lesions: list[str] | None = None
    tissue_maps: bool = False
    harmonisation: str = "none"
