"""Label maps on the grid of the raw scan lie where the tissue is, through the affine and through the displacement."""

import importlib.util
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from neurocohort.errors import InputError
from neurocohort.files import read_json, read_table, write_json
from neurocohort.imaging.deformable import PointMap, sample_deformed
from neurocohort.imaging.derivatives import qc_path, scan_folder
from neurocohort.imaging.overlap import dice
from neurocohort.imaging.preprocess import ScanImages, Settings, preprocess_scan
from neurocohort.imaging.scan_files import write_scan
from neurocohort.imaging.template import make_template, read_template
from neurocohort.imaging.volume import Grid, Volume
from neurocohort.learning import label_maps
from neurocohort.learning.label_maps import labels_on_grid, read_scan_to_template, write_label_maps
from neurocohort.learning.prediction_tables import label_map
from scipy import ndimage

SCAN_ID = "sub-1_ses-1"
REGISTRATIONS = [
    "affine",
    pytest.param(
        "deformable",
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(
                importlib.util.find_spec("picsl_greedy") is None,
                reason="picsl-greedy, an optional package, is not installed",
            ),
        ],
    ),
]
STUDY = "space-MNI152NLin2009aSym"


def applied(matrix, points):
    return nib.affines.apply_affine(matrix, points)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    path = tmp_path_factory.mktemp("template") / "template.npz"
    make_template(path, 3.0, (56, 64, 56))
    return read_template(path)


@pytest.fixture(scope="module")
def scan_to_template():
    """The truth: a turn, another size, and a smooth displacement of 2 mm in the template."""
    grid = Grid((50, 60, 50), nib.affines.from_matvec(np.eye(3) * 4.0, [-98, -136, -90]))
    generator = np.random.default_rng(1)
    field = np.stack([ndimage.gaussian_filter(generator.normal(size=grid.shape), 4) for _ in range(3)], axis=-1)
    field *= 2.0 / np.sqrt((field**2).sum(axis=-1).mean())
    field[[0, -1]] = field[:, [0, -1]] = field[:, :, [0, -1]] = 0
    to_scan = nib.affines.from_matvec(
        nib.eulerangles.euler2mat(0.15, -0.1, 0.1) @ np.diag([1.04, 0.96, 1.0]), [9, -7, 12]
    )
    return PointMap(np.linalg.inv(to_scan), field.astype(np.float32), grid, np.eye(4))


@pytest.fixture(scope="module")
def raw_grid(scan_to_template):
    """Oblique, its axes in another order, the one from left to right stored the other way round."""
    axes = nib.eulerangles.euler2mat(0.1, 0.2, 0.25) @ np.array([[0, 0, -2.6], [-2.2, 0, 0], [0, 2.4, 0]])
    shape, affine = (102, 92, 78), nib.affines.from_matvec(axes)
    centre = applied(np.linalg.inv(scan_to_template.before), [0, -18, 8.5])
    affine[:3, 3] = centre - axes @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


@pytest.fixture(scope="module")
def anatomy(template):
    """The template's tissues as probabilities (4, X, Y, Z) in which left and right differ: on the left GM is called WM."""
    maps = np.concatenate([1 - template.tissues.sum(axis=0, keepdims=True), template.tissues])
    left = applied(template.grid.affine, np.moveaxis(np.indices(template.grid.shape), 0, -1))[..., 0] < 0
    maps[3][left] += maps[2][left]
    maps[2][left] = 0
    return maps.astype(np.float32)


@pytest.fixture(scope="module")
def truth(anatomy, template, scan_to_template, raw_grid):
    """The labels on the raw grid: those of the anatomy where the true way leads from there."""
    maps = [sample_deformed(Volume(one, template.grid.affine), raw_grid, scan_to_template).data for one in anatomy]
    return label_map(np.stack(maps))


@pytest.fixture(scope="module", params=REGISTRATIONS)
def written(request, template, scan_to_template, raw_grid, anatomy, tmp_path_factory):
    """A brain on the raw grid, preprocessed, and the label maps that follow from the anatomy's probabilities."""
    results = tmp_path_factory.mktemp(request.param)
    painted = sample_deformed(template.fit, raw_grid, scan_to_template).data
    inside = sample_deformed(Volume(template.fit_mask, template.fit.affine), raw_grid, scan_to_template).data > 0.5
    noise = np.random.default_rng(2).normal(0, 10, raw_grid.shape)
    image = nib.Nifti1Image(
        np.where(inside, np.maximum(900 * painted + noise, 1), 0).astype(np.float32), raw_grid.affine
    )
    nib.save(image, results / "raw.nii.gz")
    settings = Settings(intensity="percentile", seed=1, registration=request.param, skull_stripped=True)
    result = preprocess_scan(ScanImages(results / "raw.nii.gz"), template, settings)
    record = write_scan(result, scan_folder(results / "toy" / "preproc", SCAN_ID), SCAN_ID)
    assert record.status == "ok", record.reason
    scans = pd.DataFrame({"cohort": ["toy"], "scan_id": [SCAN_ID]})
    volumes = write_label_maps(scans, [anatomy], results, results / "label_maps")
    return request.param, results, volumes


def native_map(results: Path) -> nib.Nifti1Image:
    return nib.load(results / "label_maps" / "toy" / f"{SCAN_ID}_space-orig_dseg.nii.gz")


def test_native_map_lies_on_the_raw_grid_and_on_the_tissue(written, truth):
    registration, results, _ = written
    image, raw = native_map(results), nib.load(results / "raw.nii.gz")
    assert image.shape == raw.shape and image.get_data_dtype() == np.uint8
    np.testing.assert_allclose(image.affine, raw.affine, atol=1e-4)
    found = np.asarray(image.dataobj)
    assert dice(found > 0, truth > 0) > 0.97
    overlap = [dice(found == label, truth == label) for label in (1, 2, 3)]
    assert np.mean(overlap) > (0.9 if registration == "deformable" else 0.8), overlap


def test_left_stays_left(written, scan_to_template, raw_grid):
    _, results, _ = written
    found = np.asarray(native_map(results).dataobj)
    grey = np.argwhere(found == 2)
    in_template = scan_to_template(applied(raw_grid.affine, grey))
    assert (in_template[:, 0] > -3).mean() > 0.99, "GM is on the right alone"
    world = [applied(raw_grid.affine, np.argwhere(found == label)).mean(axis=0)[0] for label in (2, 3)]
    assert world[0] > world[1] + 10, "in the raw scan's world too, right is the larger x"


def test_map_in_template_space_lies_on_the_studys_grid(written, anatomy, template):
    _, results, _ = written
    image = nib.load(results / "label_maps" / "toy" / f"{SCAN_ID}_{STUDY}_dseg.nii.gz")
    (preprocessed,) = scan_folder(results / "toy" / "preproc", SCAN_ID).glob(f"*_{STUDY}_desc-preproc_T1w.nii.gz")
    np.testing.assert_array_equal(image.affine, nib.load(preprocessed).affine)
    np.testing.assert_array_equal(np.asarray(image.dataobj), label_map(anatomy))
    assert int(image.header["sform_code"]) == 4, "MNI"


def test_volumes_are_those_of_the_native_map(written, truth, raw_grid):
    _, results, volumes = written
    assert volumes.columns.tolist() == ["cohort", "scan_id", "tissue", "volume_ml"]
    assert volumes["tissue"].tolist() == ["CSF", "GM", "WM"]
    voxel_ml = abs(np.linalg.det(raw_grid.affine[:3, :3])) / 1000
    found = np.asarray(native_map(results).dataobj)
    tolerances = (0.2, 0.05, 0.05)  # at these 3 mm CSF is a layer one voxel thin
    for label, (volume, tolerance) in enumerate(zip(volumes["volume_ml"], tolerances, strict=True), start=1):
        assert volume == pytest.approx((found == label).sum() * voxel_ml, abs=1e-3)
        assert volume == pytest.approx((truth == label).sum() * voxel_ml, rel=tolerance)


def test_lookup_names_the_labels_as_bids_has_them(written):
    _, results, _ = written
    lookup = read_table(results / "label_maps" / "toy" / "dseg.tsv")
    assert lookup["index"].tolist() == [0, 1, 2, 3] and lookup["mapping"].tolist() == [0, 3, 1, 2]
    assert lookup["abbreviation"].tolist() == ["BG", "CSF", "GM", "WM"]


def test_maps_without_their_transform_are_refused(written, anatomy, tmp_path):
    _, results, _ = written
    folder = scan_folder(results / "toy" / "preproc", SCAN_ID)
    record = read_json(folder / f"{SCAN_ID}_qc.json")
    (tmp_path / record["outputs"]["inverse_xfm"]["file"]).touch()
    with pytest.raises(InputError, match=f"{tmp_path} lacks the scan's inverse_xfm: delete"):
        read_scan_to_template(tmp_path, {"outputs": {}})
    scans = pd.DataFrame({"cohort": ["toy"], "scan_id": [SCAN_ID]})
    with pytest.raises(InputError, match=r"\(56, 64, 56\) voxels and predicted on one of \(56, 64, 50\)"):
        write_label_maps(scans, [anatomy[..., :50]], results, tmp_path)


def test_a_scan_that_came_in_mni_space_has_label_maps_and_no_volumes(written, anatomy, tmp_path):
    _, results, native = written
    assert native["volume_ml"].notna().all()
    shutil.copytree(results / "toy" / "preproc", tmp_path / "toy" / "preproc")
    path = qc_path(tmp_path / "toy" / "preproc", SCAN_ID)
    write_json(path, read_json(path) | {"mni_space": True})
    scans = pd.DataFrame({"cohort": ["toy"], "scan_id": [SCAN_ID]})
    volumes = write_label_maps(scans, [anatomy], tmp_path, tmp_path / "label_maps")
    assert volumes["tissue"].tolist() == ["CSF", "GM", "WM"] and volumes["volume_ml"].isna().all()
    assert len(list((tmp_path / "label_maps" / "toy").glob("*_dseg.nii.gz"))) == 2


@pytest.mark.parametrize("voxels", [10**9, 100_000, 1])
def test_slabs_change_nothing(anatomy, template, scan_to_template, raw_grid, truth, monkeypatch, voxels):
    monkeypatch.setattr(label_maps, "SLAB_VOXELS", voxels)
    found = labels_on_grid(anatomy, template.grid.affine, raw_grid, scan_to_template).data
    assert np.count_nonzero(found != truth) < 1e-5 * truth.size


def test_label_is_the_largest_of_the_interpolated_probabilities():
    """Half-way between a voxel that is surely WM and one that is hardly GM lies WM; nearest and label-wise voting say else."""
    probabilities = np.zeros((4, 3, 3, 3), dtype=np.float32)
    probabilities[0] = 1
    probabilities[:, 0, 1, 1] = [0, 0, 0, 1]
    probabilities[:, 1, 1, 1] = [0.3, 0, 0.4, 0.3]
    grid = Grid((5, 1, 1), nib.affines.from_matvec(np.diag([0.5, 1, 1]), [0, 1, 1]))
    found = labels_on_grid(probabilities, np.eye(4), grid, np.eye(4)).data.ravel()
    assert found.tolist() == [3, 3, 2, 0, 0]
    assert not labels_on_grid(probabilities, np.eye(4), grid, nib.affines.from_matvec(np.eye(3), [9, 0, 0])).data.any()
    empty = np.zeros_like(probabilities)
    assert not labels_on_grid(empty, np.eye(4), grid, np.eye(4)).data.any()
