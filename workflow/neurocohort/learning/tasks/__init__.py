"""What differs between the three tasks: the network's outputs, the loss, and what a prediction is.

A task is fitted on the training part alone: age bins, class weights and the target's scale never see another part. Each task
is a frozen dataclass of plain values with the same members: ``kind``; ``outputs``, how many values or channels the network
returns; ``target_dtype``; ``loss(outputs, targets)``, the mean of the samples' losses; ``predict(outputs)``; ``as_dict()``.
"""

import numpy as np

from neurocohort.learning.settings import TrainingSettings
from neurocohort.learning.tasks.classification import CLASSIFICATION, Classification
from neurocohort.learning.tasks.regression import REGRESSION, Regression
from neurocohort.learning.tasks.segmentation import SEGMENTATION, TISSUE_LABELS, Segmentation

__all__ = [
    "CLASSIFICATION",
    "REGRESSION",
    "SEGMENTATION",
    "TISSUE_LABELS",
    "Classification",
    "Regression",
    "Segmentation",
    "Task",
    "fit_task",
    "task_from",
]

Task = Regression | Classification | Segmentation
TASKS = {task.kind: task for task in (Regression, Classification, Segmentation)}
WITH_SOFT_BINS = ("sfcn",)  # the other networks have the plain head: one value


def fit_task(settings: TrainingSettings, training_targets: np.ndarray | None) -> Task:
    """The task of ``settings`` with its constants from the targets (scans,) of the training part; None for a segmentation.

    Raises InputError where a class has no training scan, and where a target is none of the classes.
    """
    if settings.task == SEGMENTATION:
        return Segmentation()
    if settings.task == CLASSIFICATION:
        return Classification.fitted(training_targets, settings.classes)
    return Regression.fitted(training_targets, settings.soft_bins and settings.network in WITH_SOFT_BINS)


def task_from(values: dict) -> Task:
    """The task whose ``as_dict()`` is ``values``, as run.json keeps it."""
    constants = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return TASKS[constants.pop("kind")](**constants)
