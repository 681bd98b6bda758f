"""The optimiser, and its learning rate and momentum as functions of the step, so that a resumed training needs only the step."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from neurocohort.learning.constants import CALM_MOMENTUM, FAST_MOMENTUM, ONE_CYCLE_START
from neurocohort.learning.settings import TrainingSettings

ONE_CYCLE, COSINE = "one_cycle", "cosine"
SGD = "sgd"
START = 1 / ONE_CYCLE_START  # fraction of the largest rate
END = START / 1e4
MOMENTUM, SQUARES_DECAY = 0.9, 0.999  # AdamW's own


@dataclass(frozen=True)
class ScheduleValues:
    """``rate``: the learning rate; ``momentum``: AdamW's first beta, or the momentum of stochastic gradient descent."""

    rate: float
    momentum: float


def schedule_at(settings: TrainingSettings, step: int, steps: int) -> ScheduleValues:
    """The schedule at ``step`` (from 0) of ``steps``.

    ``one_cycle`` (Smith and Topin 2018): half a cosine up to ``learning_rate`` over the fraction ``warm_up`` of the steps, then
    half a cosine down; momentum goes in the opposite direction. ``cosine``: linearly up over ``warm_up``, then half a cosine
    down to 0.
    """
    if settings.schedule == ONE_CYCLE:
        start, last = max(settings.warm_up * steps - 1, 0.0), steps - 1
        if step < start:
            fractions, momenta, position = (START, 1.0), (CALM_MOMENTUM, FAST_MOMENTUM), step / start
        else:
            fractions, momenta = (1.0, END), (FAST_MOMENTUM, CALM_MOMENTUM)
            position = (step - start) / (last - start) if last > start else 0.0
        return ScheduleValues(settings.learning_rate * _between(*fractions, position), _between(*momenta, position))
    if settings.schedule == COSINE:
        warm = settings.warm_up * steps
        fraction = (step + 1) / (warm + 1) if step < warm else _between(1.0, 0.0, (step - warm) / (steps - warm))
        return ScheduleValues(settings.learning_rate * fraction, MOMENTUM)
    raise ValueError(f"unknown schedule {settings.schedule}")


def set_schedule(optimiser: torch.optim.Optimizer, values: ScheduleValues) -> None:
    """Set the rate and momentum of the optimiser's next step."""
    for group in optimiser.param_groups:
        group["lr"] = values.rate
        if "betas" in group:
            group["betas"] = values.momentum, SQUARES_DECAY
        else:
            group["momentum"] = values.momentum


def build_optimiser(
    parameters: Iterable[nn.Parameter], settings: TrainingSettings, *, fused: bool
) -> torch.optim.Optimizer:
    """The optimiser of a training; ``fused``: whether its step is a single kernel, on a GPU."""
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == SGD:
        return torch.optim.SGD(parameters, rate, momentum=MOMENTUM, weight_decay=decay, fused=fused)
    return torch.optim.AdamW(parameters, rate, betas=(MOMENTUM, SQUARES_DECAY), weight_decay=decay, fused=fused)


def _between(first: float, last: float, position: float) -> float:
    """Half a cosine from ``first`` (``position`` 0) to ``last`` (``position`` 1)."""
    return last + (first - last) * (1 + math.cos(math.pi * position)) / 2
