"""A sweep over settings: the draw with the best networks on the validation part becomes the experiment."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from neurocohort.errors import InputError
from neurocohort.files import read_json, read_table, written_aside

FILES = ("model.safetensors", "history.tsv", "run.json")


def choose(folder: Path, draws: dict[str, dict[str, Any]], members: list[str]) -> pd.DataFrame:
    """One row for each draw: its values, validation loss and criterion (means over ``members``), and ``chosen``.

    ``chosen`` is 1 for the draw with the smallest criterion, by which also the epochs were chosen, else 0. ``draws`` are the
    values by subfolder of ``folder``. Raises InputError where no draw has a finite validation loss.
    """
    rows = []
    for draw, values in draws.items():
        runs = [read_json(folder / draw / member / "run.json") for member in members]
        means = {name: _mean([run[name] for run in runs]) for name in ("validation_loss", "criterion")}
        rows.append({"draw": draw} | values | means)
    table = pd.DataFrame(rows)
    if table["criterion"].isna().all():
        raise InputError(
            f"none of the {len(table)} draws under {folder / 'sweep'} ended with a finite validation loss; expected "
            "at least one. Smaller learning rates under `sweep.values` usually help."
        )
    best = table["criterion"].idxmin()
    return table.assign(chosen=[int(row == best) for row in table.index])


def adopt(sweep: Path, folder: Path, member: str) -> None:
    """Copy the network of ``member`` from the chosen draw of the table ``sweep`` to ``folder / member``."""
    table = read_table(sweep, required=("draw", "chosen"))
    draw = table.loc[table["chosen"] == 1, "draw"].item()
    for file in FILES:
        with written_aside(folder / member / file) as aside:
            shutil.copyfile(folder / draw / member / file, aside)


def _mean(values: list[Any]) -> float:
    """The mean; NaN where a member has no value, since its training left no model."""
    return float("nan") if None in values else sum(values) / len(values)
