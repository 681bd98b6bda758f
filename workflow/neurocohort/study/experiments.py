"""Checks of the experiments against their cohorts, the cohorts' variables, the networks and the grid."""

from collections.abc import Iterator

from neurocohort.dataset.filters import filter_columns
from neurocohort.errors import InputError
from neurocohort.imaging.derivatives import MODULATED_GM, SUFFIXES
from neurocohort.sources.variable_kinds import CATEGORIES, LABEL_MAP, NUMBER, TWO_CLASSES
from neurocohort.study.adaptation import adaptation_faults
from neurocohort.study.auxiliary import auxiliary_faults
from neurocohort.study.generation import generation_faults
from neurocohort.study.messages import did_you_mean, listed
from neurocohort.study.networks import network_faults
from neurocohort.study.predictors import predictor_faults
from neurocohort.study.pretraining import is_pretraining, pretraining_faults, starting_faults
from neurocohort.study.structures import structure_faults
from neurocohort.study.trainings import training_faults
from neurocohort.study.translation import is_translation, translation_faults

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
    if unfit := [*translation_faults(key, experiment, config), *pretraining_faults(key, experiment, config)]:
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
        if not is_pretraining(experiment) and not is_translation(experiment):
            yield from _target_faults(key, experiment, labelled)
        yield from _filter_faults(key, experiment, own)
        yield from auxiliary_faults(key, experiment, own)
    yield from structure_faults(key, experiment, config["cohorts"])
    yield from network_faults(key, experiment, experiment["training"]["patch"] or config["preprocessing"]["shape"])
    yield from training_faults(key, experiment, config)
    yield from adaptation_faults(key, experiment, config)
    yield from generation_faults(key, experiment, config)
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
