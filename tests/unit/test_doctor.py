"""What `neurocohort doctor` reports about machines that are fit, and about those that aren't, with the fix below each cross."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from doctor_helpers import ROOT, one
from neurocohort.cluster.doctor import software
from neurocohort.cluster.doctor.findings import BAD, GOOD, NONE, Finding, in_parallel, in_time, lines_of
from neurocohort.cluster.doctor.software import TorchBuild
from neurocohort.cluster.gpus import Gpu
from neurocohort.cluster.profiles import read_profile

# --- lines, and time ------------------------------------------------------------------------------------------------


def test_a_check_that_hangs_or_fails_is_a_cross_and_the_others_stand():
    def fails():
        raise RuntimeError("no such luck")

    findings = in_parallel(
        {"hangs": lambda: time.sleep(3600), "fails": fails, "is well": lambda: [Finding(GOOD, "is well", "yes")]}, 0.5
    )
    assert [finding.mark for finding in findings] == [BAD, BAD, GOOD]
    assert "no answer within 0.5 s" in findings[0].found and "no such luck" in findings[1].found
    assert all(finding.fix for finding in findings[:2])


def test_marks_are_plain_where_the_terminal_knows_no_others(monkeypatch):
    bad = Finding(BAD, "disk", "is full", "clear up.")
    assert lines_of(bad, 8)[0].startswith("✗ disk ")
    monkeypatch.setattr("neurocohort.cluster.doctor.findings.can_show", lambda text: False)
    first, second = lines_of(bad, 8)
    assert first.startswith("[XX] disk") and second.strip() == "fix: clear up."


def test_a_check_with_nothing_to_say_is_not_late_and_one_that_raises_is_told():
    def refuse():
        return in_time([lambda: read_profile("nowhere")], 5.0)

    assert in_parallel({"jobs": list}, 5.0) == []
    (finding,) = in_parallel({"jobs": refuse}, 5.0)
    assert finding.mark == BAD and "There is no profile nowhere" in finding.found


# --- software -------------------------------------------------------------------------------------------------------


def test_an_old_python_is_a_cross():
    assert "3.11 or newer" in one(software.check_python((3, 10, 2)), BAD).found
    assert one(software.check_python(), GOOD)


def test_packages_other_than_the_locks_are_named(tmp_path):
    lock = tmp_path / "requirements.txt"
    lock.write_text("# the lock\nnumpy==0.1.2\nno-such-package==1.0\n")
    found = one(software.check_packages(lock), BAD)
    assert "no-such-package" in found.found and "instead of 0.1.2" in found.found and "pip install" in found.fix
    assert one(software.check_packages(), GOOD), "the tests run in the lock's environment"


def test_torchs_build_is_read_without_importing_it():
    import torch

    assert software.torch_build() == TorchBuild(torch.__version__, torch.version.cuda or "")


GPU = [Gpu("NVIDIA A100", "550.54", 81920)]


@pytest.mark.parametrize(
    ("cuda", "seen", "usable", "devices", "on_cluster", "marks", "said"),
    [
        ("", [], 0, {"cpu"}, False, [GOOD, NONE], "`device: cpu` needs none"),
        ("", [], 0, {"auto"}, False, [GOOD, NONE], "uses the CPU"),
        ("", [], 0, {"auto"}, True, [BAD, NONE], "jobs on GPUs would find none"),
        ("13.0", [], 0, {"auto"}, True, [GOOD, NONE], "none is needed"),
        ("13.0", [], 0, {"cuda"}, False, [GOOD, BAD], "requires one"),
        ("13.0", [], 0, {"cuda"}, True, [GOOD, NONE], "none is needed"),
        ("13.0", GPU, 1, {"cuda"}, False, [GOOD, GOOD], "torch can use 1 of 1"),
        ("13.0", GPU, 0, {"auto"}, False, [GOOD, BAD], "driver 550.54, and torch can't use it"),
        ("", GPU, 0, {"auto"}, False, [BAD, BAD], "built for the CPU only: it uses no GPU"),
    ],
)
def test_a_missing_gpu_is_a_cross_only_where_a_job_would_miss_it(cuda, seen, usable, devices, on_cluster, marks, said):
    findings = software.judge_torch(TorchBuild("2.13.0", cuda), seen, usable, devices=devices, on_cluster=on_cluster)
    assert [finding.mark for finding in findings] == marks
    assert any(said in finding.found for finding in findings), findings
    assert all(bool(finding.fix) == (finding.mark == BAD) for finding in findings)


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
