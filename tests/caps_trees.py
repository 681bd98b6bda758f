"""A CAPS folder of synthetic heads, with the tables and splits that ClinicaDL 1.6 writes for it.

As Clinica's pipeline t1-linear does, each head is resampled onto the grid of MNI152NLin2009cSym by an affine transform, here the
known one with a small error. The grid may be coarser than Clinica's 1 mm.
"""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from neurocohort.imaging.volume import Grid, Volume, sample
from neurocohort.synthetic import heads
from neurocohort.synthetic.anatomy import Anatomy, prepare_anatomy
from neurocohort.synthetic.archives import GUYS

ORIGIN_MM, SIZE_MM = (-96.0, -132.0, -78.0), (193, 229, 193)  # of mni_icbm152_t1_tal_nlin_sym_09c
CROP_MM = ((12, 181), (13, 221), (0, 179))  # Clinica's MNI_CROP_BBOX: first and last + 1 voxel of 1 mm
NATIVE_MM = (180, 250, 230)  # field of view of the scans
ERROR_MM = 1.0  # of the registration, along each axis


def write_caps(
    folder: Path, people: pd.DataFrame, *, spacing_mm: float, native_mm: float, seed: int = 0, cropped: bool = True
) -> None:
    """Write ``folder/subjects/sub-X/ses-Y/t1_linear/`` for each row of ``people``: participant_id, session_id, age, sex.

    ``spacing_mm``: of the grid in MNI space. ``native_mm``: voxel size of the scans. ``cropped``: write the cropped images too.
    """
    anatomy, rng = prepare_anatomy(), np.random.default_rng(seed)
    shape = tuple(int(size // spacing_mm) for size in SIZE_MM)
    grid = Grid(shape, nib.affines.from_matvec(np.eye(3) * spacing_mm, ORIGIN_MM))
    box = tuple(slice(round(low / spacing_mm), int(high // spacing_mm)) for low, high in CROP_MM)
    columns = ["participant_id", "session_id", "age", "sex"]
    for participant_id, session_id, age, sex in people[columns].itertuples(index=False):
        person = heads.draw_person(anatomy, age=age, sex=sex, cdr=0.0, rng=rng)
        image = nib.Nifti1Image(_registered(anatomy, person, native_mm, grid, rng), grid.affine)
        place = folder / "subjects" / participant_id / session_id / "t1_linear"
        place.mkdir(parents=True)
        name = f"{participant_id}_{session_id}_space-MNI152NLin2009cSym"
        nib.save(image, place / f"{name}_res-1x1x1_T1w.nii.gz")
        (place / f"{name}_res-1x1x1_affine.mat").write_bytes(b"a transform of ANTs")
        if cropped:
            nib.save(image.slicer[box], place / f"{name}_desc-Crop_res-1x1x1_T1w.nii.gz")


def write_split(folder: Path, people: pd.DataFrame, parts: dict[str, list[str]], folds: int = 0) -> Path:
    """Write the TSV files of ``clinicadl tsvtools prepare-experiment`` into ``folder/split``.

    Args:
        folder: The folder of labels.tsv.
        people: Its rows.
        parts: The participants of ``test`` and ``validation``; all others are in the training part.
        folds: With folds, everybody outside the test part is divided into so many, and ``validation`` isn't needed.

    Returns:
        The folder that ``split_file`` names.
    """
    keys = people[["participant_id", "session_id"]]
    inside = keys[~keys["participant_id"].isin(parts["test"])]
    outer = folder / "split"
    outer.mkdir()
    _write_part(outer / "test_baseline.tsv", keys[keys["participant_id"].isin(parts["test"])], baseline=True)
    _write_train(outer, inside)
    names = sorted(set(inside["participant_id"]))
    held = [names[fold::folds] for fold in range(folds)] or [parts["validation"]]
    inner = outer / (f"{folds}_fold" if folds else "split")
    for fold, chosen in enumerate(held):
        place = inner / f"split-{fold}" if folds else inner
        place.mkdir(parents=True)
        _write_part(place / "validation_baseline.tsv", inside[inside["participant_id"].isin(chosen)], baseline=True)
        _write_train(place, inside[~inside["participant_id"].isin(chosen)])
    return inner


def _registered(
    anatomy: Anatomy, person: heads.Person, native_mm: float, grid: Grid, rng: np.random.Generator
) -> np.ndarray:
    """A scan of a person in any pose, on the grid in MNI space."""
    shape = tuple(int(size / native_mm) for size in NATIVE_MM)
    native = heads.Grid(shape, nib.affines.from_matvec(np.eye(3) * native_mm, -np.array(shape) * native_mm / 2))
    head = heads.draw_head(anatomy, person, GUYS, native, rng=rng)
    to_native = np.linalg.inv(head.native_to_mni)
    to_native[:3, 3] += rng.normal(0, ERROR_MM, 3)
    scan = Volume((head.scan(rng) / head.bias).astype(np.float32), head.affine)
    return sample(scan, grid, to_native).data


def _write_train(folder: Path, rows: pd.DataFrame) -> None:
    _write_part(folder / "train.tsv", rows)
    _write_part(folder / "train_baseline.tsv", rows, baseline=True)


def _write_part(path: Path, rows: pd.DataFrame, *, baseline: bool = False) -> None:
    (rows.drop_duplicates("participant_id") if baseline else rows).to_csv(path, sep="\t", index=False)
