"""Which of an experiment's networks are used: networks.tsv, the networks in the average, and the one that stands for all.

A network that learned nothing, or whose training ended without a model, would only spoil an average of others that did learn.
"""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from neurocohort.errors import InputError
from neurocohort.files import read_json
from neurocohort.learning.judgement import WAYS_OUT
from neurocohort.learning.model_files import RUN, WEIGHTS
from neurocohort.learning.outcomes import NO, NOT_JUDGED, YES

ANSWERS = {True: YES, False: NO, None: NOT_JUDGED}
ALL_USED = "no network of the experiment learned anything, so that all are averaged"
COLUMNS = ["member", "fold", "seed", "attempts", "epochs", "best_epoch", "criterion", "spread", "least_spread", "edge"]
COLUMNS += ["learned", "used", "reason"]


def read_runs(folders: Iterable[Path]) -> dict[str, dict]:
    """By member's name, run.json of each of the members' ``folders``."""
    return {folder.name: read_json(folder / RUN) for folder in folders}


def network_table(runs: dict[str, dict]) -> pd.DataFrame:
    """networks.tsv: a row a member, in their order.

    ``member``; ``fold``, 0 without cross-validation; ``seed`` of the kept weights; ``attempts``, trainings that it took;
    ``epochs`` run and ``best_epoch`` kept; ``criterion`` by which it was; ``spread`` of its predictions of the validation scans
    and ``least_spread``, the smallest that passes; ``edge`` (see `judgement.Judgement`); ``learned``: yes, no, or not judged;
    ``used``: yes or no, whether it is in the average; ``reason``: sentences on what is not as usual. Raises InputError where no
    network has a model.
    """
    used = set(used_members(runs))
    rows = []
    for member, run in runs.items():
        learning = run["learning"]
        rows.append(
            {
                "member": member,
                "fold": run["settings"]["fold"],
                "seed": run["seed"],
                "attempts": len(learning["attempts"]),
                "epochs": run["epochs_run"],
                **{name: run[name] for name in ("best_epoch", "criterion")},
                **{name: learning[name] for name in ("spread", "least_spread", "edge")},
                "learned": ANSWERS[learning["learned"]],
                "used": ANSWERS[member in used],
                "reason": "; ".join(_reasons(member, runs, used)),
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS).astype({"best_epoch": "Int64"})


def used_members(runs: dict[str, dict]) -> list[str]:
    """The members whose predictions are averaged: those that learned something or are not judged; where there are none, all
    that have a model. Raises InputError where no training left one.
    """
    usable = [member for member, run in runs.items() if run["best_epoch"] is not None]
    if not usable:
        raise InputError(
            f"every training of the experiment ({', '.join(runs)}) ended without a finite validation loss, so there is no "
            f"model to use; expected at least one. Fix: {WAYS_OUT}."
        )
    return [member for member in usable if runs[member]["learning"]["learned"] is not False] or usable


def first_used(folders: Iterable[Path]) -> Path:
    """Of members' ``folders``, in order of preference, the first whose network learned something or is not judged, or else the
    first with a model. Raises InputError where none has one.
    """
    by_name = {folder.name: folder for folder in folders}
    return by_name[used_members(read_runs(by_name.values()))[0]]


def starting_weights(candidates: list[Path]) -> tuple[Path, str]:
    """The weights that a transfer starts from: of the model.safetensors ``candidates``, in order of preference, those of
    `first_used`. And a warning where that network learned nothing, else an empty text.
    """
    folder = first_used(path.parent for path in candidates)
    learning = read_runs([folder])[folder.name]["learning"]
    warning = f"warning: {folder}, which this training starts from, learned nothing: {learning['reason']}."
    return folder / WEIGHTS, warning if learning["learned"] is False else ""


def _reasons(member: str, runs: dict[str, dict], used: set[str]) -> Iterable[str]:
    run = runs[member]
    if run["learning"]["reason"]:
        yield run["learning"]["reason"]
    if run["learning"]["learned"] is False and member in used:
        yield ALL_USED
    fold = run["settings"]["fold"]
    if fold and not any(other["settings"]["fold"] == fold for name, other in runs.items() if name in used):
        yield f"no other network validates fold {fold}, so that its validation scans have no out-of-fold prediction"
