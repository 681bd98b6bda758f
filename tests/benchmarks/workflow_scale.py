"""What Snakemake itself costs as a cohort grows: dry runs, runs that find nothing to do, and the start of a cluster's job.

    python tests/benchmarks/workflow_scale.py [--scans 1000 10000] [--repeats 3]

A copy of the checkout gets a study of one regression on a table of tiny images. A cluster whose jobs take no time (stand_in/)
runs it whole, so that Snakemake's records are those of a real run; the measures are `snakemake` commands, from start to end.
Prints the smallest and the median of the repeats, the peak of resident memory, and how the time a scan grows from the
smallest to the largest size; adds dated rows to tests/benchmarks/results/workflow_scale.tsv. Nothing is asserted.
"""

import argparse
import contextlib
import gzip
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from cohort_scale import in_child  # like this file, of the standard library: a child's peak memory counts its parent's
from rows import REPOSITORY, append_rows

BENCHMARKS = Path(__file__).resolve().parent
RESULTS = BENCHMARKS / "results" / "workflow_scale.tsv"
COHORT, TABLE = "own", "own/scans.tsv"
STUDY = {
    "study": "scale",
    "cohorts": {COHORT: {"source": "table", "path": TABLE}},
    "experiments": {
        "brain_age": {"task": "regression", "target": "age", "cohorts": [COHORT], "network": {"name": "sfcn"}}
    },
}
# In the place of the program, as a function of the shell that runs the job's command: notes the time and makes the outputs.
PROGRAM = '() { echo "$EPOCHREALTIME" >> "$STARTED"; for file in $OUTPUTS; do echo "{}" > "$file"; done; }'


class Measured(NamedTuple):
    """What a command took, its children's processor time included; the peak is that of the largest of them."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


def measured(command: list[str], folder: Path, environment: dict[str, str], expected: str) -> Measured:
    """Run ``command`` in ``folder``. It must end well and say ``expected``: anything else would measure another thing."""
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        said.seek(0)
        text = said.read().decode()
    if os.waitstatus_to_exitcode(status) or not re.search(expected, text):
        raise SystemExit(f"{' '.join(command)} failed, or didn't say {expected!r}:\n{text[-5000:]}")
    return Measured(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def environment_of(folder: Path, **more: str) -> dict[str, str]:
    """This environment's programs first, and Snakemake's caches in ``folder``."""
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "NEUROCOHORT_COMMAND")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"
    return own | {"PATH": path, "XDG_CACHE_HOME": str(folder / ".cache")} | more


def snakemake(folder: Path, expected: str, *arguments: str) -> Measured:
    """On this machine's cores."""
    command = ["snakemake", "--cores", "2", "--configfile", "study.json", *arguments]
    return measured(command, folder, environment_of(folder), expected)


def on_stand_in(folder: Path, expected: str, *targets: str) -> Measured:
    """On the cluster whose jobs take no time."""
    cluster = ["--executor", "stand-in", "--jobs", "1000", "--seconds-between-status-checks", "1"]
    command = ["snakemake", *cluster, "--scheduler", "greedy", "--configfile", "study.json", "--", *targets]
    return measured(command, folder, environment_of(folder, PYTHONPATH=str(BENCHMARKS / "stand_in")), expected)


def on_cluster(folder: Path, outputs: list[str]) -> Measured:
    """The inner Snakemake of a submitted job: its seconds until the command starts."""
    found = folder / "job.json"
    found.unlink(missing_ok=True)
    submit_command = f"{sys.executable} {__file__} --submit {found}"
    cluster = ["--executor", "cluster-generic", "--cluster-generic-submit-cmd", submit_command, "--jobs", "1"]
    cluster += ["--seconds-between-status-checks", "1"]
    command = ["snakemake", *cluster, "--configfile", "study.json", "--force", "--", outputs[0]]
    measured(command, folder, environment_of(folder, OUTPUTS=" ".join(outputs)), r"\(100%\) done")
    return Measured(*json.loads(found.read_text()))


def submit(found: Path, jobscript: str) -> None:
    """Run the script that Snakemake would hand to a cluster, its program replaced; what it took goes to ``found``."""
    started_at = found.with_suffix(".started")
    started_at.unlink(missing_ok=True)
    environment = os.environ | {"BASH_FUNC_neurocohort%%": PROGRAM, "STARTED": str(started_at)}
    begun = time.time()
    whole = measured(["bash", jobscript], Path.cwd(), environment, r"\(100%\) done")
    first = float(started_at.read_text().split()[0])
    found.write_text(json.dumps(whole._replace(seconds=first - begun)))
    print(1)  # the job's number


# The steps, in their order: each finds what those before it left.


def fresh_dry_run(folder: Path) -> Measured:
    """Ingest is done, and no scan preprocessed."""
    return snakemake(folder, r"preprocess_batch +\d+", "--dry-run")


def whole_run(folder: Path) -> Measured:
    """Everything after ingest, by jobs that take no time: what Snakemake needs to schedule and record them."""
    return on_stand_in(folder, r"\(100%\) done", "all")


def nothing_to_do(folder: Path) -> Measured:
    return snakemake(folder, "Nothing to be done")


def dry_run_nothing_to_do(folder: Path) -> Measured:
    return snakemake(folder, "Nothing to be done", "--dry-run")


def dry_run_scan_added(folder: Path) -> Measured:
    """A row more in the user's table, and its image."""
    with added_scan(folder / TABLE):
        return snakemake(folder, r"ingest_cohort +1", "--dry-run")


def scan_added(folder: Path) -> Measured:
    """The same for good: the ingest and the tables are made for real, the one scan's preprocessing and the rest takes no time."""
    add_scan(folder / TABLE)
    once = r"(?s)\A(?!.*rule preprocess_batch:.*rule preprocess_batch:).*rule preprocess_batch:.*\(100%\) done"
    return on_stand_in(folder, once, "all")


def job_after_scans(folder: Path) -> Measured:
    """Of a job behind which all scans stand (pack), until its command starts."""
    files = ("images.npy", "labels.npy", "index.tsv", "channels.tsv")
    return on_cluster(folder, [f"results/{COHORT}/packed/development/{file}" for file in files])


def job_of_batch(folder: Path) -> Measured:
    """Of a batch of scans, until its command starts. From here on the tables are older than their scans."""
    return on_cluster(folder, [f"results/{COHORT}/preproc_batches/000.tsv"])


def add_scan(table: Path) -> Path:
    """Put one more scan into the user's table; its image, which is like the first but for a voxel."""
    before = table.read_bytes()
    row = before.decode().splitlines()[1].split("\t")
    image = table.parent / "images" / "added.nii.gz"
    voxels = bytearray(gzip.decompress((table.parent / row[2]).read_bytes()))
    voxels[-1] ^= 1
    image.write_bytes(gzip.compress(voxels))
    table.write_bytes(before + "\t".join(["PADDED", row[1], f"images/{image.name}", *row[3:]]).encode() + b"\n")
    return image


@contextlib.contextmanager
def added_scan(table: Path) -> Iterator[None]:
    """While the block runs, one more scan is in the user's table, which is then as it was, its time too."""
    before, times = table.read_bytes(), table.stat()
    image = add_scan(table)
    try:
        yield
    finally:
        image.unlink()
        table.write_bytes(before)
        os.utime(table, ns=(times.st_atime_ns, times.st_mtime_ns))


STEPS: dict[str, Callable[[Path], Measured]] = {
    "dry run, fresh study": fresh_dry_run,
    "run, jobs take no time": whole_run,
    "run, nothing to do": nothing_to_do,
    "dry run, nothing to do": dry_run_nothing_to_do,
    "dry run, a scan added": dry_run_scan_added,
    "run, a scan added": scan_added,
    "start of a job after scans": job_after_scans,
    "start of a batch of scans": job_of_batch,
}
ONCE = ("run, jobs take no time", "run, a scan added")  # done a second time, nothing is left to do


def measure(scans: int, repeats: int) -> list[dict]:
    """A row a step."""
    sys.path.insert(0, str(BENCHMARKS.parent))
    from checkouts import copy_checkout

    rows = []
    with tempfile.TemporaryDirectory(prefix="workflow_scale_") as name:
        folder = Path(name)
        copy_checkout(REPOSITORY, folder)
        (folder / TABLE).parent.mkdir()
        in_child("prepare", (folder / TABLE).parent, scans)
        (folder / "study.json").write_text(json.dumps(STUDY), encoding="utf-8")  # JSON is YAML
        on_stand_in(folder, r"Rule: ingest_cohort\)", "ingest", "results/template.npz")
        for step, action in STEPS.items():
            found = [action(folder) for _ in range(1 if step in ONCE else repeats)]
            row = {"step": step, "scans": scans, "repeats": len(found)}
            row["seconds"] = round(min(one.seconds for one in found), 3)
            row["median_seconds"] = round(statistics.median(one.seconds for one in found), 3)
            row["cpu_seconds"] = round(min(one.cpu_seconds for one in found), 3)
            row["peak_mib"] = round(max(one.peak_mib for one in found), 1)
            rows.append(row)
    return rows


def show(rows: list[dict], sizes: list[int]) -> None:
    """A line a step: at each size the smallest and the median time, the processor's, and MiB; and how both times a scan grow."""
    heads = "".join(f"{size:>9} s{'median':>8}{'cpu s':>8}{'MiB':>6}" for size in sizes)
    print(f"{'step':26}{heads}   a scan: time, cpu")
    for step in STEPS:
        found = [next(row for row in rows if row["step"] == step and row["scans"] == size) for size in sizes]
        columns = [
            f"{row['seconds']:11.2f}{row['median_seconds']:8.2f}{row['cpu_seconds']:8.2f}{row['peak_mib']:6.0f}"
            for row in found
        ]
        kinds = ("seconds", "cpu_seconds") if len(sizes) > 1 else ()
        growth = [f"   x {found[-1][kind] / found[0][kind] * sizes[0] / sizes[-1]:.2f}" for kind in kinds]
        print(f"{step:26}" + "".join(columns + growth))


def main() -> None:
    if sys.argv[1:2] == ["--submit"]:
        submit(Path(sys.argv[2]), sys.argv[3])
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scans", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    sizes = sorted(arguments.scans)
    rows = [row for size in sizes for row in measure(size, arguments.repeats)]
    show(rows, sizes)
    append_rows(RESULTS, rows)


if __name__ == "__main__":
    main()
