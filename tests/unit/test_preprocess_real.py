"""The whole preprocessing chain on real IXI heads: what works on a synthetic head can fail on them without a warning."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from neurocohort.imaging.overlap import dice
from neurocohort.imaging.preprocess import ScanImages, Settings, preprocess_scan
from neurocohort.imaging.scan_files import write_scan
from neurocohort.imaging.template import make_template, read_template
from neurocohort.imaging.volume import Volume, sample

SETTINGS = Settings(intensity="percentile", seed=1)
HH_SCANS = ["IXI012-HH-1211", "IXI132-HH-1415", "IXI255-HH-1882", "IXI383-HH-2099", "IXI443-HH-2215", "IXI527-HH-2376"]
RIGHT_HIPPOCAMPUS, LEFT_HIPPOCAMPUS = 47, 48


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("template") / "template.npz"
    make_template(path, 3.0, (56, 64, 56))
    return read_template(path)


def outputs_of(record, folder):
    return {name: folder / output.file for name, output in record.outputs.items()}


def preprocessed(path, folder, template, **labels):
    return write_scan(preprocess_scan(ScanImages(path, **labels), template, SETTINGS), folder, "scan")


@pytest.mark.parametrize("scan", HH_SCANS)
def test_real_head_is_extracted_registered_and_stays_the_right_way_round(shared_data, template, tmp_path, scan):
    path = shared_data / "ixi_hh_2mm" / f"{scan}_T1_2mm.nii.gz"
    record = preprocessed(path, tmp_path, template)
    assert record.status == "ok", record.reason
    files = outputs_of(record, tmp_path)
    regions_image = nib.load(shared_data / "ixi_hh_2mm" / f"{scan}_T1_2mm_DLMUSE.nii.gz")
    regions = np.asarray(regions_image.dataobj)
    mask = np.asarray(nib.load(files["brain_mask"]).dataobj) > 0
    assert dice(mask, regions > 0) >= 0.97
    assert record.metrics["template_dice"] >= 0.92

    transform = sitk.ReadTransform(str(files["inverse_xfm"]))  # as ITK tools read it: native points to template points
    sides = {}
    for label in (RIGHT_HIPPOCAMPUS, LEFT_HIPPOCAMPUS):
        index = np.argwhere(regions == label).mean(axis=0)
        point = nib.affines.apply_affine(regions_image.affine, index) * [-1, -1, 1]
        sides[label] = np.array(transform.TransformPoint(point.tolist())) * [-1, -1, 1]
    for label, x in ((RIGHT_HIPPOCAMPUS, 26), (LEFT_HIPPOCAMPUS, -26)):
        assert np.linalg.norm(sides[label] - [x, -24, -14]) < 12, (
            f"{label} lies at {sides[label].round(1)} in MNI space"
        )


@pytest.mark.parametrize("axis", [0, 1])
def test_tilted_head_ends_where_the_upright_one_does(shared_data, template, tmp_path, axis):
    """How somebody lay in the scanner changes nothing of where their brain ends in the template."""
    image = nib.load(shared_data / "ixi_hh_2mm" / f"{HH_SCANS[2]}_T1_2mm.nii.gz")
    angles = [0.0, 0.0, 0.0]
    angles[axis] = np.deg2rad(28)
    tilt = nib.affines.from_matvec(nib.eulerangles.euler2mat(*angles), [10, -15, 20])
    bright = np.argwhere(np.asarray(image.dataobj) > 0)[::500]
    places = []
    for name, turn in (("upright", np.eye(4)), ("tilted", tilt)):
        path = tmp_path / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), turn @ image.affine), path)
        record = preprocessed(path, tmp_path / name, template)
        assert record.status == "ok", record.reason
        to_template = itk_matrix(outputs_of(record, tmp_path / name)["inverse_xfm"]) @ turn
        places.append(nib.affines.apply_affine(to_template @ image.affine, bright))
    assert np.linalg.norm(places[0] - places[1], axis=1).mean() < 3


def test_original_ixi_scan_is_preprocessed(shared_data, template, tmp_path):
    record = preprocessed(shared_data / "IXI533-Guys-1066-T1.nii.gz", tmp_path, template)
    assert record.status == "ok", record.reason
    assert record.metrics["template_dice"] >= 0.92
    preproc = nib.load(outputs_of(record, tmp_path)["preproc_T1w"])
    assert preproc.shape == (56, 64, 56) and nib.aff2axcodes(preproc.affine) == ("R", "A", "S")
    data = preproc.get_fdata()
    assert data.min() == 0 and 0.99 <= data.max() <= 1
    brain, tissues = record.volumes_ml["brain"], [record.volumes_ml[name] for name in ("csf", "gm", "wm")]
    assert abs(sum(tissues) - brain) < 0.01 * brain and min(tissues) > 0.08 * brain


def test_same_scan_gives_the_same_bytes_whatever_the_threads(shared_data, template, tmp_path):
    path = shared_data / "ixi_hh_2mm" / f"{HH_SCANS[0]}_T1_2mm.nii.gz"
    records = []
    for folder in ("first", "second"):
        records.append(preprocessed(path, tmp_path / folder, template))
        # What a busy job would have left behind: the second run must not care.
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(2)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    assert records[0] == records[1], "the record holds the sha256 of every image"
    for name, file in outputs_of(records[0], tmp_path / "first").items():
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes(), name


def test_labels_in_another_space_follow_their_reference_to_the_template(shared_data, template, tmp_path):
    """The reference brain lies elsewhere in the world, as OASIS-1's atlas images do; its labels must come along."""
    stem = shared_data / "ixi_hh_2mm" / f"{HH_SCANS[1]}_T1_2mm"
    scan, regions = nib.load(f"{stem}.nii.gz"), nib.load(f"{stem}_DLMUSE.nii.gz")
    labels = np.where(np.asarray(regions.dataobj) > 0, 2, 0).astype(np.uint8)
    moved = np.array([[1.05, 0.05, 0, 9], [-0.05, 1.02, 0.04, -7], [0, -0.04, 0.98, 5], [0, 0, 0, 1]]) @ scan.affine
    brain = np.asarray(scan.dataobj) * (labels > 0)
    nib.save(nib.Nifti1Image(brain.astype(np.int16), moved), tmp_path / "reference.nii.gz")
    nib.save(nib.Nifti1Image(labels, moved), tmp_path / "labels.nii.gz")
    drawn = {"labels": tmp_path / "labels.nii.gz", "labels_reference": tmp_path / "reference.nii.gz"}
    record = preprocessed(Path(f"{stem}.nii.gz"), tmp_path / "out", template, **drawn)
    assert record.status == "ok", record.reason
    files = outputs_of(record, tmp_path / "out")
    found = np.asarray(nib.load(files["dseg"]).dataobj) > 0
    to_scan = np.linalg.inv(itk_matrix(files["inverse_xfm"]))
    expected = sample(Volume(labels > 0, scan.affine), template.grid, to_scan).data > 0.5
    assert dice(found, expected) > 0.97


def itk_matrix(path) -> np.ndarray:
    """A 4 x 4 in RAS from ITK's text file."""
    transform = sitk.ReadTransform(str(path))
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=float)
    moved = np.array([transform.TransformPoint((c * [-1, -1, 1]).tolist()) for c in corners]) * [-1, -1, 1]
    matrix = np.eye(4)
    matrix[:3, 3] = moved[0]
    matrix[:3, :3] = (moved[1:] - moved[0]).T
    return matrix
