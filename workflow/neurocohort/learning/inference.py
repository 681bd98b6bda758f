"""Predictions of trained models: one row a scan, or one row a scan and tissue for a segmentation."""

import numpy as np
import pandas as pd
import torch
from torch import nn

from neurocohort.imaging.registration import dice
from neurocohort.imaging.tissues import TISSUES
from neurocohort.learning.data import PackedImages, to_input
from neurocohort.learning.tasks import SEGMENTATION, Task, predict_from

ID_COLUMNS = ["cohort", "part", "scan_id", "participant_id", "site", "age", "sex"]
PREDICTED_PARTS = ("validation", "held-out", "external")


@torch.no_grad()
def predict(
    network: nn.Module, task: Task, run: dict, samples: pd.DataFrame, packed: PackedImages, device: torch.device
) -> np.ndarray:
    """The task's prediction for each row of ``samples``: (N,) float64, or (N, X, Y, Z) uint8 label maps."""
    torch.set_num_threads(run["settings"]["threads"])
    torch.use_deterministic_algorithms(device.type == "cpu")
    mean, deviation = run["intensity"]["mean"], run["intensity"]["deviation"]
    results = []
    for index in range(len(samples)):  # one by one, so that a prediction never depends on its neighbours in a batch
        inputs = to_input(packed.stack_images(samples.iloc[index : index + 1]).to(device), mean, deviation)
        results.append(predict_from(task, network(inputs)).cpu().numpy())
    stacked = np.concatenate(results)
    return stacked if task.kind == SEGMENTATION else stacked.astype(np.float64)


def value_rows(samples: pd.DataFrame, predictions: np.ndarray) -> pd.DataFrame:
    """The table of a regression or classification: identity, target and prediction, one row a scan."""
    rows = samples[ID_COLUMNS].copy()
    rows["target"] = samples["target"].to_numpy()
    rows["prediction"] = np.round(predictions, 6)
    return rows


def overlap_rows(samples: pd.DataFrame, predicted: np.ndarray, reference: np.ndarray, voxel_ml: float) -> pd.DataFrame:
    """The table of a segmentation: Dice and volumes (mL) by scan and tissue. Label maps: (N, X, Y, Z), 1 CSF, 2 GM, 3 WM."""
    rows = []
    for index, sample in enumerate(samples[ID_COLUMNS].to_dict("records")):
        for label, tissue in enumerate(TISSUES, start=1):
            found, true = predicted[index] == label, reference[index] == label
            volumes = {
                "volume_ml": round(int(found.sum()) * voxel_ml, 3),
                "reference_ml": round(int(true.sum()) * voxel_ml, 3),
            }
            rows.append(sample | {"tissue": tissue.upper(), "dice": round(dice(found, true), 6)} | volumes)
    return pd.DataFrame(rows)


def average_members(members: list[pd.DataFrame]) -> pd.DataFrame:
    """The ensemble's table: the mean of the members' predictions (or of their Dice and volumes), row by row."""
    averaged = members[0].copy()
    for name in ("prediction", "dice", "volume_ml"):
        if name in averaged:
            averaged[name] = np.round(np.mean([member[name].to_numpy() for member in members], axis=0), 6)
    return averaged
