"""Training of the registration network on painted pairs: one pair a step, with a checkpoint that holds the complete state.

A pair follows from the seed and the step, and the learning rate from the step. So a training that was stopped and continued ends
with the same bits.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import nn
from torch.nn import functional

from neurocohort.imaging.learned_constants import COARSENESS
from neurocohort.imaging.optical_flow import flow_velocity
from neurocohort.imaging.registration_network import correction, registration_network
from neurocohort.imaging.template import Template
from neurocohort.learning.checkpoint import Interrupted, SavedTraining, StopRequest, load_checkpoint, save_checkpoint
from neurocohort.learning.registration_pairs import Anatomy, anatomy_of, painted_pair
from neurocohort.progress import steps_shown
from neurocohort.settings.scan import LearnedRegistration

WARM_UP = 50  # steps
LARGEST_GRADIENT = 1.0  # norm, beyond which gradients are scaled down
OUTSIDE_WEIGHT = 0.05  # of the error outside of the brain, where nothing shows the deformation
STEPS_OF_ROW = 50  # of the table of losses


@dataclass(frozen=True)
class TrainedRegistration:
    """A trained network on the CPU, and its losses: ``step``, ``loss`` and ``flow_error``, means of the steps up to each row.

    The loss is the squared error of the velocity, as a fraction of that of the optical flow alone. ``flow_error`` is the latter
    as a fraction of the squared velocity.
    """

    network: nn.Module
    losses: pd.DataFrame


def train_registration(
    template: Template,
    settings: LearnedRegistration,
    device: torch.device,
    checkpoint: Path,
    checkpoint_seconds: float = 60.0,
    report: Callable[[str], None] = print,
) -> TrainedRegistration:
    """Train the network, from its checkpoint if there is one.

    Args:
        template: The template.
        settings: Steps, learning rate and seed.
        device: Where to compute.
        checkpoint: The checkpoint's file.
        checkpoint_seconds: Seconds between two checkpoints.
        report: Where messages go.

    Raises:
        Interrupted: After SIGTERM or SIGUSR1, when the checkpoint is written.
    """
    torch.set_num_threads(1)  # sums depend on the number
    anatomy = anatomy_of(template, device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = registration_network()
    network.to(device).train()
    optimiser = torch.optim.Adam(network.parameters(), settings.learning_rate)
    first, sums = 0, list[list[float]]()
    if saved := load_checkpoint(checkpoint, report):
        network.load_state_dict(saved["weights"])
        optimiser.load_state_dict(saved["optimiser"])
        first, sums = saved["state"]["step"], saved["state"]["errors"]
        report(f"continued after step {first} of {settings.steps}")
    saved_at = time.monotonic()
    shown = steps_shown("training of the registration", first, settings.steps, shown=True, unit="step")
    with StopRequest() as stop, shown as shown_step:
        for step in range(first, settings.steps):
            for group in optimiser.param_groups:
                group["lr"] = settings.learning_rate * rate_fraction(step, settings.steps)
            sums.append(_step(network, optimiser, anatomy, settings.seed, step))
            shown_step.update()
            due = time.monotonic() - saved_at >= checkpoint_seconds
            if (due or stop.received) and step + 1 < settings.steps:
                _save(checkpoint, network, optimiser, step + 1, sums)
                saved_at = time.monotonic()
            if stop.received and step + 1 < settings.steps:
                raise Interrupted(f"stopped after step {step + 1}; the same command continues from {checkpoint}")
    return TrainedRegistration(network.cpu().eval(), _table(sums))


def rate_fraction(step: int, steps: int) -> float:
    """Return the fraction of the largest learning rate at ``step`` (from 0): linearly up, times half a cosine down to 0."""
    return min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _step(
    network: nn.Module, optimiser: torch.optim.Optimizer, anatomy: Anatomy, seed: int, number: int
) -> list[float]:
    """Train on one pair; return the loss and the error of the optical flow."""
    with torch.no_grad():
        pair = painted_pair(anatomy, seed, number)
        velocity = flow_velocity(anatomy.frame, pair.moving)
    weight = OUTSIDE_WEIGHT + functional.avg_pool3d(anatomy.frame.fixed_mask, COARSENESS)

    def error(found: torch.Tensor) -> torch.Tensor:
        return ((found - pair.velocity).square().sum(dim=1, keepdim=True) * weight).mean()

    before = error(velocity)
    loss = error(velocity + correction(network, anatomy.frame, pair.moving, velocity)) / before
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
    optimiser.step()
    return [loss.item(), (before / error(torch.zeros_like(velocity))).item()]


def _save(path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, step: int, errors: list) -> None:
    state: SavedTraining = {
        "weights": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "scaler": {},
        "state": {"step": step, "errors": errors},
        "processes": [],
    }
    save_checkpoint(path, state)


def _table(errors: list[list[float]]) -> pd.DataFrame:
    rows = pd.DataFrame(errors, columns=["loss", "flow_error"])
    rows.insert(0, "step", [(index // STEPS_OF_ROW + 1) * STEPS_OF_ROW for index in rows.index])
    table = rows.groupby("step", as_index=False).mean().round(6)
    return table.assign(step=table["step"].clip(upper=len(errors)))
