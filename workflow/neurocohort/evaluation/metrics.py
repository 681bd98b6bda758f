"""Metrics of each task as plain functions of arrays, of one set of rows or of many weighted resamples of it at a time.

They equal scikit-learn's and scipy's, whose checks of their input take a hundred times as long as the arithmetic, and which
know one set of weights at a time: an interval asks for a metric some thousand times.

Every metric is a function of ``target`` (rows,), ``prediction`` (rows,) and ``weights``. Without weights it returns a number;
with weights (draws, rows), how often each row counts in each draw, it returns one number a draw, (draws,). It is NaN where it
is not defined. No metric goes through a matrix product: BLAS would let the number of threads into the last bits.
"""

from collections.abc import Callable

import numpy as np

Metric = Callable[..., float | np.ndarray]
DECISION_THRESHOLD = 0.5


def weighted_mean(values: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    """The mean of ``values`` (rows,), or the means (draws,) under ``weights`` (draws, rows); NaN where all weights are 0."""
    if weights is None:
        return float(values.mean()) if len(values) else float("nan")
    return _share((weights * values).sum(axis=-1), weights.sum(axis=-1))


def weighted_line(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None
) -> tuple[float | np.ndarray, float | np.ndarray]:
    """Slope and intercept of the least-squares line of ``y`` on ``x``; NaN where ``x`` is constant."""
    drawn = _drawn(x, weights)
    mean_x, mean_y = weighted_mean(x, drawn), weighted_mean(y, drawn)
    from_mean = x - mean_x[:, None]
    spread = np.where(_constant(x, drawn), np.nan, (drawn * from_mean**2).sum(axis=-1))
    slope = (drawn * from_mean * (y - mean_y[:, None])).sum(axis=-1) / spread
    return _like(weights, slope), _like(weights, mean_y - slope * mean_x)


def counts_by_score(
    target: np.ndarray, prediction: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct predictions, largest first, (scores,), and the weight of the cases (``target`` above 0) and of the controls
    at each of them, (draws, scores) both; a single draw without ``weights``.
    """
    drawn = _drawn(prediction, weights)
    order = np.argsort(-prediction, kind="stable")
    scores = prediction[order]
    starts = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]])
    drawn, positive = drawn[:, order], target[order] > 0
    cases, controls = (np.add.reduceat(drawn * chosen, starts, axis=-1) for chosen in (positive, ~positive))
    return scores[starts], cases, controls


def _mae(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    return weighted_mean(np.abs(prediction - target), weights)


def _rmse(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    return _like(weights, np.sqrt(np.atleast_1d(weighted_mean((prediction - target) ** 2, weights))))


def _r2(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    drawn = _drawn(target, weights)
    mean = weighted_mean(target, drawn)
    total = np.where(_constant(target, drawn), np.nan, (drawn * (target - mean[:, None]) ** 2).sum(axis=-1))
    return _like(weights, 1 - (drawn * (target - prediction) ** 2).sum(axis=-1) / total)


def _pearson(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    drawn = _drawn(target, weights)
    true, found = (values - weighted_mean(values, drawn)[:, None] for values in (target, prediction))
    product = np.sqrt((drawn * true**2).sum(axis=-1) * (drawn * found**2).sum(axis=-1))
    undefined = _constant(target, drawn) | _constant(prediction, drawn)  # a constant has no correlation
    return _like(weights, np.clip((drawn * true * found).sum(axis=-1) / np.where(undefined, np.nan, product), -1, 1))


def _bias(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    """The mean of predicted minus true: for age, the mean brain-predicted age difference (brain-PAD)."""
    return weighted_mean(prediction - target, weights)


def _bias_slope(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    """The slope of predicted minus true on true: 0 without regression to the mean, -1 for a constant prediction."""
    return weighted_line(target, prediction - target, weights)[0]


def auc(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    """Area under the ROC curve as the Mann-Whitney statistic: the share of pairs in order, half of those that are equal."""
    _, cases, controls = counts_by_score(target, prediction, weights)
    below = controls.sum(axis=-1, keepdims=True) - np.cumsum(controls, axis=-1)
    doubled = (cases * (2 * below + controls)).sum(axis=-1)
    return _like(weights, _share(doubled, 2 * cases.sum(axis=-1) * controls.sum(axis=-1)))


def _average_precision(
    target: np.ndarray, prediction: np.ndarray, weights: np.ndarray | None = None
) -> float | np.ndarray:
    """Area under the precision-recall curve without interpolation: the mean of the precision where each case is called.

    NaN without controls, where every call is right whatever the prediction.
    """
    _, cases, controls = counts_by_score(target, prediction, weights)
    called = np.cumsum(cases, axis=-1)
    precision = called / np.maximum(
        called + np.cumsum(controls, axis=-1), 1e-300
    )  # 0 / 0: no case there, so it counts 0
    both = np.where(controls.sum(axis=-1) > 0, cases.sum(axis=-1), 0)
    return _like(weights, _share((cases * precision).sum(axis=-1), both))


def _brier(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    return weighted_mean((prediction - (target > 0)) ** 2, weights)


def share_called(
    target: np.ndarray, called: np.ndarray, weights: np.ndarray | None = None, *, case: bool
) -> float | np.ndarray:
    """Of the cases (``target`` above 0), or of the controls, the share that is ``called`` (rows,) bool."""
    chosen = (target > 0) == case
    drawn = _drawn(target, weights)[:, chosen]
    return _like(weights, _share((drawn * called[chosen]).sum(axis=-1), drawn.sum(axis=-1)))


def balanced_accuracy(
    target: np.ndarray,
    prediction: np.ndarray,
    weights: np.ndarray | None = None,
    threshold: float = DECISION_THRESHOLD,
) -> float | np.ndarray:
    """The mean of sensitivity and specificity of calling a case where ``prediction`` is at least ``threshold``."""
    called = prediction >= threshold
    return (share_called(target, called, weights, case=True) + share_called(target, ~called, weights, case=False)) / 2


def _auc_macro(target: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    """The mean over the classes of the AUC of one against the rest, classes weighing alike; NaN where nobody has one."""
    each = [auc(target == code, column, weights) for code, column in enumerate(probabilities.T)]
    return _like(weights, np.mean(np.atleast_2d(np.transpose(each)), axis=-1))


def _accuracy_of_classes(
    target: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None
) -> float | np.ndarray:
    return weighted_mean(probabilities.argmax(axis=1) == target, weights)


def _balanced_accuracy_of_classes(
    target: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None
) -> float | np.ndarray:
    right = probabilities.argmax(axis=1) == target
    each = [share_called(target == code, right, weights, case=True) for code in range(probabilities.shape[1])]
    return _like(weights, np.mean(np.atleast_2d(np.transpose(each)), axis=-1))


def _drawn(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    return np.ones((1, len(values))) if weights is None else weights


def _like(weights: np.ndarray | None, values: np.ndarray) -> float | np.ndarray:
    """What came of one draw of all rows as a number, where no weights were given."""
    return float(values[0]) if weights is None else values


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def _constant(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Whether the rows that were drawn all have the same value, (draws,)."""
    there = weights > 0
    return np.where(there, values, -np.inf).max(axis=-1) <= np.where(there, values, np.inf).min(axis=-1)


REGRESSION_METRICS: dict[str, Metric] = {
    "mae": _mae,
    "rmse": _rmse,
    "r2": _r2,
    "pearson_r": _pearson,
    "bias": _bias,
    "bias_slope": _bias_slope,
}
CLASSIFICATION_METRICS: dict[str, Metric] = {
    "auc": auc,
    "balanced_accuracy": balanced_accuracy,
    "average_precision": _average_precision,
    "brier": _brier,
}

# Of more than two classes: ``target`` (scans,) holds integers, ``prediction`` (scans, K) the classes' probabilities.
CLASSES_METRICS: dict[str, Metric] = {
    "auc_macro": _auc_macro,
    "accuracy": _accuracy_of_classes,
    "balanced_accuracy": _balanced_accuracy_of_classes,
}

# Means of a segmentation's columns over scans and tissues.
SEGMENTATION_METRICS = ("dice", "hd95_mm", "assd_mm", "surface_dice_1mm")

# Whether larger is better; metrics that are neither are not listed.
HIGHER_IS_BETTER = dict.fromkeys(("r2", "pearson_r", "auc", "auc_macro", "average_precision", "accuracy"), True)
HIGHER_IS_BETTER |= dict.fromkeys(("balanced_accuracy", "dice", "surface_dice_1mm"), True)
HIGHER_IS_BETTER |= dict.fromkeys(("mae", "rmse", "brier", "hd95_mm", "assd_mm"), False)
