"""Checks of a sweep: its keys, and which draws it can have.

Imports stay light: this runs at the start of every Snakemake process.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any

from neurocohort.learning.draws import independent_draws, rounds_of
from neurocohort.settings.sweeps import BAYESIAN, HALVING, MOST_DRAWS, Sweep

EPOCHS = "training.epochs"
FEWEST_EPOCHS = 5  # of a draw: the criterion is a mean over five
MOST_CORNERS = 4096  # combinations of listed values and ends of ranges that are checked
OF_METHOD = {"reduction": HALVING, "at_once": BAYESIAN}


def sweep_faults(key: str, sweep: dict, epochs: int) -> Iterator[str]:
    """Yield a sentence for each key of a sweep that its method can't have, and for values that can't be drawn from.

    ``epochs``: `training.epochs` of its experiment.
    """
    yield from _method_faults(key, sweep)
    lists = [len(values) for values in sweep["values"].values() if isinstance(values, list)]
    if not sweep["draws"] and math.prod(lists) > MOST_DRAWS:
        yield (
            f"`{key}.values` has {math.prod(lists)} combinations; expected at most {MOST_DRAWS}, so list fewer values, or give "
            f"`{key}.draws`, the number of random draws."
        )
    for name, values in sweep["values"].items():
        if isinstance(values, list):
            continue
        place = f"`{key}.values` has a range for `{name}`"
        if not sweep["draws"]:
            yield f"{place}, which needs `{key}.draws`, the number of random draws; add that key, or give a list."
        elif values["low"] >= values["high"]:
            yield f"{place} from {values['low']:g} to {values['high']:g}; expected `low` below `high`."
        elif values.get("log") and values["low"] <= 0:
            yield f"{place}, logarithmic, from {values['low']:g}; expected `low` above 0."
    yield from _epochs_faults(key, sweep, epochs)


def _method_faults(key: str, sweep: dict) -> Iterator[str]:
    method = sweep["method"]
    for name, own in OF_METHOD.items():
        if method != own and sweep[name] != Sweep.model_fields[name].default:
            yield f"`{key}.{name}` is {sweep[name]}, which is for `method: {own}`, and the method is {method}; leave it out."
    if method == HALVING and EPOCHS in sweep["values"]:
        yield f"`{key}.values` has `{EPOCHS}`, which `method: {HALVING}` changes from round to round; leave it out."
    if method == BAYESIAN and sweep["draws"] <= sweep["at_once"]:
        yield (
            f"`{key}.draws` is {sweep['draws']}; expected more than `{key}.at_once` ({sweep['at_once']}) with "
            f"`method: {BAYESIAN}`, since the draws of the first round are random."
        )


def possible_draws(sweep: dict, epochs: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Draws to check before the run: a name for messages, and values by key.

    All of them where they are known. Of a Bayesian sweep, the combinations of its listed values and of the ends of its ranges, at
    most 4096 of them. Successive halving has the epochs of its first round.
    """
    if sweep["method"] == BAYESIAN:
        ends = [one if isinstance(one, list) else [one["low"], one["high"]] for one in sweep["values"].values()]
        for combination in itertools.islice(itertools.product(*ends), MOST_CORNERS):
            yield "a possible one", dict(zip(sweep["values"], combination, strict=True))
        return
    shorter: dict[str, Any] = {EPOCHS: epochs // rounds_of(sweep)[0].shorter} if sweep["method"] == HALVING else {}
    for draw, values in independent_draws(sweep).items():
        yield draw.removeprefix("sweep/"), values | shorter


def _epochs_faults(key: str, sweep: dict, epochs: int) -> Iterator[str]:
    """Yield a sentence where the first round of successive halving has too few epochs to compare its draws."""
    rounds = rounds_of(sweep)
    if rounds and rounds[0].shorter > 1 and epochs // rounds[0].shorter < FEWEST_EPOCHS:
        yield (
            f"`{key}` has {len(rounds)} rounds, and the first has {epochs // rounds[0].shorter} of `training.epochs` ({epochs}); "
            f"expected at least {FEWEST_EPOCHS}. Raise `training.epochs`, or give fewer draws or a larger `{key}.reduction`."
        )
