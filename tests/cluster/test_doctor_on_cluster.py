"""`neurocohort doctor` on a real Slurm and a real Grid Engine, with a profile that fits the cluster and one that doesn't.

The host has a counted GPU and no device: a job with a GPU therefore ends in a cross.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

FILES = {"slurm": "partitions.yaml", "sge": "site.yaml"}
WRONG = {
    "slurm": (
        {"partitions": {"cpu": {}, "a100": {"max_gpu": 8}}},
        "partition a100",
        "isn't there; this Slurm has cpu, gpu",
    ),
    "sge": ({"gpu_queue": "a100.q"}, "site.yaml gpu_queue", "a100.q isn't there; the queues are cpu.q, gpu.q"),
}
LATE, TRIES = (
    "no answer within",
    4,
)  # the doctor gives up after ten seconds: too early while other tests fill the machine
REFUSED = {"slurm": "invalid partition specified: a100", "sge": "a100.q"}


class Place:
    """A folder with a study and the cluster's profile, in which the doctor runs."""

    def __init__(self, folder: Path, cluster, repository: Path):
        self.folder, self.cluster = folder, cluster
        shutil.copytree(repository / "profiles" / cluster.name, folder / cluster.name)
        if cluster.name == "sge":  # CUDA reserves more than this host has
            self.change({"gpu_memory": {"h_vmem": 4000}})
        study = yaml.safe_load((repository / "config" / "config.yaml").read_text())
        for device in ("cpu", "auto"):
            (folder / f"{device}.yaml").write_text(yaml.safe_dump(study | {"device": device}))

    def change(self, values: dict) -> None:
        """Edit names in the profile."""
        path = self.folder / self.cluster.name / FILES[self.cluster.name]
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values))

    def doctor(self, *arguments: str) -> subprocess.CompletedProcess:
        environment = os.environ | self.cluster.environment
        command = [sys.executable, "-m", "neurocohort", "doctor", *arguments]
        for _ in range(TRIES):
            done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)
            assert "Traceback" not in done.stderr, done.stderr
            if LATE not in done.stdout:
                break
        return done


@pytest.fixture
def place(cluster, repository, tmp_path) -> Place:
    return Place(tmp_path, cluster, repository)


def test_a_cluster_that_fits_the_profile_has_no_cross(place):
    done = place.doctor("cpu.yaml")
    assert done.returncode == 0, done.stdout
    name = {"slurm": "Slurm", "sge": "Grid Engine"}[place.cluster.name]
    assert f"✓ {name} " in done.stdout
    assert f"this machine is the only node of {name}" in done.stdout
    assert re.search(r"✓ (partition cpu|queue cpu\.q) ", done.stdout)


def test_a_name_that_is_not_there_is_a_cross_with_those_that_are(place):
    changed, name, said = WRONG[place.cluster.name]
    place.change(changed)
    done = place.doctor("auto.yaml")
    assert done.returncode == 1
    assert re.search(rf"✗ {re.escape(name)} +{re.escape(said)}", done.stdout), done.stdout
    assert f"{place.cluster.name}/{FILES[place.cluster.name]}" in done.stdout, "the fix names the file"


def test_jobs_tell_what_they_see(place):
    done = place.doctor("auto.yaml", "--cluster", place.cluster.name, "--wait", "150")
    cpu = re.search(
        r"✓ CPU job +ran on (\S+) \d+ s after .* usable CPUs \((.*?)\); .*its file showed here after", done.stdout
    )
    assert cpu, done.stdout + done.stderr
    assert cpu[1] == socket.gethostname() and ("SLURM_CPUS" in cpu[2] if place.cluster.name == "slurm" else cpu[2])
    assert re.search(r"✓ GPU job +ran on .*CUDA_VISIBLE_DEVICES", done.stdout)
    assert re.search(r"✗ GPU job +was given a GPU and torch sees none: torch ", done.stdout)
    assert done.returncode == 1
    assert not list(place.folder.glob("neurocohort-doctor-*")) and not place.cluster.jobs()


def test_a_job_that_is_refused_is_told_in_the_schedulers_words(place):
    place.change(WRONG[place.cluster.name][0])
    done = place.doctor("auto.yaml", "--cluster", place.cluster.name, "--wait", "150")
    assert re.search(rf"✗ GPU job +isn't submitted: .*{re.escape(REFUSED[place.cluster.name])}", done.stdout), (
        done.stdout
    )
    assert "✓ CPU job" in done.stdout


def test_a_job_that_waits_is_cancelled_and_the_reason_told(place):
    """Another job has the only GPU."""
    held = {"slurm": ["sbatch", "--parsable", "--gres=gpu:1", "--output=/dev/null", "--wrap=sleep 600"]}
    asked = ["-l", "gpu=1", "-l", "h_vmem=500M"]
    held["sge"] = ["qsub", "-terse", "-b", "y", "-o", "/dev/null", "-e", "/dev/null", *asked, "sleep", "600"]
    job = place.cluster.run(*held[place.cluster.name]).strip()
    try:
        done = place.doctor("auto.yaml", "--cluster", place.cluster.name, "--wait", "45")
        reason = {"slurm": r"is pending \(\w+\)", "sge": "gpu"}[place.cluster.name]
        said = (
            rf"✗ GPU job +\d+ has not started within 45 s and is cancelled; the scheduler's reason: job \d+.*{reason}"
        )
        assert re.search(said, done.stdout), done.stdout
        assert set(place.cluster.jobs()) == {job}
    finally:
        place.cluster.cancel(job)
