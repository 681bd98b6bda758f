"""A classification at a threshold that is chosen on the validation part and judged on the other parts."""

from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd

from neurocohort.dataset.folds import test_fold_numbers
from neurocohort.evaluation.intervals import Bootstrap, wilson_interval
from neurocohort.evaluation.measures import VALIDATION, Measure, estimate, probability_columns, too_few
from neurocohort.evaluation.metrics import DECISION_THRESHOLD, balanced_accuracy, counts_by_score
from neurocohort.evaluation.rows import Estimate

CONFUSION_COLUMNS = ["model", "cohort", "part", "threshold", "true", "called", "scans", "participants"]


@dataclass(frozen=True)
class Threshold:
    """A case is called where the probability is at least ``value``.

    Attributes:
        value: The threshold; with test folds the mean over them, which external rows get.
        chosen: Whether it was chosen on the validation part; with test folds whether all were.
        note: A sentence on how.
        by_test_fold: With test folds, the threshold of each, which its held-out rows get.
    """

    value: float
    chosen: bool
    note: str
    by_test_fold: dict[int, float] = field(default_factory=dict)

    def of_rows(self, table: pd.DataFrame) -> float | np.ndarray:
        """The threshold of each row of ``table``: one for all, or (rows,) with test folds."""
        if not self.by_test_fold:
            return self.value
        own = table["test_fold"].map(self.by_test_fold).astype(float)
        return own.fillna(self.value).to_numpy()


def youden_threshold(target: np.ndarray, prediction: np.ndarray) -> tuple[float, float]:
    """The threshold with the largest sensitivity + specificity - 1 (Youden 1950), and that index.

    All thresholds between two neighbouring predictions are equivalent; the middle is used. Among equally good thresholds the
    one nearest to 0.5 is used, then the lowest. Raises ValueError where there are no cases or no controls.

    Args:
        target: Above 0 for cases, (rows,).
        prediction: Probabilities, (rows,).
    """
    scores, cases, controls = (found.ravel() for found in counts_by_score(target, prediction))
    if not cases.sum() or not controls.sum():
        raise ValueError("a threshold needs cases and controls; found one class.")
    index = np.cumsum(cases) / cases.sum() - np.cumsum(controls) / controls.sum()
    thresholds = np.append((scores[:-1] + scores[1:]) / 2, scores[-1])
    best = np.flatnonzero(index >= index.max() - 1e-12)
    chosen = min(best, key=lambda place: (abs(thresholds[place] - DECISION_THRESHOLD), thresholds[place]))
    return float(thresholds[chosen]), float(index[chosen])


def choose_threshold(validation: pd.DataFrame) -> Threshold:
    """Youden's threshold on the validation rows of all trained cohorts; 0.5, with a note, where they have only one class."""
    target, prediction = (validation[name].to_numpy(dtype=float) for name in ("target", "prediction"))
    cases = int((target > 0).sum())
    if not cases or cases == len(target):
        why = "it has no scan" if not len(target) else "its scans are of one class"
        return Threshold(DECISION_THRESHOLD, False, f"Threshold 0.5, not chosen on the validation part: {why}.")
    value, index = youden_threshold(target, prediction)
    return Threshold(
        value,
        True,
        f"Threshold {value:.3f}, chosen on {len(target)} validation scans ({cases} of cases) of "
        f"{validation['participant_id'].nunique()} participants by Youden's index, {index:.2f} there.",
    )


def thresholds_of(everything: pd.DataFrame) -> dict[str, Threshold]:
    """The threshold of each model of ``everything`` (`with_baselines`), chosen on its own validation rows.

    With test folds each of them has its own, chosen on the validation rows of the networks that leave it out.
    """
    validation = everything["part"] == VALIDATION
    numbers = test_fold_numbers(everything)
    found: dict[str, Threshold] = {}
    for model in dict.fromkeys(everything["model"]):
        own = everything[validation & (everything["model"] == model)]
        if numbers == [0]:
            found[model] = choose_threshold(own)
        else:
            found[model] = _of_test_folds({one: choose_threshold(own[own["test_fold"] == one]) for one in numbers})
    return found


def _of_test_folds(each: dict[int, Threshold]) -> Threshold:
    values = {number: one.value for number, one in each.items()}
    chosen = [one for one in each.values() if one.chosen]
    low, high = min(values.values()), max(values.values())
    words = f"Threshold {low:.3f}" if f"{low:.3f}" == f"{high:.3f}" else f"Thresholds {low:.3f} to {high:.3f}"
    if chosen:
        note = (
            f"{words}, one for each of {len(each)} test folds, chosen by Youden's index on the validation scans of the networks "
            "that leave the test fold out; external scans have the mean of the thresholds."
        )
        if len(chosen) < len(each):
            note += f" In {len(each) - len(chosen)} of them these scans lack a class, so that the threshold is 0.5."
    else:
        note = "Threshold 0.5, not chosen on validation scans: in every test fold they lack a class."
    return Threshold(float(np.mean(list(values.values()))), len(chosen) == len(each), note, values)


def at_threshold(table: pd.DataFrame, threshold: float | np.ndarray, bootstrap: Bootstrap) -> list[Estimate]:
    """sensitivity, specificity, ppv, npv and balanced_accuracy when a case is called from ``threshold`` upwards; one for all
    rows, or one for each.

    The proportions have Wilson's interval, with participants as trials (repeated scans of a person count once); ``n`` are the
    participants in the denominator. The predictive values hold only for the fraction of cases among these rows. The balanced
    accuracy has a bootstrap interval. Empty for fewer than three participants.
    """
    if too_few(table):
        return []
    people = table["participant_id"].to_numpy()
    case, prediction = (table["target"] > 0).to_numpy(), table["prediction"].to_numpy(dtype=float)
    called = prediction >= threshold
    proportions = {
        "sensitivity": (called, case),
        "specificity": (~called, ~case),
        "ppv": (case, called),
        "npv": (~case, ~called),
    }
    accuracy = partial(balanced_accuracy, threshold=threshold)
    measure = Measure(accuracy, case.astype(int), prediction, people, stratified=True)
    return [
        *(_proportion(name, right, among, people) for name, (right, among) in proportions.items()),
        estimate("balanced_accuracy", measure, bootstrap),
    ]


def confusion(table: pd.DataFrame, threshold: float | np.ndarray | None) -> pd.DataFrame:
    """The confusion matrix with one row for each cell: true, called, scans, participants.

    A participant counts in every cell in which they have a scan. Two classes: class 1 is called from ``threshold`` upwards. More
    classes: the most probable class is called, and ``threshold`` is not used.
    """
    classes = len(probability_columns(table)) or 2
    true = table["target"].astype(int) if classes > 2 else (table["target"] > 0).astype(int)
    called = table["prediction"].astype(int) if classes > 2 else (table["prediction"] >= threshold).astype(int)
    rows = []
    for code in range(classes):
        for answer in range(classes):
            people = table.loc[(true == code) & (called == answer), "participant_id"]
            rows.append((code, answer, len(people), people.nunique()))
    return pd.DataFrame(rows, columns=["true", "called", "scans", "participants"])


def _proportion(name: str, right: np.ndarray, among: np.ndarray, people: np.ndarray) -> Estimate:
    n = len(np.unique(people[among]))
    fraction = float(right[among].mean()) if n else float("nan")
    return Estimate(name, fraction, *wilson_interval(fraction, n), "wilson" if n else "none", n)
