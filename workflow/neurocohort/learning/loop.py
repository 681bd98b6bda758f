"""The loop over epochs and steps. Its checkpoint holds its complete state: a resumed training ends with the same bits.

The weights that are kept (``keep``) are those of the best epoch, of the last, the mean of the last epochs', or the moving average
of all steps'. Order and
augmentation follow from (seed, epoch, sample), dropout and mixup from (seed, epoch, step, process) and the learning rate from
the step. So the state consists of weights, the optimiser's moments and the position.
"""

import contextlib
import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_swa_avg_fn

from neurocohort.learning.adversarial import AdversarialNetwork, site_loss
from neurocohort.learning.auxiliary import auxiliary_loss
from neurocohort.learning.batches import Batch, TrainingBatches
from neurocohort.learning.checkpoint import Interrupted, SavedTraining, StopRequest, load_checkpoint, save_checkpoint
from neurocohort.learning.constants import VALIDATION_MEMORY
from neurocohort.learning.criterion import epoch_criterion
from neurocohort.learning.deep_supervision import loss_of_levels
from neurocohort.learning.distributed import Processes
from neurocohort.learning.generators import generator_states, seed_generators, set_generators
from neurocohort.learning.mixup import draw_mix, mixed, mixed_loss
from neurocohort.learning.moving_average import add_step, moving_average
from neurocohort.learning.networks import copied_weights, load_weights, weights_of
from neurocohort.learning.precision import Precision
from neurocohort.learning.run_record import EpochRow
from neurocohort.learning.schedule import build_optimiser, schedule_at, set_schedule
from neurocohort.learning.semi_supervised import loss_of_views, ramp
from neurocohort.learning.tasks import Classification
from neurocohort.learning.transfer import learning_stages, set_learning, stages
from neurocohort.learning.unlabelled import UnlabelledBatches, Views
from neurocohort.learning.windows import network_outputs
from neurocohort.progress import steps_shown

BEST, LAST, AVERAGED, EMA = "best", "last", "averaged", "ema"  # the weights that are kept
GO_ON, SAVE, STOP = range(3)  # after a step; where the processes differ, the largest value applies


@dataclass(frozen=True)
class TrainingFiles:
    """Where a training saves its state, every ``checkpoint_seconds``, and its ``events`` for TensorBoard, if any."""

    checkpoint: Path
    events: Path | None = None
    checkpoint_seconds: float = 60.0


@dataclass
class LoopState:
    """The position of a training and what it has kept: plain values and tensors.

    Args:
        epoch: Number of finished epochs.
        step: Number of finished steps of the present epoch.
        history: One row for each finished epoch.
        seconds: Time of the steps.
        validation_seconds: Time of the validations.
        kept: Weights on the CPU: the best so far, the running mean of a number of ``averaged`` epochs, or the moving average of
            a number of ``averaged`` steps.
        averaged: See ``kept``.
        best_criterion: The criterion of the best epoch.
        best_epoch: 0 where there is none.
    """

    epoch: int = 0
    step: int = 0
    history: list[EpochRow] = field(default_factory=list)
    seconds: float = 0.0
    validation_seconds: float = 0.0
    kept: dict[str, torch.Tensor] | None = None
    averaged: int = 0
    best_criterion: float = math.inf
    best_epoch: int = 0


class Loop:
    """A training in progress. ``network`` is on its device, in its memory format, with the weights to start from."""

    def __init__(
        self,
        network: nn.Module,
        batches: TrainingBatches,
        precision: Precision,
        processes: Processes,
        files: TrainingFiles,
        unlabelled: UnlabelledBatches | None = None,
    ):
        self.network, self.batches, self.precision, self.processes = network, batches, precision, processes
        self.task, self.settings, self.scans = batches.source.task, batches.settings, len(batches.places)
        self.files = files
        self.optimiser = build_optimiser(network.parameters(), self.settings, fused=precision.device.type == "cuda")
        self.scaler = precision.scaler()
        self.unlabelled = unlabelled
        averages = self.settings.keep == EMA or unlabelled is not None  # which is also the teacher
        self.average: AveragedModel | None = moving_average(network) if averages else None
        self.stages = stages(network)
        self.runner: Callable[..., torch.Tensor] = network
        self.learning = 0  # stages that learn, counted from the head; set when an epoch begins
        self.loss_sum = self._zero()
        self.state = LoopState()
        self.saved_at = self.counted_to = time.monotonic()

    @property
    def window(self) -> int:
        """Number of epochs over which the criterion is averaged. No earlier epoch can be the best: with a mean of fewer epochs a
        hardly trained network could be chosen."""
        return min(VALIDATION_MEMORY, self.settings.epochs)

    @property
    def first_choice(self) -> int:
        """The first epoch that can be the best: the window before it is whole, and on the study's grid."""
        return min(self.settings.coarse_epochs + self.window, self.settings.epochs)

    def resume(self, report: Callable[[str], None]) -> bool:
        """Continue from the checkpoint, if there is one; return whether there was."""
        saved = load_checkpoint(self.files.checkpoint, report) if self.processes.is_main_process else None
        self.processes.wait()  # until the main process has renamed an unreadable file
        if not self.processes.is_main_process:
            saved = load_checkpoint(self.files.checkpoint, report)
        if saved is None:
            return False
        load_weights(self.network, saved["weights"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.scaler.load_state_dict(saved["scaler"])
        state = saved["state"]
        self.state = LoopState(**state | {"history": [EpochRow(**row) for row in state["history"]]})
        if self.average and "teacher" in saved:
            load_weights(self.average.module, saved["teacher"]["weights"])
            self.average.n_averaged.fill_(saved["teacher"]["steps"])
        elif self.average and self.state.kept:
            load_weights(self.average.module, self.state.kept)
            self.average.n_averaged.fill_(self.state.averaged)
        own = saved["processes"][self.processes.rank]
        self.loss_sum += own["loss_sum"]
        set_generators(own["generators"], self.precision.device)
        return True

    def save(self) -> None:
        """Write the checkpoint. Every process must call this; all wait until it is written."""
        own = {"loss_sum": self.loss_sum.item(), "generators": generator_states(self.precision.device)}
        self.state.seconds += self._seconds_since_last()
        self._take_average()
        parts: SavedTraining = {
            "weights": weights_of(self.network),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "state": vars(self.state) | {"history": [vars(row) for row in self.state.history]},
            "processes": self.processes.gather(own),
        }
        if self.average and self.settings.keep != EMA:
            weights = copied_weights(self.average.module)
            parts["teacher"] = {"weights": weights, "steps": int(self.average.n_averaged)}
        if self.processes.is_main_process:
            save_checkpoint(self.files.checkpoint, parts)
        self.processes.wait()
        self.saved_at = time.monotonic()

    def finished(self) -> bool:
        """Whether all epochs are done, the best one is ``patience`` epochs ago, or the last loss is not finite."""
        waited = self.state.epoch - max(self.state.best_epoch, self.first_choice)
        impatient = self.settings.patience > 0 and waited >= self.settings.patience
        return self.state.epoch >= self.settings.epochs or impatient or self._diverged()

    def kept_epoch(self) -> int | None:
        """The epoch whose weights a finished training keeps, the last one for a mean; None where the loss was never finite."""
        if self.settings.keep == BEST:
            return self.state.best_epoch or None
        return None if self._diverged() else self.state.epoch

    def kept_weights(self) -> dict[str, torch.Tensor]:
        """The weights of `kept_epoch` on the CPU; the last weights where it is None."""
        kept = self.state.kept
        return copied_weights(self.network) if kept is None or self.kept_epoch() is None else kept

    def window_mean(self, name: str, epoch: int) -> float:
        """The mean of the history's column ``name`` over the last `window` epochs up to ``epoch``."""
        return float(np.mean([getattr(row, name) for row in self.state.history[max(0, epoch - self.window) : epoch]]))

    def _diverged(self) -> bool:
        return bool(self.state.history) and not math.isfinite(self.state.history[-1].validation_loss)

    def finish_epoch(self, stop: StopRequest) -> None:
        """Do the remaining steps of the present epoch, saving regularly.

        When a process received ``stop``, the checkpoint is written after the step, and Interrupted is raised.
        """
        epoch, state = self.state.epoch, self.state
        self._set_learning(epoch)
        self.counted_to = time.monotonic()
        label = f"epoch {epoch + 1}/{self.settings.epochs}"
        with (
            contextlib.closing(self.batches.epoch(epoch, state.step)) as batches,
            contextlib.closing(self._views(epoch, state.step)) as views,
            steps_shown(label, state.step, self.batches.steps, self.processes.is_main_process) as step_done,
        ):
            for batch in batches:
                self._step(batch, next(views), epoch, state.step)
                state.step += 1
                step_done.update()
                due = time.monotonic() - self.saved_at > self.files.checkpoint_seconds
                order = self.processes.most(STOP if stop.received else SAVE if due else GO_ON)
                if order != GO_ON:
                    self.save()
                if order == STOP:
                    raise Interrupted(f"stopped in {label}; the same command continues from {self.files.checkpoint}")
        self.loss_sum.item()  # waits for the device, so that its time counts as training
        self.state.seconds += self._seconds_since_last()

    def validate(self, batches: Iterator[Batch], count: int) -> tuple[float, float]:
        """The mean loss over the ``count`` scans of the validation part, and the criterion of the epoch (`epoch_criterion`);
        ``batches`` are those of this process."""
        self.processes.share_buffers(self.network)
        total, own = self._zero(), []
        for outputs, targets in self.outputs(batches):
            total += self.task.loss(outputs, targets).double() * len(outputs)
            if isinstance(self.task, Classification):  # the other tasks don't need them, and they may be large
                own.append((outputs.cpu(), targets.cpu()))
        loss = self.processes.total(total.item()) / count
        criterion = loss
        if isinstance(self.task, Classification):
            pairs = [pair for one in self.processes.gather(own) for pair in one]
            outputs, targets = (torch.cat(parts) for parts in zip(*pairs, strict=True))
            criterion = epoch_criterion(self.task, outputs, targets, loss)
        self.state.validation_seconds += self._seconds_since_last()
        return loss, criterion

    def outputs(self, batches: Iterator[Batch]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the network's outputs in evaluation mode, float32, and the targets of each batch, on the device."""
        self.network.eval()
        with torch.no_grad():
            for batch in batches:
                with self.precision.autocast():
                    found = network_outputs(self.network, self._on_grid(batch.inputs), self.settings)
                yield found.float()[:, : self.task.outputs], batch.targets

    def close_epoch(self, validation_loss: float, criterion: float) -> EpochRow:
        """Add the epoch to the history, keep its weights if the settings require it, and return its row."""
        state, steps = self.state, self.batches.steps
        last = schedule_at(self.settings, state.epoch * steps + state.step - 1, self.settings.epochs * steps)
        state.epoch += 1
        train_loss = self.processes.total(self.loss_sum.item()) / self.scans
        row = EpochRow(state.epoch, train_loss, validation_loss, criterion, last.rate)
        state.history.append(row)
        state.step, self.loss_sum = 0, self._zero()
        self._keep()
        return row

    def _keep(self) -> None:
        """Keep the weights of the epoch just closed if it is the best so far, or one of the last that are averaged."""
        state, epoch = self.state, self.state.epoch
        if self.settings.keep == BEST and epoch >= self.first_choice:
            # With few validation scans the loss is noisy: averaging over epochs avoids choosing one that is low by chance.
            smoothed = self.window_mean("criterion", epoch)
            if smoothed < state.best_criterion:
                state.kept, state.best_criterion, state.best_epoch = copied_weights(self.network), smoothed, epoch
        elif self.settings.keep == AVERAGED and epoch > self.settings.epochs - self.window:
            state.kept = mean_weights(state.kept, copied_weights(self.network), state.averaged)
            state.averaged += 1
        elif self.average and self.settings.keep == EMA:
            self.processes.share_buffers(self.average.module)
            self._take_average()

    def _take_average(self) -> None:
        """Copy the moving average, if it is what is kept, into the state."""
        if self.average and self.settings.keep == EMA:
            self.state.kept = copied_weights(self.average.module)
            self.state.averaged = int(self.average.n_averaged)

    def _views(self, epoch: int, first_step: int) -> Generator[Views | None, None, None]:
        """The views of scans without labels for each step of ``epoch``; None for each where no such scans are learned from."""
        if self.unlabelled:
            yield from self.unlabelled.epoch(epoch, first_step)
        while True:
            yield None

    def _step(self, batch: Batch, views: Views | None, epoch: int, step: int) -> None:
        """One step of the optimiser. Nothing here waits for a GPU, so that the next batch is prepared meanwhile."""
        settings, steps = self.settings, self.batches.steps
        seed_generators(settings.seed, epoch, step, self.processes.rank)
        set_schedule(self.optimiser, schedule_at(settings, epoch * steps + step, settings.epochs * steps))
        if isinstance(self.network, AdversarialNetwork):
            self.network.set_strength(settings.adversarial_site, (epoch + step / steps) / settings.epochs)
        mix = draw_mix(len(batch.inputs), settings.mixup, (settings.seed, epoch, step, self.processes.rank))
        with self.precision.autocast():
            inputs = mixed(batch.inputs, mix)
            outputs = self.runner(self._on_grid(inputs if views is None else torch.cat([inputs, views.student])))
        if views is not None:
            outputs, unlabelled = outputs[: len(inputs)], outputs[len(inputs) :]
        if settings.deep_supervision:
            loss = loss_of_levels(self.task, outputs.float(), batch.targets)
        else:
            loss = mixed_loss(self.task, outputs[:, : self.task.outputs].float(), batch.targets, mix)
        if batch.auxiliary is not None:
            others = outputs[:, self.task.outputs :].float()
            loss = loss + auxiliary_loss(self.batches.source.auxiliaries, others, batch.auxiliary, mix)
        if batch.sites is not None:
            loss = loss + site_loss(outputs[:, -len(self.batches.source.sites) :].float(), batch.sites, mix)
        self.optimiser.zero_grad(set_to_none=True)
        whole = loss * batch.weight
        if views is not None:
            whole = whole + self._unlabelled_loss(unlabelled, views, epoch * steps + step)
        self.scaler.scale(whole).backward()
        self.scaler.unscale_(self.optimiser)
        if settings.gradient_clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), settings.gradient_clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.average:
            add_step(self.average, self.network, settings.ema_decay, epoch * steps + step)
        self.loss_sum += loss.detach().double() * len(batch.inputs)

    def _unlabelled_loss(self, outputs: torch.Tensor, views: Views, step: int) -> torch.Tensor:
        """The weighted loss of scans without labels in a ``step`` of the whole training."""
        wanted = self.settings.semi_supervised
        if wanted is None or self.average is None:
            raise ValueError("scans without labels are only for settings with `semi_supervised`")
        teacher = self.average.module.eval()
        loss = loss_of_views(outputs, teacher, views, task=self.task, precision=self.precision, wanted=wanted)
        rise = ramp(step, self.settings.epochs * self.batches.steps, wanted.ramp_up)
        return loss * (views.weight * wanted.weight * rise)

    def _on_grid(self, inputs: torch.Tensor) -> torch.Tensor:
        """The inputs (N, C, X, Y, Z) on the grid of the present epoch, which the first ``coarse_epochs`` have half as fine."""
        if self.state.epoch < self.settings.coarse_epochs:
            inputs = functional.avg_pool3d(inputs, 2)
        return self.precision.to_memory_format(inputs)

    def _set_learning(self, epoch: int) -> None:
        """Set training mode and the stages that learn in ``epoch``; where they change, the runner is rebuilt."""
        learning = learning_stages(self.settings, len(self.stages), epoch)
        self.network.train()
        set_learning(self.stages, learning)
        if learning == self.learning:
            return
        self.learning = learning
        self.runner = self.processes.averaging(self.network)
        if self.settings.compile:
            self.runner = torch.compile(
                self.runner, dynamic=False
            )  # wrapped, not in place: the weights keep their names

    def _zero(self) -> torch.Tensor:
        return torch.zeros((), dtype=torch.float64, device=self.precision.device)

    def _seconds_since_last(self) -> float:
        """Seconds since the last call, or since the epoch began."""
        now = time.monotonic()
        seconds, self.counted_to = now - self.counted_to, now
        return seconds


def mean_weights(
    mean: dict[str, torch.Tensor] | None, weights: dict[str, torch.Tensor], count: int
) -> dict[str, torch.Tensor]:
    """Add ``weights`` to the ``mean`` of the weights and batch statistics of ``count`` epochs; None is the mean of none."""
    if mean is None:
        return weights
    averaged = get_swa_avg_fn()
    # A counter of batches stays an integer.
    return {name: averaged(mean[name], tensor, count).to(tensor.dtype) for name, tensor in weights.items()}
