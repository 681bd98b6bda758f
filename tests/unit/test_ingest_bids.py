"""What a person gets from a BIDS folder of their own: every session's image unchanged, and a word on what is left out."""

import gzip
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from bids_place import Place, compressed, nifti
from neurocohort.errors import InputError
from neurocohort.sources import raw_bids

T1W = "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz"


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


# --- images -------------------------------------------------------------------------------------------------------


def test_a_nii_gz_is_linked_and_not_copied(place):
    original = place.put(T1W)
    place.ingest()
    link = place.folder / T1W
    assert link.is_symlink() and link.resolve() == original.resolve()
    row = place.scans.loc["sub-01_ses-1"]
    assert (row["participant_id"], row["session_id"], row["path"]) == ("sub-01", "ses-1", T1W)
    assert row["image_sha256"] == raw_bids.files.sha256_of(original)


@pytest.mark.parametrize("scaling", [None, (0.25, -3.0)])
def test_a_nii_arrives_byte_for_byte_and_compressed(place, scaling):
    content = nifti(scaling=scaling)
    place.put(T1W.removesuffix(".gz"), content)
    place.ingest()
    assert not (place.folder / T1W).is_symlink()
    assert gzip.decompress((place.folder / T1W).read_bytes()) == content


def test_the_same_voxels_have_the_same_hash_whatever_their_file(place):
    plain = nifti(seed=3)
    image = nib.Nifti1Image.from_bytes(plain)
    turned = nib.as_closest_canonical(image)
    place.put(T1W, compressed(plain))
    place.put("sub-02/ses-1/anat/sub-02_ses-1_T1w.nii", plain)
    place.put("sub-03/ses-1/anat/sub-03_ses-1_T1w.nii", turned.to_bytes())
    nib.save(
        nib.AnalyzeImage(np.asarray(nib.as_closest_canonical(image).dataobj)[::-1], None),
        place.put("sub-04/ses-1/anat/sub-04_ses-1_T1w.img", b""),
    )
    place.put("sub-05/ses-1/anat/sub-05_ses-1_T1w.nii", nifti(seed=4))
    place.ingest()
    hashes = place.scans["voxels_sha256"].tolist()
    assert len(set(hashes[:4])) == 1 and hashes[4] not in hashes[:4]


@pytest.mark.parametrize("named", ["T1w.hdr", "T1w.img", "T1W.HDR"])
def test_an_analyze_pair_is_read_as_las_and_a_note_asks_to_check_left_and_right(place, named):
    voxels = np.random.default_rng(1).integers(0, 300, (4, 5, 6)).astype(np.int16)
    image = nib.AnalyzeImage(voxels, None)
    image.header.set_zooms((2, 1, 3))
    header, data = (image.file_map[kind] for kind in ("header", "image"))
    stem = f"sub-01/ses-1/anat/sub-01_ses-1_{named[:3]}"
    for suffix, holder in ((".hdr", header), (".img", data)):
        holder.filename = str(place.put(stem + (suffix.upper() if named.isupper() else suffix), b""))
    image.to_file_map()
    place.ingest(pattern=f"*_{named}")
    arrived = place.image("sub-01_ses-1")
    assert nib.aff2axcodes(arrived.affine) == ("L", "A", "S")
    assert arrived.header.get_zooms() == (2, 1, 3) and arrived.get_data_dtype() == np.int16
    np.testing.assert_array_equal(np.asarray(arrived.dataobj), voxels)
    assert "1 image(s) don't state the orientation of the head" in place.notes and "check left and right" in place.notes


def test_the_usual_pattern_finds_analyze_pairs(place):
    nib.save(nib.AnalyzeImage(np.ones((4, 5, 6), np.uint8), None), place.put("sub-01/anat/sub-01_T1w.img", b""))
    place.ingest()
    assert place.scans.index.tolist() == ["sub-01_ses-1"]


def test_a_mat_file_tells_the_orientation_of_an_analyze_pair(place):
    affine = np.array([[0, 0, 1.0, -3], [2, 0, 0, -4], [0, 1, 0, -5], [0, 0, 0, 1]])
    image = nib.Spm2AnalyzeImage(np.random.default_rng(1).integers(0, 99, (4, 5, 6)).astype(np.int16), affine)
    nib.save(image, place.put("sub-01/anat/sub-01_T1w.img", b""))
    place.ingest()
    arrived = place.image("sub-01_ses-1")
    np.testing.assert_allclose(arrived.affine, affine)
    np.testing.assert_array_equal(np.asarray(arrived.dataobj), np.asarray(image.dataobj))
    assert "the orientation of the head" not in place.notes


def test_the_scaling_of_an_analyze_pair_is_applied(place):
    image = nib.Spm2AnalyzeImage(np.full((4, 5, 6), 7.0, np.float32), np.diag([-1, 1, 1, 1]))
    image.header.set_data_dtype(np.int16)
    image.header.set_slope_inter(0.5)
    path = place.put("sub-01/anat/sub-01_T1w.img", b"")
    nib.save(image, path)
    path.write_bytes(np.full((4, 5, 6), 14, "<i2").tobytes())
    header = bytearray(path.with_suffix(".hdr").read_bytes())
    header[112:116] = np.float32(0.5).tobytes()
    path.with_suffix(".hdr").write_bytes(header)
    place.ingest()
    assert np.asarray(place.image("sub-01_ses-1").dataobj).max() == 7.0


def test_a_nifti_pair_keeps_its_header_and_its_voxels(place):
    image = nib.Nifti1Image.from_bytes(nifti(scaling=(2.0, 1.0)))
    pair = nib.Nifti1Pair(image.dataobj.get_unscaled(), image.affine, image.header)
    pair.header.set_slope_inter(2.0, 1.0)
    path = place.put("sub-01/anat/sub-01_T1w.img", b"")
    nib.save(pair, path)
    written = nib.load(path)
    place.ingest()
    arrived = place.image("sub-01_ses-1")
    np.testing.assert_array_equal(arrived.affine, written.affine)
    np.testing.assert_array_equal(arrived.get_fdata(), written.get_fdata())
    assert arrived.header["qform_code"] == 1


def test_a_nifti_without_sform_and_qform_is_told(place):
    image = nib.Nifti1Image(np.ones((4, 5, 6), np.uint8), None)
    place.put(T1W, compressed(image.to_bytes()))
    place.ingest()
    assert "(Analyze without a .mat file, or NIfTI without sform and qform)" in place.notes
    assert "sub-01_ses-1" in place.notes


def test_nifti_2_is_taken(place):
    image = nib.Nifti2Image(np.ones((4, 5, 6), np.uint8), np.diag([1, 2, 3, 1]))
    place.put(T1W, compressed(image.to_bytes()))
    place.ingest()
    np.testing.assert_array_equal(place.image("sub-01_ses-1").affine, image.affine)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>not found</html>", "can't be read as NIfTI"),
        (compressed(nifti())[:-30], "not a whole gzip file"),
        (compressed(nifti()[:-30]), "cut short"),
        (compressed(nifti(shape=(4, 5, 6, 2))), "4 x 5 x 6 x 2 and not three-dimensional"),
        (bytes(128) + b"DICM" + bytes(500), "is DICOM"),
        (None, "is a link to a file that is not there; fetch its content (with DataLad: `datalad get`)"),
    ],
)
def test_an_image_that_cannot_be_read_is_a_row_and_the_others_go_on(place, content, reason):
    place.put(T1W)
    bad = place.put("sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz", content or b"")
    if content is None:
        bad.unlink()
        bad.symlink_to("../../../.git/annex/objects/nowhere")
    place.ingest()
    assert place.scans.index.tolist() == ["sub-01_ses-1"]
    row = place.exclusions.iloc[0]
    assert (row["participant_id"], row["scan_id"], row["stage"]) == ("sub-02", "sub-02_ses-1", "ingest")
    assert reason in row["reason"] and str(place.source) not in row["reason"]
    assert not (place.folder / "sub-02").exists()


def test_half_of_an_analyze_pair_is_a_row(place):
    place.put(T1W)
    nib.save(nib.AnalyzeImage(np.ones((4, 5, 6), np.uint8), None), place.put("sub-02/anat/sub-02_T1w.img", b""))
    (place.source / "sub-02/anat/sub-02_T1w.img").unlink()
    place.ingest()
    assert place.exclusions["reason"].tolist() == ["sub-02_T1w.img is not there."]


def test_an_image_with_an_impossible_affine_is_left_to_the_reading_stage(place):
    content = bytearray(nifti())
    content[280:328] = bytes(48)  # sform of zeros
    place.put(T1W, compressed(bytes(content)))
    assert place.ingest().scans.index.tolist() == ["sub-01_ses-1"]


def test_unchanged_images_stay_as_they_are_and_changed_ones_are_taken_anew(place):
    place.put(T1W)
    plain = place.put("sub-02/anat/sub-02_T1w.nii")
    gone = place.put("sub-03/anat/sub-03_T1w.nii")
    first = place.ingest().scans
    paths = [place.folder / path for path in first["path"]]
    times = [os.lstat(path).st_mtime_ns for path in paths]
    place.ingest()
    assert [os.lstat(path).st_mtime_ns for path in paths] == times
    plain.write_bytes(nifti(seed=99))
    gone.unlink()
    place.ingest()
    assert os.lstat(paths[0]).st_mtime_ns == times[0]
    assert os.lstat(paths[1]).st_mtime_ns != times[1]
    assert place.scans.loc["sub-02_ses-1", "image_sha256"] != first.loc["sub-02_ses-1", "image_sha256"]
    assert not paths[2].exists() and not (place.folder / "sub-03").exists()
    assert gone.parent.is_dir()


def test_equal_input_gives_equal_bytes_without_a_path_of_the_machine(place, tmp_path):
    place.put(T1W)
    place.put("sub-02/anat/sub-02_T1w.nii")
    place.put("participants.tsv", [["participant_id", "age"], ["sub-01", 30], ["sub-02", "old"]])
    names = ("scans.tsv", "exclusions.tsv", "participants.tsv", "participants.json", "dataset_description.json")
    place.ingest()
    first = {name: (place.folder / name).read_bytes() for name in names}
    place.folder = tmp_path / "elsewhere"
    place.ingest()
    assert {name: (place.folder / name).read_bytes() for name in names} == first
    assert not any(str(tmp_path).encode() in content for content in first.values())


# --- which image --------------------------------------------------------------------------------------------------


def several(place):
    for name in ("run-10_T1w", "run-2_T1w", "acq-fast_run-2_T1w"):
        place.put(f"sub-01/ses-a/anat/sub-01_ses-a_{name}.nii.gz")
    return place


@pytest.mark.parametrize(
    ("run", "taken"), [("first", "sub-01_ses-a_acq-fast_run-2_T1w"), ("last", "sub-01_ses-a_run-10_T1w")]
)
def test_one_of_several_runs_is_taken_and_the_others_are_counted(place, run, taken):
    several(place).ingest(run=run)
    assert place.scans.index.tolist() == ["sub-01_ses-a"]
    assert (place.folder / place.scans["path"].iloc[0]).resolve().name == f"{taken}.nii.gz"
    assert (
        f"{taken}.nii.gz is taken; left out: sub-01_ses-a_" in place.notes and place.notes.count(f"(run: {run})") == 2
    )


def test_all_runs_are_scans_of_one_participant_and_session(place):
    several(place)
    place.put("sub-02/ses-a/anat/sub-02_ses-a_run-2_T1w.nii.gz")
    place.put("sub-03/ses-a/anat/sub-03_ses-a_run-1_T1w.nii.gz")
    place.put("sub-03/ses-a/anat/sub-03_ses-a_run-3_T1w.nii.gz")
    place.put("participants.tsv", [["participant_id", "age"], ["sub-01", 30]])
    place.ingest(run="all")
    runs = {"sub-01": ["_run-1", "_run-2", "_run-3"], "sub-02": [""], "sub-03": ["_run-1", "_run-3"]}
    expected = [f"{person}_ses-a{run}" for person, ends in runs.items() for run in ends]
    assert place.scans.index.tolist() == expected
    assert place.scans["session_id"].unique().tolist() == ["ses-a"]
    assert place.scans["participant_id"].value_counts()["sub-01"] == 3
    assert place.scans.loc["sub-01_ses-a_run-3", "path"] == "sub-01/ses-a/anat/sub-01_ses-a_run-3_T1w.nii.gz"
    assert place.scans["age"].tolist()[:3] == [30, 30, 30]
    assert place.result.participants == 3


def test_a_pattern_chooses_among_derivatives(place):
    stem = "sub-01/ses-1/anat/sub-01_ses-1"
    wanted = place.put(f"{stem}_space-MNI152NLin6Asym_desc-preproc_T1w.nii.gz")
    place.put(f"{stem}_desc-preproc_T1w.nii.gz")
    place.put(f"{stem}_desc-preproc_T2w.nii.gz")
    wanted_t2w = place.put(f"{stem}_space-MNI152NLin6Asym_desc-preproc_T2w.nii.gz")
    place.put(f"{stem}_space-MNI152NLin6Asym_desc-brain_mask.nii.gz")
    pattern = "*_space-MNI152NLin6Asym_desc-preproc_T1w.nii.gz"
    place.ingest(pattern=pattern, modalities=("T1w", "T2w"))
    assert (place.folder / T1W).resolve() == wanted.resolve()
    assert (place.folder / place.scans["path_T2w"].iloc[0]).resolve() == wanted_t2w.resolve()
    assert "several" not in place.notes


def test_an_image_there_in_two_forms_is_one_image(place):
    content = nifti()
    place.put(T1W, compressed(content))
    place.put(T1W.removesuffix(".gz"), content)
    place.ingest(run="all")
    assert place.scans.index.tolist() == ["sub-01_ses-1"] and (place.folder / T1W).is_symlink()


def test_further_modalities_come_along_and_a_session_without_one_is_excluded(place):
    place.put("sub-01/ses-1/anat/sub-01_ses-1_acq-mprage_T1w.nii.gz")
    flair = place.put("sub-01/ses-1/anat/sub-01_ses-1_FLAIR.nii.gz")
    place.put("sub-01/ses-1/anat/sub-01_ses-1_T2w.nii.gz")
    place.put("sub-01/ses-2/anat/sub-01_ses-2_acq-mprage_T1w.nii.gz")
    place.put("sub-02/ses-1/anat/sub-02_ses-1_acq-mprage_T1w.nii.gz")
    place.put("sub-02/ses-1/anat/sub-02_ses-1_FLAIR.nii.gz", b"rubbish")
    place.ingest(pattern="*_acq-mprage_*T1w.nii*", modalities=("T1w", "FLAIR"))
    assert place.scans.index.tolist() == ["sub-01_ses-1"]
    assert place.scans["path_FLAIR"].tolist() == ["sub-01/ses-1/anat/sub-01_ses-1_FLAIR.nii.gz"]
    assert (place.folder / place.scans["path_FLAIR"].iloc[0]).resolve() == flair.resolve()
    assert "path_T2w" not in place.scans
    reasons = dict(zip(place.exclusions["scan_id"], place.exclusions["reason"], strict=True))
    assert reasons["sub-01_ses-2"] == "The session has no FLAIR image."
    assert reasons["sub-02_ses-1"].startswith("The FLAIR image: The image can't be read as NIfTI")
    assert not (place.folder / "sub-02").exists()  # its T1w was good, and no table names it


def test_each_of_all_runs_has_the_further_image_of_its_run(place):
    for run in (1, 2):
        place.put(f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz")
        place.put(f"sub-01/anat/sub-01_run-{run}_T2w.nii.gz")
    place.ingest(run="all", modalities=("T1w", "T2w"))
    for run in (1, 2):
        path = place.scans.loc[f"sub-01_ses-1_run-{run}", "path_T2w"]
        assert (place.folder / path).resolve().name == f"sub-01_run-{run}_T2w.nii.gz"


def test_participants_without_session_folders_have_session_1(place):
    place.put("sub-01/anat/sub-01_T1w.nii.gz")
    place.put("sub-02/ses-2/anat/sub-02_ses-2_T1w.nii.gz")
    place.put("sub-02/anat/sub-02_T1w.nii.gz")
    place.put("sub-02/func/sub-02_bold.nii.gz")
    place.ingest()
    assert place.scans.index.tolist() == ["sub-01_ses-1", "sub-02_ses-2"]
    assert "1 participant(s) have no session folders; their scans are ses-1." in place.notes
    assert "an anat folder outside of their session folders, which is left out: sub-02." in place.notes


def test_a_folder_whose_name_is_no_bids_label_gets_one_with_a_note(place):
    place.put(T1W)
    place.put("sub-OAS1_0002/ses-1/anat/sub-OAS1_0002_ses-1_T1w.nii.gz")
    place.put("sub-03/ses-pre-op/anat/sub-03_ses-pre-op_T1w.nii.gz")
    place.put("sub---/ses-1/anat/sub---_ses-1_T1w.nii.gz")
    place.put("sub-A+1/anat/sub-A+1_T1w.nii.gz")  # BIDS 1.11
    place.put("participants.tsv", [["participant_id", "age"], ["OAS1_0002", 70], ["sub-03", 60], ["sub-A+1", 50]])
    place.ingest()
    assert place.scans["age"].to_dict() == {
        "sub-01_ses-1": pytest.approx(np.nan, nan_ok=True),
        "sub-03_ses-preop": 60,
        "sub-A+1_ses-1": 50,
        "sub-OAS10002_ses-1": 70,
    }
    assert place.exclusions["participant_id"].tolist() == ["sub---"]
    assert place.exclusions["reason"].str.contains("can't be BIDS labels").all()
    assert "OAS1_0002 of participants.tsv is sub-OAS10002 here" in place.notes
    assert "pre-op of study is ses-preop here" in place.notes and "A+1" not in place.notes


def test_two_folders_that_become_one_label_are_refused(place):
    place.put("sub-A_1/anat/sub-A_1_T1w.nii.gz")
    place.put("sub-A1/anat/sub-A1_T1w.nii.gz")
    with pytest.raises(InputError, match="has the participants A1 and A_1, which are both sub-A1 in BIDS"):
        place.ingest()


# --- DICOM, and nothing to be found -------------------------------------------------------------------------------


def test_a_session_of_dicom_is_a_row_with_the_command_that_converts_it(place):
    place.put(T1W)
    place.put("sub-02/ses-1/anat/IM 0001.dcm", b"")
    place.put("sub-03/ses-1/anat/T1/IM0001", bytes(128) + b"DICM")
    place.ingest()
    reasons = dict(zip(place.exclusions["scan_id"], place.exclusions["reason"], strict=True))
    assert "`dcm2niix -z y -o OUTPUT_FOLDER sub-02/ses-1/anat`" in reasons["sub-02_ses-1"]
    assert "`dcm2niix -z y -o OUTPUT_FOLDER sub-03/ses-1/anat/T1`" in reasons["sub-03_ses-1"]


def test_nothing_but_dicom_stops_with_the_command(place):
    place.put("sub-02/ses-1/anat/IM0001.dcm", b"")
    with pytest.raises(
        InputError, match=r"are DICOM, such as IM0001.dcm.*`dcm2niix -z y -o OUTPUT_FOLDER .*sub-02/ses-1/anat`"
    ):
        place.ingest()


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("T1.nii.gz", {}, "has no folder named sub-\\*"),
        (
            "sub-01/anat/sub-01_T2w.nii.gz",
            {},
            r"no image named \*_T1w.nii\* .*found there: sub-01/.../sub-01_T2w.nii.gz",
        ),
        (T1W, {"run": "second"}, "The run is 'second'; expected one of first, last, all"),
        (T1W, {"pattern": "anat/*_T1w.nii.gz"}, "expected a file name within an anat folder"),
        (T1W, {"modalities": ("T2w",)}, "expected T1w first"),
        (T1W, {"modalities": ("T1w", "bold")}, "expected T1w first, then any of T2w, PDw, FLAIR"),
    ],
)
def test_what_finds_nothing_or_is_unknown_is_told(place, path, options, message):
    place.put(path)
    with pytest.raises(InputError, match=message):
        place.ingest(**options)


def test_a_folder_without_one_usable_image_stops_with_the_reason(place):
    place.put(T1W, b"rubbish")
    with pytest.raises(InputError, match=r"no scan that can be used. sub-01_ses-1: The image can't be read as NIfTI"):
        place.ingest()


def test_a_source_that_is_no_folder_is_told(place):
    with pytest.raises(
        InputError, match=r"can't be read as a folder .No such file or directory.; expected a BIDS folder"
    ):
        place.ingest()


@pytest.mark.parametrize("inside", ["", "derivatives/fmriprep"])
def test_the_source_is_never_the_folder_that_is_written(place, inside):
    place.source = place.folder / inside
    original = place.put(T1W)
    with pytest.raises(InputError, match="where this cohort is written"):
        place.ingest()
    assert original.is_file()


# --- real scans ---------------------------------------------------------------------------------------------------


def test_real_scans_arrive_unchanged_in_each_form(place, shared_data):
    real = sorted((shared_data / "ixi_hh_2mm").glob("*_T1_2mm.nii.gz"))[:3]
    places = [place.source / f"sub-{number}/anat/sub-{number}_T1w.nii.gz" for number in (1, 2, 3)]
    for path in places:
        path.parent.mkdir(parents=True)
    places[0].symlink_to(real[0])
    nib.save(nib.load(real[1]), places[1].with_suffix(""))
    las = nib.as_closest_canonical(nib.load(real[2])).slicer[::-1]
    pair = nib.AnalyzeImage(np.asarray(las.dataobj), None)
    pair.header.set_zooms(las.header.get_zooms())
    nib.save(pair, places[2].with_suffix("").with_suffix(".img"))
    place.ingest()
    for number, original in enumerate(real, start=1):
        arrived, wanted = place.image(f"sub-{number}_ses-1"), nib.load(original)
        row = place.scans.loc[f"sub-{number}_ses-1"]
        assert row["voxels_sha256"] == raw_bids.check_nifti(Path(original).read_bytes())
        if number < 3:
            np.testing.assert_array_equal(arrived.affine, wanted.affine)
            np.testing.assert_array_equal(np.asarray(arrived.dataobj), np.asarray(wanted.dataobj))
            assert nib.aff2axcodes(arrived.affine) == ("P", "S", "R")
        else:
            assert nib.aff2axcodes(arrived.affine) == ("L", "A", "S")
            np.testing.assert_array_equal(
                nib.as_closest_canonical(arrived).dataobj, nib.as_closest_canonical(wanted).dataobj
            )
    assert "1 image(s) don't state the orientation of the head" in place.notes
