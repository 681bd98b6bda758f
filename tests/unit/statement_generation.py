"""What the report says about made-up comparisons of generated images with scans."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from neurocohort.evaluation.generation import USE, Images, generation_table
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.report.generation import generation
from neurocohort.report.part import Content
from neurocohort.report.sources import Missing
from statement_study import Scenario

BLOCKS = 30


def people(count: int, seed: int) -> Images:
    values = np.random.default_rng(seed).normal(100, 5, (count, BLOCKS)).astype(np.float32)
    return Images(values, np.array([f"{seed}-{number}" for number in range(count)]))


def predictions(error: float, seed: int, count: int) -> pd.DataFrame:
    names = [f"p{number}" for number in range(count)]
    target = np.linspace(20, 80, count)
    noise = error * np.random.default_rng(seed).normal(size=count)
    columns = {"cohort": "mine", "scan_id": names, "participant_id": names, "target": target}
    return pd.DataFrame(columns | {"prediction": target + noise})


def made(
    count: int = 40, *, error: float = 3.0, other: float = 3.0, copies: bool = False, generated: Images | None = None
) -> pd.DataFrame:
    """generation.tsv of generated images that are like the scans, or copies of training scans."""
    training = people(count, 2)
    images = Images(training.values + 0.01, people(count, 1).people) if copies else generated or people(count, 1)
    tables = predictions(error, 4, count), predictions(other, 5, count)
    return generation_table(tables, images, training, people(count, 3), Bootstrap(100, 1))


def said(table: pd.DataFrame | Missing | None, *, examples: bool = True) -> list[str]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "generation").mkdir()
        if examples:
            images = np.random.default_rng(1).integers(0, 255, (2, 8, 8, 8)).astype(np.uint8)
            known = {"target": np.array([30.0, 70.0]), "sex": np.array(["F", ""])}
            np.savez(folder / "generation" / "examples.npz", images=images, **known)
        sources = SimpleNamespace(lack=lambda path, what, why="": Missing("examples.npz", what, why, "missing-1"))
        experiment = SimpleNamespace(generation=table, target="age", folder=folder, name="e", sources=sources)
        part = SimpleNamespace(experiment=experiment, headline_metric="mae", target="age", unit=" years", output=folder)
        content = Content()
        generation(part, content)
        shown = [*content.figures, *content.details]
        texts = [getattr(one, name, "") for one in shown for name in ("caption", "summary", "alt", "what", "reason")]
        return [*content.sentences, *texts]


def without(column: str, question: str) -> pd.DataFrame:
    table = made()
    table.loc[table["question"] == question, column] = np.nan
    return table


def _generates(scenario: Scenario) -> None:
    scenario.experiments["brain_age"]["generation"] = {"epochs": 60, "steps": 50, "kl_weight": 0.0001}
    scenario.train("brain_age")


FAR = Images(people(40, 1).values + 3, people(40, 1).people)
GENERATION_PIECES: dict[str, Callable[[], list[str]]] = {
    "generation_same": lambda: said(made()),
    "generation_worse": lambda: said(made(error=15.0, generated=FAR)),
    "generation_better": lambda: said(made(other=15.0, copies=True)),
    "generation_of_nobody": lambda: said(made(count=2)),
    "generation_without_interval": lambda: said(without("difference_low", USE)),
    "generation_without_figure": lambda: said(made(), examples=False),
    "generation_not_asked": lambda: said(None),
}
GENERATION_OPTIONS: dict[str, Callable[[Scenario], None]] = {"generative model": _generates}
