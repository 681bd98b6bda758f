"""A running Snakemake leaves a record of itself, from which the next run learns what became of it.

A main process that is killed leaves a lock, which Snakemake asks the user to remove, and jobs on the cluster, which would write
the same files as those of the next run. The next run removes the lock if that process is certainly dead, and cancels those
jobs. What they finished stays, and a training continues from its checkpoint.
"""

import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from neurocohort.cluster.schedulers import BY_EXECUTOR
from neurocohort.errors import InputError
from neurocohort.files import read_json, write_json

STATE = Path(".snakemake")  # Snakemake's folder, in the study's
RECORD = STATE / "neurocohort" / "run.json"
SUBMITTED = STATE / "neurocohort" / "submitted"  # the scheduler's numbers of the run's jobs, one a line
LOCKS = STATE / "locks"


@dataclass(frozen=True)
class Run:
    """A run of Snakemake: its machine, its process and when that started, its executor, and what the user typed."""

    host: str
    process: int
    started: float
    executor: str
    command: str

    @property
    def name(self) -> str:
        """The process in words."""
        return f"process {self.process} on {self.host}"

    @property
    def is_here(self) -> bool:
        """Whether it was started on this machine."""
        return self.host == socket.gethostname()

    @property
    def is_this_process(self) -> bool:
        """Whether it is the run of this process."""
        return self.process == os.getpid() and self.is_here and self.may_be_alive

    @property
    def may_be_alive(self) -> bool:
        """Whether its process exists; on another machine, whether it still has the lock."""
        if not self.is_here:
            return any(LOCKS.glob("*.lock"))
        try:
            return abs(psutil.Process(self.process).create_time() - self.started) < 1
        except psutil.NoSuchProcess:
            return False


def take_over() -> str:
    """Remove what a killed run left in this folder, if its process is certainly dead.

    Returns:
        A sentence about it; empty if there was none.
    """
    earlier = _read()
    if not earlier or earlier.may_be_alive:
        return ""
    jobs, gone = _cancel_remaining(earlier.executor)
    for lock in LOCKS.glob("*.lock"):  # the folder itself belongs to this run of Snakemake by now
        lock.unlink(missing_ok=True)
    RECORD.unlink(missing_ok=True)
    message = f"The previous run was killed ({earlier.name}); its lock is removed"
    if jobs:
        message += (
            f", and {len(jobs)} of its jobs were still there and are {'cancelled' if gone else 'being cancelled'}"
        )
    return f"{message}. What it had finished stays."


def begin_run(executor: str, command: str) -> None:
    """Record this process as the study's run, unless another may be alive: its lock makes Snakemake refuse this one."""
    earlier = _read()
    if earlier and earlier.may_be_alive:
        return
    SUBMITTED.unlink(missing_ok=True)
    me = psutil.Process()
    write_json(RECORD, asdict(Run(socket.gethostname(), me.pid, me.create_time(), executor, command)))


def end_run() -> None:
    """Cancel the jobs of this process that are still on the cluster (after Ctrl-C there may be some), and remove its record."""
    run = _read()
    if run and run.is_this_process:
        _cancel_remaining(run.executor)
        RECORD.unlink(missing_ok=True)


def lock_holder() -> str:
    """A sentence about the other run that has locked this folder; empty if nothing is known."""
    run = _read()
    if not run or run.is_this_process:
        return ""
    if run.is_here:
        return f"The other run is {run.name}: {run.command}"
    return (
        f"The other run was started on another machine, as {run.name}: {run.command}. If you know that it is dead, run "
        "`snakemake --unlock` and the same command again: its jobs are then cancelled, and what they finished stays."
    )


def note_submitted(job: str) -> None:
    """Record the scheduler's number of a job. Snakemake overwrites its own note of it as soon as the job starts."""
    SUBMITTED.parent.mkdir(parents=True, exist_ok=True)
    with SUBMITTED.open("a") as stream:
        stream.write(f"{job}\n")


def _cancel_remaining(executor: str) -> tuple[set[str], bool]:
    """Cancel the submitted jobs that still wait or run; those jobs, and whether they are gone."""
    scheduler = BY_EXECUTOR.get(executor)
    submitted = set(SUBMITTED.read_text().split()) if SUBMITTED.exists() else set()
    if not scheduler or not submitted:
        return set(), True
    jobs = scheduler.jobs_here(submitted, Path.cwd())
    return jobs, scheduler.cancel(jobs)


def _read() -> Run | None:
    try:
        return Run(**read_json(RECORD))
    except (OSError, InputError, TypeError):  # none, or half a file
        return None
