"""How long each step takes and how much each leaves on the disk, as measured: the rows of rates.tsv beside this file.

tests/benchmarks/plan_rates.py measures them and writes that table. A row is a straight line through what was measured: a fixed
part, and parts for each scan, each million voxels and each GFLOP (10^9 floating-point operations). Times are of one core.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("rates.tsv")
PARTS = ("fixed", "per_scan", "per_mvoxel", "per_gflop")
SECONDS, BYTES = "s", "bytes"


@dataclass(frozen=True)
class Rate:
    """One row. ``measured``: the date, processor and command of the measurement."""

    figure: str
    unit: str
    fixed: float
    per_scan: float
    per_mvoxel: float
    per_gflop: float
    device: str
    date: str
    machine: str
    command: str

    def of(self, *, scans: float = 0.0, mvoxels: float = 0.0, gflops: float = 0.0) -> float:
        """Seconds or bytes for so many scans, millions of voxels in all of them together, and GFLOP."""
        return self.fixed + self.per_scan * scans + self.per_mvoxel * mvoxels + self.per_gflop * gflops


@cache
def read_rates(path: Path = TABLE) -> dict[str, Rate]:
    """The rows of the table by their figure."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    texts = ("figure", "unit", "device", "date", "machine", "command")
    return {
        row["figure"]: Rate(**{name: row[name] for name in texts}, **{name: _number(row[name]) for name in PARTS})
        for row in rows
    }


def seconds(figure: str, **amounts: float) -> float:
    """Seconds of one core for the step ``figure``; amounts as for `Rate.of`."""
    return read_rates()[figure].of(**amounts)


def size(figure: str, **amounts: float) -> float:
    """Bytes that ``figure`` leaves; amounts as for `Rate.of`."""
    return read_rates()[f"size of {figure}"].of(**amounts)


def _number(text: str) -> float:
    return 0.0 if text == "n/a" else float(text)
