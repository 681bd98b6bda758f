"""A scan is read right whatever its storage, and a bad one is refused with its reason."""

import nibabel as nib
import numpy as np
import pytest
from neurocohort.errors import ScanExcluded
from neurocohort.imaging.reading import read_scan
from neurocohort.imaging.volume import Grid, Volume, grid_of, sample, sample_labels, world_grid
from scipy import ndimage

HEAD_AFFINE = np.array([[3.0, 0, 0, -60], [0, 3, 0, -75], [0, 0, 3, -50], [0, 0, 0, 1]])


@pytest.fixture
def head() -> Volume:
    """A smooth asymmetric object, brighter on its left."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in (40, 50, 36)], indexing="ij")
    data = 1000 * np.exp(-3 * (x**2 + y**2 + z**2)) + 300 * np.exp(-20 * ((x + 0.4) ** 2 + y**2 + (z - 0.2) ** 2))
    return Volume(data.astype(np.float32), HEAD_AFFINE)


def saved(folder, data, affine, dtype=np.int16, name="scan.nii.gz"):
    nib.save(nib.Nifti1Image(np.asarray(data).astype(dtype), affine), folder / name)
    return folder / name


@pytest.mark.parametrize("codes", ["RAS", "LAS", "PSR", "ASL", "LIA"])
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_same_head_in_any_storage_order_gives_the_same_volume(tmp_path, head, codes, byte_order):
    original = nib.Nifti1Image(head.data.astype(np.int16), head.affine)
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(original.affine), nib.orientations.axcodes2ornt(tuple(codes))
    )
    turned = original.as_reoriented(turn)
    header = nib.Nifti1Header(endianness=byte_order)
    header.set_data_dtype(np.dtype(np.int16).newbyteorder(byte_order))
    nib.save(nib.Nifti1Image(np.asarray(turned.dataobj), turned.affine, header), tmp_path / "scan.nii.gz")
    read = read_scan(tmp_path / "scan.nii.gz")
    grid = Grid((30, 36, 30), np.array([[4.0, 0, 0, -58], [0, 4, 0, -70], [0, 0, 4, -56], [0, 0, 0, 1]]))
    expected = sample(Volume(head.data.astype(np.int16), head.affine), grid).data
    np.testing.assert_allclose(sample(read, grid).data, expected, atol=0.05)
    left, right = expected[:14].sum(), expected[-14:].sum()
    assert left > right, "the bright side is on the left, where the first axis begins"


def test_oblique_and_sheared_affines_are_followed(head):
    shear = np.eye(4)
    shear[0, 1], shear[2, 0] = 0.2, 0.1
    moved = Volume(head.data, shear @ head.affine)
    resampled = sample(moved, grid_of(head), shear)
    np.testing.assert_allclose(resampled.data[2:-2, 2:-2, 2:-2], head.data[2:-2, 2:-2, 2:-2], atol=0.5)


def test_coarse_copy_holds_means_and_its_grid_covers_the_mask(head):
    mask = head.data > 200
    grid = world_grid(head, mask, 9.0, margin_mm=9.0)
    coarse = sample(Volume(mask, head.affine), grid, smooth=True).data
    volume_fine, volume_coarse = mask.sum() * 27, coarse.sum() * 9**3
    assert abs(volume_coarse / volume_fine - 1) < 0.02


def test_labels_stay_labels_and_the_larger_share_wins():
    data = np.zeros((20, 20, 20), dtype=np.uint8)
    data[5:15, 5:15, 5:15] = 3
    data[8:12, 8:12, 8:12] = 1
    grid = Grid((44, 44, 44), np.diag([0.45, 0.45, 0.45, 1.0]))
    finer = sample_labels(Volume(data, np.eye(4)), grid, np.eye(4)).data
    assert set(np.unique(finer)) == {0, 1, 3}, "no label appears that was not there (2 lies between 1 and 3)"
    assert abs((finer == 3).sum() * 0.45**3 / (data == 3).sum() - 1) < 0.1


def broken_scans(folder, head):
    """Ten kinds of bad scan with what the exclusion's reason must say."""
    good = saved(folder, head.data, head.affine, name="good.nii.gz").read_bytes()
    (folder / "truncated.nii.gz").write_bytes(good[: len(good) // 2])
    (folder / "empty_file.nii.gz").write_bytes(b"")
    (folder / "text.nii.gz").write_bytes(b"<html>not found</html>")
    saved(folder, np.zeros(head.data.shape), head.affine, name="zeros.nii.gz")
    saved(folder, np.full(head.data.shape, 7), head.affine, name="constant.nii.gz")
    holes = head.data.copy()
    holes[3, 4, 5:8] = np.nan
    saved(folder, holes, head.affine, np.float32, name="not_finite.nii.gz")
    saved(folder, head.data[:, :, :1], head.affine, name="one_slice.nii.gz")
    saved(folder, np.stack([head.data] * 3, axis=-1), head.affine, name="four_dimensions.nii.gz")
    saved(folder, head.data, head.affine @ np.diag([0.01, 0.01, 0.01, 1]), name="tiny_voxels.nii.gz")
    saved(folder, head.data[:12], head.affine, name="half_a_head.nii.gz")
    return {
        "truncated": "not a whole gzip file",
        "empty_file": "can't be read",
        "text": "can't be read",
        "zeros": "empty or constant",
        "constant": "empty or constant",
        "not_finite": "3 voxels are not finite",
        "one_slice": "40 x 50 x 1 and not three-dimensional",
        "four_dimensions": "40 x 50 x 36 x 3",
        "tiny_voxels": "spacing",
        "half_a_head": "too small for a head",
    }


def test_each_kind_of_bad_scan_is_refused_with_its_reason(tmp_path, head):
    for name, reason in broken_scans(tmp_path, head).items():
        with pytest.raises(ScanExcluded) as excluded:
            read_scan(tmp_path / f"{name}.nii.gz")
        assert excluded.value.stage == "read"
        assert reason in excluded.value.reason, f"{name}: {excluded.value.reason}"
        assert str(tmp_path) not in excluded.value.reason, "a table that goes into a report has no paths of a machine"


def test_linear_sampling_gives_scipys_values_and_zero_outside_the_field_of_view():
    rng = np.random.default_rng(0)
    data = rng.normal(10, 1, (20, 24, 18)).astype(np.float32)
    to_scan = np.eye(4)
    to_scan[:3] += rng.normal(0, 0.1, (3, 4))
    grid = Grid((26, 25, 27), np.diag([1.0, 1.0, 1.0, 1.0]))
    expected = ndimage.affine_transform(data, to_scan[:3, :3], to_scan[:3, 3], output_shape=grid.shape, order=1)
    for stored in (data, np.asfortranarray(data)):
        found = sample(Volume(stored, np.eye(4)), grid, to_scan).data
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (expected == 0).any()
