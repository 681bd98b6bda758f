"""What a person gets from OASIS-1's discs and table: heads the right way round, labels, ratings, and what is missing."""

import csv
import io
import json
import struct
import tarfile
from pathlib import Path

import nibabel as nib
import numpy as np
import openpyxl
import pytest
from neurocohort.errors import InputError, ScanExcluded
from neurocohort.files import read_table as read_tsv
from neurocohort.sources.analyze import analyze_to_nifti, asl_affine
from neurocohort.sources.oasis1 import ingest_oasis1
from neurocohort.sources.oasis1_table import read_table

COLUMNS = ["ID", "M/F", "Hand", "Age", "Educ", "SES", "MMSE", "CDR", "eTIV", "nWBV", "ASF", "Delay"]
HEAD_SHAPE = (10, 14, 12)  # to the right, to the front, upward
ATLAS_SHAPE = (8, 10, 6)


def head_with_marker(shape, kind=np.int16) -> np.ndarray:
    """A head in RAS order, brighter to the front and top, with a marker in the left temple: axes can't be confused."""
    _, front, up = np.indices(shape)
    head = (front + 2 * up + 1).astype(kind)
    head[1, int(shape[1] * 0.6), shape[2] // 2] = 120
    return head


def as_asl(head: np.ndarray) -> np.ndarray:
    """Stored with i to the front, j upward, k to the left."""
    return np.flip(np.moveaxis(head, 0, 2), axis=2)


def as_las(head: np.ndarray) -> np.ndarray:
    """Stored with i to the left, j to the front, k upward."""
    return np.flip(head, axis=0)


def analyze_pair(stored: np.ndarray, spacing=(1.0, 1.0, 1.0), order=">") -> dict[str, bytes]:
    """An Analyze 7.5 pair written field by field from the format's description (Mayo Clinic), not by nibabel."""
    code, bits = {np.dtype(np.int16): (4, 16), np.dtype(np.uint8): (2, 8), np.dtype(np.float32): (16, 32)}[stored.dtype]
    header = bytearray(348)
    struct.pack_into(order + "i", header, 0, 348)
    struct.pack_into(order + "8h", header, 40, 4, *stored.shape, 1, 0, 0, 0)
    struct.pack_into(order + "hh", header, 70, code, bits)
    struct.pack_into(order + "4f", header, 76, 0.0, *spacing)
    return {"hdr": bytes(header), "img": stored.astype(stored.dtype.newbyteorder(order)).tobytes(order="F")}


def session_members(session="OAS1_0001_MR1", averaged=4, order=">", disc=1) -> dict[str, bytes]:
    """The files of one session as they lie on a disc."""
    labels = (np.indices(ATLAS_SHAPE).sum(0) % 4).astype(np.uint8)
    atlas = head_with_marker(ATLAS_SHAPE)
    stem = f"{session}_mpr_n{averaged}_anon"
    images = {
        f"RAW/{session}_mpr-1_anon": as_asl(head_with_marker((8, 14, 12))),
        f"PROCESSED/MPRAGE/SUBJ_111/{stem}_sbj_111": as_asl(head_with_marker(HEAD_SHAPE)),
        f"PROCESSED/MPRAGE/T88_111/{stem}_111_t88_gfc": as_las(atlas),
        f"PROCESSED/MPRAGE/T88_111/{stem}_111_t88_masked_gfc": as_las(atlas),
        f"FSL_SEG/{stem}_111_t88_masked_gfc_fseg": as_las(labels),
    }
    members = {f"disc{disc}/{session}/{session}.txt": b"SESSION ID: ..."}
    for name, stored in images.items():
        for suffix, content in analyze_pair(stored, order=order).items():
            members[f"disc{disc}/{session}/{name}.{suffix}"] = content
    return members


def write_disc(path: Path, *sessions: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for members in sessions:
            for name, content in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def write_csv(path: Path, *rows: dict) -> Path:
    usual = {"ID": "OAS1_0001_MR1", "M/F": "F", "Hand": "R", "Age": 74, "Educ": 2, "SES": 3, "MMSE": 29, "CDR": 0}
    usual |= {"eTIV": 1344, "nWBV": 0.743, "ASF": 1.306, "Delay": "N/A"}
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows({**usual, **row} for row in rows)
    return path


@pytest.fixture
def place(tmp_path):
    class Place:
        folder = tmp_path / "data" / "oasis1"
        disc = tmp_path / "oasis_cross-sectional_disc1.tar.gz"
        table = tmp_path / "oasis_cross-sectional.csv"

        def ingest(self):
            self.result = ingest_oasis1([self.disc], self.table, self.folder)
            self.scans = read_tsv(self.folder / "scans.tsv").set_index("scan_id")
            self.exclusions = read_tsv(self.folder / "exclusions.tsv")
            return self

        def image(self, column, scan_id="sub-OAS10001_ses-1"):
            return nib.load(self.folder / self.scans.loc[scan_id, column])

    return Place()


def in_ras(image: nib.Nifti1Image) -> np.ndarray:
    return np.asarray(nib.as_closest_canonical(image).dataobj)


# --- orientation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("kind", "shape", "spacing", "store", "stored_as"),
    [
        ("RAW", (8, 14, 12), (1.0, 1.0, 1.25), as_asl, "ASL"),
        ("SUBJ_111", HEAD_SHAPE, (1.0, 1.0, 1.0), as_asl, "ASL"),
        ("T88_111", ATLAS_SHAPE, (1.0, 1.0, 1.0), as_las, "LAS"),
        ("FSL_SEG", ATLAS_SHAPE, (1.0, 1.0, 1.0), as_las, "LAS"),
    ],
)
def test_a_marker_in_the_left_temple_stays_there(kind, shape, spacing, store, stored_as, order):
    head = head_with_marker(shape, np.uint8 if kind == "FSL_SEG" else np.int16)
    pair = analyze_pair(store(head), spacing, order)
    image = analyze_to_nifti(pair["hdr"], pair["img"], stored_as)
    np.testing.assert_array_equal(in_ras(image), head)
    assert nib.aff2axcodes(image.affine) == tuple(stored_as)
    assert sorted(image.header.get_zooms()) == sorted(spacing)
    marker_mm = nib.affines.apply_affine(image.affine, np.argwhere(np.asarray(image.dataobj) == 120)[0])
    assert marker_mm[0] < 0  # left
    assert abs(marker_mm[1] - 0.1 * shape[1]) < 1  # a little before the middle
    assert abs(marker_mm[2]) < 1
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-5)


def test_the_average_has_the_affine_that_clinica_writes():
    expected = [[0, 0, -1, 80], [1, 0, 0, -128], [0, 1, 0, -128], [0, 0, 0, 1]]
    np.testing.assert_array_equal(asl_affine((256, 256, 160), np.ones(3)), expected)
    # and for a raw scan the same box of 256 x 256 x 160 mm
    raw = asl_affine((256, 256, 128), np.array([1, 1, 1.25]))
    np.testing.assert_array_equal(raw, [[0, 0, -1.25, 80], [1, 0, 0, -128], [0, 1, 0, -128], [0, 0, 0, 1]])


def test_atlas_images_have_the_affine_that_nibabel_gives(tmp_path):
    pair = analyze_pair(as_las(head_with_marker(ATLAS_SHAPE)))
    for suffix, content in pair.items():
        (tmp_path / f"atlas.{suffix}").write_bytes(content)
    opened = nib.load(tmp_path / "atlas.img")
    image = analyze_to_nifti(pair["hdr"], pair["img"], "LAS")
    np.testing.assert_array_equal(image.affine, opened.affine)
    np.testing.assert_array_equal(np.asarray(image.dataobj), np.asarray(opened.dataobj)[..., 0])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda pair: pair.update(img=pair["img"][:-2]), r"\.img file has \d+ bytes, and its header asks for"),
        (lambda pair: pair.update(hdr=pair["hdr"][:100]), "header has 100 bytes, and 348 are expected"),
        (lambda pair: pair.update(hdr=bytes(348)), "does not begin with its length"),
        (
            lambda pair: pair.update(analyze_pair(np.zeros((4, 4, 1), np.int16))),
            "4 x 4 x 1 and not three",
        ),
        (lambda pair: pair.update(analyze_pair(np.zeros((4, 4, 4), np.float32))), "holds float32"),
        (lambda pair: pair.update(analyze_pair(np.zeros((4, 4, 4), np.int16), (0, 1, 1))), "voxel size of"),
    ],
)
def test_a_broken_pair_is_told_in_a_sentence(harm, message):
    pair = analyze_pair(as_las(head_with_marker(ATLAS_SHAPE)))
    harm(pair)
    with pytest.raises(ScanExcluded, match=message):
        analyze_to_nifti(pair["hdr"], pair["img"], "ASL")


# --- the layout ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("averaged", [3, 6])
def test_a_session_becomes_a_scan_with_its_labels(place, averaged, order):
    write_disc(place.disc, session_members(averaged=averaged, order=order))
    write_csv(place.table, {"CDR": 0.5})
    place.ingest()
    scan = place.scans.loc["sub-OAS10001_ses-1"]
    assert scan["path"] == "sub-OAS10001/ses-1/anat/sub-OAS10001_ses-1_T1w.nii.gz"
    image = place.image("path")
    assert image.get_data_dtype() == np.int16
    np.testing.assert_array_equal(in_ras(image), head_with_marker(HEAD_SHAPE))
    dseg, reference = place.image("dseg_path"), place.image("dseg_reference_path")
    assert scan["dseg_path"].endswith("anat/sub-OAS10001_ses-1_space-T88_dseg.nii.gz")
    assert scan["dseg_reference_path"].endswith("anat/sub-OAS10001_ses-1_space-T88_desc-brain_T1w.nii.gz")
    assert dseg.shape == reference.shape and np.array_equal(dseg.affine, reference.affine)
    np.testing.assert_array_equal(in_ras(dseg), np.indices(ATLAS_SHAPE).sum(0) % 4)
    assert read_tsv(place.folder / "derivatives/oasis-fslseg/dseg.tsv")["name"].tolist() == ["CSF", "GM", "WM"]
    assert (scan["age"], scan["sex"], scan["handedness"], scan["cdr"], scan["dementia"]) == (74, "F", "right", 0.5, 1)
    assert len(list(place.folder.rglob("*.nii.gz"))) == 3  # RAW and the unmasked atlas image are not kept


def test_labels_lie_on_their_image_even_where_its_header_has_another_origin(place):
    members = session_members()
    name = next(name for name in members if name.endswith("masked_gfc.hdr"))
    header = bytearray(members[name])
    struct.pack_into(">3h", header, 253, 4, 5, 3)  # SPM's field for the origin, in voxels from 1
    members[name] = bytes(header)
    write_disc(place.disc, members)
    write_csv(place.table, {})
    place.ingest()
    np.testing.assert_array_equal(place.image("dseg_path").affine, place.image("dseg_reference_path").affine)
    np.testing.assert_array_equal(place.image("dseg_path").affine[:3, 3], [3, -4, -2])


def test_a_repeat_session_is_the_same_participant(place):
    write_disc(place.disc, session_members("OAS1_0042_MR1"), session_members("OAS1_0042_MR2"))
    write_csv(
        place.table,
        {"ID": "OAS1_0042_MR1", "Age": 21, "CDR": ""},
        {"ID": "OAS1_0042_MR2", "Age": 21, "CDR": "", "MMSE": "", "Delay": 34},
    )
    place.ingest()
    assert list(place.scans.index) == ["sub-OAS10042_ses-1", "sub-OAS10042_ses-2"]
    assert place.scans["participant_id"].unique().tolist() == ["sub-OAS10042"]
    assert place.scans["delay_days"].tolist()[1] == 34 and np.isnan(place.scans["delay_days"].iloc[0])
    assert place.scans[["cdr", "dementia"]].isna().all(axis=None)  # not rated is not healthy
    assert len(read_tsv(place.folder / "participants.tsv")) == 1


def test_the_order_of_files_in_the_archive_does_not_matter(place):
    members = session_members()
    write_disc(place.disc, dict(sorted(members.items(), reverse=True)))
    write_csv(place.table, {})
    first = place.ingest().scans
    write_disc(place.disc, members)
    assert place.ingest().scans.equals(first)


def test_every_column_is_explained(place):
    write_disc(place.disc, session_members())
    write_csv(place.table, {})
    place.ingest()
    dictionary = json.loads((place.folder / "participants.json").read_text())
    assert set(read_tsv(place.folder / "scans.tsv").columns) == set(dictionary)
    assert "not healthy" in dictionary["cdr"]["Derivation"]
    assert place.scans["site"].iloc[0] in dictionary["site"]["Levels"]


# --- what is missing or broken ------------------------------------------------------------------------------------


def without(members: dict[str, bytes], *endings: str) -> dict[str, bytes]:
    return {name: content for name, content in members.items() if not name.endswith(endings)}


def test_a_scan_without_its_average_is_a_row_and_the_others_go_on(place):
    broken = session_members("OAS1_0005_MR1")
    name = next(name for name in broken if name.endswith("sbj_111.img"))
    broken[name] = broken[name][:-100]
    write_disc(
        place.disc,
        session_members("OAS1_0001_MR1"),
        without(session_members("OAS1_0002_MR1"), "sbj_111.img", "sbj_111.hdr"),
        without(session_members("OAS1_0003_MR1"), "sbj_111.hdr"),
        broken,
    )
    write_csv(place.table, *({"ID": f"OAS1_{number:04d}_MR1"} for number in (1, 2, 3, 5)))
    place.ingest()
    assert list(place.scans.index) == ["sub-OAS10001_ses-1"]
    reasons = place.exclusions.set_index("scan_id")["reason"]
    assert "no image in PROCESSED/MPRAGE/SUBJ_111" in reasons["sub-OAS10002_ses-1"]
    assert "only the .img file" in reasons["sub-OAS10003_ses-1"]
    assert "its header asks for" in reasons["sub-OAS10005_ses-1"]
    assert {path.name.split("_")[0] for path in place.folder.rglob("*.nii.gz")} == {"sub-OAS10001"}


@pytest.mark.parametrize("harm", ["no labels", "no reference", "wrong labels", "other shape"])
def test_a_scan_with_unusable_labels_stays_without_them(place, harm):
    members = session_members()
    label_image = next(name for name in members if name.endswith("fseg.img"))
    if harm == "no labels":
        members = without(members, "fseg.img", "fseg.hdr")
    elif harm == "no reference":
        members = without(members, "masked_gfc.hdr")
    elif harm == "wrong labels":
        members[label_image] = b"\x07" * len(members[label_image])
    else:
        for suffix, content in analyze_pair(np.ones((4, 5, 6), np.uint8)).items():
            members[label_image[:-3] + suffix] = content
    write_disc(place.disc, members)
    write_csv(place.table, {})
    place.ingest()
    assert place.scans[["dseg_path", "dseg_reference_path"]].isna().all(axis=None)
    assert any("stays without tissue labels" in note for note in place.result.notes)
    assert len(list(place.folder.rglob("*.nii.gz"))) == 1


def test_a_session_missing_from_a_disc_that_was_given_is_a_row_and_one_of_another_disc_is_not(place):
    write_disc(place.disc, session_members())
    write_csv(place.table, {}, {"ID": "OAS1_0042_MR1"}, {"ID": "OAS1_0042_MR2"}, {"ID": "OAS1_0043_MR1"})
    place.ingest()
    assert list(place.exclusions["scan_id"]) == ["sub-OAS10042_ses-1", "sub-OAS10042_ses-2"]
    assert "Disc 1 has no folder" in place.exclusions.loc[0, "reason"]
    assert any(note.startswith("1 session(s) of the table are on discs") for note in place.result.notes)


def test_an_image_without_a_row_stays_with_nothing_known(place):
    write_disc(place.disc, session_members("OAS1_0007_MR1"), session_members())
    write_csv(place.table, {})
    scan = place.ingest().scans.loc["sub-OAS10007_ses-1"]
    assert scan[["age", "sex", "cdr", "dementia"]].isna().all()
    assert any("no row in the table" in note and "OAS1_0007_MR1" in note for note in place.result.notes)


def test_contradicting_rows_exclude_the_session(place):
    write_disc(place.disc, session_members(), session_members("OAS1_0002_MR1"))
    write_csv(place.table, {"Age": 70}, {"Age": 71}, {"ID": "OAS1_0002_MR1"}, {"ID": "OAS1_0002_MR1"})
    place.ingest()
    assert list(place.scans.index) == ["sub-OAS10002_ses-1"]
    assert "disagree" in place.exclusions.loc[0, "reason"]
    assert not (place.folder / "sub-OAS10001").exists()


def test_a_truncated_or_damaged_disc_is_an_error_that_names_it(place):
    write_disc(place.disc, session_members(), session_members("OAS1_0002_MR1"))
    write_csv(place.table, {})
    whole = place.disc.read_bytes()
    for cut in (len(whole) // 3, len(whole) - 200, len(whole) - 4):
        place.disc.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"disc1\.tar\.gz is cut short or damaged"):
            place.ingest()
    damaged = bytearray(whole)
    damaged[-6] ^= 0xFF  # in the checksum: the content alone would pass
    place.disc.write_bytes(damaged)
    with pytest.raises(InputError, match=r"disc1\.tar\.gz is cut short or damaged"):
        place.ingest()


def test_a_link_on_a_disc_is_refused_by_name(place):
    with tarfile.open(place.disc, "w:gz") as archive:
        member = tarfile.TarInfo("disc1/OAS1_0001_MR1/RAW")
        member.type, member.linkname = tarfile.SYMTYPE, "/"
        archive.addfile(member)
    write_csv(place.table, {})
    with pytest.raises(InputError, match="'disc1/OAS1_0001_MR1/RAW', which is a link"):
        place.ingest()


def test_an_archive_of_something_else_is_told(place):
    write_disc(place.disc, {"IXI012-HH-1211-T1.nii.gz": b"x"})
    write_csv(place.table, {})
    with pytest.raises(InputError, match=r"No member of .*disc1/OAS1_0001_MR1/"):
        place.ingest()


def test_ingesting_again_touches_no_image(place):
    write_disc(place.disc, session_members(), session_members("OAS1_0002_MR1"))
    write_csv(place.table, {}, {"ID": "OAS1_0002_MR1"})
    place.ingest()
    images = {path: path.stat().st_mtime_ns for path in place.folder.rglob("*.nii.gz")}
    table = (place.folder / "scans.tsv").read_bytes()
    place.ingest()
    assert {path: path.stat().st_mtime_ns for path in place.folder.rglob("*.nii.gz")} == images
    assert (place.folder / "scans.tsv").read_bytes() == table


# --- the table ----------------------------------------------------------------------------------------------------


def test_the_table_is_read_alike_from_csv_and_xlsx(place, tmp_path):
    write_csv(place.table, {"CDR": ""}, {"ID": "OAS1_0002_MR1", "CDR": 2, "Educ": ""})
    book = openpyxl.Workbook()
    with place.table.open(newline="") as stream:
        for number, row in enumerate(csv.reader(stream)):
            cells = (
                row if number == 0 else row[:3] + [float(cell) if cell not in ("", "N/A") else None for cell in row[3:]]
            )
            book.active.append(cells)
    book.save(tmp_path / "table.bin")  # the name says nothing
    people, conflicts, nameless, _ = read_table(place.table)
    assert (people, conflicts, nameless, []) == read_table(tmp_path / "table.bin")
    assert people["OAS1_0001_MR1"]["dementia"] is None and people["OAS1_0002_MR1"]["dementia"] == 1
    assert people["OAS1_0001_MR1"]["delay_days"] is None


def test_the_scaling_factor_known_to_be_wrong_is_missing(place):
    write_csv(place.table, {"ID": "OAS1_0061_MR1", "ASF": 1.441}, {"ID": "OAS1_0062_MR1", "ASF": 1.441})
    people = read_table(place.table).known
    assert people["OAS1_0061_MR1"]["asf"] is None and people["OAS1_0062_MR1"]["asf"] == 1.441


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"CDR": "mild"}, r"row 2, column 'CDR' holds 'mild' where a number is expected"),
        ({"M/F": "W"}, r"row 2, column 'M/F' holds 'W'; M or F is expected"),
    ],
)
def test_a_cell_of_the_wrong_kind_is_named(place, row, message):
    write_csv(place.table, row)
    with pytest.raises(InputError, match=message):
        read_table(place.table)


def test_a_row_that_names_no_session_is_told(place):
    write_csv(place.table, {"ID": "OAS2_0001"})
    assert read_table(place.table).nameless == ["Row 2 of the table has the ID 'OAS2_0001', which names no session."]
