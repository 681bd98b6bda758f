"""Learning curves: the trainings of an experiment on fewer of its participants, and the same from random weights.

Imports stay light: this runs at the start of every Snakemake process.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from neurocohort.settings.pretraining import PRETRAINING
from neurocohort.text import listed

FINE_TUNED, RANDOM = "fine-tuned", "random"


@dataclass(frozen=True)
class CurvePoint:
    """One point of a learning curve.

    Attributes:
        experiment: The name (and folder) of the experiment that is trained.
        start: ``fine-tuned`` (from the weights of the transfer) or ``random``.
        participants: Number of participants of the development part that it is trained on; 0 for all.
    """

    experiment: str
    start: str
    participants: int = 0


def curve_points(experiment: str, numbers: Iterable[int]) -> list[CurvePoint]:
    """The points of an experiment's ``learning_curve``, each start by increasing number; none without numbers.

    The point that is fine-tuned on all participants is the experiment itself.
    """
    numbers = sorted(numbers)
    points = []
    for start, name in ((FINE_TUNED, experiment), (RANDOM, f"{experiment}_random-start")) if numbers else ():
        points += [CurvePoint(f"{name}_participants-{number}", start, number) for number in numbers]
        points.append(CurvePoint(name, start))
    return points


def of_point(point: CurvePoint, experiment: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What the experiment of a ``point`` has in place of the keys of ``experiment``, whose curve it is on."""
    changed: dict[str, Any] = {"learning_curve_of": experiment, "own_participants": point.participants, "external": []}
    return changed | {"transfer": settings["transfer"] if point.start == FINE_TUNED else None}


def applied_source(experiments: dict[str, dict], name: str) -> tuple[str, str]:
    """The experiment whose networks are the start of ``name`` and were applied to its held-out participants.

    Splits are the same in all experiments. So the held-out participants of a cohort that the source trains on too, or that is
    external there, are ones that it never saw.

    Args:
        experiments: The experiments of the configuration.
        name: One with ``learning_curve``.

    Returns:
        The name of the source, and an empty text; or an empty name, and a sentence why nothing was applied.
    """
    experiment = experiments[name]
    source = (experiment.get("transfer") or {}).get("weights") or ""
    if source not in experiments:
        return "", "Nothing was applied without training: the start is no experiment of this study."
    start = experiments[source]
    if start.get("task") == PRETRAINING:
        return "", f"Nothing was applied without training: {source} is a pretraining, which predicts nothing by itself."
    differ = [key for key in ("task", "target", "classes") if start.get(key) != experiment.get(key)]
    if differ:
        return "", f"The networks of {source} were not applied: it has another {listed(differ)}."
    tested = [*start["cohorts"], *(start.get("external") or [])]
    if missing := [cohort for cohort in experiment["cohorts"] if cohort not in tested]:
        return "", (
            f"The networks of {source} were not applied: {listed(missing)} would have to be listed under "
            f"`experiments.{source}.external`."
        )
    return source, ""


def learning_curve_faults(key: str, name: str, experiment: dict, config: dict) -> Iterator[str]:
    """Yield a sentence for each conflict of an experiment's ``learning_curve`` with the rest of the configuration."""
    numbers, place = experiment["learning_curve"], f"`{key}.learning_curve`"
    if not numbers:
        return
    if not experiment.get("transfer"):
        yield f"{place} compares starts, and `{key}.transfer` is missing; add it, or leave `learning_curve` out."
    for other, given in (
        ("sweep", experiment.get("sweep")),
        ("training.cross_validation", experiment["training"]["cross_validation"]),
    ):
        if given:
            yield f"{place} can't be combined with `{key}.{other}`; remove one of the two keys."
    if folds := config["split"]["test_folds"]:
        yield f"{place} needs one held-out part, and `split.test_folds` is {folds}; remove one of the two keys."
    made = {point.experiment for point in curve_points(name, numbers)} - {name}
    for other in sorted(made & set(config["experiments"])):
        yield f"{place} creates an experiment `{other}`, a name that another experiment has; rename that one."
