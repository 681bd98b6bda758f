"""Experiments with `task: pretraining`: which ones they are, what they can't have, and what may start from them.

Imports stay light: this runs at the start of every Snakemake process.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from neurocohort.architectures import ARCHITECTURES
from neurocohort.settings.pretraining import CONTRASTIVE, MASKED, OF_METHOD, PRETRAINING, Pretraining
from neurocohort.study.members import transfer_chain
from neurocohort.study.translation import is_translation
from neurocohort.text import listed

# Keys that no pretraining has, their value if they aren't given, and why.
NO_PREDICTION = "a pretraining predicts nothing"
REFUSED: dict[str, tuple[Any, str]] = {
    "target": ("", "a pretraining learns from scans without labels"),
    "classes": (None, "a pretraining learns from scans without labels"),
    "external": ([], f"{NO_PREDICTION}; name these cohorts in the experiments that start from it"),
    "control": (None, NO_PREDICTION),
    "leave_one_site_out": ([], NO_PREDICTION),
    "lesions": (None, NO_PREDICTION),
    "predictors": (None, NO_PREDICTION),
    "transfer": (None, "a pretraining starts from random weights"),
    "adaptation": (None, NO_PREDICTION),
    "learning_curve": ([], f"{NO_PREDICTION}; give the key to the experiments that start from it"),
    "sweep": (None, f"the losses of two draws can't be compared, and {NO_PREDICTION}"),
    "generation": (None, NO_PREDICTION),
    "semi_supervised": (None, "a pretraining learns from scans without labels anyway"),
    "training.mixup": (0.0, "a pretraining has no targets to average"),
    "training.adversarial_site": (0.0, "a pretraining has no output whose features could be adapted"),
    "training.coarse_epochs": (0, "a pretraining learns on the study's grid"),
    "training.mirror_averaging": (False, NO_PREDICTION),
}
SHAPING = ("name", "channels", "norm", "patch_size")  # keys of `network` that must be those of the pretraining


def is_pretraining(experiment: Mapping[str, Any]) -> bool:
    """Whether an experiment is a pretraining, which is trained but never applied to anybody."""
    return experiment["task"] == PRETRAINING


def evaluated(experiments: Mapping[str, Any]) -> dict[str, Any]:
    """The experiments that predict a variable or label maps: all but pretrainings and translations."""
    return {name: one for name, one in experiments.items() if not is_pretraining(one) and not is_translation(one)}


def pretrainings(experiments: Mapping[str, Any]) -> dict[str, Any]:
    """The experiments that are pretrainings."""
    return {name: one for name, one in experiments.items() if is_pretraining(one)}


def pretrained_from(experiments: dict[str, dict], name: str) -> list[str]:
    """The pretrainings that the experiment ``name`` starts from, directly or through another experiment."""
    return [one for one in transfer_chain(experiments, name)[1:] if is_pretraining(experiments[one])]


def pretraining_cohorts(experiments: dict[str, dict], name: str) -> list[str]:
    """The cohorts that the pretrainings of the experiment ``name`` learned from."""
    if name not in experiments:
        return []
    every = [cohort for one in pretrained_from(experiments, name) for cohort in experiments[one]["cohorts"]]
    return list(dict.fromkeys(every))


def without_target(config: object) -> object:
    """Give each pretraining without a `target` an empty one, since all other tasks need the key.

    Args:
        config: A study's configuration as plain built-ins, not checked yet; what isn't understood is left as it is.

    Returns:
        The configuration, with other experiments.
    """
    experiments = config.get("experiments") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(experiments, dict):
        return config
    completed = {
        name: {"target": ""} | one if isinstance(one, dict) and one.get("task") == PRETRAINING else one
        for name, one in experiments.items()
    }
    return config | {"experiments": completed}


def pretraining_faults(key: str, experiment: dict, config: dict) -> Iterator[str]:
    """Yield a sentence for each key that a pretraining can't have, or that only a pretraining has.

    Args:
        key: Dotted key of the experiment.
        experiment: Its configuration.
        config: The whole configuration.
    """
    wanted = experiment.get("pretraining")
    if not is_pretraining(experiment):
        if wanted is not None:
            yield (
                f"`{key}.pretraining` is only for `task: pretraining`, and this experiment's task is {experiment['task']}; leave "
                "it out. To start from a pretraining, write its name under `transfer.weights`."
            )
        return
    for name, (usual, reason) in REFUSED.items():
        if (value := _value_at(experiment, name)) != usual and value is not None:
            yield f"`{key}.{name}` is given, and {reason}; leave it out."
    yield from _method_faults(key, experiment, Pretraining(**wanted or {}), config["preprocessing"]["shape"])
    if all(map(is_pretraining, config["experiments"].values())):
        yield (
            f"`{key}.task` is pretraining, and so is that of every experiment; expected at least one that predicts, such as one "
            "with `transfer: {weights: ...}`, since a report without a result has nothing to show."
        )


def starting_faults(key: str, experiment: dict, experiments: dict[str, dict]) -> Iterator[str]:
    """Yield a sentence for each setting of an experiment by which the pretrained weights that it starts from don't fit.

    ``key``: dotted key of the experiment, whose ``transfer.weights`` names another experiment.
    """
    source = (experiment.get("transfer") or {}).get("weights")
    if source not in experiments or not is_pretraining(experiments[source]):
        return
    start, place = experiments[source], f"`{key}.transfer.weights` is {source}, a pretraining"
    for name in SHAPING:
        own, given = experiment["network"].get(name), start["network"].get(name)
        if own != given:
            yield (
                f"{place} with `network.{name}: {given}`, and `{key}.network.{name}` is {own}: its weights don't fit. Write the "
                "same value in both."
            )
    if experiment["modalities"] != start["modalities"]:
        yield (
            f"{place} of {listed(start['modalities'])}, and `{key}.modalities` has {listed(experiment['modalities'])}; write the "
            "same in both."
        )


def _method_faults(key: str, experiment: dict, wanted: Pretraining, shape: list[int]) -> Iterator[str]:
    place, name = f"`{key}.pretraining", experiment["network"]["name"]
    if not ARCHITECTURES[name].last_layer:
        fitting = [other for other, one in ARCHITECTURES.items() if one.last_layer]
        yield (
            f"`{key}.network.name` is `{name}`, which predicts label maps and has no features of a whole scan that could be "
            f"pretrained; expected one of {listed(fitting)}."
        )
    elif wanted.method == MASKED and ARCHITECTURES[name].feature_map is None:
        fitting = [other for other, one in ARCHITECTURES.items() if one.feature_map]
        yield (
            f"`{key}.network.name` is `{name}`, and `{key}.pretraining.method` is masked, which needs the feature map of a "
            f"convolutional network; expected one of {listed(fitting)}, or `method: contrastive`."
        )
    for method, names in OF_METHOD.items():
        for one in names if method != wanted.method else ():
            if getattr(wanted, one) != Pretraining.model_fields[one].default:
                yield (
                    f"{place}.{one}` is only for `method: {method}`, and `{key}.pretraining.method` is {wanted.method}; leave it "
                    "out."
                )
    if wanted.method != CONTRASTIVE:
        if wanted.mask_voxels > min(shape) // 2:
            yield (
                f"{place}.mask_voxels` is {wanted.mask_voxels}, and `preprocessing.shape` is {shape}; expected at most "
                f"{min(shape) // 2}, half of the smallest side, so that something of each scan stays visible."
            )
        return
    training = experiment["training"]
    if training["batch_size"] < 2:
        yield (
            f"`{key}.training.batch_size` is 1, and `{key}.pretraining.method` is contrastive, which compares the scans of a "
            "batch; expected 2 or more."
        )
    if training["processes"] > 1:
        yield (
            f"`{key}.training.processes` is {training['processes']}, and `{key}.pretraining.method` is contrastive, which "
            "compares the scans of a whole batch; expected 1."
        )


def _value_at(experiment: dict, name: str) -> Any:
    value: Any = experiment
    for step in name.split("."):
        value = (value or {}).get(step)
    return value
