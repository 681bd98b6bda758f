"""The keys `models`: trained models of other studies that are applied to this study's cohorts."""

from pydantic import Field

from neurocohort.settings.base import CohortName, Group, Path, Unique


class AppliedModel(Group):
    """A trained model of another study."""

    bundle: Path = Field(
        description="Folder of the model, such as `results/models/brain_age` of the other study. It needs "
        "configs/raw_scans.json, which older bundles lack. `models.<name>: path` is short for this key alone.",
    )
    cohorts: Unique[CohortName] = Field(
        [], description="The cohorts it is applied to; all cohorts of the study if the list is empty."
    )
    target: str = Field(
        "",
        description="Column of scans.tsv with the true values, if its name isn't that of the model's target. Scans without a "
        "value only get predictions.",
    )


class ApplySettings(Group):
    """How a model is applied: ``target`` as for `AppliedModel`, and the resamples of its metrics' intervals."""

    target: str
    resamples: int
    seed: int
