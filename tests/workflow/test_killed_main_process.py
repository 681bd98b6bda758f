"""A main process that is killed or interrupted while its jobs run: the same command continues the run."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from checkouts import Checkout
from shell_scheduler import shell_scheduler

pytestmark = pytest.mark.slow

SNAKEFILE = """
import sys

sys.path.insert(0, {workflow!r})
from snakemake_support.run import watch

watch(workflow)


rule made:
    output:
        "made",
    params:
        value=config.get("value", 1),
        seconds=config.get("seconds", 4),
    shell:
        "echo ran >> ran; touch {{output}}; sleep {{params.seconds}}; echo {{params.value}} > {{output}}"
"""
RECORD = ".snakemake/neurocohort/run.json"
LONG = 400  # seconds: the job runs until a test ends it


@pytest.fixture
def study(repository, tmp_path):
    """A study with one job, in a folder with the default profile of the checkout, like in a clone."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(workflow=str(repository / "workflow")))
    shutil.copytree(repository / "profiles" / "default", tmp_path / "profiles" / "default")
    yield Study(tmp_path)
    for process in working_in(tmp_path):
        with contextlib.suppress(psutil.Error):
            process.kill()


class Study(Checkout):
    """``command``: what the user types. ``on_cluster``: whether jobs go to a scheduler or run on this machine."""

    def __init__(self, folder):
        super().__init__(folder)
        self.options = {True: shell_scheduler(folder), False: ["--cores", "1"]}

    def start(self, *config: str, on_cluster: bool) -> subprocess.Popen:
        """Start a run and return its main process as soon as the job has started."""
        path = os.pathsep.join([str(Path(sys.executable).parent), str(self.folder), os.environ["PATH"]])
        command = ["snakemake", *self.options[on_cluster], "--config", "run=1", *config]
        with open(self.path("said"), "w") as said:
            main = subprocess.Popen(
                command,
                cwd=self.folder,
                env=os.environ | {"PATH": path},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        wait_until(self.path("ran").exists, "the job to begin")
        return main

    def again(self, *config: str, on_cluster: bool, check: bool = True) -> str:
        path = f"{self.folder}{os.pathsep}{os.environ['PATH']}"
        command = ["env", f"PATH={Path(sys.executable).parent}{os.pathsep}{path}", "snakemake"]
        done = self.run(*command, *self.options[on_cluster], "--config", "run=1", *config, check=check)
        return done.stdout + done.stderr

    def jobs(self) -> list[psutil.Process]:
        """Processes in the study's folder."""
        return working_in(self.folder)


@pytest.fixture
def ended_alone(study):
    """A study whose main process was killed while its job ran. The job has finished since then."""
    return end_alone(study)


def end_alone(study, *config: str):
    kill(study.start(*config, on_cluster=True))
    wait_until(lambda: not study.jobs(), "the job and its own Snakemake to end")
    assert study.path("made").read_text()
    return study


def kill(main):
    main.send_signal(signal.SIGKILL)
    main.wait()


def wait_until(happened, what, seconds=300):
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, f"waited {seconds} s for {what}"
        time.sleep(0.1)


def working_in(folder) -> list[psutil.Process]:
    """Processes with this working directory."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def test_what_the_jobs_finished_is_kept_and_the_lock_is_gone(ended_alone):
    said = ended_alone.again(on_cluster=True)
    assert "was killed" in said and "Nothing to be done" in said
    assert ended_alone.path("ran").read_text() == "ran\n"


def test_what_the_jobs_finished_is_made_again_when_something_has_changed_since(ended_alone):
    """Without a record of the job's inputs and parameters, Snakemake would consider its file current."""
    said = ended_alone.again("value=2", on_cluster=True)
    assert "Params have changed" in said and ended_alone.path("made").read_text() == "2\n"


def test_what_the_jobs_finished_is_no_result_of_an_earlier_configuration(study):
    """The record of the earlier run (value 1) must not be used for the file of the later job (value 2)."""
    study.again("seconds=0", on_cluster=True)
    study.path("ran").unlink()
    end_alone(study, "value=2")
    assert study.path("made").read_text() == "2\n"
    study.again("seconds=0", on_cluster=True)
    assert study.path("made").read_text() == "1\n"


def test_jobs_that_are_still_there_are_cancelled_and_the_same_command_finishes(study):
    kill(study.start(f"seconds={LONG}", on_cluster=True))
    assert study.jobs(), "the job goes on without the main process"
    said = study.again("seconds=0", on_cluster=True)
    assert "1 of its jobs were still there and are cancelled" in said, said
    assert study.path("made").read_text() == "1\n" and not study.jobs()


def test_a_run_on_one_machine_that_is_killed_goes_on_with_the_same_command(study):
    """The incomplete file of the killed job is not a result, and no option is needed."""
    kill(study.start(f"seconds={LONG}", on_cluster=False))
    for process in study.jobs():
        process.kill()
    said = study.again("seconds=0", on_cluster=False)
    assert "was killed" in said and study.path("made").read_text() == "1\n"


def test_commands_that_run_no_job_take_nothing_over(study):
    kill(study.start(f"seconds={LONG}", on_cluster=True))
    before = study.path(RECORD).read_text()
    for command in ("--dry-run", "--unlock", "--summary", "--lint", "--touch --nolock"):
        done = study.run("snakemake", *study.options[True], *command.split(), check=False)
        assert "was killed" not in done.stdout + done.stderr, command
        assert study.path(RECORD).read_text() == before, command
        assert study.jobs(), f"the job goes on after {command}"


def test_ctrl_c_leaves_no_job_and_no_record(study):
    main = study.start(f"seconds={LONG}", on_cluster=True)
    record = study.path(RECORD).read_text()
    assert f'"process": {main.pid}' in record and "snakemake --executor" in record
    main.send_signal(signal.SIGINT)
    assert main.wait(240) != 0
    assert not study.jobs() and not study.path(RECORD).exists(), study.path("said").read_text()


def test_a_second_run_is_refused_with_the_command_of_the_first(study):
    main = study.start(f"seconds={LONG}", on_cluster=True)
    said = study.again(on_cluster=False, check=False)
    assert f"The other run is process {main.pid}" in said and "snakemake --executor cluster-generic" in said, said
    assert study.path(RECORD).exists() and study.jobs()
