"""What the page shows of an experiment's training: its learning curves and facts, its sweep, and its controls."""

from pathlib import Path

import pandas as pd

from neurocohort.report import figures, labels
from neurocohort.report.figures import Drawing
from neurocohort.report.networks import spelt
from neurocohort.report.sources import Missing, Sources
from neurocohort.study.members import members_of

CHOICE = [
    "draw",
    "validation_loss",
    "criterion",
    "chosen",
]  # of sweep.tsv; the other columns are the values of the draw
HISTORY_COLUMNS = ("epoch", "train_loss", "validation_loss", "best")


def learning(
    sources: Sources, results: Path, experiment: str, settings: dict, output: Path, folds: int = 0
) -> list[dict]:
    """One record a member (a seed, or a fold and seed): the run's facts and its learning curve."""
    folder = results / "experiments" / experiment
    if (settings.get("training") or {}).get("seeds"):
        members = members_of(settings, folds)
    else:
        members = sorted(path.name for path in folder.glob("seed-*"))
    if not members:
        return [
            {"member": None, "facts": [], "figure": sources.lack(folder / "seed-*", f"the training of {experiment}")}
        ]
    return [_run(sources, folder / member, experiment, member, output) for member in members]


def control(sources: Sources, results: Path, experiment: str, settings: dict) -> dict | Missing | None:
    """What became of the experiment's controls; None where it has none."""
    if not settings.get("control"):
        return None
    return sources.record(results / "experiments" / experiment / "control.json", f"the control of {experiment}")


def sweep(sources: Sources, results: Path, experiment: str, settings: dict) -> str | Missing:
    """A sentence on what a sweep chose; empty where there is none."""
    if not settings.get("sweep"):
        return ""
    path = results / "experiments" / experiment / "sweep" / "sweep.tsv"
    table = sources.table(path, f"the sweep of {experiment}", CHOICE)
    if isinstance(table, Missing):
        return table
    chosen = table.loc[table["chosen"] == 1].iloc[0]
    values = ", ".join(f"{key} {chosen[key]}" for key in table.columns.drop(CHOICE))
    return f"Chosen from {len(table)} draws by the criterion on the validation scans: {values}."


def _run(sources: Sources, folder: Path, experiment: str, member: str, output: Path) -> dict:
    what = f"the learning curve of {experiment}, {spelt(member)}"
    history = sources.table(folder / "history.tsv", what, HISTORY_COLUMNS)
    run = sources.record(folder / "run.json", f"the facts of the training of {experiment}, {spelt(member)}")
    figure: Drawing | Missing = history if isinstance(history, Missing) else None  # type: ignore[assignment]
    if not isinstance(history, Missing):
        path = output / "figures" / f"{experiment}_{member}_learning.svg"
        figures.learning_curves(history, path)
        kept = _kept(history, {} if isinstance(run, Missing) else run)
        figure = Drawing.of(
            path,
            f"Training and validation loss of {labels.in_text(experiment)}, {spelt(member)}, over {len(history)} epochs. {kept}",
            f"{labels.spaced(experiment)}, {spelt(member)}. {kept} Look for a validation loss that falls and levels off. "
            "Still falling at the end: train longer. Rising while the training loss falls: overfitting.",
        )
    return {"member": spelt(member), "facts": run if isinstance(run, Missing) else _facts(run), "figure": figure}


def _kept(history: pd.DataFrame, run: dict) -> str:
    """Which weights were kept, and whether they learned anything."""
    last = int(history["epoch"].max())
    best = history.loc[history["best"] == 1, "epoch"]
    keep = (run.get("settings") or {}).get("keep", "best")
    if run and run.get("best_epoch") in (None, 0):
        said = "No epoch ended with a finite validation loss."
    elif keep == "averaged":
        said = f"The weights kept are the mean over the last epochs of {last}."
    elif keep == "last":
        said = f"The weights kept are those of the last epoch, {last}."
    elif len(best):
        said = f"The weights kept are those of epoch {int(best.iloc[-1])} of {last}, chosen on validation."
    else:
        said = "No epoch ended with a finite validation loss."
    learned = (run.get("learning") or {}).get("learned")
    return f"{said} This network learned nothing." if learned is False else said


def _facts(run: dict) -> list[tuple[str, str]]:
    names = {
        "network": "Network",
        "parameters": "Parameters",
        "epochs_run": "Epochs run",
        "best_epoch": "Epoch kept",  # the last one, where none was chosen
        "device": "Device",
        "torch": "PyTorch",
        "torch_version": "PyTorch",
    }
    facts = []
    for key, name in names.items():
        value = run.get(key)
        if isinstance(value, dict):
            value = value.get("name")
        if value is not None:
            facts.append((name, f"{value:,}" if isinstance(value, int) else str(value)))
    return facts
