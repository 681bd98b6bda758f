"""generation.tsv: what a network learns from generated images, whether they are copies of training scans, and how far their
distribution is from that of the held-out scans.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import rbf_kernel

from neurocohort.evaluation.comparisons import difference, paired
from neurocohort.evaluation.intervals import Bootstrap, participant_interval, wilson_interval
from neurocohort.evaluation.measures import REGRESSION, SMALLEST_GROUP, estimate, measures, too_few
from neurocohort.evaluation.metrics import HIGHER_IS_BETTER
from neurocohort.evaluation.rows import NAN, Estimate, GenerationRow, table_of

USE, COPIES, DISTRIBUTION = "train on generated, test on scans", "copies", "distribution"
GENERATED, TRAINING, HELD_OUT = "generated images", "training scans", "held-out scans"
DISTANCE, NEARER, NEAR_COPIES, MMD = "nearest_distance", "nearer_than_scans", "near_copies", "mmd2"
MOST_BLOCKS = 24  # along the longest side: images are compared as means over blocks of voxels
PERCENT = 5  # of the training scans are nearer to the next participant's scan than the limit


@dataclass(frozen=True)
class Images:
    """Images as ``values`` (N, blocks) float32 (`block_means`), and the person of each, (N,)."""

    values: np.ndarray
    people: np.ndarray


@dataclass(frozen=True)
class Nearest:
    """Of each image: its ``distance`` to the nearest of other people's scans, and the ``ratio`` of it to that
    of the second-nearest person."""

    distance: np.ndarray
    ratio: np.ndarray


def block_means(images: np.ndarray) -> np.ndarray:
    """The means over cubes of voxels, at most 24 along the longest side, of images (N, C, X, Y, Z): (N, blocks) float32."""
    edge = math.ceil(max(images.shape[2:]) / MOST_BLOCKS)
    x, y, z = (side // edge for side in images.shape[2:])
    cut = images[:, :, : x * edge, : y * edge, : z * edge].astype(np.float32)
    blocks = cut.reshape(*images.shape[:2], x, edge, y, edge, z, edge).mean(axis=(3, 5, 7))
    return blocks.reshape(len(images), math.prod(blocks.shape[1:]))


def generation_table(
    predictions: tuple[pd.DataFrame, pd.DataFrame],
    generated: Images,
    training: Images,
    held_out: Images,
    bootstrap: Bootstrap,
) -> pd.DataFrame:
    """generation.tsv: question, model, metric, value, ci_low, ci_high, interval, n, and the difference to the scans.

    Args:
        predictions: Of the held-out scans, by the network that learned from generated images and by the one that learned from
            scans: cohort, scan_id, participant_id, target, prediction.
        generated: The generated images; each is a person of its own.
        training: The scans that the generative model learned from.
        held_out: The held-out scans.
        bootstrap: Number of resamples of held-out participants, and seed.
    """
    rows = [
        *_use(*predictions, bootstrap),
        *_copies(generated, training, held_out),
        *_distribution(generated, training, held_out, bootstrap),
    ]
    return table_of(rows, GenerationRow)


def nearest(images: Images, training: Images) -> Nearest:
    """The nearest training scans of each of ``images``; a person's own scans don't count.

    Distances are root mean squares over the blocks, in levels from 0 to 255.
    """
    distances = cdist(images.values, training.values) / math.sqrt(images.values.shape[1])
    distances[images.people[:, None] == training.people[None]] = np.inf
    names, numbers = np.unique(training.people, return_inverse=True)
    of_people = np.stack([distances[:, numbers == number].min(axis=1) for number in range(len(names))], axis=1)
    first, second = np.sort(of_people, axis=1)[:, :2].T
    return Nearest(first, first / np.maximum(second, np.finfo(float).tiny))


def _use(generated: pd.DataFrame, scans: pd.DataFrame, bootstrap: Bootstrap) -> list[GenerationRow]:
    """The network that learned from generated images next to the one that learned from scans, on the same held-out scans."""
    first, second = paired(generated, scans, ["cohort", "scan_id"])
    if too_few(first):
        return []
    ours, theirs = (measures(table, REGRESSION) for table in (first, second))
    rows = []
    for name, measure in ours.items():
        value, limits = NAN, (NAN, NAN)
        if name in HIGHER_IS_BETTER:
            value, interval = difference(measure, theirs[name], bootstrap)
            limits = interval.low, interval.high
        rows.append(GenerationRow(USE, GENERATED, estimate(name, measure, bootstrap), value, *limits))
    return rows + [GenerationRow(USE, TRAINING, estimate(name, one, bootstrap)) for name, one in theirs.items()]


def _copies(generated: Images, training: Images, held_out: Images) -> list[GenerationRow]:
    """How near generated images and held-out scans are to training scans, with training scans of other people as the measure.

    A smooth image is near to all scans. So a near copy is nearer than 95 % of the scans are, and also much nearer to one person
    than to the second: its ratio of the two distances is below that of 95 % of the scans.
    """
    if len(np.unique(training.people)) < SMALLEST_GROUP:
        return [
            GenerationRow(
                COPIES, GENERATED, Estimate(NEAR_COPIES, NAN), note="There are fewer than three training participants."
            )
        ]
    among = nearest(training, training)
    limit, ratio = np.percentile(among.distance, PERCENT), np.percentile(among.ratio, PERCENT)
    rows = [GenerationRow(COPIES, TRAINING, Estimate(DISTANCE, float(among.distance.mean()), n=len(among.distance)))]
    for name, images in ((GENERATED, generated), (HELD_OUT, held_out)):
        if not len(images.values):
            continue
        own = nearest(images, training)
        rows.append(GenerationRow(COPIES, name, Estimate(DISTANCE, float(own.distance.mean()), n=len(own.distance))))
        near = own.distance < limit
        for metric, chosen in ((NEARER, near), (NEAR_COPIES, near & (own.ratio < ratio))):
            share, count = float(chosen.mean()), len(chosen)
            found = Estimate(metric, share, *wilson_interval(share, count), "wilson", count)
            rows.append(GenerationRow(COPIES, name, found))
    return rows


def _distribution(generated: Images, training: Images, held_out: Images, bootstrap: Bootstrap) -> list[GenerationRow]:
    """The squared maximum mean discrepancy to the held-out scans (Gretton et al. 2012), unbiased, of both, with paired intervals.

    MONAI's MMDMetric isn't used: it takes equally many images on both sides, has no weights, which the bootstrap of participants
    needs, and compares means only (a linear kernel). This kernel is Gaussian, with the median distance between training scans as
    its width.
    """
    people = len(np.unique(held_out.people))
    if people < SMALLEST_GROUP or min(len(np.unique(one.people)) for one in (generated, training)) < SMALLEST_GROUP:
        return []
    between = cdist(training.values, training.values)
    width = np.median(between[training.people[:, None] != training.people[None]])
    gamma = 1 / (2 * max(width, np.finfo(np.float32).eps) ** 2)
    others = (held_out.people[:, None] != held_out.people[None]) * rbf_kernel(held_out.values, gamma=gamma)
    apart = (held_out.people[:, None] != held_out.people[None]).astype(float)

    def discrepancy(images: Images, weights: np.ndarray) -> np.ndarray:
        """Of each draw of ``weights`` (draws, held-out rows); pairs of one person don't count, also where it is drawn twice."""
        weights = np.atleast_2d(weights).astype(float)
        own = rbf_kernel(images.values, gamma=gamma)[images.people[:, None] != images.people[None]].mean()
        across = rbf_kernel(images.values, held_out.values, gamma=gamma).mean(axis=0)
        pairs = np.einsum("dr,rs,ds->d", weights, apart, weights)
        inside = np.einsum("dr,rs,ds->d", weights, others, weights) / np.where(pairs > 0, pairs, np.nan)
        return own + inside - 2 * (weights @ across) / weights.sum(axis=1)

    def of(images: Images) -> Callable[[np.ndarray], np.ndarray]:
        return lambda weights: discrepancy(images, weights)

    def gap(weights: np.ndarray) -> np.ndarray:
        return discrepancy(generated, weights) - discrepancy(training, weights)

    rows, once = [], np.ones(len(held_out.people))
    for name, images in ((GENERATED, generated), (TRAINING, training)):
        limits = participant_interval(of(images), held_out.people, bootstrap)
        found = Estimate(MMD, float(discrepancy(images, once)[0]), *limits, people)
        if name == GENERATED:
            low, high, _ = participant_interval(gap, held_out.people, bootstrap)
            rows.append(GenerationRow(DISTRIBUTION, name, found, float(gap(once)[0]), low, high))
        else:
            rows.append(GenerationRow(DISTRIBUTION, name, found))
    return rows
