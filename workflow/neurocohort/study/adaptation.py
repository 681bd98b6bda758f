"""Adaptation to new sites: where an experiment is tested on a site that it wasn't trained on, and what it is compared with there.

Imports stay light: this runs at the start of every Snakemake process.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from neurocohort.architectures import ARCHITECTURES
from neurocohort.settings.selection import WITH_VALUES
from neurocohort.study.members import without_site_names
from neurocohort.study.messages import did_you_mean, listed

SAME = (
    "task",
    "target",
    "classes",
    "cohorts",
    "external",
    "filter",
    "leave_one_site_out",
)  # keys of compared experiments


@dataclass(frozen=True)
class NewSite:
    """Where networks meet scans of a site that they weren't trained on.

    Attributes:
        site: The site that was left out; empty for external cohorts, of which each site is one.
        cohorts: The cohorts of its scans.
        experiments: By compared experiment, the experiment (and folder) whose networks predict these scans; the reference first.
    """

    site: str
    cohorts: list[str]
    experiments: dict[str, str]


def new_sites(experiments: Mapping[str, Any], name: str) -> list[NewSite]:
    """The new sites of the experiment ``name``: those that are left out in turn, and those of external cohorts.

    Args:
        experiments: The experiments of the configuration.
        name: One with ``adaptation``; none are returned for others.
    """
    experiment = experiments[name]
    if not (wanted := experiment.get("adaptation")):
        return []
    compared = [name, *wanted["experiments"]]
    found = []
    for site in experiment["leave_one_site_out"]:
        folders = {one: next(iter(without_site_names(one, [site]))) for one in compared}
        found.append(NewSite(site, experiment["cohorts"], folders))
    if experiment["external"]:
        found.append(NewSite("", experiment["external"], {one: one for one in compared}))
    return found


def adapted_cohorts(experiments: Mapping[str, Any]) -> dict[str, list[str]]:
    """The experiments (and folders) that also predict with recomputed batch statistics, each with the cohorts of these scans."""
    return {
        place.experiments[name]: place.cohorts
        for name, experiment in experiments.items()
        if (experiment.get("adaptation") or {}).get("batch_norm")
        for place in new_sites(experiments, name)
    }


def adaptation_faults(key: str, experiment: dict, config: dict) -> Iterator[str]:
    """Yield a sentence for each conflict of an experiment's adaptation with the rest of the configuration.

    Args:
        key: Dotted key of the experiment.
        experiment: Its configuration.
        config: The whole configuration.
    """
    weight, task = experiment["training"]["adversarial_site"], experiment["task"]
    if weight and task not in WITH_VALUES:
        yield (
            f"`{key}.training.adversarial_site` is {weight:g}, which is for regression and classification, and this experiment's "
            f"task is {task}; leave it out."
        )
    if not (wanted := experiment.get("adaptation")):
        return
    place = f"`{key}.adaptation`"
    if task not in WITH_VALUES:
        yield f"{place} is for regression and classification, and this experiment's task is {task}; leave it out."
        return
    if not experiment["leave_one_site_out"] and not experiment["external"]:
        yield (
            f"{place} compares networks at sites that they weren't trained on, and `{key}` has neither `leave_one_site_out` nor "
            "`external`; add one of them, or leave `adaptation` out."
        )
    if folds := config["split"]["test_folds"]:
        yield f"{place} needs one held-out part, and `split.test_folds` is {folds}; remove one of the two keys."
    if not wanted["experiments"] and not wanted["batch_norm"] and config["evaluation"]["harmonisation"] == "none":
        yield (
            f"{place} has nothing to compare with; expected names of experiments under `{key}.adaptation.experiments`, "
            "`batch_norm: true`, or `evaluation.harmonisation: combat`."
        )
    network = experiment["network"]
    if wanted["batch_norm"] and not ARCHITECTURES[network["name"]].batch_statistics(network["norm"]):
        fitting = [one for one, known in ARCHITECTURES.items() if known.has_batch_norm]
        yield (
            f"`{key}.adaptation.batch_norm` is true, and `{key}.network` is {network['name']}"
            f"{' with norm ' + network['norm'] if ARCHITECTURES[network['name']].has_norm else ''}, which has no batch norm; "
            f"leave it out, or choose one of {listed(fitting)} with `norm: batch`."
        )
    yield from _compared_faults(f"`{key}.adaptation.experiments` names", experiment, config["experiments"])


def _compared_faults(place: str, experiment: dict, experiments: dict[str, dict]) -> Iterator[str]:
    """Yield a sentence for each name of an experiment that can't be compared with ``experiment`` on the same scans."""
    for name in experiment["adaptation"]["experiments"]:
        if name not in experiments:
            others = [other for other, one in experiments.items() if one is not experiment]
            yield f"{place} `{name}`, which is no experiment; the others are {listed(others)}{did_you_mean(name, others) or '.'}"
        elif experiments[name] is experiment:
            yield f"{place} `{name}`, which is this experiment itself; leave it out."
        elif differing := [key for key in SAME if experiments[name].get(key) != experiment.get(key)]:
            yield (
                f"{place} `{name}`, which differs in {listed(differing)}, so that the two can't be compared on the same scans; "
                "write the same values in both."
            )
