"""What `neurocohort doctor` says of machines that are fit, and of those that aren't, with the fix under each cross."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from neurocohort.cluster.doctor import cluster_jobs, grid_engine, slurm, software, storage
from neurocohort.cluster.doctor.downloads import check_downloads
from neurocohort.cluster.doctor.findings import BAD, GOOD, NONE, Finding, in_time, lines_of, side_by_side
from neurocohort.cluster.doctor.jobs import Asked, asked_of
from neurocohort.cluster.dry_run import Job
from neurocohort.cluster.gpus import Gpu
from neurocohort.cluster.planning.cohorts import Archive
from neurocohort.cluster.planning.study import Study
from neurocohort.cluster.profiles import Profile, minutes, queue_of, read_profile
from neurocohort.sources.sources import SourceFile
from neurocohort.study.configuration import read_checked
from servers import FileServer

ROOT = Path(__file__).resolve().parents[2]
SINFO = """\
cpu|up|infinite|1|2|20000|(null)|idle|node1
cpu|up|infinite|2|16|128000|(null)|mixed|node[2-3]
gpu|up|12:00:00|1|32|256000|gpu:a100:4(S:0-1)|idle|node4
gpu|up|12:00:00|1|32|256000|gpu:v100:2|down*|node5
old|down|1-00:00:00|1|8|32000|(null)|drained|node6
"""
COMPLEXES = """\
#name               shortcut   type      relop requestable consumable default  urgency
gpu                 gpu        INT       <=    YES         YES        0        0
h_vmem              h_vmem     MEMORY    <=    YES         YES        0        0
load_avg            la         DOUBLE    >=    NO          NO         0        0
"""
QUEUE = """\
qname                 all.q
pe_list               smp make,[node1=mpi]
slots                 8,[node1=64], \\
                      [node2=16]
h_rt                  24:00:00,[@gpus=72:00:00]
"""


def one(findings: list[Finding], mark: str) -> Finding:
    """The only finding with ``mark``."""
    (found,) = [finding for finding in findings if finding.mark == mark]
    return found


@pytest.fixture
def slurm_profile() -> Profile:
    return read_profile(str(ROOT / "profiles" / "slurm"))


@pytest.fixture
def sge_profile() -> Profile:
    return read_profile(str(ROOT / "profiles" / "sge"))


# --- lines, and time ------------------------------------------------------------------------------------------------


def test_a_check_that_hangs_or_fails_is_a_cross_and_the_others_stand():
    def fails():
        raise RuntimeError("no such luck")

    findings = side_by_side(
        {"hangs": lambda: time.sleep(3600), "fails": fails, "is well": lambda: [Finding(GOOD, "is well", "yes")]}, 0.5
    )
    assert [finding.mark for finding in findings] == [BAD, BAD, GOOD]
    assert "no answer within 0.5 s" in findings[0].found and "no such luck" in findings[1].found
    assert all(finding.fix for finding in findings[:2])


def test_marks_are_plain_where_the_terminal_knows_no_others(monkeypatch):
    bad = Finding(BAD, "disk", "is full", "clear up.")
    assert lines_of(bad, 8)[0].startswith("✗ disk ")
    monkeypatch.setattr("neurocohort.cluster.doctor.findings.shows", lambda text: False)
    first, second = lines_of(bad, 8)
    assert first.startswith("[XX] disk") and second.strip() == "fix: clear up."


# --- software -------------------------------------------------------------------------------------------------------


def test_an_old_python_is_a_cross():
    assert "3.11 or newer" in one(software.check_python((3, 10, 2)), BAD).found
    assert one(software.check_python(), GOOD)


def test_packages_other_than_the_locks_are_named(tmp_path):
    lock = tmp_path / "requirements.txt"
    lock.write_text("# the lock\nnumpy==0.1.2\nno-such-package==1.0\n")
    found = one(software.check_packages(lock), BAD)
    assert "no-such-package" in found.found and "in place of 0.1.2" in found.found and "pip install" in found.fix
    assert one(software.check_packages(), GOOD), "the tests run in the lock's environment"


def test_torchs_build_is_read_without_importing_it():
    import torch

    assert software.torch_build() == (torch.__version__, torch.version.cuda or "")


GPU = [Gpu("NVIDIA A100", "550.54", 81920)]


@pytest.mark.parametrize(
    ("cuda", "seen", "usable", "devices", "on_cluster", "marks", "said"),
    [
        ("", [], 0, {"cpu"}, False, [GOOD, NONE], "`device: cpu` needs none"),
        ("", [], 0, {"auto"}, False, [GOOD, NONE], "takes the CPU"),
        ("", [], 0, {"auto"}, True, [BAD, NONE], "jobs on GPUs would find none"),
        ("13.0", [], 0, {"auto"}, True, [GOOD, NONE], "none is needed"),
        ("13.0", [], 0, {"cuda"}, False, [GOOD, BAD], "insists on one"),
        ("13.0", [], 0, {"cuda"}, True, [GOOD, NONE], "none is needed"),
        ("13.0", GPU, 1, {"cuda"}, False, [GOOD, GOOD], "torch can use 1 of 1"),
        ("13.0", GPU, 0, {"auto"}, False, [GOOD, BAD], "driver 550.54, and torch can't use it"),
        ("", GPU, 0, {"auto"}, False, [BAD, BAD], "built for the CPU alone: it uses no GPU"),
    ],
)
def test_a_missing_gpu_is_a_cross_only_where_a_job_would_miss_it(cuda, seen, usable, devices, on_cluster, marks, said):
    findings = software.judge_torch("2.13.0", cuda, seen, usable, devices=devices, on_cluster=on_cluster)
    assert [finding.mark for finding in findings] == marks
    assert any(said in finding.found for finding in findings), findings
    assert all(bool(finding.fix) == (finding.mark == BAD) for finding in findings)


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
    assert disk.mark == BAD and "1.02 GB are left to you" in disk.found and "5 GB are needed" in disk.found
    assert files.mark == GOOD and "400 files are left" in files.found
    lustre = "/lustre 500 0 1000 - 7 0 0 -\n"
    assert one(storage.judge_quota(lustre, ("/lustre",), 1e6, 10), BAD).found.startswith("512 kB are left")


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
    assert "in place of 127.0.0.1 (it answers 404" in findings[1].found


def test_an_unreachable_host_is_a_cross_with_the_reason_and_what_to_do(tmp_path):
    found = one(check_downloads([archive(tmp_path, "scans.tar", "http://127.0.0.1:9/scans.tar")]), BAD)
    assert "scans.tar can't be had: 127.0.0.1 (" in found.found and "refused" in found.found
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


# --- Slurm ----------------------------------------------------------------------------------------------------------


def test_partitions_are_read_with_nodes_gpus_and_limits():
    found = slurm.read_partitions(SINFO)
    assert found["cpu"].nodes == {"idle": 1, "mixed": 2} and (found["cpu"].cpus, found["cpu"].memory_mb) == (16, 128000)
    assert found["gpu"].gpus == {"a100": 4, "v100": 2} and found["gpu"].limit_minutes == 720
    assert not found["old"].up
    assert "3 nodes (1 idle, 2 mixed), up to 16 CPUs and 128 GB, no GPU, no time limit" in found["cpu"].described()


def test_partitions_that_are_not_there_and_gpus_where_there_are_none(slurm_profile):
    from dataclasses import replace

    partitions = slurm.read_partitions(SINFO)
    assert not slurm.judge_names(slurm_profile, partitions)
    missing = replace(slurm_profile, partitions={"cpu": {}, "a100": {"max_gpu": 1}})
    found = one(slurm.judge_names(missing, partitions), BAD)
    assert found.name == "partition a100" and "cpu, gpu, old" in found.found and "partitions.yaml" in found.fix
    without = replace(slurm_profile, partitions={"cpu": {"max_gpu": 1}})
    assert "those with GPUs are gpu" in one(slurm.judge_names(without, partitions), BAD).found


@pytest.mark.parametrize(("status_command", "mark"), [("", GOOD), ("squeue", GOOD), ("sacct", BAD)])
def test_a_profile_that_has_a_missing_accounting_asked_is_a_cross(slurm_profile, monkeypatch, status_command, mark):
    """A run would wait for ever; the profile of the checkout chooses when it starts."""
    from dataclasses import replace

    assert slurm_profile.status_command == ""
    monkeypatch.setattr(slurm, "ask", lambda *command: SimpleNamespace(fault=""))
    monkeypatch.setattr(slurm, "slurm_accounting", lambda: False)
    (found,) = slurm.check_accounting(replace(slurm_profile, status_command=status_command))
    assert found.mark == mark and ("slurm-status-command: squeue" in found.fix) == (mark == BAD)


def test_jobs_that_no_node_can_take_are_told_with_the_worst(slurm_profile):
    from dataclasses import replace

    partitions = slurm.read_partitions(SINFO)
    train = Asked("train", "gpu", {"threads": 1, "gpu": 1, "mem_mb": 8000, "runtime": 720})
    assert [finding.mark for finding in slurm.judge_jobs([train], partitions, slurm_profile)] == [GOOD]
    longer = train._replace(amounts=train.amounts | {"runtime": 1440})
    found = one(slurm.judge_jobs([train, longer], partitions, slurm_profile), BAD)
    assert "train asks for 24 h, and gpu allows 12 h" in found.found
    assert "--set-resources train:runtime=720" in found.fix
    larger = Asked("pack", "cpu", {"threads": 32, "gpu": 0, "mem_mb": 200000, "runtime": 10})
    said = [finding.found for finding in slurm.judge_jobs([larger], partitions, slurm_profile)]
    assert any("200 GB, and a node of cpu has 128 GB" in each for each in said)
    assert any("32 CPUs, and a node of cpu has 16" in each for each in said)
    other = replace(slurm_profile, defaults={"gpu_type": "h100"})
    assert "of the model h100" in one(slurm.judge_jobs([train], partitions, other), BAD).found
    nowhere = train._replace(queue="")
    assert (
        "no partition of partitions.yaml takes train"
        in one(slurm.judge_jobs([nowhere], partitions, slurm_profile), BAD).found
    )


def test_jobs_that_ask_for_the_same_are_judged_once(slurm_profile):
    asked = {"threads": 1, "gpu": 0, "mem_mb": 3000, "runtime": 176}
    scans = [Job("preprocess_batch", {"cohort": "ixi", "batch": batch}, asked=asked) for batch in ("000", "001")]
    assert asked_of([*scans, Job("download")], slurm_profile) == [Asked("preprocess_batch", "cpu", asked)]


def test_a_job_goes_to_the_partition_that_it_fits_best(slurm_profile):
    from dataclasses import replace

    profile = replace(
        slurm_profile,
        partitions={"short": {"max_runtime": "01:00:00"}, "long": {"max_runtime": "2-00:00:00"}, "gpu": {"max_gpu": 2}},
    )
    assert queue_of(profile, {"runtime": 10}) == "short"
    assert queue_of(profile, {"runtime": 100}) == "long"
    assert queue_of(profile, {"runtime": 10, "gpu": 1}) == "gpu"
    assert queue_of(profile, {"runtime": 10, "gpu": 4}) == ""
    assert [minutes(text) for text in ("90", "1-00:00:00", "02:30:00", "30:00", "2d")] == [90, 1440, 150, 30, 2880]


# --- Grid Engine ----------------------------------------------------------------------------------------------------


def answers(**texts: str):
    """A stand-in for asking qconf and qhost: by the option that is asked with."""

    def asking(*command: str, **_):
        key = command[1].strip("-") if len(command) > 1 else command[0]
        return grid_engine.ask("printf", "%s", texts.get(key, ""))

    return asking


SMP = "pe_name smp\nallocation_rule    $pe_slots\n"


def judged(profile: Profile, needs_gpu: bool = True, complexes: str = COMPLEXES, **site: object) -> list[Finding]:
    queues = {"all.q": grid_engine.read_queue(QUEUE)}
    whole = grid_engine.read_site(profile) | site
    asking = answers(sp=SMP, F="hc:gpu=1.000000")
    resources = grid_engine.read_resources(complexes)
    return grid_engine.judge_site(profile, whole, queues, resources, ["smp"], gpu=needs_gpu, asking=asking)


def test_a_queue_is_read_with_its_largest_values():
    queue = grid_engine.read_queue(QUEUE)
    assert (queue.name, queue.slots, queue.limit_minutes) == ("all.q", 64, 72 * 60)
    assert queue.environments == {"smp", "make", "mpi"}


@pytest.mark.parametrize(
    ("site", "name", "said"),
    [
        ({"queue": "long.q"}, "queue", "long.q isn't there; the queues are all.q"),
        ({"gpu": "cuda={gpus}"}, "gpu", "cuda is no resource that jobs can ask for; there are gpu"),
        ({"gpu": "la={gpus}"}, "gpu", "la is no resource"),
        ({"gpu": "gpu={gpus},gpu_type=a100"}, "gpu", "gpu_type is no resource"),
        ({"gpu_slots": "threads"}, "gpu_slots", "each slot of a job takes a gpu (consumable YES)"),
        ({"parallel_environment": "orte"}, "parallel_environment", "`qconf -spl` has smp"),
        ({"memory": {"tmem": 100}}, "memory", "tmem is no resource"),
        ({"memory_per": "job"}, "memory_per", "h_vmem counts for each slot"),
        ({"project": "brains"}, "project", "brains isn't there"),
    ],
)
def test_names_of_site_yaml_that_are_not_there(sge_profile, site, name, said):
    found = [finding for finding in judged(sge_profile, **site) if finding.mark == BAD]
    assert any(finding.name == f"site.yaml {name}" and said in finding.found for finding in found), found
    assert all("site.yaml" in finding.fix for finding in found)


def test_a_gpu_that_counts_for_the_whole_job(sge_profile):
    complexes = COMPLEXES.replace("<=    YES         YES        0", "<=    YES         JOB        0", 1)
    assert any(
        "consumable JOB" in finding.found for finding in judged(sge_profile, complexes=complexes, gpu_slots="gpus")
    )
    assert all(finding.mark == GOOD for finding in judged(sge_profile, complexes=complexes, gpu_slots="threads"))


def test_site_yaml_that_fits_is_a_tick_and_needs_no_gpu_for_a_study_without(sge_profile):
    assert all(finding.mark == GOOD for finding in judged(sge_profile))
    assert all(
        finding.mark == GOOD for finding in judged(sge_profile, needs_gpu=False, gpu_parallel_environment="none")
    )


def test_a_queue_that_is_too_short_is_told(sge_profile):
    queues = {"all.q": grid_engine.read_queue(QUEUE)}
    site = grid_engine.read_site(sge_profile)
    train = Asked("train", "", {"threads": 1, "gpu": 0, "mem_mb": 8000, "runtime": 100 * 60})
    found = one(grid_engine.judge_jobs([train], queues, site, 64000, sge_profile), BAD)
    assert "train asks for 4.2 d, and any queue allows 3 d" in found.found
    elsewhere = site | {"queue": "gone.q"}
    assert not grid_engine.judge_jobs([train], queues, elsewhere, 64000, sge_profile), (
        "the queue's name is told already"
    )
    wide = Asked("pack", "", {"threads": 100, "gpu": 0, "mem_mb": 100000, "runtime": 10})
    said = " ".join(finding.found for finding in grid_engine.judge_jobs([wide], queues, site, 64000, sge_profile))
    assert "100 slots by smp, and any queue has 64 on a host" in said and "the largest host has 64 GB" in said


def test_an_unknown_key_of_site_yaml_is_told_in_submit_pys_words(tmp_path, sge_profile):
    import shutil
    from dataclasses import replace

    shutil.copytree(sge_profile.folder, tmp_path / "sge")
    with (tmp_path / "sge" / "site.yaml").open("a") as stream:
        stream.write("gpu_que: gpu.q\n")
    said = grid_engine.read_site(replace(sge_profile, folder=tmp_path / "sge"))
    assert "has the key gpu_que; expected gpu" in said


def test_the_memory_of_the_largest_host_is_read():
    table = "HOSTNAME ARCH NCPU NSOC NCOR NTHR LOAD MEMTOT MEMUSE SWAPTO SWAPUS\nglobal - - - - - - - - - -\n"
    assert grid_engine.read_memory_mb(
        table + "n1 lx 2 1 2 2 0.1 1.5G 1G 0 0\nn2 lx 2 1 2 2 0.1 512.0M 1G 0 0\n"
    ) == pytest.approx(1610.6, abs=0.1)


# --- jobs that were sent --------------------------------------------------------------------------------------------

SAW = {
    "began": 105.0,
    "written": 110.0,
    "host": "node1",
    "cpus": 1,
    "cpus_granted": {"NSLOTS": "1"},
    "memory_limit_bytes": 2_000_000_000,
    "cuda_visible_devices": "0",
    "package": str(ROOT / "workflow" / "neurocohort"),
    "internet": False,
    "torch": "2.13.0",
    "cuda": "13.0",
    "gpus": ["NVIDIA A100"],
    "torch_import_s": 2.5,
}


@pytest.mark.parametrize(
    ("kind", "changed", "said"),
    [
        ("gpu", {}, None),
        ("gpu", {"gpus": [], "cuda": None}, "is built for the CPU alone"),
        ("gpu", {"gpus": [], "cuda_visible_devices": None}, "the scheduler gave it none"),
        ("gpu", {"gpus": []}, "the node's driver doesn't take it"),
        ("cpu", {"gpus": []}, None),
        ("cpu", {"package": "/home/other/neurocohort"}, "took the package from /home/other/neurocohort"),
        ("cpu", {"torch": None, "torch_error": "ImportError: libcudart"}, "can't import torch: ImportError: libcudart"),
    ],
)
def test_what_a_job_saw_is_judged(kind, changed, said):
    sent = cluster_jobs.Sent(kind, "7", submitted=100.0, shown=110.5, saw=SAW | changed)
    told = cluster_jobs.described(sent)
    assert told.startswith("ran on node1 5 s after it was submitted; 1 CPUs to use (NSLOTS 1); memory limit 2 GB")
    assert "its file showed here after 0.5 s" in told
    findings = cluster_jobs.judge_sight(sent)
    assert bool(findings) == (said is not None)
    assert said is None or (said in findings[0].found and findings[0].fix)


def test_a_clock_that_goes_ahead_is_no_negative_delay():
    sent = cluster_jobs.Sent("cpu", "7", submitted=100.0, shown=103.0, saw=SAW)
    assert "clock is 7 s ahead" in cluster_jobs.described(sent)


# --- the whole ------------------------------------------------------------------------------------------------------


def doctor(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    """Run it in ``folder``; there is no scheduler unless the PATH has one."""
    environment = os.environ | {"SLURM_CONF": "/nowhere", "SGE_ROOT": "/nowhere"} | variables
    command = [sys.executable, "-m", "neurocohort", "doctor", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def demo_folder(tmp_path) -> Path:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_bytes((ROOT / "config" / "config.yaml").read_bytes())
    return tmp_path


def test_a_fit_machine_without_a_scheduler_has_no_cross(demo_folder):
    done = doctor(demo_folder)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("✓ Python", "✓ packages", "✓ torch", "– GPU", "– scheduler", "✓ latency", "✓ disk", "✓ downloads"):
        assert line in done.stdout
    assert "✓ configuration" in done.stdout and "(study demo)" in done.stdout


def test_an_ascii_terminal_gets_plain_marks(demo_folder):
    done = doctor(demo_folder, PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and "[ok] Python" in done.stdout and done.stdout.isascii()


def test_an_unknown_key_is_a_cross_and_what_needs_no_study_is_told(demo_folder):
    study = demo_folder / "config" / "config.yaml"
    study.write_text(study.read_text().replace("\nsplit:", "\nsplitt:"))
    done = doctor(demo_folder)
    assert done.returncode == 1
    assert "✗ configuration" in done.stdout and "did you mean `split`?" in done.stdout
    assert "✓ latency" in done.stdout and "disk" not in done.stdout


def test_without_a_study_the_machine_alone_is_looked_at(tmp_path):
    done = doctor(tmp_path)
    assert done.returncode == 0 and "– configuration" in done.stdout and "✓ packages" in done.stdout


def test_a_scheduler_that_was_asked_for_and_is_not_there_is_a_cross(demo_folder):
    done = doctor(demo_folder, "--cluster", "slurm")
    assert done.returncode == 1
    assert re.search(r"✗ Slurm +doesn't answer: sinfo .*\n +fix: log in to a machine of the cluster", done.stdout)


def test_a_profile_that_is_broken_is_a_cross_and_the_rest_is_told(demo_folder):
    (demo_folder / "slurm").mkdir()
    (demo_folder / "slurm" / "config.yaml").write_text("executor: slurm\ncores: many\n")
    done = doctor(demo_folder, "--cluster", "slurm")
    assert done.returncode == 1 and "✗ profile" in done.stdout and "has cores: 'many'" in done.stdout
    assert "✓ latency" in done.stdout


def test_an_unknown_cluster_is_refused_in_a_sentence(tmp_path):
    done = doctor(tmp_path, "--cluster", "pbs")
    assert done.returncode == 2 and "--cluster is 'pbs'; expected one of slurm, sge" in done.stderr


def test_a_profile_that_is_no_profile_is_refused_in_a_sentence(tmp_path):
    from neurocohort.errors import InputError

    with pytest.raises(InputError, match="There is no profile slurmm: expected a folder"):
        read_profile("slurmm")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"executor": "kubernetes"}))
    with pytest.raises(InputError, match="has the executor `kubernetes`"):
        read_profile(str(tmp_path))


def test_a_check_with_nothing_to_say_is_not_late_and_one_that_raises_is_told():
    def refuse():
        return in_time([lambda: read_profile("nowhere")], 5.0)

    assert side_by_side({"jobs": list}, 5.0) == []
    (finding,) = side_by_side({"jobs": refuse}, 5.0)
    assert finding.mark == BAD and "There is no profile nowhere" in finding.found
