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
from neurocohort.learning.draws import draws_of, final_draws, rounds_of, suggestion
from neurocohort.learning.searches import Tried

FILES = ("model.safetensors", "history.tsv", "run.json")
TEST_FOLD, ROUND = "test_fold", "round"  # columns of the table


def tried_rounds(folder: Path, sweep: dict[str, Any], members: list[str], before: int) -> list[list[Tried]]:
    """The draws of the rounds before round ``before`` of a sweep in ``folder``, with the criterion of ``members``.

    The members are those of one test fold, or all where there are no test folds.
    """
    rounds = rounds_of(sweep)[: before - 1]
    return [
        [
            Tried(draw, values, _means(folder / draw, members)["criterion"])
            for draw, values in read_json(folder / suggestion(one.number, run_name(members[0]).left_out)).items()
        ]
        for one in rounds
    ]


def choose(folder: Path, sweep: dict[str, Any], members: list[str]) -> pd.DataFrame:
    """One row for each draw: its values, validation loss and criterion (means over ``members``), and ``chosen``.

    With test folds, one row for each of them (``test_fold``) and draw, by the members of that test fold alone. A sweep in rounds
    also has the number of the ``round``. ``chosen`` is 1 for the draw with the smallest criterion, by which also the epochs were
    chosen, else 0; after successive halving only the last round is chosen from. Raises InputError where no draw has a finite
    validation loss.

    Args:
        folder: The experiment's, with a subfolder for each draw.
        sweep: Its keys.
        members: All networks of a draw.
    """
    by_fold: dict[int, list[str]] = {}
    for member in members:
        by_fold.setdefault(run_name(member).test_fold, []).append(member)
    tables = []
    for test_fold, own in by_fold.items():
        table = _chosen(folder, sweep, own)
        if test_fold:
            table.insert(0, TEST_FOLD, test_fold)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _chosen(folder: Path, sweep: dict[str, Any], members: list[str]) -> pd.DataFrame:
    rows = []
    for number, draws in _values_by_round(folder, sweep, members):
        for draw, values in draws.items():
            of_round = {ROUND: number} if number else {}
            rows.append({"draw": draw} | of_round | values | _means(folder / draw, members))
    table = pd.DataFrame(rows)
    final = table["criterion"].where(table["draw"].isin(final_draws(sweep)))
    if final.isna().all():
        raise InputError(
            f"none of the {len(table)} draws under {folder / 'sweep'} ended with a finite validation loss; expected "
            "at least one. Smaller learning rates under `sweep.values` usually help."
        )
    best = final.idxmin()
    return table.assign(chosen=[int(row == best) for row in table.index])


def _values_by_round(folder: Path, sweep: dict[str, Any], members: list[str]) -> list[tuple[int, dict[str, dict]]]:
    """The number of each round with the values of its draws; 0 where the draws are independent."""
    rounds = rounds_of(sweep)
    test_fold = run_name(members[0]).left_out
    found = [(one.number, read_json(folder / suggestion(one.number, test_fold))) for one in rounds]
    return found or [(0, draws_of(sweep))]


def _means(folder: Path, members: list[str]) -> dict[str, float]:
    """The draw's validation loss and criterion, the means over its networks."""
    runs = [read_json(folder / member / "run.json") for member in members]
    return {name: _mean([run[name] for run in runs]) for name in ("validation_loss", "criterion")}


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
