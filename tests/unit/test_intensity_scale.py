"""Results do not depend on the offset and the scale of a scan's intensities, or the scan is excluded with the reason."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from neurocohort.errors import ScanExcluded
from neurocohort.imaging.brain_extraction import content_mask
from neurocohort.imaging.intensity_scale import to_common_scale
from neurocohort.imaging.overlap import dice
from neurocohort.imaging.preprocess import ScanImages, Settings, preprocess_scan
from neurocohort.imaging.quality import quality_numbers
from neurocohort.imaging.reading import read_scan
from neurocohort.imaging.scan_files import write_scan
from neurocohort.imaging.scan_record import ScanRecord
from neurocohort.imaging.template import make_template, read_template
from neurocohort.imaging.volume import Volume

SPACING_MM = np.array([2.0, 2.0, 2.0])
AFFINE = np.diag([*SPACING_MM, 1.0])
SHAPE = (60, 60, 60)
SETTINGS = Settings(intensity="percentile", seed=1)


def head(noise: float = 0.0) -> np.ndarray:
    """Three shells (CSF, GM, WM) of 300, 700 and 1000 in air of 0, with Rician noise."""
    rng = np.random.default_rng(0)
    index = np.indices(SHAPE) - (np.array(SHAPE) - 1)[:, None, None, None] / 2
    radius_mm = 2 * np.sqrt((index**2).sum(axis=0))
    signal = 300.0 * (radius_mm < 50) + 400.0 * (radius_mm < 44) + 300.0 * (radius_mm < 30)
    signal += (signal > 0) * rng.normal(0, 20, SHAPE)
    return np.hypot(signal + noise * rng.normal(0, 1, SHAPE), noise * rng.normal(0, 1, SHAPE)).astype(np.float32)


def common(data: np.ndarray) -> np.ndarray:
    return to_common_scale(data.astype(np.float32), SPACING_MM)


def relative(data: np.ndarray) -> np.ndarray:
    """The factor of two that is left, removed."""
    return data / np.percentile(data, 99.5)


AFFINE_MAPS = [
    (factor, offset * factor)  # the offset in units of the head
    for factor in (1e-9, 1e-6, 0.0123, 1.0, 3.7, 1e5, 1e30)
    for offset in (-30000.0, -1024.0, -500.0, 0.0, 77.7, 1024.0, 1e5)
]


@pytest.mark.parametrize("noise", [0.0, 15.0])
@pytest.mark.parametrize(("factor", "offset"), AFFINE_MAPS)
def test_any_offset_and_scale_is_read_as_the_same_image(noise, factor, offset):
    expected = relative(common(head(noise)))
    found = common(head(noise).astype(np.float64) * factor + offset)
    assert found.min() == 0 and 512 <= np.percentile(found, 99.5) <= 1100
    np.testing.assert_allclose(
        relative(found), expected, atol=2e-5 + 4 * np.spacing(np.float32(abs(offset))) / (1e3 * factor)
    )


def test_a_scan_whose_air_is_0_keeps_every_bit():
    found = common(head())
    assert np.array_equal(np.unique(found[head() > 0] / head()[head() > 0]), [2.0**-1])


def test_a_background_of_another_value_becomes_0_and_the_brain_keeps_its_order():
    data = head(15.0)
    shown = data > 60
    for value in (-3000, 65535):  # far below, far above
        found = common(np.where(shown, data, value))
        assert not found[~shown].any() and (found[shown] > 0).all()
        assert np.corrcoef(found[shown], data[shown])[0, 1] > 0.999
        assert found[shown].max() / np.percentile(found[shown], 50) > 1.2  # on the mark's scale there is no contrast


def test_a_brain_of_standard_scores_in_a_background_of_0_keeps_its_order_and_its_mask():
    data = head(15.0)
    brain = data > 200
    scores = np.where(brain, (data - data[brain].mean()) / data[brain].std(), 0)
    found = common(scores)
    assert np.array_equal(content_mask(Volume(found, AFFINE)), brain)
    assert np.corrcoef(found[brain], data[brain])[0, 1] > 0.999


def test_a_dead_voxel_and_ringing_leave_the_air_at_0():
    data = head()
    data[5, 5, 5] = -32768
    data[30, 30, 5:8] = -20  # beside an edge
    found = common(data)
    clean = common(head())
    assert np.array_equal(found[data > 0], clean[data > 0])


def test_an_offset_that_leaves_too_few_levels_excludes_at_read(tmp_path):
    nib.save(nib.Nifti1Image((head() / 1000 + 1e6).astype(np.float32), AFFINE), tmp_path / "scan.nii.gz")
    with pytest.raises(ScanExcluded, match="32-bit numbers have only 17 values") as excluded:
        read_scan(tmp_path / "scan.nii.gz")
    assert excluded.value.stage == "read"


def test_complex_numbers_and_colours_exclude_at_read(tmp_path):
    colours = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours["R"] = head() / 8
    for data, kind in ((head().astype(np.complex64), "complex64"), (colours, "colours")):
        nib.save(nib.Nifti1Image(data, AFFINE), tmp_path / "scan.nii.gz")
        with pytest.raises(ScanExcluded, match=rf"holds {kind}.* and not real numbers"):
            read_scan(tmp_path / "scan.nii.gz")


def test_quality_numbers_do_not_depend_on_the_unit():
    numbers = []
    for factor in (1e-6, 1.0):
        scan = Volume(common(head(15.0) * factor), AFFINE)
        mask = head() > 0
        tissues = np.stack([head() < 500, (head() > 500) & (head() < 850), head() > 850]).astype(np.float32)
        numbers.append(quality_numbers(scan, scan, mask, tissues, np.ones(10)))
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-3) and "fber" in numbers[0]


# --- a real head, from the file to the volumes ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("template") / "template.npz"
    make_template(path, 4.0, (40, 48, 40))
    return read_template(path)


def preprocessed(
    image, factor: float, offset: float, kind, folder, template
) -> tuple[ScanRecord, np.ndarray, np.ndarray, np.ndarray]:
    """The record, the mask, the preprocessed image, and where the scan's corners and middle lie in the template."""
    data = np.asarray(image.dataobj).astype(np.float64) * factor + offset
    folder.mkdir()
    nib.save(nib.Nifti1Image(data.astype(kind), image.affine), folder / "raw.nii.gz")
    record = write_scan(preprocess_scan(ScanImages(folder / "raw.nii.gz"), template, SETTINGS), folder, "scan")
    assert record.status == "ok", record.reason
    files = {name: folder / output.file for name, output in record.outputs.items()}
    transform = sitk.ReadTransform(str(files["inverse_xfm"]))
    points = np.array([[x, y, z] for x in (-60, 60) for y in (-80, 60) for z in (-40, 60)], dtype=float)
    places = np.array([transform.TransformPoint(point) for point in points.tolist()])
    return record, *(np.asarray(nib.load(files[name]).dataobj) for name in ("brain_mask", "preproc_T1w")), places


@pytest.fixture(scope="module")
def real_head(shared_data):
    return nib.load(shared_data / "ixi_hh_2mm" / "IXI255-HH-1882_T1_2mm.nii.gz")


@pytest.fixture(scope="module")
def as_it_is(real_head, template, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans") / "as_it_is"
    return preprocessed(real_head, 1.0, 0.0, np.float32, folder, template)


@pytest.mark.parametrize(
    ("factor", "offset", "kind"),
    [
        (3.0, 1024.0, np.int16),
        (3.0, -1024.0, np.int16),
        (1e-9, 0.0, np.float32),
        (1 / 1700, -0.5, np.float32),  # as MP2RAGE has it
        (0.37, 1e5, np.float32),
    ],
)
def test_a_real_head_of_any_offset_and_scale_gives_the_same_results(
    real_head, as_it_is, template, tmp_path, factor, offset, kind
):
    record, mask, preproc, places = preprocessed(real_head, factor, offset, kind, tmp_path / "scan", template)
    expected, expected_mask, expected_preproc, expected_places = as_it_is
    assert dice(mask > 0, expected_mask > 0) >= 0.995
    assert np.linalg.norm(places - expected_places, axis=1).max() < 0.2
    for name, volume in expected.volumes_ml.items():
        assert record.volumes_ml[name] == pytest.approx(volume, rel=0.01), name
    assert (
        np.abs(preproc - expected_preproc).mean() < 0.002
        and np.corrcoef(preproc.ravel(), expected_preproc.ravel())[0, 1] > 0.999
    )
    for name in ("cnr", "snr_wm", "cjv", "contrast_wm_gm"):
        assert record.metrics[name] == pytest.approx(expected.metrics[name], rel=0.02), name
