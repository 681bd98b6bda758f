"""What a person gets from IXI's archive and spreadsheet, with the real table and with archives that are broken."""

import csv
import gzip
import io
import json
import tarfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from neurocohort.errors import InputError
from neurocohort.files import read_table, sha256_of
from neurocohort.sources.ixi import ingest_ixi
from neurocohort.sources.ixi_table import read_demographics
from neurocohort.sources.spreadsheets import read_spreadsheet

SHARED = (Path(__file__).resolve().parents[2] / "../shared/data").resolve()
SPREADSHEET = SHARED / "IXI.xls"
needs_shared = pytest.mark.skipif(not SPREADSHEET.exists(), reason="the shared IXI.xls is not at hand")
COLUMNS = ["IXI_ID", "SEX_ID (1=m, 2=f)", "HEIGHT", "WEIGHT", "ETHNIC_ID", "MARITAL_ID", "OCCUPATION_ID"]
COLUMNS += ["QUALIFICATION_ID", "DOB", "DATE_AVAILABLE", "STUDY_DATE", "AGE"]


def image_bytes(shape=(4, 5, 6), seed=0) -> bytes:
    voxels = np.random.default_rng(seed).integers(0, 1000, shape, dtype=np.int16)
    return gzip.compress(nib.Nifti1Image(voxels, np.diag([2.0, 2, 2, 1])).to_bytes(), mtime=0)


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_csv(path: Path, *rows: dict) -> Path:
    usual = {"SEX_ID (1=m, 2=f)": 1, "HEIGHT": 180, "WEIGHT": 80, "ETHNIC_ID": 1, "MARITAL_ID": 2}
    usual |= {"OCCUPATION_ID": 1, "QUALIFICATION_ID": 5, "AGE": 40.5}
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows({**usual, **row} for row in rows)
    return path


@pytest.fixture
def place(tmp_path):
    class Place:
        folder = tmp_path / "data" / "ixi"
        archive = tmp_path / "IXI-T1.tar"
        table = tmp_path / "IXI.csv"

        def ingest(self):
            self.result = ingest_ixi([self.archive], self.table, self.folder)
            self.scans = read_table(self.folder / "scans.tsv").set_index("scan_id")
            self.exclusions = read_table(self.folder / "exclusions.tsv")
            return self

    return Place()


# --- the real spreadsheet -----------------------------------------------------------------------------------------


@needs_shared
def test_the_real_spreadsheet_is_read_as_it_is():
    table = read_spreadsheet(SPREADSHEET, tuple(COLUMNS), sheet="Table")
    assert len(table) == 619
    assert table["IXI_ID"].nunique() == 593
    assert (table["IXI_ID"].value_counts() == 2).sum() == 26
    assert table["AGE"].map(lambda age: age is None or age == "").sum() == 29
    people, conflicts, nameless, notes = read_demographics(SPREADSHEET)
    assert set(conflicts) == {219, 328}
    assert "age (53.08 and 58.07 years)" in conflicts[219]
    assert "and sex" in conflicts[328]
    assert nameless == []
    assert [note.split(" in the")[0] for note in notes] == ["3 cell(s) of HEIGHT", "3 cell(s) of WEIGHT"]
    assert len(people) == 591
    assert sum(person["age"] is None for person in people.values()) == 28  # 29 rows, two of them 513's
    ages = [person["age"] for person in people.values() if person["age"] is not None]
    assert (round(min(ages), 2), round(max(ages), 2)) == (19.98, 86.32)


@needs_shared
def test_real_twofold_rows_are_merged_field_by_field():
    people = read_demographics(SPREADSHEET).known
    assert (people[251]["height_cm"], people[251]["weight_kg"], people[251]["ethnicity"]) == (167, 74, "white")
    assert people[416]["height_cm"] == 176  # 1520 in the other row
    assert people[416]["weight_kg"] is None  # 51 in one row, 102 in the other: nobody knows
    assert people[513]["age"] is None and people[513]["weight_kg"] == 76


@needs_shared
def test_real_typing_errors_and_zeros_are_missing():
    people = read_demographics(SPREADSHEET).known
    heights = [person["height_cm"] for person in people.values() if person["height_cm"] is not None]
    weights = [person["weight_kg"] for person in people.values() if person["weight_kg"] is not None]
    assert (min(heights), max(heights)) == (110, 210)
    assert (min(weights), max(weights)) == (45, 127)
    assert people[560]["height_cm"] is None and people[607]["weight_kg"] is None
    assert people[15]["ethnicity"] == "code-2"
    assert people[149]["ethnicity"] is None


@needs_shared
def test_real_scans_are_copied_byte_for_byte_with_what_is_known_of_them(place):
    originals = {
        path.name.replace("_T1_2mm", "-T1"): path for path in sorted(SHARED.glob("ixi_hh_2mm/*_T1_2mm.nii.gz"))
    }
    originals["IXI533-Guys-1066-T1.nii.gz"] = SHARED / "IXI533-Guys-1066-T1.nii.gz"
    members = {name: path.read_bytes() for name, path in originals.items()}
    members |= {"IXI219-Guys-0894-T1.nii.gz": image_bytes(), "IXI435-IOP-1041-T1.nii.gz": image_bytes()}
    write_tar(place.archive, members)
    place.table = SPREADSHEET
    place.ingest()
    assert len(place.scans) == 8
    scan = place.scans.loc["sub-IXI533_ses-1"]
    assert scan["path"] == "sub-IXI533/ses-1/anat/sub-IXI533_ses-1_T1w.nii.gz"
    assert (place.folder / scan["path"]).read_bytes() == members["IXI533-Guys-1066-T1.nii.gz"]
    assert scan["image_sha256"] == sha256_of(originals["IXI533-Guys-1066-T1.nii.gz"])
    assert (round(scan["age"], 2), scan["sex"], scan["site"], scan["scanner"]) == (73.60, "M", "Guys", "Philips 1.5 T")
    assert place.scans.loc["sub-IXI012_ses-1", "scanner"] == "Philips 3 T"
    assert np.isnan(place.scans.loc["sub-IXI435_ses-1", "age"])  # kept: what needs an age excludes it
    assert place.scans.loc["sub-IXI435_ses-1", "scanner"] == "GE 1.5 T"
    assert list(place.exclusions["scan_id"]) == ["sub-IXI219_ses-1"]
    assert not (place.folder / "sub-IXI219").exists()
    assert list(read_table(place.folder / "participants.tsv")["participant_id"]) == list(place.scans["participant_id"])


# --- rules --------------------------------------------------------------------------------------------------------


def test_contradicting_rows_are_found_by_rule_and_not_by_number(place):
    write_tar(place.archive, {f"IXI{n:03d}-HH-0001-T1.nii.gz": image_bytes(seed=n) for n in (700, 701, 702)})
    write_csv(
        place.table,
        {"IXI_ID": 700, "AGE": 40.0},
        {"IXI_ID": 700, "AGE": 40.5},
        {"IXI_ID": 701, "AGE": 40.0},
        {"IXI_ID": 701, "AGE": "", "HEIGHT": 0},
        {"IXI_ID": 702, "AGE": 30},
        {"IXI_ID": 702, "AGE": 30, "SEX_ID (1=m, 2=f)": 2},
    )
    place.ingest()
    assert list(place.scans.index) == ["sub-IXI701_ses-1"]
    assert list(place.exclusions["participant_id"]) == ["sub-IXI700", "sub-IXI702"]
    assert "disagree in sex" in place.exclusions.loc[1, "reason"]


def test_a_scan_that_the_spreadsheet_does_not_know_stays_with_its_site(place):
    write_tar(place.archive, {"IXI012-HH-1211-T1.nii.gz": image_bytes()})
    write_csv(place.table, {"IXI_ID": 13})
    scan = place.ingest().scans.loc["sub-IXI012_ses-1"]
    assert scan["site"] == "HH"
    assert scan[["age", "sex", "height_cm", "ethnicity"]].isna().all()
    assert len(place.exclusions) == 0


def test_a_row_without_a_number_is_told(place):
    write_tar(place.archive, {"IXI012-HH-1211-T1.nii.gz": image_bytes()})
    write_csv(place.table, {"IXI_ID": 12}, {"IXI_ID": ""})
    assert "Row 3 of the spreadsheet" in place.ingest().exclusions.loc[0, "reason"]


def test_other_members_and_second_images_are_noted_and_ignored(place):
    write_tar(
        place.archive,
        {
            "./IXI012-HH-1211-T1.nii.gz": image_bytes(),
            "IXI012-HH-1211-T2.nii.gz": image_bytes(),
            "._IXI012-HH-1211-T1.nii.gz": b"junk",
            "IXI012-Guys-0007-T1.nii.gz": image_bytes(seed=2),
        },
    )
    write_csv(place.table, {"IXI_ID": 12})
    place.ingest()
    assert place.scans.loc["sub-IXI012_ses-1", "site"] == "HH"
    notes = " ".join(place.result.notes)
    assert "2 file(s)" in notes and "IXI012-HH-1211-T2.nii.gz" in notes
    assert "IXI012-Guys-0007-T1.nii.gz is a second T1 image" in notes


def test_every_column_is_explained(place):
    write_tar(place.archive, {"IXI012-HH-1211-T1.nii.gz": image_bytes()})
    write_csv(place.table, {"IXI_ID": 12})
    place.ingest()
    dictionary = json.loads((place.folder / "participants.json").read_text())
    columns = read_table(place.folder / "scans.tsv").columns
    assert set(columns) == set(dictionary)
    assert all(entry["Description"] for entry in dictionary.values())
    for name in ("ethnicity", "marital_status", "occupation", "qualification", "site", "scanner", "sex"):
        value = place.scans.loc["sub-IXI012_ses-1", name]
        assert value in dictionary[name]["Levels"]
    assert dictionary["height_cm"]["Units"] == "cm"


# --- broken input -------------------------------------------------------------------------------------------------


def test_unreadable_scans_are_rows_and_the_others_go_on(place):
    good = image_bytes()
    plain = gzip.decompress(good)
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 0xFF
    names = [f"IXI{number:03d}-HH-0001-T1.nii.gz" for number in range(1, 8)]
    contents = [good, good[:-50], bytes(flipped), b"not gzip at all", image_bytes((4, 5, 6, 3)), b""]
    contents += [gzip.compress(plain[:-10])]
    write_tar(place.archive, dict(zip(names, contents, strict=True)))
    write_csv(place.table, *({"IXI_ID": number} for number in range(1, 8)))
    place.ingest()
    assert list(place.scans.index) == ["sub-IXI001_ses-1"]
    reasons = place.exclusions.set_index("participant_id")["reason"]
    assert len(reasons) == 6 and set(place.exclusions["stage"]) == {"ingest"}
    assert "not a whole gzip file" in reasons["sub-IXI002"]
    assert "4 x 5 x 6 x 3 and not three-dimensional" in reasons["sub-IXI005"]
    assert "cut short" in reasons["sub-IXI007"]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, "at a header", "before the end"])
def test_a_truncated_archive_is_an_error_that_names_it(place, share):
    write_tar(place.archive, {f"IXI{n:03d}-HH-0001-T1.nii.gz": image_bytes((20, 20, 20), n) for n in range(1, 5)})
    write_csv(place.table, {"IXI_ID": 1})
    whole = place.archive.read_bytes()
    with tarfile.open(place.archive) as archive:
        third, last = archive.getmembers()[2:]
        ends = last.offset_data + -(-last.size // 512) * 512
    cut = {"at a header": third.offset, "before the end": ends}.get(share) or int(share * ends)
    place.archive.write_bytes(whole[:cut])
    with pytest.raises(InputError, match=r"IXI-T1\.tar is cut short or damaged"):
        place.ingest()
    assert not (place.folder / "scans.tsv").exists()


@pytest.mark.parametrize("name", ["/IXI012-HH-1211-T1.nii.gz", "../IXI012-HH-1211-T1.nii.gz", "a/../../b"])
def test_a_member_that_reaches_outside_is_refused_by_name(place, name):
    write_tar(place.archive, {name: image_bytes()})
    write_csv(place.table, {"IXI_ID": 12})
    with pytest.raises(InputError, match="reaches outside the folder") as caught:
        place.ingest()
    assert repr(name) in str(caught.value)
    assert {path.name for path in place.folder.parents[1].iterdir()} == {"IXI-T1.tar", "IXI.csv"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused_by_name(place, kind):
    with tarfile.open(place.archive, "w") as archive:
        member = tarfile.TarInfo("IXI012-HH-1211-T1.nii.gz")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    write_csv(place.table, {"IXI_ID": 12})
    with pytest.raises(InputError, match=r"'IXI012-HH-1211-T1\.nii\.gz', which is a"):
        place.ingest()


def test_the_wrong_archive_is_told_by_what_it_holds(place):
    write_tar(place.archive, {"IXI012-HH-1211-T2.nii.gz": image_bytes()})
    write_csv(place.table, {"IXI_ID": 12})
    with pytest.raises(InputError, match=r"found: IXI012-HH-1211-T2\.nii\.gz"):
        place.ingest()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"AGE": "old"}, r"IXI\.csv, row 2, column 'AGE' holds 'old' where a number is expected"),
        ({"SEX_ID (1=m, 2=f)": 3}, r"row 2, column 'SEX_ID \(1=m, 2=f\)' holds 3; known are 0 \(missing\), 1 \(M\)"),
        ({"ETHNIC_ID": 1.5}, r"column 'ETHNIC_ID' holds 1\.5"),
    ],
)
def test_a_cell_of_the_wrong_kind_is_named(place, row, message):
    write_csv(place.table, {"IXI_ID": 12, **row})
    with pytest.raises(InputError, match=message):
        read_demographics(place.table)


def test_a_table_of_something_else_is_told_by_its_columns(place):
    place.table.write_text("name,years\nx,3\n")
    with pytest.raises(InputError, match=r"lacks the column\(s\) IXI_ID.*it has name, years"):
        read_demographics(place.table)


@pytest.mark.parametrize("content", [b"<html>log in</html>", b"\xd0\xcf\x11\xe0broken", b"PK\x03\x04broken", b""])
def test_a_table_that_is_no_table_is_an_error_that_names_it(place, content):
    place.table.write_bytes(content)
    with pytest.raises(InputError, match=r"IXI\.csv"):
        read_demographics(place.table)


# --- again --------------------------------------------------------------------------------------------------------


def test_ingesting_again_touches_no_image_and_writes_the_same_tables(place):
    write_tar(place.archive, {f"IXI{n:03d}-HH-0001-T1.nii.gz": image_bytes(seed=n) for n in range(1, 4)})
    write_csv(place.table, *({"IXI_ID": number} for number in range(1, 4)))
    place.ingest()
    images = {path: path.stat().st_mtime_ns for path in place.folder.rglob("*.nii.gz")}
    tables = {path: path.read_bytes() for path in place.folder.glob("*.*sv")}
    (place.folder / "scans.tsv").unlink()  # as Snakemake does before it runs a rule again
    place.ingest()
    assert {path: path.stat().st_mtime_ns for path in place.folder.rglob("*.nii.gz")} == images
    assert {path: path.read_bytes() for path in place.folder.glob("*.*sv")} == tables


def test_ingesting_a_changed_archive_changes_that_image_alone_and_removes_what_is_gone(place):
    members = {f"IXI{n:03d}-HH-0001-T1.nii.gz": image_bytes(seed=n) for n in range(1, 4)}
    write_tar(place.archive, members)
    write_csv(place.table, *({"IXI_ID": number} for number in range(1, 4)))
    place.ingest()
    before = place.scans
    times = {path: path.stat().st_mtime_ns for path in place.folder.rglob("*.nii.gz")}
    members["IXI002-HH-0001-T1.nii.gz"] = image_bytes(seed=9)
    del members["IXI003-HH-0001-T1.nii.gz"]
    write_tar(place.archive, members)
    place.ingest()
    assert list(place.scans.index) == ["sub-IXI001_ses-1", "sub-IXI002_ses-1"]
    first, second = place.scans["image_sha256"]
    assert first == before["image_sha256"].iloc[0] and second != before["image_sha256"].iloc[1]
    kept = place.folder / place.scans["path"].iloc[0]
    assert kept.stat().st_mtime_ns == times[kept]
    assert not (place.folder / "sub-IXI003").exists()


def test_the_folder_passes_as_bids(place):
    write_tar(place.archive, {"IXI012-HH-1211-T1.nii.gz": image_bytes()})
    write_csv(place.table, {"IXI_ID": 12})
    place.ingest()
    description = json.loads((place.folder / "dataset_description.json").read_text())
    assert description["Name"] == "IXI" and description["License"] == "CC BY-SA 3.0"
    assert (place.folder / ".bidsignore").read_text().split() == [
        "/scans.tsv",
        "/exclusions.tsv",
        "/inputs.tsv",
        "/batches.tsv",
        "/notes.tsv",
    ]
