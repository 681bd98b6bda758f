"""An experiment's trainings on the page: learning curves and facts, and its controls."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from neurocohort.report import figures
from neurocohort.report.figures import Drawing
from neurocohort.report.formats import Run
from neurocohort.report.networks import spelt
from neurocohort.report.sources import Missing
from neurocohort.report.study import Experiment


@dataclass(frozen=True)
class Training:
    """One training on the page: its network, its facts by name, and its learning curve."""

    member: str
    facts: list[tuple[str, str]] | Missing
    figure: Drawing | Missing


def learning(experiment: Experiment, output: Path) -> list[Training]:
    """The trainings of an experiment. Their learning curves are written into the report's folder ``figures``."""
    if not experiment.members:
        what = f"the training of {experiment.name}"
        return [Training("", [], experiment.sources.lack(experiment.folder / "seed-*", what))]
    return [_training(experiment, member, output) for member in experiment.members]


def _training(experiment: Experiment, member: str, output: Path) -> Training:
    history, run = experiment.histories[member], experiment.runs[member]
    facts = run if isinstance(run, Missing) else _facts(run)
    if isinstance(history, Missing):
        return Training(spelt(member), facts, history)
    path = output / "figures" / f"{experiment.name}_{member}_learning.svg"
    figures.learning_curves(history, path)
    kept = _kept(history, None if isinstance(run, Missing) else run)
    figure = Drawing.of(
        path,
        f"Training and validation loss of {experiment.title}, {spelt(member)}, over {len(history)} epochs. {kept}",
        f"{experiment.heading}, {spelt(member)}. {kept} Look for a validation loss that falls and levels off. "
        "Still falling at the end: train longer. Rising while the training loss falls: overfitting.",
    )
    return Training(spelt(member), facts, figure)


def _kept(history: pd.DataFrame, run: Run | None) -> str:
    """Which weights were kept, and whether they learned anything."""
    last = int(history["epoch"].max())
    best = history.loc[history["best"] == 1, "epoch"]
    keep = run.keep if run else "best"
    if (run and not run.best_epoch) or (keep == "best" and best.empty):
        sentence = "No epoch ended with a finite validation loss."
    elif keep == "averaged":
        sentence = f"The weights kept are the mean over the last epochs of {last}."
    elif keep == "ema":
        sentence = f"The weights kept are the moving average over the steps of all {last} epochs."
    elif keep == "last":
        sentence = f"The weights kept are those of the last epoch, {last}."
    else:
        sentence = f"The weights kept are those of epoch {int(best.iloc[-1])} of {last}, chosen on validation."
    return f"{sentence} This network learned nothing." if run and run.learning.learned is False else sentence


def _facts(run: Run) -> list[tuple[str, str]]:
    facts = {
        "Network": run.settings.get("network"),
        "Parameters": run.parameters,
        "Epochs run": run.epochs_run,
        "Epoch kept": run.best_epoch,  # the last one, where none was chosen
        "Device": run.device,
        "PyTorch": run.torch,
    }
    known = {name: value for name, value in facts.items() if value is not None}
    return [(name, f"{value:,}" if isinstance(value, int) else str(value)) for name, value in known.items()]
