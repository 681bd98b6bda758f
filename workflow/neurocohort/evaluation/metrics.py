"""Metrics of each task as functions of arrays, computed for one set of rows or for many weighted resamples of it at once.

The values equal those of scikit-learn and scipy. These libraries accept one set of weights at a time, and their input checks
take a hundred times as long as the arithmetic; an interval needs a metric some thousand times.

Every metric is called with ``target`` (rows,) and ``prediction`` (rows,), and returns a number. With ``weights`` (draws, rows),
how often each row counts in each draw, it returns one number for each draw, (draws,). It is NaN where it is not defined. No
metric uses a matrix product: with BLAS the last bits would depend on the number of threads.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

Metric = Callable[..., Any]
DECISION_THRESHOLD = 0.5


def metric(function: Callable[..., np.ndarray]) -> Metric:
    """A function of target, prediction and weights that may be called without weights: then it returns a number."""

    @functools.wraps(function)
    def called(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray | None = None, **options: Any) -> Any:
        if weights is None:
            return float(function(target, prediction, once(target), **options)[0])
        return function(target, prediction, weights, **options)

    return called


def once(values: np.ndarray) -> np.ndarray:
    """Weights of a single draw in which every row counts once, (1, rows)."""
    return np.ones((1, len(values)))


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The means (draws,) of ``values`` (rows,) under ``weights`` (draws, rows); NaN where all weights are 0."""
    return _ratio((weights * values).sum(axis=-1), weights.sum(axis=-1))


def weighted_line(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes and intercepts, (draws,) each, of the least-squares line of ``y`` on ``x``; NaN where ``x`` is constant."""
    mean_x, mean_y = weighted_mean(x, weights), weighted_mean(y, weights)
    from_mean = x - mean_x[:, None]
    spread = np.where(_constant(x, weights), np.nan, (weights * from_mean**2).sum(axis=-1))
    slope = (weights * from_mean * (y - mean_y[:, None])).sum(axis=-1) / spread
    return slope, mean_y - slope * mean_x


def counts_by_score(
    target: np.ndarray, prediction: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct predictions in descending order, (scores,), and the weights of the cases (``target`` above 0) and of the
    controls at each of them, (draws, scores) each; a single draw without ``weights``.
    """
    drawn = once(target) if weights is None else weights
    order = np.argsort(-prediction, kind="stable")
    scores = prediction[order]
    starts = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]])
    drawn, positive = drawn[:, order], target[order] > 0
    cases, controls = (np.add.reduceat(drawn * chosen, starts, axis=-1) for chosen in (positive, ~positive))
    return scores[starts], cases, controls


@metric
def _mae(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return weighted_mean(np.abs(prediction - target), weights)


@metric
def _rmse(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.sqrt(weighted_mean((prediction - target) ** 2, weights))


@metric
def _r2(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> np.ndarray:
    mean = weighted_mean(target, weights)
    total = np.where(_constant(target, weights), np.nan, (weights * (target - mean[:, None]) ** 2).sum(axis=-1))
    return 1 - (weights * (target - prediction) ** 2).sum(axis=-1) / total


@metric
def _pearson(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> np.ndarray:
    true, found = (values - weighted_mean(values, weights)[:, None] for values in (target, prediction))
    product = np.sqrt((weights * true**2).sum(axis=-1) * (weights * found**2).sum(axis=-1))
    undefined = _constant(target, weights) | _constant(prediction, weights)  # a constant has no correlation
    return np.clip((weights * true * found).sum(axis=-1) / np.where(undefined, np.nan, product), -1, 1)


@metric
def _bias(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean of predicted minus true: for age, the mean brain-predicted age difference (brain-PAD)."""
    return weighted_mean(prediction - target, weights)


@metric
def _bias_slope(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The slope of predicted minus true on true: 0 without regression to the mean, -1 for a constant prediction."""
    return weighted_line(target, prediction - target, weights)[0]


@metric
def auc(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve as the Mann-Whitney statistic: the fraction of pairs in the right order; ties count half."""
    _, cases, controls = counts_by_score(target, prediction, weights)
    below = controls.sum(axis=-1, keepdims=True) - np.cumsum(controls, axis=-1)
    doubled = (cases * (2 * below + controls)).sum(axis=-1)
    return _ratio(doubled, 2 * cases.sum(axis=-1) * controls.sum(axis=-1))


@metric
def _average_precision(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the precision-recall curve without interpolation: the mean of the precision at each case's score.

    NaN without controls, where every precision is 1.
    """
    _, cases, controls = counts_by_score(target, prediction, weights)
    called = np.cumsum(cases, axis=-1)
    # 0 / 0 occurs only at scores without a case, which count 0.
    precision = called / np.maximum(called + np.cumsum(controls, axis=-1), 1e-300)
    both = np.where(controls.sum(axis=-1) > 0, cases.sum(axis=-1), 0)
    return _ratio((cases * precision).sum(axis=-1), both)


@metric
def _brier(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return weighted_mean((prediction - (target > 0)) ** 2, weights)


@metric
def balanced_accuracy(
    target: np.ndarray, prediction: np.ndarray, weights: np.ndarray, threshold: float | np.ndarray = DECISION_THRESHOLD
) -> np.ndarray:
    """The mean of sensitivity and specificity when a case is called where ``prediction`` is at least ``threshold``, one for all
    rows or (rows,)."""
    case, called = target > 0, prediction >= threshold
    return (_fraction(called, case, weights) + _fraction(~called, ~case, weights)) / 2


@metric
def _auc_macro(target: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The unweighted mean over the classes of the AUC of one class against the rest; NaN where a class has no row."""
    each = [auc(target == code, column, weights) for code, column in enumerate(probabilities.T)]
    return np.mean(np.transpose(each), axis=-1)


@metric
def _accuracy_of_classes(target: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return weighted_mean(probabilities.argmax(axis=1) == target, weights)


@metric
def _balanced_accuracy_of_classes(target: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    right = probabilities.argmax(axis=1) == target
    each = [_fraction(right, target == code, weights) for code in range(probabilities.shape[1])]
    return np.mean(np.transpose(each), axis=-1)


def _fraction(right: np.ndarray, among: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The fraction, (draws,), of the rows ``among`` that are ``right``; (rows,) bool both."""
    return weighted_mean(right[among], weights[:, among])


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def _constant(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Whether the rows that were drawn all have the same value, (draws,)."""
    drawn = weights > 0
    return np.where(drawn, values, -np.inf).max(axis=-1) <= np.where(drawn, values, np.inf).min(axis=-1)


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

# For more than two classes: ``target`` (scans,) are integers, ``prediction`` (scans, K) the classes' probabilities.
CLASSES_METRICS: dict[str, Metric] = {
    "auc_macro": _auc_macro,
    "accuracy": _accuracy_of_classes,
    "balanced_accuracy": _balanced_accuracy_of_classes,
}

# Columns of a segmentation, averaged over scans and tissues.
SEGMENTATION_METRICS = ("dice", "hd95_mm", "assd_mm", "surface_dice_1mm")

# Whether larger values are better; other metrics have no better direction.
HIGHER_IS_BETTER = dict.fromkeys(("r2", "pearson_r", "auc", "auc_macro", "average_precision", "accuracy"), True)
HIGHER_IS_BETTER |= dict.fromkeys(("balanced_accuracy", "dice", "surface_dice_1mm", "psnr", "ssim"), True)
HIGHER_IS_BETTER |= dict.fromkeys(("mae", "rmse", "brier", "hd95_mm", "assd_mm"), False)
