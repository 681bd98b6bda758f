"""Archives and tables that lie: each is refused with its name, or its one odd member is a row; what was read is on record."""

import gzip
import hashlib
import io
import resource
import shutil
import subprocess
import sys
import tarfile

import openpyxl
import pandas as pd
import pytest
from bad_archives import ARCHIVES, PEOPLE
from bad_cohort_tables import ixi
from bad_files import bomb, good, zipped
from neurocohort.errors import InputError
from neurocohort.files import read_table, write_table
from neurocohort.report import inputs
from neurocohort.report.study import Folders, read_study
from neurocohort.sources.archives import StrictTarInfo, stream_members
from neurocohort.sources.inputs import read_inputs
from neurocohort.sources.ixi import ingest_ixi
from neurocohort.sources.verify import Expected
from neurocohort.sources.whole_tables import why_table_is_cut
from neurocohort.synthetic.archives import write_ixi_archives
from outcomes import what_is_wrong

KIND = "Archive or table that lies"

ADDRESS_SPACE = 6 << 30
INGEST = (
    "import sys; from neurocohort.sources.ixi import ingest_ixi; ingest_ixi([sys.argv[1]], sys.argv[2], sys.argv[3])"
)


@pytest.fixture(scope="module")
def synthetic_ixi(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    write_ixi_archives(folder, participants=6, seed=1, spacing_mm=8.0)
    return folder


@pytest.fixture
def store(synthetic_ixi, tmp_path):
    return shutil.copytree(synthetic_ixi, tmp_path / "resources" / "ixi")


def test_each_bad_archive_is_refused_by_its_name_or_its_odd_member_is_a_row(tmp_path, record_property):
    assert len(ARCHIVES) >= 20
    table = tmp_path / "IXI.csv"
    table.write_bytes(ixi(*({"IXI_ID": number} for number in PEOPLE)))
    wrong = {}
    for number, (name, (make, must)) in enumerate(ARCHIVES.items()):
        archive = tmp_path / str(number) / "IXI-T1.tar"
        archive.parent.mkdir()
        archive.write_bytes(make())
        folder = archive.parent / "data"
        if problem := what_is_wrong(lambda data, archive=archive: ingest_ixi([archive], table, data), folder, must):
            wrong[name] = problem
        images = {path.parent for path in archive.parent.rglob("*.nii.gz")}
        if astray := [path for path in images if folder not in path.parents]:
            wrong[name] = f"images in {astray}"
    record_property("tries", len(ARCHIVES))
    record_property("lost", len(wrong))
    assert not wrong, "\n".join(f"{name}: {problem}" for name, problem in wrong.items())


def add(archive, name: str, content: bytes) -> None:
    with tarfile.open(archive, "a") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))


def sparse_member(name: str, size: int) -> bytes:
    """A member of the old GNU form that claims ``size`` bytes, of which the archive has none."""
    member = tarfile.TarInfo(name)
    member.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[386 : 386 + 96] = bytes(96)
    header[386:410] = b"%011o\0%011o\0" % (size, 0)
    header[483:495] = b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * 32)
    return bytes(header)


def test_a_sparse_member_of_20_gigabytes_is_a_row_and_the_others_go_on(store, tmp_path):
    archive = store / "IXI-T1.tar"
    whole = archive.read_bytes().rstrip(b"\0")
    with tarfile.open(archive) as tar:
        last = tar.getmembers()[-1]
        end = last.offset_data + -(-last.size // 512) * 512
    add_to = archive.read_bytes()[:end] + sparse_member("IXI900-HH-1234-T1.nii.gz", 20 << 30) + bytes(10240)
    assert len(whole) <= end
    archive.write_bytes(add_to)
    done = subprocess.run(
        [sys.executable, "-c", INGEST, archive, store / "IXI.xls", tmp_path / "data"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE)),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert len(read_table(tmp_path / "data" / "scans.tsv")) >= 3
    (reason,) = read_table(tmp_path / "data" / "exclusions.tsv").query("participant_id == 'sub-IXI900'")["reason"]
    assert reason.startswith("The archive's member has 21474836480 bytes")


@pytest.mark.parametrize("content", [bomb(1024), zipped(good()) + bomb(1024)], ids=["alone", "after an image"])
def test_a_bomb_in_an_archive_is_a_row_and_the_others_go_on(store, tmp_path, content):
    add(store / "IXI-T1.tar", "IXI901-HH-1234-T1.nii.gz", content)
    ingest_ixi([store / "IXI-T1.tar"], store / "IXI.xls", tmp_path / "data")
    assert "sub-IXI901" in read_table(tmp_path / "data" / "exclusions.tsv")["participant_id"].tolist()
    assert len(read_table(tmp_path / "data" / "scans.tsv")) >= 3


def long_name(size: int) -> bytes:
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, size
    return member.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (zipped(long_name(1 << 33) + bytes(64 << 20)), "a member's header of 8589934592 bytes"),
        (zipped(bytes(10240)) + bomb(512), "continues after its end"),
        (zipped(tarfile.TarInfo("a").tobuf())[:-4], "cut short or damaged"),
        (tarfile.TarInfo("a").tobuf(), "no proper end"),
        (gzip.compress(bytes(10240), mtime=0)[:-8] + bytes(8), "cut short or damaged"),
    ],
    ids=["endless name", "bomb behind the end", "cut", "no end", "wrong sum"],
)
def test_an_archive_that_never_ends_or_ends_too_early_is_refused(tmp_path, content, word):
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(InputError, match=word):
        list(stream_members(tmp_path / "a.tar.gz", lambda name: True))


def test_an_archive_of_countless_members_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("neurocohort.sources.archives.MOST_MEMBERS", 50)
    (tmp_path / "a.tar.gz").write_bytes(zipped(StrictTarInfo("a").tobuf() * 100 + bytes(1024)))
    with pytest.raises(InputError, match="unpacks to more than a cohort"):
        list(stream_members(tmp_path / "a.tar.gz", lambda name: True))


# --- what was read -------------------------------------------------------------------------------------------------

IXI = {"cohorts": {"ixi": {"source": "ixi", "modalities": ["T1w"]}}}


def sha256(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def record(store) -> None:
    rows = [{"file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)} for path in store.glob("IXI*")]
    write_table(store / "checksums.tsv", pd.DataFrame(rows))


def exchange_two_members(archive) -> None:
    """The names of two images change places: size and every checksum in the archive stay right."""
    content = archive.read_bytes()
    with tarfile.open(archive) as tar:
        first, second = [member.name.encode() for member in tar.getmembers()][:2]
        places = [member.offset for member in tar.getmembers()][:2]
    edited = bytearray(content)
    for place, name in zip(places, (second, first), strict=True):
        edited[place : place + 100] = name.ljust(100, b"\0")
        header = edited[place : place + 512]
        edited[place + 148 : place + 156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * 32)
    archive.write_bytes(edited)


def test_an_archive_that_was_exchanged_after_its_download_stops_the_run_with_both_sums(store, tmp_path):
    record(store)
    archive = store / "IXI-T1.tar"
    before = sha256(archive)
    ingest_ixi([archive], store / "IXI.xls", tmp_path / "data")
    exchange_two_members(archive)
    assert sha256(archive) != before
    with pytest.raises(InputError) as stopped:
        ingest_ixi([archive], store / "IXI.xls", tmp_path / "other")
    assert before in str(stopped.value) and sha256(archive) in str(stopped.value)
    assert not (tmp_path / "other" / "scans.tsv").exists()


def test_the_report_states_the_sum_of_what_was_read_and_not_of_what_lies_there_later(store, tmp_path):
    record(store)
    archive, data = store / "IXI-T1.tar", tmp_path / "data"
    before = sha256(archive)
    ingest_ixi([archive], store / "IXI.xls", data / "ixi")
    exchange_two_members(archive)
    found = inputs.input_archives(read_study(Folders(tmp_path / "results", data), IXI))
    assert {one.file: (one.sha256, one.recorded) for one in found} == {
        "resources/ixi/IXI-T1.tar": (before, True),
        "resources/ixi/IXI.xls": (sha256(store / "IXI.xls"), True),
    }
    assert {*read_inputs(data / "ixi")} == {"IXI-T1.tar", "IXI.xls"}


# --- tables without a length ---------------------------------------------------------------------------------------

CSV = b"ID,M/F,Age\nOAS1_0001_MR1,F,74\nOAS1_0002_MR1,F,55\nOAS1_0003_MR1,M,45\n"


def test_a_table_that_is_cut_at_any_byte_is_not_trusted(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(CSV)
    assert why_table_is_cut(path, "csv") is None
    line_ends = {place + 1 for place, byte in enumerate(CSV) if byte == ord("\n")}
    for length in {*range(1, len(CSV))} - line_ends:
        path.write_bytes(CSV[:length])
        assert "cut short or damaged" in str(why_table_is_cut(path, "csv"))


@pytest.mark.parametrize("magic", ["xls", "xlsx"])
def test_a_workbook_that_is_cut_is_not_trusted(synthetic_ixi, tmp_path, magic):
    path = tmp_path / f"table.{magic}"
    if magic == "xls":
        shutil.copy(next(synthetic_ixi.glob("*.xls")), path)
        if not path.read_bytes().startswith(bytes.fromhex("d0cf11e0")):
            pytest.skip("the synthetic spreadsheet is no OLE workbook")
    else:
        book = openpyxl.Workbook()
        for number in range(200):
            book.active.append([f"OAS1_{number:04d}_MR1", number])
        book.save(path)
    content = path.read_bytes()
    assert why_table_is_cut(path, magic) is None
    for length in range(len(content) // 10, len(content), len(content) // 10):
        path.write_bytes(content[:length])
        assert "cut short or damaged" in str(why_table_is_cut(path, magic))


def test_a_download_of_unknown_length_is_held_to_the_content(tmp_path):
    expected = Expected(tmp_path / "t.csv", "csv")
    (tmp_path / "t.csv").write_bytes(CSV[:-2])
    assert "has no end" in expected.why_wrong(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes(CSV)
    assert expected.why_wrong(tmp_path / "t.csv") is None
