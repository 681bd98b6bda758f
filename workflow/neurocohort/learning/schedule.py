"""Learning rate and momentum as functions of the step: a training taken up anywhere needs to know nothing but the step."""

import math
from dataclasses import dataclass

import torch

from neurocohort.learning.constants import CALM_MOMENTUM, FAST_MOMENTUM, ONE_CYCLE_START
from neurocohort.learning.settings import TrainingSettings

ONE_CYCLE, COSINE = "one_cycle", "cosine"
START_SHARE = 1 / ONE_CYCLE_START
END_SHARE = START_SHARE / 1e4
MOMENTUM, SQUARES_DECAY = 0.9, 0.999  # AdamW's own


@dataclass(frozen=True)
class ScheduleValues:
    """``rate``: the learning rate; ``momentum``: AdamW's first beta."""

    rate: float
    momentum: float


def schedule_at(settings: TrainingSettings, step: int, steps: int) -> ScheduleValues:
    """The schedule at ``step``, counted from 0, of ``steps`` in all.

    ``one_cycle`` (Smith and Topin 2018): half a cosine up to ``learning_rate`` over the share ``warm_up``, another one down;
    momentum runs the other way. ``cosine``: up in a straight line over ``warm_up``, then half a cosine down to 0.
    """
    if settings.schedule == ONE_CYCLE:
        start, last = max(settings.warm_up * steps - 1, 0.0), steps - 1
        if step < start:
            shares, momenta, way = (START_SHARE, 1.0), (CALM_MOMENTUM, FAST_MOMENTUM), step / start
        else:
            shares, momenta = (1.0, END_SHARE), (FAST_MOMENTUM, CALM_MOMENTUM)
            way = (step - start) / (last - start) if last > start else 0.0
        return ScheduleValues(settings.learning_rate * _between(*shares, way), _between(*momenta, way))
    if settings.schedule == COSINE:
        warm = settings.warm_up * steps
        share = (step + 1) / (warm + 1) if step < warm else _between(1.0, 0.0, (step - warm) / (steps - warm))
        return ScheduleValues(settings.learning_rate * share, MOMENTUM)
    raise ValueError(f"unknown schedule {settings.schedule}")


def set_schedule(optimiser: torch.optim.Optimizer, values: ScheduleValues) -> None:
    """Give the optimiser's parameters this rate and momentum for its next step."""
    for group in optimiser.param_groups:
        group["lr"], group["betas"] = values.rate, (values.momentum, SQUARES_DECAY)


def _between(first: float, last: float, way: float) -> float:
    """Half a cosine from ``first`` (``way`` 0) to ``last`` (``way`` 1)."""
    return last + (first - last) * (1 + math.cos(math.pi * way)) / 2
