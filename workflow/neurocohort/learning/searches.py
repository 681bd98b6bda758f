"""Sweeps in rounds: the values of a round's draws, from the criterion of the draws before them.

A round is a function of its sweep and of the earlier rounds alone, so that a repeated or resumed run finds the same draws.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neurocohort.errors import InputError
from neurocohort.learning.draws import as_written, independent_draws, rounds_of
from neurocohort.settings.sweeps import HALVING

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

RANDOM_SHARE = 3  # one of so many draws of a Bayesian sweep is random, and at least the first round


@dataclass(frozen=True)
class Tried:
    """A draw whose networks are trained: its values by key, and the mean of their criterion (NaN where one left no model)."""

    draw: str
    values: Mapping[str, Any]
    criterion: float


def suggest(sweep: Mapping[str, Any], number: int, tried: Sequence[Sequence[Tried]]) -> dict[str, dict[str, Any]]:
    """The values of the draws of a round, by draw.

    Args:
        sweep: The keys of the sweep.
        number: Of the round; 1 is the first.
        tried: The earlier rounds, with their draws in order.

    Raises:
        InputError: No draw of the earlier rounds has a finite criterion.
    """
    own = rounds_of(dict(sweep))[number - 1]
    earlier = [one for each in tried for one in each]
    if earlier and not any(math.isfinite(one.criterion) for one in earlier):
        raise InputError(
            f"none of the {len(earlier)} draws of the sweep ended with a finite criterion; expected at least one. Smaller "
            "learning rates under `sweep.values` usually help."
        )
    if sweep["method"] == HALVING:
        values = list(independent_draws(sweep).values()) if number == 1 else _best(tried[-1], len(own.draws))
    else:
        values = _by_trees(sweep, number, earlier, len(own.draws))
    return dict(zip(own.draws, values, strict=True))


def _best(tried: Sequence[Tried], number: int) -> list[dict[str, Any]]:
    """The values of the draws with the smallest criterion; of equal ones the earlier."""
    by_criterion = sorted(tried, key=lambda one: one.criterion if math.isfinite(one.criterion) else math.inf)
    return [dict(one.values) for one in by_criterion[:number]]


def _by_trees(sweep: Mapping[str, Any], number: int, tried: Sequence[Tried], wanted: int) -> list[dict[str, Any]]:
    """Draws of Optuna's tree-structured Parzen estimator (Bergstra et al. 2011), which has seen the earlier rounds."""
    import optuna  # slow to import
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spaces = {key: _space(values) for key, values in sweep["values"].items()}
    random = max(sweep["at_once"], sweep["draws"] // RANDOM_SHARE)
    # A seed for each round, since the sampler's state ends with its job. With the "constant liar", draws of one round differ.
    sampler = optuna.samplers.TPESampler(
        seed=(sweep["seed"] + 1_000_003 * number) % 2**32, n_startup_trials=random, constant_liar=True
    )
    study = optuna.create_study(sampler=sampler, direction="minimize")
    for one in tried:
        # A range's own ends may be lost by rounding to four digits.
        parameters = {key: _parameter(sweep["values"][key], value) for key, value in one.values.items()}
        finite = math.isfinite(one.criterion)
        study.add_trial(
            create_trial(
                params=parameters,
                distributions=spaces,
                value=one.criterion if finite else None,
                state=TrialState.COMPLETE if finite else TrialState.FAIL,
            )
        )
    return [
        {key: _value(sweep["values"][key], found) for key, found in study.ask(spaces).params.items()}
        for _ in range(wanted)
    ]


def _space(values: list | Mapping[str, Any]) -> "BaseDistribution":
    """Where a key's parameter lies: the place in a list, or a number of a range."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(values, list):
        return CategoricalDistribution(range(len(values)))
    return FloatDistribution(values["low"], values["high"], log=values.get("log", False))


def _parameter(values: list | Mapping[str, Any], value: object) -> Any:
    return values.index(value) if isinstance(values, list) else min(max(value, values["low"]), values["high"])


def _value(values: list | Mapping[str, Any], parameter: Any) -> Any:
    return values[parameter] if isinstance(values, list) else as_written(parameter)
