"""The training loop: one loop for the three tasks, resumed to the bit.

Everything random is drawn from (seed, epoch, sample) or from torch's generator, whose state the checkpoint holds; so an
epoch can be taken up at any step. The best epoch is chosen on the validation part alone.
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from neurocohort.learning.augmentation import augment, draw
from neurocohort.learning.checkpoint import StopRequest, load_checkpoint, save_checkpoint
from neurocohort.learning.data import PackedImages, Part, intensity_statistics, to_input
from neurocohort.learning.networks import build_network
from neurocohort.learning.tasks import SEGMENTATION, Task, fit_task, loss_of

GRADIENT_NORM_LIMIT = 1.0
WEIGHT_DECAY = 1e-2
WARM_UP_SHARE = 0.15
CHECKPOINT_SECONDS = 60.0
VALIDATION_MEMORY = 5  # epochs over which the validation loss is averaged when the best epoch is chosen


class Interrupted(Exception):
    """A signal asked the loop to stop; the checkpoint is written and the same command goes on from it."""


@dataclass(frozen=True)
class TrainingSettings:
    """``modalities``: the input's channels. ``patience``: epochs without a better validation loss after which training
    stops; 0 never stops early.
    """

    modalities: list[str]
    network: str
    channels: list[int] | None
    dropout: float
    norm: str
    soft_bins: bool
    epochs: int
    batch_size: int
    learning_rate: float
    patience: int
    seed: int
    threads: int


@dataclass(frozen=True)
class Trained:
    """The best epoch's weights, the task and statistics they go with, and the history, one dict an epoch."""

    weights: dict[str, torch.Tensor]
    task: Task
    mean: list[float]
    deviation: list[float]
    history: list[dict]
    parameters: int


def train(
    samples: pd.DataFrame,
    packed: PackedImages,
    kind: str,
    settings: TrainingSettings,
    *,
    device: torch.device,
    checkpoint: Path,
    report: Callable[[str], None] = print,
) -> Trained:
    """Train on the rows of ``samples`` in the part ``train``, choosing the epoch on ``validation``.

    The held-out rows are not read. ``checkpoint``: where to save and from where to go on, if it exists. ``report`` is called
    with one line an epoch. Raises Interrupted after SIGTERM or SIGUSR1.
    """
    torch.set_num_threads(settings.threads)  # float sums depend on it, so it is a setting and not the machine's choice
    torch.use_deterministic_algorithms(device.type == "cpu")
    parts = {name: _load(samples[samples["part"] == name], packed, kind, device) for name in ("train", "validation")}
    mean, deviation = intensity_statistics(parts["train"].images.cpu())
    task = fit_task(kind, settings.network == "sfcn" and settings.soft_bins, parts["train"].targets.cpu().numpy())
    run = _Run(task, settings, parts["train"], mean, deviation, checkpoint, device)
    resumed = run.resume()
    if resumed:
        report(f"going on from {checkpoint}: epoch {run.state['epoch'] + 1}, step {run.state['step'] + 1}")
    with StopRequest() as stop:
        while not run.finished():
            run.finish_epoch(stop)
            validation_loss = mean_loss(run.network, task, parts["validation"], mean, deviation, settings.batch_size)
            report(run.close_epoch(validation_loss))
    history = [entry | {"best": int(entry["epoch"] == run.state["best_epoch"])} for entry in run.state["history"]]
    parameters = sum(parameter.numel() for parameter in run.network.parameters())
    return Trained(run.state["best"], task, mean, deviation, history, parameters)


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


@torch.no_grad()
def mean_loss(
    network: nn.Module, task: Task, part: Part, mean: list[float], deviation: list[float], batch_size: int
) -> float:
    """The mean loss over the scans of ``part`` without augmentation."""
    network.eval()
    total = 0.0
    for images, targets in zip(part.images.split(batch_size), part.targets.split(batch_size), strict=True):
        total += loss_of(task, network(to_input(images, mean, deviation)), targets).item() * len(images)
    return total / len(part.images)


def _load(rows: pd.DataFrame, packed: PackedImages, kind: str, device: torch.device) -> Part:
    if kind == SEGMENTATION:
        targets = packed.stack_labels(rows)
    else:
        targets = torch.tensor(rows["target"].to_numpy(dtype=np.float32))
    return Part(packed.stack_images(rows).to(device), targets.to(device))


class _Run:
    """The state of one training: network, optimiser, schedule, and where in which epoch it stands.

    ``state`` holds plain values and tensors alone, so that the checkpoint can be read without running code from it.
    """

    def __init__(
        self,
        task: Task,
        settings: TrainingSettings,
        part: Part,
        mean: list[float],
        deviation: list[float],
        checkpoint: Path,
        device: torch.device,
    ):
        self.task, self.settings, self.part, self.checkpoint = task, settings, part, checkpoint
        self.mean, self.deviation = mean, deviation
        torch.manual_seed(settings.seed)
        self.network = network_of(settings, task).to(device)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=WEIGHT_DECAY
        )
        self.steps = math.ceil(len(part.images) / settings.batch_size)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, settings.learning_rate, total_steps=settings.epochs * self.steps, pct_start=WARM_UP_SHARE
        )
        self.state = {"epoch": 0, "step": 0, "loss_sum": 0.0, "history": []}
        self.state |= {"best": None, "best_loss": math.inf, "best_epoch": 0}
        self.last_save = time.monotonic()

    def save(self) -> None:
        parts = {name: getattr(self, name).state_dict() for name in ("network", "optimiser", "schedule")}
        save_checkpoint(self.checkpoint, parts | {"state": self.state, "generator": torch.get_rng_state()})
        self.last_save = time.monotonic()

    def resume(self) -> bool:
        saved = load_checkpoint(self.checkpoint)
        if saved is None:
            return False
        for name in ("network", "optimiser", "schedule"):
            getattr(self, name).load_state_dict(saved[name])
        self.state = saved["state"]
        torch.set_rng_state(saved["generator"])
        return True

    def finished(self) -> bool:
        waited = self.state["epoch"] - self.state["best_epoch"]
        patient = self.settings.patience == 0 or waited < self.settings.patience
        return self.state["epoch"] >= self.settings.epochs or not patient

    def finish_epoch(self, stop: StopRequest) -> None:
        """Take the steps that are left of the present epoch, saving now and then, and at once when asked to stop."""
        seed, epoch = self.settings.seed, self.state["epoch"]
        order = np.random.default_rng((seed, epoch)).permutation(len(self.part.images))
        batches = np.array_split(order, self.steps)  # of nearly one size: a last batch of one has no batch statistics
        self.network.train()
        while self.state["step"] < self.steps:
            chosen = batches[self.state["step"]]
            self.state["loss_sum"] += self._step(chosen, seed, epoch) * len(chosen)
            self.state["step"] += 1
            if stop.received or time.monotonic() - self.last_save > CHECKPOINT_SECONDS:
                self.save()
            if stop.received:
                raise Interrupted(f"stopped in epoch {epoch + 1}; the same command goes on from {self.checkpoint}")

    def _step(self, chosen: np.ndarray, seed: int, epoch: int) -> float:
        drawn = [draw(seed, epoch, int(sample)) for sample in chosen]
        targets = self.part.targets[chosen]
        moving_labels = targets if self.task.kind == SEGMENTATION else None
        inputs, labels = augment(self.part.images[chosen], moving_labels, drawn, self.mean, self.deviation)
        loss = loss_of(self.task, self.network(inputs), targets if labels is None else labels)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_NORM_LIMIT)
        self.optimiser.step()
        self.schedule.step()
        return float(loss.item())

    def close_epoch(self, validation_loss: float) -> str:
        """Note the epoch in the history, keep its weights if it is the best so far, and return a line about it."""
        state = self.state
        state["epoch"] += 1
        entry = {
            "epoch": state["epoch"],
            "train_loss": state["loss_sum"] / len(self.part.images),
            "validation_loss": validation_loss,
            "learning_rate": self.schedule.get_last_lr()[0],
        }
        state["history"].append(entry)
        state["step"], state["loss_sum"] = 0, 0.0
        # A handful of validation scans gives a jumpy loss: the mean of the last epochs keeps a lucky one from being chosen.
        smoothed = float(np.mean([past["validation_loss"] for past in state["history"][-VALIDATION_MEMORY:]]))
        if smoothed < state["best_loss"]:
            weights = {name: value.cpu() for name, value in self.network.state_dict().items()}
            state |= {"best": copy.deepcopy(weights), "best_loss": smoothed, "best_epoch": state["epoch"]}
        return (
            f"epoch {state['epoch']}/{self.settings.epochs}  training loss {entry['train_loss']:.4f}  "
            f"validation loss {validation_loss:.4f}  learning rate {entry['learning_rate']:.2e}"
        )
