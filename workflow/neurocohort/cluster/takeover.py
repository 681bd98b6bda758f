"""A run of Snakemake leaves a record of itself while it goes on, so that the next one knows what became of it.

A main process that is killed leaves a lock that Snakemake then asks to remove by hand, and jobs on the cluster that would
write the same files as those of the next run. The next run removes the lock, where the process is certainly dead, and
cancels those jobs; what they had finished stays, and a training goes on from its checkpoint.
"""

import contextlib
import json
import os
import socket
from pathlib import Path

import psutil

from neurocohort.cluster.schedulers import cancel, jobs_of
from neurocohort.files import write_json

STATE = Path(".snakemake")  # Snakemake's folder, in the study's
RECORD = STATE / "neurocohort" / "run.json"
SUBMITTED = STATE / "neurocohort" / "submitted"  # the scheduler's ids of the run's jobs, one a line
LOCKS = STATE / "locks"


def take_over() -> str:
    """Clear away what a run that was killed left in this folder; a sentence on it, empty where there was nothing.

    Nothing happens unless the process that left the record is certainly dead.
    """
    earlier = _read()
    if not earlier or _may_be_alive(earlier):
        return ""
    jobs, gone = _cancel_left(earlier["executor"])
    for lock in LOCKS.glob("*.lock"):  # not their folder: Snakemake has made it for its own by now
        lock.unlink(missing_ok=True)
    RECORD.unlink(missing_ok=True)
    said = f"The run before this one was killed ({_name(earlier)}); its lock is removed"
    if jobs:
        said += f", and {len(jobs)} of its jobs were still there and are {'cancelled' if gone else 'being cancelled'}"
    return f"{said}. What it had finished stays."


def begin_run(executor: str, command: str) -> None:
    """Record this process as the study's run. One that may be alive keeps its record: Snakemake's lock refuses the second."""
    if _may_be_alive(_read()):
        return
    SUBMITTED.unlink(missing_ok=True)
    write_json(RECORD, _this_process() | {"executor": executor, "command": command})


def end_run() -> None:
    """Cancel the jobs of this process that are still on the cluster (after Ctrl-C there may be some), and remove its record."""
    run = _read()
    if _is_this_process(run):
        _cancel_left(run["executor"])
        RECORD.unlink(missing_ok=True)


def who_holds_the_lock() -> str:
    """A sentence on the run that has locked this folder, empty where nothing is known."""
    earlier = _read()
    if not earlier or _is_this_process(earlier):
        return ""
    if earlier["host"] == socket.gethostname():
        return f"The other run is {_name(earlier)}: {earlier['command']}"
    return (
        f"The other run was started on another machine, as {_name(earlier)}: {earlier['command']}. If you know that it is "
        "dead, `snakemake --unlock` and the same command again: its jobs are then cancelled, and what they finished stays."
    )


def note_submitted(job: str) -> None:
    """Remember the scheduler's id of a job. Snakemake's own note of it is overwritten as soon as the job begins."""
    SUBMITTED.parent.mkdir(parents=True, exist_ok=True)
    with SUBMITTED.open("a") as stream:
        stream.write(f"{job}\n")


def _cancel_left(executor: str) -> tuple[set[str], bool]:
    """The submitted jobs that still wait or run, cancelled, and whether they are gone."""
    submitted = SUBMITTED.read_text().split() if SUBMITTED.exists() else []
    jobs = jobs_of(executor, Path.cwd(), submitted)
    return jobs, cancel(executor, jobs)


def _read() -> dict:
    with contextlib.suppress(OSError, ValueError):
        return json.loads(RECORD.read_text())
    return {}


def _this_process() -> dict:
    me = psutil.Process()
    return {"host": socket.gethostname(), "process": me.pid, "started": me.create_time()}


def _is_this_process(run: dict) -> bool:
    return run.get("process") == os.getpid() and run["host"] == socket.gethostname() and _may_be_alive(run)


def _may_be_alive(run: dict) -> bool:
    """Whether the process that left the record is there; on another machine it is taken to be, as long as it holds the lock."""
    if not run:
        return False
    if run["host"] != socket.gethostname():
        return any(LOCKS.glob("*.lock"))
    try:
        return abs(psutil.Process(run["process"]).create_time() - run["started"]) < 1
    except psutil.NoSuchProcess:
        return False


def _name(run: dict) -> str:
    return f"process {run['process']} on {run['host']}"
