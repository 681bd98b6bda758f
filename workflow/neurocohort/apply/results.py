"""The files of an application: a table and a JSON file with a row for each scan, its picture, and label maps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from neurocohort import __version__
from neurocohort.apply.bundles import RawScanBundle
from neurocohort.apply.outcomes import Outcome
from neurocohort.files import write_json, write_table, written_aside
from neurocohort.imaging.reading import write_image

TABLE, RECORD, VOLUMES, SCANS = "predictions.tsv", "predictions.json", "volumes.tsv", "scans"
CONFORMAL_COLUMNS = {"Intervals": ("interval_low", "interval_high"), "Sets": ("set",)}


def mosaic_path(folder: Path, outcome: Outcome) -> Path:
    """Where the picture of a scan is."""
    return folder / SCANS / f"{outcome.scan.scan_id}.png"


def labels_path(folder: Path, outcome: Outcome) -> Path:
    """Where the label map of a scan is, on the scan's own grid."""
    return folder / SCANS / f"{outcome.scan.scan_id}_dseg.nii.gz"


def write_images(folder: Path, outcome: Outcome) -> None:
    """Write the picture and the label map of a scan, as far as it has them."""
    (folder / SCANS).mkdir(parents=True, exist_ok=True)
    if outcome.result is not None and outcome.result.mosaic is not None:
        with written_aside(mosaic_path(folder, outcome)) as aside:
            outcome.result.mosaic.save(aside, "PNG")
    if outcome.labels is not None:
        with written_aside(labels_path(folder, outcome)) as aside:
            write_image(aside, outcome.labels.data, outcome.labels.affine)


def write_tables(folder: Path, bundle: RawScanBundle, outcomes: Sequence[Outcome]) -> None:
    """Write predictions.tsv, predictions.json and, for a segmentation, volumes.tsv."""
    write_table(folder / TABLE, predictions_table(bundle, outcomes))
    write_json(folder / RECORD, predictions_record(bundle, outcomes))
    if bundle.segments:
        rows = [
            {"scan_id": one.scan.scan_id, "tissue": tissue, "volume_ml": volume}
            for one in outcomes
            for tissue, volume in one.volumes_ml.items()
        ]
        write_table(folder / VOLUMES, pd.DataFrame(rows, columns=["scan_id", "tissue", "volume_ml"]))


def predictions_table(bundle: RawScanBundle, outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """A row for each scan: prediction, interval or set, flags, reason, what is known of the person, and quality numbers."""
    columns = [] if bundle.segments else ["prediction", *_conformal_columns(bundle)]
    rows = []
    for one in outcomes:
        row: dict[str, Any] = {"scan_id": one.scan.scan_id, "file": one.scan.path.name, "status": one.status}
        row |= dict.fromkeys(columns) | dict(one.prediction)
        row |= {
            "flags": ", ".join(dict.fromkeys(flag.kind for flag in one.flags)),
            "flag_sentences": " ".join(flag.sentence for flag in one.flags),
            "reason": one.reason,
            "age": one.scan.age,
            "sex": one.scan.sex,
            "site": one.scan.site,
        }
        rows.append(row)
    first = list(dict.fromkeys(name for row in rows for name in row))
    ends = ["flags", "flag_sentences", "reason", "age", "sex", "site"]
    numbers = pd.DataFrame([one.numbers for one in outcomes])
    table = pd.DataFrame(rows, columns=[*(name for name in first if name not in ends), *ends])
    return pd.concat([table.replace({"": None}), numbers], axis=1)


def _conformal_columns(bundle: RawScanBundle) -> tuple[str, ...]:
    return CONFORMAL_COLUMNS[type(bundle.conformal).__name__] if bundle.conformal else ()


def predictions_record(bundle: RawScanBundle, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The same with full sentences and scores, and what the model is."""
    return {
        "neurocohort": __version__,
        "model": model_record(bundle),
        "limits": dict(bundle.reference.limits),
        "scans": [_record(one) for one in outcomes],
    }


def model_record(bundle: RawScanBundle) -> dict[str, Any]:
    """What a model is."""
    return {
        "study": bundle.study,
        "experiment": bundle.experiment,
        "task": bundle.task,
        "target": bundle.target,
        "classes": bundle.classes,
        "demo_data": bundle.demo,
        "intended_use": bundle.intended_use,
    }


def line(one: Outcome) -> str:
    """What became of a scan, for a terminal: a line, and one for each flag."""
    values = ", ".join(f"{name} {value}" for name, value in one.prediction.items() if name != "spread")
    volumes = ", ".join(f"{name} {value} mL" for name, value in one.volumes_ml.items())
    first = f"{one.scan.scan_id}: {one.status}{': ' if one.reason or values or volumes else ''}{one.reason or values or volumes}"
    return "\n".join([f"{first} ({one.seconds:.1f} s)", *(f"  {flag.kind}: {flag.sentence}" for flag in one.flags)])


def _record(one: Outcome) -> dict[str, Any]:
    return {
        "scan_id": one.scan.scan_id,
        "file": one.scan.path.name,
        "status": one.status,
        "reason": one.reason or None,
        "age": one.scan.age,
        "sex": one.scan.sex,
        "site": one.scan.site,
        "prediction": dict(one.prediction),
        "volumes_ml": dict(one.volumes_ml),
        "flags": [vars(flag) for flag in one.flags],
        "not_compared": one.not_compared,
        "scores": {name: round(score, 3) for name, score in one.scores.items()},
        "quality": one.numbers,
        "notes": one.result.notes if one.result else [],
        "seconds": round(one.seconds, 2),
    }
