"""The draws of a sweep, and the rounds of one whose later draws follow from its earlier ones. Imports stay light."""

import itertools
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neurocohort.settings.sweeps import HALVING, INDEPENDENT

DRAW = "sweep/draw-{:02d}"
SUGGESTION = "sweep/{}round-{}.json"  # test fold, number


@dataclass(frozen=True)
class DrawRound:
    """Draws that are trained at the same time.

    Attributes:
        number: 1, 2, ...
        draws: Their folders, such as ``sweep/draw-01``.
        shorter: How many times fewer epochs they have than the experiment.
    """

    number: int
    draws: tuple[str, ...]
    shorter: int = 1


def draws_of(sweep: dict | None) -> dict[str, dict[str, Any]]:
    """The values of a sweep's keys, such as {"training.learning_rate": 0.003}, by draw (``sweep/draw-01``).

    Those of a sweep in rounds are known only when the earlier rounds are trained, and are empty here (see `suggestion`).
    """
    if not sweep:
        return {}
    return {draw: {} for one in rounds_of(sweep) for draw in one.draws} or independent_draws(sweep)


def independent_draws(sweep: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The values of draws that don't depend on each other: all of a sweep, or those of the first round of successive halving.

    Without ``draws``, these are all combinations of the listed values. Otherwise ``draws`` random ones: each value is one of a
    list, or a number of a range, on a logarithmic scale if the range has ``log``.
    """
    return {
        DRAW.format(number): dict(zip(sweep["values"], values, strict=True))
        for number, values in enumerate(_combinations(sweep), start=1)
    }


def rounds_of(sweep: dict | None) -> list[DrawRound]:
    """The rounds of a sweep, in their order; none where no draw depends on another one.

    Successive halving: each round has the best draws of the one before (as many as ``reduction`` goes into them, rounded up) with
    ``reduction`` times the epochs, until a single one is left (Jamieson and Talwalkar 2016). Bayesian: ``at_once`` draws each.
    """
    if not sweep or sweep.get("method", INDEPENDENT) == INDEPENDENT:
        return []
    if sweep["method"] == HALVING:
        sizes = [len(_combinations(sweep))]
        while sizes[-1] > 1:
            sizes.append(math.ceil(sizes[-1] / sweep["reduction"]))
        shorter = [sweep["reduction"] ** power for power in reversed(range(len(sizes)))]
    else:
        whole, rest = divmod(sweep["draws"], sweep["at_once"])
        sizes = [sweep["at_once"]] * whole + ([rest] if rest else [])
        shorter = [1] * len(sizes)
    names = (DRAW.format(number) for number in itertools.count(1))
    return [
        DrawRound(number, tuple(itertools.islice(names, size)), times)
        for number, (size, times) in enumerate(zip(sizes, shorter, strict=True), start=1)
    ]


def final_draws(sweep: dict) -> list[str]:
    """The draws that a sweep chooses from: with successive halving those with all epochs, otherwise all."""
    return [draw for one in rounds_of(sweep) if one.shorter == 1 for draw in one.draws] or list(draws_of(sweep))


def suggestion(number: int, test_fold: str = "") -> str:
    """Where the values of a round's draws lie in the experiment's folder; ``test_fold``: such as ``test-1``, or empty."""
    return SUGGESTION.format(f"{test_fold}_" if test_fold else "", number)


def _combinations(sweep: Mapping[str, Any]) -> list[tuple]:
    if not sweep["draws"]:
        return list(itertools.product(*sweep["values"].values()))
    generator = random.Random(sweep["seed"])
    return [tuple(_drawn(values, generator) for values in sweep["values"].values()) for _ in range(sweep["draws"])]


def _drawn(values: list | dict, generator: random.Random) -> Any:
    if isinstance(values, list):
        return generator.choice(values)
    low, high = values["low"], values["high"]
    if values.get("log"):
        number = math.exp(generator.uniform(math.log(low), math.log(high)))
    else:
        number = generator.uniform(low, high)
    return as_written(number)


def as_written(number: float) -> float:
    """A drawn number as a person would write it, with four digits."""
    return float(f"{number:.4g}")
