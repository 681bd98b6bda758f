"""The rates that `neurocohort plan` counts with: seconds of one core, and bytes on the disk, a step.

    python tests/benchmarks/plan_rates.py --run FINER    # runs tests/studies/plan_rates.yaml in the folder FINER: some 30 minutes
    python tests/benchmarks/plan_rates.py DEMO FINER     # from folders of two finished studies, the demo's being one

A rate is a straight line: a fixed part, and parts for each scan, each million voxels and each GFLOP, all of them zero or more, by
least squares of the relative error. Its points are

- the benchmark files of the finished studies, and how much lies in their folders (as ``du`` counts it);
- the dated rows of results/network_times.tsv; of preprocessing.tsv and roofline.tsv, which have scans and grids of 1 mm; and of
  report_scale.tsv, which has 600 scans.

Times are wall times where a job had its core to itself, and CPU times where it shared it with others (`LEAST_LOAD`), so that a
busy machine doesn't spoil them. The table, workflow/neurocohort/cluster/planning/rates.tsv, is rewritten; rows of a study on
other machines follow from that study's own benchmarks when it is planned again.
"""

import argparse
import csv
import datetime
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import network_times
import numpy as np
from network_times import NARROW, NETWORKS
from neurocohort.imaging.preprocess import ScanImages, Settings, preprocess_scan
from neurocohort.imaging.scan_files import write_scan
from neurocohort.imaging.template import read_template
from rows import REPOSITORY, commit, machine
from training_throughput import in_child

FINER = REPOSITORY / "tests" / "studies" / "plan_rates.yaml"
RESULTS = REPOSITORY / "tests" / "benchmarks" / "results"
COLUMNS = ("figure", "unit", "fixed", "per_scan", "per_mvoxel", "per_gflop", "points", "device")
COLUMNS += ("machine", "date", "commit", "command")
LEAST_LOAD = 70  # per cent of a core: with less, a job waited for others
SAMPLED_S = 15  # Snakemake looks at a job each half a second for so long, and then each half a minute
OWN_STUDY = "plan-rates"  # which `run_study` looks at each half a second to its end
SAMPLING_S = 0.25  # on average, between the last look and the end
PARTS = {  # of each kind of job, what its time grows with; the others have a fixed part alone
    "synthetic": ("fixed", "per_mvoxel"),
    "ingest": ("fixed", "per_mvoxel"),
    "preprocess": ("fixed", "per_mvoxel"),
    "quality": ("fixed", "per_scan"),
    "pack": ("fixed", "per_mvoxel"),
    "baselines": ("fixed", "per_mvoxel"),
    "baselines segmentation": ("fixed", "per_mvoxel"),
    "ensemble segmentation": ("fixed", "per_mvoxel"),
    "metrics": ("fixed", "per_scan"),
    "report": ("fixed", "per_scan"),
}
NETWORK_SECONDS = {"fixed": 8, "per_scan": 1.3}  # of `neurocohort registration-network`: the start, and a step
LIGHT = ("choose", "adopt", "control")  # read and write small tables, as `select` does
NATIVE_MVOXELS = {"synth": 197 * 233 * 189 / 1e6, "IXI533": 256 * 256 * 150 / 1e6}  # of preprocessing.tsv's scans
GRID_EXTENT_MM3 = 160 * 192 * 160
PAINTED_SHAPE = [80, 96, 80]

Points = dict[str, list[tuple[dict[str, float], float]]]  # by figure: amounts, and what they took

# --- a study to measure ---------------------------------------------------------------------------------------------


def run_study(folder: Path) -> None:
    """Run the finer study in ``folder``, with one core, looking at each job's CPU time to its end."""
    folder.mkdir(parents=True, exist_ok=True)
    looking = (
        "import snakemake.benchmark as b; from snakemake.cli import main; made = b.ScheduledPeriodicTimer.__init__; "
        "b.ScheduledPeriodicTimer.__init__ = lambda self, interval: made(self, 10**9); main()"
    )
    options = [
        "--cores",
        "1",
        "--quiet",
        "rules",
        "--snakefile",
        str(REPOSITORY / "Snakefile"),
        "--directory",
        str(folder),
    ]
    subprocess.run([sys.executable, "-c", looking, *options, "--configfile", str(FINER)], check=True)


# --- what finished studies took ---------------------------------------------------------------------------------------


def read_study(folder: Path):
    """A finished study as the plan sees it."""
    from neurocohort.cluster.planning.study import Study
    from neurocohort.files import read_json

    return Study(read_json(folder / "results" / "report" / "provenance.json")["configuration"], folder)


def job_points(studies: list) -> Points:
    """By figure, the amounts that the plan would count with, and the seconds that the job took."""
    from neurocohort.cluster.planning import work

    points: Points = defaultdict(list)
    asked: list[tuple[str, dict]] = []
    work.seconds = lambda figure, **amounts: asked.append((figure, amounts)) or 0.0
    for study in studies:
        folder = study.directory / "benchmarks"
        for path in sorted(folder.rglob("*.tsv")):
            kind, *below = path.relative_to(folder).with_suffix("").parts
            if kind in work.LEARNING:
                continue
            asked.clear()
            work.seconds_of(study, work.Work(kind, below[0] if below else ""))
            points[asked[0][0]].append((asked[0][1], _took(path, study)))
    return points


def _took(path: Path, study) -> float:
    """Seconds of a job on a core of its own."""
    with path.open(newline="", encoding="utf-8") as stream:
        row = list(csv.DictReader(stream, delimiter="\t"))[-1]
    wall, cpu, load = (float(row[name]) for name in ("s", "cpu_time", "mean_load"))
    seen_to_its_end = wall < SAMPLED_S or study.config["study"] == OWN_STUDY
    return min(wall, cpu + SAMPLING_S) if seen_to_its_end and 0 < load < LEAST_LOAD else wall


def _wall(path: Path) -> float:
    with path.open(newline="", encoding="utf-8") as stream:
        return float(list(csv.DictReader(stream, delimiter="\t"))[-1]["s"])


def preprocessing_points() -> tuple[Points, float]:
    """From preprocessing.tsv: one job at a time on known scans; and by how much a deformable registration takes longer."""
    points: Points = defaultdict(list)
    took: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for row in rows_of("preprocessing"):
        if row["jobs"] == "1" and row["method"] in ("ours", "ours-deformable"):
            took[row["scan"], row["spacing_mm"]][row["method"]] = float(row["seconds"])
        if row["jobs"] == "1" and row["method"] == "ours" and row["scan"] in NATIVE_MVOXELS:
            grid = GRID_EXTENT_MM3 / float(row["spacing_mm"]) ** 3 / 1e6
            points["preprocess"].append(({"mvoxels": NATIVE_MVOXELS[row["scan"]] + grid}, float(row["seconds"])))
    longer = [both["ours-deformable"] - both["ours"] for both in took.values() if len(both) == 2]
    return points, float(np.mean(longer))


# --- networks and learning ---------------------------------------------------------------------------------------------


def network_points() -> Points:
    """Of every network, from the newest rows of network_times.tsv, and of roofline.tsv's grids of 1 mm."""
    from neurocohort.cluster.planning.networks import gflops

    found: dict[tuple, float] = {}
    for row in rows_of("network_times"):
        key = (row["mode"], row["network"], row["channels"], row["shape"])
        found[key] = float(row["cpu_seconds"])  # a later row takes the place of an earlier one
    for row in rows_of("roofline"):
        mode = {"training loop": "training", "inference": "inference"}.get(row["mode"])
        whole = row["patch"] == "n/a" or mode == "training"  # sliding windows are counted apart
        if row["device"] == "cpu" and mode and whole:
            shape = row["shape"] if row["patch"] == "n/a" else row["patch"]
            found[mode, row["network"], "own", shape] = float(row["threads"]) / float(row["scans_per_second"])
    points: Points = defaultdict(list)
    for (mode, network, channels, shape), seconds in found.items():
        sides = [int(side) for side in shape.split("x")]
        settings = {"task": NETWORKS[network], "network": network, "classes": 2, "modalities": ["T1w"]}
        settings["channels"] = [] if channels == "own" else [int(width) for width in channels.split("-")]
        amounts = {"mvoxels": float(np.prod(sides)) / 1e6, "gflops": gflops(settings, sides)}
        points[f"{'train' if mode == 'training' else 'infer'} {network}"].append((amounts, seconds))
    return points


def painting_seconds() -> float:
    """CPU seconds per million voxels that a painted image takes more than a scan, its wider augmentation included."""
    settings = {"task": "segmentation", "network": "unet", "channels": NARROW["unet"], "batch_size": 2, "threads": 1}
    settings |= {"epochs": 5, "patch": []}
    painted = settings | {"synthetic": {"fraction": 1.0}, "intensity_scale": "percentile"}
    took = []
    for one in (settings, painted):
        with tempfile.TemporaryDirectory(prefix="plan_rates_") as folder:
            values = {"folder": folder, "settings": one, "shape": PAINTED_SHAPE}
            took.append(in_child(network_times.__file__, "train", values, 1)["seconds"])
    return max(took[1] - took[0], 0.0) / (np.prod(PAINTED_SHAPE) / 1e6)


def learning_rates(studies: list, lines: dict[str, dict[str, float]]) -> dict[str, float]:
    """Of jobs of learning: by kind, the seconds beside the network's (imports, packs, tables); and how a look in a batch compares
    with one alone, as saliency maps have it. ``lines``: what is fitted so far."""
    from neurocohort.cluster.planning import work
    from neurocohort.files import read_json

    work.seconds = lambda figure, **amounts: value_of(lines.get(figure, {}), amounts)
    work.looks_in_batches = lambda: 1.0
    starts, saliency = defaultdict(list), []
    for study in studies:
        folder = study.directory
        for path in sorted((folder / "benchmarks" / "train").rglob("*.tsv")):
            run = folder / "results" / "experiments" / path.parent.name / path.stem / "run.json"
            starts["train"].append(_wall(path) - read_json(run)["training_seconds"])
        for path in sorted((folder / "benchmarks" / "predict").rglob("*.tsv")):
            starts["predict"].append(
                _took(path, study) - work.seconds_of(study, work.Work("predict", path.parent.name))
            )
        for path in sorted((folder / "benchmarks" / "saliency").rglob("*.tsv")):
            saliency.append((_took(path, study), work.seconds_of(study, work.Work("saliency", path.stem))))
    found = {
        kind: max(min(values), 0.0) for kind, values in starts.items()
    }  # the least: of jobs that nothing disturbed
    found["saliency"] = found["predict"]
    took, expected = (sum(column) for column in zip(*saliency, strict=True))
    return found | {"looks in batches": (took - len(saliency) * found["saliency"]) / expected}


# --- sizes ------------------------------------------------------------------------------------------------------------


def size_points(studies: list) -> Points:
    """By figure, bytes in the folders of finished studies."""
    from neurocohort.cluster.planning.disk import used_bytes

    points: Points = defaultdict(list)
    for study in studies:
        folder, results = study.directory, study.directory / "results"
        records = ("logs", "benchmarks", ".snakemake", "tensorboard", "splits")
        for cohort in study.cohorts.values():
            kind, mvoxels = cohort.settings["source"], cohort.scans * cohort.images * cohort.scan_mvoxels
            points[f"archives {kind}"].append(
                ({"mvoxels": mvoxels}, used_bytes(folder / "resources" / "synthetic" / kind))
            )
            points[f"raw {kind}"].append(({"mvoxels": mvoxels}, used_bytes(folder / "data" / cohort.name)))
            amounts = {"scans": cohort.scans, "mvoxels": cohort.scans * cohort.images * study.grid_mvoxels}
            preproc = results / cohort.name / "preproc"
            maps = sum(used_bytes(path) for path in preproc.glob("**/*_probseg.nii.gz"))
            points["preprocess"].append((amounts, used_bytes(preproc) - maps))
            points["tissue maps"].append(({"mvoxels": cohort.scans * cohort.scan_mvoxels}, maps))
        scans = sum(cohort.scans for cohort in study.cohorts.values())
        places = ("data", "results", "resources", *records)
        points["files"].append(({"scans": scans}, sum(1 for name in places for _ in (folder / name).rglob("*"))))
        points["template"].append(({"mvoxels": study.grid_mvoxels}, used_bytes(results / "template.npz")))
        points["report"].append(({"scans": scans}, used_bytes(results / "report")))
        points["records"].append(({"scans": scans}, sum(used_bytes(folder / name) for name in records)))
        for name, experiment in study.experiments.items():
            place = results / "experiments" / name
            maps, shown = used_bytes(place / "label_maps"), used_bytes(place / "saliency")
            if experiment["task"] == "segmentation":
                points["label maps"].append(({"mvoxels": study.parts(name).predicted * study.grid_mvoxels}, maps))
            else:
                points["saliency"].append(({"mvoxels": study.grid_mvoxels}, shown))
            networks = sum(used_bytes(path) for path in place.rglob("model.safetensors"))
            points["experiment"].append(({}, used_bytes(place) - maps - shown - networks))
    return points


SIZE_PARTS = {
    "preprocess": ("per_scan", "per_mvoxel"),
    "report": ("fixed", "per_scan"),
    "records": ("fixed", "per_scan"),
}
SIZE_PARTS |= {"template": ("fixed", "per_mvoxel"), "experiment": ("fixed",)}


def weights_sizes() -> dict[str, int]:
    """Bytes of each network's weights with its own channels, four a parameter."""
    from neurocohort.cluster.planning.networks import weights_bytes

    settings = {"classes": 2, "modalities": ["T1w"], "channels": []}
    return {name: round(weights_bytes(settings | {"task": task, "network": name})) for name, task in NETWORKS.items()}


def options_of_preprocess(study) -> tuple[dict[str, float], float, float]:
    """Of one scan of ``study``: its amounts, the bytes that a deformable registration leaves more, and the CPU seconds that a
    further image takes (the scan itself in its place: it is registered like any other)."""
    from neurocohort.cluster.planning.disk import used_bytes

    cohort = next(iter(study.cohorts))
    image = sorted((study.directory / "data" / cohort).glob("sub-*/ses-*/anat/*_T1w.nii.gz"))[0]
    template, keys = read_template(study.directory / "results" / "template.npz"), study.config["preprocessing"]
    sizes, took = {}, {}
    with tempfile.TemporaryDirectory(prefix="plan_rates_") as folder:
        for name, registration, extra in (
            ("first", "affine", {}),  # loads the networks
            ("plain", "affine", {}),
            ("deformable", "deformable", {}),
            ("further", "affine", {"T2w": image}),
        ):
            before = time.process_time()
            settings = Settings.taken_from(keys | {"registration": registration})
            write_scan(
                preprocess_scan(ScanImages(image, extra), template, settings), Path(folder) / name, "sub-1_ses-1"
            )
            took[name] = time.process_time() - before
            sizes[name] = used_bytes(Path(folder) / name)
    amounts = {"scans": 1, "mvoxels": study.grid_mvoxels}
    return amounts, sizes["deformable"] - sizes["plain"], max(took["further"] - took["plain"], 0.0)


# --- lines ------------------------------------------------------------------------------------------------------------


AMOUNTS = {"per_scan": "scans", "per_mvoxel": "mvoxels", "per_gflop": "gflops"}


def fitted(points: list[tuple[dict[str, float], float]], parts: tuple[str, ...]) -> dict[str, float]:
    """The parts of the straight line, none below zero, of least relative error."""
    from scipy.optimize import nnls

    amounts = np.array(
        [[each.get(AMOUNTS[part], 0.0) if part in AMOUNTS else 1.0 for part in parts] for each, _ in points]
    )
    took = np.maximum(np.array([value for _, value in points]), 1e-9)
    scale = np.maximum(amounts.max(axis=0), 1e-12)
    solution, _ = nnls(amounts / scale / took[:, None], np.ones(len(took)))
    return dict(zip(parts, (float(each) for each in solution / scale), strict=True))


def value_of(line: dict[str, float], amounts: dict[str, float]) -> float:
    """What a fitted line says for ``amounts``."""
    return line.get("fixed", 0.0) + sum(line.get(part, 0.0) * amounts.get(name, 0.0) for part, name in AMOUNTS.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("studies", nargs="*", type=Path, help="folders of finished studies")
    parser.add_argument("--run", type=Path, help="run the finer study in this folder, and measure nothing else")
    options = parser.parse_args()
    if options.run:
        run_study(options.run.resolve())
        return
    studies = [read_study(folder.resolve()) for folder in options.studies]
    rows = []

    def add(figure: str, unit: str, line: dict[str, float], points: int) -> None:
        rows.append({"figure": figure, "unit": unit, **line, "points": points})

    jobs = job_points(studies)
    others, longer = preprocessing_points()
    jobs["preprocess"] += others["preprocess"]
    sizes = size_points(studies)
    for row in rows_of("report_scale"):
        amounts = {"scans": float(row["scans"])}
        jobs["report"].append((amounts, float(row["seconds"])))
        sizes["report"].append((amounts, 1e6 * sum(float(row[name]) for name in ("page_mb", "subjects_mb", "zip_mb"))))
    for figure, points in sorted(jobs.items()):
        add(figure, "s", fitted(points, PARTS.get(figure, ("fixed",))), len(points))
    lines = {row["figure"]: row for row in rows}
    deformable = {"fixed": lines["preprocess"]["fixed"] + longer, "per_mvoxel": lines["preprocess"]["per_mvoxel"]}
    add("preprocess deformable", "s", deformable, lines["preprocess"]["points"])
    refined = [row for row in rows_of("learned_registration") if row["method"] == "flow, refined"][-1]
    learned = {**deformable, "fixed": lines["preprocess"]["fixed"] + float(refined["cpu_seconds"])}
    add("preprocess learned", "s", learned, lines["preprocess"]["points"])
    add("registration_network", "s", NETWORK_SECONDS, 1)
    for figure in LIGHT:
        add(figure, "s", {"fixed": lines["select"]["fixed"]}, lines["select"]["points"])
    for figure, points in network_points().items():
        both = figure.split()[1] in NARROW  # of one choice of channels, arithmetic grows as voxels do
        add(figure, "s", fitted(points, ("per_mvoxel", "per_gflop") if both else ("per_gflop",)), len(points))
    add("painted image", "s", {"per_mvoxel": painting_seconds()}, 1)
    for figure, value in learning_rates(studies, {row["figure"]: row for row in rows}).items():
        add(figure, "share" if figure == "looks in batches" else "s", {"fixed": value}, len(studies))
    add("files", "files", fitted(sizes.pop("files"), ("fixed", "per_scan")), len(studies))
    for figure, points in sorted(sizes.items()):
        add(f"size of {figure}", "bytes", fitted(points, SIZE_PARTS.get(figure, ("per_mvoxel",))), len(points))
    for name, size in weights_sizes().items():
        add(f"size of weights {name}", "bytes", {"fixed": size}, 1)
    amounts, deformed, further = options_of_preprocess(studies[-1])
    add("preprocess further", "s", {"fixed": further}, 1)
    add("size of deformable", "bytes", fitted([(amounts, deformed)], ("per_mvoxel",)), 1)
    write(rows)


def write(rows: list[dict]) -> None:
    """The table, in place of the earlier one."""
    from neurocohort.cluster.planning.rates import TABLE

    context = {"device": "cpu", "machine": machine()["machine"], "date": datetime.date.today().isoformat()}
    context |= {"commit": commit(), "command": "python tests/benchmarks/plan_rates.py DEMO FINER"}
    aside = TABLE.with_name(f".{os.getpid()}.{TABLE.name}")
    with aside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, restval="n/a", delimiter="\t", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in (context | row).items()}
            )
    os.replace(aside, TABLE)
    print(f"{len(rows)} rates in {TABLE.relative_to(REPOSITORY)}")


def rows_of(name: str) -> list[dict]:
    """The dated rows of a benchmark."""
    with (RESULTS / f"{name}.tsv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


if __name__ == "__main__":
    main()
