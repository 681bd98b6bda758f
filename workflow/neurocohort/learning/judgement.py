"""Whether a trained network has learned anything: how far its predictions of the validation scans lie apart.

A network that gives every scan nearly the same answer can have a good loss, that of the mean or of the class counts, and would
pull its experiment's average towards it. This tests for that alone, not for whether the answers are right: metrics do.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch

from neurocohort.learning.batches import Batch
from neurocohort.learning.loop import BEST, Loop
from neurocohort.learning.networks import load_weights
from neurocohort.learning.outcomes import FIRST, LATEST
from neurocohort.learning.tasks import CLASSIFICATION, REGRESSION, SEGMENTATION, TISSUE_LABELS, Task

# Below it, a network has learned nothing. Regression: standard deviation of the predictions by that of the targets. The best
# prediction that correlates with the target by r has a ratio of r, so that 0.1 explains 1 % of the variance; a brain-age network
# has some 0.9. Classification: standard deviation of a class's probability, in halves. It is 1 where all scans are certain and
# the classes equal; at 0.05, a probability varies by 0.025. Segmentation: fraction of the reference's tissues, over all scans,
# that are found at all; below a half, most tissues are missing from most scans.
LEAST_SPREAD = {REGRESSION: 0.1, CLASSIFICATION: 0.05, SEGMENTATION: 0.5}
# Of the training targets' standard deviation: validation targets that lie closer together leave a good network little to tell
# apart, and its predictions may well be alike.
LEAST_TARGET_SPREAD = 0.25
WAYS_OUT = "a smaller `learning_rate` or `precision: float32` are the usual ways out"


@dataclass(frozen=True)
class Judgement:
    """``learned``: None where it isn't judged. ``spread``: as `prediction_spread` has it, None where there is none;
    ``least_spread``: the smallest that passes. ``edge``: `FIRST` where the first epoch that could be kept was kept and others
    followed, `LATEST` where it was the last of all, else empty. ``reason``: why nothing was learned or judged, else empty.
    """

    learned: bool | None
    reason: str
    spread: float | None
    least_spread: float
    edge: str

    def as_dict(self) -> dict:
        """Plain values, for run.json."""
        return asdict(self)


def judge(loop: Loop, batches: Iterator[Batch]) -> Judgement:
    """Apply the kept weights of the finished ``loop`` to the validation part, ``batches`` being this process's share of it.

    The loop's network has them afterwards. Every process has to call it, and gets the same judgement.
    """
    epoch, settings, least = loop.kept_epoch(), loop.settings, LEAST_SPREAD[loop.task.kind]
    edge = _edge(loop)
    if epoch is None:
        reason = f"the training ended after {loop.state['epoch']} epoch(s) without a finite validation loss to keep; {WAYS_OUT}"
        return Judgement(False if settings.judged else None, reason, None, least, edge)
    load_weights(loop.network, loop.kept_weights())
    own = [_noted(loop.task, outputs, targets) for outputs, targets in loop.outputs(batches)]
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
    """How far predictions of several scans lie apart.

    Regression, two (N,) arrays: their standard deviations' ratio. Classification, (N, K) probabilities: the largest standard
    deviation of a class's probability, in halves, 0 to 1. Segmentation, two (N, 3) arrays that say which tissues are in a label
    map: the fraction of the reference's that are in the predicted one.
    """
    if task.kind == REGRESSION:
        return float(predicted.std() / targets.std())
    if task.kind == CLASSIFICATION:
        return float(predicted.std(axis=0).max() / 0.5)
    return float(predicted[targets].mean())


def _noted(task: Task, outputs: torch.Tensor, targets: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Of one batch, what `prediction_spread` takes."""
    if task.kind != SEGMENTATION:
        return task.predict(outputs).double().cpu().numpy(), targets.double().cpu().numpy()
    return tuple(
        np.column_stack([(labels == tissue).flatten(1).any(dim=1).cpu().numpy() for tissue in range(1, TISSUE_LABELS)])
        for labels in (outputs.argmax(dim=1), targets)
    )


def _unfit(task: Task, targets: np.ndarray) -> str:
    """Why the validation scans can't show whether anything was learned; empty where they can."""
    if task.kind == SEGMENTATION:
        return "" if targets.any() else "the validation scans' reference label maps have no tissue, so it is not judged"
    if len(np.unique(targets)) < 2:
        what = "one class" if task.kind == CLASSIFICATION else "one target"
        return f"the {len(targets)} validation scan(s) have only {what}, so it is not judged"
    if task.kind == REGRESSION and targets.std() < LEAST_TARGET_SPREAD * task.scale:
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
    epoch, run = loop.kept_epoch(), loop.state["epoch"]
    if loop.settings.keep != BEST or epoch is None:
        return ""
    if epoch == loop.window < run:
        return FIRST
    return LATEST if loop.window < epoch == loop.settings.epochs else ""
