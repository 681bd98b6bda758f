"""Slurm as the doctor, the plan and a run's messages see it."""

from dataclasses import replace
from functools import partial

import pytest
from doctor_helpers import ROOT, one
from neurocohort.cluster import slurm
from neurocohort.cluster.asking import Answer
from neurocohort.cluster.doctor.findings import BAD, GOOD, Finding
from neurocohort.cluster.doctor.jobs import submissions_of
from neurocohort.cluster.jobs import Job, Resources
from neurocohort.cluster.profiles import Limits, Profile, minutes, read_profile
from neurocohort.cluster.scheduler import MEMORY, TIME, Ending, Submission, fit_findings
from neurocohort.cluster.schedulers import queue_of

SINFO = """\
cpu|up|infinite|1|2|20000|(null)|idle|node1
cpu|up|infinite|2|16|128000|(null)|mixed|node[2-3]
gpu|up|12:00:00|1|32|256000|gpu:a100:4(S:0-1)|idle|node4
gpu|up|12:00:00|1|32|256000|gpu:v100:2|down*|node5
old|down|1-00:00:00|1|8|32000|(null)|drained|node6
"""


@pytest.fixture
def slurm_profile() -> Profile:
    return read_profile(str(ROOT / "profiles" / "slurm"))


def test_partitions_are_read_with_nodes_gpus_and_limits():
    found = slurm.read_partitions(SINFO)
    assert found["cpu"].nodes == {"idle": 1, "mixed": 2} and (found["cpu"].cpus, found["cpu"].memory_mb) == (16, 128000)
    assert found["gpu"].gpus == {"a100": 4, "v100": 2} and found["gpu"].limit_minutes == 720
    assert not found["old"].up
    assert "3 nodes (1 idle, 2 mixed), up to 16 CPUs and 128 GB, no GPU, no time limit" in found["cpu"].described()


def test_partitions_that_are_not_there_and_gpus_where_there_are_none(slurm_profile):
    partitions = slurm.read_partitions(SINFO)
    assert not slurm.name_findings(slurm_profile, partitions)
    missing = replace(slurm_profile, partitions={"cpu": Limits(), "a100": Limits(max_gpu=1)})
    found = one(slurm.name_findings(missing, partitions), BAD)
    assert found.name == "partition a100" and "cpu, gpu, old" in found.found and "partitions.yaml" in found.fix
    without = replace(slurm_profile, partitions={"cpu": Limits(max_gpu=1)})
    assert "those with GPUs are gpu" in one(slurm.name_findings(without, partitions), BAD).found


@pytest.mark.parametrize(("status_command", "mark"), [("", GOOD), ("squeue", GOOD), ("sacct", BAD)])
def test_a_profile_that_has_a_missing_accounting_asked_is_a_cross(slurm_profile, monkeypatch, status_command, mark):
    """A run would wait for ever; the profile of the checkout chooses when it starts."""
    assert slurm_profile.status_command == ""
    answers = {"sinfo": Answer(SINFO), "sacct": Answer("", warning="Slurm accounting storage is disabled")}
    monkeypatch.setattr(slurm, "ask", lambda program, *_, **__: answers[program])
    checks = slurm.Slurm().checks(replace(slurm_profile, status_command=status_command), required=True, gpu=False)
    (found,) = checks["accounting"]()
    assert found.mark == mark and ("slurm-status-command: squeue" in found.fix) == (mark == BAD)


def judged(profile: Profile, *submissions: Submission) -> list[Finding]:
    misfits = partial(slurm.job_misfits, partitions=slurm.read_partitions(SINFO), profile=profile)
    return fit_findings(submissions, misfits, lambda submission: submission.queue)


def test_jobs_that_no_node_can_take_are_reported_with_the_worst(slurm_profile):
    train = Submission("train", "gpu", Resources(gpu=1, mem_mb=8000, runtime=720))
    assert [finding.mark for finding in judged(slurm_profile, train)] == [GOOD]
    longer = train._replace(resources=train.resources._replace(runtime=1440))
    found = one(judged(slurm_profile, train, longer, longer._replace(resources=Resources(runtime=800))), BAD)
    assert "train requests 24 h, and gpu allows 12 h" in found.found
    assert "--set-resources train:runtime=720" in found.fix
    larger = Submission("pack", "cpu", Resources(threads=32, mem_mb=200000, runtime=10))
    said = [finding.found for finding in judged(slurm_profile, larger)]
    assert any("200 GB, and a node of cpu has 128 GB" in each for each in said)
    assert any("32 CPUs, and a node of cpu has 16" in each for each in said)
    other = replace(slurm_profile, gpu_model="h100")
    assert "of the model h100" in one(judged(other, train), BAD).found
    nowhere = one(judged(slurm_profile, train._replace(queue="")), BAD)
    assert "no partition of partitions.yaml accepts train" in nowhere.found
    assert not judged(slurm_profile, train._replace(queue="a100")), "the partition's name is reported already"


def test_jobs_that_request_the_same_are_judged_once(slurm_profile):
    resources = Resources(mem_mb=3000, runtime=176)
    scans = [Job("preprocess_batch", {"batch": batch}, resources=resources) for batch in ("000", "001")]
    submissions = submissions_of([*scans, Job("download", local=True)], slurm_profile)
    assert submissions == [Submission("preprocess_batch", "cpu", resources)]


def test_a_job_goes_to_the_partition_that_it_fits_best(slurm_profile):
    profile = replace(
        slurm_profile,
        partitions={"short": Limits(max_runtime=60), "long": Limits(max_runtime=2880), "gpu": Limits(max_gpu=2)},
    )
    assert queue_of(profile, Resources(runtime=10)) == "short"
    assert queue_of(profile, Resources(runtime=100)) == "long"
    assert queue_of(profile, Resources(runtime=10, gpu=1)) == "gpu"
    assert queue_of(profile, Resources(runtime=10, gpu=4)) == ""
    assert [minutes(text) for text in ("90", "1-00:00:00", "02:30:00", "30:00", "2d")] == [90, 1440, 150, 30, 2880]


def test_limits_of_partitions_yaml_are_read(tmp_path):
    (tmp_path / "config.yaml").write_text("executor: slurm\nslurm-partition-config: partitions.yaml\n")
    (tmp_path / "partitions.yaml").write_text(
        "partitions:\n  short: {max_runtime: '01:00:00', max_mem_mb: 8000, other: 1}\n"
    )
    assert read_profile(str(tmp_path)).partitions == {"short": Limits(max_runtime=60, max_mem_mb=8000)}


@pytest.mark.parametrize(
    ("scontrol", "sacct", "ending"),
    [
        (
            "JobState=TIMEOUT Reason=TimeLimit ExitCode=0:15 NodeList=n1",
            "",
            Ending("TIMEOUT, Reason TimeLimit, ExitCode 0:15, NodeList n1", TIME),
        ),
        ("", "OUT_OF_MEMORY|0:125|n2\n", Ending("OUT_OF_MEMORY, ExitCode 0:125, NodeList n2", MEMORY)),
        ("", "", Ending()),
    ],
)
def test_how_a_job_ended_is_read_from_slurm_or_its_accounting(monkeypatch, scontrol, sacct, ending):
    answers = {"scontrol": scontrol, "sacct": sacct}
    monkeypatch.setattr(slurm, "output_of", lambda program, *_: answers[program])
    assert slurm.Slurm().ending_of("7") == ending
