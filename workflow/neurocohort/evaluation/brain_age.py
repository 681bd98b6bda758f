"""Secondary results of brain age: corrected for regression to the mean, and for healthy people and the trained ages alone.

Accuracy, the brain-predicted age difference (brain-PAD: ``bias``) and its slope on age (``bias_slope``) are in metrics.tsv, also
by site, sex and age band. The results here complement them and never replace them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from neurocohort.dataset.folds import FOLDED_PARTS, test_fold_numbers
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.measures import (
    EXTERNAL,
    REGRESSION,
    VALIDATION,
    cross_validated,
    estimates,
    judged_parts,
    too_few,
)
from neurocohort.evaluation.metrics import once, weighted_line
from neurocohort.evaluation.rows import DetailRow
from neurocohort.evaluation.traits import healthy, with_traits

AS_PREDICTED, CORRECTED = "as predicted", "bias-corrected"
NOT_IMPAIRED = "Rated 0 for dementia, or not rated."


@dataclass(frozen=True)
class BiasLine:
    """The least-squares line of prediction on true value, fitted to the rows of a number of ``participants``."""

    slope: float
    intercept: float
    participants: int

    def corrected(self, target: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """prediction + (target - (slope * target + intercept)): de Lange and Cole 2020 (NeuroImage: Clinical 26, 102229), after
        Cole et al. 2018 (Molecular Psychiatry 23, 1385-1392).

        The correction uses the tested person's own age. It makes brain-PAD comparable between ages but is no prediction: the
        remaining error looks small for any model, and is 0 for a constant prediction (de Lange et al. 2022, Human Brain Mapping
        43, 3113-3129). Never report this error as accuracy.
        """
        return prediction + target - (self.slope * target + self.intercept)


@dataclass(frozen=True)
class BiasLines:
    """The lines of the test folds by their number. A held-out row is corrected with that of its test fold, an external one with
    their mean, which is the mean of its predictions corrected with each."""

    by_test_fold: dict[int, BiasLine]

    def corrected(self, table: pd.DataFrame) -> np.ndarray:
        """The corrected predictions of ``table``, (rows,)."""
        lines = pd.DataFrame({number: (line.slope, line.intercept) for number, line in self.by_test_fold.items()}).T
        numbers = table["test_fold"].astype(float)
        slope, intercept = (numbers.map(lines[place]).fillna(lines[place].mean()).to_numpy(float) for place in (0, 1))
        target, prediction = (table[name].to_numpy(dtype=float) for name in ("target", "prediction"))
        return prediction + target - (slope * target + intercept)

    @property
    def note(self) -> str:
        slopes, intercepts = (
            [getattr(line, name) for line in self.by_test_fold.values()] for name in ("slope", "intercept")
        )
        return (
            f"Corrected with a line for each of {len(self.by_test_fold)} test folds, fitted on validation participants of the "
            f"networks that leave it out: slopes {min(slopes):.3f} to {max(slopes):.3f}, intercepts {min(intercepts):.2f} to "
            f"{max(intercepts):.2f}; external scans with their mean. It uses the true age: no measure of accuracy."
        )


def fit_bias(validation: pd.DataFrame) -> BiasLine | None:
    """The line of ``prediction`` on ``target`` over validation rows; None for fewer than three participants or a single age."""
    target, prediction = (validation[name].to_numpy(dtype=float) for name in ("target", "prediction"))
    if too_few(validation) or np.ptp(target) == 0:
        return None
    slope, intercept = weighted_line(target, prediction, once(target))
    return BiasLine(float(slope[0]), float(intercept[0]), validation["participant_id"].nunique())


def regression_details(
    everything: pd.DataFrame, samples: pd.DataFrame, traits: pd.DataFrame | None, bootstrap: Bootstrap
) -> list[DetailRow]:
    """Rows of details.tsv for every model of a regression.

    - setting ``bias-corrected``, group ``all``: the metrics of the corrected predictions. Each model's line is fitted on its own
      validation rows, those of all trained cohorts together, for each test fold if there are any; a model with too few of them
      has no such rows.
    - setting ``as predicted``, external cohorts only: groups ``healthy``, ``shared age range`` (ages between those of the
      youngest and the oldest participant who was trained on) and ``healthy, shared age range``.

    Groups of fewer than three participants have no rows. A group with the same scans as the whole cohort or as an earlier group
    has none either; the note of the earlier group mentions it.

    Args:
        everything: Predictions of all models (`with_baselines`), validation rows included.
        samples: samples.tsv.
        traits: scans.tsv of the cohorts with ``cohort``, or None. A cohort without CDR and ``dementia`` has no group ``healthy``,
            which otherwise includes participants without a rating (`healthy`).
        bootstrap: Number of resamples and seed.
    """
    rows: list[DetailRow] = []
    trained = FOLDED_PARTS if cross_validated(everything, samples) else ("train",)
    ages = samples.loc[samples["part"].isin(trained), "age"].dropna()
    validation = everything[everything["part"] == VALIDATION]
    numbers = test_fold_numbers(everything)
    lines = {str(model): _lines_of(table, numbers) for model, table in validation.groupby("model", sort=False)}
    for part in judged_parts(everything):
        if line := lines.get(part.model):
            corrected = part.table.assign(prediction=_corrected(part.table, line))
            note = line.note if isinstance(line, BiasLines) else _sentence(line)
            rows += part.details("all", CORRECTED, note, estimates(corrected, REGRESSION, bootstrap))
        if part.part == EXTERNAL:
            for group, chosen, note in _external_groups(with_traits(part.table, traits), ages):
                rows += part.details(group, AS_PREDICTED, note, estimates(chosen, REGRESSION, bootstrap))
    return rows


def _lines_of(validation: pd.DataFrame, numbers: list[int]) -> BiasLine | BiasLines | None:
    """The line of a model's validation rows; with test folds one for each of them, or None where one has too few rows."""
    if numbers == [0]:
        return fit_bias(validation)
    lines = {number: fit_bias(validation[validation["test_fold"] == number]) for number in numbers}
    known = {number: line for number, line in lines.items() if line}
    return BiasLines(known) if len(known) == len(lines) else None


def _corrected(table: pd.DataFrame, line: BiasLine | BiasLines) -> np.ndarray:
    if isinstance(line, BiasLines):
        return line.corrected(table)
    target, prediction = (table[name].to_numpy(dtype=float) for name in ("target", "prediction"))
    return line.corrected(target, prediction)


def _external_groups(table: pd.DataFrame, ages: pd.Series) -> Iterator[tuple[str, pd.DataFrame, str]]:
    """Name, rows and note of each group that differs from the whole ``table`` and from those before it."""
    kept: list[tuple[str, np.ndarray, list[str]]] = []
    for group, chosen, note in _all_external_groups(table, ages):
        same = next((notes for _, other, notes in kept if (other == chosen).all()), None)
        if same is None and not chosen.all():
            kept.append((group, chosen, [note]))
        elif same is not None and len(same) == 1:  # for both restrictions together one sentence is enough
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
