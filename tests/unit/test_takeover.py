"""What a run finds of the one before it: alive, dead, or on another machine."""

import json
import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest
from neurocohort.cluster import takeover
from neurocohort.cluster.takeover import (
    LOCKS,
    RECORD,
    begin_run,
    end_run,
    lock_holder,
    note_submitted,
    take_over,
)


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study's folder with Snakemake's lock, and a list of the jobs that were cancelled."""
    monkeypatch.chdir(tmp_path)
    LOCKS.mkdir(parents=True)
    (LOCKS / "0.input.lock").write_text("data/ixi/scans.tsv\n")
    cancelled = []
    scheduler = SimpleNamespace(
        jobs_here=lambda jobs, folder: jobs & {"12", "13"}, cancel=lambda jobs: cancelled.extend(sorted(jobs)) or True
    )
    monkeypatch.setattr(takeover, "BY_EXECUTOR", {"slurm": scheduler})
    return cancelled


@pytest.fixture
def other():
    """Another process, which is alive."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield psutil.Process(process.pid)
    process.communicate()


def leave_record(process=None, **values):
    if isinstance(process, int):
        values["process"] = process
    process = process if isinstance(process, psutil.Process) else psutil.Process()
    usual = {"host": socket.gethostname(), "process": process.pid, "started": process.create_time()}
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(json.dumps(usual | {"executor": "slurm", "command": "snakemake --profile slurm"} | values))


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_nothing_is_done_where_no_run_was_killed(study):
    assert take_over() == "" and list(LOCKS.iterdir())


def test_dead_run_loses_its_lock_and_its_jobs(study):
    leave_record(process=dead_process())
    for number in ("11", "12"):
        note_submitted(number)
    said = take_over()
    assert "was killed" in said and "1 of its jobs were still there and are cancelled" in said
    assert study == ["12"] and not list(LOCKS.iterdir()) and not RECORD.exists()


def test_process_number_that_somebody_else_has_now_is_not_the_run(study):
    leave_record(started=psutil.Process().create_time() - 1000)
    assert "was killed" in take_over() and not list(LOCKS.iterdir())


def test_living_run_keeps_its_lock_record_and_jobs(study, other):
    leave_record(other)
    note_submitted("12")
    before = RECORD.read_text()
    assert take_over() == "" and list(LOCKS.iterdir()) and study == []
    begin_run("local", "snakemake --cores 2")
    assert RECORD.read_text() == before
    end_run()
    assert RECORD.read_text() == before and study == []
    assert "snakemake --profile slurm" in lock_holder()


def test_run_on_another_machine_counts_as_alive_until_its_lock_is_removed(study):
    leave_record(host="login2")
    note_submitted("13")
    assert take_over() == "" and study == []
    assert "another machine" in lock_holder() and "--unlock" in lock_holder()
    (LOCKS / "0.input.lock").unlink()
    assert "login2" in take_over() and study == ["13"]


def test_record_lasts_as_long_as_the_run_and_jobs_that_are_left_are_cancelled(study):
    begin_run("slurm", "snakemake --profile slurm")
    record = json.loads(RECORD.read_text())
    assert record["command"] == "snakemake --profile slurm" and record["process"] == os.getpid()
    assert lock_holder() == "", "it is this run itself"
    note_submitted("12")
    end_run()
    assert not RECORD.exists() and study == ["12"]


def test_broken_record_is_none(study):
    RECORD.parent.mkdir(parents=True)
    RECORD.write_text("{")
    assert take_over() == "" and lock_holder() == ""
