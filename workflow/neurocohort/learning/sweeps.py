"""A sweep: the draw whose networks do best on the validation part becomes the experiment."""

import shutil
from pathlib import Path

import pandas as pd

from neurocohort.errors import InputError
from neurocohort.files import read_json, read_table, written_aside

FILES = ("model.safetensors", "history.tsv", "run.json")


def choose(folder: Path, draws: dict[str, dict], members: list[str]) -> pd.DataFrame:
    """A row a draw: its values, validation loss and criterion (means over ``members``), and ``chosen``, 1 for the smallest
    criterion and else 0: what chose a network's epoch chooses the draw as well.

    ``draws``: by folder below ``folder``, its values. Raises InputError where no draw has a finite validation loss.
    """
    rows = []
    for draw, values in draws.items():
        runs = [read_json(folder / draw / member / "run.json") for member in members]
        means = {name: _mean([run[name] for run in runs]) for name in ("validation_loss", "criterion")}
        rows.append({"draw": draw, **values, **means})
    table = pd.DataFrame(rows)
    if table["criterion"].isna().all():
        raise InputError(
            f"none of the {len(table)} draws under {folder / 'sweep'} ended with a finite validation loss; expected "
            "at least one. Smaller learning rates under `sweep.values` are the usual way out."
        )
    best = table["criterion"].idxmin()
    return table.assign(chosen=[int(row == best) for row in table.index])


def adopt(sweep: Path, folder: Path, member: str) -> None:
    """Copy the network of ``member`` in the chosen draw of the table ``sweep`` to ``folder / member``."""
    table = read_table(sweep, required=("draw", "chosen"))
    draw = table.loc[table["chosen"] == 1, "draw"].item()
    for file in FILES:
        with written_aside(folder / member / file) as aside:
            shutil.copyfile(folder / draw / member / file, aside)


def _mean(values: list[float | None]) -> float:
    """NaN where a member has none, since its training left no model."""
    return float("nan") if None in values else sum(values) / len(values)
