"""Find the preprocessed scans, and check that they have the grid and the scale on which the model was trained."""

from pathlib import Path

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor

TISSUE_MAPS = ("CSF", "GM", "WM")
MODULATED_GM, MODULATED_RANGE = "GM_modulated", 2.0  # the full scale of its levels; larger values are clipped
LEVELS = 255  # preprocessed images are 0 to 1, and the network was trained on eight bits per voxel
AFFINE_TOLERANCE_MM = 1e-3


def find_scans(folder: str, modalities: list[str]) -> list[dict[str, str]]:
    """The scans in ``folder`` and its subfolders, sorted: the ``scan_id`` of each and, by modality, its file.

    A scan's files are ``<scan_id>_space-<template>_desc-preproc_<modality>.nii.gz``, all modalities in one folder; those of the
    tissue maps CSF, GM and WM end in ``_label-<tissue>_probseg.nii.gz``, that of GM_modulated in
    ``_label-GM_desc-modulated_probseg.nii.gz``.

    Raises:
        ValueError: If there is no scan, a scan has no file of a modality, or two scans have the same scan_id.
    """
    first = _ending(modalities[0])
    found = []
    for path in sorted(Path(folder).rglob(f"*_space-*_{first}")):
        scan_id = path.name.split("_space-")[0]
        files = {kind: path.with_name(path.name.removesuffix(first) + _ending(kind)) for kind in modalities}
        if absent := [str(file) for file in files.values() if not file.is_file()]:
            raise ValueError(f"the scan {scan_id} has no {', '.join(absent)}; the model needs {', '.join(modalities)}.")
        found.append({"scan_id": scan_id, **{kind: str(file) for kind, file in files.items()}})
    if not found:
        raise ValueError(
            f"{folder} contains no preprocessed scan (*_space-*_{first}). Give the folder with --dataset_dir."
        )
    names = [scan["scan_id"] for scan in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"{folder} contains the scan {twice[0]} more than once. Apply the model to one cohort at a time."
        )
    return sorted(found, key=lambda scan: scan["scan_id"])


def _ending(modality: str) -> str:
    if modality == MODULATED_GM:
        return "label-GM_desc-modulated_probseg.nii.gz"
    return f"label-{modality}_probseg.nii.gz" if modality in TISSUE_MAPS else f"desc-preproc_{modality}.nii.gz"


def to_levels(image: MetaTensor, shape: list[int], affine: list[list[float]]) -> torch.Tensor:
    """The integer levels 0 to 255 of a preprocessed image, in float32.

    Args:
        image: (1, X, Y, Z), 0 outside the brain, 0 to 1; the map of GM_modulated may exceed 1.
        shape: The model's grid in voxels.
        affine: The model's affine, 4 x 4 in RAS mm.

    Raises:
        ValueError: If the image has another grid or scale of intensity; the predictions would be meaningless.
    """
    name = Path(str(image.meta["filename_or_obj"])).name
    if tuple(image.shape[1:]) != tuple(shape):
        raise ValueError(f"{name} has {tuple(image.shape[1:])} voxels and the model expects {tuple(shape)}.")
    if not np.allclose(np.asarray(image.affine), np.asarray(affine), atol=AFFINE_TOLERANCE_MM):
        raise ValueError(
            f"{name} is not on the model's grid: its affine is {image.affine.tolist()}, expected {affine}."
        )
    if name.endswith(_ending(MODULATED_GM)):
        levels: torch.Tensor = torch.clamp(image / MODULATED_RANGE, max=1.0)
    else:
        levels = image
    low, high = float(levels.min()), float(levels.max())
    if low < 0 or high > 1 or high == low:
        raise ValueError(
            f"{name} has intensities from {low:g} to {high:g}; the model expects 0 to 1, 0 outside the brain."
        )
    return torch.round(levels * LEVELS)
