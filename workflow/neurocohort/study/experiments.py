"""Checks of the experiments against their cohorts, the cohorts' variables, the networks and the grid."""

import math
from collections.abc import Iterator

from neurocohort.dataset.filters import filter_columns
from neurocohort.errors import InputError
from neurocohort.imaging.derivatives import MODULATED_GM, SUFFIXES
from neurocohort.learning.architectures import ARCHITECTURES, MAP_TASKS, VALUE_TASKS
from neurocohort.sources.variable_kinds import CATEGORIES, LABEL_MAP, NUMBER, TWO_CLASSES
from neurocohort.study.messages import did_you_mean, listed
from neurocohort.study.predictors import predictor_faults
from neurocohort.study.pretraining import is_pretraining, pretraining_faults, starting_faults
from neurocohort.study.structures import structure_faults
from neurocohort.study.trainings import training_faults

TARGET_OF_TASK = {"regression": NUMBER, "classification": TWO_CLASSES, "segmentation": LABEL_MAP}


def experiment_faults(
    key: str, experiment: dict, config: dict, kinds: dict[str, dict[str, str | None]]
) -> Iterator[str]:
    """Yield a sentence for each conflict of an experiment with the rest of the configuration.

    Args:
        key: Dotted key of the experiment.
        experiment: Its configuration.
        config: The whole configuration.
        kinds: By configured cohort, the kind of each of its variables; None if the kind isn't known.
    """
    if unfit := [*pretraining_faults(key, experiment, config)]:
        yield from unfit
        return
    named = [(role, name) for role in ("cohorts", "external") for name in experiment[role]]
    for role, name in named:
        if name not in kinds:
            yield f"`{key}.{role}` names `{name}`, which {_unknown_cohort(name, config)}"
    for name in experiment["external"]:
        if name in experiment["cohorts"]:
            yield (
                f"`{key}.external` names `{name}`, which `{key}.cohorts` names too; a cohort is either trained on or "
                "external; remove it from one of them."
            )
    if experiment.get("classes") and experiment["task"] != "classification":
        yield f"`{key}.classes` is only for classification, and this experiment's task is {experiment['task']}; leave it out."
    maps = [channel for channel in experiment["modalities"] if channel in SUFFIXES.values()]
    if maps and not config["preprocessing"]["tissue_maps"]:
        yield f"`{key}.modalities` has {listed(maps)}, which need `preprocessing.tissue_maps: true`; set it, or leave them out."
    yield from _modulated_faults(key, experiment, config, [name for _, name in named if name in kinds])
    for name in sorted({name for _, name in named if name in kinds}):
        modalities = config["cohorts"][name]["modalities"]
        known = [*modalities, *maps, MODULATED_GM]
        if absent := [channel for channel in experiment["modalities"] if channel not in known]:
            yield (
                f"`{key}.modalities` has {listed(absent)}, and `cohorts.{name}.modalities` has {listed(modalities)}; add it "
                "there, or leave it out here."
            )
    if all(name in kinds for _, name in named):
        own = {name: kinds[name] for _, name in named}
        labelled = {name: known for name, known in own.items() if not only_predicted(experiment, name, known)}
        if not is_pretraining(experiment):
            yield from _target_faults(key, experiment, labelled)
        yield from _filter_faults(key, experiment, own)
    yield from structure_faults(key, experiment, config["cohorts"])
    yield from _network_faults(key, experiment, experiment["training"]["patch"] or config["preprocessing"]["shape"])
    yield from training_faults(key, experiment, config)
    yield from starting_faults(key, experiment, config["experiments"])
    yield from predictor_faults(key, experiment)


def _modulated_faults(key: str, experiment: dict, config: dict, cohorts: list[str]) -> Iterator[str]:
    """Where the modulated map of grey matter can't be had."""
    if MODULATED_GM not in experiment["modalities"]:
        return
    if not config["preprocessing"]["modulated_gm"]:
        yield f"`{key}.modalities` has {MODULATED_GM}, which needs `preprocessing.modulated_gm: true`; set it, or leave it out."
    for name in sorted({name for name in cohorts if config["cohorts"][name].get("mni_space")}):
        yield (
            f"`{key}.modalities` has {MODULATED_GM}, and `cohorts.{name}.mni_space` is true: the volumes of heads that were "
            "brought to MNI space before aren't known, so their maps can't be modulated; use GM, or leave out this cohort."
        )


def only_predicted(experiment: dict, cohort: str, kinds: dict[str, str | None]) -> bool:
    """Whether the networks are applied to a cohort without metrics: an external one without the target.

    Args:
        experiment: Its configuration.
        cohort: The name of one of its cohorts.
        kinds: The kind of each variable of the cohort.
    """
    external, target = cohort in experiment["external"], experiment["target"]
    return external and target not in kinds and experiment["task"] != "segmentation"


def _unknown_cohort(name: str, config: dict) -> str:
    known = config["cohorts"]
    return f"isn't configured; the configured cohorts are {listed(known)}{did_you_mean(name, known) or '.'}"


def _target_faults(key: str, experiment: dict, kinds: dict[str, dict[str, str | None]]) -> Iterator[str]:
    task, target = experiment["task"], experiment["target"]
    wanted = TARGET_OF_TASK[task]
    lacking = {name: known for name, known in kinds.items() if target not in known}
    if lacking:
        fitting = _fitting(wanted, lacking)
        names = " and ".join(f"`{name}`" for name in lacking)
        yield (
            f"`{key}.target` is `{target}`, which isn't a variable of {names}; "
            f"{'those for ' + task + ' are ' + listed(fitting) if fitting else 'there is none for ' + task}"
            f"{did_you_mean(target, fitting) or '.'}"
        )
    fitting_kinds = {wanted, None} | ({NUMBER, CATEGORIES} if experiment.get("classes") else set())
    for known in kinds.values():
        if known.get(target, wanted) not in fitting_kinds:
            tasks = [other for other, kind in TARGET_OF_TASK.items() if kind == known[target]]
            fix = f"write `task: {tasks[0]}`, or another target" if tasks else "choose another target"
            if task == "classification":
                fix += ", or name two of its values under `classes`"
            here = listed(_fitting(wanted, kinds)) or "nothing"
            yield (
                f"`{key}.target` is `{target}`, which is {known[target]}, and {task} expects {wanted} (here: {here}); "
                f"{fix}."
            )
            return  # the same for every cohort


def _fitting(wanted: str, kinds: dict[str, dict[str, str | None]]) -> list[str]:
    """The variables of this kind that all cohorts have."""
    return sorted(
        set.intersection(*({name for name, kind in known.items() if kind == wanted} for known in kinds.values()))
    )


def _filter_faults(key: str, experiment: dict, kinds: dict[str, dict]) -> Iterator[str]:
    if not experiment["filter"].strip():
        return
    known = sorted(set().union(*kinds.values()) - {"dseg"})
    try:
        named = filter_columns(experiment["filter"])
    except InputError as error:
        yield f"`{key}.filter`: {error}"
        return
    for name in sorted(named - set(known)):
        yield (
            f"`{key}.filter` names `{name}`, which no cohort of the experiment has; the variables are {listed(known)}, and "
            f"texts must be in quotes{did_you_mean(name, known) or '.'}"
        )


def _network_faults(key: str, experiment: dict, shape: list[int]) -> Iterator[str]:
    task, name, channels = experiment["task"], experiment["network"]["name"], experiment["network"]["channels"]
    network, place = ARCHITECTURES[name], f"{key}.network.channels"
    grid = f"{key}.training.patch" if experiment["training"]["patch"] else "preprocessing.shape"
    if task not in network.tasks:
        fitting = [other for other, one in ARCHITECTURES.items() if task in one.tasks]
        yield f"`{key}.network.name` is `{name}`, which isn't for {task}; expected one of {listed(fitting)}."
        return
    if (dropout := experiment["network"]["dropout"]) and not network.has_dropout:
        others = listed([other for other, one in ARCHITECTURES.items() if one.has_dropout])
        yield f"`{key}.network.dropout` is {dropout:g}, and {name} has no dropout; leave the key out, or use {others}."
    if (norm := experiment["network"]["norm"]) != "batch" and not network.has_norm:
        others = listed([other for other, one in ARCHITECTURES.items() if one.has_norm])
        yield f"`{key}.network.norm` is {norm}, and {name} has a fixed norm; leave the key out, or use {others}."
    if experiment["network"]["deep_supervision"] and not network.has_deep_supervision:
        others = listed([other for other, one in ARCHITECTURES.items() if one.has_deep_supervision])
        yield f"`{key}.network.deep_supervision` is true, which is for {others}, and not for {name}; leave the key out."
    if channels and not network.fewest <= len(channels) <= network.most:
        if not network.most:
            yield f"`{place}` is given, and {name} has fixed channels; leave the key out."
        else:
            count = f"{network.fewest}" if network.fewest == network.most else f"{network.fewest} to {network.most}"
            yield f"`{place}` has {len(channels)} value{'s' * (len(channels) > 1)}; {name} expects {count}."
        return
    if channels and channels[0] % network.multiple_of:
        yield f"`{place}` is {channels}; {name} expects a multiple of {network.multiple_of}."
    halvings = network.halvings if network.halvings is not None else len(channels or network.widths) - 1
    step = 2**halvings
    if task in VALUE_TASKS and min(shape) < step:
        yield (
            f"`{grid}` is {shape}, and {name} halves it {halvings} times (`{key}.network`); expected sides of at "
            f"least {step} voxels, or a network with fewer levels."
        )
    elif task in VALUE_TASKS and experiment["training"]["coarse_epochs"] and min(shape) < 2 * step:
        yield (
            f"`{key}.training.coarse_epochs` halves `{grid}` {shape}, and {name} halves it {halvings} times more; expected "
            f"sides of at least {2 * step} voxels, or no coarse epochs."
        )
    elif task in VALUE_TASKS and halvings and max(shape) < 2 * step:
        remedy = f"at most {halvings} `channels`" if network.most else "another network"
        yield (
            f"`{grid}` is {shape}, and {name} halves it {halvings} times (`{place}`) to a single voxel, so that nothing is "
            f"averaged over the brain; expected a grid of at least {[step, 2 * step, step]}, or {remedy}."
        )
    if task in MAP_TASKS and any(side % step for side in shape):
        near = [math.ceil(side / step) * step for side in shape]
        yield (
            f"`{grid}` is {shape}, and {name} halves it {halvings} times (`{key}.network`); expected multiples of "
            f"{step}, such as {near}."
        )
    elif task in MAP_TASKS and network.has_instance_norm and halvings and max(shape) < 2 * step:
        yield (
            f"`{grid}` is {shape}, and {name} halves it {halvings} times (`{key}.network`) to a single voxel, which can't be "
            f"normalised; expected a larger one, such as {[step, 2 * step, step]}."
        )
