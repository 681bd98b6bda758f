"""One odd file never stops a cohort: it is a row of the exclusions with its reason, in bounded time and memory."""

import contextlib
import csv
import os
import resource
import socket
import subprocess
import sys

import pytest
from bad_files import good, write_bad_files, zipped
from neurocohort.errors import InputError, ScanExcluded
from neurocohort.files import read_table
from neurocohort.imaging.reading import read_scan
from neurocohort.sources.bids import ingest_bids
from neurocohort.sources.bids_plan import plan_bids
from neurocohort.sources.fingerprints import fingerprint_bids, fingerprint_table
from neurocohort.sources.table_plan import plan_table

KIND = "Odd file in the place of an image, a table or a folder"

ADDRESS_SPACE = 6 << 30  # the libraries' own included
SECONDS = 240
INGEST = "import sys; from neurocohort.sources.table import ingest_table; ingest_table(sys.argv[1], sys.argv[2])"


def test_each_odd_file_is_a_row_with_its_reason_and_the_others_go_on(tmp_path, record_property):
    expected = write_bad_files(tmp_path / "disk")
    assert len(expected) >= 40
    (tmp_path / "disk" / "good.nii.gz").write_bytes(zipped(good(9)))
    table = tmp_path / "scans.csv"
    with table.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["participant_id", "path"])
        rows.writerows([f"{number:02d}", path] for number, path in enumerate([*expected, "disk/good.nii.gz"]))
    plan_table(table), fingerprint_table(table)
    done = subprocess.run(
        [sys.executable, "-c", INGEST, table, tmp_path / "data"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE)),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    scans = read_table(tmp_path / "data" / "scans.tsv")
    assert scans["participant_id"].tolist() == [f"sub-{len(expected):02d}"]
    reasons = dict(read_table(tmp_path / "data" / "exclusions.tsv")[["participant_id", "reason"]].to_numpy())
    wrong = {
        path: reasons.get(f"sub-{number:02d}")
        for number, (path, word) in enumerate(expected.items())
        if word not in str(reasons.get(f"sub-{number:02d}"))
    }
    record_property("tries", len(expected))
    record_property("lost", len(wrong))
    assert not wrong


@pytest.mark.parametrize("kind", ["pipe", "zeros", "socket", "loop"])
def test_an_odd_file_in_the_place_of_a_table_is_refused_by_its_name(tmp_path, kind):
    table = tmp_path / "scans.tsv"
    if kind == "pipe":
        os.mkfifo(table)
    elif kind == "socket":
        with contextlib.chdir(tmp_path), socket.socket(socket.AF_UNIX) as bound:
            bound.bind("scans.tsv")
    else:
        table.symlink_to("/dev/zero" if kind == "zeros" else "scans.tsv")
    word = {"pipe": "is a named pipe", "zeros": "is a device", "socket": "a socket", "loop": "leads back to itself"}[
        kind
    ]
    with pytest.raises(InputError, match=rf"scans.tsv .*{word}"):
        plan_table(table)


def test_odd_folders_of_a_bids_tree_are_rows_and_the_others_go_on(tmp_path):
    source = tmp_path / "study"
    for name in ("01", "02", "03"):
        anat = source / f"sub-{name}" / "ses-1" / "anat"
        anat.mkdir(parents=True)
        (anat / f"sub-{name}_ses-1_T1w.nii.gz").write_bytes(zipped(good(int(name))))
    (source / "sub-02" / "ses-2").symlink_to("ses-2")
    (source / "sub-04").symlink_to("sub-04")
    (source / "sub-05").symlink_to("nowhere")
    (source / "sub-06").mkdir()
    (source / "sub-06" / "anat").symlink_to("anat")
    os.mkfifo(source / "sub-03" / "ses-1" / "anat" / "IM1")
    odd = os.fsencode(source) + b"/sub-\xff7/anat"
    os.makedirs(odd)
    with open(odd + b"/sub-\xff7_T1w.nii.gz", "wb") as stream:
        stream.write(zipped(good(7)))
    dicom = source / "sub-08" / "anat"
    dicom.mkdir(parents=True)
    os.mkfifo(dicom / "IM1")
    assert len(fingerprint_bids(source)) == 64
    plan_bids(source)
    ingest_bids(source, tmp_path / "data")
    assert read_table(tmp_path / "data" / "scans.tsv")["participant_id"].tolist() == ["sub-01", "sub-02", "sub-03"]
    excluded = read_table(tmp_path / "data" / "exclusions.tsv")
    reasons = dict(excluded[["participant_id", "reason"]].to_numpy())
    assert reasons["sub-02"] == "sub-02/ses-2 is a link that leads back to itself."
    assert reasons["sub-04"] == "sub-04 is a link that leads back to itself."
    assert "sub-05 is a link to a file that is not there" in reasons["sub-05"]
    assert reasons["sub-06"] == "sub-06/anat is a link that leads back to itself."
    assert any("can't be BIDS labels" in reason for name, reason in reasons.items() if "xff" in name or "udcff" in name)


@pytest.mark.parametrize("kind", ["pipe", "loop", "folder", "nowhere"])
def test_an_odd_table_of_one_participant_is_a_row_and_the_others_go_on(tmp_path, kind):
    source = tmp_path / "study"
    for name in ("01", "02"):
        (source / f"sub-{name}" / "anat").mkdir(parents=True)
        (source / f"sub-{name}" / "anat" / f"sub-{name}_T1w.nii.gz").write_bytes(zipped(good(int(name))))
    table = source / "sub-02" / "sub-02_sessions.tsv"
    if kind == "pipe":
        os.mkfifo(table)
    elif kind == "folder":
        table.mkdir()
    else:
        table.symlink_to(table.name if kind == "loop" else "nowhere")
    assert len(fingerprint_bids(source)) == 64
    ingest_bids(source, tmp_path / "data")
    assert read_table(tmp_path / "data" / "scans.tsv")["participant_id"].tolist() == ["sub-01"]
    (row,) = read_table(tmp_path / "data" / "exclusions.tsv").to_dict("records")
    assert row["participant_id"] == "sub-02" and row["reason"].startswith("sub-02_sessions.tsv is a")


def test_pipes_and_files_in_the_places_of_folders_are_rows(tmp_path):
    source = tmp_path / "study"
    (source / "sub-01" / "anat").mkdir(parents=True)
    (source / "sub-01" / "anat" / "sub-01_T1w.nii.gz").write_bytes(zipped(good(1)))
    for path in ("sub-02/anat", "sub-03", "sub-04/ses-1"):
        (source / path).parent.mkdir(exist_ok=True)
        os.mkfifo(source / path)
    (source / "sub-05").mkdir()
    (source / "sub-05" / "anat").touch()
    ingest_bids(source, tmp_path / "data")
    reasons = read_table(tmp_path / "data" / "exclusions.tsv")["reason"].tolist()
    expected = [
        f"{path} is a named pipe, and a folder is expected." for path in ("sub-02/anat", "sub-03", "sub-04/ses-1")
    ]
    assert reasons == [*expected, "sub-05/anat is a file, and a folder is expected."]


def test_a_folder_that_may_not_be_read_is_a_row(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may read every folder")
    source = tmp_path / "study"
    for name in ("01", "02"):
        (source / f"sub-{name}" / "anat").mkdir(parents=True)
        (source / f"sub-{name}" / "anat" / f"sub-{name}_T1w.nii.gz").write_bytes(zipped(good(int(name))))
    (source / "sub-02" / "anat").chmod(0)
    ingest_bids(source, tmp_path / "data")
    assert read_table(tmp_path / "data" / "exclusions.tsv")["reason"].tolist() == [
        "sub-02/anat can't be read: you have no permission."
    ]


def test_a_file_that_was_exchanged_after_the_ingest_is_read_within_limits_too(tmp_path):
    for path, word in write_bad_files(tmp_path / "disk").items():
        if path.endswith((".nii", ".nii.gz")):
            with pytest.raises(ScanExcluded) as excluded:
                read_scan(path)
            assert excluded.value.stage == "read", word
