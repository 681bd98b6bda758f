"""From the outputs of a network to predictions, and from the predictions of several networks to the rows of predictions.tsv."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import nibabel as nib
import numpy as np
import torch

LEVELS = 255  # of a tissue probability, which is rounded before networks are averaged
TISSUES = ("CSF", "GM", "WM")
DECIMALS = 6
Row = dict[str, str | int | float]  # of predictions.tsv
MNI_CODE = 4  # NIfTI's code for a space that is an MNI template
OTHER_CODE = 2  # and for one that isn't the scanner's


def value(outputs: torch.Tensor, mean: float, scale: float) -> torch.Tensor:
    """(N, 1) standardised values to (N,) values in the target's unit."""
    return outputs[:, 0] * scale + mean


def soft_bins(outputs: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """(N, bins) logits of bins with their outer centres at ``low`` and ``high`` to the (N,) expected values."""
    centres = torch.linspace(low, high, outputs.shape[1], device=outputs.device)
    return torch.softmax(outputs, dim=1) @ centres


def two_classes(outputs: torch.Tensor) -> torch.Tensor:
    """(N, 1) logits of class 1 to the (N, 2) probabilities of both."""
    return torch.stack([torch.sigmoid(-outputs[:, 0]), torch.sigmoid(outputs[:, 0])], dim=1)


def classes(outputs: torch.Tensor) -> torch.Tensor:
    """(N, K, ...) logits to probabilities."""
    return torch.softmax(outputs, dim=1)


class Columns(Protocol):
    """Makes further columns of a scan's row from the prediction of each network, such as a conformal interval."""

    def columns(self, members: Sequence[np.ndarray]) -> dict[str, float | str]: ...


def value_rows(
    scan_id: str,
    members: list[torch.Tensor],
    output_dir: str,
    affine: np.ndarray,
    conformal: Columns | None = None,
) -> list[Row]:
    """One row: the mean of the members' values, each a single number, and its interval with ``conformal``."""
    return [{"scan_id": scan_id, "prediction": _rounded(_mean(members)), **_more(members, conformal)}]


def class_rows(
    scan_id: str,
    members: list[torch.Tensor],
    output_dir: str,
    affine: np.ndarray,
    conformal: Columns | None = None,
) -> list[Row]:
    """One row, from the mean of the members' probabilities (K,).

    For two classes it has the probability of class 1; for more, the most probable class and the probability of each class. With
    ``conformal`` it has the set of classes.
    """
    mean, more = _mean(members), _more(members, conformal)
    if len(mean) == 2:
        return [{"scan_id": scan_id, "prediction": _rounded(mean[1]), **more}]
    probabilities = {f"probability_{number}": _rounded(one) for number, one in enumerate(mean)}
    return [{"scan_id": scan_id, "prediction": int(mean.argmax()), **probabilities, **more}]


def label_rows(
    scan_id: str,
    members: list[torch.Tensor],
    output_dir: str,
    affine: np.ndarray,
    space: str,
    structures: Sequence[str] = TISSUES,
) -> list[Row]:
    """One row per tissue or structure with its volume in mL on the study's grid. Also writes the label map (0 is background).

    Args:
        scan_id: The scan.
        members: Probabilities of each network, (labels, X, Y, Z).
        output_dir: The folder of the label map.
        affine: The scan's, 4 x 4 in RAS mm.
        space: BIDS' name for the space of the study's grid.
        structures: Their names, label 1 first.
    """
    # Eight bits per probability, as in the workflow; where two tissues are equal, the smaller label is taken.
    total = np.sum([torch.round(probabilities * LEVELS).numpy() for probabilities in members], axis=0)
    labels = total.argmax(axis=0).astype(np.uint8)
    image = nib.Nifti1Image(labels, affine)
    code = MNI_CODE if space.startswith("MNI") else OTHER_CODE
    image.set_sform(affine, code=code)
    image.set_qform(affine, code=code)
    image.header.set_xyzt_units("mm")
    nib.save(image, Path(output_dir) / f"{scan_id}_space-{space}_dseg.nii.gz")
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    counts = np.bincount(labels.ravel(), minlength=len(structures) + 1)[1:]
    return [
        {"scan_id": scan_id, "tissue": structure, "volume_ml": round(int(count) * voxel_ml, 3)}
        for structure, count in zip(structures, counts, strict=True)
    ]


def _more(members: list[torch.Tensor], conformal: Columns | None) -> dict[str, float | str]:
    return conformal.columns([member.numpy().astype(np.float64) for member in members]) if conformal else {}


def _mean(members: list[torch.Tensor]) -> np.ndarray:
    return np.stack([member.numpy().astype(np.float64) for member in members]).mean(axis=0)


def _rounded(number: np.ndarray) -> float:
    return round(float(number), DECIMALS)
