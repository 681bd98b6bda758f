"""The curves of a classification of two classes, as points with bands: ROC, precision-recall, net benefit, reliability.

Bands are pointwise 95 % percentiles over resamples of participants, cases and controls drawn apart. They hold at each point,
not for the curve as a whole.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from neurocohort.evaluation.calibration import reliability
from neurocohort.evaluation.intervals import drawn_weights, percentile_band
from neurocohort.evaluation.measures import DECIMALS, SMALLEST_GROUP, judged_parts, probability_columns
from neurocohort.evaluation.metrics import counts_by_score

CURVE_COLUMNS = ["model", "cohort", "part", "curve", "x", "y", "low", "high", "n"]
GRID = np.arange(101) / 100
CHANCES = np.arange(1, 100) / 100  # threshold probabilities of a decision curve
TREAT_ALL = "treat_all"

Curve = Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]


def curve_table(everything: pd.DataFrame, *, resamples: int, seed: int) -> pd.DataFrame:
    """curves.tsv: model, cohort, part, curve, x, y, low, high, n (participants; of a bin, for ``reliability``).

    ``curve`` and its axes: ``roc`` (x: share of the controls called, y: sensitivity), ``pr`` (recall, precision), ``decision``
    (threshold probability, net benefit; model ``treat_all`` calls everybody a case, and nobody is 0 throughout) and
    ``reliability`` (mean prediction, share of cases). ``everything``: as `with_baselines` makes it. Parts of one class or of
    fewer than three participants have no curve; of more than two classes there is none at all.
    """
    tables, told = [], set()
    for about, table in [] if probability_columns(everything) else judged_parts(everything):
        if (table["target"] > 0).nunique() < 2 or table["participant_id"].nunique() < SMALLEST_GROUP:
            continue
        tables += [found.assign(**about) for found in _curves(table, resamples, seed)]
        if (place := (about["cohort"], about["part"])) not in told:
            told.add(place)
            benefit = treat_all(float((table["target"] > 0).mean()))
            points = pd.DataFrame({"curve": "decision", "x": CHANCES, "y": benefit, "low": np.nan, "high": np.nan})
            tables.append(points.assign(**about | {"model": TREAT_ALL}, n=table["participant_id"].nunique()))
    if not tables:
        return pd.DataFrame(columns=CURVE_COLUMNS)
    found = pd.concat(tables, ignore_index=True)[CURVE_COLUMNS]
    return found.round(dict.fromkeys(("x", "y", "low", "high"), DECIMALS))


def roc(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Sensitivity where the share of controls called is GRID, (draws, points); a single draw without ``weights``.

    Between the points of the empirical curve along a straight line, as equal predictions have it; where it rises straight up,
    its upper end.
    """
    _, cases, controls = counts_by_score(target, prediction, weights)
    sensitivity, false_alarms = (_cumulated_share(counts) for counts in (cases, controls))
    x = GRID + 1e-9  # shares that are equal on paper may differ in their last bit
    return np.stack([np.interp(x, share, found) for share, found in zip(false_alarms, sensitivity, strict=True)])


def precision_recall(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Precision at the highest threshold whose recall is at least GRID, (draws, points).

    A step, not a line: between its points a precision-recall curve isn't straight (Davis and Goadrich 2006).
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
    """Net benefit of calling a case from each of CHANCES upwards, (draws, points): the share of true positives less that of
    false ones times p / (1 - p) (Vickers and Elkin 2006, Medical Decision Making 26, 565-574).

    The share of cases is that of the rows: where cases are rarer, the benefit is smaller.
    """
    scores, cases, controls = counts_by_score(target, prediction, weights)
    total = (cases.sum(axis=-1) + controls.sum(axis=-1))[:, None]
    last = np.searchsorted(-scores, -CHANCES, side="right")  # how many of the scores reach each chance
    right, wrong = (np.pad(np.cumsum(counts, axis=-1), ((0, 0), (1, 0)))[:, last] for counts in (cases, controls))
    return (right - wrong * CHANCES / (1 - CHANCES)) / total


def treat_all(prevalence: float) -> np.ndarray:
    """Net benefit at each of CHANCES of calling everybody a case."""
    return prevalence - (1 - prevalence) * CHANCES / (1 - CHANCES)


def _curves(table: pd.DataFrame, resamples: int, seed: int) -> Iterator[pd.DataFrame]:
    people, prediction = table["participant_id"].to_numpy(), table["prediction"].to_numpy(dtype=float)
    case = (table["target"] > 0).to_numpy().astype(int)
    count = len(np.unique(people))
    functions: dict[str, tuple[Curve, np.ndarray]] = {
        "roc": (roc, GRID),
        "pr": (precision_recall, GRID),
        "decision": (net_benefit, CHANCES),
    }
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in functions}
    for weights in drawn_weights(people, resamples=resamples, seed=seed, strata=case):
        for name, (function, _) in functions.items():
            drawn[name].append(function(case, prediction, weights))
    for name, (function, x) in functions.items():
        low, high = percentile_band(np.concatenate(drawn[name]), count)
        y = function(case, prediction)[0]
        yield pd.DataFrame({"curve": name, "x": x, "y": y, "low": low, "high": high, "n": count})
    yield reliability(table).assign(curve="reliability")


def _cumulated_share(counts: np.ndarray) -> np.ndarray:
    """From 0 at no score to 1 at the last, (draws, scores + 1)."""
    reached = np.pad(np.cumsum(counts, axis=-1), ((0, 0), (1, 0)))
    return reached / np.maximum(reached[:, -1:], 1)
