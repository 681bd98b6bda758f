"""How long a job takes on one core: what was measured (rates.tsv), scaled to this study's scans, grid and networks.

Where rules of the study have run already, their own times say how much faster or slower this machine is than that.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from neurocohort.cluster.planning.networks import gflops, weights_bytes, windows
from neurocohort.cluster.planning.rates import read_rates, seconds
from neurocohort.cluster.planning.study import Study
from neurocohort.study.members import training_settings

BLOCKS, HIDDEN_IN = 90, 3  # of an occlusion map: blocks of 30 mm in the brain, and the scans in which each is hidden
GRAD_CAM_STEPS = 3  # of a scan: forwards, and twice as much backwards
NETWORKS_SHOWN = 2  # the trained one, and one with random weights
LEARNING = ("train", "predict", "saliency")  # the kinds of job that run a network, on a GPU where they are given one
CPU = "cpu"
ENOUGH = 200


def seconds_of(study: Study, kind: str, name: str = "", run: str = "", epochs: int = 0) -> float:
    """Seconds of one core for one job. ``kind``: its folder under benchmarks/; ``name``: its cohort or experiment; ``run``: of a
    training, which, or of a preprocessing its batch. ``epochs``: of a training, where they are not those of the configuration."""
    grid = study.grid_mvoxels
    if kind in ("synthetic", "ingest", "preprocess", "quality", "pack", "split"):
        cohort = study.cohorts.get(name) or next(
            each for each in study.cohorts.values() if each.settings["source"] == name
        )
        if kind == "preprocess":
            return _preprocess(study, cohort) * study.scans_in_batch(cohort.name, run)
        if kind == "pack":  # the development and the held-out part are two jobs
            return seconds(kind, mvoxels=cohort.scans * cohort.images * grid / 2)
        return seconds(kind, scans=cohort.scans, mvoxels=cohort.scans * cohort.images * cohort.scan_mvoxels)
    if kind in ("template", "report", "download"):
        scans = sum(cohort.scans for cohort in study.cohorts.values())
        return seconds(kind, scans=scans)
    parts, experiment = study.parts(name), study.experiments[name]
    segments = experiment["task"] == "segmentation"
    if kind == "train":
        return _train(study, name, run, epochs)
    if kind == "predict":
        return seconds("predict") + parts.predicted * _inference(study, name)
    if kind == "saliency":
        return seconds("saliency") + _looked(study) * _inference(study, name) * looks_in_batches()
    if kind in ("baselines", "ensemble") and segments:
        return seconds(f"{kind} segmentation", mvoxels=(parts.all if kind == "baselines" else parts.predicted) * grid)
    if kind == "baselines":
        return seconds(kind, mvoxels=parts.all * grid * len(experiment["modalities"]))
    return seconds(kind, scans=parts.all)


@dataclass(frozen=True)
class Measured:
    """What the study's own benchmarks say of one kind of job on one kind of device: ``jobs`` that took ``ratio`` times as long
    as rates.tsv has it."""

    jobs: int
    ratio: float


def own_measurements(study: Study) -> dict[tuple[str, bool], Measured]:
    """By kind and whether on a GPU, from the benchmark files of jobs that have run in the study's folder."""
    took: dict[tuple[str, bool], list[tuple[float, float]]] = defaultdict(list)
    folder = study.directory / "benchmarks"
    for path in _some_of_each_kind(folder):
        kind, *below = path.relative_to(folder).with_suffix("").parts
        name, run = below[0] if below else "", "/".join(below[1:])
        record = study.run_record(name) if kind in LEARNING else {}
        try:
            expected = seconds_of(study, kind, name, run, record.get("epochs_run", 0))
        except (KeyError, StopIteration):  # of an experiment or cohort that the configuration hasn't any more
            continue
        threads = record.get("settings", {}).get("threads", 1)
        measured = _last_seconds(path)
        if measured is not None and expected > 0:
            took[kind, record.get("device", CPU) != CPU].append((measured * threads, expected))
    return {
        key: Measured(len(pairs), sum(pair[0] for pair in pairs) / sum(pair[1] for pair in pairs))
        for key, pairs in took.items()
    }


def _some_of_each_kind(folder: Path) -> Iterator[Path]:
    """The benchmark files, of each kind not more than say enough, since each is opened."""
    kinds = sorted(folder.iterdir()) if folder.is_dir() else []
    for kind in kinds:
        files = sorted(kind.rglob("*.tsv")) if kind.is_dir() else [kind]
        yield from files[:: max(1, len(files) // ENOUGH)]


def network_bytes(study: Study, experiment: str) -> float:
    """Bytes of the weights of one of the experiment's networks."""
    return weights_bytes(training_settings(study.experiments[experiment], study.members(experiment)[0]).as_dict())


def _last_seconds(path: Path) -> float | None:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return float(list(csv.DictReader(stream, delimiter="\t"))[-1]["s"])
    except (OSError, ValueError, KeyError, IndexError):
        return None


def _preprocess(study: Study, cohort) -> float:
    settings = study.config["preprocessing"]
    figure = "preprocess deformable" if settings["registration"] == "deformable" else "preprocess"
    alone = seconds(figure, mvoxels=cohort.scan_mvoxels + study.grid_mvoxels)
    return alone + (cohort.images - 1) * seconds("preprocess further") if cohort.images > 1 else alone


def _train(study: Study, name: str, run: str, epochs: int) -> float:
    parts, settings = (
        study.parts(name),
        training_settings(study.experiments[name], run or study.members(name)[0]).as_dict(),
    )
    shape = settings["patch"] or study.shape
    voxels = shape[0] * shape[1] * shape[2] / 1e6
    step = seconds(f"train {settings['network']}", mvoxels=voxels, gflops=gflops(settings, shape))
    look = _inference(study, name, run)
    return seconds("train") + (epochs or settings["epochs"]) * (parts.train * step + parts.validation * look)


def _inference(study: Study, name: str, run: str = "") -> float:
    """Seconds for one scan."""
    settings = training_settings(study.experiments[name], run or study.members(name)[0]).as_dict()
    shape = settings["patch"] or study.shape
    voxels = shape[0] * shape[1] * shape[2] / 1e6
    once = seconds(f"infer {settings['network']}", mvoxels=voxels, gflops=gflops(settings, shape))
    return once * windows(settings["patch"], study.shape)


def looks_in_batches() -> float:
    """What a look in a small batch takes, against one of a scan alone."""
    return read_rates()["looks in batches"].fixed


def _looked(study: Study) -> float:
    """How many predictions a saliency map is made of."""
    settings = study.config["saliency"]
    if settings["method"] == "grad_cam":
        return settings["scans"] * GRAD_CAM_STEPS * NETWORKS_SHOWN
    return (BLOCKS * HIDDEN_IN + settings["scans"]) * NETWORKS_SHOWN
