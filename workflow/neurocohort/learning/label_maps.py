"""A segmentation as files: for each scan a label map on the study's grid and one on the grid of the raw scan.

The second one is computed from the probabilities: each tissue's is interpolated linearly through the stored transform, and the
largest one gives the label. So there is one resampling, without the steps of the coarser grid.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from neurocohort.errors import InputError
from neurocohort.files import read_json, write_table, written_aside
from neurocohort.imaging.deformable import PointMap
from neurocohort.imaging.derivatives import labels_name, mask_output, qc_path, scan_folder, space_of
from neurocohort.imaging.label_names import label_table
from neurocohort.imaging.mapping import Mapping
from neurocohort.imaging.reading import write_image
from neurocohort.imaging.registration import from_itk
from neurocohort.imaging.volume import Grid, Volume
from neurocohort.learning.prediction_tables import label_map
from neurocohort.structures import TISSUES

SLAB_VOXELS = 500_000  # of the raw scan's grid at a time: some 50 MB
LPS_FROM_RAS = np.array([-1, -1, 1], dtype=np.float32)


def write_label_maps(
    scans: pd.DataFrame,
    probabilities: Iterable[np.ndarray],
    results: Path,
    folder: Path,
    structures: Sequence[str] = TISSUES,
) -> pd.DataFrame:
    """Write both label maps of each scan and ``dseg.tsv``, which names the labels.

    The names end in ``_space-<template>_dseg.nii.gz`` and, with BIDS' name for the raw scan's grid, ``_space-orig_dseg.nii.gz``.

    Args:
        scans: cohort and scan_id.
        probabilities: (labels, X, Y, Z) for each row: background and the structures on the study's grid.
        results: The folder of the preprocessed cohorts.
        folder: Where to write, with one subfolder for each cohort.
        structures: Their names, label 1 first.

    Returns:
        volumes.tsv: cohort, scan_id, tissue and volume_ml in the raw scan's space; missing for a scan that came in MNI space,
        where it isn't the volume of the person's own head.

    Raises:
        InputError: If a preprocessed scan or its transform is missing.
    """
    rows = []
    for scan, maps in zip(scans[["cohort", "scan_id"]].to_dict("records"), probabilities, strict=True):
        preproc = results / scan["cohort"] / "preproc"
        record = read_json(qc_path(preproc, scan["scan_id"]))
        source = scan_folder(preproc, scan["scan_id"])
        study, native = (
            _grid(_output(source, record, name)) for name in ("preproc_T1w", mask_output(record["outputs"]))
        )
        if study.shape != maps.shape[1:]:
            raise InputError(
                f"{scan['scan_id']} was preprocessed on a grid of {study.shape} voxels and predicted on one of {maps.shape[1:]}: "
                f"delete {source} and the predictions, and run again."
            )
        labels = labels_on_grid(maps, study.affine, native, read_scan_to_template(source, record))
        written = folder / scan["cohort"]
        name = labels_name(scan["scan_id"], space_of(record["outputs"]))
        _write_labels(written / name, Volume(label_map(maps), study.affine))
        _write_labels(written / f"{scan['scan_id']}_space-orig_dseg.nii.gz", labels)
        counts = np.bincount(labels.data.ravel(), minlength=len(structures) + 1)[1:]
        voxel_ml = np.nan if record.get("mni_space") else labels.voxel_ml
        for structure, count in zip(structures, counts, strict=True):
            rows.append(scan | {"tissue": structure, "volume_ml": round(int(count) * voxel_ml, 3)})
    for cohort in scans["cohort"].unique():
        write_table(folder / cohort / "dseg.tsv", label_table(structures))
    return pd.DataFrame(rows, columns=["cohort", "scan_id", "tissue", "volume_ml"])


def labels_on_grid(probabilities: np.ndarray, affine: np.ndarray, grid: Grid, mapping: Mapping) -> Volume:
    """The most probable label at each voxel of ``grid``, uint8; background outside the field of view of the probabilities.

    Args:
        probabilities: (labels, X, Y, Z); 0 is background.
        affine: From their voxels to world points (RAS mm), 4 x 4.
        grid: The grid of the raw scan.
        mapping: From world points of ``grid`` to those of the probabilities.
    """
    labels = np.zeros(grid.shape, dtype=np.uint8)
    tissue = label_map(probabilities) > 0
    if not tissue.any():
        return Volume(labels, grid.affine)
    # Only voxels with a tissue neighbour can become tissue; the rest is background and isn't sampled.
    box = tuple(
        slice(max(0, int(index.min()) - 1), int(index.max()) + 2) for index in map(np.unique, np.nonzero(tissue))
    )
    cropped = [np.asarray(one[box], dtype=np.float32) for one in probabilities]
    first = np.array([side.start for side in box], dtype=float)
    to_index, last = np.linalg.inv(affine), np.array(cropped[0].shape) - 1
    thickness = max(1, SLAB_VOXELS // int(np.prod(grid.shape[1:])))
    for start in range(0, grid.shape[0], thickness):
        slab = labels[start : start + thickness]
        voxels = np.moveaxis(np.indices(slab.shape, dtype=float), 0, -1)
        voxels[..., 0] += start
        index = _applied(to_index, _mapped(mapping, _applied(grid.affine, voxels))) - first
        inside = ((index >= 0) & (index <= last)).all(axis=-1)
        sampled = [ndimage.map_coordinates(one, index[inside].T, order=1) for one in cropped]
        slab[inside] = np.argmax(sampled, axis=0)
    return Volume(labels, grid.affine)


def read_scan_to_template(folder: Path, record: dict[str, Any]) -> Mapping:
    """The stored mapping from world points of the raw scan (RAS mm) to those of the template: an affine, and any displacement.

    ``folder`` contains the preprocessed scan; ``record`` is the content of its ``*_qc.json``.
    """
    transform = sitk.ReadTransform(str(_output(folder, record, "inverse_xfm")))
    matrix = from_itk(sitk.AffineTransform(transform))
    if "inverse_displacement" not in record["outputs"]:
        return matrix
    image: Any = nib.load(_output(folder, record, "inverse_displacement"))
    displacement = np.asarray(image.dataobj, dtype=np.float32)[:, :, :, 0] * LPS_FROM_RAS
    return PointMap(matrix, displacement, Grid(displacement.shape[:3], image.affine), np.eye(4))


def _output(folder: Path, record: dict[str, Any], name: str) -> Path:
    entry = record["outputs"].get(name)
    if entry is None or not (folder / entry["file"]).is_file():
        raise InputError(f"{folder} lacks the scan's {name}: delete the folder and run again to have it rebuilt.")
    return folder / entry["file"]


def _grid(path: Path) -> Grid:
    image: Any = nib.load(path)
    return Grid(image.shape, np.asarray(image.affine, dtype=np.float64))


def _write_labels(path: Path, labels: Volume) -> None:
    with written_aside(path) as aside:
        write_image(aside, labels.data, labels.affine)


def _mapped(mapping: Mapping, points: np.ndarray) -> np.ndarray:
    return mapping(points) if isinstance(mapping, PointMap) else _applied(mapping, points)


def _applied(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]
