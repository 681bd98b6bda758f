"""What the report says about made-up counterfactual images."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from neurocohort.evaluation.counterfactual import Asked, Pairs, Reconstructed, counterfactual_table
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.report.counterfactual import counterfactual
from neurocohort.report.part import Content
from neurocohort.report.sources import Missing
from statement_study import Scenario

NETWORKS = 4


def pairs(
    count: int = 20, *, slope: float = 0.5, noise: float = 2.0, random_noise: float = 2.0, voxels: float = 3.0
) -> Pairs:
    """Two directions of 10 units each: the trained network moves by ``slope`` for a unit, random ones by their own amount."""
    rng = np.random.default_rng(1)
    asked = np.tile([-10.0, 10.0], count)
    random = np.array([0.3, -0.2, 0.5, -0.4])[:, None] * asked + random_noise * rng.normal(size=(NETWORKS, 2 * count))
    return Pairs(
        people=np.repeat([f"p{number}" for number in range(count)], 2),
        asked=asked,
        predicted=slope * asked + noise * rng.normal(size=2 * count),
        of_random_networks=random,
        of_random_models=rng.normal(size=(NETWORKS, 2 * count)),
        voxels=voxels + 0.1 * rng.normal(size=2 * count),
        random_voxels=1 + 0.1 * rng.normal(size=(NETWORKS, 2 * count)),
        identified=np.arange(2 * count) % 4 > 0,
    )


def scans(count: int = 20, *, error: float = 5.0) -> Reconstructed:
    rng = np.random.default_rng(2)
    return Reconstructed(
        people=np.array([f"p{number}" for number in range(count)]),
        error=error + 0.1 * rng.normal(size=count),
        error_of_mean=10 + 0.1 * rng.normal(size=count),
        shift=np.abs(rng.normal(size=count)),
        identified=np.ones(count, dtype=bool),
    )


def made(count: int = 20, *, error: float = 5.0, left_out: int = 0, **how: float) -> pd.DataFrame:
    """counterfactual.tsv of made-up changes."""
    return counterfactual_table(
        pairs(count, **how), scans(count, error=error), Asked(10.0, left_out), Bootstrap(100, 1)
    )


def arrays(shown: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {
        "images": rng.integers(0, 255, (shown, 4, 8, 8, 8)).astype(np.uint8),
        "target": np.linspace(30, 70, shown),
        "change": np.float64(10),
        "differences": rng.normal(size=(2, 8, 8, 8)).astype(np.float32),
    }


def said(table: pd.DataFrame | Missing | None, examples: dict[str, np.ndarray] | None) -> list[str]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "generation").mkdir()
        if examples is not None:
            np.savez(folder / "generation" / "counterfactual.npz", **examples)
        sources = SimpleNamespace(lack=lambda path, what, why="": Missing("counterfactual.npz", what, why, "missing-1"))
        experiment = SimpleNamespace(counterfactual=table, folder=folder, name="e", sources=sources)
        part = SimpleNamespace(experiment=experiment, target="age", unit=" years", output=folder)
        content = Content()
        counterfactual(part, content)
        shown = [*content.figures, *content.details]
        texts = [getattr(one, name, "") for one in shown for name in ("caption", "summary", "alt", "what", "reason")]
        return [*content.sentences, *texts]


def _changes(scenario: Scenario) -> None:
    scenario.experiments["brain_age"]["generation"] = {
        **{"epochs": 60, "steps": 50, "kl_weight": 0.0001},
        "counterfactual": {"change": 20, "strength": 0.5, "scans": 24, "random_networks": 5},
    }
    scenario.train("brain_age")


COUNTERFACTUAL_PIECES: dict[str, Callable[[], list[str]]] = {
    "counterfactual_as_asked": lambda: said(made(left_out=3, slope=1.5, noise=0.1, random_noise=8.0), arrays()),
    "counterfactual_not_more_than_random": lambda: said(made(noise=8.0, random_noise=0.1, error=12.0), arrays()),
    "counterfactual_against": lambda: said(made(slope=-0.5, voxels=0.5), arrays()),
    "counterfactual_unclear": lambda: said(made(slope=0.0, voxels=1.0, error=10.0), arrays()),
    "counterfactual_as_steady": lambda: said(made(slope=1.0, random_noise=2.0), arrays()),
    "counterfactual_of_nobody": lambda: said(made(2), arrays(0)),
    "counterfactual_without_figure": lambda: said(made(), None),
    "counterfactual_not_asked": lambda: said(None, None),
}
COUNTERFACTUAL_OPTIONS: dict[str, Callable[[Scenario], None]] = {"counterfactual images": _changes}
