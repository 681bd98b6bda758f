"""The message of a failed job: the cause that scheduler and logs point to, and the command that goes on."""

import pytest
from neurocohort.cluster.failures import FailedJob, describe, likely_cause, scan_of
from neurocohort.cluster.jobs import Resources
from neurocohort.cluster.scheduler import MEMORY, NODE, TIME, Ending

COMMAND = "snakemake --profile slurm --configfile config/study.yaml"
LOGS = {  # what the programs themselves print
    "memory": [
        "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 3.66 GiB for an array with shape (600, 1, 160, 192, 160)",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: 12 bytes.",
        "slurmstepd: error: Step 12.0 exceeded memory limit (1204 > 1000), being killed",
        "slurmstepd: error: Detected 1 oom_kill event in StepId=12.0. Some of the step tasks have been OOM Killed.",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
        "ImportError: libtorch_cpu.so: failed to map segment from shared object",
        "MemoryError",
    ],
    "time": ["slurmstepd: error: *** JOB 12 ON node CANCELLED AT 2026-11-26T00:00:00 DUE TO TIME LIMIT ***"],
    "GPU": [
        "error: `device: cuda` is set and no GPU is visible: CUDA_VISIBLE_DEVICES is not set, nvidia-smi is not installed",
        "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU",
    ],
    "disk": [
        "OSError: [Errno 28] No space left on device: 'results/ixi/packed/.node.12.images.npy'",
        "OSError: [Errno 122] Disk quota exceeded",
        "error: The disk of /scratch has 0.20 GB free, and 4.61 GB are needed for IXI-T1.tar: free some space.",
    ],
    "checksum": [
        "error: IXI-T1.tar could not be obtained. http://h/IXI-T1.tar: the md5 is 00aa, and 34901a is expected.",
        "error: disc1.tar.gz could not be obtained. http://h/d: the archive is cut short or damaged (Compressed file ended).",
    ],
    "input": ["error: results/ixi/split.tsv lacks the column(s) part; it has participant_id."],
    "": ["Traceback (most recent call last):\n  File x\nValueError: operands could not be broadcast together"],
}


def failed(tmp_path, text: str = "", **values) -> FailedJob:
    log = tmp_path / "rule.log"
    if text:
        log.write_text(text)
    return FailedJob(**({"rule": "train", "scan": "brain_age (seed-1)", "logs": [log]} | values))


@pytest.mark.parametrize(("cause", "line"), [(cause, line) for cause, lines in LOGS.items() for line in lines])
def test_cause_is_found_in_what_the_log_says(tmp_path, cause, line):
    assert likely_cause(failed(tmp_path, f"epoch 1/5\n{line}\n")) == cause


def test_schedulers_verdict_counts_before_the_log(tmp_path):
    job = failed(tmp_path, "MemoryError", ending=Ending("TIMEOUT", TIME))
    assert likely_cause(job) == TIME
    assert likely_cause(failed(tmp_path, "", ending=Ending("NODE_FAIL", NODE))) == NODE


def test_message_has_rule_scan_scheduler_log_cause_and_command(tmp_path):
    lines = "".join(f"epoch {number}/99\n" for number in range(50))
    ending, resources = Ending("OUT_OF_MEMORY, ExitCode 0:125", MEMORY), Resources(mem_mb=8000, runtime=720)
    text = describe(failed(tmp_path, lines, number="4711", ending=ending, resources=resources), COMMAND)
    assert text.splitlines()[0] == "train of brain_age (seed-1) failed."
    assert "job 4711, OUT_OF_MEMORY, ExitCode 0:125" in text
    assert "| epoch 30/99" in text and "| epoch 49/99" in text and "epoch 29/99" not in text, "the last 20 lines"
    assert "needed more memory than it requested (8000 MB)" in text
    assert text.splitlines()[-1] == f"  to continue: {COMMAND} --set-resources train:mem_mb=16000"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("snakemake --cores 2", "snakemake --cores 2 --set-resources train:mem_mb=16000"),
        ("snakemake --cores 2 -- 'a b'", "snakemake --cores 2 --set-resources train:mem_mb=16000 -- 'a b'"),
        (
            "snakemake --set-resources train:mem_mb=8000 pack:mem_mb=1 --cores 2",
            "snakemake --set-resources train:mem_mb=16000 pack:mem_mb=1 --cores 2",
        ),
    ],
)
def test_command_that_goes_on_is_one_that_snakemake_takes(tmp_path, typed, expected):
    job = failed(tmp_path, "MemoryError", resources=Resources(mem_mb=8000))
    assert describe(job, typed).splitlines()[-1] == f"  to continue: {expected}"


def test_message_of_an_attempt_that_is_followed_by_another_names_no_command(tmp_path):
    text = describe(failed(tmp_path, "MemoryError", attempt=1, attempts=3), COMMAND)
    assert "attempt 2 of 3" in text and "to continue" not in text


def test_message_without_any_log_says_so(tmp_path):
    text = describe(failed(tmp_path, ""), COMMAND)
    assert "no log was written" in text and "not known" in text and text.endswith(f"to continue: {COMMAND}")


def test_refused_submission_shows_the_schedulers_words(tmp_path):
    message = "SLURM sbatch failed. The error message was 'sbatch: error: invalid partition specified: cpus'."
    text = describe(failed(tmp_path, "", message=message), COMMAND)
    assert "invalid partition specified: cpus" in text and "the scheduler refused the job" in text


def test_log_of_a_terminals_progress_bar_and_of_broken_bytes_is_shown(tmp_path):
    log = tmp_path / "rule.log"
    log.write_bytes(b"10 %\r50 %\r100 %\n\xff\xfe broken\n\n")
    text = describe(FailedJob("download", "IXI-T1.tar", [log]), COMMAND)
    assert "| 100 %" in text and "10 %\r" not in text and "broken" in text


@pytest.mark.parametrize(
    ("wildcards", "words"),
    [
        ({"cohort": "ixi", "scan_id": "sub-IXI012_ses-1"}, "sub-IXI012_ses-1 (ixi)"),
        ({"experiment": "brain_age", "run": "seed-1"}, "brain_age (seed-1)"),
        ({"cohort": "ixi"}, "ixi"),
        ({}, ""),
    ],
)
def test_wildcards_are_told_in_words(wildcards, words):
    assert scan_of(wildcards) == words
