"""The table of faults, printed at the end of a run of the tests: for each file of tests/faults that ran, what was tried, how
often, what was lost, and the command that tries it again. The README shows it.

A file names its kind as ``KIND``. A test counts as one try, or says how many it made and lost:
``record_property("tries", 40)`` and ``record_property("lost", 2)``.
"""

import re
from pathlib import Path

FOLDER = "tests/faults/"
NAMED = re.compile(r'^KIND = "(.+)"$', re.MULTILINE)
HEADING = "| kind of fault | tries | survived | lost | command |"


def pytest_terminal_summary(terminalreporter):
    """Print the table if tests of tests/faults ran."""
    counts: dict[str, list[int]] = {}
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            if report.nodeid.startswith(FOLDER) and (report.when == "call" or outcome != "passed"):
                said = dict(report.user_properties)
                tries = int(said.get("tries", 1))
                lost = max(int(said.get("lost", 0)), outcome != "passed")
                total = counts.setdefault(report.nodeid.split("::")[0], [0, 0])
                total[0] += tries
                total[1] += lost
    if counts:
        terminalreporter.section("faults")
        rows = [row(terminalreporter.config.rootpath, file, count) for file, count in sorted(counts.items())]
        for line in [HEADING, "|---|---|---|---|---|", *rows]:
            terminalreporter.write_line(line)


def row(root: Path, file: str, count: list[int]) -> str:
    tries, lost = count
    kind = NAMED.search((root / file).read_text())
    return f"| {kind[1] if kind else file} | {tries} | {tries - lost} | {lost} | `.venv/bin/pytest {file}` |"
