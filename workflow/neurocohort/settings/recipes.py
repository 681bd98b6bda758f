"""Recipes: values of an experiment's keys that were chosen together on real scans, or that follow from the grid by rules."""

from typing import Any, Literal

from neurocohort.settings.nnunet_rules import PRESETS, plan
from neurocohort.settings.preprocessing import Preprocessing

Recipe = Literal["small_cohort", "nnunet_m", "nnunet_l", "nnunet_xl"]

TISSUE_LABELS = 4  # background and three tissues; also counted where a dseg.tsv, which isn't read here, names others
FOREGROUND_FRACTION = 0.33  # nnU-Net's

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
    preprocessing = config.get("preprocessing")
    usual = Preprocessing.model_fields["shape"].default
    shape = preprocessing.get("shape", usual) if isinstance(preprocessing, dict) else usual
    cohorts = config.get("cohorts")
    return config | {
        "experiments": {name: _with_recipe(one, shape, _labels_of(one, cohorts)) for name, one in experiments.items()}
    }


def recipe_values(recipe: object, shape: object, labels: int = TISSUE_LABELS) -> dict[str, Any] | None:
    """The keys that a recipe sets on a grid of ``shape``, not checked yet; None if there is no such recipe.

    ``labels``: number of labels of a segmentation, background included.
    """
    if isinstance(recipe, str) and recipe in PRESETS:
        return _by_nnunets_rules(PRESETS[recipe], shape, labels)
    return next((values for name, values in RECIPES.items() if name == recipe), None)


def _labels_of(experiment: object, cohorts: object) -> int:
    """Number of labels in the label maps of the experiment's first cohort, background included."""
    names = experiment.get("cohorts") if isinstance(experiment, dict) else None
    first = names[0] if isinstance(names, list) and names else None
    cohort = cohorts.get(first) if isinstance(cohorts, dict) and isinstance(first, str) else None
    labels = cohort.get("labels") if isinstance(cohort, dict) else None
    return 1 + len(labels) if isinstance(labels, dict) and labels else TISSUE_LABELS


def _by_nnunets_rules(limit: int, shape: object, labels: int) -> dict[str, Any]:
    network: dict[str, Any] = {"name": "resencunet", "deep_supervision": True}
    training: dict[str, Any] = {"foreground_fraction": FOREGROUND_FRACTION}
    if isinstance(shape, list) and len(shape) == 3 and all(type(side) is int and side > 0 for side in shape):
        found = plan(shape, limit, labels)
        network |= {"channels": found.channels}
        training |= {"patch": found.patch, "batch_size": found.batch_size}
    return {"network": network, "training": training}


def _with_recipe(experiment: object, shape: object, labels: int) -> object:
    recipe = experiment.get("recipe") if isinstance(experiment, dict) else None
    values = recipe_values(recipe, shape, labels)
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
