"""The loop over epochs and steps, and its state, which a checkpoint holds whole: a training taken up ends with the same bits.

The weights that are kept are those of the best epoch, of the last, or the mean of the last epochs' (``keep``).
Order and augmentation follow from (seed, epoch, sample), dropout from (seed, epoch, step, process), the learning rate from the
step; so beside weights and the optimiser's moments the position says all.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import get_swa_avg_fn

from neurocohort.learning.batches import Batch, TrainingBatches
from neurocohort.learning.checkpoint import Interrupted, StopRequest, load_checkpoint, save_checkpoint
from neurocohort.learning.constants import VALIDATION_MEMORY
from neurocohort.learning.criterion import epoch_criterion
from neurocohort.learning.distributed import Processes
from neurocohort.learning.networks import copied_weights, load_weights, weights_of
from neurocohort.learning.precision import Precision
from neurocohort.learning.schedule import MOMENTUM, SQUARES_DECAY, schedule_at, set_schedule
from neurocohort.learning.settings import TrainingSettings
from neurocohort.learning.tasks import CLASSIFICATION, Task
from neurocohort.learning.transfer import learning_stages, set_learning, stages
from neurocohort.learning.windows import network_outputs
from neurocohort.progress import steps_shown

BEST, LAST, AVERAGED = "best", "last", "averaged"  # the weights that are kept
GO_ON, SAVE, STOP = range(3)  # after a step; where the processes differ, the largest holds


class Loop:
    """One training underway. ``network`` lies on its device, in its layout, with the weights to start from.

    ``state`` is what the checkpoint keeps beside weights and optimiser: plain values and tensors. ``epoch`` counts the finished
    ones, ``step`` the finished steps of the present one.
    """

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        batches: TrainingBatches,
        settings: TrainingSettings,
        precision: Precision,
        processes: Processes,
        checkpoint: Path,
        checkpoint_seconds: float,
    ):
        self.network, self.task, self.batches, self.settings = network, task, batches, settings
        self.precision, self.processes, self.scans = precision, processes, len(batches.places)
        self.checkpoint, self.checkpoint_seconds = checkpoint, checkpoint_seconds
        self.optimiser = torch.optim.AdamW(
            network.parameters(),
            lr=settings.learning_rate,
            betas=(MOMENTUM, SQUARES_DECAY),
            weight_decay=settings.weight_decay,
            fused=precision.device.type == "cuda",
        )
        self.scaler = precision.scaler()
        self.stages = stages(network)
        self.learning = 0  # stages that learn, counted from the head; set as an epoch begins
        self.loss_sum = self._zero()
        self.state: dict = {"epoch": 0, "step": 0, "history": [], "seconds": 0.0, "validation_seconds": 0.0}
        # ``kept``: weights on the CPU, the best ones so far or the running mean of ``averaged`` epochs'.
        self.state |= {"kept": None, "averaged": 0, "best_criterion": math.inf, "best_epoch": 0}
        self.saved_at = self.counted_to = time.monotonic()

    @property
    def window(self) -> int:
        """Epochs that the criterion is averaged over. No epoch before the ``window``-th can be the best: the mean of fewer would
        let a network win that has hardly been trained."""
        return min(VALIDATION_MEMORY, self.settings.epochs)

    def resume(self, report: Callable[[str], None]) -> bool:
        """Go on from the checkpoint, if there is one."""
        saved = load_checkpoint(self.checkpoint, report) if self.processes.is_main_process else None
        self.processes.wait()  # until the first one has set aside what can't be read
        if not self.processes.is_main_process:
            saved = load_checkpoint(self.checkpoint, report)
        if saved is None:
            return False
        load_weights(self.network, saved["weights"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.scaler.load_state_dict(saved["scaler"])
        self.state = saved["state"]
        own = saved["processes"][self.processes.rank]
        self.loss_sum += own["loss_sum"]
        _set_generators(own["generators"], self.precision.device)
        return True

    def save(self) -> None:
        """Write the checkpoint; every process has to call it, and all go on once it is written."""
        own = {"loss_sum": self.loss_sum.item(), "generators": _generators(self.precision.device)}
        self._count_seconds()
        parts = {"weights": weights_of(self.network), "optimiser": self.optimiser.state_dict()}
        parts |= {"scaler": self.scaler.state_dict(), "state": self.state, "processes": self.processes.gather(own)}
        if self.processes.is_main_process:
            save_checkpoint(self.checkpoint, parts)
        self.processes.wait()
        self.saved_at = time.monotonic()

    def finished(self) -> bool:
        """Whether all epochs are done, the best one is ``patience`` epochs ago, or the last one ended in no number."""
        state = self.state
        waited = state["epoch"] - max(state["best_epoch"], self.window)
        impatient = self.settings.patience > 0 and waited >= self.settings.patience
        return state["epoch"] >= self.settings.epochs or impatient or self._diverged()

    def kept_epoch(self) -> int | None:
        """Of a finished training, the epoch whose weights are kept, the last one where they are a mean; None where there are
        none to keep, since the loss became no number first.
        """
        if self.settings.keep == BEST:
            return self.state["best_epoch"] or None
        return None if self._diverged() else self.state["epoch"]

    def kept_weights(self) -> dict[str, torch.Tensor]:
        """The weights of `kept_epoch`, on the CPU; the last ones where there is none."""
        kept = self.state["kept"]
        return copied_weights(self.network) if kept is None or self.kept_epoch() is None else kept

    def window_mean(self, name: str, epoch: int) -> float:
        """The mean of the history's column ``name`` over ``epoch`` and those before it, `window` of them."""
        return float(np.mean([past[name] for past in self.state["history"][max(0, epoch - self.window) : epoch]]))

    def _diverged(self) -> bool:
        return bool(self.state["history"]) and not math.isfinite(self.state["history"][-1]["validation_loss"])

    def finish_epoch(self, stop: StopRequest) -> None:
        """Take the steps that are left of the present epoch, saving now and then.

        Raises Interrupted, with the checkpoint written, at the step after ``stop`` was received by any process.
        """
        epoch, state = self.state["epoch"], self.state
        self._set_learning(epoch)
        self.counted_to = time.monotonic()
        label = f"epoch {epoch + 1}/{self.settings.epochs}"
        with (
            contextlib.closing(self.batches.epoch(epoch, state["step"])) as batches,
            steps_shown(label, state["step"], self.batches.steps, self.processes.is_main_process) as step_done,
        ):
            for batch in batches:
                self._step(batch, epoch, state["step"])
                state["step"] += 1
                step_done.update()
                due = time.monotonic() - self.saved_at > self.checkpoint_seconds
                order = self.processes.most(STOP if stop.received else SAVE if due else GO_ON)
                if order != GO_ON:
                    self.save()
                if order == STOP:
                    raise Interrupted(f"stopped in {label}; the same command goes on from {self.checkpoint}")
        self.loss_sum.item()  # waits for the device: what comes next is not timed as training
        self._count_seconds()

    def validate(self, batches: Iterator[Batch], count: int) -> tuple[float, float]:
        """The mean loss over the validation part's ``count`` scans, and the criterion by which the epoch is compared with others
        (`criterion.epoch_criterion`); ``batches`` hold this process's share of them."""
        self.processes.share_buffers(self.network)
        total, gathered = self._zero(), []
        for outputs, targets in self.outputs(batches):
            total += self.task.loss(outputs, targets).double() * len(outputs)
            if self.task.kind == CLASSIFICATION:  # of the other tasks they aren't needed, and may be large
                gathered.append((outputs.cpu(), targets.cpu()))
        loss = self.processes.total(total.item()) / count
        gathered = [pair for own in self.processes.gather(gathered) for pair in own]
        outputs, targets = (torch.cat(parts) for parts in zip(*gathered, strict=True)) if gathered else (None, None)
        criterion = epoch_criterion(self.task, outputs, targets, loss)
        self._count_seconds("validation_seconds")
        return loss, criterion

    def outputs(self, batches: Iterator[Batch]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The network's outputs in evaluation mode, float32, and the targets of each of ``batches``, on the device."""
        self.network.eval()
        with torch.no_grad():
            for batch in batches:
                with self.precision.autocast():
                    found = network_outputs(self.network, self.precision.to_memory_format(batch.inputs), self.settings)
                yield found.float(), batch.targets

    def close_epoch(self, validation_loss: float, criterion: float) -> dict:
        """Note the epoch in the history, keep its weights if the settings say so, and return its row."""
        state, steps = self.state, self.batches.steps
        last = schedule_at(self.settings, state["epoch"] * steps + state["step"] - 1, self.settings.epochs * steps)
        state["epoch"] += 1
        entry = {
            "epoch": state["epoch"],
            "train_loss": self.processes.total(self.loss_sum.item()) / self.scans,
            "validation_loss": validation_loss,
            "criterion": criterion,
            "learning_rate": last.rate,
        }
        state["history"].append(entry)
        state["step"], self.loss_sum = 0, self._zero()
        self._keep()
        return entry

    def _keep(self) -> None:
        """Keep the weights of the epoch just closed where it is the best so far, or is one of the last that are averaged."""
        state, epoch = self.state, self.state["epoch"]
        if self.settings.keep == BEST and epoch >= self.window:
            # A handful of validation scans gives a jumpy loss: the mean of the last epochs keeps a lucky one from being chosen.
            smoothed = self.window_mean("criterion", epoch)
            if smoothed < state["best_criterion"]:
                state |= {"kept": copied_weights(self.network), "best_criterion": smoothed, "best_epoch": epoch}
        elif self.settings.keep == AVERAGED and epoch > self.settings.epochs - self.window:
            state["kept"] = mean_weights(state["kept"], copied_weights(self.network), state["averaged"])
            state["averaged"] += 1

    def _step(self, batch: Batch, epoch: int, step: int) -> None:
        """One step of the optimiser. On a GPU nothing here waits for a result, so that the next batch is prepared meanwhile."""
        settings, steps = self.settings, self.batches.steps
        _seed(settings.seed, epoch, step, self.processes.rank)
        set_schedule(self.optimiser, schedule_at(settings, epoch * steps + step, settings.epochs * steps))
        with self.precision.autocast():
            outputs = self.runner(self.precision.to_memory_format(batch.inputs))
        loss = self.task.loss(outputs.float(), batch.targets)
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss * batch.share).backward()
        self.scaler.unscale_(self.optimiser)
        if settings.gradient_clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), settings.gradient_clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.loss_sum += loss.detach().double() * len(batch.inputs)

    def _set_learning(self, epoch: int) -> None:
        """Training mode, with the stages that learn in ``epoch``; what runs the network is rebuilt where they change."""
        learning = learning_stages(self.settings, len(self.stages), epoch)
        self.network.train()
        set_learning(self.stages, learning)
        if learning == self.learning:
            return
        self.learning = learning
        self.runner = self.processes.averaging(self.network)
        if self.settings.compile:
            self.runner = torch.compile(self.runner, dynamic=False)  # around it: the weights keep their names

    def _zero(self) -> torch.Tensor:
        return torch.zeros((), dtype=torch.float64, device=self.precision.device)

    def _count_seconds(self, name: str = "seconds") -> None:
        now = time.monotonic()
        self.state[name] += now - self.counted_to
        self.counted_to = now


def mean_weights(
    mean: dict[str, torch.Tensor] | None, weights: dict[str, torch.Tensor], count: int
) -> dict[str, torch.Tensor]:
    """``mean``, that of ``count`` epochs' weights and batch statistics by name, with ``weights`` taken in; None of no epoch."""
    if mean is None:
        return weights
    averaged = get_swa_avg_fn()
    # A counter of batches stays a whole number.
    return {name: averaged(mean[name], tensor, count).to(tensor.dtype) for name, tensor in weights.items()}


def _seed(*position: int) -> None:
    """Seed torch for one step, so that dropout is a function of the position and not of how the training came there."""
    torch.manual_seed(int(np.random.SeedSequence(position).generate_state(1, np.uint64)[0] >> np.uint64(1)))


def _generators(device: torch.device) -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def _set_generators(states: dict[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
