"""One training from samples to the best epoch's weights: the same for the three tasks, resumed to the bit.

The intensity statistics and the task's constants are fitted on the training part, the epoch is chosen on the validation part,
and no other part is read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from neurocohort.dataset.folds import with_fold
from neurocohort.errors import InputError
from neurocohort.learning.batches import TrainingBatches, evaluation_batches
from neurocohort.learning.checkpoint import Interrupted, StopRequest
from neurocohort.learning.data import PackedImages, intensity_statistics
from neurocohort.learning.distributed import Processes, joined
from neurocohort.learning.events import epoch_events
from neurocohort.learning.loop import Loop
from neurocohort.learning.networks import build_network, copied_weights
from neurocohort.learning.precision import Precision, choose_precision, set_up_torch
from neurocohort.learning.settings import TrainingSettings
from neurocohort.learning.tasks import SEGMENTATION, Task, fit_task
from neurocohort.learning.transfer import check_freezing, take_weights

__all__ = ["Interrupted", "Trained", "network_of", "parts_of", "print_line", "train"]


def print_line(line: str) -> None:
    """Print at once: a log file is looked at while the training runs."""
    print(line, flush=True)


@dataclass(frozen=True)
class Trained:
    """The best epoch's weights, the task and statistics they go with, and the history, one dict an epoch.

    ``best_epoch`` and ``validation_loss`` (the mean of that epoch's and the four before, by which it was chosen) are None where
    no epoch ended with a finite loss; ``weights`` are the last ones then. ``seconds``: all that training took, over its
    interruptions; ``scans_per_second``: of the steps alone, over all processes.
    """

    weights: dict[str, torch.Tensor]
    task: Task
    mean: list[float]
    deviation: list[float]
    history: list[dict]
    parameters: int
    precision: str
    memory: str
    best_epoch: int | None
    validation_loss: float | None
    seconds: float
    scans_per_second: float


def train(
    samples: pd.DataFrame,
    packed: PackedImages,
    settings: TrainingSettings,
    *,
    device: torch.device,
    checkpoint: Path,
    events: Path | None = None,
    report: Callable[[str], None] = print_line,
    checkpoint_seconds: float = 60.0,
) -> Trained:
    """Train on ``samples``' training rows, choosing the epoch on their validation rows (see `parts_of`).

    The other rows are not read. ``checkpoint``: where to save, every ``checkpoint_seconds``, and from where to go on if it
    exists. ``events``: a folder for TensorBoard. ``report`` is called with one line an epoch. Raises Interrupted after SIGTERM
    or SIGUSR1, and InputError for settings that don't go together and for parts without a scan.
    """
    check_freezing(settings)
    training, validation = parts_of(samples, settings.fold)
    with StopRequest() as stop, joined(settings.processes, device) as processes:
        tell = report if processes.leads else _silent
        precision = choose_precision(settings, processes.device)
        set_up_torch(settings.threads, processes.device, precision.name)
        mean, deviation = intensity_statistics(packed.each_image(training))
        task = fit_task(settings, None if settings.task == SEGMENTATION else training["target"].to_numpy(np.float64))
        shared = packed, task, settings, mean, deviation, processes.device
        batches = TrainingBatches(training, *shared, rank=processes.rank)
        network = _starting_network(settings, task, precision, processes, tell)
        loop = Loop(network, task, batches, settings, precision, processes, checkpoint, checkpoint_seconds)
        if loop.resume(tell):
            tell(f"going on from {checkpoint}: epoch {loop.state['epoch'] + 1}, step {loop.state['step'] + 1}")
        own = validation.iloc[processes.rank :: processes.size]
        with epoch_events(events if processes.leads else None, loop.state["epoch"] + 1) as note:
            while not loop.finished():
                loop.finish_epoch(stop)
                entry = loop.close_epoch(loop.validation_loss(evaluation_batches(own, *shared), len(validation)))
                note(entry)
                tell(_line(entry, settings.epochs))
    return _trained(loop, mean, deviation)


def parts_of(samples: pd.DataFrame, fold: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows to train on and those to validate on. Fold 0 has the split's own parts; in another, the fold's rows of the two
    validate and the others train. Raises InputError where one of them is empty.
    """
    table = with_fold(samples, fold)
    parts = tuple(table[table["part"] == name].reset_index(drop=True) for name in ("train", "validation"))
    for name, rows in zip(("train on", "validate on"), parts, strict=True):
        if rows.empty:
            place = f"fold {fold}" if fold else "the split"
            raise InputError(
                f"{place} leaves no sample to {name}, of {len(samples)} in all; a larger cohort, a less strict filter or other "
                "shares under `split` are the ways out."
            )
    return parts


def network_of(settings: TrainingSettings, task: Task) -> nn.Module:
    """The network that ``settings`` ask for, with the task's number of outputs."""
    return build_network(
        settings.network,
        settings.channels,
        task.outputs,
        inputs=len(settings.modalities),
        dropout=settings.dropout,
        norm=settings.norm,
    )


def _starting_network(
    settings: TrainingSettings, task: Task, precision: Precision, processes: Processes, tell: Callable[[str], None]
) -> nn.Module:
    torch.manual_seed(settings.seed)
    network = network_of(settings, task)
    if settings.weights:
        tell(take_weights(network, Path(settings.weights)))
    return precision.arranged(processes.with_common_statistics(network).to(processes.device))


def _trained(loop: Loop, mean: list[float], deviation: list[float]) -> Trained:
    state, found = loop.state, loop.state["best"] is not None
    history = [entry | {"best": int(entry["epoch"] == state["best_epoch"])} for entry in state["history"]]
    return Trained(
        state["best"] if found else copied_weights(loop.network),
        loop.task,
        mean,
        deviation,
        history,
        parameters=sum(parameter.numel() for parameter in loop.network.parameters()),
        precision=loop.precision.name,
        memory=loop.batches.memory,
        best_epoch=state["best_epoch"] if found else None,
        validation_loss=state["best_loss"] if found else None,
        seconds=state["seconds"] + state["validation_seconds"],
        scans_per_second=len(history) * loop.scans / state["seconds"],
    )


def _line(entry: dict, epochs: int) -> str:
    return (
        f"epoch {entry['epoch']}/{epochs}  training loss {entry['train_loss']:.4f}  "
        f"validation loss {entry['validation_loss']:.4f}  learning rate {entry['learning_rate']:.2e}"
    )


def _silent(line: str) -> None:
    """The processes beside the first one say nothing."""
