"""Affine registration by torch: right where the truth is known, for several brains at once, and the same twice."""

import nibabel as nib
import numpy as np
import pytest
from neurocohort.imaging import batch_affine
from neurocohort.imaging.batch_affine import register_affine_batch
from neurocohort.imaging.preprocess import _register
from neurocohort.imaging.template import make_template, read_template
from neurocohort.imaging.volume import Grid, Volume, sample

LIMITS = {"seed": 3, "min_dice": 0.9, "min_mutual_information": 0.5}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    path = tmp_path_factory.mktemp("template") / "template.npz"
    make_template(path, 4.0, (40, 48, 40))
    return read_template(path)


def posed(template, angles, scale, shift):
    """The template's brain of 3 mm under a known affine, with noise and another contrast; its mask; and the affine to it."""
    to_scan = nib.affines.from_matvec(nib.eulerangles.euler2mat(*np.deg2rad(angles)) @ np.diag(scale), shift)
    shape = 72, 84, 72
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = nib.affines.apply_affine(to_scan, [0, -18, 8.5]) - 1.5 * (np.array(shape) - 1)
    grid, back = Grid(shape, affine), np.linalg.inv(to_scan)
    mask = sample(Volume(template.fit_mask, template.fit.affine), grid, back).data > 0.5
    brain = 700 * np.sqrt(sample(template.fit, grid, back).data)
    noisy = brain + np.random.default_rng(1).normal(0, 10, shape)
    return Volume((noisy * mask).astype(np.float32), affine), mask, to_scan


def error_mm(template, found, truth):
    points = np.argwhere(template.fit_mask)[::101] @ template.fit.affine[:3, :3].T + template.fit.affine[:3, 3]
    apart = nib.affines.apply_affine(found, points) - nib.affines.apply_affine(truth, points)
    return np.linalg.norm(apart, axis=1).mean()


POSES = [((4, -3, 6), (1.05, 0.95, 1.02), (8, -5, 12)), ((-28, 5, 3), (0.9, 0.92, 0.95), (-20, 10, 5))]


@pytest.fixture(scope="module", autouse=True)
def fewer_points():
    """Fewer points, so that the tests take seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_affine, "MOST_POINTS", 1500)
        yield


@pytest.fixture(scope="module")
def brains(template):
    return [posed(template, *pose) for pose in POSES]


@pytest.fixture(scope="module")
def found(template, brains):
    return register_affine_batch(template.fit, template.fit_mask, [brain[:2] for brain in brains], **LIMITS)


def test_poses_of_a_batch_are_found(template, brains, found):
    for (_, _, truth), result in zip(brains, found, strict=True):
        assert error_mm(template, result.fixed_to_moving, truth) < 0.5
        assert result.mask_dice > 0.95 and result.mutual_information > 0.5 and result.starts == 1


def test_a_brain_alone_has_the_result_that_it_has_in_a_batch_and_twice_the_same(template, brains, found):
    image, mask, _ = brains[0]
    alone = register_affine_batch(template.fit, template.fit_mask, [(image, mask)], **LIMITS)[0]
    # Not to the bit: the size of the batch decides the order of sums, also differently on different processors.
    assert error_mm(template, alone.fixed_to_moving, found[0].fixed_to_moving) < 0.1
    again = register_affine_batch(template.fit, template.fit_mask, [(image, mask)], **LIMITS)[0]
    np.testing.assert_array_equal(again.fixed_to_moving, alone.fixed_to_moving)


def test_further_starts_are_refined_together_until_all_reach_the_limits(template, brains):
    out_of_reach = LIMITS | {"min_dice": 1.1}
    results = register_affine_batch(template.fit, template.fit_mask, [brains[0][:2]], **out_of_reach)
    assert error_mm(template, results[0].fixed_to_moving, brains[0][2]) < 0.5, "the best of all starts is returned"


def test_the_preprocessing_registers_by_torch_where_it_is_asked_to(template, brains):
    image, mask, truth = brains[0]
    by = {
        device: _register(template.fit, template.fit_mask, image, mask, 3, 0.9, device).fixed_to_moving
        for device in ("", "cpu")
    }
    assert not np.array_equal(by[""], by["cpu"])
    assert max(error_mm(template, matrix, truth) for matrix in by.values()) < 0.8
