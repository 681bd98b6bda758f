"""The profiles as users type them: in the repository's root, and for a study in another folder; and what they request."""

import os
import re
import sys
from pathlib import Path

import pytest
import yaml
from checkouts import Checkout

GPU_RULES = {"train", "predict", "predict_segmentation", "saliency"}
ONE_GPU = """
rule all:
    input:
        expand("{kind}{number}", kind=["gpu", "cpu"], number=[1, 2]),


rule with_gpu:
    output:
        "gpu{number}",
    resources:
        gpu=1,
    shell:
        "date +%s.%N > {output}; sleep 2; date +%s.%N >> {output}"


rule without_gpu:
    output:
        "cpu{number}",
    shell:
        "date +%s.%N > {output}; sleep 2; date +%s.%N >> {output}"
"""


def dry_run(checkout, *arguments) -> str:
    done = checkout.run("snakemake", "--dry-run", *arguments)
    return done.stdout + done.stderr


def resources_of(said: str) -> dict[str, str]:
    """Resources of each rule in a dry run, as printed."""
    return dict(
        re.findall(r"^ *(?:local)?(?:rule|checkpoint) (\w+):\n(?:.+\n)*? +resources: (.+)$", said, re.MULTILINE)
    )


@pytest.mark.parametrize("profile", ["slurm", "sge", "local-gpu"])
def test_profile_works_as_typed_and_for_a_study_in_another_folder(checkout, tmp_path, profile):
    assert "train" in resources_of(dry_run(checkout, "--profile", profile))
    arguments = ["--profile", profile, "--directory", str(tmp_path), "--configfile", "config/config.yaml"]
    assert "train" in resources_of(dry_run(checkout, *arguments))


def evaluated(checkout, tmp_path, profile: str, *arguments: str, **programs: str) -> str:
    """Output of Snakemake when it starts with ``profile`` and these ``programs`` of the scheduler (bodies of shell scripts)."""
    folder = tmp_path / "programs"
    folder.mkdir(exist_ok=True)
    for name, body in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    script = "import sys; from snakemake.cli import parse_args; print(vars(parse_args(sys.argv[1:])[1]))"
    path = f"PATH={folder}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}/usr/bin{os.pathsep}/bin"
    done = checkout.run("env", path, sys.executable, "-c", script, "--profile", profile, *arguments)
    return done.stdout


@pytest.mark.parametrize("typed", ["slurm", "profiles/slurm", "./slurm/"])
def test_files_that_a_profile_names_are_found_from_any_folder(checkout, tmp_path, typed):
    """With --directory, paths are relative to the study's folder."""
    found = evaluated(checkout, tmp_path, typed, "--directory", str(tmp_path))
    (path,) = re.findall(r"'slurm_partition_config': (?:PosixPath\()?'([^']+)'", found)
    assert path.startswith("/") and Path(path).resolve() == checkout.path("profiles/slurm/partitions.yaml")
    found = evaluated(checkout, tmp_path, typed.replace("slurm", "sge"), "--directory", str(tmp_path))
    for key in ("cluster_generic_submit_cmd", "cluster_generic_status_cmd", "cluster_generic_cancel_cmd", "jobscript"):
        (path,) = re.findall(rf"'{key}': '([^']+)'", found)
        assert path.startswith("/") and checkout.path("profiles/sge") == Path(path).resolve().parent, key


@pytest.mark.parametrize(
    ("sacct", "asked"),
    [
        ("exit 0", "sacct"),
        ("echo Slurm accounting storage is disabled >&2; exit 1", "squeue"),
        ("echo Slurm accounting storage is disabled >&2", "squeue"),
        ("exit 127", "squeue"),
    ],
)
def test_jobs_of_a_slurm_without_accounting_are_followed_by_squeue(checkout, tmp_path, sacct, asked):
    """sacct doesn't know these jobs, so the run would wait forever."""
    found = evaluated(checkout, tmp_path, "slurm", sacct=sacct, squeue="exit 0", sinfo="exit 0")
    assert f"'slurm_status_command': '{asked}'" in found


def test_what_a_killed_run_left_is_made_again_with_every_profile(checkout, tmp_path):
    """profiles/default sets this, and changes nothing of other profiles."""
    found = evaluated(checkout, tmp_path, "slurm")
    assert "'rerun_incomplete': True" in found and "'retries': 2" in found and "gpu_type" in found


@pytest.mark.parametrize(("device", "with_gpu"), [("auto", GPU_RULES), ("cpu", set())])
def test_gpus_model_is_asked_for_jobs_with_a_gpu_alone(checkout, tmp_path, device, with_gpu):
    """Slurm's plugin requests a GPU for every job with a GPU model."""
    path = tmp_path / "device.yaml"
    path.write_text(yaml.safe_dump({"device": device}))
    files = ["--configfile", "config/config.yaml", str(path)]
    found = resources_of(dry_run(checkout, "--profile", "slurm", *files, "--default-resources", "gpu_type=a100"))
    assert {rule for rule, line in found.items() if "gpu_model=a100" in line} == with_gpu
    assert {rule for rule, line in found.items() if "gpu=1" in line} == with_gpu


def test_gpu_model_for_every_job_is_refused(checkout):
    done = checkout.run(
        "snakemake", "--dry-run", "--profile", "slurm", "--default-resources", "gpu_model=a100", check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode and "Write gpu_type instead" in said, said


def test_local_gpu_runs_one_job_with_a_gpu_at_a_time_and_others_beside_it(repository, tmp_path):
    (tmp_path / "Snakefile").write_text(ONE_GPU)
    study = Checkout(tmp_path)
    study.run("snakemake", "--profile", str(repository / "local-gpu"), "--cores", "3")
    times = {name: list(map(float, (tmp_path / name).read_text().split())) for name in ("gpu1", "gpu2", "cpu1", "cpu2")}
    first, second = sorted((times["gpu1"], times["gpu2"]))
    assert first[1] <= second[0], "GPU jobs follow one another"
    assert any(start < first[1] for start, _ in (times["cpu1"], times["cpu2"])), "CPU jobs don't wait for them"
