"""`neurocohort predict` on one synthetic head: in other orientations and files, and changed so that the model doesn't fit."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from neurocohort.apply.bundles import RawScanBundle, open_bundle
from neurocohort.apply.one_scan import Options, predict_scan
from neurocohort.apply.outcomes import Outcome
from neurocohort.apply.scans import RawScan
from neurocohort.export.raw_scans import RawScanParts
from neurocohort.imaging.preprocess import Settings, preprocess_scan
from neurocohort.imaging.scan_results import ScanImages
from neurocohort.imaging.template import read_template
from neurocohort.synthetic.anatomy import prepare_anatomy
from neurocohort.synthetic.heads import GUYS, Grid, draw_head, draw_person
from raw_scan_bundle import quality, write_raw_scan_bundle, write_template
from scipy.spatial.transform import Rotation

SPACING_MM, SHAPE = 3.0, (64, 80, 76)
YEARS = 0.1  # that a prediction may differ between orientations
SCORED_APART = ("head_turn_degrees", "mask_border_cm2", "missing_brain", "registration_starts")

pytestmark = pytest.mark.slow  # each head is preprocessed


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> nib.Nifti1Image:
    """The head in RAS with its axes along the voxels."""
    rng = np.random.default_rng(4)
    anatomy = prepare_anatomy()
    person = draw_person(anatomy, age=50.0, sex="F", cdr=0.0, rng=rng)
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = -SPACING_MM * (np.array(SHAPE) - 1) / 2
    return nib.Nifti1Image(draw_head(anatomy, person, GUYS, Grid(SHAPE, affine), rng=rng).scan(rng), affine)


@pytest.fixture(scope="module")
def bundle(head, tmp_path_factory) -> RawScanBundle:
    """A bundle whose training scans have numbers like the head's; without a comparison of features, which are random."""
    folder = tmp_path_factory.mktemp("bundle")
    template = write_template(folder)
    nib.save(head, folder / "head.nii.gz")
    torch.set_num_threads(1)
    found = preprocess_scan(ScanImages(folder / "head.nii.gz"), read_template(template), Settings())
    numbers = {name: value for name, value in found.metrics.items() if value and name not in SCORED_APART}
    parts = RawScanParts(template, quality(numbers))
    opened = open_bundle(write_raw_scan_bundle(folder, template, parts=parts), torch.device("cpu"))
    return replace(opened, reference=replace(opened.reference, distance=None, target=None))


def outcome_of(bundle: RawScanBundle, path: Path, orientation: str = "") -> Outcome:
    return predict_scan(bundle, RawScan("head", path), Options(orientation=orientation))


def stored_as(head: nib.Nifti1Image, codes: str) -> nib.Nifti1Image:
    wanted = nib.orientations.axcodes2ornt(codes)
    return head.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(head.affine), wanted))


def test_orientation_and_kind_of_file_leave_the_prediction_as_it_is(head, bundle, tmp_path):
    nib.save(head, tmp_path / "RAS.nii.gz")
    expected = outcome_of(bundle, tmp_path / "RAS.nii.gz")
    assert expected.predicted and not expected.flags, expected
    for codes, suffix in (("LPS", ".nii"), ("PSR", ".nii.gz"), ("LAS", ".nii")):
        nib.save(stored_as(head, codes), tmp_path / f"{codes}{suffix}")
        found = outcome_of(bundle, tmp_path / f"{codes}{suffix}")
        assert found.prediction["prediction"] == pytest.approx(expected.prediction["prediction"], abs=YEARS), codes
        assert not found.flags, codes
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", (8, -6, 10), degrees=True).as_matrix()
    nib.save(nib.Nifti1Image(np.asarray(head.dataobj), turn @ head.affine), tmp_path / "oblique.nii.gz")
    found = outcome_of(bundle, tmp_path / "oblique.nii.gz")
    assert found.prediction["prediction"] == expected.prediction["prediction"], "the header turns no voxel"
    image = stored_as(head, "LAS")
    pair = nib.AnalyzeImage(np.asarray(image.dataobj), None)
    pair.header.set_zooms(image.header.get_zooms()[:3])
    pair.to_filename(tmp_path / "pair.img")
    assert "doesn't state the orientation" in outcome_of(bundle, tmp_path / "pair.img").reason
    found = outcome_of(bundle, tmp_path / "pair.img", "LAS")
    assert found.prediction["prediction"] == pytest.approx(expected.prediction["prediction"], abs=YEARS)


def t2_like(data: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    high = np.percentile(data, 99.5)
    return np.where(data > 0.1 * high, np.clip(1.15 * high - data, 0, None), data), affine


def child(data: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return data, affine @ np.diag([0.8, 0.8, 0.8, 1.0])


def cut(data: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    top = np.flatnonzero((data > 0.1 * np.percentile(data, 99.5)).any(axis=(0, 1))).max()
    return data[:, :, : top - round(30 / SPACING_MM)], affine


def noisy(data: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sigma, rng = 0.1 * np.percentile(data, 99.5), np.random.default_rng(1)
    real, imaginary = (rng.normal(0, sigma, data.shape) for _ in range(2))
    return np.hypot(data + real, imaginary), affine


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (t2_like, "doesn't look T1-weighted"),
        (child, "Mask (ml) (`mask_ml`)"),
        (cut, "brain is cut"),
        (noisy, "(`snr_wm`)"),
    ],
)
def test_scan_that_the_model_does_not_fit_is_flagged_in_words_and_refused_by_strict(
    head, bundle, tmp_path, change, words
):
    data, affine = change(np.asarray(head.dataobj, dtype=np.float32), head.affine)
    nib.save(nib.Nifti1Image(data.astype(np.float32), affine), tmp_path / "head.nii.gz")
    found = predict_scan(bundle, RawScan("head", tmp_path / "head.nii.gz"), Options(strict=True))
    assert any(words in flag.sentence for flag in found.flags), found.flags
    assert not found.predicted and not found.prediction
    assert "refuses flagged scans" in found.reason or found.result.exclusion
