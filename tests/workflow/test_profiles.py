"""The profiles as they are typed: from the repository's root, for a study in another folder, and what they ask for."""

import re

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
    """By rule, the line of its resources in a dry run."""
    return dict(
        re.findall(r"^ *(?:local)?(?:rule|checkpoint) (\w+):\n(?:.+\n)*? +resources: (.+)$", said, re.MULTILINE)
    )


@pytest.mark.parametrize("profile", ["slurm", "sge", "local-gpu"])
def test_profile_works_as_typed_and_for_a_study_in_another_folder(checkout, tmp_path, profile):
    assert "train" in resources_of(dry_run(checkout, "--profile", profile))
    arguments = ["--profile", profile, "--directory", str(tmp_path), "--configfile", "config/config.yaml"]
    assert "train" in resources_of(dry_run(checkout, *arguments))


@pytest.mark.parametrize(("device", "with_gpu"), [("auto", GPU_RULES), ("cpu", set())])
def test_gpus_model_is_asked_for_jobs_with_a_gpu_alone(checkout, tmp_path, device, with_gpu):
    """Slurm's plugin would ask a GPU for every job that has a model."""
    path = tmp_path / "device.yaml"
    path.write_text(yaml.safe_dump({"device": device}))
    files = ["--configfile", "config/config.yaml", str(path)]
    found = resources_of(dry_run(checkout, "--profile", "slurm", *files, "--default-resources", "gpu_model=a100"))
    assert {rule for rule, line in found.items() if "gpu_model=a100" in line} == with_gpu
    assert {rule for rule, line in found.items() if "gpu=1" in line} == with_gpu


def test_local_gpu_runs_one_job_with_a_gpu_at_a_time_and_others_beside_it(repository, tmp_path):
    (tmp_path / "Snakefile").write_text(ONE_GPU)
    study = Checkout(tmp_path)
    study.run("snakemake", "--profile", str(repository / "local-gpu"), "--cores", "3")
    times = {name: list(map(float, (tmp_path / name).read_text().split())) for name in ("gpu1", "gpu2", "cpu1", "cpu2")}
    first, second = sorted((times["gpu1"], times["gpu2"]))
    assert first[1] <= second[0], "GPU jobs follow one another"
    assert any(start < first[1] for start, _ in (times["cpu1"], times["cpu2"])), "CPU jobs don't wait for them"
