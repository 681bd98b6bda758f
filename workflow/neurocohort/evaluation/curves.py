"""The curves of a classification of two classes, as points with bands: ROC, precision-recall, net benefit, reliability.

Bands are pointwise 95 % percentiles over resamples of participants, with cases and controls drawn separately. They are valid at
each point, not for the curve as a whole.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from neurocohort.evaluation.calibration import reliability
from neurocohort.evaluation.intervals import Bootstrap, drawn_weights, percentile_band
from neurocohort.evaluation.measures import judged_parts, probability_columns, too_few
from neurocohort.evaluation.metrics import counts_by_score
from neurocohort.evaluation.rows import DECIMALS

CURVE_COLUMNS = ["model", "cohort", "part", "curve", "x", "y", "low", "high", "n"]
GRID = np.arange(101) / 100
CHANCES = np.arange(1, 100) / 100  # threshold probabilities of a decision curve
TREAT_ALL = "treat_all"

Curve = Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]


def curve_table(everything: pd.DataFrame, bootstrap: Bootstrap) -> pd.DataFrame:
    """curves.tsv: model, cohort, part, curve, x, y, low, high, n (participants; for ``reliability`` those of a bin).

    The curves and their axes: ``roc`` (fraction of the controls called, sensitivity), ``pr`` (recall, precision), ``decision``
    (threshold probability, net benefit; the model ``treat_all`` calls everybody a case; the benefit of calling nobody is 0) and
    ``reliability`` (mean prediction, fraction of cases). Parts with one class or fewer than three participants have no curve;
    neither has a classification of more than two classes. ``everything``: see `with_baselines`.
    """
    tables, places = [], set()
    for part in [] if probability_columns(everything) else judged_parts(everything):
        case = part.table["target"] > 0
        if case.nunique() < 2 or too_few(part.table):
            continue
        place = {"cohort": part.cohort, "part": part.part}
        tables += [curve.assign(**place, model=part.model) for curve in _curves(part.table, bootstrap)]
        if (part.cohort, part.part) not in places:
            places.add((part.cohort, part.part))
            benefit, count = treat_all(float(case.mean())), part.table["participant_id"].nunique()
            points = {"curve": "decision", "x": CHANCES, "y": benefit, "low": np.nan, "high": np.nan, "n": count}
            tables.append(pd.DataFrame(points).assign(**place, model=TREAT_ALL))
    if not tables:
        return pd.DataFrame(columns=CURVE_COLUMNS)
    found = pd.concat(tables, ignore_index=True)[CURVE_COLUMNS]
    return found.round(dict.fromkeys(("x", "y", "low", "high"), DECIMALS))


def roc(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Sensitivity where the fraction of controls called is GRID, (draws, points); a single draw without ``weights``.

    Linear between the points of the empirical curve, as for tied predictions; the upper end of vertical steps.
    """
    _, cases, controls = counts_by_score(target, prediction, weights)
    sensitivity, false_alarms = (_cumulated_fraction(counts) for counts in (cases, controls))
    x = GRID + 1e-9  # equal fractions may differ in their last bit
    return np.stack([np.interp(x, fraction, found) for fraction, found in zip(false_alarms, sensitivity, strict=True)])


def precision_recall(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Precision at the highest threshold whose recall is at least GRID, (draws, points).

    Steps, since a precision-recall curve isn't linear between its points (Davis and Goadrich 2006).
    """
    _, cases, controls = counts_by_score(target, prediction, weights)
    called, wrongly = np.cumsum(cases, axis=-1), np.cumsum(controls, axis=-1)
    precision = called / np.maximum(called + wrongly, 1)
    found = []
    for recalled, row in zip(called, precision, strict=True):
        first = np.searchsorted(recalled, np.maximum(GRID * recalled[-1] - 1e-9, 1e-9))  # at least one case is recalled
        found.append(row[np.minimum(first, len(row) - 1)])
    return np.stack(found)


def net_benefit(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Net benefit of calling a case from each of CHANCES upwards, (draws, points): the fraction of true positives minus that of
    false positives times p / (1 - p) (Vickers and Elkin 2006, Medical Decision Making 26, 565-574).

    The prevalence is that of the rows: where cases are rarer, the benefit is smaller.
    """
    scores, cases, controls = counts_by_score(target, prediction, weights)
    total = (cases.sum(axis=-1) + controls.sum(axis=-1))[:, None]
    last = np.searchsorted(-scores, -CHANCES, side="right")  # number of scores that reach each chance
    right, wrong = (np.pad(np.cumsum(counts, axis=-1), ((0, 0), (1, 0)))[:, last] for counts in (cases, controls))
    return (right - wrong * CHANCES / (1 - CHANCES)) / total


def treat_all(prevalence: float) -> np.ndarray:
    """Net benefit of calling everybody a case, at each of CHANCES."""
    return prevalence - (1 - prevalence) * CHANCES / (1 - CHANCES)


def _curves(table: pd.DataFrame, bootstrap: Bootstrap) -> Iterator[pd.DataFrame]:
    people, prediction = table["participant_id"].to_numpy(), table["prediction"].to_numpy(dtype=float)
    case = (table["target"] > 0).to_numpy().astype(int)
    count = len(np.unique(people))
    functions: dict[str, tuple[Curve, np.ndarray]] = {
        "roc": (roc, GRID),
        "pr": (precision_recall, GRID),
        "decision": (net_benefit, CHANCES),
    }
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in functions}
    for weights in drawn_weights(people, bootstrap, case):
        for name, (function, _) in functions.items():
            drawn[name].append(function(case, prediction, weights))
    for name, (function, x) in functions.items():
        low, high = percentile_band(np.concatenate(drawn[name]), count)
        y = function(case, prediction, None)[0]
        yield pd.DataFrame({"curve": name, "x": x, "y": y, "low": low, "high": high, "n": count})
    yield reliability(table).assign(curve="reliability")


def _cumulated_fraction(counts: np.ndarray) -> np.ndarray:
    """From 0 at no score to 1 at the last, (draws, scores + 1)."""
    reached = np.pad(np.cumsum(counts, axis=-1), ((0, 0), (1, 0)))
    return reached / np.maximum(reached[:, -1:], 1)
