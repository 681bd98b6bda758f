"""Metrics of each task as plain functions of arrays.

They equal scikit-learn's and scipy's, whose checks of their input take a hundred times as long as the arithmetic: an interval
asks for a metric some thousand times.
"""

from collections.abc import Callable

import numpy as np

Metric = Callable[[np.ndarray, np.ndarray], float]
DECISION_THRESHOLD = 0.5


def _pearson(target: np.ndarray, prediction: np.ndarray) -> float:
    if np.ptp(target) == 0 or np.ptp(prediction) == 0:
        return float("nan")  # a constant has no correlation
    true, found = target - target.mean(), prediction - prediction.mean()
    return float(np.clip((true / np.linalg.norm(true)) @ (found / np.linalg.norm(found)), -1, 1))


def _r2(target: np.ndarray, prediction: np.ndarray) -> float:
    if np.ptp(target) == 0:
        return float("nan")
    return float(1 - ((target - prediction) ** 2).sum() / ((target - target.mean()) ** 2).sum())


def _auc(target: np.ndarray, prediction: np.ndarray) -> float:
    """Area under the ROC curve as the Mann-Whitney statistic: the share of pairs in order, half of those that are equal."""
    positive = target > 0
    cases, controls = prediction[positive], np.sort(prediction[~positive])
    if len(cases) == 0 or len(controls) == 0:
        return float("nan")
    doubled = np.searchsorted(controls, cases, "left").sum() + np.searchsorted(controls, cases, "right").sum()
    return float(doubled / (2 * len(cases) * len(controls)))


def _balanced_accuracy(target: np.ndarray, prediction: np.ndarray) -> float:
    called, positive = prediction >= DECISION_THRESHOLD, target > 0
    if positive.all() or not positive.any():
        return float("nan")
    return float((called[positive].mean() + (~called[~positive]).mean()) / 2)


def _auc_macro(target: np.ndarray, probabilities: np.ndarray) -> float:
    """The mean over the classes of the AUC of one against the rest, classes weighing alike; NaN where nobody has one."""
    return float(np.mean([_auc(target == code, column) for code, column in enumerate(probabilities.T)]))


def _accuracy_of_classes(target: np.ndarray, probabilities: np.ndarray) -> float:
    return float((probabilities.argmax(axis=1) == target).mean())


def _balanced_accuracy_of_classes(target: np.ndarray, probabilities: np.ndarray) -> float:
    counts = np.bincount(target, minlength=probabilities.shape[1])
    if not counts.all():
        return float("nan")
    right = probabilities.argmax(axis=1) == target
    return float(np.mean(np.bincount(target[right], minlength=len(counts)) / counts))


REGRESSION_METRICS: dict[str, Metric] = {
    "mae": lambda target, prediction: float(np.abs(prediction - target).mean()),
    "rmse": lambda target, prediction: float(np.sqrt(((prediction - target) ** 2).mean())),
    "r2": _r2,
    "pearson_r": _pearson,
}
CLASSIFICATION_METRICS: dict[str, Metric] = {"auc": _auc, "balanced_accuracy": _balanced_accuracy}

# Of more than two classes: ``target`` (scans,) holds integers, ``prediction`` (scans, K) the classes' probabilities.
CLASSES_METRICS: dict[str, Metric] = {
    "auc_macro": _auc_macro,
    "accuracy": _accuracy_of_classes,
    "balanced_accuracy": _balanced_accuracy_of_classes,
}
