"""Scans that come in MNI space: no volumes that look native, no exclusion for what the template shows to be no brain."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from neurocohort.dataset.pack import pack_scans
from neurocohort.dataset.quality_limits import QualityLimits
from neurocohort.dataset.quality_table import quality_tables
from neurocohort.files import read_table, write_table
from neurocohort.imaging.derivatives import scan_folder
from neurocohort.imaging.mni_space import MARGIN_MM, within_template
from neurocohort.imaging.preprocess import ScanImages, Settings, preprocess_scan
from neurocohort.imaging.scan_files import write_scan
from neurocohort.imaging.scan_record import ScanRecord
from neurocohort.imaging.template import make_template, read_template
from neurocohort.imaging.volume import Volume
from scipy import ndimage

LIMITS = QualityLimits(0.9, 0.5, 700.0, 2200.0, 30.0)
EYES_MM = [(-34.0, 62.0, -36.0), (34.0, 62.0, -36.0)]  # below and before the frontal lobes
EYE_RADIUS_MM = 30.0


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    path = tmp_path_factory.mktemp("template") / "template.npz"
    make_template(path, 4.0, (40, 48, 40))
    return read_template(path)


@pytest.fixture(scope="module")
def brain() -> nib.Nifti1Image:
    """The template's own brain as a skull-stripped scan in MNI space, of 2 mm, with some noise."""
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1).slicer[::2, ::2, ::2]
    data = np.asarray(image.dataobj, dtype=np.float32)
    noise = np.random.default_rng(0).normal(0, 0.02, data.shape)
    return nib.Nifti1Image(np.where(data > 0, 800 * np.clip(data + noise, 0.05, None), 0), image.affine)


def preprocessed(image: nib.Nifti1Image, folder, template, **changes) -> ScanRecord:
    folder.mkdir(exist_ok=True, parents=True)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj, dtype=np.float32), image.affine), folder / "scan.nii.gz")
    options = {"seed": 1, "skull_stripped": True, "mni_space": True} | changes
    result = preprocess_scan(ScanImages(folder / "scan.nii.gz"), template, Settings(intensity="percentile", **options))
    return write_scan(result, scan_folder(folder, "scan"), "scan")


def judged(folder, **changes) -> pd.Series:
    """The scan's row of the quality table, with the limits that a study has by default."""
    scans = pd.DataFrame({"scan_id": ["scan"], "participant_id": ["p"], "site": [None]})
    none = pd.DataFrame(columns=["participant_id", "scan_id", "stage", "reason"])
    return quality_tables(scans, none, folder, replace(LIMITS, **changes))[0].iloc[0]


def test_scan_in_mni_space_has_tissue_maps_on_the_grid_if_the_study_wants_them(brain, template, tmp_path):
    record = preprocessed(brain, tmp_path, template, tissue_maps=True)
    folder = scan_folder(tmp_path, "scan")
    images = {name: nib.load(folder / record.outputs[f"template_probseg_{name}"].file) for name in ("CSF", "GM", "WM")}
    maps = np.stack([np.asarray(image.dataobj) for image in images.values()])
    assert all(image.get_data_dtype() == np.uint8 for image in images.values())
    np.testing.assert_allclose(images["GM"].affine, template.grid.affine)
    outside = ~ndimage.binary_dilation(template.mask, iterations=2)
    assert maps.min() >= 0 and maps.max() <= 1 and (maps[:, outside] == 0).all()
    inner = ndimage.binary_erosion(template.mask, iterations=2)
    np.testing.assert_allclose(maps.sum(axis=0)[inner], 1, atol=0.05)
    for found, expected in zip(maps, template.tissues, strict=True):
        assert np.corrcoef(found[inner], expected[inner])[0, 1] > 0.7
    index = pack_scans(["scan"], tmp_path, tmp_path / "i.npy", tmp_path / "l.npy", ("T1w", "CSF", "GM", "WM"))
    packed = np.load(tmp_path / "i.npy", mmap_mode="r")
    assert len(index) == 1 and packed.shape == (1, 4, *template.grid.shape) and packed.dtype == np.uint8
    np.testing.assert_allclose(packed[0, 1:] / 255, maps, atol=1 / 255)


def test_scan_has_no_tissue_maps_on_the_grid_by_default_and_the_same_image(brain, template, tmp_path):
    files = {}
    for wanted in (False, True):
        record = preprocessed(brain, tmp_path / str(wanted), template, tissue_maps=wanted)
        files[wanted] = {name: output.sha256 for name, output in record.outputs.items()}
    extra = {name for name in files[True] if name.startswith("template_probseg_")}
    assert len(extra) == 6  # each with its sidecar
    assert files[False] == {name: sha256 for name, sha256 in files[True].items() if name not in extra}


def world_mm(image: nib.Nifti1Image) -> np.ndarray:
    return nib.affines.apply_affine(image.affine, np.moveaxis(np.indices(image.shape), 0, -1))


def with_eyes(image: nib.Nifti1Image) -> nib.Nifti1Image:
    """Bright balls where a strip leaves the eyes and the fat around them."""
    data, place = np.array(image.dataobj), world_mm(image)
    for centre in EYES_MM:
        eye = np.linalg.norm(place - np.array(centre), axis=-1) < EYE_RADIUS_MM
        data[eye & (data == 0)] = 2500
    return nib.Nifti1Image(data, image.affine)


def test_a_scan_in_mni_space_has_no_volume_that_looks_native(brain, template, tmp_path):
    record = preprocessed(brain, tmp_path / "scan", template)
    assert record.status == "ok", record.reason
    assert record.volumes_ml == dict.fromkeys(("brain", "csf", "gm", "wm"))
    assert not [name for name in record.metrics if name.endswith("_ml")]
    assert record.metrics["mask_to_template"] == pytest.approx(1, abs=0.02)
    assert record.metrics["template_shift_mm"] < 3
    scans = pd.DataFrame({"scan_id": ["scan"], "participant_id": ["p"], "site": [None]})
    none = pd.DataFrame(columns=["participant_id", "scan_id", "stage", "reason"])
    write_table(tmp_path / "qc.tsv", quality_tables(scans, none, tmp_path / "scan")[0])
    qc = read_table(tmp_path / "qc.tsv")
    assert qc[["volume_brain_ml", "volume_csf_ml", "volume_gm_ml", "volume_wm_ml"]].isna().all(axis=None)


def test_the_same_scan_as_a_native_one_has_its_volumes(brain, template, tmp_path):
    record = preprocessed(brain, tmp_path / "native", template, mni_space=False)
    assert record.status == "ok", record.reason
    assert record.volumes_ml["brain"] == pytest.approx(record.metrics["mask_ml"], rel=0.01)
    assert "mask_to_template" not in record.metrics


def test_limits_in_ml_are_about_native_heads_alone(brain, template, tmp_path):
    preprocessed(brain, tmp_path / "mni", template)
    assert judged(tmp_path / "mni", max_brain_ml=1500.0)["status"] == "ok"
    preprocessed(brain, tmp_path / "native", template, mni_space=False)
    assert "expected 700 to 1500 mL" in judged(tmp_path / "native", max_brain_ml=1500.0)["reason"]
    assert judged(tmp_path / "native")["status"] == "ok", "another limit needs no other record"


def test_information_that_falls_with_atrophy_excludes_nobody_in_mni_space(brain, template, tmp_path):
    preprocessed(brain, tmp_path / "mni", template)
    row = judged(tmp_path / "mni", min_mutual_information=5.0)
    assert row["status"] == "ok" and row["mutual_information"] > 0.4


def test_eyes_that_the_strip_left_are_removed_and_do_not_cost_the_scan(brain, template, tmp_path):
    plain, left = preprocessed(brain, tmp_path / "plain", template), with_eyes(brain)
    record = preprocessed(left, tmp_path / "eyes", template)
    assert record.status == "ok", record.reason
    assert plain.metrics["outside_template"] < 0.001 < 0.05 < record.metrics["outside_template"]
    assert record.metrics["template_dice"] > 0.9
    mask = nib.load(scan_folder(tmp_path / "eyes", "scan") / record.outputs["brain_mask"].file)
    inside = np.asarray(mask.dataobj) > 0
    for centre in EYES_MM:
        front = np.array(centre) + np.array([0, 20, -10])
        index = tuple(np.round(nib.affines.apply_affine(np.linalg.inv(mask.affine), front)).astype(int))
        assert np.asarray(left.dataobj)[index] == 2500 and not inside[index]
    own = np.asarray(brain.dataobj) > 0
    assert inside[own].mean() > 0.999, "none of the brain is removed"


def test_a_brain_without_cerebellum_and_one_upside_down_are_excluded(brain, template, tmp_path):
    place = world_mm(brain)
    cut = nib.Nifti1Image(np.where(place[..., 2] - 0.3 * place[..., 1] > -8, brain.dataobj, 0), brain.affine)
    turned = nib.Nifti1Image(np.asarray(brain.dataobj)[:, :, ::-1], brain.affine)
    for name, image in (("cut", cut), ("turned", turned)):
        preprocessed(image, tmp_path / name, template)
        row = judged(tmp_path / name)
        assert row["stage"] == "registration" and "Dice" in row["reason"], name
        assert "`mni_space: true`" in row["reason"] and "starts" not in row["reason"]


def test_a_brain_that_is_tilted_is_excluded_though_the_masks_overlap(brain, template, tmp_path):
    tilt = np.eye(4)
    angle = np.deg2rad(16)
    tilt[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    centre = np.array([0, -18, 8.5])
    tilt[:3, 3] = centre - tilt[:3, :3] @ centre
    record = preprocessed(nib.Nifti1Image(brain.dataobj, tilt @ brain.affine), tmp_path / "tilted", template)
    assert record.metrics["template_dice"] > 0.9
    assert record.stage == "registration" and "would still move the brain" in record.reason


def test_a_whole_head_and_a_native_brain_that_are_said_to_be_in_mni_space_are_excluded(brain, template, tmp_path):
    place = world_mm(brain)
    head = np.linalg.norm((place - (0, -18, 8)) / (82, 104, 88), axis=-1) < 1
    whole = nib.Nifti1Image(np.where(head & (np.asarray(brain.dataobj) == 0), 900, brain.dataobj), brain.affine)
    small = brain.affine.copy()
    small[:3] *= 0.87  # 1,250 mL in place of 1,890
    for name, image in (("whole", whole), ("native", nib.Nifti1Image(brain.dataobj, small))):
        preprocessed(image, tmp_path / name, template)
        row = judged(tmp_path / name)
        assert row["status"] == "excluded" and "Dice" in row["reason"], (name, row)


def test_a_scan_that_lies_elsewhere_is_excluded_with_what_to_do(brain, template, tmp_path):
    elsewhere = brain.affine.copy()
    elsewhere[:3, 3] += 400
    record = preprocessed(nib.Nifti1Image(brain.dataobj, elsewhere), tmp_path / "far", template)
    assert record.stage == "registration" and "remove `mni_space`" in record.reason


def test_what_is_kept_lies_within_the_margin_and_in_one_piece(template):
    shape = template.fit_mask.shape
    everything = np.ones(shape, dtype=bool)
    kept, numbers = within_template(Volume(np.ones(shape, np.float32), template.fit.affine), everything, template)
    from scipy import ndimage

    distance = ndimage.distance_transform_edt(~template.fit_mask, sampling=template.fit.spacing_mm)
    assert distance[kept].max() <= MARGIN_MM and kept[template.fit_mask].all()
    assert numbers["outside_template"] == pytest.approx(1 - kept.mean(), abs=1e-5)
    assert ndimage.label(kept)[1] == 1
