"""A classification at a threshold: chosen on the validation part, then judged elsewhere."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from neurocohort.evaluation.intervals import wilson_interval
from neurocohort.evaluation.measures import SMALLEST_GROUP, VALIDATION, Measure, estimate, probability_columns, result
from neurocohort.evaluation.metrics import DECISION_THRESHOLD, balanced_accuracy, counts_by_score

CONFUSION_COLUMNS = ["model", "cohort", "part", "threshold", "true", "called", "scans", "participants"]


@dataclass(frozen=True)
class Threshold:
    """Call a case where the probability is at least ``value``. ``chosen``: on the validation part; ``note``: how, a sentence."""

    value: float
    chosen: bool
    note: str


def youden_threshold(target: np.ndarray, prediction: np.ndarray) -> tuple[float, float]:
    """The threshold with the largest sensitivity + specificity - 1 (Youden 1950), and that index.

    ``target``: (rows,), above 0 for cases; ``prediction``: (rows,) probabilities. Between two neighbouring predictions every
    threshold calls the same: the middle is taken; of several as good, the nearest to 0.5, then the lowest. Raises ValueError
    where there are not both cases and controls.
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
    """Youden's threshold on validation rows (all trained cohorts'); 0.5, and the note says so, where these are of one class."""
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
    """`choose_threshold` for each model of ``everything`` (`with_baselines`), on its own validation rows."""
    validation = everything["part"] == VALIDATION
    return {
        model: choose_threshold(everything[validation & (everything["model"] == model)])
        for model in dict.fromkeys(everything["model"])
    }


def at_threshold(table: pd.DataFrame, threshold: float, *, resamples: int, seed: int) -> list[dict]:
    """sensitivity, specificity, ppv, npv and balanced_accuracy of calling a case from ``threshold`` upwards, each with its
    interval: metric, value, ci_low, ci_high, interval, n (participants).

    The proportions have Wilson's, with as many trials as participants (a person's repeated scans count as one); ``n`` are the
    participants that the proportion is of. The predictive values hold for the share of cases among these rows alone. The
    balanced accuracy has the bootstrap's. No rows for fewer than three participants.
    """
    people = table["participant_id"].to_numpy()
    if len(np.unique(people)) < SMALLEST_GROUP:
        return []
    case, prediction = (table["target"] > 0).to_numpy(), table["prediction"].to_numpy(dtype=float)
    called = prediction >= threshold
    rows = [
        _proportion(name, right, among, people)
        for name, right, among in (
            ("sensitivity", called, case),
            ("specificity", ~called, ~case),
            ("ppv", case, called),
            ("npv", ~case, ~called),
        )
    ]
    codes = case.astype(int)

    def metric(target: np.ndarray, found: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
        return balanced_accuracy(target, found, weights, threshold)

    measure = Measure(metric, codes, prediction, np.ones(len(codes), dtype=bool), codes)
    return [*rows, estimate("balanced_accuracy", measure, people, resamples=resamples, seed=seed)]


def confusion(table: pd.DataFrame, threshold: float | None) -> pd.DataFrame:
    """The confusion matrix as a row a cell: true, called, scans, participants (each counted in every cell that they are in).

    Two classes: called 1 from ``threshold`` upwards. More: the most probable class; ``threshold`` is not looked at.
    """
    classes = len(probability_columns(table)) or 2
    true = table["target"].astype(int) if classes > 2 else (table["target"] > 0).astype(int)
    called = table["prediction"].astype(int) if classes > 2 else (table["prediction"] >= threshold).astype(int)
    rows = []
    for code in range(classes):
        for answer in range(classes):
            people = table.loc[(true == code) & (called == answer), "participant_id"]
            rows.append({"true": code, "called": answer, "scans": len(people), "participants": people.nunique()})
    return pd.DataFrame(rows)


def _proportion(name: str, right: np.ndarray, among: np.ndarray, people: np.ndarray) -> dict:
    n = len(np.unique(people[among]))
    share = float(right[among].mean()) if n else float("nan")
    return result(name, share, wilson_interval(share, n), "wilson" if n else "none", n)
