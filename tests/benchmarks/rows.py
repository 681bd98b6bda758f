"""Dated rows: what a benchmark measured, when, at which commit and on which machine, added to a table of its own."""

import csv
import datetime
import os
import platform
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def append_rows(path: Path | str, rows: list[dict]) -> None:
    """Add ``rows`` to the tab-separated table at ``path``, each with date, commit, machine (the processor) and cores first.

    Columns that the table lacks are added at its end; ``n/a`` stands where a row has no value. The file is replaced whole.
    """
    path = Path(path)
    context = {"date": datetime.date.today().isoformat(), "commit": commit(), **machine()}
    earlier: list[dict] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as stream:
            earlier = list(csv.DictReader(stream, delimiter="\t"))
    every = [*earlier, *(context | row for row in rows)]
    columns = list(dict.fromkeys(name for row in every for name in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{os.getpid()}.{path.name}")
    with aside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, restval="n/a", delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: "n/a" if value is None else value for name, value in row.items()} for row in every)
    os.replace(aside, path)


def commit() -> str:
    """The commit's first ten digits, with ``+`` where the package or a tool of the benchmarks has changed since."""
    try:
        head = _git("rev-parse", "--short=10", "HEAD")
        changed = _git("status", "--porcelain", "--", "workflow", "tests/benchmarks/*.py")
    except (OSError, subprocess.CalledProcessError):
        return "n/a"
    return head + ("+" if changed else "")


def machine() -> dict:
    """The processor's name and how many cores this process may use."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"machine": name, "cores": cores}


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    return done.stdout.strip()
