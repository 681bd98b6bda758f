"""Pretrainings on the page: what they learned from, whether they learned anything, and which experiments start from them."""

from dataclasses import dataclass
from pathlib import Path

from neurocohort.report import labels
from neurocohort.report.formats import Run
from neurocohort.report.networks import spelt
from neurocohort.report.sources import Missing
from neurocohort.report.study import Experiment, Study
from neurocohort.report.training import Training, learning
from neurocohort.settings.pretraining import CONTRASTIVE
from neurocohort.study.pretraining import pretrained_from
from neurocohort.text import listed

LOSS_DECIMALS = 3


@dataclass(frozen=True)
class PretrainingShown:
    """A pretraining on the page. ``sentences``: on its scans, its losses and what starts from it; ``runs``: its trainings."""

    title: str
    sentences: list[str]
    runs: list[Training]
    missing: list[Missing]


def pretrainings(study: Study, output: Path) -> list[PretrainingShown]:
    """The pretrainings of a study. Their learning curves are written into the report's folder ``figures``."""
    shown = []
    for one in study.pretrainings.values():
        runs = {member: run for member, run in one.runs.items() if isinstance(run, Run)}
        sentences = [*_of_scans(runs), *(_of_losses(member, run, len(runs)) for member, run in runs.items())]
        sentences.append(_of_use(study, one))
        absent = [run for run in one.runs.values() if isinstance(run, Missing)]
        shown.append(PretrainingShown(one.heading, sentences, learning(one, output), absent))
    return shown


def start_sentence(study: Study, experiment: Experiment) -> str:
    """From which pretraining an experiment starts; empty where it starts from none."""
    found = pretrained_from(study.configuration["experiments"], experiment.name)
    if not found:
        return ""
    title = labels.in_text(found[0])
    direct = experiment.settings["transfer"]["weights"] == found[0]
    through = "" if direct else ", through another experiment"
    return (
        f"It started from the weights of the pretraining {title}{through}, which learned from no held-out participant."
    )


def _of_scans(runs: dict[str, Run]) -> list[str]:
    """How many scans taught the networks. Those of several folds may differ."""
    counts = [run.pretraining for run in runs.values() if run.pretraining]
    if not counts:
        return []
    learned = _span([one.training_scans for one in counts], "scan")
    chosen = _span([one.validation_scans for one in counts], "scan")
    people = _span([one.training_participants for one in counts], "participant")
    others = _span([one.validation_participants for one in counts], "participant")
    return [
        f"It learned from {learned} of {people} in the training part, with no use of any label. Its epoch was chosen on "
        f"{chosen} of {others} in the validation part. No held-out scan was read.",
    ]


def _of_losses(member: str, run: Run, networks: int) -> str:
    """The validation loss next to that without a network, and whether anything was learned."""
    name = f"{spelt(member)}: ".capitalize() if networks > 1 else ""
    if run.pretraining is None or run.pretraining.validation_loss is None:
        return f"{name}No epoch ended with a finite validation loss, so that there are no weights to start from."
    loss, other = run.pretraining.validation_loss, run.pretraining.baseline_loss
    better = round(loss, LOSS_DECIMALS) < round(other, LOSS_DECIMALS)
    numbers = [labels.number(value, LOSS_DECIMALS) for value in (loss, other)]
    if run.task.get("method") == CONTRASTIVE:
        decided = (
            "It recognises a scan in another view better than by chance."
            if better
            else "It recognises a scan in another view no better than by chance."
        )
        return (
            f"{name}The loss of finding the other view of the same validation scan is {numbers[0]}; by chance, with all views "
            f"equally similar, it is {numbers[1]}. {decided}"
        )
    decided = (
        f"The network removes {labels.number(100 * (1 - loss / other), 0)} % of this error."
        if better
        else "The network is no better than this image, which is the same for everybody."
    )
    return (
        f"{name}The mean squared error of hidden voxels of the validation scans is {numbers[0]}, in standardised intensities; "
        f"for the mean image of the training scans it is {numbers[1]}. {decided}"
    )


def _of_use(study: Study, pretraining: Experiment) -> str:
    chains = study.configuration["experiments"]
    users = [one.title for one in study.experiments.values() if pretraining.name in pretrained_from(chains, one.name)]
    if not users:
        return "No experiment of this study starts from its weights."
    return (
        f"Its weights are the start of {listed(users)}. Learning curves show whether they helped, where there are any."
    )


def _span(numbers: list[int], noun: str) -> str:
    """``24 scans``, or ``23 to 24 scans`` where they differ."""
    low, high = min(numbers), max(numbers)
    return labels.counted(low, noun) if low == high else f"{low} to {labels.counted(high, noun)}"
