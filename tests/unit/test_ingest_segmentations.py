"""What a person gets who has tissue labels of their own scans: they arrive unchanged, or a sentence says why not."""

import csv
import gzip
import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from neurocohort.errors import InputError
from neurocohort.files import read_table
from neurocohort.imaging.overlap import dice
from neurocohort.imaging.preprocess import ScanImages, Settings, preprocess_scan
from neurocohort.imaging.scan_files import write_scan
from neurocohort.imaging.template import make_template, read_template
from neurocohort.imaging.volume import Volume, sample_labels
from neurocohort.sources.bids import ingest_bids
from neurocohort.sources.bids_plan import plan_bids
from neurocohort.sources.fingerprints import fingerprint_bids, fingerprint_table
from neurocohort.sources.table import ingest_table
from neurocohort.sources.table_plan import plan_table
from neurocohort.sources.variable_kinds import LABEL_MAP
from neurocohort.sources.variables import kinds_of_plan
from neurocohort.study.configuration import check_configuration, read_checked

AFFINE = np.array([[0, 0, 1.2, -90], [-0.9, 0, 0, 120], [0, 1.1, 0, -70], [0, 0, 0, 1]])
SHAPE = (6, 7, 8)
STEM = "sub-01/ses-1/anat/sub-01_ses-1"
LABELS_THERE = "derivatives/segmentations/sub-01/ses-1/anat/sub-01_ses-1_dseg.nii.gz"


def tissues(seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4, SHAPE).astype(np.uint8)


def t1w(seed=0) -> np.ndarray:
    """Dark in CSF and bright in WM, with noise."""
    noise = np.random.default_rng(seed + 100).integers(0, 50, SHAPE)
    return (np.array([10, 150, 400, 700])[tissues(seed)] + noise).astype(np.int16)


def nifti(voxels, affine=AFFINE) -> bytes:
    return nib.Nifti1Image(voxels, affine).to_bytes()


@pytest.fixture
def place(tmp_path):
    class Place:
        source = tmp_path / "study"
        table = tmp_path / "study" / "scans.csv"
        folder = tmp_path / "data" / "mine"

        def put(self, path, voxels, affine=AFFINE):
            """An image of the source, compressed where its name says so."""
            target = self.source / path
            target.parent.mkdir(parents=True, exist_ok=True)
            content = nifti(voxels, affine)
            target.write_bytes(gzip.compress(content, mtime=0) if path.endswith(".gz") else content)
            return target

        def scan(self, participant, labels=True, seed=0):
            """A session of the BIDS folder: an image and, beside it, its labels."""
            stem = f"sub-{participant}/ses-1/anat/sub-{participant}_ses-1"
            self.put(f"{stem}_T1w.nii.gz", t1w(seed))
            if labels:
                self.put(f"{stem}_dseg.nii.gz", tissues(seed))

        def write(self, *rows):
            """The table of scans, with its header first."""
            with self.table.open("w", newline="") as stream:
                csv.writer(stream).writerows(rows)

        def ingest(self, **options):
            return self._read(ingest_bids(self.source, self.folder, **options))

        def ingest_table(self):
            return self._read(ingest_table(self.table, self.folder))

        def _read(self, result):
            self.notes = " ".join(result.notes)
            self.scans = read_table(self.folder / "scans.tsv").set_index("scan_id")
            self.exclusions = read_table(self.folder / "exclusions.tsv").set_index("scan_id")
            return self

    return Place()


# --- a BIDS folder ------------------------------------------------------------------------------------------------


def test_labels_beside_the_image_are_the_scans_reference_on_its_own_grid(place):
    place.scan("01")
    place.ingest()
    row = place.scans.loc["sub-01_ses-1"]
    assert row["dseg_path"] == LABELS_THERE
    assert row["dseg_reference_path"] == row["path"]
    there = place.folder / LABELS_THERE
    assert there.is_symlink() and there.resolve() == (place.source / f"{STEM}_dseg.nii.gz").resolve()
    names = read_table(place.folder / "derivatives/segmentations/dseg.tsv")
    assert dict(zip(names["index"], names["name"], strict=True)) == {1: "CSF", 2: "GM", 3: "WM"}
    description = json.loads((place.folder / "derivatives/segmentations/dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"


def test_uncompressed_labels_arrive_voxel_for_voxel(place):
    place.scan("01", labels=False)
    place.put(f"{STEM}_dseg.nii", tissues())
    place.ingest()
    arrived = nib.load(place.folder / LABELS_THERE)
    np.testing.assert_array_equal(np.asarray(arrived.dataobj), tissues())
    np.testing.assert_allclose(arrived.affine, AFFINE, atol=1e-5)


def test_a_scan_without_labels_stays_and_a_note_counts_those_with(place):
    place.scan("01")
    place.scan("02", labels=False, seed=1)
    place.ingest()
    assert place.scans["dseg_path"].notna().to_dict() == {"sub-01_ses-1": True, "sub-02_ses-1": False}
    assert "1 of the 2 scans have a reference segmentation." in place.notes


def test_each_run_has_its_own_labels(place):
    for run, seed in ((1, 1), (2, 2)):
        place.put(f"{STEM}_run-{run}_T1w.nii.gz", t1w(seed))
        place.put(f"{STEM}_run-{run}_dseg.nii.gz", tissues(seed))
    place.ingest(run="all")
    for scan_id, seed in (("sub-01_ses-1_run-1", 1), ("sub-01_ses-1_run-2", 2)):
        arrived = nib.load(place.folder / place.scans.loc[scan_id, "dseg_path"])
        np.testing.assert_array_equal(np.asarray(arrived.dataobj), tissues(seed))


def test_a_wide_pattern_never_takes_labels_for_an_image(place):
    place.scan("01")
    place.ingest(pattern="*.nii.gz", run="all")
    assert place.scans["path"].tolist() == [f"{STEM}_T1w.nii.gz"]


def test_label_maps_of_another_name_are_left_out_with_a_note(place):
    place.put("sub-01/anat/sub-01_desc-preproc_T1w.nii.gz", t1w())
    place.put("sub-01/anat/sub-01_desc-aseg_dseg.nii.gz", tissues())  # as fMRIPrep names a parcellation
    place.ingest()
    assert place.scans["dseg_path"].isna().all()
    assert (
        "none is named as the image with dseg in the place of its suffix: sub-01_desc-aseg_dseg.nii.gz." in place.notes
    )
    assert "dseg" not in kinds_of_plan(plan_bids(place.source))


def test_labels_that_are_taken_away_are_gone_from_the_next_ingest(place):
    place.scan("01")
    place.ingest()
    (place.source / f"{STEM}_dseg.nii.gz").unlink()
    place.ingest()
    assert place.scans["dseg_path"].isna().all() and not (place.folder / LABELS_THERE).is_symlink()


# --- labels that can't be used ------------------------------------------------------------------------------------


def renumbered(*values):
    """The labels with CSF, GM and WM under other numbers."""
    return np.array([0, *values], dtype=np.int16)[tissues()]


SHIFTED = AFFINE + np.array([[0, 0, 0, 0.3], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
FAULTS = {
    "of another shape": ((tissues()[:-1], AFFINE), "it has 5 x 7 x 8 voxels, and its image 6 x 7 x 8"),
    "moved": ((tissues(), SHIFTED), "its affine puts voxels up to 0.333 voxels from where the image's has them"),
    "with FreeSurfer's numbers": ((renumbered(24, 3, 2), AFFINE), "it holds the values 0, 2, 3, 24; expected 0, 1 (CSF)"),
    "with a fourth tissue": ((np.where(t1w() > 740, 4, tissues()), AFFINE), "it holds the values 0, 1, 2, 3, 4; expected"),
    "of shares": ((tissues() / np.float32(4), AFFINE), "it holds the values 0, 0.25, 0.5, 0.75; expected"),
    "without a tissue": ((renumbered(1, 1, 3), AFFINE), "it holds the values 0, 1, 3; expected"),
    "empty": ((tissues() * 0, AFFINE), "it holds the values 0; expected"),
    "in fMRIPrep's order": ((renumbered(3, 1, 2), AFFINE), "a T1-weighted brain is darkest in CSF (1) and brightest in WM (3)"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_labels_that_can_not_be_used_exclude_the_scan_with_the_reason(place, fault):
    (voxels, affine), sentence = FAULTS[fault]
    place.scan("02", seed=1)
    place.scan("01", labels=False)
    place.put(f"{STEM}_dseg.nii.gz", voxels, affine)
    place.ingest()
    assert place.scans.index.tolist() == ["sub-02_ses-1"]
    reason = place.exclusions.loc["sub-01_ses-1", "reason"]
    assert reason.startswith("The reference segmentation: ") and sentence in reason and reason.endswith(".")
    assert not list(place.folder.rglob("sub-01*.nii.gz"))


def test_labels_that_are_cut_short_exclude_the_scan(place):
    place.scan("02", seed=1)
    place.scan("01")
    path = place.source / f"{STEM}_dseg.nii.gz"
    path.write_bytes(path.read_bytes()[:-30])
    place.ingest()
    assert (
        "The reference segmentation: The image is not a whole gzip file"
        in place.exclusions.loc["sub-01_ses-1", "reason"]
    )


def test_an_affine_that_another_program_rounded_is_the_images(place):
    place.scan("01", labels=False)
    place.put(f"{STEM}_dseg.nii.gz", tissues(), AFFINE + 1e-5)
    assert place.ingest().scans["dseg_path"].notna().all()


def test_a_cohort_whose_labels_are_all_numbered_otherwise_ends_with_the_sentence(place):
    place.scan("01", labels=False)
    place.put(f"{STEM}_dseg.nii.gz", renumbered(3, 1, 2))
    with pytest.raises(
        InputError, match=r"no scan that can be used.*sub-01_ses-1: The reference segmentation: .*number the"
    ):
        place.ingest()


# --- a table ------------------------------------------------------------------------------------------------------


def test_a_table_names_labels_in_path_dseg_and_a_row_may_have_none(place):
    for name, seed in (("a", 1), ("b", 2)):
        place.put(f"{name}.nii.gz", t1w(seed))
    place.put("labels/a.nii", tissues(1))
    place.write(["participant_id", "path", "path_dseg"], ["01", "a.nii.gz", "labels/a.nii"], ["02", "b.nii.gz", ""])
    place.ingest_table()
    assert place.scans["dseg_path"].notna().tolist() == [True, False] and "path_dseg" not in place.scans
    np.testing.assert_array_equal(np.asarray(nib.load(place.folder / LABELS_THERE).dataobj), tissues(1))


def test_labels_that_a_table_names_and_that_are_not_there_exclude_their_scan(place):
    for name, seed in (("a", 1), ("b", 2)):
        place.put(f"{name}.nii.gz", t1w(seed))
    place.write(["participant_id", "path", "path_dseg"], ["01", "a.nii.gz", "gone.nii.gz"], ["02", "b.nii.gz", ""])
    place.ingest_table()
    assert place.exclusions["reason"].tolist() == ["The reference segmentation: gone.nii.gz is not there."]
    assert place.scans.index.tolist() == ["sub-02_ses-1"]


# --- the configuration --------------------------------------------------------------------------------------------


def study(cohort):
    network = {"name": "unet", "channels": [4, 8]}
    experiment = {"task": "segmentation", "target": "dseg", "cohorts": ["mine"], "network": network}
    return {"study": "mine", "cohorts": {"mine": cohort}, "experiments": {"tissue": experiment}}


def test_a_segmentation_passes_the_check_where_the_files_have_labels_and_only_there(place, monkeypatch):
    monkeypatch.setattr("neurocohort.study.data.MIN_PARTICIPANTS", 1)
    place.scan("01")
    cohort = {"source": "bids", "path": str(place.source)}
    check_configuration(study(cohort), source="study.yaml")
    assert kinds_of_plan(plan_bids(place.source))["dseg"] == LABEL_MAP
    (place.source / f"{STEM}_dseg.nii.gz").unlink()
    with pytest.raises(InputError, match="`dseg`, which isn't a variable of `mine`"):
        check_configuration(study(cohort), source="study.yaml")


def test_a_table_without_a_single_label_map_has_no_dseg(place, monkeypatch):
    monkeypatch.setattr("neurocohort.study.data.MIN_PARTICIPANTS", 1)
    place.scan("01")
    cohort = {"source": "table", "path": str(place.table)}
    place.write(["participant_id", "path", "path_dseg"], ["01", f"{STEM}_T1w.nii.gz", f"{STEM}_dseg.nii.gz"])
    check_configuration(study(cohort), source="study.yaml")
    place.write(["participant_id", "path", "path_dseg"], ["01", f"{STEM}_T1w.nii.gz", ""])
    assert "dseg" not in kinds_of_plan(plan_table(place.table))
    with pytest.raises(InputError, match="`dseg`, which isn't a variable of `mine`"):
        check_configuration(study(cohort), source="study.yaml")


def test_changed_labels_make_the_ingest_run_again(place):
    place.scan("01")
    place.write(["participant_id", "path", "path_dseg"], ["01", f"{STEM}_T1w.nii.gz", f"{STEM}_dseg.nii.gz"])
    before = fingerprint_bids(place.source), fingerprint_table(place.table)
    place.put(f"{STEM}_dseg.nii.gz", tissues(seed=5))
    after = fingerprint_bids(place.source), fingerprint_table(place.table)
    assert all(old != new for old, new in zip(before, after, strict=True))


# --- preprocessing ------------------------------------------------------------------------------------------------


def test_labels_drawn_on_the_scan_go_to_the_grid_with_it(tmp_path):
    """The template's own brain 12 mm away and stored in another order: its labels must come back to where they were."""
    make_template(tmp_path / "template.npz", 3.0, (56, 64, 56))
    template = read_template(tmp_path / "template.npz")
    shares = np.concatenate([np.full((1, *template.grid.shape), 0.5), template.tissues])
    labels = np.argmax(shares, axis=0).astype(np.uint8)
    brain = np.tensordot([200, 600, 900], template.tissues, axes=1)
    brain += np.random.default_rng(1).normal(0, 15, brain.shape)
    brain = np.where(labels > 0, brain, 0).astype(np.float32)
    away = template.grid.affine + np.array([[0, 0, 0, 12]] + [[0, 0, 0, 0]] * 3)
    order = nib.orientations.ornt_transform(nib.io_orientation(away), nib.orientations.axcodes2ornt("PSR"))
    for name, voxels in (("scan", brain), ("labels", labels)):
        nib.save(nib.Nifti1Image(voxels, away).as_reoriented(order), tmp_path / f"{name}.nii.gz")
    scan, drawn_on_it = tmp_path / "scan.nii.gz", tmp_path / "labels.nii.gz"
    settings = Settings(intensity="percentile", seed=1, skull_stripped=True)
    result = preprocess_scan(ScanImages(scan, labels=drawn_on_it), template, settings)
    record = write_scan(result, tmp_path / "out", "scan")
    assert record.status == "ok", record.reason
    there = np.asarray(nib.load(tmp_path / "out" / record.outputs["dseg"].file).dataobj)
    for tissue in (1, 2, 3):
        assert dice(there == tissue, labels == tissue) > 0.9, tissue
    # By the scan's own transform, to the voxel: no second registration stands between a scan and what is drawn on it.
    transform = sitk.ReadTransform(str(tmp_path / "out" / record.outputs["xfm"].file))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    to_scan = np.eye(4)
    to_scan[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    to_scan[:3, :3] = np.column_stack([transform.TransformPoint(unit) for unit in np.eye(3).tolist()]) - to_scan[:3, 3:]
    expected = sample_labels(Volume(labels, away), template.grid, lps @ to_scan @ lps).data
    assert np.count_nonzero(there != expected) <= 1e-4 * expected.size


def test_heads_painted_from_label_maps_are_a_cohort_with_exact_tissues(repository, shared_data, tmp_path, monkeypatch):
    """As tests/studies/painted_segmentation.yaml has them, with three anatomies at 4 mm."""
    maps = tmp_path / "maps"
    maps.mkdir()
    for number in ("03", "06", "12"):
        (maps / f"head_labels_{number}.nii.gz").symlink_to(shared_data / "label_maps" / f"head_labels_{number}.nii.gz")
    studies = repository / "tests" / "studies"
    command = [sys.executable, str(studies / "painted_cohort.py"), "--output", "resources/painted", "--variants", "1"]
    command += ["--spacing-mm", "4", "--jobs", "1", "--label-maps", str(maps)]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    monkeypatch.chdir(tmp_path)
    read_checked([studies / "painted_segmentation.yaml"])
    ingest_bids("resources/painted", "data/painted")
    scans, heads = read_table("data/painted/scans.tsv"), read_table("resources/painted/heads.tsv")
    assert scans["dseg_path"].notna().all() and len(scans) == 3
    for scan, head in zip(scans.to_dict("records"), heads.to_dict("records"), strict=True):
        labels, image = (np.asarray(nib.load(f"data/painted/{scan[key]}").dataobj) for key in ("dseg_path", "path"))
        assert (image[labels == 0] == 0).all()  # skull-stripped by the truth
        assert np.count_nonzero(labels) * 0.064 == pytest.approx(head["brain_ml"], rel=0.03)  # 64 mm3 a voxel
    assert set(read_table("resources/painted/split.tsv")["part"]) == {"train", "validation", "held-out"}
