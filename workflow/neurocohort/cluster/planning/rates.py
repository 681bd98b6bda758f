"""How long each step takes and how many bytes each leaves, as measured: the rows of rates.tsv, in this folder.

tests/benchmarks/plan_rates.py measures them and writes that table. A row is a linear function: a fixed part, and parts per scan,
per million voxels and per GFLOP (10^9 floating-point operations). Times are of one core.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("rates.tsv")
MODES = ("train", "infer")  # passes through a network
PARTS = ("fixed", "per_scan", "per_mvoxel", "per_gflop")


@dataclass(frozen=True)
class Rate:
    """A row: the linear function of a figure, and where it was measured."""

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
        """Seconds or bytes for a number of scans, their millions of voxels in total, and GFLOP."""
        return self.fixed + self.per_scan * scans + self.per_mvoxel * mvoxels + self.per_gflop * gflops


@cache
def read_rates(path: Path = TABLE) -> dict[str, Rate]:
    """The rows of the table by their figure."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    return {row["figure"]: _rate(row) for row in rows}


def seconds(figure: str, **amounts: float) -> float:
    """Seconds of one core for the step ``figure``; amounts as for `Rate.of`.

    A network that was never measured (``train <name>``, ``infer <name>``) is taken to be as slow as the slowest measured one.
    """
    rates = read_rates()
    mode, _, network = figure.partition(" ")
    if figure not in rates and mode in MODES and network:
        return max(rate.of(**amounts) for name, rate in rates.items() if name.startswith(f"{mode} "))
    return rates[figure].of(**amounts)


def size(figure: str, **amounts: float) -> float:
    """Bytes that ``figure`` leaves; amounts as for `Rate.of`."""
    return read_rates()[f"size of {figure}"].of(**amounts)


def _rate(row: dict[str, str]) -> Rate:
    fixed, scan, mvoxel, gflop = (0.0 if row[part] == "n/a" else float(row[part]) for part in PARTS)
    where = (row[name] for name in ("device", "date", "machine", "command"))
    return Rate(row["figure"], row["unit"], fixed, scan, mvoxel, gflop, *where)
