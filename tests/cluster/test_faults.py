"""What befalls jobs on a cluster, on schedulers that really run: too little memory, too little time, preemption, a node that goes
down, Ctrl-C, and a main process that is killed. A training that met all of them ends with the weights of one that met none.

No test depends on how fast the machine is: before something happens to a training, the test stops it (SIGSTOP), so that it
can't end first.
"""

import re
import shlex
import signal
from pathlib import Path

import psutil
import pytest
import yaml
from checkouts import made_once
from neurocohort.files import sha256_of
from studies import STUDY

SOON = {"NEUROCOHORT_CHECKPOINT_SECONDS": "1"}
TRAINING = {
    "task": "regression",
    "target": "age",
    "cohorts": ["ixi"],
    "network": {"name": "sfcn", "channels": [4, 8, 16, 32], "soft_bins": False},
    "training": {"epochs": 240, "batch_size": 5, "learning_rate": 0.01},
}
FILES = (STUDY[0], "config/faults.yaml")
WEIGHTS = "results/experiments/{}/seed-1/model.safetensors"


@pytest.fixture(scope="module")
def faults(study, whole_run):
    """The study with preprocessed scans and trainings that are long enough to be stopped."""
    experiments = dict.fromkeys(("calm", "late", "troubled"), TRAINING)
    study.path("config/faults.yaml").write_text(yaml.safe_dump({"device": "auto", "experiments": experiments}))
    return study


def begin(faults, experiment: str, *arguments: str):
    return faults.start("--configfile", *FILES, *arguments, "--", WEIGHTS.format(experiment), **SOON)


@pytest.fixture(scope="module")
def calm_weights(faults, of_all_processes) -> str:
    """sha256 of the weights of an undisturbed training without a cluster; once for both schedulers."""

    def train(folder: Path) -> None:
        faults.checkout.snakemake("--quiet", "rules", "--configfile", *FILES, "--", WEIGHTS.format("calm"))
        (folder / "sha256").write_text(sha256_of(faults.path(WEIGHTS.format("calm"))))

    return (made_once(of_all_processes / "calm", train) / "sha256").read_text()


def test_too_little_memory_and_time_are_told_and_tried_again_with_more(faults, calm_weights):
    """At first, the selection gets too little memory, and the training too little time: one minute, then twenty."""
    if faults.cluster.name == "sge":
        faults.set_site(memory={"h_vmem": 0})
    memory = ["select_training:mem_mb=60 if attempt == 1 else 3000", "train:mem_mb=4000"]
    run = begin(faults, "late", "--set-resources", *memory, "train:runtime=1 if attempt == 1 else 20")
    run.job_of("train")
    stop_training(faults, run)
    assert run.wait() == 0, run.said
    errors = messages(run)
    short_of_memory = next(text for text in errors if text.startswith("select_training of late"))
    assert "needed more memory" in short_of_memory and "60 MB" in short_of_memory, short_of_memory
    assert "tried again, with more memory and time (attempt 2 of 3)" in short_of_memory
    short_of_time = next(text for text in errors if text.startswith("train of late (seed-1)"))
    assert "needed more time" in short_of_time and "1 minutes" in short_of_time, short_of_time
    assert "epoch" in short_of_time, "the end of the rule's own log"
    assert "continuing from checkpoints/" in log_of(faults, "late")
    assert sha256_of(faults.path(WEIGHTS.format("late"))) == calm_weights


def test_the_last_failure_names_the_command_that_goes_on(faults):
    """After the last attempt, the message has the scan or experiment, the scheduler's id, the log, and the next command."""
    run = begin(faults, "troubled", "--retries", "0", "--set-resources", "select_training:mem_mb=60")
    assert run.wait() == 1
    (error,) = messages(run)
    number = run.submitted()[-1]
    assert f"job {''.join(number)}" in error and "needed more memory" in error
    command = shlex.split(re.search(r"to continue: (.*)", error)[1])
    tried = faults.checkout.run(command[0], "--dry-run", *command[1:])
    assert re.search(r"rule select_training:\n(.+\n)*? +resources: .*mem_mb=120\b", tried.stdout + tried.stderr), error
    if faults.cluster.name == "sge":
        faults.set_site(memory={"h_vmem": 4000})


def test_ctrl_c_leaves_no_job_and_no_lock(faults):
    run = begin(faults, "troubled")
    run.job_of("train")
    stop_training(faults, run)
    run.press_ctrl_c()
    assert run.wait(90) != 0
    assert faults.cluster.jobs() == [], run.said
    assert not faults.path(".snakemake/neurocohort/run.json").exists()


def test_a_killed_main_process_is_followed_by_a_run_that_takes_over(faults):
    forget_log(faults)
    run = begin(faults, "troubled")
    job = run.job_of("train")
    wait_until_training(faults, run)
    stop_training(faults, run)
    run.kill()
    assert faults.cluster.state(job) in ("RUNNING", "r"), "the job goes on without it"
    again = begin(faults, "troubled")
    again.job_of("train", other_than=job)
    assert job not in faults.cluster.jobs(), "no second writer"
    assert "was killed" in again.said and "1 of its jobs were still there and are cancelled" in again.said
    again.press_ctrl_c()
    again.wait(90)


def test_preempted_and_bereft_of_its_node_the_training_ends_with_the_same_weights(faults, calm_weights):
    forget_log(faults)
    run = begin(faults, "troubled")
    job = run.job_of("train")
    wait_until_training(faults, run)
    stop_training(faults, run)
    forget_log(faults)
    faults.cluster.preempt(job)
    run.wait_for(lambda: faults.cluster.state(job) in ("RUNNING", "r", "Rr"), "the same job to be started again")
    wait_until_training(faults, run)
    stop_training(faults, run)
    forget_log(faults)
    faults.cluster.lose_node()
    run.wait_for(lambda: faults.cluster.state(job) not in ("RUNNING", "r"), "the scheduler to miss the node")
    faults.cluster.start_node()
    assert run.wait() == 0, run.said
    assert "continuing from checkpoints/" in log_of(faults, "troubled")
    assert sha256_of(faults.path(WEIGHTS.format("troubled"))) == calm_weights


def stop_training(faults, run) -> None:
    """Suspend the training once it has a checkpoint. Only a signal of the scheduler continues it."""
    run.wait_for(lambda: list(faults.path("checkpoints").glob("*.pt")), "the first checkpoint")
    for process in trainings_of(faults):
        process.send_signal(signal.SIGSTOP)


def trainings_of(faults) -> list[psutil.Process]:
    """Processes of `neurocohort train` in the study's folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        command = process.info["cmdline"] or []
        if process.info["cwd"] == str(faults.checkout.folder) and "train" in command[1:3] and "python" in command[0]:
            found.append(process)
    assert found, "no training runs"
    return found


def forget_log(faults) -> None:
    """Remove the training's log, so that new lines come from a new start."""
    faults.path("logs/train/troubled/seed-1.log").unlink(missing_ok=True)


def wait_until_training(faults, run) -> None:
    """Wait until the training has continued from its checkpoint for one epoch."""
    pattern = re.compile(r"continuing from checkpoints/.*\nepoch ", re.DOTALL)
    run.wait_for(lambda: pattern.search(log_of(faults, "troubled")), "the training to be taken up")


def log_of(faults, experiment: str) -> str:
    log = faults.path(f"logs/train/{experiment}/seed-1.log")
    return log.read_text() if log.exists() else ""


def messages(run) -> list[str]:
    """The message for each failed job."""
    return re.findall(r"^\w+ of [^\n]* failed\.\n(?:  .*\n?)+", run.said, re.MULTILINE)
