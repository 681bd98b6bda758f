"""One training, from samples to the weights that are kept: the same for the three tasks, and resumed with the same bits. A
network that learned nothing is trained again with another seed.

The intensity statistics and the task's constants are fitted on the training part, the epoch is chosen on the validation part,
and no other part is read.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from neurocohort.dataset.folds import with_fold
from neurocohort.errors import InputError
from neurocohort.learning.adversarial import (
    CLASSIFIER,
    AdversarialNetwork,
    sites_line,
    training_sites,
    without_classifier,
)
from neurocohort.learning.auxiliary import Head, fit_auxiliaries, split_weights
from neurocohort.learning.batches import BatchSource, TrainingBatches, evaluation_batches
from neurocohort.learning.checkpoint import StopRequest, attempt_file
from neurocohort.learning.data import Intensity, PackedImages, intensity_statistics
from neurocohort.learning.distributed import Processes, joined
from neurocohort.learning.events import epoch_events
from neurocohort.learning.generative_network import generative_network
from neurocohort.learning.judgement import Judgement, judge
from neurocohort.learning.loop import Loop, TrainingFiles
from neurocohort.learning.networks import build_network, copied_weights
from neurocohort.learning.outcomes import FIRST, LATEST
from neurocohort.learning.precision import Precision, choose_precision, set_up_torch
from neurocohort.learning.pretraining import check_views, compared, encoder_weights, pretraining_network, record_of
from neurocohort.learning.published import PUBLISHED_ENDING
from neurocohort.learning.published_weights import intensity_as_published, take_published_weights
from neurocohort.learning.run_record import Attempt, EpochRow, Pretrained, UnlabelledScans
from neurocohort.learning.scan_order import balance_line
from neurocohort.learning.settings import TrainingSettings
from neurocohort.learning.tasks import (
    WITHOUT_VALUES,
    Generation,
    Pretraining,
    Segmentation,
    Task,
    Translation,
    fit_task,
)
from neurocohort.learning.transfer import check_freezing, take_weights
from neurocohort.learning.translation import generator_weights, with_discriminators
from neurocohort.learning.unlabelled import UnlabelledBatches, training_part

EDGES = {  # where the best epoch is the first or last possible one
    FIRST: "warning: epoch {kept}, the first that could be kept, was the best of {run}: all later epochs were worse.",
    LATEST: "note: the last of {run} epochs was the best; a longer training may be better.",
}


def print_line(line: str) -> None:
    """Print without buffering: people read the log file while the training runs."""
    print(line, flush=True)


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Args:
        weights: The kept weights. Where there is none, those that the training started from, or of a control the last ones.
        task: The task with its constants.
        intensity: Of the training part.
        history: One row for each epoch.
        parameters: Number of parameters of the network.
        precision: Precision of the training.
        memory: See `TrainingBatches`.
        best_epoch: The epoch that is kept. Where no epoch with a finite loss could be kept 0, or None for a control.
        criterion: Its criterion, the mean over that epoch and up to four earlier ones; None where there is none.
        validation_loss: Its loss, likewise.
        seconds: Time that the training took, interruptions excluded.
        scans_per_second: Speed of the steps, over all processes.
        seed: Seed of these weights.
        judgement: Whether anything was learned.
        attempts: Each training with another seed.
        pretrained: Of a pretraining, its scans and what its loss is compared with; ``weights`` are then those of the encoder.
        heads: Of the auxiliary variables.
        sites: Number of training scans of each site that an adversarial classifier learned; empty without one.
        unlabelled: Scans and participants that were learned from without a label map; None where none were.
    """

    weights: dict[str, torch.Tensor]
    task: Task
    intensity: Intensity
    history: list[EpochRow]
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
    attempts: tuple[Attempt, ...] = ()
    pretrained: Pretrained | None = None
    heads: tuple[Head, ...] = ()
    sites: dict[str, int] = field(default_factory=dict)
    unlabelled: UnlabelledScans | None = None


@dataclass(frozen=True)
class _Job:
    """What all attempts of one training have in common."""

    training: pd.DataFrame
    validation: pd.DataFrame
    packed: PackedImages
    processes: Processes
    stop: StopRequest
    files: TrainingFiles
    report: Callable[[str], None]
    unlabelled: pd.DataFrame | None = None


def train(
    samples: pd.DataFrame,
    packed: PackedImages,
    settings: TrainingSettings,
    device: torch.device,
    files: TrainingFiles,
    report: Callable[[str], None] = print_line,
    *,
    unlabelled: pd.DataFrame | None = None,
) -> Trained:
    """Train a network, and choose the epoch on the validation rows.

    A network that learned nothing (`judgement`) is trained again with another seed, up to ``settings.retrain`` times. Where no
    attempt learned anything, the network with the largest spread of predictions is returned.

    Args:
        samples: samples.tsv; only the training and validation rows (`parts_of`) are read.
        packed: The volumes of these rows.
        settings: The training.
        device: Where to train.
        files: The checkpoint, from which an interrupted training continues; later attempts have files of their own next to it
            (`attempt_file`).
        report: Called with a line for each epoch.
        unlabelled: unlabelled.tsv, for settings with ``semi_supervised``; its volumes are in ``packed``.

    Raises:
        Interrupted: After SIGTERM or SIGUSR1.
        InputError: If settings are incompatible or a part has no scan.
    """
    check_freezing(settings)
    parts = parts_of(samples, settings.fold)
    check_views(settings, *parts)
    others = None
    if settings.semi_supervised and unlabelled is not None:
        others = training_part(unlabelled, pd.concat(parts), settings.fold)
    with StopRequest() as stop, joined(settings.processes, device) as processes:
        report = report if processes.is_main_process else _silent
        job = _Job(*parts, packed, processes, stop, files, report, others)
        done: list[Trained] = []
        for number in range(1, attempts_of(settings) + 1):
            done.append(_attempt(job, settings, number))
            if done[-1].judgement.learned is not False:
                break
            report(_nothing_learned(done[-1], settings, number))
    kept = done[-1] if done[-1].judgement.learned is not False else max(done, key=_known_spread)
    if kept.judgement.edge:
        report(EDGES[kept.judgement.edge].format(kept=kept.best_epoch, run=len(kept.history)))
    attempts = [
        Attempt(one.seed, one.best_epoch, one.criterion, one.judgement.spread, one.judgement.learned) for one in done
    ]
    return replace(kept, attempts=tuple(attempts))


def attempts_of(settings: TrainingSettings) -> int:
    """The largest number of trainings of one network, each with another seed."""
    return 1 + settings.retrain if settings.judged else 1


def attempt_seed(seed: int, number: int) -> int:
    """The seed of attempt ``number`` (from 1): ``seed`` itself, then numbers that follow from both."""
    return seed if number == 1 else int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def _attempt(job: _Job, settings: TrainingSettings, number: int) -> Trained:
    """One training with the seed of attempt ``number``.

    If it learned nothing and others may follow, its finished state stays in its checkpoint: an interruption of the next
    attempt then costs nothing of this one.
    """
    settings = settings.model_copy(update={"seed": attempt_seed(settings.seed, number)})
    processes, report = job.processes, job.report
    files = replace(
        job.files,
        checkpoint=attempt_file(job.files.checkpoint, number),
        events=job.files.events and attempt_file(job.files.events, number),
    )
    precision = choose_precision(settings, processes.device)
    set_up_torch(settings.threads, processes.device, precision.name)
    scans = functools.partial(job.packed.each_image, job.training)
    if settings.grid_fraction is None:
        intensity = intensity_statistics(scans())
    else:
        intensity, settings = intensity_as_published(scans, settings)
    targets = None if settings.task in WITHOUT_VALUES else job.training["target"].to_numpy(np.float64)
    auxiliaries = fit_auxiliaries(settings.auxiliary, job.training)
    for one in auxiliaries:
        report(f"auxiliary {one.name}: {one.known} of {len(job.training)} training scans have a value")
    if sites := training_sites(settings, job.training):
        report(sites_line(sites))
    task = fit_task(settings, targets)
    source = BatchSource(job.packed, task, settings, intensity, processes.device, auxiliaries, tuple(sites))
    batches = TrainingBatches(job.training, source, processes.rank)
    if batches.groups is not None:
        report(balance_line(batches.groups))
    network = _starting_network(source, precision, processes, report)
    start = copied_weights(network)
    unlabelled = None
    if job.unlabelled is not None:
        unlabelled = UnlabelledBatches(job.unlabelled, source, batches.steps, processes.rank)
        report(f"{len(job.unlabelled)} scans without labels are learned from too")
    loop = Loop(network, batches, precision, processes, files, unlabelled)
    if loop.resume(report):
        place = f"epoch {loop.state.epoch + 1}, step {loop.state.step + 1}"
        report(f"continuing from {files.checkpoint}: {'all epochs are done' if loop.finished() else place}")
    own = job.validation.iloc[processes.rank :: processes.size]
    events = files.events if processes.is_main_process else None
    with epoch_events(events, loop.state.epoch + 1) as write_event:
        while not loop.finished():
            loop.finish_epoch(job.stop)
            row = loop.close_epoch(*loop.validate(evaluation_batches(own, source), len(job.validation)))
            write_event(row)
            report(_line(row, settings.epochs))
    judgement = judge(loop, evaluation_batches(own, source))
    if judgement.learned is False and settings.retrain:
        loop.save()
    trained = replace(_trained(loop, judgement, start), sites=sites)
    if job.unlabelled is not None:
        people = len(job.unlabelled.drop_duplicates(["cohort", "participant_id"]))
        trained = replace(trained, unlabelled=UnlabelledScans(len(job.unlabelled), people))
    if isinstance(source.task, Translation):
        weights = generator_weights(trained.weights, source.task)
        return replace(trained, weights=weights, parameters=sum(map(torch.numel, weights.values())))
    if not isinstance(source.task, Pretraining):
        return trained
    pretrained = record_of(source, job.training, job.validation, trained.validation_loss)
    report(compared(pretrained))
    return replace(trained, weights=encoder_weights(trained.weights), pretrained=pretrained)


def parts_of(samples: pd.DataFrame, fold: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows to train on and those to validate on; see `with_fold`. Raises InputError where one of them is empty."""
    table = with_fold(samples, fold)
    train, validation = (table[table["part"] == name].reset_index(drop=True) for name in ("train", "validation"))
    for name, rows in (("train on", train), ("validate on", validation)):
        if rows.empty:
            place = f"fold {fold}" if fold else "the split"
            raise InputError(
                f"{place} leaves no sample to {name}, of {len(samples)} in all; a larger cohort, a less strict filter or other "
                "fractions under `split` may help."
            )
    return train, validation


def network_of(settings: TrainingSettings, task: Task, auxiliaries: int = 0) -> nn.Module:
    """The network of ``settings`` with random weights, the task's outputs, and one output for each auxiliary variable."""
    if isinstance(task, Pretraining):
        return pretraining_network(settings, task)
    if isinstance(task, Generation):
        return generative_network(settings, task)
    return build_network(
        settings.network,
        settings.channels,
        task.outputs + auxiliaries,
        inputs=len(settings.modalities),
        dropout=settings.dropout,
        norm=settings.norm,
        deep_supervision=settings.deep_supervision,
        patch_size=settings.patch_size,
    )


def _starting_network(
    source: BatchSource, precision: Precision, processes: Processes, report: Callable[[str], None]
) -> nn.Module:
    settings = source.settings
    torch.manual_seed(settings.seed)
    network = network_of(settings, source.task, len(source.auxiliaries))
    if settings.weights:
        path = Path(settings.weights)
        structures = source.task.structures if isinstance(source.task, Segmentation) else None
        published = settings.weights.endswith(PUBLISHED_ENDING)
        report(take_published_weights(network, path) if published else take_weights(network, path, structures))
    if isinstance(source.task, Translation):
        network = with_discriminators(network, settings, source.task, source.intensity)
    if source.sites:
        network = AdversarialNetwork(network, settings.network, len(source.sites))
    return precision.to_memory_format(processes.with_common_statistics(network).to(processes.device))


def _trained(loop: Loop, judgement: Judgement, start: dict[str, torch.Tensor]) -> Trained:
    state, epoch = loop.state, loop.kept_epoch()
    weights = loop.kept_weights()
    if epoch is None and loop.settings.judged:
        # The starting weights represent a network that learned nothing, so that an experiment in which all trainings end this
        # way can be evaluated too. Not for a control, which would be at chance without any training.
        epoch, weights = 0, start
    source = loop.batches.source
    if source.sites:
        weights = without_classifier(weights, loop.settings.network)
    weights, heads = split_weights(weights, loop.settings.network, loop.task.outputs, source.auxiliaries)
    return Trained(
        weights=weights,
        heads=heads,
        task=loop.task,
        intensity=source.intensity,
        history=[replace(row, best=int(row.epoch == epoch)) for row in state.history],
        parameters=sum(one.numel() for name, one in loop.network.named_parameters() if not name.startswith(CLASSIFIER))
        - sum(len(head.coefficients) + 1 for head in heads),
        precision=loop.precision.name,
        memory=loop.batches.memory,
        best_epoch=epoch,
        criterion=loop.window_mean("criterion", epoch) if epoch else None,
        validation_loss=loop.window_mean("validation_loss", epoch) if epoch else None,
        seconds=state.seconds + state.validation_seconds,
        scans_per_second=len(state.history) * loop.scans / state.seconds,
        seed=loop.settings.seed,
        judgement=judgement,
    )


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


def _line(row: EpochRow, epochs: int) -> str:
    calibrated = f"  after calibration {row.criterion:.4f}" if row.criterion != row.validation_loss else ""
    return (
        f"epoch {row.epoch}/{epochs}  training loss {row.train_loss:.4f}  "
        f"validation loss {row.validation_loss:.4f}{calibrated}  learning rate {row.learning_rate:.2e}"
    )


def _silent(line: str) -> None:
    """Only the main process reports."""
