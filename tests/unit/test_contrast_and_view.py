"""Images that are no T1-weighted brain, heads that a header turns or stretches, and brains that are cut: each is a number."""

import numpy as np
import pytest
from neurocohort.dataset.quality_limits import QualityLimits, beyond_limits
from neurocohort.imaging.contrast import tissue_contrast
from neurocohort.imaging.doubts import doubts
from neurocohort.imaging.field_of_view import cut_area_cm2, missing_fraction
from neurocohort.imaging.intensity_scale import to_common_scale
from neurocohort.imaging.pose import pose_numbers
from neurocohort.imaging.registration import _turn
from neurocohort.imaging.template import make_template, read_template
from neurocohort.imaging.volume import Grid, Volume, sample

LIMITS = QualityLimits(0.9, 0.5, 700.0, 2200.0, 30.0, 0.02, 0.05, 60.0, 1.3)
T1, T2, FLAIR, PD = (0.3, 0.65, 1.0), (1.0, 0.62, 0.4), (0.1, 1.0, 0.75), (1.0, 0.9, 0.72)
SPACING_MM = 2.0


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    path = tmp_path_factory.mktemp("template") / "template.npz"
    make_template(path, 4.0, (40, 48, 40))
    return read_template(path)


def reason_for(metrics: dict) -> tuple[str, str]:
    return beyond_limits(metrics, LIMITS, mni_space=False) or ("", "")


# --- contrast ---------------------------------------------------------------------------------------------------------


def contrast_of(template, means, offset: float = 0.0, factor: float = 1.0) -> dict[str, float]:
    noise = np.random.default_rng(0).normal(0, 0.03, template.mask.shape)
    image = np.tensordot(np.array(means), template.tissues, axes=1) + noise
    return tissue_contrast(image * factor + offset, template.mask, template.tissues)


def test_t1_weighted_tissues_have_a_clear_contrast_whatever_the_unit(template):
    found = contrast_of(template, T1)
    assert min(found.values()) > 0.2 and reason_for(found) == ("", "")
    assert contrast_of(template, T1, offset=-1024, factor=37.0) == pytest.approx(found, abs=1e-4)


@pytest.mark.parametrize(
    ("means", "words"),
    [
        (T2, "grey matter less CSF is -0."),
        (FLAIR, "white matter less grey matter is -0."),
        (PD, "grey matter less CSF is -0."),
        ((0.3, 0.9, 0.8), "white matter less grey matter is"),
    ],
)
def test_an_image_of_another_contrast_is_excluded_with_the_number(template, means, words):
    stage, reason = reason_for(contrast_of(template, means))
    assert stage == "contrast" and "doesn't look T1-weighted" in reason and words in reason


# --- pose -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_head_that_its_header_turns_or_stretches_is_excluded_with_the_number(axis):
    turned, stretched = np.eye(4), np.eye(4)
    turned[:3, :3] = _turn(axis, 90) * 0.9
    stretched[axis, axis] = 1.5
    assert pose_numbers(turned) == pytest.approx({"head_turn_degrees": 90, "head_stretch": 1})
    assert pose_numbers(stretched) == pytest.approx({"head_turn_degrees": 0, "head_stretch": 1.5})
    assert "turned by 90 degrees" in reason_for(pose_numbers(turned))[1]
    assert "1.50 times" in reason_for(pose_numbers(stretched))[1]
    usual = _turn(axis, 28) @ np.diag([0.9, 1.0, 1.08])
    affine = np.eye(4)
    affine[:3, :3] = usual
    assert reason_for(pose_numbers(affine)) == ("", "")


# --- field of view ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def head(template):
    """The template's brain in a scalp of 12 mm, in air of 0, and its mask, on a grid of 2 mm."""
    from scipy import ndimage

    corner = template.fit.affine[:3, 3] - 30.0
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = corner
    grid = Grid(tuple(int(n + 60 / SPACING_MM) for n in template.fit_mask.shape), affine)
    mask = sample(Volume(template.fit_mask, template.fit.affine), grid).data > 0.5
    brain = sample(template.fit, grid).data
    scalp = ndimage.binary_dilation(mask, iterations=6) & ~mask
    rng = np.random.default_rng(0)
    data = np.where(mask, 0.2 + brain + 0.02 * rng.random(mask.shape), 0) + scalp * (0.3 + 0.1 * rng.random(mask.shape))
    return Volume(to_common_scale(data.astype(np.float32), np.full(3, SPACING_MM)), affine), mask


def cut(head, axis: int, side: int, fraction: float) -> tuple[Volume, np.ndarray]:
    """The head with all beyond a plane set to 0, ``fraction`` of its brain with it, and what is left of the mask."""
    scan, mask = head
    counts = np.cumsum(mask.sum(axis=tuple({0, 1, 2} - {axis}))[::side])
    plane = int(np.searchsorted(counts, (1 - fraction) * counts[-1]))
    kept = np.zeros(mask.shape, dtype=bool)
    np.moveaxis(kept, axis, 0)[::side][:plane] = True
    return Volume(scan.data * kept, scan.affine), mask & kept


def view(template, scan, mask) -> dict[str, float]:
    cut_cm2, skull_stripped = cut_area_cm2(scan, mask, skull_stripped=False)  # the study says nothing
    missing = missing_fraction(scan, template, np.eye(4), skull_stripped=skull_stripped)
    return {"mask_border_cm2": cut_cm2, "missing_brain": missing}


@pytest.mark.parametrize("stripped", [False, True])
def test_a_whole_brain_is_not_cut_and_misses_nothing(template, head, stripped):
    scan, mask = head
    scan = Volume(scan.data * mask, scan.affine) if stripped else scan
    assert view(template, scan, mask) == {"mask_border_cm2": 0, "missing_brain": 0}


@pytest.mark.parametrize("stripped", [False, True])
@pytest.mark.parametrize(("axis", "side"), [(0, 1), (1, 1), (1, -1), (2, 1), (2, -1)])
def test_a_brain_that_a_plane_of_background_cuts_is_excluded(template, head, axis, side, stripped):
    scan, mask = cut(head, axis, side, 0.06)
    scan = Volume(scan.data * mask, scan.affine) if stripped else scan
    stage, reason = reason_for(view(template, scan, mask))
    assert stage == "brain_extraction" and ("the brain is cut" in reason or "are missing" in reason)


def test_a_brain_that_an_oblique_plane_cuts_is_excluded(template, head):
    scan, mask = head
    index = np.indices(mask.shape)
    height = 0.8 * index[1] - 0.6 * index[2]  # the face and the forehead, as defacing does
    kept = height < np.percentile(height[mask], 94)
    stage, reason = reason_for(view(template, Volume(scan.data * kept, scan.affine), mask & kept))
    assert stage == "brain_extraction" and "the brain is cut" in reason


@pytest.mark.parametrize("stripped", [False, True])
def test_slices_without_an_image_exclude(template, head, stripped):
    scan, mask = head
    data = scan.data * mask if stripped else scan.data.copy()
    middle = mask.shape[2] // 2
    data[:, :, middle : middle + 2] = 0
    found = view(template, Volume(data, scan.affine), mask)
    assert 0.03 < found["missing_brain"] < 0.08 and "of the brain is missing" in reason_for(found)[1]


def test_a_brain_beyond_the_field_of_view_is_excluded_though_its_mask_is_whole(template, head):
    scan, mask = head
    shown = slice(None), slice(None), slice(None, 20 + int(np.flatnonzero(mask.any(axis=(0, 1)))[0]))
    found = view(template, Volume(scan.data[shown], scan.affine), mask[shown])
    assert found["mask_border_cm2"] > 100 and found["missing_brain"] > 0.3


def test_air_beside_a_thin_scalp_and_empty_bone_are_no_cut(template, head):
    scan, mask = head
    from scipy import ndimage

    bone = ndimage.binary_dilation(mask, iterations=2) & ~mask  # 4 mm of exact 0, then 8 mm of scalp
    found = view(template, Volume(np.where(bone, 0, scan.data), scan.affine), mask)
    assert found["mask_border_cm2"] < 5


# --- notes ------------------------------------------------------------------------------------------------------------


def test_a_scan_near_a_limit_gets_a_note_with_its_number_and_an_ordinary_one_none():
    usual = {
        "mask_border_cm2": 0.0,
        "missing_brain": 0.0,
        "contrast_gm_csf": 0.3,
        "contrast_wm_gm": 0.25,
        "head_turn_degrees": 12.0,
    }
    assert doubts(usual) == [] == doubts({}) == doubts(dict.fromkeys(usual))
    unusual = {"mask_border_cm2": 12.0, "missing_brain": 0.011, "contrast_wm_gm": 0.09, "head_turn_degrees": 50.0}
    for (name, value), words in zip(
        unusual.items(), ("12 cm2", "1.1% of the brain", "0.09", "50 degrees"), strict=True
    ):
        (note,) = doubts(usual | {name: value})
        assert words in note and reason_for({name: value}) == ("", "")
