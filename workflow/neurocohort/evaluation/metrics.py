"""Metrics of each task as plain functions of arrays, scikit-learn's and scipy's wherever they have them."""

from collections.abc import Callable

import numpy as np
from scipy import stats
from sklearn import metrics as sk

Metric = Callable[[np.ndarray, np.ndarray], float]
DECISION_THRESHOLD = 0.5


def _pearson(target: np.ndarray, prediction: np.ndarray) -> float:
    if np.ptp(target) == 0 or np.ptp(prediction) == 0:
        return float("nan")  # a constant has no correlation
    return float(stats.pearsonr(target, prediction).statistic)


def _r2(target: np.ndarray, prediction: np.ndarray) -> float:
    return float(sk.r2_score(target, prediction)) if np.ptp(target) > 0 else float("nan")


def _auc(target: np.ndarray, prediction: np.ndarray) -> float:
    """Area under the ROC curve as the Mann-Whitney statistic: quick enough to be resampled thousands of times."""
    positive = target > 0
    cases, controls = int(positive.sum()), int((~positive).sum())
    if cases == 0 or controls == 0:
        return float("nan")
    ranks = stats.rankdata(prediction)
    return float((ranks[positive].sum() - cases * (cases + 1) / 2) / (cases * controls))


def _balanced_accuracy(target: np.ndarray, prediction: np.ndarray) -> float:
    called, positive = prediction >= DECISION_THRESHOLD, target > 0
    if positive.all() or not positive.any():
        return float("nan")
    return float((called[positive].mean() + (~called[~positive]).mean()) / 2)


REGRESSION_METRICS: dict[str, Metric] = {
    "mae": lambda target, prediction: float(np.abs(prediction - target).mean()),
    "rmse": lambda target, prediction: float(np.sqrt(((prediction - target) ** 2).mean())),
    "r2": _r2,
    "pearson_r": _pearson,
}
CLASSIFICATION_METRICS: dict[str, Metric] = {"auc": _auc, "balanced_accuracy": _balanced_accuracy}
