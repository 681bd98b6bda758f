"""From a network's outputs to predictions, and from the predictions of one or more networks to the rows of predictions.tsv."""

from pathlib import Path

import nibabel as nib
import numpy as np
import torch

LEVELS = 255  # in which a member's tissue probabilities are kept before they are averaged
TISSUES = ("CSF", "GM", "WM")
DECIMALS = 6
MNI_CODE = 4  # NIfTI's code for a space that is an MNI template


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


def value_rows(scan_id: str, members: list[torch.Tensor], output_dir: str, affine: np.ndarray) -> list[dict]:
    """One row: the mean of the members' values, each a single number."""
    return [{"scan_id": scan_id, "prediction": _rounded(_mean(members))}]


def class_rows(scan_id: str, members: list[torch.Tensor], output_dir: str, affine: np.ndarray) -> list[dict]:
    """One row, from the mean of the members' probabilities (K,): that of class 1; of three and more classes the most probable
    class, and each one's probability.
    """
    mean = _mean(members)
    if len(mean) == 2:
        return [{"scan_id": scan_id, "prediction": _rounded(mean[1])}]
    probabilities = {f"probability_{number}": _rounded(one) for number, one in enumerate(mean)}
    return [{"scan_id": scan_id, "prediction": int(mean.argmax()), **probabilities}]


def label_rows(
    scan_id: str, members: list[torch.Tensor], output_dir: str, affine: np.ndarray, space: str
) -> list[dict]:
    """A row a tissue with its volume in mL in template space, and the label map (0 background, 1 CSF, 2 GM, 3 WM) as a file
    in ``output_dir``.

    ``members``: probabilities (4, X, Y, Z) each; ``affine``: of the scan; ``space``: the template's name.
    """
    # Eight bits a probability, as the pipeline keeps them; where two tissues are equal the smaller label is taken.
    total = sum(torch.round(probabilities * LEVELS).numpy() for probabilities in members)
    labels = total.argmax(axis=0).astype(np.uint8)
    image = nib.Nifti1Image(labels, affine)
    image.set_sform(affine, code=MNI_CODE)
    image.set_qform(affine, code=MNI_CODE)
    image.header.set_xyzt_units("mm")
    nib.save(image, Path(output_dir) / f"{scan_id}_space-{space}_dseg.nii.gz")
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    counts = np.bincount(labels.ravel(), minlength=len(TISSUES) + 1)[1:]
    return [
        {"scan_id": scan_id, "tissue": tissue, "volume_ml": round(int(count) * voxel_ml, 3)}
        for tissue, count in zip(TISSUES, counts, strict=True)
    ]


def _mean(members: list[torch.Tensor]) -> np.ndarray:
    return np.stack([member.numpy().astype(np.float64) for member in members]).mean(axis=0)


def _rounded(number: np.ndarray) -> float:
    return round(float(number), DECIMALS)
