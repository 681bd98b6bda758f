"""The deformable registration: right where the truth is known, the same twice, and readable by ITK tools."""

import dataclasses
import importlib.util

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from neurocohort.errors import InputError, ScanExcluded
from neurocohort.imaging import deformable
from neurocohort.imaging.deformable import (
    PointMap,
    check_deformation,
    deformable_available,
    register_deformable,
    sample_deformed,
    sample_labels_deformed,
    write_itk_displacement,
)
from neurocohort.imaging.reading import read_labels, read_scan
from neurocohort.imaging.registration import register_affine, write_itk_affine
from neurocohort.imaging.template import make_template, read_template
from neurocohort.imaging.volume import Grid, Volume, sample, sample_labels, world_grid
from scipy import ndimage

pytestmark = pytest.mark.slow
needs_greedy = pytest.mark.skipif(
    importlib.util.find_spec("picsl_greedy") is None, reason="picsl-greedy, an optional package, is not installed"
)


def applied(matrix, points):
    return nib.affines.apply_affine(matrix, points)


def smooth_field(shape, spacing_mm, sigma_mm, rms_mm, seed):
    """A smooth random displacement (X, Y, Z, 3) in mm, 0 at the grid's border."""
    generator = np.random.default_rng(seed)
    noise = [ndimage.gaussian_filter(generator.normal(size=shape), sigma_mm / spacing_mm) for _ in range(3)]
    field = np.stack(noise, axis=-1)
    field *= rms_mm / np.sqrt((field**2).sum(axis=-1).mean())
    for axis in range(3):
        ends = np.minimum(np.arange(shape[axis]), np.arange(shape[axis])[::-1])
        field *= np.expand_dims(np.minimum(ends / 4, 1), [other for other in range(4) if other != axis])
    return field.astype(np.float32)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    path = tmp_path_factory.mktemp("template") / "template.npz"
    make_template(path, 3.0, (56, 64, 56))
    return read_template(path)


@pytest.fixture(scope="module")
def known(template):
    """A scan on an oblique grid, made from the template by an affine and a smooth displacement, and what is true of it."""
    turn = nib.eulerangles.euler2mat(0.2, -0.15, 0.1) @ np.diag([1.05, 0.95, 1.0])
    to_scan = nib.affines.from_matvec(turn, [12, -9, 15])
    # For a scan's point p, y = inverse(to_scan) p, and the template's point is y + w(y).
    w = smooth_field(template.fit.data.shape, float(template.fit.spacing_mm[0]), 14.0, 4.0, seed=1)
    truth = PointMap(np.linalg.inv(to_scan), w, Grid(template.fit.data.shape, template.fit.affine), np.eye(4))
    scan_affine = nib.affines.from_matvec(
        nib.eulerangles.euler2mat(0.1, 0.2, 0.3) @ np.array([[0, 0, 3.0], [-2.5, 0, 0], [0, -2.5, 0]])
    )
    shape = (100, 90, 76)
    middle = applied(to_scan, np.array([0, -18, 8.5])) - applied(scan_affine, (np.array(shape) - 1) / 2)
    scan_affine[:3, 3] = middle
    grid = Grid(shape, scan_affine)
    brain = sample_deformed(template.fit, grid, truth).data
    mask = sample_deformed(Volume(template.fit_mask, template.fit.affine), grid, truth).data > 0.5
    generator = np.random.default_rng(2)
    noisy = (900 * brain + generator.normal(0, 15, shape)).astype(np.float32)
    points = applied(scan_affine, np.argwhere(mask)[::17])
    return Known(Volume(noisy, scan_affine), mask, to_scan, points, truth(points))


@dataclasses.dataclass(frozen=True)
class Known:
    scan: Volume
    mask: np.ndarray
    to_scan: np.ndarray
    scan_points: np.ndarray
    template_points: np.ndarray


def register(template, known, seed=5):
    return register_deformable(template.fit, template.fit_mask, known.scan, known.mask, known.to_scan, seed=seed)


@pytest.fixture(scope="module")
def found(template, known):
    return register(template, known)


@pytest.fixture(scope="module")
def by_hand():
    """A deformation with a made-up displacement: what doesn't need greedy is tested on it."""
    grid = Grid((40, 44, 36), np.array([[3.0, 0, 0, -60], [0, 3, 0, -80], [0, 0, 3, -50], [0, 0, 0, 1]]))
    affine = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.1, 0.2, -0.3) * 1.1, [5, -7, 9])
    u, v = (smooth_field(grid.shape, 3.0, 15.0, 4.0, seed) for seed in (3, 4))
    return deformable.Deformation(
        PointMap(np.eye(4), u, grid, affine),
        PointMap(np.linalg.inv(affine), v, grid, np.eye(4)),
        0.95,
        0.93,
        0.0,
        (1, 1),
    )


def image_by_hand(shape=(50, 48, 52)):
    generator = np.random.default_rng(6)
    data = ndimage.gaussian_filter(generator.normal(size=shape), 2).astype(np.float32)
    affine = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.3, 0, 0.1) @ np.diag([-2.6, 2.4, 2.8]), [70, -66, -60])
    return Volume(data / data.std(), affine)


# --- where the truth is known ---------------------------------------------------------------------------------------


@needs_greedy
def test_a_known_deformation_is_found_in_both_directions(known, found):
    before = np.linalg.norm(applied(known.to_scan, known.template_points) - known.scan_points, axis=1)
    after = np.linalg.norm(found.template_to_scan(known.template_points) - known.scan_points, axis=1)
    back = np.linalg.norm(found.scan_to_template(known.scan_points) - known.template_points, axis=1)
    assert before.mean() > 2.5
    assert after.mean() < 0.35 * before.mean()
    assert back.mean() < 0.35 * before.mean()
    round_trip = found.scan_to_template(found.template_to_scan(known.template_points)) - known.template_points
    assert np.linalg.norm(round_trip, axis=1).mean() < 0.05
    assert found.mask_dice > found.affine_mask_dice
    assert found.mask_dice > 0.97
    check_deformation(found)


@needs_greedy
def test_two_runs_give_the_same_bytes_and_leave_no_file_and_no_output(
    template, known, found, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "2")
    again = register(template, known)
    for one, other in (
        (found.template_to_scan, again.template_to_scan),
        (found.scan_to_template, again.scan_to_template),
    ):
        assert one.displacement.tobytes() == other.displacement.tobytes()
        write_itk_displacement(tmp_path / "one.nii.gz", one)
        write_itk_displacement(tmp_path / "other.nii.gz", other)
        assert (tmp_path / "one.nii.gz").read_bytes() == (tmp_path / "other.nii.gz").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"one.nii.gz", "other.nii.gz"}
    assert capfd.readouterr() == ("", "")


@needs_greedy
def test_a_brain_that_fits_already_stays_and_passes_the_check(template):
    same = register_deformable(template.fit, template.fit_mask, template.fit, template.fit_mask, np.eye(4), seed=1)
    assert np.abs(same.template_to_scan.displacement).max() < 0.5
    check_deformation(same)


@needs_greedy
def test_the_displacement_is_0_at_the_end_of_its_grid(found):
    for point_map in (found.template_to_scan, found.scan_to_template):
        border = np.ones(point_map.grid.shape, dtype=bool)
        border[1:-1, 1:-1, 1:-1] = False
        assert not point_map.displacement[border].any()
        assert np.abs(point_map.displacement).max() > 2


@needs_greedy
def test_real_brains_agree_better_than_after_the_affine(shared_data, template):
    regions = {False: [], True: []}
    for name in ("IXI012-HH-1211", "IXI443-HH-2215"):
        scan = read_scan(shared_data / "ixi_hh_2mm" / f"{name}_T1_2mm.nii.gz")
        labels = read_labels(shared_data / "ixi_hh_2mm" / f"{name}_T1_2mm_DLMUSE.nii.gz")
        mask = ndimage.binary_fill_holes(labels.data > 0)
        coarse = world_grid(scan, mask, 3.0)
        brain = sample(Volume(scan.data * mask, scan.affine), coarse, smooth=True)
        coarse_mask = sample(Volume(mask, scan.affine), coarse, smooth=True).data > 0.5
        affine = register_affine(
            template.fit, template.fit_mask, brain, coarse_mask, seed=1, min_dice=0.9, min_mutual_information=0.5
        )
        matrix = affine.fixed_to_moving
        found = register_deformable(template.fit, template.fit_mask, scan, mask, matrix, seed=1)
        check_deformation(found)
        none = dataclasses.replace(found.template_to_scan, displacement=0 * found.template_to_scan.displacement)
        regions[False].append(sample_deformed(labels, template.grid, none, order=0).data)
        regions[True].append(sample_deformed(labels, template.grid, found.template_to_scan, order=0).data)
    overlap = {way: mean_dice(*pair) for way, pair in regions.items()}
    assert overlap[True] > overlap[False] + 0.08, overlap


def mean_dice(one, other):
    values = np.unique(one)[1:]
    return np.mean([2 * ((one == v) & (other == v)).sum() / ((one == v).sum() + (other == v).sum()) for v in values])


# --- mapping points and images --------------------------------------------------------------------------------------


def test_points_go_by_the_displacement_first_and_then_by_the_affine(by_hand):
    point_map = by_hand.template_to_scan
    index = np.array([[20, 11, 17], [12, 30, 9]])
    points = applied(point_map.grid.affine, index)
    expected = applied(point_map.after, points + point_map.displacement[tuple(index.T)])
    np.testing.assert_allclose(point_map(points), expected, atol=1e-5)
    outside = np.array([[400.0, 0, 0]])
    np.testing.assert_allclose(point_map(outside), applied(point_map.after, outside))
    np.testing.assert_allclose(
        by_hand.scan_to_template(applied(point_map.after, points)),
        points + by_hand.scan_to_template.displacement[tuple(index.T)],
        atol=1e-5,
    )


def test_without_a_displacement_images_and_labels_are_sampled_as_by_the_affine(by_hand):
    point_map = dataclasses.replace(by_hand.template_to_scan, displacement=0 * by_hand.template_to_scan.displacement)
    image = image_by_hand()
    grid = Grid((37, 41, 33), np.array([[3.1, 0, 0, -55], [0, 3.1, 0, -70], [0, 0, 3.1, -45], [0, 0, 0, 1]]))
    for order in (1, 3):
        expected = sample(image, grid, point_map.after, order=order).data
        np.testing.assert_allclose(sample_deformed(image, grid, point_map, order=order).data, expected, atol=1e-4)
    labels = Volume(np.digitize(image.data, [-1, 0, 1]).astype(np.uint8), image.affine)
    expected = sample_labels(labels, grid, point_map.after).data
    assert (sample_labels_deformed(labels, grid, point_map).data == expected).mean() > 0.9999
    assert set(np.unique(sample_deformed(labels, grid, point_map, order=0).data)) <= {0, 1, 2, 3}


def test_simpleitk_reads_the_files_and_maps_points_and_images_alike(by_hand, tmp_path):
    files = {}
    for name, point_map, matrix in (
        ("forward", by_hand.template_to_scan, by_hand.template_to_scan.after),
        ("inverse", by_hand.scan_to_template, by_hand.scan_to_template.before),
    ):
        write_itk_displacement(tmp_path / f"{name}.nii.gz", point_map)
        write_itk_affine(tmp_path / f"{name}.txt", matrix)
        image = sitk.ReadImage(str(tmp_path / f"{name}.nii.gz"), sitk.sitkVectorFloat64)
        files[name] = (sitk.DisplacementFieldTransform(image), sitk.ReadTransform(str(tmp_path / f"{name}.txt")))
    # SimpleITK applies the last of a composite's transforms first.
    forward = sitk.CompositeTransform([files["forward"][1], files["forward"][0]])
    inverse = sitk.CompositeTransform([files["inverse"][0], files["inverse"][1]])
    points = np.random.default_rng(0).uniform([-70, -90, -60], [60, 55, 60], (300, 3))
    for transform, point_map in ((forward, by_hand.template_to_scan), (inverse, by_hand.scan_to_template)):
        theirs = np.array([transform.TransformPoint((point * [-1, -1, 1]).tolist()) for point in points]) * [-1, -1, 1]
        np.testing.assert_allclose(point_map(points), theirs, atol=1e-3)

    scan = image_by_hand()
    nib.save(nib.Nifti1Image(scan.data, scan.affine), tmp_path / "scan.nii.gz")
    grid = Grid((37, 41, 33), np.array([[3.1, 0, 0, -55], [0, 3.1, 0, -70], [0, 0, 3.1, -45], [0, 0, 0, 1]]))
    nib.save(nib.Nifti1Image(np.zeros(grid.shape, np.float32), grid.affine), tmp_path / "grid.nii.gz")
    moving, reference = (sitk.ReadImage(str(tmp_path / name)) for name in ("scan.nii.gz", "grid.nii.gz"))
    theirs = sitk.GetArrayFromImage(sitk.Resample(moving, reference, forward, sitk.sitkLinear, 0.0)).T
    mine = sample_deformed(scan, grid, by_hand.template_to_scan).data
    inside = sample_deformed(Volume(np.ones_like(scan.data), scan.affine), grid, by_hand.template_to_scan).data > 0
    assert inside.mean() > 0.5
    # At the very end of the field of view ITK repeats the last voxel over half a voxel more.
    np.testing.assert_allclose(mine[inside], theirs[inside], atol=2e-3)


# --- what a user meets ----------------------------------------------------------------------------------------------


def test_volume_changes_are_measured_and_a_fold_is_seen():
    along = np.stack(np.meshgrid(*[np.arange(12) * 2.0] * 3, indexing="ij"), axis=-1)
    for factor in (0.2, -0.4):
        determinant = deformable.displacement_determinant(factor * along, np.array([2.0, 2.0, 2.0]))
        np.testing.assert_allclose(determinant, (1 + factor) ** 3)
    assert (deformable.displacement_determinant(along * [-1.5, 0, 0], np.array([2.0, 2.0, 2.0])) < 0).all()


def test_a_fold_and_a_worse_fit_are_exclusions_with_their_numbers(by_hand):
    check_deformation(by_hand)
    with pytest.raises(ScanExcluded, match=r"registration: .* folds 0\.50 % of the brain, expected at most 0\.10 %"):
        check_deformation(dataclasses.replace(by_hand, folded_fraction=0.005))
    with pytest.raises(ScanExcluded, match=r"registration: .* Dice 0\.900, less than the 0\.930 after the affine"):
        check_deformation(dataclasses.replace(by_hand, mask_dice=0.9))


def test_without_greedy_a_sentence_says_what_to_install(template, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    sentence = r"needs the package picsl-greedy, .* run `pip install picsl-greedy==1\.4\.0\.3`"
    with pytest.raises(InputError, match=sentence):
        register_deformable(template.fit, template.fit_mask, template.fit, template.fit_mask, np.eye(4), seed=1)
    assert "GPL-3" in deformable_available()


@needs_greedy
def test_with_greedy_nothing_is_missing():
    assert deformable_available() is None
