"""The structures that the segmentations of a study predict: those of the label maps of their cohorts."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from neurocohort.errors import InputError
from neurocohort.settings.ingest import IngestKeys
from neurocohort.sources.label_tables import labels_of_bids
from neurocohort.structures import TISSUES, one_sided, structures_of, values_by_name
from neurocohort.study.messages import listed


def fill_in_labels(config: object) -> Iterator[str]:
    """Give each BIDS cohort without ``labels`` those of its ``dseg.tsv``; yield a sentence for each table that can't be used.

    Args:
        config: A study's configuration as plain built-ins, not checked yet; what isn't understood is left as it is.
    """
    cohorts = config.get("cohorts") if isinstance(config, dict) else None
    for name, cohort in cohorts.items() if isinstance(cohorts, dict) else ():
        if not isinstance(cohort, dict) or cohort.get("source") != "bids" or "labels" in cohort:
            continue
        place, pattern = cohort.get("path"), cohort.get("pattern", IngestKeys.model_fields["pattern"].default)
        if not isinstance(place, str) or not isinstance(pattern, str) or not os.path.isdir(place):
            continue
        try:
            labels = labels_of_bids(Path(place), pattern)
        except InputError as error:
            yield f"`cohorts.{name}.labels`: {error}"
            continue
        if labels:
            cohort["labels"] = labels


def structures_to_ingest(cohort: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The structures of a cohort with their values, for its ingest; None for CSF, GM and WM."""
    labels = values_by_name(cohort.get("labels") or {})
    return [{"name": name, "values": values} for name, values in labels.items()] or None


def structures_to_learn(experiment: Mapping[str, Any], cohorts: Mapping[str, Any]) -> list[str] | None:
    """The structures that a segmentation predicts; None for CSF, GM and WM, and for other tasks."""
    if experiment["task"] != "segmentation":
        return None
    found = structures_of(cohorts[experiment["cohorts"][0]])
    return None if found == TISSUES else [*found]


def structure_faults(key: str, experiment: dict, cohorts: dict) -> Iterator[str]:
    """Yield a sentence for cohorts of a segmentation with different structures, and for a side that a mirror image would move.

    Args:
        key: Dotted key of the experiment.
        experiment: Its configuration.
        cohorts: The configured cohorts.
    """
    names = [name for name in (*experiment["cohorts"], *experiment["external"]) if name in cohorts]
    if experiment["task"] != "segmentation":
        if experiment.get("lesions"):
            yield f"`{key}.lesions` is only for segmentation, and this experiment's task is {experiment['task']}; leave it out."
        return
    if not names:
        return
    found = {name: structures_of(cohorts[name]) for name in names}
    first = names[0]
    for name in names[1:]:
        if found[name] != found[first]:
            yield (
                f"`{key}` has the cohorts `{first}` with the structures {listed(found[first])} and `{name}` with "
                f"{listed(found[name])}; expected the same names in the same order: correct "
                f"`cohorts.{name}.labels`, or leave one of the cohorts out."
            )
    if unknown := [name for name in experiment.get("lesions") or () if name not in found[first]]:
        yield f"`{key}.lesions` has {listed(unknown)}; the structures of `{first}` are {listed(found[first])}."
    training = experiment["training"]
    mirrored = {"training.augmentation.flip": training["augmentation"]["flip"]}
    mirrored["training.mirror_averaging"] = training["mirror_averaging"]
    switched_on = [name for name, value in mirrored.items() if value]
    if switched_on and (alone := one_sided(found[first])):
        places = " and ".join(f"`{key}.{name}: false`" for name in switched_on)
        yield (
            f"`{key}` mirrors images, which exchanges left and right, and {listed(alone)} of `cohorts.{first}.labels` "
            f"{'have' if len(alone) > 1 else 'has'} no structure of the other side; add it, or write {places}."
        )
