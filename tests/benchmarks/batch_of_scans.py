"""One process for a batch of scans beside a process for each, on the same synthetic scans and one core.

    python tests/benchmarks/batch_of_scans.py --scans 20 --spacing 1.0

Both run the command of the rule preprocess_batch: once with all scans in one batch, and once a scan with batches of one. Rows go
to tests/benchmarks/results/batch_of_scans.tsv: ``seconds`` and ``cpu_seconds`` of all scans together, ``times_batch``:
``cpu_seconds`` over those of the batch. It ends with an error where the two ways leave different files.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from neurocohort.files import write_table
from neurocohort.imaging.template import make_template
from neurocohort.sources.ixi import ingest_ixi
from neurocohort.sources.scan_batches import COLUMNS
from neurocohort.synthetic.archives import write_ixi_archives
from rows import append_rows

RESULTS = Path(__file__).resolve().parent / "results" / "batch_of_scans.tsv"
SETTINGS = {
    "intensity": "zscore",
    "seed": 1,
    "registration": "affine",
    "brain_extraction": "deepbet",
    "device": "cpu",
    "skull_stripped": False,
    "mni_space": False,
}
MEMORY_MB = 3000


def cohort(folder: Path, scans: int, spacing_mm: float) -> dict[str, str]:
    """A synthetic cohort and its template below ``folder``; returns, by scan, the hash of its content."""
    write_ixi_archives(folder / "made", participants=scans + 4, seed=5, spacing_mm=spacing_mm)
    done = ingest_ixi([folder / "made/IXI-T1.tar"], folder / "made/IXI.xls", folder / "data")
    make_template(folder / "template.npz", 2.0, (80, 96, 80))
    return dict(sorted(done.contents.items())[:scans])


def preprocess(folder: Path, name: str, batches: list[dict[str, str]]) -> dict[str, float]:
    """Preprocess ``batches`` one after the other, a process each, into a folder ``name``; returns what it took."""
    program = Path(sys.executable).parent / "neurocohort"
    out, before, begun = folder / name, os.times(), time.perf_counter()
    for contents in batches:
        rows = pd.DataFrame([(name, "000", content) for name, content in contents.items()], columns=COLUMNS)
        write_table(folder / "data" / "batches.tsv", rows)
        command = [
            program,
            "preprocess-batch",
            "--data",
            folder / "data",
            "--batch",
            "000",
            "--results",
            out,
            "--template",
            folder / "template.npz",
        ]
        command += ["--settings", json.dumps(SETTINGS | {"code": "benchmark"})]
        command += ["--machine", json.dumps({"memory_mb": MEMORY_MB})]
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": round(time.perf_counter() - begun, 1), "cpu_seconds": round(cpu, 1)}


def hashes(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=20)
    parser.add_argument("--spacing", type=float, default=1.0, help="of the scans, in mm")
    parser.add_argument("--no-rows", action="store_true", help="print only")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        contents = cohort(folder, chosen.scans, chosen.spacing)
        ways = {"one batch": [contents], "a process a scan": [{name: value} for name, value in contents.items()]}
        rows = []
        for way, batches in ways.items():
            found = preprocess(folder, way, batches)
            rows.append({"way": way, "scans": len(contents), "spacing_mm": chosen.spacing} | found)
        if hashes(folder / "one batch" / "preproc") != hashes(folder / "a process a scan" / "preproc"):
            sys.exit("the two ways left different files")
    for row in rows:
        row["times_batch"] = round(row["cpu_seconds"] / rows[0]["cpu_seconds"], 3)
        print(*(f"{name} {value}" for name, value in row.items()), sep="  ")
    if not chosen.no_rows:
        append_rows(RESULTS, rows)


if __name__ == "__main__":
    main()
