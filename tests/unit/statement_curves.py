"""What the report says about made-up learning curves."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.learning_curve import Start
from neurocohort.evaluation.learning_curve import learning_curve as made_curve
from neurocohort.report.learning_curve import learning_curve
from neurocohort.report.part import Content
from neurocohort.report.tables import Table

PEOPLE = 16


def predicted(error: float, count: int = PEOPLE, seed: int = 0) -> pd.DataFrame:
    """Ages of held-out participants with predictions that differ from them by about ``error`` years."""
    ages = np.linspace(20, 80, PEOPLE)
    differences = error * (1 + 0.2 * np.random.default_rng(seed).normal(size=PEOPLE)) * np.resize([-1, 1], PEOPLE)
    names = [f"p{number}" for number in range(PEOPLE)]
    table = pd.DataFrame({"cohort": "mine", "part": "held-out", "scan_id": names, "participant_id": names})
    return table.assign(target=ages, prediction=ages + differences).head(count)


def curve(tuned: float, random: float, applied: float | None = None, *, of: int = PEOPLE) -> pd.DataFrame:
    """The table of networks with these errors, in years; the applied one on the first ``of`` participants."""
    points = [
        Start("fine-tuned", 10, predicted(9, seed=1)),
        Start("fine-tuned", 20, predicted(tuned, seed=2)),
        Start("random", 10, predicted(15, seed=3), learned=False),
        Start("random", 20, predicted(random, seed=4)),
    ]
    first = None if applied is None else Start("applied", 0, predicted(applied, of, seed=5))
    return made_curve(points, first, "" if first else "Not applied: a reason.", "regression", Bootstrap(100, 1))


def shown(table: pd.DataFrame) -> Content:
    """What the page has on a curve."""
    content = Content()
    with tempfile.TemporaryDirectory() as folder:
        experiment = SimpleNamespace(learning_curve=table, target="age")
        figure = lambda kind: Path(folder) / f"{kind}.svg"  # noqa: E731
        learning_curve(SimpleNamespace(experiment=experiment, headline_metric="mae", figure=figure), content)
    return content


def said(table: pd.DataFrame) -> list[str]:
    content = shown(table)
    drawn = [text for one in content.figures for text in (one.alt, one.caption)]
    tables = [text for one in content.details if isinstance(one, Table) for text in (one.caption, one.summary)]
    return [*content.sentences, *drawn, *tables, *map(str, table["note"].unique())]


def without_interval() -> pd.DataFrame:
    table = curve(2, 9)
    return table.assign(minus_random_low=np.nan, minus_random_high=np.nan)


CURVES: dict[str, Callable[[], list[str]]] = {
    "curve_better": lambda: said(curve(2, 9, 12)),
    "curve_worse": lambda: said(curve(9, 2, 3)),
    "curve_open": lambda: said(curve(2, 2, 2, of=12)),
    "curve_not_applied": lambda: said(curve(2, 9)),
    "curve_without_interval": lambda: said(without_interval()),
    "curve_of_nobody": lambda: said(curve(2, 9, 9, of=1)),
}
