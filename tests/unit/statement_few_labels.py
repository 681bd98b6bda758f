"""What the report says about made-up segmentations that learned from scans without a label map."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pandas as pd
from neurocohort.evaluation.few_labels import few_labels as made_table
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.report.few_labels import few_labels
from neurocohort.report.formats import Run
from neurocohort.report.part import Content
from statement_study import Scenario

PEOPLE = 12


def overlaps(dice: float, seed: int, count: int = PEOPLE) -> pd.DataFrame:
    """predictions.tsv of held-out participants whose Dice is about ``dice``."""
    names = [f"p{number}" for number in range(PEOPLE)]
    table = pd.DataFrame({"cohort": "mine", "part": "held-out", "scan_id": names, "participant_id": names})
    values = dice + 0.02 * np.random.default_rng(seed).normal(size=PEOPLE)
    return table.assign(site="one", tissue="GM", dice=values, volume_ml=500.0, reference_ml=510.0).head(count)


def made(own: float, other: float, *, learned: tuple[bool, bool] = (True, True), count: int = PEOPLE) -> pd.DataFrame:
    return made_table(overlaps(own, 1, count), overlaps(other, 2, count), learned, Bootstrap(100, 1))


def said(table: pd.DataFrame | None, scans: tuple[int, ...] = (20,)) -> list[str]:
    runs = {str(count): Run(unlabelled={"scans": count, "participants": count}) for count in scans}
    content, experiment = Content(), SimpleNamespace(few_labels=table, runs=runs, target="dseg")
    few_labels(SimpleNamespace(experiment=experiment, headline_metric="dice"), content)
    return [*content.sentences, *(text for one in content.details for text in (one.caption, one.summary))]


def _semi(**keys: object) -> Callable[[Scenario], None]:
    def change(scenario: Scenario) -> None:
        scenario.experiments["tissue"]["semi_supervised"] = {
            "method": "mean_teacher",
            "weight": 1.0,
            "ramp_up": 0.4,
            "threshold": 0.95,
        } | keys
        scenario.train("tissue")

    return change


FEW_LABELS_PIECES: dict[str, Callable[[], list[str]]] = {
    "few_labels_better": lambda: said(made(0.9, 0.7)),
    "few_labels_worse": lambda: said(made(0.7, 0.9, learned=(False, True)), (20, 22)),
    "few_labels_open": lambda: said(made(0.8, 0.8)),
    "few_labels_without_interval": lambda: said(made(0.9, 0.7).assign(difference_low=np.nan)),
    "few_labels_of_nobody": lambda: said(made(0.9, 0.7, count=2)),
    "few_labels_not_asked": lambda: said(None),
    "few_labels_without_runs": lambda: said(made(0.9, 0.7), ()),
}
FEW_LABELS_OPTIONS: dict[str, Callable[[Scenario], None]] = {
    "mean teacher": _semi(),
    "pseudo-labels": _semi(method="pseudo_labels", ramp_up=0.0),
}
