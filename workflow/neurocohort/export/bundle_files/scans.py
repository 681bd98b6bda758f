"""The preprocessed scans that a model is applied to: finding them, and holding them against what the model was trained on."""

from pathlib import Path

import numpy as np
import torch

LEVELS = 255  # preprocessing leaves 0..1, and the network learned from eight bits a voxel
AFFINE_TOLERANCE_MM = 1e-3


def find_scans(folder: str, modalities: list[str]) -> list[dict[str, str]]:
    """The scans below ``folder``, sorted: for each its ``scan_id`` and, by modality, the file.

    A scan is ``<scan_id>_space-<template>_desc-preproc_<modality>.nii.gz``, its modalities lie in one folder. Raises ValueError
    where there is none, where one lacks a modality, and where two have the same scan_id.
    """
    first = modalities[0]
    found = []
    for path in sorted(Path(folder).rglob(f"*_space-*_desc-preproc_{first}.nii.gz")):
        scan_id = path.name.split("_space-")[0]
        files = {
            kind: path.with_name(path.name.replace(f"preproc_{first}.", f"preproc_{kind}.")) for kind in modalities
        }
        if absent := [str(file) for file in files.values() if not file.is_file()]:
            raise ValueError(f"the scan {scan_id} lacks {', '.join(absent)}; the model needs {', '.join(modalities)}.")
        found.append({"scan_id": scan_id, **{kind: str(file) for kind, file in files.items()}})
    if not found:
        raise ValueError(
            f"{folder} holds no preprocessed scan (*_space-*_desc-preproc_{first}.nii.gz): name the folder with --dataset_dir."
        )
    names = [scan["scan_id"] for scan in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{folder} holds the scan {twice[0]} more than once: apply the model to one cohort at a time.")
    return sorted(found, key=lambda scan: scan["scan_id"])


def to_levels(image: torch.Tensor, shape: list[int], affine: list[list[float]]) -> torch.Tensor:
    """``image`` (1, X, Y, Z; 0 to 1, 0 outside the brain; MONAI's MetaTensor) as the whole levels 0 to 255, in float32.

    Raises ValueError where it lies on another grid than ``shape`` and ``affine`` (4 x 4, RAS mm) say, or on another scale of
    intensity: a network applied to scans that were prepared otherwise gives numbers that mean nothing.
    """
    name = Path(str(image.meta["filename_or_obj"])).name
    if tuple(image.shape[1:]) != tuple(shape):
        raise ValueError(f"{name} has {tuple(image.shape[1:])} voxels and the model expects {tuple(shape)}.")
    if not np.allclose(np.asarray(image.affine), np.asarray(affine), atol=AFFINE_TOLERANCE_MM):
        raise ValueError(
            f"{name} lies elsewhere than the model's grid: its affine is {image.affine.tolist()}, not {affine}."
        )
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 1 or high == low:
        raise ValueError(
            f"{name} has intensities from {low:g} to {high:g}; the model expects 0 to 1, 0 outside the brain."
        )
    return torch.round(image * LEVELS)
