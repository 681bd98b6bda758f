"""Which networks of an experiment are used: networks.tsv, the networks that are averaged, and the one that represents them.

A network that learned nothing, or whose training ended without a model, would only make the average worse.
"""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from neurocohort.errors import InputError
from neurocohort.learning.judgement import WAYS_OUT
from neurocohort.learning.model_files import WEIGHTS, read_run
from neurocohort.learning.outcomes import NO, NOT_JUDGED, YES
from neurocohort.learning.run_record import Run

ANSWERS = {True: YES, False: NO, None: NOT_JUDGED}
ALL_USED = "no network of the experiment learned anything, so that all are averaged"
ALL_USED_IN = "no network of test fold {} learned anything, so that all of them are averaged"
COLUMNS = ["member", "fold", "seed", "attempts", "epochs", "best_epoch", "criterion", "spread", "least_spread", "edge"]
COLUMNS += ["learned", "used", "reason"]


def read_runs(folders: Iterable[Path]) -> dict[str, Run]:
    """The content of run.json in the ``folders`` of members, by member."""
    return {folder.name: read_run(folder) for folder in folders}


def network_table(runs: dict[str, Run]) -> pd.DataFrame:
    """networks.tsv: one row for each member, in their order.

    ``test_fold``: only with test folds; ``fold``: 0 without cross-validation; ``seed``: of the kept weights; ``attempts``: number
    of trainings; ``epochs``: number of epochs run; ``best_epoch``: the kept one, and its ``criterion``; ``spread``: of the
    predictions of the validation scans, and ``least_spread``, the smallest that passes; ``edge``: see `judgement.Judgement`;
    ``learned``: yes, no, or not judged; ``used``: whether it is averaged; ``reason``: sentences on anything unusual. Raises
    InputError where no network has a model.
    """
    used = set(used_members(runs))
    rows, test_folds = [], []
    for member, run in runs.items():
        learning = run["learning"]
        attempts, answers = len(learning["attempts"]), (ANSWERS[learning["learned"]], ANSWERS[member in used])
        about_epochs = (run["epochs_run"], run["best_epoch"], run["criterion"])
        about_spread = (learning["spread"], learning["least_spread"], learning["edge"])
        reasons = "; ".join(_reasons(member, runs, used))
        fold, seed = run["settings"]["fold"], run["seed"]
        test_folds.append(_test_fold(run))
        rows.append((member, fold, seed, attempts, *about_epochs, *about_spread, *answers, reasons))
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"best_epoch": "Int64"})
    if any(test_folds):
        table.insert(1, "test_fold", test_folds)
    return table


def used_members(runs: dict[str, Run]) -> list[str]:
    """The members whose predictions are averaged: those that learned something or are not judged, or else all with a model.

    With test folds this holds for each of them: its participants are tested by its networks alone. Raises InputError where no
    training (of a test fold) left a model.
    """
    by_fold: dict[int, dict[str, Run]] = {}
    for member, run in runs.items():
        by_fold.setdefault(_test_fold(run), {})[member] = run
    return [member for own in by_fold.values() for member in _used_members(own)]


def _test_fold(run: Run) -> int:
    return run["settings"].get("test_fold", 0)  # a run.json of an earlier version has none


def _used_members(runs: dict[str, Run]) -> list[str]:
    usable = [member for member, run in runs.items() if run["best_epoch"] is not None]
    if not usable:
        raise InputError(
            f"every training {_of_what(runs)} ({', '.join(runs)}) ended without a finite validation loss, so there is no "
            f"model to use; expected at least one. Fix: {WAYS_OUT}."
        )
    return [member for member in usable if runs[member]["learning"]["learned"] is not False] or usable


def _of_what(runs: dict[str, Run]) -> str:
    number = _test_fold(next(iter(runs.values())))
    return f"of test fold {number}" if number else "of the experiment"


def first_used(folders: Iterable[Path]) -> Path:
    """The first of the members' ``folders`` whose network learned something or is not judged, or else the first with a model.

    Raises InputError where none has a model.
    """
    by_name = {folder.name: folder for folder in folders}
    return by_name[used_members(read_runs(by_name.values()))[0]]


def starting_weights(candidates: list[Path]) -> tuple[Path, str]:
    """The weights that a transfer starts from, and a warning where that network learned nothing, else an empty text.

    ``candidates`` are model.safetensors files in order of preference; `first_used` chooses.
    """
    folder = first_used(path.parent for path in candidates)
    learning = read_runs([folder])[folder.name]["learning"]
    warning = f"warning: {folder}, which this training starts from, learned nothing: {learning['reason']}."
    return folder / WEIGHTS, warning if learning["learned"] is False else ""


def _reasons(member: str, runs: dict[str, Run], used: set[str]) -> Iterable[str]:
    run = runs[member]
    if run["learning"]["reason"]:
        yield run["learning"]["reason"]
    own = {name: other for name, other in runs.items() if _test_fold(other) == _test_fold(run)}
    if run["learning"]["learned"] is False and member in used:
        yield ALL_USED_IN.format(_test_fold(run)) if _test_fold(run) else ALL_USED
    fold = run["settings"]["fold"]
    if fold and not any(other["settings"]["fold"] == fold for name, other in own.items() if name in used):
        yield f"no other network validates fold {fold}, so that its validation scans have no out-of-fold prediction"
