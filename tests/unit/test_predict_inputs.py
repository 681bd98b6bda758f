"""`neurocohort predict`: which scans are read, and what becomes of files that can't be used."""

import json
import sys

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from neurocohort.apply.images import check_orientation, oriented_image, with_orientation
from neurocohort.apply.one_scan import Options
from neurocohort.apply.predict import predict_scans
from neurocohort.apply.scans import scans_from_paths, scans_from_table
from neurocohort.cli import main
from neurocohort.errors import InputError, ScanExcluded
from neurocohort.export.raw_scans import RAW_SCANS
from raw_scan_bundle import write_raw_scan_bundle, write_template

SHAPE, SPACING_MM = (20, 24, 30), (4.0, 3.0, 2.0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    return write_raw_scan_bundle(folder, write_template(folder))


@pytest.fixture
def analyze(tmp_path):
    """An Analyze pair without a .mat file."""
    voxels = np.random.default_rng(1).integers(0, 200, SHAPE).astype(np.int16)
    image = nib.AnalyzeImage(voxels, None)
    image.header.set_zooms(SPACING_MM)
    image.to_filename(tmp_path / "scan.img")
    return tmp_path / "scan.img", voxels


def test_scans_are_named_after_their_files(tmp_path):
    paths = [tmp_path / "sub-01_ses-1_T1w.nii.gz", tmp_path / "a" / "my scan.nii", tmp_path / "b" / "my scan.nii.gz"]
    assert [scan.scan_id for scan in scans_from_paths(paths)] == ["sub-01_ses-1", "my-scan", "my-scan_2"]


def test_age_and_sex_are_of_one_scan(tmp_path):
    (scan,) = scans_from_paths([tmp_path / "a.nii"], age=40.0, sex="female")
    assert (scan.age, scan.sex) == (40.0, "F")
    with pytest.raises(InputError, match="use --table"):
        scans_from_paths([tmp_path / "a.nii", tmp_path / "b.nii"], age=40.0)


def test_table_gives_paths_from_its_folder_and_what_is_known(tmp_path):
    table = tmp_path / "scans.tsv"
    table.write_text("path\tage\tsex\tsite\tT2w\na.nii.gz\t61.5\tf\tGuys\tb.nii.gz\nsub/c.nii\tn/a\tn/a\tn/a\tn/a\n")
    first, second = scans_from_table(table)
    assert (first.path, first.age, first.sex, first.site) == (tmp_path / "a.nii.gz", 61.5, "F", "Guys")
    assert first.extra == {"T2w": tmp_path / "b.nii.gz"}
    assert (second.scan_id, second.age, second.sex, second.extra) == ("c", None, None, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file\na.nii\n", "path"),
        ("path\tage\na.nii\told\n", "`age` of a is 'old'"),
        ("path\tage\nn/a\t3\n", "`path` is empty in row 1"),
        ("path\n", "has no row"),
        ("scan_id\tpath\nx\ta.nii\nx\tb.nii\n", "x more than once"),
    ],
)
def test_table_that_cannot_be_used_names_its_column(tmp_path, text, message):
    table = tmp_path / "scans.tsv"
    table.write_text(text)
    with pytest.raises(InputError, match=message):
        scans_from_table(table)


@pytest.mark.parametrize("orientation", ["RA", "RAX", "RRA", "RLS"])
def test_orientation_needs_one_letter_of_each_axis(orientation):
    with pytest.raises(InputError, match="expected three letters"):
        check_orientation(orientation)
    assert check_orientation("pir") == "PIR"


def test_analyze_pair_is_refused_without_its_orientation(analyze, tmp_path):
    with pytest.raises(ScanExcluded, match="--orientation RAS"):
        oriented_image(analyze[0], "", tmp_path)


@pytest.mark.parametrize("orientation", ["RAS", "LAS", "PIR"])
def test_stated_orientation_places_the_voxels(analyze, tmp_path, orientation):
    image = nib.load(oriented_image(analyze[0], orientation, tmp_path))
    assert "".join(nib.aff2axcodes(image.affine)) == orientation
    np.testing.assert_allclose(image.header.get_zooms(), SPACING_MM)
    np.testing.assert_array_equal(np.asarray(image.dataobj), analyze[1])


def test_nifti_without_sform_and_qform_needs_the_orientation_too(tmp_path):
    image = nib.Nifti1Image(np.random.default_rng(1).integers(0, 9, SHAPE).astype(np.int16), None)
    nib.save(image, tmp_path / "bare.nii.gz")
    (tmp_path / "scratch").mkdir()
    with pytest.raises(ScanExcluded, match="no sform and no qform"):
        oriented_image(tmp_path / "bare.nii.gz", "", tmp_path / "scratch")
    found = nib.load(oriented_image(tmp_path / "bare.nii.gz", "LPS", tmp_path / "scratch"))
    assert nib.aff2axcodes(found.affine) == ("L", "P", "S")


def test_orientation_that_a_file_states_is_kept(tmp_path):
    image = with_orientation(nib.Nifti1Image(np.ones(SHAPE, dtype=np.int16), None), "PSR")
    nib.save(image, tmp_path / "known.nii.gz")
    assert oriented_image(tmp_path / "known.nii.gz", "RAS", tmp_path) == tmp_path / "known.nii.gz"


def bad_files(folder):
    """Files that can't be used, and a part of the reason."""
    (folder / "text.nii.gz").write_text("not an image")
    nib.save(nib.Nifti1Image(np.ones((8, 8, 8, 5), dtype=np.int16), np.diag([20, 20, 20, 1.0])), folder / "four.nii.gz")
    header = nib.Nifti1Header()
    header.set_data_shape((1024, 1024, 1024))
    header.set_data_dtype(np.int16)
    header.set_sform(np.eye(4), 1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    (folder / "huge.nii").write_bytes(header.binaryblock + bytes(4))
    (folder / "folder.nii").mkdir()
    return {
        "text.nii.gz": "can't be read as NIfTI",
        "four.nii.gz": "not three-dimensional|expected three dimensions",
        "huge.nii": "a head's image has at most",
        "folder.nii": "is a folder",
        "absent.nii.gz": "is not there",
    }


def test_each_bad_file_is_a_row_with_its_reason_and_stops_no_other(bundle, tmp_path):
    reasons = bad_files(tmp_path)
    outcomes = predict_scans(
        bundle, scans_from_paths([tmp_path / name for name in reasons]), tmp_path / "out", device="cpu"
    )
    table = pd.read_csv(tmp_path / "out" / "predictions.tsv", sep="\t", keep_default_na=False)
    assert table["file"].tolist() == list(reasons) and set(table["status"]) == {"failed"}
    for row, reason in zip(table.to_dict("records"), reasons.values(), strict=True):
        assert pd.Series([row["reason"]]).str.contains(reason).all(), row
        assert row["prediction"] == "n/a"
    assert not any(outcome.predicted for outcome in outcomes)
    record = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [one["file"] for one in record["scans"]] == list(reasons)
    index = (tmp_path / "out" / "index.html").read_text()
    for outcome in outcomes:
        assert f"scans/{outcome.scan.scan_id}.html" in index
        page = (tmp_path / "out" / "scans" / f"{outcome.scan.scan_id}.html").read_text()
        assert "The file can&#39;t be used" in page


def test_command_fails_if_no_scan_has_a_prediction(bundle, tmp_path, monkeypatch, capsys):
    (tmp_path / "text.nii.gz").write_text("not an image")
    command = ["neurocohort", "predict", str(tmp_path / "text.nii.gz"), "--model", str(bundle)]
    monkeypatch.setattr(sys, "argv", [*command, "--output", str(tmp_path / "out"), "--device", "cpu"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "text: failed: read: The image can't be read as NIfTI" in capsys.readouterr().out


def test_what_is_no_model_is_named(bundle, tmp_path):
    scans = scans_from_paths([tmp_path / "a.nii"])
    with pytest.raises(InputError, match="isn't a model"):
        predict_scans(tmp_path, scans, tmp_path / "out", device="cpu")
    with pytest.raises(InputError, match="no scan is given"):
        predict_scans(bundle, [], tmp_path / "out", device="cpu")


def test_bundle_of_an_earlier_version_is_named(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "metadata.json").write_text("{}")
    with pytest.raises(InputError, match=f"has no {RAW_SCANS}"):
        predict_scans(tmp_path, scans_from_paths([tmp_path / "a.nii"]), tmp_path / "out", Options(), "cpu")
