"""What a study needs on the disk at its peak, part by part, and how much of it is there already."""

import os
import time
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from typing import NamedTuple

from neurocohort.cluster.planning.cohorts import Cohort
from neurocohort.cluster.planning.rates import read_rates, size
from neurocohort.cluster.planning.study import Study
from neurocohort.dataset.packs import all_packs
from neurocohort.structures import TISSUES
from neurocohort.study.pretraining import is_pretraining
from neurocohort.study.structures import structures_to_learn

STATES = 4  # copies of a network in a checkpoint: weights, the best ones, and Adam's two moments
COPIES = 2  # of a trained network: its own file, and the bundle's
TISSUE_MAPS = 3  # of a scan, on the study's grid
FEATURE_BYTES = 4 * 2048  # of a scan and network; resnet50 has the most
BLOCK_BYTES = 512  # the unit of st_blocks
RECORDS = ("logs", "benchmarks", ".snakemake", "tensorboard", "splits")


class Need(NamedTuple):
    """A part of the study's folder: its bytes at their peak, and those that are there, as ``du`` counts them."""

    part: str
    peak: float
    there: float

    @property
    def to_come(self) -> float:
        """Bytes that are still to be written."""
        return max(self.peak - self.there, 0.0)


def needs(
    study: Study, at_a_time: int, count_s: float = inf, weights_of: Callable[[str], float] | None = None
) -> list[Need]:
    """The parts of a study's folder.

    Args:
        study: The study.
        at_a_time: Trainings that run at the same time.
        count_s: Seconds after which counting the existing files stops; what isn't counted is taken to be missing.
        weights_of: Bytes of an experiment's network. Without it, those of its architecture with the published channels, for
            which torch need not be imported.
    """
    until = time.monotonic() + count_s
    weights_of = weights_of or (lambda name: size(f"weights {study.experiments[name]['network']['name']}"))
    parts = [*_cohort_parts(study), *_experiment_parts(study, at_a_time, weights_of)]
    parts.append(("report", size("report", scans=study.scans), ["results/report"]))
    parts.append(("logs and records", size("records", scans=study.scans), list(RECORDS)))
    return [
        Need(part, peak, sum(used_bytes(study.directory / place, until) for place in places))
        for part, peak, places in parts
    ]


def files_needed(study: Study) -> int:
    """Roughly how many files and folders a study makes, for quotas that count them."""
    return round(read_rates()["files"].of(scans=study.scans))


def used_bytes(place: Path, until: float = inf) -> float:
    """Bytes that a file or folder uses on the disk; links are not followed, and hard links count once.

    Args:
        place: The file or folder.
        until: Time (of time.monotonic) at which counting stops.
    """
    seen: set[tuple[int, int]] = set()
    total, waiting = 0, [str(place)]
    while waiting and time.monotonic() < until:
        path = waiting.pop()
        try:
            status = os.lstat(path)
            if os.path.isdir(path) and not os.path.islink(path):
                waiting += [entry.path for entry in os.scandir(path)]
        except OSError:  # it doesn't exist, or was deleted meanwhile
            continue
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            total += status.st_blocks * BLOCK_BYTES
    return total


_Part = tuple[str, float, list[str]]  # name, bytes at the peak, and files and folders in the study's folder


def _cohort_parts(study: Study) -> Iterator[_Part]:
    cohorts, grid = list(study.cohorts.values()), study.grid_mvoxels
    synthetic = {cohort.source_name: cohort for cohort in cohorts if cohort.synthetic}
    archives = sum(archive.size_bytes for archive in study.archives if archive.remote)
    archives += sum(size(f"archives {name}", mvoxels=cohort.image_mvoxels) for name, cohort in synthetic.items())
    yield "archives", archives, ["resources"]
    yield "raw BIDS", sum(map(_raw, cohorts)), [f"data/{cohort.name}" for cohort in cohorts]
    preprocessed = size("template", mvoxels=grid) + sum(_preprocessed(study, cohort) for cohort in cohorts)
    folders = [f"results/{cohort.name}/preproc" for cohort in cohorts]
    yield "preprocessed scans", preprocessed, ["results/template.npz", *folders]
    maps = TISSUE_MAPS if study.config["preprocessing"]["tissue_maps"] else 0
    packed = sum(
        (cohort.scans * (cohort.images + maps + _modulated(study, cohort)) + cohort.labelled) * grid * 1e6
        for cohort in cohorts
    )
    packs = all_packs(study.config["split"]["test_folds"])
    yield "packs", packed, [f"results/{cohort.name}/packed/{pack}" for cohort in cohorts for pack in packs]


def _experiment_parts(study: Study, at_a_time: int, weights_of: Callable[[str], float]) -> Iterator[_Part]:
    weights = {name: weights_of(name) for name in study.experiments}
    members = {name: len(study.members(name)) for name in weights}
    largest = sorted((weights[name] for name in weights for _ in range(members[name])), reverse=True)[:at_a_time]
    yield "checkpoints while training", STATES * sum(largest), ["checkpoints"]
    kept = sum(COPIES * weights[name] * members[name] + _results(study, name) for name in weights)
    yield "networks and predictions", kept, ["results/experiments", "results/models"]


def _raw(cohort: Cohort) -> float:
    if cohort.source_name == "oasis1":
        return size("raw oasis1", mvoxels=cohort.written_mvoxels)
    if cohort.source_name == "ixi" and not cohort.synthetic:  # copied as it is in the archive
        return sum(archive.size_bytes for archive in cohort.archives)
    return size("raw ixi", mvoxels=cohort.image_mvoxels if cohort.source_name == "ixi" else cohort.written_mvoxels)


def _preprocessed(study: Study, cohort: Cohort) -> float:
    grid = cohort.scans * study.grid_mvoxels
    found = size("preprocess", scans=cohort.scans, mvoxels=cohort.images * grid)
    found += size("tissue maps", mvoxels=cohort.scans * cohort.scan_mvoxels)  # on the raw scan's grid
    if study.config["preprocessing"]["tissue_maps"]:
        found += size("tissue maps", mvoxels=grid * (1 + _modulated(study, cohort) / TISSUE_MAPS))
    if study.config["preprocessing"]["registration"] != "affine":
        found += size("deformable", scans=cohort.scans, mvoxels=grid)
    return found


def _modulated(study: Study, cohort: Cohort) -> int:
    """The number of modulated maps of a scan."""
    return int(study.config["preprocessing"]["modulated_gm"] and not cohort.settings.get("mni_space"))


def _results(study: Study, experiment: str) -> float:
    """Tables; for a segmentation the networks' probabilities, which exist until they are averaged, and label maps; for the
    others a saliency map and the networks' features."""
    tables, members = size("experiment"), len(study.members(experiment))
    if is_pretraining(study.experiments[experiment]):
        return tables
    if study.experiments[experiment]["task"] != "segmentation":
        features = members * study.parts(experiment).all * FEATURE_BYTES
        return tables + features + size("saliency", mvoxels=study.grid_mvoxels)
    predicted = study.parts(experiment).predicted
    structures = structures_to_learn(study.experiments[experiment], study.config["cohorts"]) or TISSUES
    levels = len(structures) + 1  # probabilities of a voxel, a byte each
    probabilities = members * predicted * levels * study.grid_mvoxels * 1e6
    return tables + probabilities + size("label maps", mvoxels=predicted * study.grid_mvoxels)
