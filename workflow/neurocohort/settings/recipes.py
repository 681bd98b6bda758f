"""Recipes: values of an experiment's keys that were chosen together and compared on real scans."""

from typing import Any, Literal

Recipe = Literal["small_cohort"]

# Each experiment's own keys win.
RECIPES: dict[Recipe, dict[str, Any]] = {
    "small_cohort": {
        "network": {"name": "sfcn", "channels": [16, 32, 64, 128, 64], "dropout": 0.3},
        "training": {"epochs": 45, "weight_decay": 0.05},
    },
}


def with_recipes(config: object) -> object:
    """Add the keys of each experiment's ``recipe`` that the experiment doesn't give itself.

    Args:
        config: A study's configuration as plain built-ins, not checked yet; what isn't understood is left as it is.

    Returns:
        The configuration, with other experiments.
    """
    experiments = config.get("experiments") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(experiments, dict):
        return config
    return config | {"experiments": {name: _with_recipe(one) for name, one in experiments.items()}}


def _with_recipe(experiment: object) -> object:
    recipe = experiment.get("recipe") if isinstance(experiment, dict) else None
    values = next((values for name, values in RECIPES.items() if name == recipe), None)
    return experiment if values is None else _joined(values, experiment)


def _joined(values: dict[str, Any], own: object) -> object:
    """``own`` with those of the ``values`` that it lacks, key by key."""
    if not isinstance(own, dict):
        return own
    below = {
        key: _joined(value, own[key]) if isinstance(value, dict) and key in own else value
        for key, value in values.items()
    }
    return own | {key: value for key, value in below.items() if isinstance(value, dict) or key not in own}
