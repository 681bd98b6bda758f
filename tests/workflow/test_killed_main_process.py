"""A main process that is killed while its jobs go on: what they finish is kept by the next run, unless something has changed."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from checkouts import Checkout
from shell_scheduler import shell_scheduler

SNAKEFILE = """
import sys
from pathlib import Path

sys.path.insert(0, {workflow!r})
os.environ["NEUROCOHORT_COMMAND"] = "snakemake"
from neurocohort_run import watch

watch(workflow, Path("."))


rule made:
    output:
        "made",
    params:
        value=config.get("value", 1),
    shell:
        "echo ran >> ran; sleep 4; echo {{params.value}} > {{output}}"
"""


@pytest.fixture
def killed(repository, tmp_path):
    """A study whose main process was killed as soon as its job ran; the job has ended since."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(workflow=str(repository / "workflow")))
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    main = subprocess.Popen(["snakemake", *shell_scheduler(tmp_path)], cwd=tmp_path, env=environment)
    wait_until((tmp_path / "ran").exists, "the job to begin")
    main.send_signal(signal.SIGKILL)
    main.wait()
    wait_until((tmp_path / "made").exists, "the job's file")
    wait_until(lambda: not working_in(tmp_path), "the job's own Snakemake to end")
    return Checkout(tmp_path)


def wait_until(happened, what, seconds=60):
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, f"waited {seconds} s for {what}"
        time.sleep(0.1)


def working_in(folder) -> list[int]:
    """The processes whose working folder it is."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(folder):
                found.append(process.pid)
    return found


def test_what_the_jobs_finished_is_kept_and_the_lock_is_gone(killed):
    said = killed.snakemake()
    assert "was killed" in said and "Nothing to be done" in said
    assert killed.path("ran").read_text() == "ran\n"


def test_what_the_jobs_finished_is_made_anew_when_something_has_changed_since(killed):
    """Without a record of what the job was made from, Snakemake would take its file for up to date."""
    said = killed.snakemake("--config", "value=2")
    assert "Params have changed" in said and killed.path("made").read_text() == "2\n"
