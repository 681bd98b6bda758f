"""Brain age beyond its error: corrected for regression to the mean, and on an external cohort's healthy and shared ages.

Accuracy, the brain-predicted age difference (brain-PAD: ``bias``) and its slope on age (``bias_slope``), as predicted, are in
metrics.tsv, by site, sex and age band too. What is here stands beside them, never in their place.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from neurocohort.dataset.folds import FOLDED_PARTS
from neurocohort.evaluation.evaluate import figures
from neurocohort.evaluation.measures import (
    EXTERNAL,
    REGRESSION,
    SMALLEST_GROUP,
    VALIDATION,
    cross_validated,
    judged_parts,
)
from neurocohort.evaluation.metrics import weighted_line
from neurocohort.evaluation.traits import healthy, with_traits

AS_PREDICTED, CORRECTED = "as predicted", "bias-corrected"
NOT_IMPAIRED = "Rated 0 for dementia, or not rated."


@dataclass(frozen=True)
class BiasLine:
    """The least-squares line of prediction on true value, and of how many ``participants`` the rows were."""

    slope: float
    intercept: float
    participants: int

    def corrected(self, target: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """prediction + (target - (slope * target + intercept)): de Lange and Cole 2020 (NeuroImage: Clinical 26, 102229), after
        Cole et al. 2018 (Molecular Psychiatry 23, 1385-1392).

        It takes the tested person's own age, so that it makes brain-PAD comparable between ages but is no prediction: the
        error that is left looks small for any model, and is 0 for one that always says the same (de Lange et al. 2022, Human
        Brain Mapping 43, 3113-3129). Never report its error as accuracy.
        """
        return prediction + target - (self.slope * target + self.intercept)


def fit_bias(validation: pd.DataFrame) -> BiasLine | None:
    """The line of ``prediction`` on ``target`` over validation rows; None with fewer than three participants or one age."""
    target, prediction = (validation[name].to_numpy(dtype=float) for name in ("target", "prediction"))
    participants = validation["participant_id"].nunique()
    if participants < SMALLEST_GROUP or np.ptp(target) == 0:
        return None
    slope, intercept = weighted_line(target, prediction)
    return BiasLine(slope, intercept, participants)


def regression_details(
    everything: pd.DataFrame, samples: pd.DataFrame, traits: pd.DataFrame | None, *, resamples: int, seed: int
) -> list[dict]:
    """Rows of details.tsv (`details`) for every model of ``everything`` (`with_baselines`), validation rows included.

    - setting ``bias-corrected``, group ``all``: the metrics of the corrected predictions; each model's line is fitted on its
      own validation rows alone, those of all trained cohorts together. A model without enough of them has no such rows.
    - setting ``as predicted``, external cohorts only: groups ``healthy``, ``shared age range`` (the ages, in ``age``, between
      the youngest and the oldest participant of ``samples`` who was trained on) and ``healthy, shared age range``.

    ``traits``: scans.tsv of the cohorts, with ``cohort``, or None; a cohort without CDR or ``dementia`` in it has no group
    ``healthy``, which otherwise includes participants who were not rated (`healthy`). Groups of fewer than three participants
    have no rows, nor has a group with the same scans as the whole cohort or as a group before it, whose note says so.
    """
    rows = []
    trained = FOLDED_PARTS if cross_validated(everything, samples) else ("train",)
    ages = samples.loc[samples["part"].isin(trained), "age"].dropna()
    lines = {
        model: fit_bias(table)
        for model, table in everything[everything["part"] == VALIDATION].groupby("model", sort=False)
    }
    for about, table in judged_parts(everything):
        if line := lines.get(about["model"]):
            corrected = line.corrected(table["target"].to_numpy(dtype=float), table["prediction"].to_numpy(dtype=float))
            about_line = {"group": "all", "setting": CORRECTED, "note": _sentence(line)}
            found = figures(table.assign(prediction=corrected), REGRESSION, resamples, seed)
            rows += [about | about_line | figure for figure in found]
        if about["part"] == EXTERNAL:
            for group, chosen, note in _external_groups(with_traits(table, traits), ages):
                about_group = {"group": group, "setting": AS_PREDICTED, "note": note}
                rows += [about | about_group | figure for figure in figures(chosen, REGRESSION, resamples, seed)]
    return rows


def _external_groups(table: pd.DataFrame, ages: pd.Series) -> Iterator[tuple[str, pd.DataFrame, str]]:
    """Name, rows and note of each group that differs from the whole ``table`` and from those before it."""
    kept: list[tuple[str, np.ndarray, list[str]]] = []
    for group, chosen, note in _all_external_groups(table, ages):
        same = next((notes for _, other, notes in kept if (other == chosen).all()), None)
        if same is None and not chosen.all():
            kept.append((group, chosen, [note]))
        elif same is not None and len(same) == 1:  # of both restrictions together there is no more to say
            same.append(f"The same scans are left by the restriction “{note.rstrip('.')}”.")
    for group, chosen, notes in kept:
        yield group, table[chosen], " ".join(notes)


def _all_external_groups(table: pd.DataFrame, ages: pd.Series) -> Iterator[tuple[str, np.ndarray, str]]:
    well = healthy(table)
    if well is not None:
        yield "healthy", well, NOT_IMPAIRED
    if not len(ages):
        return
    shared = table["age"].between(ages.min(), ages.max()).to_numpy()
    note = f"Ages {ages.min():.1f} to {ages.max():.1f}, as in training."
    yield "shared age range", shared, note
    if well is not None:
        yield "healthy, shared age range", shared & well, f"{NOT_IMPAIRED} {note}"


def _sentence(line: BiasLine) -> str:
    return (
        f"Corrected with the line fitted on {line.participants} validation participants: slope {line.slope:.3f}, intercept "
        f"{line.intercept:.2f}. It uses the true age: no measure of accuracy."
    )
