"""One training from samples to the weights that are kept: the same for the three tasks, resumed to the bit. A network that
learned nothing is trained again with another seed.

The intensity statistics and the task's constants are fitted on the training part, the epoch is chosen on the validation part,
and no other part is read.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from neurocohort.dataset.folds import with_fold
from neurocohort.errors import InputError
from neurocohort.learning.batches import TrainingBatches, evaluation_batches
from neurocohort.learning.checkpoint import Interrupted, StopRequest, attempt_file
from neurocohort.learning.data import PackedImages, intensity_statistics
from neurocohort.learning.distributed import Processes, joined
from neurocohort.learning.events import epoch_events
from neurocohort.learning.judgement import Judgement, judge
from neurocohort.learning.loop import Loop
from neurocohort.learning.networks import build_network, copied_weights
from neurocohort.learning.outcomes import FIRST, LATEST
from neurocohort.learning.precision import Precision, choose_precision, set_up_torch
from neurocohort.learning.settings import TrainingSettings
from neurocohort.learning.tasks import SEGMENTATION, Task, fit_task
from neurocohort.learning.transfer import check_freezing, take_weights

EDGES = {  # where the best epoch lies at one
    FIRST: "warning: epoch {kept}, the first that could be kept, was the best of {run}: all that followed made it worse.",
    LATEST: "note: the last of {run} epochs was the best; a longer training may be better.",
}
__all__ = ["Interrupted", "Trained", "network_of", "parts_of", "print_line", "train"]


def print_line(line: str) -> None:
    """Print at once: a log file is looked at while the training runs."""
    print(line, flush=True)


@dataclass(frozen=True)
class Trained:
    """The kept weights, the task and statistics they go with, and the history, one dict an epoch.

    ``best_epoch``, the epoch that is kept, ``criterion`` by which it was chosen and ``validation_loss`` (both are means over
    that epoch and up to four before) are 0, None and None where no epoch with a finite loss could be kept; ``weights`` are those
    that it started from then (of a control, whose ``best_epoch`` is None, the last ones). ``seed``: of these weights.
    ``judgement``: whether anything was learned; ``attempts``: a record of each training with another seed. ``seconds``: all
    that this training took, over its interruptions; ``scans_per_second``: of the steps alone, over all processes.
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
    criterion: float | None
    validation_loss: float | None
    seconds: float
    scans_per_second: float
    seed: int
    judgement: Judgement
    attempts: list[dict] = field(default_factory=list)


@dataclass(frozen=True)
class _Job:
    """What the attempts of one training share."""

    training: pd.DataFrame
    validation: pd.DataFrame
    packed: PackedImages
    processes: Processes
    stop: StopRequest
    checkpoint: Path
    events: Path | None
    tell: Callable[[str], None]
    checkpoint_seconds: float


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

    The other rows are not read. A network that learned nothing (`judgement`) is trained again with another seed, up to
    ``settings.retrain`` times; where none learned anything, the one whose predictions lie farthest apart is returned.
    ``checkpoint``: where to save, every ``checkpoint_seconds``, and from where to go on if it exists; further attempts have
    files of their own next to it (`attempt_file`). ``events``: a folder for TensorBoard. ``report`` is called with one line an
    epoch. Raises Interrupted after SIGTERM or SIGUSR1, and InputError for settings that don't go together and for parts without
    a scan.
    """
    check_freezing(settings)
    parts = parts_of(samples, settings.fold)
    with StopRequest() as stop, joined(settings.processes, device) as processes:
        tell = report if processes.is_main_process else _silent
        job = _Job(*parts, packed, processes, stop, checkpoint, events, tell, checkpoint_seconds)
        done: list[Trained] = []
        for number in range(1, attempts_of(settings) + 1):
            done.append(_attempt(job, settings, number))
            if done[-1].judgement.learned is not False:
                break
            tell(_nothing_learned(done[-1], settings, number))
    kept = done[-1] if done[-1].judgement.learned is not False else max(done, key=_known_spread)
    if kept.judgement.edge:
        tell(EDGES[kept.judgement.edge].format(kept=kept.best_epoch, run=len(kept.history)))
    return replace(kept, attempts=[_record(one) for one in done])


def attempts_of(settings: TrainingSettings) -> int:
    """How often a network is trained at most, each time with another seed."""
    return 1 + settings.retrain if settings.judged else 1


def attempt_seed(seed: int, number: int) -> int:
    """The seed of attempt ``number``, counted from 1: ``seed`` itself, then numbers that follow from the two."""
    return seed if number == 1 else int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def _attempt(job: _Job, settings: TrainingSettings, number: int) -> Trained:
    """One training with the seed of attempt ``number``. Where it learned nothing and others may follow, its checkpoint is left
    finished: an interruption of the next attempt costs nothing of this one."""
    settings = settings.model_copy(update={"seed": attempt_seed(settings.seed, number)})
    processes, checkpoint = job.processes, attempt_file(job.checkpoint, number)
    precision = choose_precision(settings, processes.device)
    set_up_torch(settings.threads, processes.device, precision.name)
    mean, deviation = intensity_statistics(job.packed.each_image(job.training))
    targets = None if settings.task == SEGMENTATION else job.training["target"].to_numpy(np.float64)
    task = fit_task(settings, targets)
    shared = job.packed, task, settings, mean, deviation, processes.device
    batches = TrainingBatches(job.training, *shared, rank=processes.rank)
    network = _starting_network(settings, task, precision, processes, job.tell)
    start = copied_weights(network)
    loop = Loop(network, task, batches, settings, precision, processes, checkpoint, job.checkpoint_seconds)
    if loop.resume(job.tell):
        place = f"epoch {loop.state['epoch'] + 1}, step {loop.state['step'] + 1}"
        job.tell(f"going on from {checkpoint}: {'all epochs are done' if loop.finished() else place}")
    own = job.validation.iloc[processes.rank :: processes.size]
    events = job.events and attempt_file(job.events, number)
    with epoch_events(events if processes.is_main_process else None, loop.state["epoch"] + 1) as note:
        while not loop.finished():
            loop.finish_epoch(job.stop)
            entry = loop.close_epoch(*loop.validate(evaluation_batches(own, *shared), len(job.validation)))
            note(entry)
            job.tell(_line(entry, settings.epochs))
    judgement = judge(loop, evaluation_batches(own, *shared))
    if judgement.learned is False and settings.retrain:
        loop.save()
    return _trained(loop, mean, deviation, judgement, start)


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
    return precision.to_memory_format(processes.with_common_statistics(network).to(processes.device))


def _trained(
    loop: Loop, mean: list[float], deviation: list[float], judgement: Judgement, start: dict[str, torch.Tensor]
) -> Trained:
    state, epoch = loop.state, loop.kept_epoch()
    weights = loop.kept_weights()
    if epoch is None and loop.settings.judged:
        # The weights that it started from stand for a network that learned nothing: an experiment whose trainings all end so
        # has its verdict too. A control has none, since it would be at chance without having been trained.
        epoch, weights = 0, start
    history = [entry | {"best": int(entry["epoch"] == epoch)} for entry in state["history"]]
    return Trained(
        weights,
        loop.task,
        mean,
        deviation,
        history,
        parameters=sum(parameter.numel() for parameter in loop.network.parameters()),
        precision=loop.precision.name,
        memory=loop.batches.memory,
        best_epoch=epoch,
        criterion=loop.window_mean("criterion", epoch) if epoch else None,
        validation_loss=loop.window_mean("validation_loss", epoch) if epoch else None,
        seconds=state["seconds"] + state["validation_seconds"],
        scans_per_second=len(history) * loop.scans / state["seconds"],
        seed=loop.settings.seed,
        judgement=judgement,
    )


def _record(trained: Trained) -> dict:
    """An attempt, for run.json."""
    judgement = trained.judgement
    about = {"seed": trained.seed, "best_epoch": trained.best_epoch, "criterion": trained.criterion}
    return about | {"spread": judgement.spread, "learned": judgement.learned}


def _known_spread(trained: Trained) -> float:
    spread = trained.judgement.spread
    return -1.0 if spread is None else spread


def _nothing_learned(trained: Trained, settings: TrainingSettings, number: int) -> str:
    attempts = attempts_of(settings)
    if number < attempts:
        follows = f"it is trained again with seed {attempt_seed(settings.seed, number + 1)}"
    else:
        follows = "it is left out of the experiment's average if another network learned something"
    return (
        f"warning: this network (attempt {number} of {attempts}, seed {trained.seed}) learned nothing: "
        f"{trained.judgement.reason}; {follows}."
    )


def _line(entry: dict, epochs: int) -> str:
    loss, criterion = entry["validation_loss"], entry["criterion"]
    calibrated = f"  after calibration {criterion:.4f}" if criterion != loss else ""
    return (
        f"epoch {entry['epoch']}/{epochs}  training loss {entry['train_loss']:.4f}  "
        f"validation loss {loss:.4f}{calibrated}  learning rate {entry['learning_rate']:.2e}"
    )


def _silent(line: str) -> None:
    """The processes beside the first one say nothing."""
