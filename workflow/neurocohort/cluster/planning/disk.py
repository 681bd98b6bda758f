"""What a study needs on the disk at its peak, part by part, and what of it lies there already."""

import os
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import NamedTuple

from neurocohort.cluster.planning.rates import read_rates, size
from neurocohort.cluster.planning.study import Study
from neurocohort.dataset.packs import PACKS

STATES = 4  # copies of a network in a checkpoint: weights, the best ones, and Adam's two moments
COPIES = 2  # of a trained network: its own file, and the bundle's
TISSUE_LEVELS = 4  # probabilities of a voxel, a byte each
BLOCK_BYTES = 512  # what st_blocks counts in


class Need(NamedTuple):
    """``peak``: the bytes at most; ``there``: those that lie there; both as ``du`` counts them."""

    part: str
    peak: float
    there: float

    @property
    def to_come(self) -> float:
        return max(self.peak - self.there, 0.0)


def needs(
    study: Study, at_a_time: int, count_s: float = inf, weights_of: Callable[[str], float] | None = None
) -> list[Need]:
    """The parts of a study's folder. ``at_a_time``: trainings that run side by side. ``count_s``: seconds after which counting
    what is there stops: it then counts for less, and the need for more. ``weights_of``: the bytes of an experiment's network;
    without it those of its architecture with its own channels, for which torch need not be imported."""
    until = time.monotonic() + count_s
    directory, results = study.directory, study.directory / "results"
    cohorts, grid = study.cohorts.values(), study.grid_mvoxels

    def there(*places: Path) -> float:
        return sum(used_bytes(place, until) for place in places)

    synthetic = {cohort.settings["source"]: cohort for cohort in cohorts if cohort.synthetic}.values()
    archives = sum(archive.size_bytes for archive in study.archives if archive.remote)
    archives += sum(
        size(f"archives {c.settings['source']}", mvoxels=c.scans * c.images * c.scan_mvoxels) for c in synthetic
    )
    parts = [
        Need("archives", archives, there(directory / "resources")),
        Need("raw BIDS", sum(map(_raw, cohorts)), there(*(directory / "data" / cohort.name for cohort in cohorts))),
        Need(
            "preprocessed scans",
            size("template", mvoxels=grid) + sum(_preprocessed(study, cohort) for cohort in cohorts),
            there(results / "template.npz", *(results / cohort.name / "preproc" for cohort in cohorts)),
        ),
        Need(
            "packs",
            sum((cohort.scans * cohort.images + cohort.labelled) * grid * 1e6 for cohort in cohorts),
            there(*(results / cohort.name / "packed" / pack for cohort in cohorts for pack in PACKS)),
        ),
    ]
    usual = {name: size(f"weights {each['network']['name']}") for name, each in study.experiments.items()}
    weights = {name: weights_of(name) if weights_of else usual[name] for name in usual}
    members = {name: len(study.members(name)) for name in weights}
    states = sorted((weights[name] for name in weights for _ in range(members[name])), reverse=True)
    parts += [
        Need("checkpoints while training", STATES * sum(states[:at_a_time]), there(directory / "checkpoints")),
        Need(
            "networks and predictions",
            sum(COPIES * weights[name] * members[name] + _results(study, name) for name in weights),
            there(results / "experiments", results / "models"),
        ),
    ]
    scans = sum(cohort.scans for cohort in cohorts)
    parts.append(Need("report", size("report", scans=scans), there(results / "report")))
    parts.append(
        Need(
            "logs and records",
            size("records", scans=scans),
            there(*(directory / name for name in ("logs", "benchmarks", ".snakemake", "tensorboard", "splits"))),
        )
    )
    return parts


def files_needed(study: Study) -> int:
    """Roughly how many files and folders a study makes, for quotas that count them."""
    return round(read_rates()["files"].of(scans=sum(cohort.scans for cohort in study.cohorts.values())))


def used_bytes(place: Path, until: float = inf) -> float:
    """What a file or folder takes on the disk, links to elsewhere not followed, hard links counted once; counting stops at the
    time ``until`` (of time.monotonic)."""
    seen: set[tuple[int, int]] = set()
    total, waiting = 0, [str(place)]
    while waiting and time.monotonic() < until:
        path = waiting.pop()
        try:
            status = os.lstat(path)
            if os.path.isdir(path) and not os.path.islink(path):
                waiting += [entry.path for entry in os.scandir(path)]
        except OSError:  # not there, or gone while we look
            continue
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            total += status.st_blocks * BLOCK_BYTES
    return total


def _raw(cohort) -> float:
    if cohort.settings["source"] == "ixi":  # copied as they are in the archive
        if not cohort.synthetic:
            return sum(archive.size_bytes for archive in cohort.archives)
        return size("raw ixi", mvoxels=cohort.scans * cohort.images * cohort.scan_mvoxels)
    if cohort.settings["source"] == "oasis1":
        return size("raw oasis1", mvoxels=cohort.written_mvoxels)
    return size("raw ixi", mvoxels=cohort.written_mvoxels)


def _preprocessed(study: Study, cohort) -> float:
    found = size("preprocess", scans=cohort.scans, mvoxels=cohort.scans * cohort.images * study.grid_mvoxels)
    found += size("tissue maps", mvoxels=cohort.scans * cohort.scan_mvoxels)  # on the raw scan's grid
    if study.config["preprocessing"]["registration"] == "deformable":
        found += size("deformable", scans=cohort.scans, mvoxels=cohort.scans * study.grid_mvoxels)
    return found


def _results(study: Study, experiment: str) -> float:
    """The tables; of a segmentation the networks' probabilities, until they are averaged, and the label maps; of others a
    saliency map."""
    tables = size("experiment")
    if study.experiments[experiment]["task"] != "segmentation":
        return tables + size("saliency", mvoxels=study.grid_mvoxels)
    predicted, members = study.parts(experiment).predicted, len(study.members(experiment))
    probabilities = members * predicted * TISSUE_LEVELS * study.grid_mvoxels * 1e6
    return tables + probabilities + size("label maps", mvoxels=predicted * study.grid_mvoxels)
