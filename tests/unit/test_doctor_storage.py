"""What `neurocohort doctor` reports about a study's file system and its downloads."""

import re
from pathlib import Path

import pytest
from doctor_helpers import ROOT, one
from neurocohort.cluster.doctor import storage
from neurocohort.cluster.doctor.downloads import check_downloads
from neurocohort.cluster.doctor.findings import BAD, GOOD, NONE
from neurocohort.cluster.planning.cohorts import Archive
from neurocohort.cluster.planning.study import Study
from neurocohort.sources.sources import SourceFile
from neurocohort.study.configuration import read_checked
from servers import FileServer

# --- file system ----------------------------------------------------------------------------------------------------

MOUNTS = """\
20 1 254:0 / / rw - ext4 /dev/vda rw
21 20 0:20 / /dev/shm rw - tmpfs tmpfs rw
22 20 0:21 / /scratch rw - nfs4 server:/scratch rw
"""


@pytest.mark.parametrize(
    ("folder", "scheduler", "alone", "mark", "said"),
    [
        ("/scratch/me/study", "Slurm", False, GOOD, "nfs4 (/scratch), which nodes can share"),
        ("/tmp/study", "Slurm", False, BAD, "each machine has a /tmp of its own"),
        ("/tmp/study", "Slurm", True, GOOD, "the only node"),
        ("/tmp/study", "", False, GOOD, "ext4"),
        ("/dev/shm/study", "Grid Engine", False, BAD, "each machine has a /dev/shm of its own"),
        ("/home/me/study", "Slurm", False, GOOD, "if this machine exports it"),
    ],
)
def test_a_folder_that_nodes_cannot_see_is_a_cross(folder, scheduler, alone, mark, said):
    finding = one(storage.check_kind(Path(folder), scheduler, lambda: alone, MOUNTS), mark)
    assert said in finding.found and bool(finding.fix) == (mark == BAD)


def test_latency_and_locks_are_measured(tmp_path):
    found = one(storage.check_latency(tmp_path), GOOD).found
    assert re.search(r"[\d.]+ ms for a small file .* [\d.]+ ms at most of 12; locks work", found)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_to_is_a_cross(tmp_path):
    assert "no file can be written" in one(storage.check_latency(tmp_path / "absent"), BAD).found


def test_a_full_disk_is_a_cross_that_says_how_much_to_free(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = Study(read_checked([ROOT / "config" / "ixi.yaml"]), tmp_path)
    full = one(storage.check_room(study, 4, free_bytes=10**9), BAD)
    needed = float(re.search(r"still needs about ([\d.]+) GB", full.found)[1])
    assert 9 < needed < 30, "IXI's archive and its scans, twice, and what is made of them"
    assert float(re.match(r"free ([\d.]+) GB", full.fix)[1]) == pytest.approx(needed - 1, abs=0.06)
    assert one(storage.check_room(study, 4, free_bytes=10**12), GOOD)


QUOTA = """\
Disk quotas for user me (uid 1000):
     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace
server:/scratch 9000000* 10000000 11000000 0 100 500 0 0
/dev/sdb1 1 0 0 0 1 0 0 0
"""


def test_a_quota_that_is_too_small_is_a_cross():
    disk, files = storage.judge_quota(QUOTA, ("server:/scratch", "/scratch"), 5e9, 300)
    assert disk.mark == BAD and "you have 1.02 GB left" in disk.found and "5 GB are needed" in disk.found
    assert files.mark == GOOD and "you have 400 files left" in files.found
    lustre = "/lustre 500 0 1000 - 7 0 0 -\n"
    assert one(storage.judge_quota(lustre, ("/lustre",), 1e6, 10), BAD).found.startswith("you have 512 kB left")


# --- downloads ------------------------------------------------------------------------------------------------------


def archive(place: Path, name: str, *addresses: str, made_here: bool = False) -> Archive:
    file = SourceFile(name, name, addresses, 5, None, None, None)
    return Archive(file, place / "resources" / name, addresses, 5, made_here)


def test_hosts_that_answer_and_a_mirror_in_place_of_one_that_does_not(tmp_path):
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "scans.tar").write_bytes(b"bytes")
    with FileServer(tmp_path / "served") as server, FileServer(tmp_path) as empty:
        first = archive(tmp_path, "scans.tar", server.url("scans.tar"))
        mirrored = archive(tmp_path, "more.tar", empty.url("more.tar"), server.url("scans.tar"))
        findings = check_downloads([first, mirrored])
        assert server.sent <= 3 * 5, "one byte is asked for, and never a file"
    assert [finding.mark for finding in findings] == [GOOD, GOOD]
    assert findings[0].found == "127.0.0.1 has scans.tar"
    assert "instead of 127.0.0.1 (it answers 404" in findings[1].found


def test_an_unreachable_host_is_a_cross_with_the_reason_and_what_to_do(tmp_path):
    found = one(check_downloads([archive(tmp_path, "scans.tar", "http://127.0.0.1:9/scans.tar")]), BAD)
    assert "scans.tar can't be downloaded: 127.0.0.1 (" in found.found and "refused" in found.found
    assert "base_url" in found.fix


def test_a_host_that_keeps_silent_does_not_keep_the_doctor(tmp_path):
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/scans.tar"
        found = one(check_downloads([archive(tmp_path, "scans.tar", address)], answer_s=0.4), BAD)
    assert "no answer within 0.4 s" in found.found


def test_folders_and_synthetic_cohorts_need_no_host(tmp_path):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "scans.tar").write_bytes(b"bytes")
    here = archive(tmp_path, "scans.tar", f"{tmp_path}/mirror/scans.tar")
    lacking = archive(tmp_path, "more.tar", f"file://{tmp_path}/mirror/more.tar")
    made = archive(tmp_path, "IXI-T1.tar", "resources/synthetic/ixi/IXI-T1.tar", made_here=True)
    good, also_good, bad = check_downloads([here, made, lacking])
    assert good.found == f"{tmp_path}/mirror has scans.tar" and also_good.found == "the study itself makes IXI-T1.tar"
    assert bad.mark == BAD and "there is no such file" in bad.found


def test_files_that_are_here_need_no_host(tmp_path):
    there = archive(tmp_path, "scans.tar", "http://127.0.0.1:9/scans.tar")
    there.place.parent.mkdir()
    there.place.touch()
    assert one(check_downloads([there]), NONE).found == "every file is here already"
