"""Native space: the grid around a scan's own foreground, its intensities, the way back to its own grid, and what is refused."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from configurations import LEFT_OUT, changed, refusal
from neurocohort.dataset.quality_limits import QualityLimits, beyond_limits
from neurocohort.errors import ScanExcluded
from neurocohort.files import read_json
from neurocohort.imaging.derivatives import qc_path, scan_folder
from neurocohort.imaging.native import extent_mm, foreground_of, fraction_outside
from neurocohort.imaging.overlap import dice
from neurocohort.imaging.preprocess import ScanImages, Settings, preprocess_scan
from neurocohort.imaging.scan_files import write_scan
from neurocohort.imaging.template import grid_of_study, make_native_grid, read_template
from neurocohort.imaging.volume import Grid, Volume
from neurocohort.learning.label_maps import write_label_maps
from neurocohort.study.configuration import check_configuration

SCAN_ID = "sub-1_ses-1"
ORIENTATIONS = ("RAS", "LPS", "PSR", "SAL")
WINDOW = [-1000.0, 400.0]
SPACING_MM = {"R": 1.2, "A": 1.0, "S": 2.5}  # by the world's axis
TO_POSITIVE = {"R": "R", "L": "R", "A": "A", "P": "A", "S": "S", "I": "S"}
CT = Settings(space="native", window=WINDOW)
MRI = Settings(space="native")


def stored(orientation, turn_degrees=0.0, shift_mm=0.0, extent_mm=(120, 100, 110)):
    """The shape and affine of an image in an orientation; the header is turned about an oblique axis and shifted."""
    size = dict(zip("RAS", extent_mm, strict=True))
    shape = tuple(round(size[TO_POSITIVE[letter]] / SPACING_MM[TO_POSITIVE[letter]]) for letter in orientation)
    own = np.eye(4)
    own[:3, :3] = 0
    for place, letter in enumerate(orientation):
        axis = TO_POSITIVE[letter]
        own["RAS".index(axis), place] = SPACING_MM[axis] * (1 if letter == axis else -1)
    own[:3, 3] = -own[:3, :3] @ ((np.array(shape) - 1) / 2)
    half = np.deg2rad(turn_degrees) / 2
    turned = np.eye(4)
    turned[:3, :3] = nib.quaternions.quat2mat([np.cos(half), *(np.sin(half) * np.array([1, 2, 2]) / 3)])
    turned[:3, 3] = shift_mm
    return shape, own, turned @ own


def painted(folder, orientation="RAS", air=-1000.0, dtype=np.float32, **header):
    """A body with two spheres in it, labelled 1 and 2, off the middle of the field of view, as files; and the label map."""
    shape, own, affine = stored(orientation, **header)
    points = nib.affines.apply_affine(own, np.moveaxis(np.indices(shape, dtype=float), 0, -1))
    data = np.full(shape, air)
    data[((points - [6, -4, 5]) ** 2 / np.square([40, 32, 36])).sum(-1) < 1] = 40
    labels = np.zeros(shape, dtype=np.uint8)
    for label, centre, value in ((1, [-12, 0, 5], -850), (2, [24, -4, 12], 300)):
        sphere = ((points - centre) ** 2).sum(-1) < 12**2
        data[sphere], labels[sphere] = value, label
    data += points[..., 0] / 100  # so that an image has more values than shapes
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data.astype(dtype), affine), folder / "scan.nii.gz")
    nib.save(nib.Nifti1Image(labels, affine), folder / "labels.nii.gz")
    return ScanImages(folder / "scan.nii.gz", labels=folder / "labels.nii.gz"), labels


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """The study's grid as its file has it, 2 mm."""
    path = tmp_path_factory.mktemp("grid") / "template.npz"
    make_native_grid(path, 2.0, (48, 40, 40))
    return grid_of_study(read_template(path))


@pytest.fixture(scope="module")
def upright(grid, tmp_path_factory):
    images, _ = painted(tmp_path_factory.mktemp("upright"))
    return preprocess_scan(images, grid, CT)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_orientation_and_header_change_no_result(orientation, grid, upright, tmp_path):
    images, _ = painted(tmp_path, orientation, turn_degrees=12, shift_mm=70)
    result = preprocess_scan(images, grid, CT)
    assert result.exclusion is None
    own, expected = (one.derivatives.preprocessed["T1w"].data for one in (result, upright))
    np.testing.assert_allclose(own, expected, atol=2e-3)
    np.testing.assert_array_equal(result.labels.data, upright.labels.data)
    assert result.metrics == pytest.approx(upright.metrics, abs=1e-3)


@pytest.mark.parametrize("orientation", ORIENTATIONS[:3])
def test_label_maps_come_back_to_the_scans_own_grid(orientation, grid, tmp_path):
    images, truth = painted(tmp_path / "raw", orientation, turn_degrees=9, shift_mm=-30)
    result = preprocess_scan(images, grid, CT)
    preproc = tmp_path / "own" / "preproc"
    folder = scan_folder(preproc, SCAN_ID)
    folder.mkdir(parents=True)
    write_scan(result, folder, SCAN_ID)
    certain = np.stack([result.labels.data == label for label in range(3)]).astype(np.float32)
    scans = pd.DataFrame({"cohort": ["own"], "scan_id": [SCAN_ID]})
    volumes = write_label_maps(scans, [certain], tmp_path, tmp_path / "maps", ["dark", "bright"])
    (path,) = (tmp_path / "maps").rglob("*_space-orig_dseg.nii.gz")
    written, raw = nib.load(path), nib.load(images.t1w)
    assert written.shape == raw.shape
    np.testing.assert_allclose(written.affine, raw.affine, atol=1e-4)
    found = np.asarray(written.dataobj)
    for label in (1, 2):
        assert dice(found == label, truth == label) > 0.93
    true_ml = [np.count_nonzero(truth == label) * np.prod(list(SPACING_MM.values())) / 1000 for label in (1, 2)]
    assert volumes["volume_ml"].tolist() == pytest.approx(true_ml, rel=0.06)
    record = read_json(qc_path(preproc, SCAN_ID))
    names = {entry["file"] for entry in record["outputs"].values()}
    assert (
        f"{SCAN_ID}_space-individual_desc-preproc_T1w.nii.gz" in names
        and f"{SCAN_ID}_desc-foreground_mask.nii.gz" in names
    )
    assert not any("brain" in name or "MNI" in name or "probseg" in name for name in names)
    assert record["volumes_ml"] == {} and not {"mask_ml", "template_dice"} & set(record["metrics"])


def test_window_maps_the_files_own_units_to_0_and_1(upright):
    image = upright.derivatives.preprocessed["T1w"].data
    for hu in (-1000, -850, 40, 300):
        assert np.count_nonzero(abs(image - (hu + 1000) / 1400) < 1e-3) > 200


def test_units_are_those_of_the_file_whatever_its_numbers(grid, upright, tmp_path):
    images, _ = painted(tmp_path)
    image = nib.load(images.t1w)
    shifted = nib.Nifti1Image(np.rint((image.get_fdata() + 1024) * 10).astype(np.uint16), image.affine)
    shifted.header.set_slope_inter(0.1, -1024)
    nib.save(shifted, images.t1w)
    result = preprocess_scan(images, grid, CT)
    own, expected = (one.derivatives.preprocessed["T1w"].data for one in (result, upright))
    np.testing.assert_allclose(own, expected, atol=1e-3)


@pytest.mark.parametrize("factor, offset", [(1.0, 1000.0), (0.01, 0.0), (30.0, -500.0)])
def test_without_a_window_the_scale_of_the_file_does_not_matter(factor, offset, grid, tmp_path):
    results = []
    for name, scale in (("one", (1.0, 1000.0)), ("other", (factor, offset))):
        images, _ = painted(tmp_path / name)
        image = nib.load(images.t1w)
        noisy = image.get_fdata() + np.random.default_rng(1).uniform(0, 20, image.shape)
        nib.save(nib.Nifti1Image((noisy * scale[0] + scale[1]).astype(np.float32), image.affine), images.t1w)
        results.append(preprocess_scan(images, grid, MRI).derivatives.preprocessed["T1w"].data)
    np.testing.assert_allclose(*results, atol=2e-3)


@pytest.mark.parametrize("intensity", ["percentile", "zscore"])
def test_intensities_are_scaled_by_the_foreground(intensity, grid, tmp_path):
    images, _ = painted(tmp_path)
    image = preprocess_scan(images, grid, replace_in(MRI, intensity)).derivatives.preprocessed["T1w"].data
    assert image.min() >= 0 and image.max() <= 1
    body, bright = image[24, 32, 20], image[33, 20, 23]
    assert bright > body > 0.2
    assert (abs(np.median(image[image > 0.2]) - 0.5) < 0.1) == (intensity == "zscore")


def replace_in(settings, intensity):
    return Settings.taken_from(settings.as_dict(), intensity=intensity)


def test_the_foreground_is_the_largest_part_above_the_background():
    data = np.random.default_rng(1).normal(-1000, 25, (60, 50, 40))
    data[10:40, 10:40, 5:35] = 30
    data[20:30, 20:30, 10:30] = -850  # a hole
    data[10:40, 45:47, 5:35] = 200  # a table
    mask = foreground_of(data, WINDOW)
    low, high = extent_mm(Volume(mask, np.diag([2.0, 2, 2, 1])))
    np.testing.assert_allclose((low, high), ([19, 19, 9], [79, 79, 69]))
    assert np.count_nonzero(mask) == 30**3


def test_an_image_without_foreground_is_excluded_with_its_reason():
    with pytest.raises(ScanExcluded, match=r"largest part above 10% of `preprocessing.window` .* has 0 voxels"):
        foreground_of(np.full((20, 20, 20), -1000.0), WINDOW)


def test_what_the_grid_cuts_is_measured_and_limited(grid, tmp_path):
    images, _ = painted(tmp_path)
    small = Grid((30, 40, 40), np.diag([2.0, 2, 2, 1]) + 0)
    small.affine[:3, 3] = -np.array([29, 39, 39])
    result = preprocess_scan(images, small, CT)
    cut = result.metrics["foreground_cut"]
    assert 0.05 < cut < 0.2 and result.exclusion is None
    needed = [result.metrics[f"needed_{axis}"] for axis in "xyz"]
    assert needed == pytest.approx([40, 32, 36], abs=1)
    assert "would hold it with `preprocessing.shape`" in result.notes[0]
    stage, reason = beyond_limits(result.metrics, QualityLimits(max_foreground_cut=0.02), mni_space=False)
    assert (
        stage == "grid"
        and f"`preprocessing.shape` of at least {[round(side) for side in needed]} would hold it" in reason
    )
    assert beyond_limits(result.metrics, QualityLimits(max_foreground_cut=0.3), mni_space=False) is None
    whole = preprocess_scan(images, grid, CT)
    assert whole.metrics["foreground_cut"] == 0 and whole.notes == []


def test_an_image_without_background_gets_a_note(grid, tmp_path):
    images, _ = painted(tmp_path)
    far_below = Settings.taken_from(CT.as_dict(), window=[-90000.0, 400.0])
    result = preprocess_scan(images, grid, far_below)
    assert result.metrics["foreground_fraction"] == 1 and "check the units of `preprocessing.window`" in result.notes[0]


def test_limits_of_brains_exclude_no_scan_in_native_space(upright):
    limits = QualityLimits(
        min_brain_ml=700, min_template_dice=0.9, min_mutual_information=0.5, min_tissue_contrast=0.05
    )
    assert beyond_limits(upright.metrics, limits, mni_space=False) is None


def test_fraction_outside_counts_voxels():
    mask = Volume(np.ones((10, 4, 4), dtype=bool), np.eye(4))
    assert fraction_outside(mask, Grid((8, 4, 4), np.eye(4)), np.eye(4)) == pytest.approx(0.2)


def test_second_images_are_excluded_and_not_ignored(grid, tmp_path):
    images, _ = painted(tmp_path)
    result = preprocess_scan(replace(images, extra={"T2w": images.t1w}), grid, CT)
    assert result.exclusion.stage == "read" and "T2w" in result.exclusion.reason


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of CT images in native space."""
    folder = tmp_path_factory.mktemp("study")
    for name in ("sub-1", "sub-2", "sub-3"):
        anat = folder / "cohort" / name / "anat"
        images, _ = painted(anat)
        images.t1w.rename(anat / f"{name}_ct.nii.gz")
        images.labels.rename(anat / f"{name}_dseg.nii.gz")
    cohort = {
        "source": "bids",
        "path": str(folder / "cohort"),
        "pattern": "*_ct.nii*",
        "labels": {"dark": 1, "bright": 2},
    }
    experiment = {"task": "segmentation", "target": "dseg", "cohorts": ["own"], "network": {"name": "unet"}}
    preprocessing = {"space": "native", "window": [-1000, 400], "spacing_mm": 2, "shape": [48, 48, 48]}
    return {
        "study": "own",
        "cohorts": {"own": cohort},
        "preprocessing": preprocessing,
        "experiments": {"parts": experiment},
    }


def test_a_study_in_native_space_is_in_order(study):
    checked = check_configuration(study, source="study.yaml")
    assert checked["preprocessing"]["window"] == [-1000.0, 400.0]


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("cohorts.own.mni_space", True, "`cohorts.own.mni_space` is true, and `preprocessing.space` is native"),
        ("cohorts.own.skull_stripped", True, "`cohorts.own.skull_stripped` is true"),
        ("cohorts.own.modalities", ["T1w", "T2w"], "a scan has one image"),
        (
            "preprocessing.learned",
            {"steps": 10},
            "`preprocessing.learned` is only for `preprocessing.registration: learned`",
        ),
        ("preprocessing.tissue_maps", True, "`preprocessing.tissue_maps` is true"),
        ("preprocessing.registration", "deformable", "`preprocessing.registration` is deformable"),
        ("preprocessing.brain_extraction", "synthstrip", "`preprocessing.brain_extraction` is synthstrip"),
        ("preprocessing.device", "cuda", "`preprocessing.device` is cuda"),
        ("preprocessing.intensity", "white_matter_peak", "expected percentile or zscore, or a `window`"),
        ("preprocessing.window", [400, -1000], "expected the lower intensity first"),
        ("preprocessing.space", LEFT_OUT, "`preprocessing.window` is only for `preprocessing.space: native`"),
        ("evaluation.harmonisation", "combat", "`evaluation.harmonisation` corrects volumes of tissues"),
    ],
)
def test_what_needs_a_brain_is_refused(study, key, value, message):
    assert message in refusal(changed(study, key, value))
