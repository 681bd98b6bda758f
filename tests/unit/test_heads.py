"""Painted heads: their truth is what was painted, and one seed paints one head."""

import heads
import nibabel as nib
import numpy as np
import pytest

COARSE = {"spacing_mm": (2.0, 2.0, 2.5)}


@pytest.fixture(scope="module")
def label_map(shared_data):
    return shared_data / "label_maps" / "head_labels_03.nii.gz"


@pytest.fixture(scope="module")
def head(label_map):
    return heads.paint_head(label_map, seed=11, field_of_view="whole", noise=0.02, orientation="PSR", **COARSE)


def middle_in_label_map(head, mask):
    world = nib.affines.apply_affine(head.volume.affine, np.argwhere(mask).mean(axis=0))
    return nib.affines.apply_affine(np.linalg.inv(head.truth["labels_to_scan"]), world)


def test_tissue_volumes_are_those_of_the_label_map(head, label_map):
    labels = np.asarray(nib.load(label_map).dataobj)
    volumes, voxel_ml = head.truth["volumes_ml"], head.volume.voxel_ml
    for name, kind, members in (("gm", heads.GM, heads.GM_LABELS), ("wm", heads.WM, heads.WM_LABELS)):
        expected = np.isin(labels, members).sum() / 1000
        assert volumes[name] == pytest.approx(expected, rel=0.005), name
        counted = np.count_nonzero(head.truth["tissues"] == kind) * voxel_ml
        assert counted == pytest.approx(expected, rel=0.15), f"{name}: thin tissue loses some voxels to its neighbours"
    assert volumes["brain"] == pytest.approx(sum(volumes[name] for name in ("csf", "gm", "wm")))
    assert np.count_nonzero(head.truth["brain"]) * voxel_ml == pytest.approx(volumes["brain"], rel=0.01)
    assert np.array_equal(head.truth["brain"], head.truth["tissues"] > 0)
    assert head.truth["share_in_view"] == pytest.approx(1, abs=0.002)


def test_each_hippocampus_is_where_the_label_map_has_it(head, label_map):
    image = nib.load(label_map)
    labels = np.asarray(image.dataobj)
    for label in (17, 53):
        expected = nib.affines.apply_affine(image.affine, np.argwhere(labels == label).mean(axis=0))
        found = middle_in_label_map(head, head.truth["structures"] == label)
        assert np.linalg.norm(found - expected) < 0.7
    left, right = (middle_in_label_map(head, head.truth["structures"] == label)[0] for label in (17, 53))
    assert left < right - 30


def test_pose_is_rigid_within_the_limits_and_no_header_tells_it(head):
    pose, drawn = head.truth["labels_to_scan"], head.truth["drawn"]
    assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3)) and np.linalg.det(pose[:3, :3]) > 0
    angle = np.rad2deg(np.arccos((np.trace(pose[:3, :3]) - 1) / 2))
    assert angle == pytest.approx(drawn["rotation_deg"]) and 0 < angle < 30
    world = nib.affines.apply_affine(head.volume.affine, np.argwhere(head.truth["brain"]).mean(axis=0))
    assert np.linalg.norm(world) == pytest.approx(drawn["shift_mm"], abs=1.0) and drawn["shift_mm"] < 40
    assert "".join(nib.aff2axcodes(head.volume.affine)) == "PSR"
    assert np.count_nonzero(np.abs(head.volume.affine[:3, :3]) > 1e-9) == 3, "the grid lies along the scan's axes"
    assert head.volume.spacing_mm == pytest.approx([2.0, 2.5, 2.0]), "given along right, anterior, superior"


def test_contrast_is_of_t1_and_the_bias_field_is_as_told(head):
    truth = head.truth
    assert truth["bias"].min() == pytest.approx(1 - truth["drawn"]["bias"], abs=0.03)
    assert truth["bias"].max() == pytest.approx(1 + truth["drawn"]["bias"], abs=0.03)
    flat = head.volume.data / truth["bias"]
    csf, gm, wm = (np.median(flat[truth["tissues"] == kind]) for kind in (heads.CSF, heads.GM, heads.WM))
    assert 0.1 * wm < csf < gm - 0.15 * wm and gm < 0.85 * wm
    assert wm == pytest.approx(truth["drawn"]["white_matter"], rel=0.05)


def test_one_seed_paints_one_head(head, label_map):
    again = heads.paint_head(label_map, seed=11, field_of_view="whole", noise=0.02, orientation="PSR", **COARSE)
    assert (
        again.volume.data.tobytes() == head.volume.data.tobytes() and again.volume.data.dtype == head.volume.data.dtype
    )
    for name in ("brain", "tissues", "structures", "bias", "labels_to_scan"):
        assert np.array_equal(again.truth[name], head.truth[name]), name
    other = heads.paint_head(label_map, seed=12, field_of_view="whole", orientation="PSR", **COARSE)
    assert not np.allclose(other.truth["labels_to_scan"], head.truth["labels_to_scan"])


def test_cut_field_of_view_leaves_the_brain_at_the_border(label_map):
    seed = 0
    while True:  # the first seed whose plane goes into the brain
        head = heads.paint_head(label_map, seed=seed, field_of_view="cut", **COARSE)
        if head.truth["drawn"]["cut_into_brain_mm"] > 3:
            break
        seed += 1
    brain = head.truth["brain"]
    border = [brain.take(end, axis=axis).any() for axis in range(3) for end in (0, -1)]
    assert sum(border) == 1 and 0.9 < head.truth["share_in_view"] < 1
