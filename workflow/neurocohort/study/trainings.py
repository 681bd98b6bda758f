"""Checks of the trainings of an experiment: folds, patches, precision, transfer, control and sweep."""

import os
from collections.abc import Iterator
from pathlib import Path

from neurocohort.imaging.derivatives import MODULATED_GM, SUFFIXES
from neurocohort.learning.published import PUBLISHED
from neurocohort.settings.recipes import recipe_values
from neurocohort.sources.columns import DIFFUSION_MAPS
from neurocohort.structures import MOST, structures_of
from neurocohort.study.learning_curves import learning_curve_faults
from neurocohort.study.members import control_names, without_site_names
from neurocohort.study.messages import did_you_mean, listed
from neurocohort.study.published import published_faults
from neurocohort.study.semi_supervised import semi_supervised_faults


def training_faults(key: str, experiment: dict, config: dict) -> Iterator[str]:
    """Yield a sentence for each conflict of the trainings of an experiment with the rest of the configuration."""
    training, task, shape = experiment["training"], experiment["task"], config["preprocessing"]["shape"]
    values, name = recipe_values(recipe := experiment.get("recipe"), shape), experiment["network"]["name"]
    if values and name != (fitting := values["network"]["name"]):
        yield f"`{key}.recipe` is {recipe}, which is for {fitting}, and `{key}.network.name` is {name}; leave the recipe out."
    if training["cross_validation"] and config["split"]["folds"] < 2:
        folds = config["split"]["folds"]
        yield f"`{key}.training.cross_validation` is true, and `split.folds` is {folds}; expected 2 or more folds."
    if training["processes"] > training["batch_size"]:
        yield (
            f"`{key}.training.processes` is {training['processes']}, and a batch has {training['batch_size']} scans "
            f"(`{key}.training.batch_size`); expected at least one scan for each process."
        )
    if training["precision"] == "float16" and config["device"] == "cpu":
        yield f"`{key}.training.precision` is float16, which a CPU doesn't support; expected auto, float32 or bfloat16."
    if training["patience"] and training["keep"] != "best":
        yield (
            f"`{key}.training.patience` is {training['patience']}, which stops a training by its best epoch, and "
            f"`{key}.training.keep` is {training['keep']}, which needs all epochs; set `patience: 0`, or `keep: best`."
        )
    yield from _patch_faults(f"{key}.training.patch", training["patch"], task, shape)
    if (loss := training["loss"]) != "dice_ce" and task != "segmentation":
        yield f"`{key}.training.loss` is {loss}, which is for segmentation, and this experiment's task is {task}; leave it out."
    if (fraction := training["foreground_fraction"]) and not training["patch"]:
        yield (
            f"`{key}.training.foreground_fraction` is {fraction:g}, which places patches, and `{key}.training.patch` is empty; "
            "leave it out, or give three sides in voxels, such as [64, 64, 64]."
        )
    if training["mixup"] and task == "segmentation":
        yield f"`{key}.training.mixup` is {training['mixup']:g}, which is for regression and classification; leave it out."
    yield from _synthetic_faults(key, experiment, config)
    if coarse := training["coarse_epochs"]:
        yield from _coarse_faults(f"{key}.training", coarse, training["epochs"], task)
    yield from _transfer_faults(f"{key}.transfer.weights", experiment, config["experiments"])
    yield from published_faults(key, experiment, config)
    if (kind := experiment.get("control")) and task == "segmentation":
        yield f"`{key}.control` is {kind}, which is for regression and classification, and this experiment is a segmentation."
    own = next((name for name, one in config["experiments"].items() if one is experiment), None)
    sites = experiment["leave_one_site_out"]
    if len(repeated := without_site_names(own, sites) if own else {}) < len(sites if own else []):
        yield (
            f"`{key}.leave_one_site_out` has sites whose names differ only in special characters: {listed(sites)}; rename one in "
            "the cohort's data."
        )
    for name in sorted(set(repeated) & set(config["experiments"])):
        yield f"`{key}.leave_one_site_out` creates an experiment `{name}`, a name that another experiment has; rename that one."
    if own:
        yield from learning_curve_faults(key, own, experiment, config)
    yield from semi_supervised_faults(key, own, experiment, config)
    for name in set(control_names(own, kind) if own else ()) & set(config["experiments"]):
        yield f"`{key}.control` creates an experiment `{name}`, a name that another experiment has; rename that one."


def _coarse_faults(key: str, coarse: int, epochs: int, task: str) -> Iterator[str]:
    if task == "segmentation":
        yield f"`{key}.coarse_epochs` is {coarse}, which is for regression and classification; leave it out."
    elif coarse >= epochs:
        yield (
            f"`{key}.coarse_epochs` is {coarse}, and `{key}.epochs`, which includes them, is {epochs}; expected fewer, so that "
            "the network also learns on the study's grid."
        )


def _patch_faults(key: str, patch: list[int], task: str, shape: list[int]) -> Iterator[str]:
    if not patch:
        return
    if task != "segmentation":
        yield f"`{key}` is only for segmentation, and this experiment's task is {task}; leave it out."
    elif len(patch) != 3:
        yield f"`{key}` is {patch}; expected three sides in voxels, such as [64, 64, 64]."
    elif any(side > whole for side, whole in zip(patch, shape, strict=True)):
        yield f"`{key}` is {patch}, larger than `preprocessing.shape` {shape}; expected sides that fit into it."


def _synthetic_faults(key: str, experiment: dict, config: dict) -> Iterator[str]:
    """Yield a sentence for each reason why the experiment's scans can't be replaced by images painted from label maps."""
    synthetic, task = experiment["training"].get("synthetic"), experiment["task"]
    if not synthetic or not synthetic["fraction"]:
        return
    place = f"`{key}.training.synthetic.fraction` is {synthetic['fraction']:g}"
    if task != "segmentation":
        yield f"{place}, which is for segmentation, and this experiment's task is {task}; leave `synthetic` out."
        return
    if maps := [
        name for name in experiment["modalities"] if name in (*SUFFIXES.values(), MODULATED_GM, *DIFFUSION_MAPS)
    ]:
        yield (
            f"{place}, which paints images of random contrast, and `{key}.modalities` has {listed(maps)}, which is not an image; "
            "leave one of the two out."
        )
    if (scale := config["preprocessing"]["intensity"]) == "white_matter_peak":
        yield (
            f"{place}, and `preprocessing.intensity` is {scale}, which a painted image with any intensity of white matter can't "
            "have; expected percentile or zscore."
        )
    most = max(
        (len(structures_of(config["cohorts"][name])) for name in experiment["cohorts"] if name in config["cohorts"]),
        default=0,
    )
    if most + synthetic["tissue_classes"] > MOST:
        yield (
            f"`{key}.training.synthetic.tissue_classes` is {synthetic['tissue_classes']}, and the label maps have {most} "
            f"structures; expected at most {MOST} of both together."
        )


def _transfer_faults(key: str, experiment: dict, experiments: dict[str, dict]) -> Iterator[str]:
    weights = (experiment.get("transfer") or {}).get("weights")
    if weights in (None, PUBLISHED) or weights.endswith(".safetensors"):
        if weights and weights != PUBLISHED and not os.path.isfile(weights):
            yield f"`{key}` is {weights}, which doesn't exist (relative to {Path.cwd()}); expected a .safetensors file."
        return
    if weights not in experiments:
        hint = did_you_mean(weights, [*experiments, PUBLISHED]) or "."
        yield (
            f"`{key}` is {weights}; expected one of the experiments {listed(experiments)}, {PUBLISHED}, or a .safetensors file "
            f"(a pickle such as .pt can run code when it is read, and is refused){hint}"
        )
        return
    chain, name = [], weights  # the source, what that one started from, and so on
    while name in experiments and name not in chain:
        if experiments[name] is experiment:
            yield f"`{key}` is {weights}, so this experiment would start from itself; choose another one."
            return
        chain.append(name)
        name = (experiments[name].get("transfer") or {}).get("weights", "")
    yield from _starting_faults(key, experiment, experiments, chain)


def _starting_faults(key: str, experiment: dict, experiments: dict[str, dict], chain: list[str]) -> Iterator[str]:
    """Yield a sentence for each way in which the networks that an experiment starts from, in a ``chain`` of experiments, were
    trained on scans that it validates or tests with. Splits and folds of a cohort are the same in all experiments."""
    own, place = experiment["training"]["cross_validation"], key.removesuffix(".transfer.weights")
    for number, name in enumerate(chain):
        source = f"`{key}` is {chain[0]}" + (f", which goes back to {name}" if number else "")
        seen, folded = experiments[name]["cohorts"], experiments[name]["training"]["cross_validation"]
        if tested := [cohort for cohort in experiment["external"] if cohort in seen]:
            yield (
                f"{source}, which is trained on {listed(tested)}, and `{place}.external` has {listed(tested)}: scans that a "
                "network was trained on are no external test. Remove the cohort from one of the two, or start from another "
                "experiment."
            )
        shared = [cohort for cohort in experiment["cohorts"] if cohort in seen]
        if not shared:
            continue
        if sites := experiment["leave_one_site_out"]:
            yield (
                f"{source}, which is trained on {listed(shared)} with all of its sites, and `{place}.leave_one_site_out` has "
                f"{listed(sites)}: a site must not be trained on before it is tested. Remove one of the two keys, or start from "
                "an experiment on other cohorts."
            )
        if own != folded:
            yield (
                f"{source}, and both train on {listed(shared)}, but `training.cross_validation` is {_yes_no(folded)} in {name} "
                f"and {_yes_no(own)} in `{place}`: the networks would be validated with scans that they were trained on. Use "
                "the same value in both."
            )
        elif unfolded := [
            one for one in chain[:number] if own and not experiments[one]["training"]["cross_validation"]
        ]:
            yield (
                f"{source}, and both train on {listed(shared)} with folds, but {listed(unfolded)} between them has none: every "
                "fold would start from the source's fold 1. Set `training.cross_validation: true` there too."
            )


def _yes_no(value: bool) -> str:
    return "true" if value else "false"
