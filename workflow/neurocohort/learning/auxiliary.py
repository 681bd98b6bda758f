"""Auxiliary variables in the training: the last layer has one more output for each, with a loss of its own.

The criterion, the choice of the epoch and the predictions use the target's outputs alone. A finished training is split: the model
keeps the target's outputs, and run.json has the coefficients of the others, which apply to the network's features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch

from neurocohort.architectures import ARCHITECTURES
from neurocohort.dataset.auxiliary import PREFIX
from neurocohort.errors import InputError
from neurocohort.learning.mixup import Mix
from neurocohort.learning.tasks import Classification, Regression

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Auxiliary:
    """An auxiliary variable with its constants from the training part.

    Args:
        name: The variable.
        weight: Of its loss, relative to the target's.
        task: With one output: a standardised value, or the log odds of class 1.
        known: Number of training scans that have a value.
    """

    name: str
    weight: float
    task: Regression | Classification
    known: int


@dataclass(frozen=True)
class Head:
    """A trained output for an auxiliary variable, as run.json has it: a linear function of the network's features.

    Args:
        variable: Its name.
        kind: regression or classification.
        weight: Of its loss.
        known: Number of training scans that have a value.
        mean: The mean of the training part, of a regression.
        scale: The standard deviation of the training part, of a regression.
        coefficients: One for each feature.
        intercept: The constant.
    """

    variable: str
    kind: str
    weight: float
    known: int
    mean: float
    scale: float
    coefficients: list[float]
    intercept: float


def fit_auxiliaries(wanted: Mapping[str, float] | None, training: pd.DataFrame) -> tuple[Auxiliary, ...]:
    """The auxiliary variables of a training, with constants from its ``training`` rows that have a value.

    A variable that only has 0 and 1 is a classification. Raises InputError where one of the two is absent.
    """
    found = []
    for name, weight in (wanted or {}).items():
        values = training[f"{PREFIX}{name}"].dropna().to_numpy(np.float64)
        try:
            task = Classification.fitted(values, 2) if set(values) <= {0.0, 1.0} else Regression.fitted(values, False)
        except InputError as error:
            raise InputError(f"`auxiliary` names {name}, which can't be learned: {error}") from error
        found.append(Auxiliary(name, weight, task, len(values)))
    return tuple(found)


def auxiliary_targets(auxiliaries: Sequence[Auxiliary], samples: pd.DataFrame) -> torch.Tensor:
    """The values of ``samples``, (rows, variables) float32; NaN where there is none."""
    columns = [samples[f"{PREFIX}{one.name}"].to_numpy(np.float32) for one in auxiliaries]
    return torch.from_numpy(np.stack(columns, axis=1))


def auxiliary_loss(
    auxiliaries: Sequence[Auxiliary], outputs: torch.Tensor, targets: torch.Tensor, mix: Mix | None
) -> torch.Tensor:
    """The weighted sum of the variables' losses; scans without a value don't count.

    Args:
        auxiliaries: The variables.
        outputs: (N, variables).
        targets: (N, variables), NaN where there is no value.
        mix: Of mixup. The partner's value counts where it is known.
    """
    total = outputs.sum() * 0.0  # every output has a gradient, also where no scan of the batch has a value
    for column, one in enumerate(auxiliaries):
        losses = [_masked(one, outputs[:, column], targets[:, column])]
        if mix is not None:
            partner = targets[torch.from_numpy(mix.partner).to(targets.device), column]
            losses = [mix.weight * losses[0], (1 - mix.weight) * _masked(one, outputs[:, column], partner)]
        total = total + one.weight * torch.stack(losses).sum()
    return total


def _masked(one: Auxiliary, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The mean loss of the scans with a value; 0 without any."""
    known = targets.isfinite()
    filled = torch.where(known, targets, 0.0)
    count = known.sum()
    # The task's loss is a mean over its scans, so that each scan's own is asked for, with no loop over a GPU's values.
    each = torch.stack([one.task.loss(outputs[i : i + 1, None], filled[i : i + 1]) for i in range(len(outputs))])
    return torch.where(known, each, 0.0).sum() / count.clamp(min=1)


def split_weights(
    weights: Weights, architecture: str, outputs: int, auxiliaries: Sequence[Auxiliary]
) -> tuple[Weights, tuple[Head, ...]]:
    """The weights of the network with the target's outputs alone, and the heads of the auxiliary variables.

    Args:
        weights: Of the trained network.
        architecture: Its key of `ARCHITECTURES`.
        outputs: Number of the target's outputs, which come first.
        auxiliaries: The variables.
    """
    if not auxiliaries:
        return weights, ()
    layer = ARCHITECTURES[architecture].last_layer
    matrix, constant = (weights[f"{layer}.{name}"] for name in ("weight", "bias"))
    heads = []
    for row, one in enumerate(auxiliaries, start=outputs):
        task = asdict(one.task)
        mean, scale = task.get("mean", 0.0), task.get("scale", 1.0)
        about = (one.name, one.task.kind, one.weight, one.known, mean, scale)
        heads.append(Head(*about, coefficients=matrix[row].tolist(), intercept=float(constant[row])))
    own = {f"{layer}.weight": matrix[:outputs].clone(), f"{layer}.bias": constant[:outputs].clone()}
    return weights | own, tuple(heads)
