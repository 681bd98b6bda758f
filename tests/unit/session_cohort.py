"""A made-up cohort with several sessions, as tables: people whose grey matter shrinks, and some in whom it shrinks faster."""

import numpy as np
import pandas as pd
from neurocohort.files import write_table
from neurocohort.settings.longitudinal import Longitudinal

PARTS = ("train", "train", "train", "validation", "held-out", "held-out")


def made_tables(people: int = 72, sessions: int = 3, seed: int = 1) -> dict[str, pd.DataFrame]:
    """scans, qc and split. Every third participant converts; at the first session these differ in nothing.

    Variables: age, sex, memory (falls faster before conversion), converted, and conversion_age, which is after the last session.
    """
    rng = np.random.default_rng(seed)
    scans, qc, split = [], [], []
    for number in range(people):
        name, converts = f"sub-{number:03d}", number % 3 == 0
        age, level, memory = rng.uniform(60, 80), rng.normal(0.45, 0.02), rng.normal(28, 1)
        split.append({"participant_id": name, "part": PARTS[number // 3 % len(PARTS)], "stratum": "all", "fold": 1})
        for visit in range(sessions if number % 10 else 1):
            years = 1.5 * visit + rng.uniform(-0.2, 0.2) * (visit > 0)
            scan = {"participant_id": name, "session_id": f"ses-{visit + 1}", "scan_id": f"{name}_ses-{visit + 1}"}
            gm = level - years * (0.012 if converts else 0.002) + rng.normal(0, 0.002)
            loss = years * (1.0 if converts else 0.1)
            scans.append(scan | {
                "site": "here", "age": age + years, "sex": "FM"[number % 2], "voxels_sha256": scan["scan_id"],
                "memory": memory - loss + rng.normal(0, 0.2), "converted": int(converts),
                "conversion_age": age + 6 if converts else np.nan,
            })  # fmt: skip
            volumes = {"volume_brain_ml": 1200.0, "volume_gm_ml": 1200 * gm, "volume_csf_ml": 1200 * (0.6 - gm)}
            qc.append({**scan, "status": "ok", "has_labels": 0, "volume_wm_ml": 480.0, **volumes})
    return {"scans": pd.DataFrame(scans), "qc": pd.DataFrame(qc), "split": pd.DataFrame(split)}


def wanted(**keys) -> Longitudinal:
    """Settings of a quick analysis; a key that is None is left out."""
    quick = {"task": "classification", "target": "converted", "cohorts": ["mine"], "outcome_time": "conversion_age"}
    given = quick | {"epochs": 30, "width": 8, "seeds": [1]} | keys
    return Longitudinal(**{key: value for key, value in given.items() if value is not None})


def write_cohort(folder, tables: dict[str, pd.DataFrame], cohort: str = "mine") -> None:
    """Write the tables where the workflow has them: ``data/`` and ``results/`` in ``folder``."""
    (folder / "data" / cohort).mkdir(parents=True)
    (folder / "results" / cohort).mkdir(parents=True)
    write_table(folder / "data" / cohort / "scans.tsv", tables["scans"])
    for name in ("qc", "split"):
        write_table(folder / "results" / cohort / f"{name}.tsv", tables[name])
