"""What the page and the methods say of an experiment's sweep."""

import pandas as pd

from neurocohort.learning.sweeps import ROUND
from neurocohort.report.formats import SWEEP_COLUMNS
from neurocohort.report.sources import Missing
from neurocohort.report.study import Experiment
from neurocohort.settings.sweeps import BAYESIAN, HALVING, INDEPENDENT


def sweep(experiment: Experiment) -> str | Missing:
    """A sentence on what a sweep chose; empty where there is none."""
    table = experiment.sweep
    if table is None or isinstance(table, Missing):
        return table or ""
    values = "; ".join(chosen_settings(table)) if "test_fold" in table else ", ".join(chosen_settings(table))
    how = {
        INDEPENDENT: "",
        HALVING: " by successive halving",
        BAYESIAN: " that followed from each other in rounds (a tree-structured Parzen estimator)",
    }[method_of(experiment)]
    return (
        f"Chosen from {draws_tried(experiment, table)} draws{how} by the criterion on the validation scans: {values}."
    )


def chosen_settings(sweep: pd.DataFrame) -> list[str]:
    """The keys and values of the draw that a sweep chose; with test folds those of each of them."""
    chosen = sweep[sweep["chosen"] == 1]
    keys = sweep.columns.drop([*SWEEP_COLUMNS, "test_fold", ROUND], errors="ignore")
    if "test_fold" not in sweep:
        return [f"{key} {chosen.iloc[0][key]}" for key in keys]
    return [
        f"{', '.join(f'{key} {row[key]}' for key in keys)} (test fold {row['test_fold']})"
        for row in chosen.to_dict("records")
    ]


def draws_tried(experiment: Experiment, sweep: pd.DataFrame) -> int:
    """How many draws a sweep tried; those that successive halving trained longer count once."""
    if method_of(experiment) == HALVING:
        sweep = sweep[sweep[ROUND] == 1]
    return int(sweep["draw"].nunique())


def method_of(experiment: Experiment) -> str:
    """The method of an experiment's sweep."""
    return experiment.settings["sweep"].get("method", INDEPENDENT)


def rounds(sweep: pd.DataFrame) -> int:
    """How many rounds a sweep in rounds had."""
    return int(sweep[ROUND].max())
