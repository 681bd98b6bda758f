"""One real head in other forms on disk, and in other company on the machine: the same result."""

import nibabel as nib
import numpy as np
import pytest
import torch
from neurocohort.imaging.overlap import dice
from neurocohort.imaging.preprocess import ScanImages, Settings, preprocess_scan
from neurocohort.imaging.scan_files import write_scan
from neurocohort.imaging.template import make_template, read_template

SETTINGS = Settings(intensity="percentile", seed=1)
SCAN = "ixi_hh_2mm/IXI255-HH-1882_T1_2mm.nii.gz"
ORIENTATIONS = [("RAS", "<"), ("LPS", ">"), ("PSR", "<"), ("SAL", ">"), ("LIA", "<")]
MARKER_MNI_MM = (-52.0, -20.0, 5.0)  # in the left temporal lobe


@pytest.fixture(scope="module")
def template_file(tmp_path_factory):
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("template") / "template.npz"
    make_template(path, 3.0, (56, 64, 56))
    return path


@pytest.fixture(scope="module")
def marked(shared_data, template_file, tmp_path_factory):
    """The head with a dark spot in its left temporal lobe, and its result as it was stored first."""
    folder = tmp_path_factory.mktemp("marked")
    image = nib.load(shared_data / SCAN)
    plain = preprocess_scan(ScanImages(shared_data / SCAN), read_template(template_file), SETTINGS)
    write_scan(plain, folder / "plain", "scan")
    import SimpleITK as sitk  # noqa: N813

    (text,) = (folder / "plain").glob("*from-T1w_to-*_xfm.txt")
    point = np.array(sitk.ReadTransform(str(text)).TransformPoint((np.array(MARKER_MNI_MM) * [-1, -1, 1]).tolist()))
    index = nib.affines.apply_affine(np.linalg.inv(image.affine), point * [-1, -1, 1])
    data = np.asarray(image.dataobj, dtype=np.int16)
    distance = np.linalg.norm(np.moveaxis(np.indices(data.shape), 0, -1) - index, axis=-1) * 2.0
    data[distance < 7] = 1
    return nib.Nifti1Image(data, image.affine)


@pytest.fixture(scope="module")
def results(marked, template_file, tmp_path_factory):
    """The same head in five storage orders and both byte orders, preprocessed."""
    folder, template = tmp_path_factory.mktemp("forms"), read_template(template_file)
    found = {}
    for codes, byte_order in ORIENTATIONS:
        order = nib.orientations.ornt_transform(nib.io_orientation(marked.affine), nib.orientations.axcodes2ornt(codes))
        stored = marked.as_reoriented(order)
        header = nib.Nifti1Header(endianness=byte_order)
        header.set_data_dtype(np.dtype(np.int16).newbyteorder(byte_order))
        path = folder / f"{codes}.nii.gz"
        nib.save(nib.Nifti1Image(np.asarray(stored.dataobj), stored.affine, header), path)
        record = write_scan(preprocess_scan(ScanImages(path), template, SETTINGS), folder / codes, "scan")
        assert record.status == "ok", record.reason
        found[codes] = record, nib.load(folder / codes / record.outputs["preproc_T1w"].file).get_fdata()
    return found


def test_five_storage_orders_and_both_byte_orders_give_one_result(results):
    first_record, first = results["RAS"]
    for codes, (record, data) in results.items():
        assert dice(data > 0, first > 0) > 0.995, codes
        inside = (data > 0) & (first > 0)
        assert np.corrcoef(data[inside], first[inside])[0, 1] > 0.995, codes
        assert np.abs(data[inside] - first[inside]).mean() < 0.01, codes
        for name, value in first_record.volumes_ml.items():
            assert record.volumes_ml[name] == pytest.approx(value, rel=0.02), (codes, name)


def test_left_stays_left_in_each(results, template_file):
    grid = read_template(template_file).grid
    left = np.round(nib.affines.apply_affine(np.linalg.inv(grid.affine), MARKER_MNI_MM)).astype(int)
    right = np.round(nib.affines.apply_affine(np.linalg.inv(grid.affine), np.array(MARKER_MNI_MM) * [-1, 1, 1])).astype(
        int
    )
    for codes, (_, data) in results.items():
        around = [tuple(slice(centre - 1, centre + 2) for centre in place) for place in (left, right)]
        assert data[around[0]].mean() < 0.1 < 0.3 < data[around[1]].mean(), codes
