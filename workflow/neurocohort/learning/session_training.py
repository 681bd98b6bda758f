"""Train networks over the sessions of a participant, on the CPU with one thread, so that a repetition gives the same bits.

A training takes seconds to minutes and has no checkpoint: the job writes its files at the end, and one that was stopped starts
again and ends with the same files.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from neurocohort.dataset.folds import TRAIN, VALIDATION
from neurocohort.dataset.sessions import CLASSIFICATION, PERSON
from neurocohort.errors import InputError
from neurocohort.learning.session_networks import network_module
from neurocohort.settings.longitudinal import Longitudinal

GRADIENT_CLIP = 1.0  # norm; sequences of a few sessions may have steep gradients at their first steps
DECIMALS = 6


@dataclass(frozen=True)
class Sequences:
    """The sessions of participants, padded at the end.

    Args:
        values: Standardised inputs, (participants, sessions, columns) float32; 0 in the padding.
        years: Since the first session, (participants, sessions) float32; 0 in the padding.
        mask: Whether there is such a session, (participants, sessions) bool.
    """

    values: torch.Tensor
    years: torch.Tensor
    mask: torch.Tensor

    def of(self, rows: torch.Tensor) -> "Sequences":
        """The sequences of some participants, by their numbers."""
        return Sequences(self.values[rows], self.years[rows], self.mask[rows])


@dataclass(frozen=True)
class Scale:
    """What the target is standardised by: ``mean`` and ``spread`` of the training part; 0 and 1 for classes. ``positive_weight``:
    how often a participant of class 1 counts, so that the classes count equally."""

    mean: float
    spread: float
    positive_weight: float


@dataclass(frozen=True)
class SessionRun:
    """A trained network: its weights, its losses by epoch (epoch, train_loss, validation_loss, best), and its predictions for all
    participants, (participants,)."""

    weights: dict[str, torch.Tensor]
    history: pd.DataFrame
    predictions: np.ndarray


@dataclass(frozen=True)
class SessionNetworks:
    """All networks of an analysis.

    Args:
        predictions: By model, the mean over its seeds for all participants, (participants,).
        weights: Of all networks; the names begin with model and seed.
        history: model, seed, and the columns of `SessionRun`'s history.
    """

    predictions: dict[str, np.ndarray]
    weights: dict[str, torch.Tensor]
    history: pd.DataFrame


def train_session_networks(sequences: Sequences, last: pd.DataFrame, wanted: Longitudinal) -> SessionNetworks:
    """Train each model with each seed.

    Args:
        sequences: Of all participants.
        last: A row for each participant in the same order, with target and part.
        wanted: The settings.
    """
    target, parts = last["target"].to_numpy(dtype=float), last["part"].to_numpy()
    predictions: dict[str, np.ndarray] = {}
    weights: dict[str, torch.Tensor] = {}
    histories = []
    for model in wanted.models:
        runs = {seed: train_session_network(model, sequences, target, parts, wanted, seed) for seed in wanted.seeds}
        predictions[model] = np.mean([run.predictions for run in runs.values()], axis=0)
        for seed, run in runs.items():
            weights |= {f"{model}.seed-{seed}.{key}": value for key, value in run.weights.items()}
            own = run.history.copy()
            own.insert(0, "model", model)
            own.insert(1, "seed", seed)
            histories.append(own)
    return SessionNetworks(predictions, weights, pd.concat(histories, ignore_index=True))


def standardised(inputs: pd.DataFrame, parts: np.ndarray) -> np.ndarray:
    """The inputs by mean and standard deviation of the training part, (sessions, columns) float32; missing values become 0.

    Args:
        inputs: A row for each session.
        parts: The part of each session, (sessions,).
    """
    values = inputs.to_numpy(dtype=float)
    own = values[parts == TRAIN]
    spread = np.nanstd(own, axis=0)
    scaled = (values - np.nanmean(own, axis=0)) / np.where(spread > 0, spread, 1.0)
    return np.nan_to_num(scaled).astype(np.float32)


def to_sequences(sessions: pd.DataFrame, values: np.ndarray) -> Sequences:
    """The sequences of all participants, in the order in which they appear.

    Args:
        sessions: Ordered by participant and time, with years.
        values: `standardised`, (sessions, columns).
    """
    people = sessions.groupby(PERSON, sort=False)
    person, place = people.ngroup().to_numpy(), people.cumcount().to_numpy()
    shape = (people.ngroups, int(place.max()) + 1)
    padded, years = np.zeros((*shape, values.shape[1]), dtype=np.float32), np.zeros(shape, dtype=np.float32)
    mask = np.zeros(shape, dtype=bool)
    padded[person, place], years[person, place], mask[person, place] = values, sessions["years"], True
    return Sequences(torch.from_numpy(padded), torch.from_numpy(years), torch.from_numpy(mask))


def target_scale(target: np.ndarray, task: str) -> Scale:
    """The scale of the training participants' ``target``, (participants,)."""
    if task == CLASSIFICATION:
        return Scale(0.0, 1.0, float((target == 0).sum() / (target == 1).sum()))
    return Scale(float(target.mean()), float(target.std()), 1.0)


def train_session_network(
    name: str, sequences: Sequences, target: np.ndarray, parts: np.ndarray, wanted: Longitudinal, seed: int
) -> SessionRun:
    """Train one network on the training part; the epoch with the lowest loss on the validation part is used.

    Args:
        name: One of `SESSION_NETWORKS`.
        sequences: Of all participants.
        target: (participants,); of those held out it isn't used.
        parts: The part of each participant, (participants,).
        wanted: The settings.
        seed: Of the first weights, the order of the participants and the dropout.

    Raises:
        InputError: If no epoch has a finite loss.
    """
    torch.set_num_threads(1)
    training, validation = (torch.from_numpy(np.flatnonzero(parts == part)) for part in (TRAIN, VALIDATION))
    scale = target_scale(target[parts == TRAIN], wanted.task)
    known = torch.tensor((target - scale.mean) / scale.spread, dtype=torch.float32)
    loss_of = _loss(wanted.task, scale)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = network_module(name).SessionNetwork(
            sequences.values.shape[-1], wanted.width, wanted.layers, wanted.dropout
        )
        optimiser = torch.optim.AdamW(network.parameters(), lr=wanted.learning_rate, weight_decay=wanted.weight_decay)
        best, least, rows = None, float("inf"), []
        for epoch in range(1, wanted.epochs + 1):
            network.train()
            total = 0.0
            for batch in _batches(training, wanted.batch_size):
                optimiser.zero_grad()
                loss = loss_of(_applied(network, sequences.of(batch)), known[batch])
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_CLIP)
                optimiser.step()
                total += loss.item() * len(batch)
            network.eval()
            with torch.inference_mode():
                found = loss_of(_applied(network, sequences.of(validation)), known[validation]).item()
            better = found < least
            if better:
                best, least = copy.deepcopy(network.state_dict()), found
            rows.append((epoch, round(total / len(training), DECIMALS), round(found, DECIMALS), int(better)))
    if best is None:
        raise InputError(
            f"no epoch of the {name} with seed {seed} has a finite validation loss; expected one. Use a smaller `learning_rate`."
        )
    network.load_state_dict(best)
    history = pd.DataFrame(rows, columns=["epoch", "train_loss", "validation_loss", "best"])
    return SessionRun(best, history, _predictions(network, sequences, wanted.task, scale))


def _predictions(network: nn.Module, sequences: Sequences, task: str, scale: Scale) -> np.ndarray:
    """Probabilities of class 1, or values on the target's own scale, (participants,)."""
    network.eval()
    with torch.inference_mode():
        found = _applied(network, sequences)
    if task == CLASSIFICATION:
        return found.sigmoid().double().numpy()
    return found.double().numpy() * scale.spread + scale.mean


def _applied(network: nn.Module, sequences: Sequences) -> torch.Tensor:
    found: torch.Tensor = network(sequences.values, sequences.years, sequences.mask)
    return found


def _batches(rows: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
    """The rows in a random order, in batches."""
    yield from rows[torch.randperm(len(rows))].split(size)


def _loss(task: str, scale: Scale) -> nn.Module:
    if task == CLASSIFICATION:
        return nn.BCEWithLogitsLoss(pos_weight=torch.tensor(scale.positive_weight))
    return nn.MSELoss()
