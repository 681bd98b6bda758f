"""counterfactual.tsv: what a network and its generative model share about a changed target, next to random weights.

A *change* is always the difference of an image with a changed target to the reconstruction of the same scan with its own target,
so that the errors of the reconstruction cancel out.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from neurocohort.evaluation.generation import Images
from neurocohort.evaluation.intervals import (
    Bootstrap,
    Interval,
    drawn_weights,
    participant_interval,
    percentile_band,
    wilson_interval,
)
from neurocohort.evaluation.measures import SMALLEST_GROUP
from neurocohort.evaluation.rows import Estimate, GenerationRow, table_of

ASKED, PREDICTION, IMAGE, BRAIN = "asked", "prediction", "image", "brain"
TRAINED, RANDOM_NETWORKS, RANDOM_MODELS = "trained", "random networks", "random generative models"
RECONSTRUCTION, CHANGED, MEAN_IMAGE = "reconstruction", "changed image", "mean of training scans"
REACHED = "as_often_as_trained"
SCANS, ASKED_CHANGE, LEFT_OUT = "changed_scans", "asked_change", "directions_left_out"
PER_UNIT, DIRECTION, STEADINESS = "change_per_unit", "in_direction", "steadiness"
IMAGE_CHANGE, VOXEL_ERROR, SHIFT, IDENTIFIED = "image_change", "voxel_error", "prediction_shift", "identified"
TOO_FEW = (
    "There are fewer than three participants whose target can be changed inside the range of the training targets."
)

Weighted = Callable[[np.ndarray], np.ndarray]  # weights (draws, rows) to values (draws,)


@dataclass(frozen=True)
class Pairs:
    """The pairs of a scan and a direction.

    Attributes:
        people: The person of each pair, (pairs,).
        asked: The change of the target that was asked for, (pairs,).
        predicted: That of the trained network's prediction, (pairs,).
        of_random_networks: The same of networks with random weights, (networks, pairs).
        of_random_models: That of the trained network for images of random generative models, (models, pairs).
        voxels: Mean absolute change of a voxel inside the brain, (pairs,), in levels.
        random_voxels: The same for random generative models, (models, pairs).
        identified: Whether the nearest scan is one of the same person, (pairs,).
    """

    people: np.ndarray
    asked: np.ndarray
    predicted: np.ndarray
    of_random_networks: np.ndarray
    of_random_models: np.ndarray
    voxels: np.ndarray
    random_voxels: np.ndarray
    identified: np.ndarray


@dataclass(frozen=True)
class Reconstructed:
    """The scans with their own target, through the generative model and back.

    Attributes:
        people: The person of each scan, (scans,).
        error: Mean absolute error of a voxel inside the brain, (scans,), in levels.
        error_of_mean: The same of the mean image of the training scans.
        shift: Absolute difference of the trained network's predictions for reconstruction and scan.
        identified: Whether the nearest scan is one of the same person.
    """

    people: np.ndarray
    error: np.ndarray
    error_of_mean: np.ndarray
    shift: np.ndarray
    identified: np.ndarray


@dataclass(frozen=True)
class Asked:
    """The ``change`` that was asked for, in the target's unit, and the number of directions ``left_out``, since they end outside
    the range of the training targets."""

    change: float
    left_out: int


def counterfactual_table(pairs: Pairs, scans: Reconstructed, asked: Asked, bootstrap: Bootstrap) -> pd.DataFrame:
    """counterfactual.tsv: question, model, metric, value, ci_low, ci_high, interval, n; in the rows of random weights the
    difference of the trained ones to them, and in that of the reconstruction its difference to the mean image.

    ``in_direction`` is the fraction of pairs whose prediction moved in the asked direction. ``steadiness`` is the correlation of
    the asked and the predicted changes through the origin: 1 if predictions move by the same amount in the asked direction
    each time. The sign of a random network means nothing, so for random weights it is the absolute value. One generative model
    and one network agree in sign by chance half of the time, whatever the number of participants: ``as_often_as_trained`` is the
    fraction of random weights with at least the ``in_direction`` of the trained ones; its n counts those.
    """
    people, count = len(np.unique(scans.people)), len(np.unique(pairs.people))
    few = TOO_FEW if count < SMALLEST_GROUP else ""
    rows = [
        GenerationRow(ASKED, TRAINED, Estimate(name, float(value), n=people), note=few)
        for name, value in ((SCANS, len(scans.people)), (ASKED_CHANGE, asked.change), (LEFT_OUT, asked.left_out))
    ]
    if people >= SMALLEST_GROUP:
        rows += _reconstructions(scans, bootstrap)
    if not few:
        rows += [*_predictions(pairs, bootstrap), *_images(pairs, bootstrap)]
        rows.append(GenerationRow(BRAIN, CHANGED, _fraction(IDENTIFIED, pairs.identified, pairs.people, bootstrap)))
    return table_of(rows, GenerationRow)


def identified(images: Images, scans: Images) -> np.ndarray:
    """Whether the nearest of ``scans``, by block means, is one of the same person, (images,) bool."""
    return scans.people[cdist(images.values, scans.values).argmin(axis=1)] == images.people


def moved_as_asked(asked: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Whether predictions (..., pairs) moved in the asked direction; those that didn't move at all did not."""
    return np.sign(predicted) == np.sign(asked)


def steadiness(asked: np.ndarray, predicted: np.ndarray) -> Weighted:
    """The correlation through the origin of the changes (pairs,) as a function of weights; 0 where nothing moves."""

    def of(weights: np.ndarray) -> np.ndarray:
        scale = np.sqrt((weights @ asked**2) * (weights @ predicted**2))
        return np.divide(weights @ (asked * predicted), scale, out=np.zeros(len(weights)), where=scale > 0)

    return of


def _predictions(pairs: Pairs, bootstrap: Bootstrap) -> list[GenerationRow]:
    """How the trained network's predictions move, and next to it random networks and random generative models."""
    moved, steady = moved_as_asked(pairs.asked, pairs.predicted), steadiness(pairs.asked, pairs.predicted)
    own = {
        PER_UNIT: _estimate(PER_UNIT, _mean(pairs.predicted / pairs.asked), pairs.people, bootstrap),
        DIRECTION: _fraction(DIRECTION, moved, pairs.people, bootstrap),
        STEADINESS: _estimate(STEADINESS, steady, pairs.people, bootstrap),
    }
    rows = [GenerationRow(PREDICTION, TRAINED, one) for one in own.values()]
    for model, changes in ((RANDOM_NETWORKS, pairs.of_random_networks), (RANDOM_MODELS, pairs.of_random_models)):
        right: list[Weighted] = [_mean(moved_as_asked(pairs.asked, one)) for one in changes]
        absolute: list[Weighted] = [_absolute(steadiness(pairs.asked, one)) for one in changes]
        for name, trained, random in ((DIRECTION, _mean(moved), right), (STEADINESS, steady, absolute)):
            rows.append(_next_to_random(PREDICTION, model, name, (trained, random), pairs.people, bootstrap))
        reached = float(np.mean([moved_as_asked(pairs.asked, one).mean() >= moved.mean() for one in changes]))
        limits = wilson_interval(reached, len(changes))
        rows.append(GenerationRow(PREDICTION, model, Estimate(REACHED, reached, *limits, "wilson", len(changes))))
    return rows


def _images(pairs: Pairs, bootstrap: Bootstrap) -> list[GenerationRow]:
    """How much the images change, with the trained and with random diffusion weights."""
    trained, random = _mean(pairs.voxels), [_mean(one) for one in pairs.random_voxels]
    own = _estimate(IMAGE_CHANGE, trained, pairs.people, bootstrap)
    beside = _next_to_random(IMAGE, RANDOM_MODELS, IMAGE_CHANGE, (trained, random), pairs.people, bootstrap)
    return [GenerationRow(IMAGE, TRAINED, own), beside]


def _reconstructions(scans: Reconstructed, bootstrap: Bootstrap) -> list[GenerationRow]:
    """Whether the reconstruction is of the same brain."""
    people = scans.people
    found, other = (_estimate(VOXEL_ERROR, _mean(one), people, bootstrap) for one in (scans.error, scans.error_of_mean))
    gap = _mean(scans.error - scans.error_of_mean)
    low, high, _ = participant_interval(gap, people, bootstrap)
    rows = [
        GenerationRow(BRAIN, RECONSTRUCTION, found, _once(gap, people), low, high),
        GenerationRow(BRAIN, MEAN_IMAGE, other),
        GenerationRow(BRAIN, RECONSTRUCTION, _estimate(SHIFT, _mean(scans.shift), people, bootstrap)),
    ]
    return [*rows, GenerationRow(BRAIN, RECONSTRUCTION, _fraction(IDENTIFIED, scans.identified, people, bootstrap))]


def _next_to_random(
    question: str,
    model: str,
    name: str,
    both: tuple[Weighted, list[Weighted]],
    people: np.ndarray,
    bootstrap: Bootstrap,
) -> GenerationRow:
    """The mean of a measure over random weights, and that of the trained ones minus it.

    In each resample of participants, as many random weights are drawn with replacement as there are, so that both vary.
    """
    trained, random = both
    generator, draws = np.random.default_rng(bootstrap.seed), []
    for weights in drawn_weights(people, bootstrap):
        values = np.stack([one(weights) for one in random])
        chosen = generator.integers(0, len(random), values.shape)
        of_random = np.take_along_axis(values, chosen, axis=0).mean(axis=0)
        draws.append(np.stack([of_random, trained(weights) - of_random], axis=1))
    count = len(np.unique(people))
    (low, gap_low), (high, gap_high) = percentile_band(np.concatenate(draws), count)
    value = float(np.mean([_once(one, people) for one in random]))
    found = Estimate(name, value, float(low), float(high), "percentile", count)
    return GenerationRow(question, model, found, _once(trained, people) - value, float(gap_low), float(gap_high))


def _fraction(name: str, chosen: np.ndarray, people: np.ndarray, bootstrap: Bootstrap) -> Estimate:
    """The fraction of rows. Where all or none are, resampling has nothing to vary: Wilson's interval for so many people."""
    count, value = len(np.unique(people)), float(chosen.mean())
    if value in (0.0, 1.0):
        return Estimate(name, value, *wilson_interval(value, count), "wilson", count)
    return _estimate(name, _mean(chosen), people, bootstrap)


def _estimate(name: str, statistic: Weighted, people: np.ndarray, bootstrap: Bootstrap) -> Estimate:
    interval: Interval = participant_interval(statistic, people, bootstrap)
    return Estimate(name, _once(statistic, people), *interval, len(np.unique(people)))


def _once(statistic: Weighted, people: np.ndarray) -> float:
    """The value with each row once."""
    return float(statistic(np.ones((1, len(people))))[0])


def _mean(values: np.ndarray) -> Weighted:
    return lambda weights: weights @ values.astype(float) / weights.sum(axis=1)


def _absolute(statistic: Weighted) -> Weighted:
    return lambda weights: np.abs(statistic(weights))
