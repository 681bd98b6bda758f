"""A sweep: the draw whose networks do best on the validation part becomes the experiment."""

import shutil
from pathlib import Path

import pandas as pd

from neurocohort.errors import InputError
from neurocohort.files import read_json, read_table, written_aside

FILES = ("model.safetensors", "history.tsv", "run.json")


def choose(folder: Path, draws: dict[str, dict], members: list[str]) -> pd.DataFrame:
    """A row a draw: its values, the validation loss (mean over ``members``), and ``chosen``, 1 for the smallest and else 0.

    ``draws``: by folder below ``folder``, its values. Raises InputError where no draw has a finite validation loss.
    """
    rows = []
    for draw, values in draws.items():
        losses = [read_json(folder / draw / member / "run.json")["validation_loss"] for member in members]
        known = all(loss is not None for loss in losses)
        rows.append({"draw": draw, **values, "validation_loss": sum(losses) / len(losses) if known else float("nan")})
    table = pd.DataFrame(rows)
    if table["validation_loss"].isna().all():
        raise InputError(
            f"none of the {len(table)} draws under {folder / 'sweep'} ended with a finite validation loss; expected "
            "at least one. Smaller learning rates under `sweep.values` are the usual way out."
        )
    best = table["validation_loss"].idxmin()
    return table.assign(chosen=[int(row == best) for row in table.index])


def adopt(sweep: Path, folder: Path, member: str) -> None:
    """Copy the network of ``member`` in the chosen draw of the table ``sweep`` to ``folder / member``."""
    table = read_table(sweep, required=("draw", "chosen"))
    draw = table.loc[table["chosen"] == 1, "draw"].item()
    for file in FILES:
        with written_aside(folder / member / file) as aside:
            shutil.copyfile(folder / draw / member / file, aside)
