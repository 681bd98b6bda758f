"""What differs between the three tasks: outputs, loss, what a prediction is, and how validation judges an epoch.

A task is fitted on the training part alone: age bins, class weights and the target's scale never see another part.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch.nn import functional

BINS = 32
BIN_MARGIN = 0.1  # of the training range, below and above it
TISSUE_LABELS = 4  # background, CSF, GM, WM
REGRESSION, CLASSIFICATION, SEGMENTATION = "regression", "classification", "segmentation"


@dataclass(frozen=True)
class Task:
    """``kind``: regression, classification or segmentation. ``low``, ``high``: outer bin centres of a regression with soft
    bins (both 0 where the network predicts one value). ``mean``, ``scale``: of the training targets. ``positive_weight``: of
    the positive class in the loss, from the training counts.
    """

    kind: str
    soft_bins: bool = False
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    scale: float = 1.0
    positive_weight: float = 1.0

    @property
    def outputs(self) -> int:
        """Number of values or channels that the network returns."""
        if self.kind == SEGMENTATION:
            return TISSUE_LABELS
        return BINS if self.soft_bins else 1

    def as_dict(self) -> dict:
        """Plain values, for run.json."""
        return asdict(self)


def fit_task(kind: str, soft_bins: bool, training_targets: np.ndarray) -> Task:
    """The task's constants from the targets (float) of the training part; ignored for segmentation."""
    if kind == SEGMENTATION:
        return Task(kind)
    if kind == CLASSIFICATION:
        positive = float(training_targets.sum())
        return Task(kind, positive_weight=(len(training_targets) - positive) / max(positive, 1.0))
    low, high = float(training_targets.min()), float(training_targets.max())
    margin = BIN_MARGIN * (high - low)
    return Task(
        kind,
        soft_bins=soft_bins,
        low=low - margin,
        high=high + margin,
        mean=float(training_targets.mean()),
        scale=max(float(training_targets.std()), 1e-6),
    )


def loss_of(task: Task, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The batch's mean loss. ``targets``: (N,) values, or (N, X, Y, Z) labels for a segmentation."""
    if task.kind == SEGMENTATION:
        from monai.losses import DiceCELoss

        return DiceCELoss(to_onehot_y=True, softmax=True, include_background=False)(outputs, targets[:, None].float())
    if task.kind == CLASSIFICATION:
        weight = torch.tensor(task.positive_weight, device=outputs.device)
        return functional.binary_cross_entropy_with_logits(outputs[:, 0], targets, pos_weight=weight)
    if not task.soft_bins:
        return functional.mse_loss(outputs[:, 0], (targets - task.mean) / task.scale)
    # Soft bins after Peng et al. 2021: a Gaussian one bin wide around the true value, Kullback-Leibler divergence.
    centres = _bin_centres(task, outputs.device)
    width = centres[1] - centres[0]
    soft = torch.softmax(-0.5 * ((targets[:, None] - centres) / width) ** 2, dim=1)
    return functional.kl_div(torch.log_softmax(outputs, dim=1), soft, reduction="batchmean")


def predict_from(task: Task, outputs: torch.Tensor) -> torch.Tensor:
    """The prediction: a value, the positive class's probability, or a label map (N, X, Y, Z) as uint8."""
    if task.kind == SEGMENTATION:
        return outputs.argmax(dim=1).to(torch.uint8)
    if task.kind == CLASSIFICATION:
        return torch.sigmoid(outputs[:, 0])
    if task.soft_bins:
        return torch.softmax(outputs, dim=1) @ _bin_centres(task, outputs.device)
    return outputs[:, 0] * task.scale + task.mean


def _bin_centres(task: Task, device: torch.device) -> torch.Tensor:
    return torch.linspace(task.low, task.high, BINS, device=device)
