"""The modulated map of grey matter: its sum over the study's grid is the volume of grey matter in the scan."""

import importlib.util

import nibabel as nib
import numpy as np
import pytest
from neurocohort.dataset.pack import pack_scans
from neurocohort.files import sha256_of, write_json
from neurocohort.imaging.deformable import PointMap, sample_deformed
from neurocohort.imaging.derivatives import MODULATED_RANGE, qc_path, scan_folder
from neurocohort.imaging.mapping import volume_ratio
from neurocohort.imaging.preprocess import ScanImages, Settings, preprocess_scan
from neurocohort.imaging.reading import write_image
from neurocohort.imaging.scan_files import write_scan
from neurocohort.imaging.scan_record import ScanRecord
from neurocohort.imaging.template import make_template, read_template
from neurocohort.imaging.volume import Grid, Volume

NAME = "template_probseg_GM_modulated"
needs_greedy = pytest.mark.skipif(
    importlib.util.find_spec("picsl_greedy") is None, reason="picsl-greedy, an optional package, is not installed"
)
FIELD = Grid((41, 41, 41), nib.affines.from_matvec(np.eye(3) * 3.0, [-60.0] * 3))


def centred(spacing_mm: float, voxels: int) -> Grid:
    return Grid((voxels,) * 3, nib.affines.from_matvec(np.eye(3) * spacing_mm, [-spacing_mm * (voxels - 1) / 2] * 3))


def points(grid: Grid) -> np.ndarray:
    return nib.affines.apply_affine(grid.affine, np.moveaxis(np.indices(grid.shape), 0, -1))


def bump(height_mm: float) -> np.ndarray:
    """A displacement away from the origin on FIELD that is 0 at its ends."""
    place = points(FIELD)
    return (height_mm / 15 * place * np.exp(-((place / 15.0) ** 2).sum(axis=-1, keepdims=True))).astype(np.float32)


@pytest.mark.parametrize("spacing_mm", [1.0, 3.0, 4.0])
def test_a_known_scaling_gives_its_determinant(spacing_mm):
    grid = centred(spacing_mm, 10)
    turned = nib.eulerangles.euler2mat(0.2, 0.1, -0.3) @ np.diag([1.1, 1.1, -1.1])
    np.testing.assert_allclose(volume_ratio(nib.affines.from_matvec(turned, [3, 2, 1]), grid), 1.1**3, rtol=1e-6)
    stretched = PointMap(np.diag([2.0, 1, 1, 1]), 0.1 * points(FIELD), FIELD, np.diag([1.0, 1, 0.5, 1]))
    np.testing.assert_allclose(volume_ratio(stretched, grid), 1.1**3, rtol=1e-5)


def test_beyond_the_displacement_the_affine_counts_and_a_fold_is_0():
    grid = centred(10.0, 21)
    outside = np.abs(points(grid)).max(axis=-1) > 61
    found = volume_ratio(PointMap(np.eye(4), bump(4.0), FIELD, np.diag([0.9, 0.9, 0.9, 1])), grid)
    np.testing.assert_allclose(found[outside], 0.9**3, rtol=1e-6)
    assert (
        volume_ratio(PointMap(np.eye(4), -2 * points(FIELD) * [1, 0, 0], FIELD, np.eye(4)), centred(3.0, 9)).max() == 0
    )


@pytest.mark.parametrize("spacing_mm", [1.5, 3.0, 4.0])
@pytest.mark.parametrize("height_mm", [-6.0, 6.0])
def test_a_deformed_ball_keeps_its_volume(spacing_mm, height_mm):
    ball_grid = centred(1.0, 91)
    radius = np.linalg.norm(points(ball_grid), axis=-1)
    ball = Volume(np.clip((26 - radius) / 8, 0, 1).astype(np.float32), ball_grid.affine)
    mapping, grid = PointMap(np.eye(4), bump(height_mm), FIELD, np.diag([1.1, 0.95, 1, 1])), centred(spacing_mm, 61)
    warped = sample_deformed(ball, grid, mapping).data
    ratio = volume_ratio(mapping, grid)
    assert ratio[warped > 0.5].std() > 0.1
    assert (warped * ratio).sum() * spacing_mm**3 == pytest.approx(ball.data.sum(), rel=0.01)
    assert warped.sum() * spacing_mm**3 != pytest.approx(ball.data.sum(), rel=0.04)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    path = tmp_path_factory.mktemp("template") / "template.npz"
    make_template(path, 4.0, (48, 56, 48))
    return read_template(path)


@pytest.fixture(scope="module")
def small_head(tmp_path_factory):
    """A skull-stripped scan of the template's brain, 0.85 times as long, and bent."""
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1).slicer[::2, ::2, ::2]
    place = points(Grid(image.shape, image.affine))
    bent = (4.0 * np.sin(place[..., [1, 2, 0]] / 25.0)).astype(np.float32)
    grid = Grid(image.shape, image.affine)
    to_template = PointMap(nib.affines.from_matvec(np.eye(3) / 0.85, [0, 4, -6]), bent, grid, np.eye(4))
    data = np.clip(
        sample_deformed(Volume(image.get_fdata(dtype=np.float32), image.affine), grid, to_template).data, 0, None
    )
    noise = np.random.default_rng(0).normal(0, 0.02, data.shape)
    brain = np.where(data > 0.05, 800 * np.clip(data + noise, 0.05, None), 0).astype(np.float32)
    path = tmp_path_factory.mktemp("head") / "scan.nii.gz"
    nib.save(nib.Nifti1Image(brain, image.affine), path)
    return path


def preprocessed(scan, folder, template, **changes) -> ScanRecord:
    options = {"seed": 1, "skull_stripped": True, "tissue_maps": True, "modulated_gm": True} | changes
    result = preprocess_scan(ScanImages(scan), template, Settings(**options))
    return write_scan(result, scan_folder(folder, "scan"), "scan")


@pytest.mark.parametrize("registration", ["affine", pytest.param("deformable", marks=[needs_greedy, pytest.mark.slow])])
def test_the_maps_sum_is_the_volume_of_grey_matter_in_the_scan(small_head, template, tmp_path, registration):
    record = preprocessed(small_head, tmp_path, template, registration=registration)
    assert record.status == "ok", record.reason
    file = scan_folder(tmp_path, "scan") / record.outputs[NAME].file
    assert file.name == "scan_space-MNI152NLin2009aSym_label-GM_desc-modulated_probseg.nii.gz"
    image = nib.load(file)
    modulated = image.get_fdata()
    assert modulated.sum() * 4.0**3 / 1000 == pytest.approx(record.volumes_ml["gm"], rel=0.01)
    plain = nib.load(scan_folder(tmp_path, "scan") / record.outputs["template_probseg_GM"].file).get_fdata()
    assert plain.sum() * 4.0**3 / 1000 > 1.3 * record.volumes_ml["gm"]
    ratio = modulated[plain > 0.5] / plain[plain > 0.5]
    assert (ratio.std() > 0.02) == (registration == "deformable")
    pack_scans(["scan"], tmp_path, tmp_path / "i.npy", tmp_path / "l.npy", ("T1w", "GM", "GM_modulated"))
    packed = np.load(tmp_path / "i.npy")[0]
    np.testing.assert_allclose(packed[2] / 255 * MODULATED_RANGE, modulated, atol=0.6 * MODULATED_RANGE / 255)
    np.testing.assert_allclose(packed[1] / 255, plain, atol=0.6 / 255)


def test_other_files_of_a_scan_are_the_same_with_and_without(small_head, template, tmp_path):
    files = {}
    for wanted in (False, True):
        record = preprocessed(small_head, tmp_path / str(wanted), template, modulated_gm=wanted)
        files[wanted] = {name: output.sha256 for name, output in record.outputs.items()}
    assert files[True].keys() - files[False].keys() == {NAME, f"{NAME}_sidecar"}
    assert files[False].items() < files[True].items()


def test_a_value_beyond_the_range_is_clipped_in_the_pack_and_kept_in_the_file(template, tmp_path, small_head):
    record = preprocessed(small_head, tmp_path, template)
    folder = scan_folder(tmp_path, "scan")
    data = np.full(template.grid.shape, 3 * 4096, dtype=np.uint16)
    write_image(folder / record.outputs[NAME].file, data, template.grid.affine, slope=1 / 4096)
    output = {"file": record.outputs[NAME].file, "sha256": sha256_of(folder / record.outputs[NAME].file)}
    write_json(qc_path(tmp_path, "scan"), {"scan_id": "scan", "outputs": {NAME: output}})
    pack_scans(["scan"], tmp_path, tmp_path / "i.npy", tmp_path / "l.npy", ("GM_modulated",))
    assert (np.load(tmp_path / "i.npy") == 255).all()


def test_in_mni_space_there_is_no_modulated_map(template, tmp_path):
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1).slicer[::2, ::2, ::2]
    nib.save(
        nib.Nifti1Image(np.clip(800 * image.get_fdata(dtype=np.float32), 0, None), image.affine), tmp_path / "s.nii.gz"
    )
    record = preprocessed(tmp_path / "s.nii.gz", tmp_path, template, mni_space=True)
    assert record.status == "ok" and "template_probseg_GM" in record.outputs and NAME not in record.outputs
