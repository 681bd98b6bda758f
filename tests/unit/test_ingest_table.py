"""What a person gets from a table of their own scans, anywhere on disk: each row a scan, a reason, or a plain sentence."""

import csv
import gzip
import json
import os

import nibabel as nib
import numpy as np
import openpyxl
import pytest
from neurocohort.errors import InputError
from neurocohort.files import read_table
from neurocohort.sources.fingerprints import fingerprint_table
from neurocohort.sources.table import ingest_table
from neurocohort.sources.table_plan import plan_table
from neurocohort.sources.variable_kinds import CATEGORIES, NAME, NUMBER, TWO_CLASSES
from neurocohort.sources.variables import kinds_of_plan

AFFINE = np.array([[0, 0, 1.2, -90], [-0.9, 0, 0, 120], [0, 1.1, 0, -70], [0, 0, 0, 1]])


@pytest.fixture
def place(tmp_path):
    class Place:
        folder = tmp_path / "data" / "mine"
        table = tmp_path / "tables" / "clinic.csv"
        scans_folder = tmp_path / "disk"

        def image(self, name, seed=0):
            """A .nii.gz or .nii on the disk; its path from the table's folder."""
            path = self.scans_folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            voxels = np.random.default_rng(seed).integers(0, 999, (4, 5, 6), dtype=np.int16)
            content = nib.Nifti1Image(voxels, AFFINE).to_bytes()
            path.write_bytes(gzip.compress(content, mtime=0) if name.endswith(".gz") else content)
            return f"../disk/{name}"

        def write(self, *rows, delimiter=","):
            """``rows`` with the header first."""
            self.table.parent.mkdir(parents=True, exist_ok=True)
            with self.table.open("w", newline="") as stream:
                csv.writer(stream, delimiter=delimiter).writerows(rows)
            return self

        def ingest(self, **options):
            self.result = ingest_table(self.table, self.folder, **options)
            self.notes = " ".join(self.result.notes)
            self.scans = read_table(self.folder / "scans.tsv").set_index("scan_id")
            self.exclusions = read_table(self.folder / "exclusions.tsv")
            return self

    return Place()


def test_each_row_is_a_scan_with_its_variables(place):
    place.write(
        ["participant_id", "session_id", "path", "age", "sex", "site", "scanner", "BMI (kg/m2)", "visit_id"],
        ["sub-01", "ses-a", place.image("a.nii.gz"), "30.5", "male", "North", "3 T", "22.5", "001"],
        ["01", "b", place.image("b.nii"), "31", "M", "North", "3 T", "", "002"],
        ["K2", "a", place.image("sub/c.nii.gz"), "n/a", "f", "", "NA", "30", "003"],
    ).ingest()
    assert place.scans.index.tolist() == ["sub-01_ses-a", "sub-01_ses-b", "sub-K2_ses-a"]
    assert place.scans["path"].tolist()[1] == "sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz"
    first, last = place.scans.iloc[0], place.scans.iloc[2]
    assert first[["age", "sex", "site", "scanner", "BMI__kg_m2_", "visit_id"]].tolist() == [
        30.5,
        "M",
        "North",
        "3 T",
        22.5,
        "001",
    ]
    assert last[["age", "site", "scanner"]].isna().all() and last["sex"] == "F"
    assert "'BMI (kg/m2)' of clinic.csv is called BMI__kg_m2_ here." in place.notes
    link, written = (place.folder / place.scans["path"].iloc[row] for row in (0, 1))
    assert link.is_symlink() and link.resolve() == (place.scans_folder / "a.nii.gz").resolve()
    assert not written.is_symlink()
    assert gzip.decompress(written.read_bytes()) == (place.scans_folder / "b.nii").read_bytes()
    np.testing.assert_array_equal(nib.load(link).affine, AFFINE.astype(np.float32))
    dictionary = json.loads((place.folder / "participants.json").read_text())
    assert dictionary["BMI__kg_m2_"] == {"Description": "Column 'BMI (kg/m2)' of clinic.csv"}
    assert json.loads((place.folder / "dataset_description.json").read_text())["Name"] == "clinic"
    people = read_table(place.folder / "participants.tsv")
    assert people["participant_id"].tolist() == ["sub-01", "sub-K2"] and "visit_id" not in people


@pytest.mark.parametrize(("delimiter", "age"), [(",", "30.5"), (";", "30,5"), ("\t", "30.5")])
def test_commas_semicolons_and_tabs_are_understood(place, delimiter, age):
    rows = ["participant_id", "path", "age"], ["01", place.image("a.nii.gz"), age]
    assert place.write(*rows, delimiter=delimiter).ingest().scans["age"].tolist() == [30.5]
    assert "1 row(s) name no session; their scans are ses-1." in place.notes


def test_an_xlsx_is_read_like_a_text(place):
    place.table = place.table.with_suffix(".xlsx")
    place.table.parent.mkdir(parents=True)
    book = openpyxl.Workbook()
    book.active.append(["participant_id", "path", "age", "centre", "mmse", "seen"])
    book.active.append([101, place.image("a.nii.gz"), 30, "A", 29.0, "yes"])
    book.active.append([102, place.image("b.nii.gz"), 31.5, "B", None, "no"])
    book.save(place.table)
    place.ingest()
    assert place.scans.index.tolist() == ["sub-101_ses-1", "sub-102_ses-1"]
    assert place.scans["age"].tolist() == [30, 31.5] and place.scans["mmse"].iloc[0] == 29
    assert (
        kinds_of_plan(plan_table(place.table))["mmse"] == NUMBER
        and kinds_of_plan(plan_table(place.table))["seen"] == TWO_CLASSES
    )


def test_paths_are_absolute_or_start_from_the_given_folder(place):
    place.image("a.nii.gz")
    place.image("b.nii.gz", seed=1)
    place.write(["participant_id", "path"], ["01", "a.nii.gz"], ["02", place.scans_folder / "b.nii.gz"])
    assert len(place.ingest(base=place.scans_folder).scans) == 2


def test_a_missing_image_is_a_row_and_the_others_go_on(place):
    place.write(["participant_id", "path"], ["01", place.image("a.nii.gz")], ["02", "../disk/gone.nii.gz"], ["03", ""])
    place.ingest()
    assert place.scans.index.tolist() == ["sub-01_ses-1"]
    reasons = dict(zip(place.exclusions["scan_id"], place.exclusions["reason"], strict=True))
    assert reasons == {
        "sub-02_ses-1": "gone.nii.gz is not there.",
        "sub-03_ses-1": "Row 4 of the table has no path.",
    }


def test_images_that_are_all_missing_stop_with_where_they_were_looked_for(place):
    place.write(["participant_id", "path"], ["01", "x/a.nii.gz"], ["02", "x/b.nii.gz"])
    with pytest.raises(
        InputError, match=r"clinic.csv names 2 image\(s\), and none of them is there, such as .*/tables/x/a.nii.gz"
    ):
        place.ingest()


def test_further_modalities_have_columns_of_their_own(place):
    header = ["participant_id", "path", "path_T2w", "path_FLAIR"]
    t1w, t2w = place.image("t1.nii.gz"), place.image("t2.nii", seed=1)
    place.write(header, ["01", t1w, t2w, "unused"], ["02", t1w, "", ""]).ingest(modalities=("T1w", "T2w"))
    row = place.scans.loc["sub-01_ses-1"]
    assert row["path_T2w"] == "sub-01/ses-1/anat/sub-01_ses-1_T2w.nii.gz"
    assert (
        gzip.decompress((place.folder / row["path_T2w"]).read_bytes()) == (place.scans_folder / "t2.nii").read_bytes()
    )
    assert not {"path_FLAIR", "path_FLAIR_"} & {*place.scans}
    assert place.exclusions["reason"].tolist() == ["Row 3 of the table has no path_T2w."]
    with pytest.raises(InputError, match=r"lacks the column\(s\) path_PDw, which the modalities T1w, PDw need"):
        place.ingest(modalities=("T1w", "PDw"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [["participant_id", "age"], ["01", "3"]],
            r"clinic.csv lacks the column\(s\) path; it has participant_id, age",
        ),
        ([["participant_id", "path"]], "has a header and no row below it"),
        (
            [["participant_id", "path"], ["1.0", "a.nii"]],
            "row 2, column participant_id holds '1.0'; expected up to 60 letters, digits",
        ),
        (
            [["participant_id", "path"], ["", "a.nii"]],
            "row 2, column participant_id holds nothing; expected up to 60 letters, digits",
        ),
        (
            [["participant_id", "session_id", "path"], ["1", "1", "a.nii"], ["2", "---", "a.nii"]],
            "row 3, column session_id holds '---'; expected up to 60 letters, digits and .*, with or without ses- before them",
        ),
        (
            [["participant_id", "path"], ["1", "a.nii"], ["2", "a.nii"], ["sub-1", "b.nii"]],
            "rows 2 and 4 are both of sub-1 ses-1; give each scan a session_id of its own",
        ),
        ([["participant_id", "path"], ["1", "a.nii", "Smith", "John"]], "row 2 has 4 cells, and the header has 2"),
    ],
)
def test_a_wrong_table_is_told_by_row_and_column(place, rows, message):
    place.image("a.nii")
    with pytest.raises(InputError, match=message):
        place.write(*rows).ingest()


@pytest.mark.parametrize(
    "content", [None, b"<html><body>Log in</body></html>", b"PK\x03\x04 cut short", b"a,\xff\xfe,b"]
)
def test_a_table_that_cannot_be_read_is_named(place, content):
    if content:
        place.write()
        place.table.write_bytes(content)
    message = (
        r"clinic.csv can't be read as a table .*expected .csv or .tsv in UTF-8"
        if content
        else "clinic.csv is not there"
    )
    for read in (place.ingest, lambda: kinds_of_plan(plan_table(place.table)), lambda: fingerprint_table(place.table)):
        with pytest.raises(InputError, match=message):
            read()


def test_dicom_is_a_row_with_the_command_and_stops_where_there_is_nothing_else(place):
    series = place.scans_folder / "series 7"
    series.mkdir(parents=True)
    (series / "IM1").write_bytes(bytes(128) + b"DICM")
    (place.scans_folder / "one.dcm").write_bytes(b"")
    (place.scans_folder / "empty").mkdir()
    dicom = [["01", "../disk/series 7"], ["02", "../disk/one.dcm"]]
    place.write(["participant_id", "path"], *dicom, ["03", place.image("a.nii.gz")], ["04", "../disk/empty"]).ingest()
    reasons = place.exclusions["reason"].tolist()
    assert "series 7 is DICOM" in reasons[0] and "`dcm2niix -z y -o OUTPUT_FOLDER 'series 7'`" in reasons[0]
    assert "one.dcm is DICOM" in reasons[1]
    assert reasons[2] == "empty is a folder, and an image file is expected."
    with pytest.raises(
        InputError, match=r"are DICOM, such as series 7.*`dcm2niix -z y -o OUTPUT_FOLDER '.*/series 7'`"
    ):
        place.write(["participant_id", "path"], *dicom).ingest()


def test_another_format_is_named(place):
    place.image("b.nii.gz")
    (place.scans_folder / "a.mgz").write_bytes(b"x")
    place.write(["participant_id", "path"], ["01", "../disk/a.mgz"], ["02", "../disk/b.nii.gz"]).ingest()
    assert place.exclusions["reason"].tolist() == [
        "a.mgz is none of .nii, .nii.gz and an Analyze pair (.hdr and .img); convert it."
    ]


def test_gzip_is_seen_by_content_and_not_by_name(place):
    place.image("a.nii.gz")
    (place.scans_folder / "zipped.nii").write_bytes((place.scans_folder / "a.nii.gz").read_bytes())
    place.image("b.nii", seed=1)
    (place.scans_folder / "plain.nii.gz").write_bytes((place.scans_folder / "b.nii").read_bytes())
    place.write(["participant_id", "path"], ["01", "../disk/zipped.nii"], ["02", "../disk/plain.nii.gz"]).ingest()
    for path, original in zip(place.scans["path"], ("a.nii.gz", "b.nii"), strict=True):
        assert not (place.folder / path).is_symlink()
        np.testing.assert_array_equal(
            nib.load(place.folder / path).dataobj, nib.load(place.scans_folder / original).dataobj
        )


def test_unchanged_images_stay_as_they_are(place):
    place.write(["participant_id", "path"], ["01", place.image("a.nii.gz")], ["02", place.image("b.nii")]).ingest()
    paths = [place.folder / path for path in place.scans["path"]]
    times = [os.lstat(path).st_mtime_ns for path in paths]
    place.ingest()
    assert [os.lstat(path).st_mtime_ns for path in paths] == times


def test_an_image_where_the_cohort_is_written_is_refused_and_stays(place):
    place.scans_folder = place.folder / "sub-9" / "ses-1" / "anat"
    place.image("sub-9_ses-1_T1w.nii.gz")
    place.write(["participant_id", "path"], ["01", place.scans_folder / "sub-9_ses-1_T1w.nii.gz"])
    with pytest.raises(InputError, match=r"clinic.csv, sub-01_ses-1 has the image .*, where this cohort is written"):
        place.ingest()
    assert (place.scans_folder / "sub-9_ses-1_T1w.nii.gz").is_file()


def test_columns_that_would_take_our_names_are_renamed(place):
    names = ["scan_id", "image_sha256", "part", "target", "in", "2nd", "a b", "a-b", "Path_T2w"]
    place.write(["participant_id", "path", *names], ["01", place.image("a.nii.gz"), *"abcdefghi"]).ingest()
    renamed = ["scan_id_", "image_sha256_", "part_", "target_", "in_", "_2nd", "a_b", "a_b_2"]
    assert place.scans.iloc[0][renamed].tolist() == list("abcdefgh")
    assert len(place.scans["image_sha256"].iloc[0]) == 64
    kinds = kinds_of_plan(plan_table(place.table))
    assert {*renamed} == {*kinds} - {"participant_id", "session_id", "scan_id", "site", "scanner", "age", "sex"}
    assert kinds["scan_id"] == NAME and kinds["a_b"] == CATEGORIES


def test_the_kinds_of_variables_follow_from_all_values(place):
    header = ["participant_id", "path", "zero_one", "one_two", "words", "three", "mixed", "big"]
    place.write(
        header,
        ["01", place.image("a.nii"), "0", "1", "yes", "a", "1", "1e3"],
        ["02", "b", "1.0", "2", "no", "b", "<5", "-.5"],
        ["03", "c", "", "1", "no", "c", "3", "1_000"],
    )
    found = [kinds_of_plan(plan_table(place.table))[name] for name in header[2:]]
    assert found == [TWO_CLASSES, NUMBER, TWO_CLASSES, CATEGORIES, CATEGORIES, CATEGORIES]


def test_a_fingerprint_changes_with_the_table_and_with_its_files(place):
    place.write(["participant_id", "path"], ["01", place.image("a.nii.gz")], ["02", "../disk/b.img"])
    prints = [fingerprint_table(place.table)]

    def changed():
        prints.append(fingerprint_table(place.table))
        return prints[-1] not in prints[:-1]

    place.image("unnamed.nii.gz")
    os.utime(place.table, ns=(1, 1))
    assert not changed()
    os.utime(place.scans_folder / "a.nii.gz", ns=(1, 1))
    assert changed()
    for suffix in ("hdr", "img", "mat"):
        (place.scans_folder / f"b.{suffix}").write_bytes(b"")
        assert changed()
    place.write(["participant_id", "path", "age"], ["01", "../disk/a.nii.gz", 3], ["02", "../disk/b.img", 4])
    assert changed()


def test_real_scans_named_by_a_table_arrive_unchanged(place, shared_data):
    real = sorted((shared_data / "ixi_hh_2mm").glob("*_T1_2mm.nii.gz"))[:2]
    plain = place.scans_folder / "plain.nii"
    plain.parent.mkdir(parents=True)
    plain.write_bytes(gzip.decompress(real[1].read_bytes()))
    place.write(["participant_id", "path"], ["1", real[0]], ["2", plain]).ingest()
    for path, original in zip(place.scans["path"], real, strict=True):
        arrived, wanted = nib.load(place.folder / path), nib.load(original)
        np.testing.assert_array_equal(arrived.affine, wanted.affine)
        np.testing.assert_array_equal(arrived.dataobj, wanted.dataobj)
        assert arrived.header.binaryblock == wanted.header.binaryblock
