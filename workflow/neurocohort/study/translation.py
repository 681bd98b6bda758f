"""Experiments with `task: translation`: which ones they are, and what they can't have.

Imports stay light: this runs at the start of every Snakemake process.
"""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from neurocohort.settings.ingest import Modality
from neurocohort.settings.translation import OF_METHOD, TRANSLATION, UNPAIRED, Translation
from neurocohort.study.messages import did_you_mean
from neurocohort.text import listed

# Keys that no translation has, their value if they aren't given, and why.
NO_VARIABLE = "a translation predicts an image and no variable"
REFUSED: dict[str, tuple[Any, str]] = {
    "classes": (None, NO_VARIABLE),
    "auxiliary": (None, NO_VARIABLE),
    "control": (None, "the images of a translation can't be permuted by this key"),
    "leave_one_site_out": ([], "translations aren't repeated without a site; name another cohort under `external`"),
    "lesions": (None, NO_VARIABLE),
    "predictors": (None, NO_VARIABLE),
    "transfer": (None, "a translation starts from random weights"),
    "adaptation": (None, NO_VARIABLE),
    "learning_curve": ([], "a translation starts from random weights"),
    "sweep": (None, "sweeps are for experiments that predict a variable or label maps"),
    "pretraining": (None, "this key is only for `task: pretraining`"),
    "semi_supervised": (None, "a translation learns from scans without labels anyway"),
    "network.deep_supervision": (False, "a translation learns from the finest level alone"),
    "training.patch": ([], "a translation learns from whole volumes"),
    "training.synthetic": (None, "a painted image has no second contrast"),
    "training.mixup": (0.0, "a mean of two people's images is no image of anybody"),
    "training.adversarial_site": (0.0, NO_VARIABLE),
    "training.coarse_epochs": (0, "a translation learns on the study's grid"),
    "training.mirror_averaging": (False, "translations are predicted once"),
    "training.augmentation.low_resolution": (0.0, "it would change the image to predict too"),
    "training.augmentation.cutout": (0.0, "it would change the image to predict too"),
}


def is_translation(experiment: Mapping[str, Any]) -> bool:
    """Whether an experiment predicts one kind of image from others."""
    return experiment["task"] == TRANSLATION


def translations(experiments: Mapping[str, Any]) -> dict[str, Any]:
    """The experiments that are translations."""
    return {name: one for name, one in experiments.items() if is_translation(one)}


def translation_faults(key: str, experiment: dict, config: dict) -> Iterator[str]:
    """Yield a sentence for each key that a translation can't have, or that only a translation has.

    Args:
        key: Dotted key of the experiment.
        experiment: Its configuration.
        config: The whole configuration.
    """
    if not is_translation(experiment):
        if experiment.get("translation") is not None:
            yield (
                f"`{key}.translation` is only for `task: translation`, and this experiment's task is {experiment['task']}; leave "
                "it out."
            )
        source = (experiment.get("transfer") or {}).get("weights")
        if source in translations(config["experiments"]):
            yield (
                f"`{key}.transfer.weights` is {source}, a translation, whose network no other experiment can start from; choose "
                "another experiment, or leave `transfer` out."
            )
        return
    for name, (usual, reason) in REFUSED.items():
        if (value := _value_at(experiment, name)) != usual and value is not None:
            yield f"`{key}.{name}` is given, and {reason}; leave it out."
    yield from _target_faults(key, experiment, config["cohorts"])
    yield from _method_faults(key, experiment, Translation(**experiment.get("translation") or {}))
    if (folds := config["split"]["test_folds"]) > 0:
        yield (
            f"`{key}.task` is translation, which needs one held-out part, and `split.test_folds` is {folds}; leave out one "
            "of the two."
        )


def _target_faults(key: str, experiment: dict, cohorts: dict[str, dict]) -> Iterator[str]:
    target, known = experiment["target"], get_args(Modality)
    if target not in known:
        yield (
            f"`{key}.target` is `{target}`, and a translation predicts an image; expected one of {listed(known)}"
            f"{did_you_mean(target, known) or '.'}"
        )
        return
    if target in experiment["modalities"]:
        yield (
            f"`{key}.target` is {target}, and `{key}.modalities` has it too: an image would be predicted from itself. Remove "
            "it from `modalities`, or choose another target."
        )
    for name in [*experiment["cohorts"], *experiment["external"]]:
        if name in cohorts and target not in (own := cohorts[name]["modalities"]):
            yield (
                f"`{key}.target` is {target}, and `cohorts.{name}.modalities` has {listed(own)}; add it there, or leave "
                "this cohort out."
            )


def _method_faults(key: str, experiment: dict, wanted: Translation) -> Iterator[str]:
    training, place = experiment["training"], f"`{key}.translation"
    for method, names in OF_METHOD.items():
        for one in names if method != wanted.method else ():
            if getattr(wanted, one) != Translation.model_fields[one].default:
                yield (
                    f"{place}.{one}` is only for `method: {method}`, and `{key}.translation.method` is {wanted.method}; leave it "
                    "out."
                )
    if training["processes"] > 1 and (wanted.adversarial or wanted.method == UNPAIRED):
        yield (
            f"`{key}.training.processes` is {training['processes']}, and discriminators are trained in one process; expected 1."
        )
    if wanted.method != UNPAIRED:
        return
    if training["keep"] == "best":
        yield (
            f"`{key}.training.keep` is best, which chooses the epoch by pairs of images of the validation part, and "
            f"`{key}.translation.method` is unpaired; expected last, averaged or ema, which need no pairs."
        )
    if len(experiment["modalities"]) > 1:
        yield (
            f"`{key}.modalities` has {listed(experiment['modalities'])}, and `{key}.translation.method` "
            "is unpaired, which translates "
            "one kind of image into one other; expected one."
        )


def _value_at(experiment: dict, name: str) -> Any:
    value: Any = experiment
    for step in name.split("."):
        value = (value or {}).get(step)
    return value
