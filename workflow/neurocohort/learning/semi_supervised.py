"""The loss of scans without labels: the network is to predict for one view what its teacher predicts for another.

The teacher is the moving average of the network's weights (mean teacher, Tarvainen and Valpola 2017). Pseudo-labels (Lee 2013)
are those of the same teacher in the current step, where it is sure (Sohn et al. 2020, FixMatch): there is no second training.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from neurocohort.learning.precision import Precision
from neurocohort.learning.tasks import Task
from neurocohort.learning.unlabelled import Views
from neurocohort.settings.semi_supervised import PSEUDO_LABELS, SemiSupervised

RAMP_SHARPNESS = 5.0  # of exp(-5 (1 - t)^2), as in Tarvainen and Valpola 2017


def ramp(step: int, steps: int, ramp_up: float) -> float:
    """The fraction of the weight that applies in ``step`` (from 0) of ``steps``, of which ``ramp_up`` is the rise: 0.007 to 1."""
    rise = ramp_up * steps
    if step >= rise:
        return 1.0
    return math.exp(-RAMP_SHARPNESS * (1 - step / rise) ** 2)


def unlabelled_loss(
    outputs: torch.Tensor, probabilities: torch.Tensor, counted: torch.Tensor, wanted: SemiSupervised
) -> torch.Tensor:
    """The mean over the scans of the mean over their counted voxels.

    ``mean_teacher``: the squared difference of the probabilities, summed over the labels. ``pseudo_labels``: the cross-entropy of
    the teacher's most likely label; voxels where the teacher is less sure than ``threshold`` count as 0.

    Args:
        outputs: The network's logits (N, labels, X, Y, Z).
        probabilities: The teacher's, of the same shape.
        counted: (N, X, Y, Z) bool.
        wanted: The method.
    """
    if wanted.method == PSEUDO_LABELS:
        sure, label = probabilities.max(dim=1)
        voxels = functional.cross_entropy(outputs, label, reduction="none") * (sure >= wanted.threshold)
    else:
        voxels = ((torch.softmax(outputs, dim=1) - probabilities) ** 2).sum(dim=1)
    inside = counted.flatten(1)
    return ((voxels.flatten(1) * inside).sum(dim=1) / inside.sum(dim=1).clamp(min=1)).mean()


def loss_of_views(
    student: torch.Tensor, teacher: nn.Module, views: Views, *, task: Task, precision: Precision, wanted: SemiSupervised
) -> torch.Tensor:
    """The loss of the network's outputs for the student's views.

    Args:
        student: Logits, (N, labels, X, Y, Z), or (N, levels, labels, X, Y, Z) with the finest level first.
        teacher: The average network, in evaluation mode.
        views: Of N scans.
        task: The segmentation.
        precision: Of the training.
        wanted: The method.
    """
    with torch.no_grad(), precision.autocast():
        taught = teacher(precision.to_memory_format(views.teacher))
    finest = student[:, 0] if student.ndim > views.student.ndim else student
    return unlabelled_loss(finest.float(), task.predict(taught), views.counted, wanted)
