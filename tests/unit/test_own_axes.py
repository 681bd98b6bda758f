"""Coordinates along a scan's own axes: the header's position changes nothing, and results come back to the world."""

import nibabel as nib
import numpy as np
import pytest
from neurocohort.imaging.own_axes import along_own_axes, moved
from neurocohort.imaging.volume import Volume
from scipy.spatial.transform import Rotation

SHAPE = (12, 14, 10)
PSR = np.array([[0, 0, 1.2, -5], [-0.9375, 0, 0, 40], [0, 1.0, 0, -30], [0, 0, 0, 1.0]])


def turned(degrees: tuple[float, float, float], shift: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


def scan(affine: np.ndarray) -> Volume:
    """A scan whose affine was stored in a header, in single precision."""
    return Volume(np.zeros(SHAPE), affine.astype(np.float32).astype(np.float64))


def test_a_turned_header_leaves_the_coordinates_as_they_are():
    plain, _ = along_own_axes(scan(PSR))
    assert nib.aff2axcodes(plain.affine) == ("P", "S", "R")
    for degrees in ((8, -6, 10), (-12, 15, -9), (0, 0, 24)):
        found, _ = along_own_axes(scan(turned(degrees, (30, -20, 10)) @ PSR))
        assert np.array_equal(found.affine, plain.affine), degrees


def test_the_way_back_leads_to_the_scans_world():
    original = scan(turned((8, -6, 10), (3, 2, 1)) @ PSR)
    found, to_world = along_own_axes(original)
    np.testing.assert_allclose(moved(found, to_world).affine, original.affine, atol=1e-10)
    middle = nib.affines.apply_affine(found.affine, (np.array(SHAPE) - 1) / 2)
    np.testing.assert_allclose(middle, 0, atol=1e-10)


def test_a_shear_stays_and_only_the_rotation_goes():
    shear = np.eye(4)
    shear[0, 1] = 0.2
    found, to_world = along_own_axes(scan(turned((5, 5, 5)) @ shear @ PSR))
    assert np.linalg.norm(found.affine[:3, :3], axis=0) == pytest.approx(
        np.linalg.norm((shear @ PSR)[:3, :3], axis=0), abs=1e-5
    )
    turn = to_world[:3, :3]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-4)


def test_an_image_turned_too_far_keeps_its_world():
    original = scan(turned((0, 40, 0)) @ PSR)
    found, to_world = along_own_axes(original)
    assert found is original
    assert np.array_equal(to_world, np.eye(4))
