"""What a person gets from `download` when the network, the server or the file is not as it should be."""

import gzip
import hashlib
import io
import random
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from neurocohort.errors import InputError
from neurocohort.files import read_table
from neurocohort.sources import download as module
from neurocohort.sources.download import download
from neurocohort.sources.sources import SourceFile, read_source, source_table
from servers import Fault, FileServer

REPOSITORY = Path(__file__).resolve().parents[2]
QUICK = {"waits_s": (0.01, 0.01, 0.01, 0.01), "stall_s": 0.3}


def noise(count: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(count)


def tar_bytes(count: int = 3_000_000, seed: int = 1) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for number in range(3):
            member = tarfile.TarInfo(f"image-{number}")
            member.size = count // 3
            archive.addfile(member, io.BytesIO(noise(member.size, seed + number)))
    return stream.getvalue()


@pytest.fixture
def place(tmp_path):
    """A server with one archive, and where it should go."""
    (tmp_path / "served").mkdir()
    content = tar_bytes()
    (tmp_path / "served" / "scans.tar").write_bytes(content)
    with FileServer(tmp_path / "served") as server:
        yield Place(tmp_path, server, content)


class Place:
    def __init__(self, folder, server, content):
        self.folder, self.server, self.content = folder, server, content
        self.destination = folder / "resources" / "scans.tar"
        self.part = folder / "resources" / "scans.tar.part"
        self.record = folder / "resources" / "checksums.tsv"
        self.served = folder / "served" / "scans.tar"

    def get(self, *urls, destination=None, **changes):
        destination = destination or self.destination
        quick = {name: changes.pop(name, value) for name, value in QUICK.items()}
        addresses = urls or (self.server.url("scans.tar"),)
        file = SourceFile("scans", destination.name, addresses, **{"magic": "tar", **changes})
        download(file, destination, **quick)

    @property
    def md5(self):
        return hashlib.md5(self.content).hexdigest()

    def is_whole(self):
        left = {path.name for path in self.destination.parent.iterdir()} - {".checksums.tsv.lock", "checksums.tsv"}
        return self.destination.read_bytes() == self.content and left == {"scans.tar"}


# --- resuming -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_cut_transfer_goes_on_at_the_very_byte(place, seed):
    cut = random.Random(seed).randrange(1, len(place.content))
    place.server.faults = [Fault("cut", cut)]
    place.get()
    assert place.is_whole()
    assert place.server.requests[1].range == f"bytes={cut}-"
    assert place.server.sent == len(place.content)  # not a byte came twice


def test_a_run_that_gave_up_is_resumed_by_the_next_run(place):
    place.server.faults = [Fault("cut", 100_000)] + [Fault("status", 503)] * 4
    with pytest.raises(InputError, match=r"503.*100000 bytes are kept in scans.tar.part"):
        place.get()
    assert not place.destination.exists()
    assert place.part.stat().st_size == 100_000
    place.get()
    assert place.is_whole()
    assert place.server.requests[-1].range == "bytes=100000-"
    assert place.server.requests[-1].sent == len(place.content) - 100_000


def test_a_run_ended_between_the_last_byte_and_the_rename_asks_for_nothing_again(place, monkeypatch):
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        place.get()
    monkeypatch.undo()
    place.get()
    assert place.is_whole()
    assert len(place.server.requests) == 1


def test_a_run_that_was_killed_is_resumed_by_the_next_run(place):
    place.server.faults = [Fault("stall", 1_000_000)]
    run = "import sys; from neurocohort.sources.download import download; "
    run += "from neurocohort.sources.sources import SourceFile; "
    run += "download(SourceFile('scans', 'scans.tar', (sys.argv[1],), magic='tar'), sys.argv[2])"
    command = [sys.executable, "-c", run, place.server.url("scans.tar"), str(place.destination)]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 20
    while not (place.part.exists() and place.part.stat().st_size >= 900_000) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    kept = place.part.stat().st_size
    assert kept >= 900_000
    place.get()
    assert place.is_whole()
    assert place.server.requests[-1].range == f"bytes={kept}-"


def test_many_cuts_on_a_long_way_are_no_reason_to_give_up(place, monkeypatch):
    monkeypatch.setattr(module, "PROGRESS_BYTES", 200_000)
    place.server.faults = [Fault("cut", 250_000)] * 10
    place.get()
    assert place.is_whole()
    assert place.server.sent == len(place.content)


def test_a_file_that_changed_on_the_server_is_never_spliced(place):
    place.server.faults = [Fault("cut", 500_000)] + [Fault("status", 503)] * 4
    with pytest.raises(InputError):
        place.get()
    place.content = tar_bytes(seed=50)
    place.served.write_bytes(place.content)
    place.get()
    assert place.is_whole()
    assert place.server.requests[-1].status == 200


def test_without_an_etag_a_changed_length_starts_anew(place):
    place.server.etags = False
    place.server.faults = [Fault("cut", 500_000)] + [Fault("status", 503)] * 4
    with pytest.raises(InputError):
        place.get(magic=None)
    place.content = tar_bytes(count=2_400_000, seed=50)
    place.served.write_bytes(place.content)
    place.get(magic=None)
    assert place.is_whole()


def test_without_an_etag_a_splice_of_equal_length_is_caught_by_the_md5_and_fetched_anew(place):
    place.server.etags = False
    place.server.faults = [Fault("cut", 500_000)] + [Fault("status", 503)] * 4
    with pytest.raises(InputError):
        place.get()
    place.content = tar_bytes(seed=50)
    place.served.write_bytes(place.content)
    place.get(md5=place.md5)
    assert place.is_whole()
    assert [request.status for request in place.server.requests[-2:]] == [206, 200]


@pytest.mark.parametrize("kind", ["no_range", "wrong_range"])
def test_a_server_that_mishandles_ranges_still_gives_the_right_file(place, kind):
    place.server.faults = [Fault("cut", 500_000), Fault(kind)]
    place.get()
    assert place.is_whole()


def test_another_mirror_goes_on_with_the_bytes_of_the_first_when_an_md5_guards_them(place):
    (place.folder / "served" / "mirror.tar").write_bytes(place.content)
    place.server.faults = [Fault("cut", 700_000)] + [Fault("status", 500)] * 4
    place.get(place.server.url("scans.tar"), place.server.url("mirror.tar"), md5=place.md5)
    assert place.is_whole()
    assert place.server.sent - 4 * len(b"busy") == len(place.content)


def test_another_mirror_starts_from_the_first_byte_when_nothing_guards_them(place):
    (place.folder / "served" / "mirror.tar").write_bytes(place.content)
    place.server.faults = [Fault("cut", 700_000)] + [Fault("status", 500)] * 4
    place.get(place.server.url("scans.tar"), place.server.url("mirror.tar"))
    assert place.is_whole()
    assert place.server.requests[-1].range is None


# --- servers ------------------------------------------------------------------------------------------------------


def test_three_busy_answers_are_waited_out(place):
    place.server.faults = [Fault("status", 503)] * 3
    place.get()
    assert place.is_whole()
    assert [request.status for request in place.server.requests] == [503, 503, 503, 200]


def test_the_wait_that_a_server_asks_for_is_kept(place, monkeypatch):
    slept = []
    monkeypatch.setattr(module.time, "sleep", slept.append)
    place.server.faults = [Fault("status", 429, {"Retry-After": "7"})]
    place.get()
    assert slept == [7.0]


def test_a_stalled_stream_is_dropped_and_resumed(place):
    place.server.faults = [Fault("stall", 640_000)]
    place.get()
    assert place.is_whole()
    assert place.server.sent == len(place.content)


def test_a_redirect_is_followed(place):
    place.server.faults = [Fault("redirect", "/scans.tar")]
    place.get(place.server.url("moved.tar"))
    assert place.is_whole()


@pytest.mark.parametrize("kind", ["undeclared", "chunked"])
def test_a_stream_of_undeclared_length_is_taken(place, kind):
    place.server.faults = [Fault(kind)]
    place.get(md5=place.md5)
    assert place.is_whole()


def test_a_missing_file_is_not_asked_for_twice_and_the_mirror_is_used(place):
    place.get(place.server.url("gone.tar"), place.server.url("scans.tar"))
    assert place.is_whole()
    assert [request.status for request in place.server.requests] == [404, 200]


def test_every_address_is_named_with_its_reason_when_none_works(place):
    with pytest.raises(InputError) as caught:
        place.get(place.server.url("gone.tar"), "http://127.0.0.1:9/scans.tar", str(place.folder / "no.tar"))
    message = str(caught.value)
    assert "gone.tar: the server answers 404" in message
    assert "Connection refused" in message
    assert f"{place.folder / 'no.tar'} is not there" in message
    assert " at 0x" not in message


@pytest.mark.parametrize("magic", ["tar", None])
def test_a_web_page_with_status_200_is_called_a_web_page(place, magic):
    place.server.faults = [Fault("html")]
    with pytest.raises(InputError, match=r"a web page \(HTML\) instead of the file"):
        place.get(magic=magic)
    assert list(place.destination.parent.iterdir()) == []
    assert len(place.server.requests) == 1


def test_a_wrong_kind_of_file_is_given_up_after_its_first_bytes(place):
    place.served.write_bytes(noise(30_000_000))
    with pytest.raises(InputError, match="is not a tar archive"):
        place.get()
    assert place.server.sent < 20_000_000
    assert not place.destination.exists()


# --- verification -------------------------------------------------------------------------------------------------


def test_a_wrong_md5_is_refused_with_both_sums_and_nothing_stays(place):
    with pytest.raises(InputError, match=f"md5 is {place.md5}, and {'0' * 32} is expected"):
        place.get(md5="0" * 32)
    assert list(place.destination.parent.iterdir()) == []


def test_a_published_sha256_is_held_to_as_well(place):
    with pytest.raises(InputError, match=f"sha256 is {hashlib.sha256(place.content).hexdigest()}, and {'0' * 64} is"):
        place.get(sha256="0" * 64)
    place.get(sha256=hashlib.sha256(place.content).hexdigest())
    assert place.is_whole()


def test_a_mirror_with_a_damaged_file_is_passed_over(place):
    (place.folder / "served" / "bad.tar").write_bytes(tar_bytes(seed=9))
    place.get(place.server.url("bad.tar"), place.server.url("scans.tar"), md5=place.md5)
    assert place.is_whole()


def test_a_wrong_length_is_refused_before_the_body_is_taken(place):
    place.served.write_bytes(tar_bytes(30_000_000))
    with pytest.raises(InputError, match=rf"offers \d+ bytes, and {len(place.content)} are expected"):
        place.get(size_bytes=len(place.content))
    assert place.server.sent < 20_000_000


@pytest.mark.parametrize("magic", ["tar", "gzip"])
def test_a_truncated_archive_that_passes_its_length_is_never_trusted(place, magic):
    if magic == "gzip":
        place.served.write_bytes(gzip.compress(place.content, 1))
    place.server.faults = [Fault("shorten", 2_000_000)]
    with pytest.raises(InputError, match="cut short"):
        place.get(magic=magic)
    assert list(place.destination.parent.iterdir()) == []


def test_the_first_download_is_trusted_and_a_later_one_must_equal_it(place):
    place.get()
    (row,) = read_table(place.record).to_dict("records")
    sha256 = hashlib.sha256(place.content).hexdigest()
    assert row == {"file": "scans.tar", "bytes": len(place.content), "sha256": sha256}
    place.destination.unlink()
    place.served.write_bytes(other := tar_bytes(seed=50))
    with pytest.raises(InputError) as caught:
        place.get()
    assert sha256 in str(caught.value) and hashlib.sha256(other).hexdigest() in str(caught.value)
    assert not place.destination.exists()


def test_a_file_that_is_there_and_right_is_not_fetched_again(place):
    place.get(md5=place.md5)
    place.get(md5=place.md5)
    assert len(place.server.requests) == 1


def test_a_file_that_was_damaged_on_disk_is_fetched_again(place):
    place.get()
    place.destination.write_bytes(place.content[:-5000])
    place.get()
    assert place.is_whole()


def test_the_record_keeps_the_rows_of_other_files(place):
    place.get()
    place.get(destination=place.destination.with_name("again.tar"))
    assert list(read_table(place.record)["file"]) == ["again.tar", "scans.tar"]


def test_a_full_disk_is_told_before_the_first_byte(place, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(InputError, match=r"has 0.00 GB free, and 0.07 GB are needed for scans.tar"):
        place.get()
    assert list(place.destination.parent.iterdir()) == []


def test_two_downloads_of_one_file_do_not_write_into_each_other(place):
    place.destination.parent.mkdir()
    hold = f"import fcntl, sys; part = open({str(place.part)!r}, 'ab'); fcntl.flock(part, 2); "
    hold += "print('held', flush=True); sys.stdin.read()"
    other = subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    other.stdout.readline()
    with pytest.raises(InputError, match="being downloaded by another process"):
        place.get()
    other.communicate(b"")


# --- local files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["path", "file-url", "relative"])
def test_a_local_file_is_verified_and_linked(place, form, monkeypatch):
    monkeypatch.chdir(place.folder)
    url = {"path": str(place.served), "file-url": place.served.as_uri(), "relative": "served/scans.tar"}[form]
    place.get(url, md5=place.md5)
    assert place.destination.is_symlink()
    assert place.destination.readlink() == place.served
    assert place.is_whole()


def test_a_local_file_may_be_replaced_by_another_of_the_same_name(place):
    place.get(str(place.served))
    place.content = tar_bytes(seed=50)
    place.served.write_bytes(place.content)
    place.get(str(place.served))
    assert place.is_whole()


def test_a_truncated_local_archive_is_refused(place):
    place.served.write_bytes(place.content[:2_000_000])
    with pytest.raises(InputError, match="cut short"):
        place.get(str(place.served))


def test_a_wrong_local_file_is_refused(place):
    with pytest.raises(InputError, match=r"scans.tar: the md5 is"):
        place.get(str(place.served), md5="0" * 32)
    assert not place.destination.is_symlink()


def test_an_unknown_kind_of_address_is_refused(place):
    with pytest.raises(InputError, match="begins with s3://"):
        place.get("s3://bucket/scans.tar")


def test_progress_is_a_line_at_intervals_where_there_is_no_terminal(place, monkeypatch, capsys):
    monkeypatch.setattr("neurocohort.progress.DOWNLOAD_LINE_EVERY_S", 0.0)
    place.get()
    assert "scans.tar: 3.01M of 3.01MB (100 %)" in capsys.readouterr().err


# --- what is published --------------------------------------------------------------------------------------------


def test_the_shipped_source_tables_name_every_file_once():
    ixi, oasis1 = (read_source(source_table(name)) for name in ("ixi", "oasis1"))
    assert ixi.files["t1"].md5 == "34901a0593b41dd19c1a1f746eac2d58"
    assert not ixi.needs_agreement and oasis1.needs_agreement
    discs = [entry for key, entry in oasis1.files.items() if key.startswith("disc")]
    assert len({disc.name for disc in discs}) == 12
    assert sum(disc.size_bytes for disc in discs) == 16_220_974_217
    assert ixi.files["table"].addresses("/data/ixi/") == ("/data/ixi/IXI.xls",)
    assert (ixi.files["t1"].scans, sum(disc.scans for disc in discs)) == (581, 436)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: x\n", "the key homepage is absent"),
        ("title: 3\nhomepage: x\n", "title is 3: Input should be a valid string"),
        ("checksum: x\n", "the key checksum is not known"),
    ],
)
def test_a_wrong_source_table_names_the_key(tmp_path, text, message):
    path = tmp_path / "source.yaml"
    whole = {"title": "t", "homepage": "h", "licence": "l", "citation": "c", "needs_agreement": "false", "files": "{}"}
    given = {line.split(":")[0] for line in text.splitlines()}
    if "absent" not in message:
        text += "".join(f"{key}: {value}\n" for key, value in whole.items() if key not in given)
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_source(path)
