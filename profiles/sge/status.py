#!/usr/bin/env python3
"""The state of a Grid Engine job: status.py JOB prints running, success or failed, and nothing else.

Snakemake calls it often, so it only imports the standard library. It asks qstat first, for all jobs at once; then it reads the
exit code that the job wrote, and the accounting. A job that none of them knows was killed: after GRACE_S it counts as failed.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

STATE = Path(".snakemake", "sge")
SNAPSHOT_S = 5  # age up to which an answer of qstat is reused
GRACE_S = 60  # for a shared file system to show the exit code, if the accounting can't be read
TIMEOUT_S = 60


def main() -> None:
    print(status_of(sys.argv[1]))


def status_of(job: str) -> str:
    states = queue_states()
    if states is None:  # the scheduler doesn't answer, so nothing is known
        return "running"
    if job in states:
        if "E" not in states[job]:
            return "running"
        subprocess.run(["qdel", job], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return "failed"
    return exit_status(job) or accounted(job) or forgotten(job)


def queue_states() -> "dict[str, str] | None":
    """The state of each job in qstat, as letters; None if qstat fails."""
    snapshot = STATE / "qstat"
    try:
        if time.time() - snapshot.stat().st_mtime > SNAPSHOT_S:
            raise FileNotFoundError
        text = snapshot.read_text()
    except FileNotFoundError:
        try:
            done = subprocess.run(["qstat"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode:
            return None
        text = done.stdout.decode(errors="replace")
        aside = STATE / f"qstat.{os.getpid()}"
        STATE.mkdir(parents=True, exist_ok=True)
        aside.write_text(text)
        aside.replace(snapshot)
    rows = [line.split() for line in text.splitlines()]
    return {row[0]: row[4] for row in rows if len(row) > 4 and row[0].isdigit()}


def exit_status(job: str) -> str:
    """success or failed, by the exit code that jobscript.sh wrote; empty if there is none."""
    try:
        return "success" if (STATE / job).read_text().strip() == "0" else "failed"
    except OSError:
        return ""


def accounted(job: str) -> str:
    """success or failed, by the job's last record in the accounting; empty if there is none."""
    try:
        done = subprocess.run(
            ["qacct", "-j", job], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.findall(r"^(failed|exit_status) +(\d+)", done.stdout.decode(errors="replace"), re.MULTILINE)
    if not found:
        return ""
    return "success" if all(code == "0" for _, code in found[-2:]) else "failed"


def forgotten(job: str) -> str:
    """For a job that is not known anywhere: running until GRACE_S have passed, then failed."""
    first = STATE / f"{job}.forgotten"
    try:
        return "failed" if time.time() - first.stat().st_mtime > GRACE_S else "running"
    except FileNotFoundError:
        first.touch()
        return "running"


if __name__ == "__main__":
    main()
