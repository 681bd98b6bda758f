"""How important the regions of an atlas are: what hiding them changes, with intervals, beside networks that learned nothing.

The *change* of a region is the mean absolute change of the prediction over scans; its *share* is its part of the sum over all
regions. Shares make networks comparable whose predictions vary by different amounts. A large region has a large share in a
random network too, so that the difference of the shares is not due to size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from neurocohort.evaluation.intervals import Bootstrap, drawn_weights, percentile_band, simultaneous_band
from neurocohort.evaluation.measures import CLASSIFICATION, SMALLEST_GROUP
from neurocohort.evaluation.rows import NAN, RegionRow, table_of

LEAST_PROBABILITY = 1e-6  # in a logarithmic loss
FEWEST_REGIONS = 3  # that are ranked
NOT_EVALUATED = "Not evaluated: fewer than {} voxels on the study's grid."
TOO_FEW_PEOPLE = "Fewer than three participants: no intervals."


@dataclass(frozen=True)
class Region:
    """A region on the study's grid; ``evaluated``: whether it was hidden."""

    number: int
    name: str
    voxels: int
    volume_ml: float
    evaluated: bool


@dataclass(frozen=True)
class Hidden:
    """What a network predicts, NaN for scans that it doesn't test.

    Attributes:
        plain: (scans, values): one value of a regression, or the probabilities of the classes.
        hidden: (scans, regions, values): the same with each evaluated region hidden.
    """

    plain: np.ndarray
    hidden: np.ndarray

    @property
    def changes(self) -> np.ndarray:
        """(scans, regions): absolute change of a value; of probabilities half the sum over the classes, 0 to 1."""
        difference = np.abs(self.hidden - self.plain[:, None])
        return difference[..., 0] if difference.shape[-1] == 1 else difference.sum(axis=-1) / 2


@dataclass(frozen=True)
class Networks:
    """The networks of an experiment by name: its own, those with random weights, and those trained on permuted targets."""

    trained: Mapping[str, Hidden]
    random: Mapping[str, Hidden]
    permuted: Mapping[str, Hidden]


@dataclass(frozen=True)
class Agreement:
    """The mean rank correlation of the regions' shares over ``pairs`` of networks; None where it isn't defined."""

    value: float | None
    low: float | None
    high: float | None
    pairs: int


@dataclass(frozen=True)
class Importance:
    """The table of regions; how well the networks agree with each other, and their mean with that of the random ones."""

    table: pd.DataFrame
    members: Agreement
    random: Agreement


@dataclass(frozen=True)
class _Draws:
    """Values of each resample of participants, the first axis; see `_draws`."""

    change: np.ndarray
    error: np.ndarray
    share: np.ndarray
    random: np.ndarray
    permuted: np.ndarray
    members: np.ndarray
    with_random: np.ndarray


def importance(
    networks: Networks, scans: pd.DataFrame, regions: list[Region], task: str, bootstrap: Bootstrap, min_voxels: int
) -> Importance:
    """The importance of regions with 95 % intervals from resampling participants, and of the random networks with them.

    Intervals of the change of the error and of the differences to other networks hold for all regions together
    (`simultaneous_band`); the others are pointwise.

    Args:
        networks: What they predict.
        scans: participant_id and target of each scan.
        regions: All regions of the atlas; the answers are of the evaluated ones, in their order.
        task: ``regression`` or ``classification``.
        bootstrap: Number of resamples and seed.
        min_voxels: Of an evaluated region.
    """
    people = scans["participant_id"].to_numpy()
    target = scans["target"].to_numpy(dtype=float)
    whole = _values(networks, np.ones((1, len(people))), target, task, None)
    count = len(np.unique(people))
    if count < SMALLEST_GROUP:
        rows = _rows(regions, whole, None, count, min_voxels)
        none = Agreement(None, None, None, 0)
        return Importance(table_of(rows, RegionRow), none, none)
    generator = np.random.default_rng(bootstrap.seed)
    parts = [_values(networks, weights, target, task, generator) for weights in drawn_weights(people, bootstrap)]
    drawn = _Draws(*(np.concatenate([getattr(one, name) for one in parts]) for name in vars(whole)))
    rows = _rows(regions, whole, drawn, count, min_voxels)
    pairs = len(networks.trained) * (len(networks.trained) - 1) // 2
    return Importance(
        table_of(rows, RegionRow),
        _agreement(whole.members, drawn.members, count, pairs),
        _agreement(whole.with_random, drawn.with_random, count, 1),
    )


def _values(
    networks: Networks, weights: np.ndarray, target: np.ndarray, task: str, generator: np.random.Generator | None
) -> _Draws:
    """The values of each draw of ``weights`` (draws, scans). With a ``generator``, random networks are resampled too."""
    mean = _mean(networks.trained)
    error = _errors(mean.hidden, target[:, None], task) - _errors(mean.plain, target, task)[:, None]
    change = _weighted(mean.changes, weights)
    share = _shares(change)
    random = np.stack([_shares(_weighted(one.changes, weights)) for one in networks.random.values()])
    if generator is None:
        of_random = random.mean(axis=0)
    else:
        chosen = generator.integers(0, len(random), (len(random), len(weights)))
        of_random = random[chosen, np.arange(len(weights))].mean(axis=0)
    nothing = np.full(share.shape, NAN)
    permuted = nothing
    if networks.permuted:
        permuted = np.mean([_shares(_weighted(one.changes, weights)) for one in networks.permuted.values()], axis=0)
    ranks = [_ranks(_shares(_weighted(one.changes, weights))) for one in networks.trained.values()]
    correlations = [_correlation(first, second) for first, second in combinations(ranks, 2)]
    members = np.mean(correlations, axis=0) if correlations else np.full(len(weights), NAN)
    with_random = _correlation(_ranks(share), _ranks(of_random))
    return _Draws(change, _weighted(error, weights), share, of_random, permuted, members, with_random)


def _rows(regions: list[Region], whole: _Draws, drawn: _Draws | None, people: int, min_voxels: int) -> list[RegionRow]:
    columns = {"change": whole.change[0], "error_change": whole.error[0], "share": whole.share[0]}
    columns |= {"random_share": whole.random[0], "permuted_share": whole.permuted[0]}
    columns["minus_random"] = whole.share[0] - whole.random[0]
    columns["minus_permuted"] = whole.share[0] - whole.permuted[0]
    if drawn is not None:
        for name, values in (("change", drawn.change), ("share", drawn.share), ("random", drawn.random)):
            columns[f"{name}_low"], columns[f"{name}_high"] = percentile_band(values, people)
        together = {"error_change": drawn.error, "minus_random": drawn.share - drawn.random}
        if np.isfinite(whole.permuted).all():
            together["minus_permuted"] = drawn.share - drawn.permuted
        for name, values in together.items():
            columns[f"{name}_low"], columns[f"{name}_high"] = simultaneous_band(values, columns[name], people)
    places = iter(range(len(whole.change[0])))
    rows = []
    for region in regions:
        about = (region.number, region.name, region.voxels, region.volume_ml)
        if not region.evaluated:
            rows.append(RegionRow(*about, note=NOT_EVALUATED.format(min_voxels)))
            continue
        place = next(places)
        own: dict[str, Any] = {name: float(values[place]) for name, values in columns.items()}
        per_ml = own["change"] / region.volume_ml
        note = "" if drawn is not None else TOO_FEW_PEOPLE
        rows.append(RegionRow(*about, **own, change_per_ml=per_ml, n=people, note=note))
    return rows


def _mean(networks: Mapping[str, Hidden]) -> Hidden:
    """The mean over the networks that test a scan."""
    plain, hidden = (np.stack([getattr(one, name) for one in networks.values()]) for name in ("plain", "hidden"))
    return Hidden(np.nanmean(plain, axis=0), np.nanmean(hidden, axis=0))


def _errors(values: np.ndarray, target: np.ndarray, task: str) -> np.ndarray:
    """The absolute error of values (..., 1), or the logarithmic loss of probabilities (..., classes): (...)."""
    if task != CLASSIFICATION:
        return np.abs(values[..., 0] - target)
    wanted = np.broadcast_to(target.astype(int), values.shape[:-1])
    probability = np.take_along_axis(values, wanted[..., None], axis=-1)[..., 0]
    return -np.log(np.clip(probability, LEAST_PROBABILITY, 1.0))


def _weighted(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean of ``values`` (scans, regions) in each draw of ``weights`` (draws, scans) over the scans that aren't NaN."""
    tested = np.isfinite(values).all(axis=1)
    total = weights[:, tested].sum(axis=1, keepdims=True)
    sums = weights[:, tested] @ values[tested]
    return np.divide(sums, total, out=np.zeros_like(sums), where=total > 0)


def _shares(changes: np.ndarray) -> np.ndarray:
    """The part of each region, (draws, regions), in the sum over the regions; equal parts where nothing changes."""
    total = changes.sum(axis=1, keepdims=True)
    return np.divide(changes, total, out=np.full_like(changes, 1 / changes.shape[1]), where=total > 0)


def _ranks(values: np.ndarray) -> np.ndarray:
    return stats.rankdata(values, axis=1)


def _correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The correlation of each row of two arrays of ranks, (draws,); NaN where all ranks are equal or there are few regions."""
    if first.shape[1] < FEWEST_REGIONS:
        return np.full(len(first), NAN)
    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (first, second))
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.divide((a * b).sum(axis=1), scale, out=np.full(len(a), NAN), where=scale > 0)


def _agreement(value: np.ndarray, drawn: np.ndarray, people: int, pairs: int) -> Agreement:
    if not np.isfinite(value[0]):
        return Agreement(None, None, None, 0)
    low, high = percentile_band(drawn[:, None], people)
    rounded = [round(float(one), 4) for one in (value[0], low[0], high[0])]
    return Agreement(rounded[0], rounded[1], rounded[2], pairs)
