"""The criterion by which a classification's epoch is chosen: the validation loss after calibration on the same scans.

While a network ranks the scans better and better it may become overconfident, so that its cross-entropy rises although its
predictions improve (Guo et al. 2017, On Calibration of Modern Neural Networks). Calibration removes this effect.
"""

import numpy as np
import torch
from scipy.optimize import minimize

from neurocohort.learning.tasks import Classification

# Outputs are multiplied by at most this: a network whose confidence must be raised much more has not learned much yet.
LARGEST_SLOPE = 10.0


def epoch_criterion(task: Classification, outputs: torch.Tensor, targets: torch.Tensor, loss: float) -> float:
    """The number by which epochs are compared, smaller is better: `calibrated_loss` of all validation scans.

    It is ``loss``, the mean validation loss, where all scans have one class, which calibration would fit perfectly, and where
    an output is not finite.
    """
    if len(targets.unique()) < 2 or not torch.isfinite(outputs).all():
        return loss
    return calibrated_loss(task, outputs, targets)


def calibrated_loss(task: Classification, outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """The task's weighted cross-entropy after a slope (one over the temperature), and for two classes an intercept, have been
    fitted to the same scans.

    The slope is between 0 and `LARGEST_SLOPE`, so that the ranking of the scans is never reversed. The fit uses Platt's targets
    (1999), slightly inside 0 and 1: with 0 and 1 the loss of every epoch that separates a few scans would be 0.

    Args:
        task: The classification.
        outputs: Logits, (N, outputs).
        targets: Integer classes (N,), of which at least two occur.
    """
    logits, classes = outputs.double().cpu().numpy(), targets.long().cpu().numpy()
    two = task.classes == 2
    every = np.column_stack([np.zeros(len(logits)), logits[:, 0]]) if two else logits
    spread = float(every.std()) or 1.0  # the optimiser works best with parameters of the order of 1
    scaled, soft = every / spread, _platt_targets(classes, task.classes)
    weighted = soft * np.array([1.0, task.positive_weight] if two else task.class_weights)

    def loss_and_slopes(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        """The mean cross-entropy and its derivatives; it is convex, so that it has one minimum."""
        slope, intercept = parameters
        shifted = slope * scaled + np.array([0.0, intercept]) if two else slope * scaled
        shifted = shifted - shifted.max(axis=1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        by_logit = weighted.sum(axis=1, keepdims=True) * np.exp(logs) - weighted
        derivatives = [(by_logit * scaled).sum(), by_logit[:, 1].sum() if two else 0.0]
        return -float((weighted * logs).sum()) / len(logs), np.array(derivatives) / len(logs)

    limits = [(0.0, LARGEST_SLOPE * spread), (None, None) if two else (0.0, 0.0)]
    start = np.array([min(spread, 1.0), 0.0])  # as the network is, or less confident
    slope, intercept = minimize(loss_and_slopes, start, jac=True, method="L-BFGS-B", bounds=limits).x
    calibrated = torch.from_numpy(logits * (slope / spread) + intercept)
    return float(task.loss(calibrated, targets.cpu()))


def _platt_targets(classes: np.ndarray, count: int) -> np.ndarray:
    """(N, ``count``) probabilities: (n + 1) / (n + ``count``) for the own class with n scans; the rest is divided equally."""
    counts = np.bincount(classes, minlength=count)
    others = 1 / (counts[classes] + count)
    soft = np.repeat(others[:, None], count, axis=1)
    soft[np.arange(len(classes)), classes] = (counts[classes] + 1) / (counts[classes] + count)
    return soft
