"""A small bundle for raw scans: an untrained network, and training scans like one head."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from neurocohort.export.bundle import Outcome, write_bundle
from neurocohort.export.raw_scans import RawScanParts
from neurocohort.files import write_json
from neurocohort.imaging.template import make_template
from neurocohort.learning.feature_files import ScanFeatures
from neurocohort.learning.model_files import RUN, WEIGHTS
from neurocohort.learning.networks import copied_weights
from neurocohort.learning.settings import TrainingSettings
from neurocohort.learning.tasks import Regression, Task, task_values
from neurocohort.learning.training import network_of
from neurocohort.study.configuration import check_configuration
from safetensors.torch import save_file

SHAPE, SPACING_MM = (40, 48, 40), 4.0
SCANS, TRAINED = 60, 40
AGES = Regression(False, 20.0, 90.0, 55.0, 20.0)
CHANNELS = {"regression": [4, 6, 6], "classification": [4, 6, 6], "segmentation": [4, 8]}
NETWORKS = {"regression": "sfcn", "classification": "sfcn", "segmentation": "unet"}
TARGETS = {"regression": "age", "classification": "dementia", "segmentation": "dseg"}
TYPICAL = {
    "mask_ml": 1450.0,
    "contrast_gm_csf": 0.3,
    "contrast_wm_gm": 0.35,
    "snr_wm": 16.0,
    "cjv": 0.5,
    "symmetry": 0.9,
}


def write_member(folder: Path, task: Task, number: int = 1, modalities: tuple[str, ...] = ("T1w",)) -> Path:
    """A network with random weights, as a training leaves it."""
    values = {"task": task.kind, "network": NETWORKS[task.kind], "channels": CHANNELS[task.kind], "seed": number}
    settings = TrainingSettings(**values, modalities=list(modalities), classes=getattr(task, "classes", 2), threads=1)
    torch.manual_seed(number)
    network = network_of(settings, task)
    member = folder / f"seed-{number}"
    member.mkdir(parents=True)
    save_file(copied_weights(network), member / WEIGHTS)
    intensity = {"mean": [110.0] * len(modalities), "deviation": [60.0] * len(modalities)}
    record = {"settings": settings.as_dict(), "task": task_values(task), "intensity": intensity, "validation_loss": 0.5}
    record |= {"parameters": 1, "epochs_run": 3, "best_epoch": 2, "seed": number, "device": "cpu", "torch": "2"}
    write_json(member / RUN, record)
    return member


def samples() -> pd.DataFrame:
    """Participants of 20 to 79 years: 40 for training, 20 held out."""
    rows = pd.DataFrame({"scan_id": [f"sub-{number:02d}_ses-1" for number in range(SCANS)], "cohort": "ixi"})
    rows["participant_id"] = rows["scan_id"].str.split("_").str[0]
    rows["part"] = ["train"] * TRAINED + ["held-out"] * (SCANS - TRAINED)
    ages = 20.0 + np.arange(SCANS)[::-1]
    sexes = ["F", "M"] * (SCANS // 2)
    return rows.assign(pack="development", row=range(SCANS), site="Guys", age=ages, sex=sexes, target=ages)


def quality(numbers: dict[str, float], seed: int = 1) -> pd.DataFrame:
    """A quality table of scans whose numbers differ by 3 % (standard deviation) from ``numbers``."""
    drawn = np.random.default_rng(seed).normal(1, 0.03, (SCANS, len(numbers)))
    table = pd.DataFrame(drawn * list(numbers.values()), columns=list(numbers))
    scores = pd.DataFrame(0.0, index=table.index, columns=[f"{name}_z" for name in numbers])
    return pd.concat([samples()[["scan_id"]].assign(cohort="ixi", status="ok"), table, scores], axis=1)


def features(centre: np.ndarray, seed: int = 2) -> ScanFeatures:
    """Features that differ from ``centre``, (features,), by 5 % of its largest value."""
    spread = 0.05 * float(np.abs(centre).max())
    values = centre + np.random.default_rng(seed).normal(0, spread, (SCANS, len(centre)))
    return ScanFeatures(samples()[["cohort", "part", "scan_id"]], values.astype(np.float32))


def configuration(task: str = "regression") -> dict:
    experiment = {"task": task, "target": TARGETS[task], "cohorts": ["ixi"]}
    network = {"name": NETWORKS[task], "channels": CHANNELS[task]}
    config = {
        "study": "toy",
        "cohorts": {"ixi": {"source": "ixi"}},
        "experiments": {"toy": experiment | {"network": network}},
    }
    config["preprocessing"] = {"spacing_mm": SPACING_MM, "shape": list(SHAPE)}
    if task == "classification":
        config["cohorts"] = {"ixi": {"source": "oasis1", "accept_data_use_agreement": True}}
    return check_configuration(config, source="test")


def write_raw_scan_bundle(
    folder: Path, template: Path, task: Task = AGES, parts: RawScanParts | None = None, members: int = 1
) -> Path:
    """Write a bundle with the part for raw scans."""
    paths = [write_member(folder / "members", task, number) for number in range(1, members + 1)]
    columns = ["model", "cohort", "part", "group", "metric", "value", "ci_low", "ci_high", "interval", "n"]
    given = parts or RawScanParts(template, quality(TYPICAL))
    if task.kind != "segmentation" and not given.features:
        width = CHANNELS[task.kind][-1]
        given = replace(given, features={path.name: features(np.ones(width)) for path in paths})
    outcome = Outcome(raw_scans=given)
    named = {path.name: path for path in paths}
    own = samples().assign(target=samples()["age"] if task.kind == "regression" else [0, 1] * (SCANS // 2))
    write_bundle(folder / "bundle", "toy", named, pd.DataFrame(columns=columns), own, configuration(task.kind), outcome)
    return folder / "bundle"


def write_template(folder: Path) -> Path:
    path = folder / "template.npz"
    make_template(path, SPACING_MM, SHAPE)
    return path
