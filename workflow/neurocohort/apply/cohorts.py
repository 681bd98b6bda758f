"""Apply a bundle of another study to the preprocessed scans of this study's cohorts: predictions, metrics and notes.

The scans were preprocessed with the bundle's settings and template, so that the predictions are those of `neurocohort predict`
and of the bundle's own study.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from neurocohort.apply import flags
from neurocohort.apply.bundles import RawScanBundle
from neurocohort.apply.one_scan import apply_networks, flags_of_result
from neurocohort.apply.outcomes import PREDICTED
from neurocohort.apply.scans import RawScan
from neurocohort.dataset.class_values import value_text
from neurocohort.dataset.pack import packed_channels
from neurocohort.dataset.targets import SEX_CLASSES, target_values
from neurocohort.errors import InputError
from neurocohort.evaluation.evaluate import evaluate
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.measures import EXTERNAL
from neurocohort.imaging.derivatives import qc_path, scan_folder
from neurocohort.imaging.scan_record import read_record
from neurocohort.imaging.scan_results import PreprocessedScan, ScanImages
from neurocohort.imaging.template import Template, grid_of_study, read_template
from neurocohort.learning.tasks import REGRESSION
from neurocohort.notes import EVALUATION, Kind, Note

EXCLUDED = "excluded"
OK = "ok"
TEMPLATE_TOLERANCE = 1e-3  # of intensities from 0 to 1: other machines round differently
FIRST = ("cohort", "part", "scan_id", "participant_id", "site", "age", "sex", "target", "status")
LAST = ("flags", "flag_sentences", "reason")


@dataclass(frozen=True)
class CohortScans:
    """A cohort: its tables scans.tsv and qc.tsv, and the folder of its preprocessed scans."""

    scans: pd.DataFrame
    quality: pd.DataFrame
    preproc: Path


def check_template(bundle: RawScanBundle, template: Path) -> None:
    """Raise InputError unless the study's template is the bundle's."""
    own, its = read_template(template), bundle.template
    grid, its_grid = grid_of_study(own), grid_of_study(its)
    same = grid.shape == its_grid.shape and np.array_equal(grid.affine, its_grid.affine)
    if isinstance(own, Template) and isinstance(its, Template):
        same = same and np.allclose(own.brain.data, its.brain.data, atol=TEMPLATE_TOLERANCE)
    elif isinstance(own, Template) != isinstance(its, Template):
        same = False
    if not same:
        raise InputError(
            f"{template} isn't the template of {bundle.folder}: found a grid of {list(grid.shape)} voxels, expected the same "
            f"brain on {list(its_grid.shape)}. Leave `preprocessing.spacing_mm` and `preprocessing.shape` out, and delete "
            f"{template}."
        )


def predictions_of(bundle: RawScanBundle, cohorts: Mapping[str, CohortScans], target: str) -> pd.DataFrame:
    """A row for each scan: who it is of, ``target``, ``status`` (predicted or excluded), the prediction, flags, and why it was
    excluded.

    Args:
        bundle: The opened bundle.
        cohorts: By name.
        target: The column with the true values.

    Raises:
        InputError: If a preprocessed file has changed, or values of the target don't fit the task.
    """
    torch.set_num_threads(1)  # as in the workflow and `predict`: the last bits of sums depend on it
    rows = []
    for name, cohort in cohorts.items():
        values = targets_of(bundle, name, cohort.scans, target)
        quality = cohort.quality.set_index("scan_id")
        for scan, value in zip(cohort.scans.to_dict("records"), values, strict=True):
            known = {column: scan[column] for column in ("scan_id", "participant_id", "site", "age", "sex")}
            row: dict[str, Any] = {"cohort": name, "part": EXTERNAL} | known | {"target": value}
            found = quality.loc[scan["scan_id"]]
            if found["status"] == OK:
                row |= _predicted(bundle, cohort.preproc, raw_scan(scan))
            else:
                row |= {"status": EXCLUDED, "reason": f"{found['stage']}: {found['reason']}"}
            rows.append(row)
    made = list(dict.fromkeys(key for row in rows for key in row if key not in (*FIRST, *LAST)))
    return pd.DataFrame(rows, columns=[*FIRST, *made, *LAST]).replace({"": None})


def metrics_of(bundle: RawScanBundle, predictions: pd.DataFrame, bootstrap: Bootstrap) -> pd.DataFrame:
    """metrics.tsv of the predicted scans that have a value of the target."""
    tested = predictions[(predictions["status"] == PREDICTED) & predictions["target"].notna()]
    return evaluate(tested, tested.head(0).assign(model=""), bundle.task, bootstrap)


def notes_of(bundle: RawScanBundle, predictions: pd.DataFrame, target: str) -> Iterator[Note]:
    """Yield a note for each cohort of which the model can't be tested, or only on some scans, or which has flagged scans."""
    for cohort, rows in predictions.groupby("cohort", sort=False):
        absent = int(rows["target"].isna().sum())
        if absent:
            found = f"{absent} of {len(rows)} scans have no value of `{target}`"
            text = f"{cohort}: {found}, so they only get predictions of the model {bundle.experiment}, and are in no metric."
            yield Note(EVALUATION, Kind.VALUES, None, None, text)
        flagged = int(rows["flags"].notna().sum())
        if flagged:
            found = f"{flagged} of {len(rows)} scans differ from the training scans of the model {bundle.experiment}"
            text = (
                f"{cohort}: {found}, so that their predictions may be wrong: see `flag_sentences` in predictions.tsv."
            )
            yield Note(EVALUATION, Kind.SCANS, None, None, text)


def targets_of(bundle: RawScanBundle, cohort: str, scans: pd.DataFrame, target: str) -> pd.Series:
    """The true value of each scan, or the number of its class; missing where there is none."""
    if target not in scans:
        return pd.Series(float("nan"), index=scans.index)
    if bundle.task == REGRESSION:
        return target_values({cohort: scans}, bundle.task, target)[cohort]
    if target == "sex" and bundle.classes == ["0", "1"]:
        return scans[target].map(SEX_CLASSES)
    codes = {value: number for number, name in enumerate(bundle.classes) for value in (name, *name.split("/"))}
    return scans[target].map(lambda value: codes.get("" if pd.isna(value) else value_text(value), float("nan")))


def raw_scan(scan: Mapping[str, Any]) -> RawScan:
    """A row of scans.tsv as the flags take it."""
    age, sex, site = (None if pd.isna(scan[key]) else scan[key] for key in ("age", "sex", "site"))
    return RawScan(scan["scan_id"], Path(str(scan["path"])), age, sex, site)


def _predicted(bundle: RawScanBundle, preproc: Path, scan: RawScan) -> dict[str, Any]:
    record = read_record(qc_path(preproc, scan.scan_id))
    levels = packed_channels(scan_folder(preproc, scan.scan_id), record, bundle.modalities)
    result = PreprocessedScan(ScanImages(scan.path), record.mni_space, metrics=record.metrics)
    scores = bundle.reference.number_scores(record.metrics)
    flagged = [*flags.person_flags(scan, bundle), *flags.image_flags(result, scores, bundle)]
    found = apply_networks(bundle, levels)
    flagged += flags_of_result(bundle, found, scores)
    return {
        "status": PREDICTED,
        **found.prediction,
        "flags": ", ".join(dict.fromkeys(flag.kind for flag in flagged)),
        "flag_sentences": " ".join(flag.sentence for flag in flagged),
    }
