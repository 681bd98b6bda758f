"""Segmentations that also learn from scans without a label map: the networks without them, and what such experiments can't have.

Imports stay light: this runs at the start of every Snakemake process.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from neurocohort.settings.semi_supervised import LABELLED, MEAN_TEACHER, PSEUDO_LABELS, SemiSupervised

LABELS_ONLY = "{}_labels-only"  # the experiment without the scans that have no label map


def learns_unlabelled(experiment: Mapping[str, Any]) -> bool:
    """Whether an experiment learns from scans without a label map."""
    return bool(experiment.get("semi_supervised"))


def labels_only_name(experiment: str) -> str:
    """The name (and folder) of the experiment that is trained without scans that have no label map, for comparison."""
    return LABELS_ONLY.format(experiment)


def with_labelled(experiment: dict[str, Any]) -> dict[str, Any]:
    """The experiment, with the number of participants whose label maps are used as ``own_participants``."""
    number = (experiment.get("semi_supervised") or {}).get("labelled")
    return experiment | ({"own_participants": number, "drawn_for": LABELLED} if number else {})


def of_labels_only(experiment: str) -> dict[str, Any]:
    """What the labels-only experiment has in place of the keys of ``experiment``."""
    return {"labels_only_of": experiment, "external": [], "semi_supervised": None}


def semi_supervised_faults(key: str, name: str | None, experiment: dict, config: dict) -> Iterator[str]:
    """Yield a sentence for each conflict of an experiment's ``semi_supervised`` with the rest of the configuration.

    Args:
        key: Dotted key of the experiment.
        name: Its name; None where it isn't one of the study's, as a draw of a sweep.
        experiment: Its configuration.
        config: The whole configuration.
    """
    if not learns_unlabelled(experiment):
        return
    place, wanted = f"`{key}.semi_supervised`", SemiSupervised(**experiment["semi_supervised"])
    if (task := experiment["task"]) != "segmentation":
        yield (
            f"{place} is for segmentation, and this experiment's task is {task}; leave it out. A network for values can learn "
            "from scans without a target by `task: pretraining`."
        )
        return
    others = (("sweep", experiment.get("sweep")), ("learning_curve", experiment.get("learning_curve")))
    for other, given in others:
        if given:
            yield f"{place} can't be combined with `{key}.{other}`; remove one of the two keys."
    if folds := config["split"]["test_folds"]:
        yield f"{place} needs one held-out part, and `split.test_folds` is {folds}; remove one of the two keys."
    if wanted.method == MEAN_TEACHER and wanted.threshold != SemiSupervised.model_fields["threshold"].default:
        yield (
            f"`{key}.semi_supervised.threshold` is only for `method: {PSEUDO_LABELS}`, and `{key}.semi_supervised.method` is "
            f"{wanted.method}; leave it out."
        )
    if name and (made := labels_only_name(name)) in config["experiments"]:
        yield f"{place} creates an experiment `{made}`, a name that another experiment has; rename that one."
