"""Whether a trained network has learned anything: the spread of its predictions of the validation scans.

A network with nearly the same prediction for every scan can have an acceptable loss, that of the mean or of the class counts,
and would pull the average of its experiment towards it. Whether predictions are correct is left to the metrics.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from neurocohort.learning.batches import Batch
from neurocohort.learning.loop import BEST, Loop
from neurocohort.learning.networks import load_weights
from neurocohort.learning.outcomes import FIRST, LATEST
from neurocohort.learning.tasks import (
    CLASSIFICATION,
    GENERATION,
    PRETRAINING,
    REGRESSION,
    SEGMENTATION,
    TRANSLATION,
    Regression,
    Task,
)

# With a smaller spread a network has learned nothing. Regression: standard deviation of the predictions divided by that of the
# targets. The best prediction with a correlation of r has a ratio of r, so that 0.1 explains 1 % of the variance; a brain-age
# network has about 0.9. Classification: standard deviation of a class's probability, divided by 0.5. It is 1 for equal classes
# that are predicted with certainty; at 0.05, a probability varies by 0.025. Segmentation: fraction of the reference's tissues,
# over all scans, of which at least a voxel is predicted.
LEAST_SPREAD = {REGRESSION: 0.1, CLASSIFICATION: 0.05, SEGMENTATION: 0.5}
# Standard deviation of the validation targets, divided by that of the training targets. If it is smaller, the predictions of a
# good network may be similar too.
LEAST_TARGET_SPREAD = 0.25
WAYS_OUT = "a smaller `learning_rate` or `precision: float32` usually helps"


@dataclass(frozen=True)
class Judgement:
    """Whether a network learned anything.

    Args:
        learned: None where it isn't judged.
        reason: Why nothing was learned, or why it isn't judged; else empty.
        spread: See `prediction_spread`; None where there is none.
        least_spread: The smallest spread that passes.
        edge: `FIRST` where the first possible epoch was kept and others followed, `LATEST` where the last one was kept.
    """

    learned: bool | None
    reason: str
    spread: float | None
    least_spread: float
    edge: str


def judge(loop: Loop, batches: Iterator[Batch]) -> Judgement:
    """Judge the kept weights of the finished ``loop`` on the validation part.

    ``batches`` are those of this process. Every process must call this, and gets the same judgement. The network of the loop
    has the kept weights afterwards.
    """
    epoch, settings, least = loop.kept_epoch(), loop.settings, LEAST_SPREAD.get(loop.task.kind, 0.0)
    edge = _edge(loop)
    if epoch is None:
        reason = (
            f"the training ended after {loop.state.epoch} epoch(s) without a finite validation loss to keep; {WAYS_OUT}"
        )
        return Judgement(False if settings.judged else None, reason, None, least, edge)
    load_weights(loop.network, loop.kept_weights())
    if loop.task.kind == PRETRAINING:
        return Judgement(None, "a pretraining is compared with its baseline instead", None, least, edge)
    if loop.task.kind == GENERATION:
        return Judgement(None, "a generative model is judged by its images instead", None, least, edge)
    if loop.task.kind == TRANSLATION:
        return Judgement(None, "a translation is compared with its baselines instead", None, least, edge)
    own = [_compared(loop.task, outputs, targets) for outputs, targets in loop.outputs(batches)]
    pairs = [pair for one in loop.processes.gather(own) for pair in one]
    predicted, targets = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    if unfit := _unfit(loop.task, targets):
        return Judgement(None, unfit, None, least, edge)
    spread = prediction_spread(loop.task, predicted, targets)
    known = round(spread, 6) if np.isfinite(spread) else None
    if not settings.judged:
        return Judgement(None, "networks of a control are not judged", known, least, edge)
    if spread >= least:
        return Judgement(True, "", known, least, edge)
    return Judgement(False, _shortfall(loop.task, spread, least), known, least, edge)


def prediction_spread(task: Task, predicted: np.ndarray, targets: np.ndarray) -> float:
    """How much the predictions of several scans differ.

    Regression, two (N,) arrays: the ratio of their standard deviations. Classification, (N, K) probabilities: the largest
    standard deviation of a class's probability, divided by 0.5. Segmentation, two (N, structures) bool arrays of those that each
    label map contains: the fraction of the reference's structures that are in the predicted map.
    """
    if task.kind == REGRESSION:
        return float(predicted.std() / targets.std())
    if task.kind == CLASSIFICATION:
        return float(predicted.std(axis=0).max() / 0.5)
    return float(predicted[targets].mean())


def _compared(task: Task, outputs: torch.Tensor, targets: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The arguments of `prediction_spread` for one batch."""
    if task.kind != SEGMENTATION:
        return task.predict(outputs).double().cpu().numpy(), targets.double().cpu().numpy()
    predicted, reference = (
        np.column_stack([(labels == tissue).flatten(1).any(dim=1).cpu().numpy() for tissue in range(1, task.outputs)])
        for labels in (outputs.argmax(dim=1), targets)
    )
    return predicted, reference


def _unfit(task: Task, targets: np.ndarray) -> str:
    """Why the validation scans can't show whether anything was learned; empty where they can."""
    if task.kind == SEGMENTATION:
        return "" if targets.any() else "the validation scans' reference label maps have no tissue, so it is not judged"
    if len(np.unique(targets)) < 2:
        what = "one class" if task.kind == CLASSIFICATION else "one target"
        return f"the {len(targets)} validation scan(s) have only {what}, so it is not judged"
    if isinstance(task, Regression) and targets.std() < LEAST_TARGET_SPREAD * task.scale:
        return (
            f"the targets of the {len(targets)} validation scans have a standard deviation of {targets.std():.3g}, less than "
            f"{LEAST_TARGET_SPREAD:g} times that of the training scans ({task.scale:.3g}), so it is not judged"
        )
    return ""


def _shortfall(task: Task, spread: float, least: float) -> str:
    if task.kind == SEGMENTATION:
        return f"of the tissues in the validation scans, {spread:.3g} of 1 are found at all, fewer than {least:g}"
    what = {
        REGRESSION: "the standard deviation of its predictions of the validation scans is {} of the targets'",
        CLASSIFICATION: "its probabilities of the validation scans vary by a standard deviation of {} times 0.5",
    }[task.kind]
    return f"{what.format(f'{spread:.3g}')}, below {least:g}"


def _edge(loop: Loop) -> str:
    epoch, run = loop.kept_epoch(), loop.state.epoch
    if loop.settings.keep != BEST or epoch is None:
        return ""
    if epoch == loop.window < run:
        return FIRST
    return LATEST if loop.window < epoch == loop.settings.epochs else ""
