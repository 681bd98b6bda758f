"""The part of a bundle that `neurocohort predict` needs to apply it to raw scans: the networks' settings, those of the
preprocessing, the template, the limits of quality, and what the training scans were like."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neurocohort.dataset.quality_limits import QualityLimits
from neurocohort.errors import InputError
from neurocohort.export.bundle_metadata import Bundle
from neurocohort.export.reference import reference_of
from neurocohort.files import read_table, write_json, written_aside
from neurocohort.imaging.learned_constants import needs_network
from neurocohort.learning.feature_files import FEATURES, ScanFeatures, read_features
from neurocohort.learning.tasks import REGRESSION, SEGMENTATION, task_values
from neurocohort.settings.scan import ScanKeys

RAW_SCANS = Path("configs/raw_scans.json")
REFERENCE = Path("models/reference.npz")
TEMPLATE = Path("models/template.npz")
REGISTRATION = Path("models/registration.safetensors")


@dataclass(frozen=True)
class RawScanParts:
    """What the part is made from.

    Attributes:
        template: The study's template.
        quality: qc.tsv of the training cohorts, with ``cohort``.
        features: Those of each network; empty for a segmentation.
        registration: The network of `registration: learned`, if the study has one.
    """

    template: Path
    quality: pd.DataFrame
    features: Mapping[str, ScanFeatures] = field(default_factory=dict)
    registration: Path | None = None


def read_parts(
    template: Path,
    results: Path,
    entry: dict[str, Any],
    members: Mapping[str, Path],
    registration: Path | None = None,
) -> RawScanParts:
    """Read the parts of a study.

    Args:
        template: The study's template.
        results: The study's results.
        entry: The experiment's block of the configuration.
        members: The folders of its networks by name.
        registration: The network of `registration: learned`, if the study has one.
    """
    tables = [
        read_table(results / name / "qc.tsv", required=("scan_id",)).assign(cohort=name) for name in entry["cohorts"]
    ]
    if entry["task"] == SEGMENTATION:
        return RawScanParts(template, pd.concat(tables, ignore_index=True), registration=registration)
    features = {name: read_features(folder / FEATURES) for name, folder in members.items()}
    return RawScanParts(template, pd.concat(tables, ignore_index=True), features, registration)


def write_raw_scan_part(folder: Path, bundle: Bundle, parts: RawScanParts) -> None:
    """Write RAW_SCANS, REFERENCE and TEMPLATE into the bundle's folder, and REGISTRATION if scans are registered with a network.

    Raises:
        InputError: If they are, and the parts have none.
    """
    samples = bundle.samples[bundle.samples["cohort"].isin(bundle.entry["cohorts"])]
    features = {name: parts.features[name] for name in bundle.members if name in parts.features}
    reference = reference_of(samples, parts.quality, features)
    values = reference.as_values() | ({} if bundle.task.kind == REGRESSION else {"target": None})
    configuration = bundle.configuration
    content: dict[str, Any] = {
        "study": configuration["study"],
        "experiment": bundle.experiment,
        "demo_data": bool(configuration["demo_data"]),
        "task": bundle.task.kind,
        "target": bundle.entry["target"],
        "classes": bundle.class_names,
        "preprocessing": ScanKeys.taken_from(configuration["preprocessing"]).as_dict(),
        "quality": _limits(configuration["quality"]),
        "members": {
            name: {
                "weights": f"models/{weights}",
                "settings": member.settings | {"weights": ""},  # where the training started from is a path
                "task": task_values(task),
                "intensity": {"mean": member.intensity.mean, "deviation": member.intensity.deviation},
            }
            for (name, member), weights, task in zip(bundle.members.items(), bundle.weights, bundle.tasks, strict=True)
        },
        "reference": values,
    }
    write_json(folder / RAW_SCANS, content)
    _write_arrays(folder / REFERENCE, reference.arrays())
    _copy_template(parts.template, folder / TEMPLATE)
    if needs_network(configuration["preprocessing"]):
        if parts.registration is None or not parts.registration.is_file():
            raise InputError(
                f"The study registers its scans with a network, and {parts.registration or 'none'} is there to copy into the "
                "bundle; run the workflow again."
            )
        shutil.copyfile(parts.registration, folder / REGISTRATION)


def _limits(quality: dict[str, Any]) -> dict[str, float]:
    """The limits that aren't those of another scan's site; only numbers that JSON has."""
    limits = asdict(QualityLimits(**quality)) | {"max_outlier_z": 0.0}
    return {name: value for name, value in limits.items() if np.isfinite(value)}


def _copy_template(source: Path, target: Path) -> None:
    """Copy the template's arrays, compressed."""
    try:
        with np.load(source) as arrays:
            content = dict(arrays)
    except (OSError, ValueError) as error:
        raise InputError(f"{source} can't be read as the template: {error}. Delete it and run again.") from error
    _write_arrays(target, content)


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with written_aside(path) as aside, open(aside, "wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)  # type: ignore[arg-type]  # numpy's stub has other keywords
