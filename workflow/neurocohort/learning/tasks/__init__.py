"""What differs between the tasks: the network's outputs, the loss, and the prediction.

A task is fitted on the training part only: age bins, class weights and the target's scale never see another part. Each task
is a frozen dataclass of plain values with the same members: ``kind``; ``outputs``, how many values or channels the network
returns; ``target_dtype``; ``loss(outputs, targets)``, the mean of the samples' losses; ``predict(outputs)``.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from neurocohort.architectures import ARCHITECTURES
from neurocohort.learning.settings import TrainingSettings
from neurocohort.learning.tasks.classification import CLASSIFICATION, Classification
from neurocohort.learning.tasks.generation import Generation
from neurocohort.learning.tasks.pretraining import PRETRAINING, Pretraining
from neurocohort.learning.tasks.regression import REGRESSION, Regression
from neurocohort.learning.tasks.segmentation import SEGMENTATION, Segmentation
from neurocohort.learning.tasks.translation import Translation
from neurocohort.settings.generation import GENERATION
from neurocohort.settings.translation import TRANSLATION
from neurocohort.structures import TISSUES

__all__ = [
    "CLASSIFICATION",
    "GENERATION",
    "PRETRAINING",
    "REGRESSION",
    "SEGMENTATION",
    "TRANSLATION",
    "Classification",
    "Generation",
    "Pretraining",
    "Regression",
    "Segmentation",
    "Task",
    "Translation",
    "fit_task",
    "mirrored_labels_of",
    "structures_of_task",
    "task_from",
    "task_values",
]

Task = Regression | Classification | Segmentation | Pretraining | Generation | Translation
TASKS: dict[str, type[Task]] = {
    task.kind: task for task in (Regression, Classification, Segmentation, Pretraining, Generation, Translation)
}
WITHOUT_VALUES = (SEGMENTATION, PRETRAINING, TRANSLATION)  # tasks whose samples have no number as their target


def fit_task(settings: TrainingSettings, training_targets: np.ndarray | None) -> Task:
    """The task of ``settings`` with its constants from the targets (scans,) of the training part; None for the tasks
    `WITHOUT_VALUES`.

    Raises InputError where a class has no training scan, and where a target is not one of the classes.
    """
    if settings.pretraining is not None:
        wanted = settings.pretraining
        return Pretraining(wanted.method, len(settings.modalities), wanted.temperature)
    if settings.generation is not None and training_targets is not None:
        return Generation.fitted(training_targets, settings.generation.kl_weight)
    if settings.translation is not None:
        own = settings.translation
        return Translation(own.method, len(settings.modalities), own.adversarial, own.cycle, own.identity)
    if training_targets is None:
        return Segmentation(tuple(settings.structures or TISSUES), settings.loss)
    if settings.task == CLASSIFICATION:
        return Classification.fitted(training_targets, settings.classes)
    return Regression.fitted(training_targets, settings.soft_bins and ARCHITECTURES[settings.network].has_soft_bins)


def structures_of_task(task: Task) -> tuple[str, ...]:
    """The names of the structures of a segmentation, label 1 first; none for other tasks."""
    return task.structures if isinstance(task, Segmentation) else ()


def mirrored_labels_of(task: Task) -> tuple[int, ...] | None:
    """`Segmentation.mirrored_labels`; None for other tasks."""
    return task.mirrored_labels if isinstance(task, Segmentation) else None


def task_values(task: Task) -> Mapping[str, object]:
    """The task as plain values, for run.json; a segmentation of CSF, GM and WM has its kind only."""
    return {"kind": task.kind, **({} if task == Segmentation() else asdict(task))}


def task_from(values: Mapping[str, Any]) -> Task:
    """The task of `task_values`, as read from run.json."""
    constants: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return TASKS[constants.pop("kind")](**constants)
