"""What chooses the epoch: the validation loss, for a classification after its confidence was calibrated on the same scans.

A network that orders the scans better and better may become too sure of itself, and its cross-entropy then rises although its
predictions improve (Guo et al. 2017, On Calibration of Modern Neural Networks). The calibrated loss doesn't see that.
"""

import numpy as np
import torch
from scipy.optimize import minimize

from neurocohort.learning.tasks import CLASSIFICATION, Classification, Task

# Outputs are multiplied by at most this: a network that has to be made far surer than it is has not learned much yet.
LARGEST_SLOPE = 10.0


def epoch_criterion(task: Task, outputs: torch.Tensor | None, targets: torch.Tensor | None, loss: float) -> float:
    """The number by which epochs are compared, smaller being better: ``loss``, the mean validation loss, of a regression and a
    segmentation; of a classification `calibrated_loss` of all validation scans' ``outputs`` (N, outputs) and ``targets`` (N,).

    It is ``loss`` too where the scans are all of one class, which calibration could fit perfectly, and where an output is no
    finite number.
    """
    if task.kind != CLASSIFICATION or len(targets.unique()) < 2 or not torch.isfinite(outputs).all():
        return loss
    return calibrated_loss(task, outputs, targets)


def calibrated_loss(task: Classification, outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """The task's weighted cross-entropy after the best slope (one over the temperature), and of two classes intercept, were
    fitted to the same scans.

    ``outputs``: (N, outputs) logits; ``targets``: (N,) integer classes, of at least two. The slope lies between 0 and
    `LARGEST_SLOPE`, so the order of the scans never turns round. The fit is to Platt's targets (1999), a little within 0 and 1:
    with plain ones, each epoch that separates a few validation scans would come to 0 and the surest would win.
    """
    logits, classes = outputs.double().cpu().numpy(), targets.long().cpu().numpy()
    two = task.classes == 2
    every = np.column_stack([np.zeros(len(logits)), logits[:, 0]]) if two else logits
    spread = float(every.std()) or 1.0  # of the order of 1, both parameters suit the optimiser
    scaled, soft = every / spread, _platt_targets(classes, task.classes)
    weighted = soft * np.array([1.0, task.positive_weight] if two else task.class_weights)

    def loss_and_slopes(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        """The mean cross-entropy and its derivatives; it is convex in slope and intercept, so its minimum is the only one."""
        slope, intercept = parameters
        shifted = slope * scaled + np.array([0.0, intercept]) if two else slope * scaled
        shifted = shifted - shifted.max(axis=1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        by_logit = weighted.sum(axis=1, keepdims=True) * np.exp(logs) - weighted
        derivatives = [(by_logit * scaled).sum(), by_logit[:, 1].sum() if two else 0.0]
        return -float((weighted * logs).sum()) / len(logs), np.array(derivatives) / len(logs)

    limits = [(0.0, LARGEST_SLOPE * spread), (None, None) if two else (0.0, 0.0)]
    start = np.array([min(spread, 1.0), 0.0])  # as the network is, or less sure
    slope, intercept = minimize(loss_and_slopes, start, jac=True, method="L-BFGS-B", bounds=limits).x
    calibrated = torch.from_numpy(logits * (slope / spread) + intercept)
    return float(task.loss(calibrated, targets.cpu()))


def _platt_targets(classes: np.ndarray, count: int) -> np.ndarray:
    """(N, ``count``) probabilities: (n + 1) / (n + ``count``) for the scan's own class, which has n scans, the rest shared."""
    counts = np.bincount(classes, minlength=count)
    others = 1 / (counts[classes] + count)
    soft = np.repeat(others[:, None], count, axis=1)
    soft[np.arange(len(classes)), classes] = (counts[classes] + 1) / (counts[classes] + count)
    return soft
