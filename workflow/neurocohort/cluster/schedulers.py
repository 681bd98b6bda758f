"""What Slurm and Grid Engine are asked beside Snakemake: which jobs of a study are there, to delete them, and how one ended.

A scheduler that doesn't answer, or isn't installed, has no jobs and nothing to say: the run goes on without its help.
"""

import getpass
import re
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from neurocohort.cluster.asking import ask

SLURM, GRID_ENGINE = "slurm", "cluster-generic"  # by the names of Snakemake's executors
MEMORY, TIME, NODE, CANCELLED = "memory", "time", "node", "cancelled"  # why a scheduler ends a job
ASK_S = 30.0
ACCOUNTING_S = 20.0  # Grid Engine writes its accounting every 15 s
SLURM_CAUSES = {
    "OUT_OF_MEMORY": MEMORY,
    "TIMEOUT": TIME,
    "DEADLINE": TIME,
    "NODE_FAIL": NODE,
    "BOOT_FAIL": NODE,
    "PREEMPTED": NODE,
    "CANCELLED": CANCELLED,
}
# What Snakemake's two executors log when a job is submitted: Snakemake's number of the job, and the scheduler's.
SUBMITTED = (
    re.compile(r"Job (\d+) has been submitted with SLURM jobid (\d+)"),
    re.compile(r"Submitted (?:group )?job (\S+) with external jobid '(\d+)'"),
)
SIZES = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


@dataclass(frozen=True)
class Ending:
    """``words``: the scheduler's own, in one line. ``cause``: MEMORY, TIME, NODE, CANCELLED, or empty where it knows none."""

    words: str = ""
    cause: str = ""


def submitted_number(line: str) -> str:
    """The scheduler's number of the job whose submission ``line`` of Snakemake's log reports; empty for any other line."""
    return next((found[2] for pattern in SUBMITTED if (found := pattern.search(line))), "")


def jobs_of(executor: str, folder: Path, known: Iterable[str]) -> set[str]:
    """Those of the ``known`` jobs that wait or run, and were submitted from ``folder``."""
    known, folder = set(known), Path(folder).resolve()
    if not known:
        return set()
    if executor == SLURM:
        lines = _ask("squeue", "--noheader", f"--user={getpass.getuser()}", "--format=%i|%Z").splitlines()
        found = (line.split("|", 1) for line in lines if "|" in line)
        return {job for job, place in found if job in known and Path(place).resolve() == folder}
    if executor == GRID_ENGINE:
        rows = [line.split() for line in _ask("qstat").splitlines()]
        waiting = {row[0] for row in rows if row and row[0] in known}
        places = {job: re.search(r"^cwd: +(.+)$", _ask("qstat", "-j", job), re.MULTILINE) for job in waiting}
        return {job for job, place in places.items() if place and Path(place[1].strip()).resolve() == folder}
    return set()


def cancel(executor: str, jobs: Iterable[str], patience_s: float = 60.0) -> bool:
    """Delete ``jobs`` and wait until they are gone; False where some are still there after ``patience_s``."""
    jobs = set(jobs)
    command = {SLURM: "scancel", GRID_ENGINE: "qdel"}.get(executor)
    if not jobs or command is None:
        return True
    _ask(command, *sorted(jobs))
    until = time.monotonic() + patience_s
    while _present(executor, jobs):
        if time.monotonic() > until:
            return False
        time.sleep(0.5)
    return True


def ending_of(executor: str, job: str) -> Ending:
    """How the scheduler says that ``job`` ended."""
    if executor == SLURM:
        return _slurm_ending(job)
    if executor == GRID_ENGINE:
        return _grid_engine_ending(job)
    return Ending()


def log_of(executor: str, job: str) -> list[Path]:
    """Where profiles/sge has Grid Engine write what a job prints; Slurm's plugin tells of its logs itself."""
    return sorted(Path(".snakemake/sge/logs").glob(f"*.{job}.log")) if executor == GRID_ENGINE else []


def slurm_accounting() -> bool:
    """Whether sacct answers: it is there on clusters without an accounting database too, and says nothing then."""
    try:
        done = subprocess.run(["sacct", "--noheader", "-X"], capture_output=True, text=True, timeout=ASK_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and "disabled" not in done.stderr


def _present(executor: str, jobs: set[str]) -> set[str]:
    if executor == SLURM:
        return jobs & set(_ask("squeue", "--noheader", f"--user={getpass.getuser()}", "--format=%i").split())
    return jobs & {line.split()[0] for line in _ask("qstat").splitlines() if line.split()}


def _slurm_ending(job: str) -> Ending:
    told = _ask("scontrol", "show", "job", job)
    found = dict(re.findall(r"(JobState|Reason|ExitCode|NodeList|TimeLimit|RunTime)=(\S+)", told))
    state = found.get("JobState", "")
    if not state:
        rows = _ask("sacct", "-X", "--noheader", "--parsable2", f"--jobs={job}", "--format=State,ExitCode,NodeList")
        state, code, node = [*rows.strip().split("\n")[-1].split("|"), "", ""][:3]
        found = {"ExitCode": code, "NodeList": node}
    if not state:
        return Ending()
    words = [state, *(f"{name} {found[name]}" for name in ("Reason", "ExitCode", "NodeList") if found.get(name))]
    return Ending(", ".join(words).replace("Reason None, ", ""), SLURM_CAUSES.get(state.split()[0], ""))


def _grid_engine_ending(job: str) -> Ending:
    until = time.monotonic() + ACCOUNTING_S
    while not (told := _ask("qacct", "-j", job)) and time.monotonic() < until:
        time.sleep(1)
    record = told.rsplit("=====\n", 1)[-1]  # of a job that ran several times, the last
    found = {key: " ".join(value.split()) for key, value in re.findall(r"^(\w+) +(.*)$", record, re.MULTILINE)}
    if not found:
        return Ending()
    limits = dict(re.findall(r"\b(h_rt|h_vmem)=([\d.]+[KMGT]?)", found.get("category", ""), re.IGNORECASE))
    seconds, used = _number(found.get("ru_wallclock", "")), _number(found.get("maxvmem", ""))
    granted = _number(limits.get("h_vmem", "")) * max(1, _number(found.get("slots", "1")))
    words = [f"exit status {found.get('exit_status', '?')}", f"failed {found.get('failed', '?')}"]
    words += [f"{seconds:.0f} s" + (f" of {limits['h_rt']} s (h_rt)" if "h_rt" in limits else "")]
    if used:
        words.append(f"{used / 1e6:.0f} MB" + (f" of {granted / 1e6:.0f} MB (h_vmem)" if granted else ""))
    words.append(f"on {found.get('hostname', '?')}")
    cause = ""
    if "h_rt" in limits and seconds >= _number(limits["h_rt"]):
        cause = TIME
    elif granted and used >= 0.95 * granted:
        cause = MEMORY
    return Ending(", ".join(words), cause)


def _number(text: str) -> float:
    """A number with Grid Engine's units (``1.5G``, ``1.500GB``, ``35s``), in bytes or seconds; 0 where there is none."""
    found = re.match(r"([\d.]+) *([KMGT]?)", text, re.IGNORECASE)
    return float(found[1]) * SIZES[found[2].upper()] if found else 0.0


def _ask(*command: str) -> str:
    """What ``command`` prints; nothing where it isn't there, fails or takes too long."""
    answer = ask(*command, seconds=ASK_S)
    return "" if answer.fault else answer.text
