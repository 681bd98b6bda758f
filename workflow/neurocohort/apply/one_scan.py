"""Apply a bundle to one raw scan: the preprocessing of the training, the networks, the comparison with the training scans.

The preprocessed image is rounded to eight bits as in the study's packs, and the functions are those of the workflow, so that a
scan's prediction is the workflow's to the last digit.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from neurocohort.apply import flags
from neurocohort.apply.bundles import RawScanBundle
from neurocohort.apply.images import oriented_image
from neurocohort.apply.outcomes import FAILED, PREDICTED, REFUSED, Cell, Flag, Outcome
from neurocohort.apply.scans import RawScan
from neurocohort.dataset.pack import channel_scale, packed_levels
from neurocohort.errors import ScanExcluded, is_out_of_memory, storage_reason
from neurocohort.imaging.derivatives import MODULATED_GM, SUFFIXES
from neurocohort.imaging.preprocess import Settings, preprocess_scan
from neurocohort.imaging.scan_files import MODULATED_STEPS, PROBABILITY_STEPS, modulated_steps
from neurocohort.imaging.scan_results import Derivatives, PreprocessedScan, ScanImages
from neurocohort.imaging.template import grid_of_study
from neurocohort.imaging.volume import grid_of
from neurocohort.learning import inference
from neurocohort.learning.data import PackedImages
from neurocohort.learning.ensembles import average_values
from neurocohort.learning.features import predict_with_features
from neurocohort.learning.label_maps import labels_on_grid
from neurocohort.learning.prediction_tables import ID_COLUMNS, value_rows
from neurocohort.learning.tasks import CLASSIFICATION
from neurocohort.sources.columns import DIFFUSION_MAPS

COHORT = "raw scans"
MAPS = tuple(SUFFIXES.values())
PREPROCESSING, NETWORKS = "preprocessing", "networks"  # steps of a scan


@dataclass(frozen=True)
class Options:
    """How scans are treated.

    Attributes:
        strict: Give flagged scans no prediction.
        orientation: Of images that don't state theirs, such as RAS; empty to refuse them.
        skull_stripped: Whether the scans have no skull.
        mni_space: Whether the scans are in MNI space already.
        weights: The file of SynthStrip's weights, for studies that use it.
        brain_device: Where the brain mask is found, ``cpu`` or ``cuda``; empty for the study's own setting.
    """

    strict: bool = False
    orientation: str = ""
    skull_stripped: bool = False
    mni_space: bool = False
    weights: Path | None = None
    brain_device: str = ""


@dataclass(frozen=True)
class Found:
    """The networks' results for a scan: the columns of its row, and of a segmentation (labels, X, Y, Z) float32, 0 to 1."""

    prediction: dict[str, Cell]
    features: dict[str, np.ndarray]
    probabilities: np.ndarray | None = None


def predict_scan(
    bundle: RawScanBundle,
    scan: RawScan,
    options: Options = Options(),
    step: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Apply a bundle to a scan. A scan that can't be used has its reason. ``step``: called with what is done next.

    Raises:
        Exception: Errors of the machine other than too little memory for this scan, and of the program itself.
    """
    started = time.monotonic()
    try:
        outcome = _predict(bundle, scan, options, step)
    except ScanExcluded as excluded:
        outcome = Outcome(scan, FAILED, f"{excluded.stage}: {excluded.reason}")
    except (MemoryError, RuntimeError, OSError) as error:
        if storage_reason(error) or not is_out_of_memory(error):
            raise
        outcome = Outcome(scan, FAILED, f"memory: this machine has too little memory for {scan.path.name} ({error})")
    return replace(outcome, seconds=time.monotonic() - started)


def _predict(bundle: RawScanBundle, scan: RawScan, options: Options, step: Callable[[str], None]) -> Outcome:
    step(PREPROCESSING)
    result = _preprocessed(bundle, scan, options)
    known = bundle.reference
    scores = known.number_scores(result.metrics)
    flagged = [*flags.person_flags(scan, bundle), *flags.image_flags(result, scores, bundle)]
    outcome = Outcome(scan, FAILED, flags=flagged, not_compared=flags.not_compared(scan, bundle), result=result)
    if result.exclusion or result.derivatives is None:
        reason = f"{result.exclusion.stage}: {result.exclusion.reason}" if result.exclusion else "it has no image"
        return replace(outcome, reason=reason, scores=scores)
    step(NETWORKS)
    images = result.derivatives
    found = apply_networks(bundle, np.stack([_levels(images, name) for name in bundle.modalities]))
    flagged += flags_of_result(bundle, found, scores)
    outcome = replace(outcome, flags=flagged, scores=scores)
    if options.strict and flagged:
        return replace(outcome, status=REFUSED, reason=f"--strict refuses flagged scans: {_kinds(flagged)}")
    outcome = replace(outcome, status=PREDICTED, prediction=found.prediction)
    if found.probabilities is None:
        return outcome
    return _with_labels(outcome, images, found.probabilities, bundle)


def _preprocessed(bundle: RawScanBundle, scan: RawScan, options: Options) -> PreprocessedScan:
    wanted = [name for name in bundle.modalities if name not in MAPS and name != "T1w"]
    if maps := [name for name in wanted if name in DIFFUSION_MAPS]:
        raise ScanExcluded(
            "read",
            f"the model needs {', '.join(maps)}, which only a study computes from diffusion-weighted images: name the bundle "
            "under `models` of a study whose cohort has these modalities.",
        )
    if absent := [name for name in wanted if name not in scan.extra]:
        raise ScanExcluded(
            "read",
            f"the model needs {', '.join(absent)} in addition to the T1-weighted image: give a table with a column for each "
            "(--table).",
        )
    device = options.brain_device or (bundle.preprocessing.device if torch.cuda.is_available() else "cpu")
    settings = Settings.taken_from(
        bundle.preprocessing.as_dict(),
        device=device,
        weights=options.weights,
        registration_network=bundle.registration_network,
        skull_stripped=options.skull_stripped,
        mni_space=options.mni_space,
    )
    torch.set_num_threads(1)  # as in the workflow: the last bits of sums depend on it
    with tempfile.TemporaryDirectory() as scratch:
        folders = {name: Path(scratch) / name for name in ("T1w", *wanted)}
        for folder in folders.values():
            folder.mkdir()
        image = oriented_image(scan.path, options.orientation, folders["T1w"])
        extra = {name: oriented_image(scan.extra[name], options.orientation, folders[name]) for name in wanted}
        return preprocess_scan(ScanImages(image, extra), bundle.template, settings)


def flags_of_result(bundle: RawScanBundle, found: Found, scores: dict[str, float]) -> list[Flag]:
    """How the networks' results differ from those of the training scans. The score of the features is added to ``scores``."""
    known = bundle.reference
    flagged: list[Flag] = []
    distance = known.distance_of(found.features)
    if distance is not None and known.distance:
        scores["features"] = known.distance.score(distance)
        flagged += flags.feature_flags(distance, scores["features"], bundle)
    if found.prediction:
        flagged += flags.prediction_flags(found.prediction, bundle)
    return flagged


def apply_networks(bundle: RawScanBundle, levels: np.ndarray) -> Found:
    """Apply the networks to a scan as the packs have it, (channels, X, Y, Z) uint8."""
    place = (COHORT, COHORT)
    packed = PackedImages({place: levels[None]}, {}, {place: list(range(len(levels)))})
    rows = pd.DataFrame(
        [dict.fromkeys(ID_COLUMNS, 0) | {"cohort": COHORT, "pack": COHORT, "scan_id": "scan", "row": 0}]
    )
    rows = rows.assign(part="external", target=0.0)
    if bundle.segments:
        total = np.zeros((), dtype=np.float32)
        for model in bundle.models.values():
            total = total + inference.predict(model, rows, packed)[0].astype(np.float32)
        return Found({}, {}, total / np.float32(inference.LEVELS * len(bundle.models)))
    tables, features = {}, {}
    for name, model in bundle.models.items():
        values, own = predict_with_features(model, rows, packed)
        tables[name], features[name] = value_rows(rows, values), own[0]
    return Found(_columns(bundle, tables), features)


def _columns(bundle: RawScanBundle, tables: dict[str, pd.DataFrame]) -> dict[str, Cell]:
    """The columns of a scan: the mean over the networks, their spread, probabilities, and the interval or set."""
    averaged = average_values(tables).iloc[0]
    names = ["prediction", *(name for name in averaged.index if name.startswith("probability_")), "spread"]
    found: dict[str, Cell] = {name: averaged[name].item() for name in names}
    if bundle.conformal:
        found |= bundle.conformal.columns([_values(table.iloc[0], bundle.task) for table in tables.values()])
    return found


def _values(row: pd.Series, task: str) -> np.ndarray:
    """A network's value, (), or its probability of each class, (K,)."""
    several = [name for name in row.index if name.startswith("probability_")]
    if several:
        return row[several].to_numpy(dtype=float)
    value = float(row["prediction"])
    return np.array([1 - value, value] if task == CLASSIFICATION else value)


def _levels(images: Derivatives, channel: str) -> np.ndarray:
    """A channel on the study's grid as the packs have it, (X, Y, Z) uint8."""
    if channel in (*MAPS, MODULATED_GM):
        return packed_levels(_map(images, channel), channel_scale(channel))
    return packed_levels(np.asarray(images.preprocessed[channel].data, dtype=np.float32), channel_scale(channel))


def _map(images: Derivatives, channel: str) -> np.ndarray:
    """A map of tissue on the study's grid as its file has it, (X, Y, Z) float32."""
    found = images.modulated_gm if channel == MODULATED_GM else images.template_tissues
    if found is None:
        raise ScanExcluded("read", f"the model needs maps of {channel}, which its settings of preprocessing don't make")
    if channel == MODULATED_GM:
        return modulated_steps(found.data).astype(np.float32) / np.float32(MODULATED_STEPS)
    steps = np.rint(found.data[MAPS.index(channel)] * PROBABILITY_STEPS).astype(np.float32)
    return steps / np.float32(PROBABILITY_STEPS)


def _with_labels(outcome: Outcome, made: Derivatives, probabilities: np.ndarray, bundle: RawScanBundle) -> Outcome:
    to_template = made.deformation.scan_to_template if made.deformation else np.linalg.inv(made.affine)
    found = labels_on_grid(probabilities, grid_of_study(bundle.template).affine, grid_of(made.mask), to_template)
    names = bundle.structures
    counts = np.bincount(found.data.ravel(), minlength=len(names) + 1)[1:]
    volumes = {name: round(int(count) * found.voxel_ml, 3) for name, count in zip(names, counts, strict=True)}
    in_mni_space = outcome.result is not None and outcome.result.mni_space
    return replace(outcome, labels=found, volumes_ml={} if in_mni_space else volumes)


def _kinds(flagged: list[Flag]) -> str:
    return ", ".join(dict.fromkeys(flag.kind for flag in flagged))
