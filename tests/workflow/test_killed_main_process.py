"""A main process that is killed while its jobs go on: what they finish is kept by the next run, unless something has changed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

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
    wait_for(tmp_path / "ran")
    main.send_signal(signal.SIGKILL)
    main.wait()
    wait_for(tmp_path / "made")
    time.sleep(2)  # the job's own Snakemake ends
    return Checkout(tmp_path)


def wait_for(path, seconds=60):
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path} has not come"
        time.sleep(0.1)


def test_what_the_jobs_finished_is_kept_and_the_lock_is_gone(killed):
    said = killed.snakemake()
    assert "was killed" in said and "Nothing to be done" in said
    assert killed.path("ran").read_text() == "ran\n"


def test_what_the_jobs_finished_is_made_anew_when_something_has_changed_since(killed):
    """Without a record of what the job was made from, Snakemake would take its file for up to date."""
    said = killed.snakemake("--config", "value=2")
    assert "Params have changed" in said and killed.path("made").read_text() == "2\n"
