"""Random predictions that the tests of the evaluation share."""

import numpy as np
import pandas as pd
from neurocohort.evaluation.intervals import Bootstrap

QUICK = Bootstrap(200, seed=1)
NO_BASELINE = pd.DataFrame(columns=["model"])


def people(count: int, part: str = "held-out", cohort: str = "a", seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng([seed, count])
    names = [f"{cohort}{part[0]}{number:03d}" for number in range(count)]
    table = pd.DataFrame({"cohort": cohort, "part": part, "scan_id": names, "participant_id": names})
    table["site"] = np.where(np.arange(count) % 3, "x", "y")
    return table.assign(age=rng.uniform(20, 90, count).round(1), sex=np.where(np.arange(count) % 2, "F", "M"))


def aged(count: int, part: str = "held-out", cohort: str = "a", seed: int = 0, noise: float = 5) -> pd.DataFrame:
    """Ages and predictions that are drawn to the mean."""
    table = people(count, part, cohort, seed)
    drawn = np.random.default_rng([seed, 1]).normal(0, noise, count)
    return table.assign(target=table["age"], prediction=0.7 * table["age"] + 15 + drawn)


def rated(count: int, part: str = "held-out", cohort: str = "a", seed: int = 0, apart: float = 1.5) -> pd.DataFrame:
    """Classes and probabilities."""
    rng = np.random.default_rng([seed, 2])
    table = people(count, part, cohort, seed).assign(target=(rng.random(count) < 0.45).astype(int))
    score = rng.normal(0, 1, count) + apart * (table["target"] - 0.5)
    return table.assign(prediction=(1 / (1 + np.exp(-score))).round(6))


def model(table: pd.DataFrame, name: str, **columns) -> pd.DataFrame:
    return table.assign(model=name, **columns)


def volumes(count: int) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    table = people(count).merge(pd.DataFrame({"tissue": ["CSF", "GM"]}), how="cross")
    reference = rng.normal(500, 50, len(table))
    return table.assign(
        dice=rng.uniform(0.8, 0.9, len(table)),
        hd95_mm=rng.uniform(1, 3, len(table)),
        reference_ml=reference,
        volume_ml=reference + 12 + rng.normal(0, 20, len(table)),
    )
