"""A sweep over settings: the draw with the best networks on the validation part becomes the experiment.

With test folds each of them has a choice of its own, by the networks that leave it out: no participant has a say in the settings
of the networks that test this participant.
"""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from neurocohort.dataset.runs import run_name
from neurocohort.errors import InputError
from neurocohort.files import read_json, read_table, written_aside

FILES = ("model.safetensors", "history.tsv", "run.json")
TEST_FOLD = "test_fold"  # a column of the table


def choose(folder: Path, draws: dict[str, dict[str, Any]], members: list[str]) -> pd.DataFrame:
    """One row for each draw: its values, validation loss and criterion (means over ``members``), and ``chosen``.

    With test folds, one row for each of them (``test_fold``) and draw, by the members of that test fold alone. ``chosen`` is 1
    for the draw with the smallest criterion, by which also the epochs were chosen, else 0. ``draws`` are the values by subfolder
    of ``folder``. Raises InputError where no draw has a finite validation loss.
    """
    by_fold: dict[int, list[str]] = {}
    for member in members:
        by_fold.setdefault(run_name(member).test_fold, []).append(member)
    tables = []
    for test_fold, own in by_fold.items():
        table = _chosen(folder, draws, own)
        if test_fold:
            table.insert(0, TEST_FOLD, test_fold)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _chosen(folder: Path, draws: dict[str, dict[str, Any]], members: list[str]) -> pd.DataFrame:
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
    chosen = table["chosen"] == 1
    if TEST_FOLD in table:
        chosen &= table[TEST_FOLD] == run_name(member).test_fold
    draw = table.loc[chosen, "draw"].item()
    for file in FILES:
        with written_aside(folder / member / file) as aside:
            shutil.copyfile(folder / draw / member / file, aside)


def _mean(values: list[Any]) -> float:
    """The mean; NaN where a member has no value, since its training left no model."""
    return float("nan") if None in values else sum(values) / len(values)
