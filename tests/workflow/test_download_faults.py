"""Downloads from a local server with the real layout of both sources, with one fault at a time: the right file or message.

Run with -s for a table of what each fault cost in requests and bytes.
"""

import hashlib
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from neurocohort.sources.sources import read_source, source_table
from neurocohort.synthetic.archives import write_ixi_archives, write_oasis1_archives
from servers import Fault, FileServer

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
# Paths on the server, the same as in the published addresses.
ADDRESSES = {
    "ixi": {"t1": "brain-development/downloads/IXI/IXI-T1.tar", "table": "brain-development/downloads/IXI/IXI.xls"},
    "oasis1": {
        "disc1": "data/oasis_cross-sectional_disc1.tar.gz",
        "table_csv": "frs/download.php/6348/oasis_cross-sectional.csv",
    },
}


@pytest.fixture(scope="module")
def served(tmp_path_factory, shared_data):
    """Synthetic scans with the real file names, the real IXI.xls, and a synthetic table with the columns of OASIS-1."""
    made, folder = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("served")
    write_ixi_archives(made / "ixi", participants=8, seed=1, spacing_mm=4.0)
    write_oasis1_archives(made / "oasis1", participants=10, seed=1, spacing_mm=4.0)
    shutil.copy(shared_data / "IXI.xls", made / "ixi" / "IXI.xls")
    for source, addresses in ADDRESSES.items():
        for address in addresses.values():
            (folder / address).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(made / source / Path(address).name, folder / address)
    return folder


class Downloads:
    """The download command, with a source table whose addresses point to the server of this test."""

    def __init__(self, folder: Path, server: FileServer):
        self.folder, self.server = folder, server

    def table(self, source: str, *, md5: str | None = None) -> Path:
        table = yaml.safe_load(source_table(source).read_text())
        table["files"] = {key: table["files"][key] for key in ADDRESSES[source]}
        for key, entry in table["files"].items():
            address = ADDRESSES[source][key]
            content = (self.server.folder / address).read_bytes()
            entry["urls"] = [self.server.url(address)]
            if "size_bytes" in entry:
                entry["size_bytes"] = len(content)
            if "md5" in entry:
                entry["md5"] = md5 or hashlib.md5(content).hexdigest()
        path = self.folder / f"{source}.yaml"
        path.write_text(yaml.safe_dump(table))
        return path

    def run(
        self, source: str, key: str, *, md5: str | None = None, stall_seconds: float = 60
    ) -> subprocess.CompletedProcess:
        table = self.table(source, md5=md5)
        command = [sys.executable, "-m", "neurocohort", "download", "--source", table, "--key", key]
        command += ["--destination", self.destination(source, key), "--stall-seconds", stall_seconds]
        return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)

    def destination(self, source: str, key: str) -> Path:
        return self.folder / "resources" / source / Path(ADDRESSES[source][key]).name

    def original(self, source: str, key: str) -> bytes:
        return (self.server.folder / ADDRESSES[source][key]).read_bytes()

    def is_right(self, source: str, key: str) -> bool:
        path = self.destination(source, key)
        return path.is_file() and path.read_bytes() == self.original(source, key)

    def record(self, fault: str, source: str, key: str, ending: str) -> None:
        """Print a row of a table; -s shows it."""
        size = len(self.original(source, key))
        requests = ", ".join(f"{request.range or 'all'}: {request.sent}" for request in self.server.requests)
        print(f"{fault:28} {source} {key:9} {size:9} bytes; sent {self.server.sent:9} ({requests}); {ending}")


@pytest.fixture
def downloads(served, tmp_path):
    with FileServer(served) as server:
        yield Downloads(tmp_path, server)


ARCHIVES = [("ixi", "t1"), ("oasis1", "disc1")]


@pytest.mark.parametrize(("source", "key"), [*ARCHIVES, ("ixi", "table"), ("oasis1", "table_csv")])
def test_a_good_server_gives_the_file_once(downloads, source, key):
    assert downloads.run(source, key).returncode == 0
    assert downloads.is_right(source, key)
    assert downloads.server.sent == len(downloads.original(source, key))
    downloads.record("none", source, key, "right")


@pytest.mark.parametrize(("source", "key"), ARCHIVES)
def test_a_connection_cut_at_a_random_byte_goes_on_there(downloads, source, key):
    size = len(downloads.original(source, key))
    downloads.server.faults = [Fault("cut", random.Random(source).randrange(1, size))]
    assert downloads.run(source, key).returncode == 0
    assert downloads.is_right(source, key) and downloads.server.sent == size, "no byte was sent twice"
    downloads.record("cut at a random byte", source, key, "right")


@pytest.mark.parametrize(("source", "key"), ARCHIVES)
def test_a_second_run_goes_on_where_the_first_gave_up(downloads, source, key):
    size, first = len(downloads.original(source, key)), 30_000
    downloads.server.faults = [Fault("cut", first)] + [Fault("status", 404)] * 9
    assert downloads.run(source, key).returncode == 2
    downloads.server.faults = []
    before = downloads.server.sent
    assert downloads.run(source, key).returncode == 0 and downloads.is_right(source, key)
    body = downloads.server.requests[-1].sent
    assert body == size - first, "the second run asked for the rest alone"
    downloads.record(
        "second run after a cut", source, key, f"right; the second run took {downloads.server.sent - before}"
    )


def test_a_wrong_checksum_is_refused_with_both_sums(downloads):
    run = downloads.run("ixi", "t1", md5="0" * 32)
    assert run.returncode == 2 and "0" * 32 in run.stderr and not downloads.destination("ixi", "t1").exists()
    downloads.record("wrong checksum", "ixi", "t1", run.stderr.strip().splitlines()[-1][:200])


def test_without_a_published_checksum_a_later_download_must_equal_the_first(downloads):
    assert downloads.run("oasis1", "disc1").returncode == 0
    record = downloads.destination("oasis1", "disc1").with_name("checksums.tsv")
    record.write_text(
        record.read_text().replace(hashlib.sha256(downloads.original("oasis1", "disc1")).hexdigest(), "0" * 64)
    )
    downloads.destination("oasis1", "disc1").unlink()
    run = downloads.run("oasis1", "disc1")
    assert run.returncode == 2 and "checksums.tsv" in run.stderr
    downloads.record("another file than the first", "oasis1", "disc1", run.stderr.strip().splitlines()[-1][:200])


@pytest.mark.parametrize(("source", "key"), ARCHIVES)
def test_a_web_page_with_status_200_is_named_as_one(downloads, source, key):
    downloads.server.faults = [Fault("html")] * 9
    run = downloads.run(source, key)
    assert run.returncode == 2 and "web page" in run.stderr and not downloads.destination(source, key).exists()
    downloads.record("HTML with status 200", source, key, run.stderr.strip().splitlines()[-1][:200])


@pytest.mark.parametrize(("source", "key"), ARCHIVES[:1])  # the waits between attempts take about 20 s
def test_three_times_503_are_waited_out(downloads, source, key):
    downloads.server.faults = [Fault("status", 503)] * 3
    assert downloads.run(source, key).returncode == 0 and downloads.is_right(source, key)
    assert [request.status for request in downloads.server.requests] == [503, 503, 503, 200]
    downloads.record("503 three times", source, key, "right")


@pytest.mark.parametrize(("source", "key"), ARCHIVES)
def test_a_truncated_archive_that_passes_its_length_is_refused(downloads, source, key):
    content = downloads.original(source, key)
    downloads.server.faults = [Fault("shorten", len(content) * 2 // 3)] * 9
    run = downloads.run(source, key)
    assert run.returncode == 2 and not downloads.destination(source, key).exists()
    downloads.record("truncated archive", source, key, run.stderr.strip().splitlines()[-1][:200])


@pytest.mark.parametrize(("source", "key"), ARCHIVES)
def test_a_redirect_is_followed(downloads, source, key):
    downloads.server.faults = [Fault("redirect", downloads.server.url(ADDRESSES[source][key]))]
    assert downloads.run(source, key).returncode == 0 and downloads.is_right(source, key)
    downloads.record("redirect", source, key, "right")


def test_a_stalled_stream_is_dropped_and_taken_up(downloads):
    size = len(downloads.original("ixi", "t1"))
    downloads.server.faults = [Fault("stall", 40_000)]
    assert downloads.run("ixi", "t1", stall_seconds=1).returncode == 0 and downloads.is_right("ixi", "t1")
    assert downloads.server.sent == size
    downloads.record("stalled stream", "ixi", "t1", "right")


def test_the_published_tables_lead_to_these_names():
    for source, addresses in ADDRESSES.items():
        files = read_source(source_table(source)).files
        for key, address in addresses.items():
            assert any(f"/{address}" in url for url in files[key].urls), f"{source} {key}"
