#!/usr/bin/env python3
"""Say what became of a Grid Engine job: status.py JOB prints running, success or failed, and nothing else.

qstat is asked first, for all jobs at once; then the exit code that the job left, and the accounting. A job that none of them
knows was killed: after GRACE_S it counts as failed.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

STATE = Path(".snakemake", "sge")
SNAPSHOT_S = 5  # one qstat serves all jobs that are asked for within this time
GRACE_S = 60  # for a shared file system to show the exit code, where the accounting can't be read
TIMEOUT_S = 60


def main() -> None:
    print(status_of(sys.argv[1]))


def status_of(job: str) -> str:
    states = queue_states()
    if states is None:  # the scheduler doesn't answer: that says nothing of the job
        return "running"
    if job in states:
        if "E" not in states[job]:
            return "running"
        subprocess.run(["qdel", job], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return "failed"
    return exit_status(job) or accounted(job) or forgotten(job)


def queue_states() -> "dict[str, str] | None":
    """By job, the letters of its state in qstat; None where qstat fails."""
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
    """From the code that jobscript.sh left."""
    try:
        return "success" if (STATE / job).read_text().strip() == "0" else "failed"
    except OSError:
        return ""


def accounted(job: str) -> str:
    """From the accounting's last record of the job."""
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
    """Running for GRACE_S from the first time that nobody knew the job, failed from then on."""
    first = STATE / f"{job}.forgotten"
    try:
        return "failed" if time.time() - first.stat().st_mtime > GRACE_S else "running"
    except FileNotFoundError:
        first.touch()
        return "running"


if __name__ == "__main__":
    main()
