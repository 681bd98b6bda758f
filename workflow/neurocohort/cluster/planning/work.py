"""How long a job takes on one core: what was measured (rates.tsv), scaled to this study's scans, grid and networks.

If rules of the study have run already, their own times show how much faster or slower this machine is.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import NamedTuple

from neurocohort.cluster.planning.cohorts import Cohort
from neurocohort.cluster.planning.networks import gflops, weights_bytes, windows
from neurocohort.cluster.planning.rates import read_rates, seconds
from neurocohort.cluster.planning.study import PastTraining, Study
from neurocohort.dataset.packs import all_packs
from neurocohort.study.members import training_settings
from neurocohort.study.structures import structures_to_learn

BLOCKS, HIDDEN_IN = 90, 3  # of an occlusion map: blocks of 30 mm in the brain, and the scans in which each is hidden
REGIONS = 40  # blocks of the template's tissues
GRAD_CAM_STEPS = 3  # per scan, in forward passes: a backward pass takes twice as long as a forward pass
NETWORKS_SHOWN = 2  # the trained one, and one with random weights
LEARNING = (
    "train",
    "predict",
    "saliency",
    "regions",
)  # kinds of jobs that run a network, on a GPU if they are given one
CPU = "cpu"
UNLABELLED_PASSES = 4 / 3  # of a scan without labels, in trained ones: the network learns, and the teacher predicts
COARSE_SHARE = 1 / 8  # of the time of an epoch that a coarse one takes
ENOUGH = 200  # benchmark files of a kind


class Work(NamedTuple):
    """The work of a job.

    Args:
        kind: Its folder under benchmarks/.
        name: Its cohort or experiment.
        run: Which training, or which batch of scans.
        epochs: Epochs of a training; 0 for those of the configuration.
    """

    kind: str
    name: str = ""
    run: str = ""
    epochs: int = 0


@dataclass(frozen=True)
class Measured:
    """The study's own benchmarks of a kind of job: how many, and their duration relative to rates.tsv."""

    jobs: int
    ratio: float


def seconds_of(study: Study, work: Work) -> float:
    """Seconds of one core for one job."""
    kind, name, run, epochs = work
    if kind in ("synthetic", "ingest", "preprocess", "quality", "pack", "split"):
        return _cohort_seconds(study, work)
    if kind in ("template", "report", "download", "longitudinal"):
        return seconds(kind, scans=study.scans)
    if kind == "registration_network":
        return seconds(kind, scans=study.config["preprocessing"]["learned"]["steps"])
    if kind == "apply_model":  # of networks that the plan doesn't read; they are quick compared with the preprocessing
        return seconds("predict") + study.scans * seconds("infer sfcn", mvoxels=study.grid_mvoxels)
    if kind in ("suggest", "tracking"):  # they read small tables too; their imports take some seconds more
        return seconds("choose")
    parts, experiment = study.parts(name), study.experiments[name]
    if kind == "train":
        return _train(study, name, run, epochs)
    if kind == "predict":
        looks = 2 if experiment["training"]["mirror_averaging"] else 1
        # Of the training scans too, the features are written; a network of label maps has none.
        scans = parts.predicted if experiment["task"] == "segmentation" else parts.all
        return seconds("predict") + scans * looks * _inference(study, name)
    if kind == "saliency":
        return seconds("saliency") + _saliency_predictions(study) * _inference(study, name) * looks_in_batches()
    if kind == "regions":  # not measured; it starts like a saliency map
        return seconds("saliency") + _region_predictions(study, name) * _inference(study, name) * looks_in_batches()
    grid = study.grid_mvoxels
    if kind in ("baselines", "ensemble") and experiment["task"] == "segmentation":
        return seconds(f"{kind} segmentation", mvoxels=(parts.all if kind == "baselines" else parts.predicted) * grid)
    if kind == "baselines":
        return seconds(kind, mvoxels=parts.all * grid * len(experiment["modalities"]))
    return seconds(kind, scans=parts.all)


def own_measurements(study: Study) -> dict[tuple[str, bool], Measured]:
    """By kind of job and whether it ran on a GPU, from the benchmark files in the study's folder."""
    took: dict[tuple[str, bool], list[tuple[float, float]]] = defaultdict(list)
    folder = study.directory / "benchmarks"
    for path in _some_of_each_kind(folder):
        kind, *below = path.relative_to(folder).with_suffix("").parts
        name, run = below[0] if below else "", "/".join(below[1:])
        training = study.past_training(name) if kind in LEARNING else PastTraining()
        try:
            expected = seconds_of(study, Work(kind, name, run, training.epochs))
        except (KeyError, StopIteration):  # of an experiment or cohort that the configuration no longer has
            continue
        measured = _last_seconds(path)
        if measured is not None and expected > 0:
            took[kind, training.device != CPU].append((measured * training.threads, expected))
    return {
        key: Measured(len(pairs), sum(pair[0] for pair in pairs) / sum(pair[1] for pair in pairs))
        for key, pairs in took.items()
    }


def network_bytes(study: Study, experiment: str) -> float:
    """Bytes of the weights of one of the experiment's networks."""
    return weights_bytes(_settings(study, experiment))


def looks_in_batches() -> float:
    """The time of a prediction in a small batch, relative to that of a scan alone."""
    return read_rates()["looks in batches"].fixed


def _some_of_each_kind(folder: Path) -> Iterator[Path]:
    """Some ENOUGH benchmark files of each kind, since each is opened."""
    kinds = sorted(folder.iterdir()) if folder.is_dir() else []
    for kind in kinds:
        files = sorted(kind.rglob("*.tsv")) if kind.is_dir() else [kind]
        yield from files[:: max(1, len(files) // ENOUGH)]


def _last_seconds(path: Path) -> float | None:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return float(list(csv.DictReader(stream, delimiter="\t"))[-1]["s"])
    except (OSError, ValueError, KeyError, IndexError):
        return None


def _cohort_seconds(study: Study, work: Work) -> float:
    # A synthetic cohort's archives are made for its source, which has no cohort's name.
    named = (cohort for cohort in study.cohorts.values() if cohort.source_name == work.name)
    cohort = study.cohorts.get(work.name) or next(named)
    if work.kind == "preprocess":
        return _preprocess(study, cohort) * study.scans_in_batch(cohort.name, work.run)
    if work.kind == "pack":  # the development and the held-out part are two jobs; each test fold is one
        jobs = len(all_packs(study.config["split"]["test_folds"]))
        return seconds("pack", mvoxels=cohort.scans * cohort.images * study.grid_mvoxels / jobs)
    return seconds(work.kind, scans=cohort.scans, mvoxels=cohort.image_mvoxels)


def _preprocess(study: Study, cohort: Cohort) -> float:
    registration = study.config["preprocessing"]["registration"]
    figure = "preprocess" if registration == "affine" else f"preprocess {registration}"
    first = seconds(figure, mvoxels=cohort.scan_mvoxels + study.grid_mvoxels)
    return first + (cohort.images - 1) * seconds("preprocess further") if cohort.images > 1 else first


def _train(study: Study, name: str, run: str, epochs: int) -> float:
    parts, settings = study.parts(name), _settings(study, name, run)
    validation = parts.validation * _inference(study, name, run)
    training = parts.train * (_pass_seconds(study, "train", name, run) + _painting(study, settings))
    training *= 1 + (UNLABELLED_PASSES if settings.get("semi_supervised") else 0)  # as many of them as labelled ones
    epochs = epochs or settings["epochs"]
    fine = epochs - (1 - COARSE_SHARE) * min(settings["coarse_epochs"], epochs)
    return seconds("train") + fine * (training + validation)


def _painting(study: Study, settings: dict) -> float:
    """Seconds for one sample of a training that paints a fraction of them, the mean over all."""
    fraction = (settings.get("synthetic") or {}).get("fraction", 0.0)
    return fraction * seconds("painted image", mvoxels=study.grid_mvoxels * len(settings["modalities"]))


def _inference(study: Study, name: str, run: str = "") -> float:
    """Seconds for one scan."""
    settings = _settings(study, name, run)
    return _pass_seconds(study, "infer", name, run) * windows(settings["patch"], study.shape)


def _pass_seconds(study: Study, mode: str, name: str, run: str) -> float:
    """Seconds of one scan or patch through the network. ``mode``: train or infer."""
    settings = _settings(study, name, run)
    shape = settings["patch"] or study.shape
    return seconds(f"{mode} {settings['network']}", mvoxels=prod(shape) / 1e6, gflops=gflops(settings, shape))


def _settings(study: Study, name: str, run: str = "") -> dict:
    """The settings of a training of an experiment."""
    experiment = study.experiments[name]
    structures = structures_to_learn(experiment, study.config["cohorts"])
    return training_settings(experiment, run or study.members(name)[0], structures=structures).as_dict()


def _saliency_predictions(study: Study) -> int:
    """How many predictions a saliency map needs."""
    settings = study.config["saliency"]
    if settings["method"] in ("grad_cam", "attention"):  # attention takes less: one pass
        return settings["scans"] * GRAD_CAM_STEPS * NETWORKS_SHOWN
    return (BLOCKS * HIDDEN_IN + settings["scans"]) * NETWORKS_SHOWN


def _region_predictions(study: Study, name: str) -> int:
    """How many predictions the importance of regions needs. An atlas is taken to have as many as the template's blocks."""
    settings = study.config["saliency"]["regions"]
    networks = len(study.members(name)) + settings["random_networks"]
    scans = min(settings["scans"], round(study.parts(name).predicted))
    return scans * (REGIONS + 1) * networks
