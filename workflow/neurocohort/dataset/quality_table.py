"""The cohort's quality table and its exclusions: one row a scan, outliers measured against the scans of the same site."""

from pathlib import Path

import numpy as np
import pandas as pd

from neurocohort.cohorts.scan_batches import read_batches
from neurocohort.dataset.quality_limits import QualityLimits, beyond_limits
from neurocohort.errors import InputError
from neurocohort.files import read_json, read_table
from neurocohort.imaging.derivatives import qc_path
from neurocohort.notes import PREPROCESSING, Kind, Note, Notes

EXCLUSION_COLUMNS = ["participant_id", "scan_id", "stage", "reason"]
MAD_TO_SD = 1.4826  # a normal distribution's standard deviation over its median absolute deviation
BATCH_RESULTS = "preproc_batches"  # the folder of what each batch of scans leaves
SMALLEST_SITE = 5  # fewer scans have no distribution of their own: the whole cohort's is taken


def quality_tables(
    scans: pd.DataFrame,
    ingest_exclusions: pd.DataFrame,
    preproc: Path,
    limits: QualityLimits = QualityLimits(),  # noqa: B008  (it is frozen)
    keys: dict[str, str] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, list[Note]]:
    """The tables ``qc`` (a row a scan) and ``exclusions`` (ingest's rows, then preprocessing's), and the notes on usable scans.

    ``scans``: ingest's table; ``preproc``: the folder of the preprocessed scans. A scan beyond one of ``limits`` is excluded.
    ``keys``: by scan_id, the key that its record must have. Raises InputError where a record is missing or has another key.
    """
    rows, noted = [], {}
    for scan in scans.itertuples():
        record = read_json(qc_path(preproc, scan.scan_id))
        if keys is not None and record.get("key") != keys.get(scan.scan_id):
            raise InputError(
                f"{qc_path(preproc, scan.scan_id)} isn't the record that the scan's batch left; delete it and the tables in "
                f"{preproc.with_name(BATCH_RESULTS)}, and run again."
            )
        row = {"scan_id": scan.scan_id, "participant_id": scan.participant_id, "site": scan.site}
        row |= {key: record[key] for key in ("status", "stage", "reason")}
        if beyond := beyond_limits(record["metrics"], limits, mni_space=record.get("mni_space", False)):
            row |= {"status": "excluded", "stage": beyond[0], "reason": beyond[1]}
        row["has_labels"] = "yes" if "dseg" in record["outputs"] else "no"
        row |= record["metrics"] | {f"volume_{name}_ml": value for name, value in record["volumes_ml"].items()}
        rows.append(row)
        noted[scan.scan_id] = record.get("notes", [])
    qc = pd.DataFrame(rows)
    numbers = [name for name in qc.columns if pd.api.types.is_numeric_dtype(qc[name]) and qc[name].notna().any()]
    for name in numbers:
        qc[f"{name}_z"] = robust_z_by_site(qc[name], qc["site"])
    if limits.max_outlier_z:
        _exclude_outliers(qc, numbers, limits.max_outlier_z)
    lost = qc.loc[qc["status"] != "ok", EXCLUSION_COLUMNS]
    exclusions = pd.concat([ingest_exclusions[EXCLUSION_COLUMNS], lost], ignore_index=True)
    return qc, exclusions, _notes(qc, noted)


def _notes(qc: pd.DataFrame, noted: dict[str, list[str]]) -> list[Note]:
    """What preprocessing noted of the scans that are used; the reason of an excluded one says what is to be known of it."""
    notes = Notes(PREPROCESSING)
    for row in qc[qc["status"] == "ok"].itertuples():
        for sentence in noted[row.scan_id]:
            notes.add(Kind.SCANS, sentence, row.participant_id, row.scan_id)
    return notes.notes


def robust_z_by_site(values: pd.Series, site: pd.Series) -> pd.Series:
    """Distance from the site's median in robust standard deviations (median absolute deviation), rounded to 3 digits."""
    result = pd.Series(np.nan, index=values.index)
    for _, group in values.groupby(site.fillna("unknown")):
        reference = (group if group.notna().sum() >= SMALLEST_SITE else values).dropna()
        spread = MAD_TO_SD * (reference - reference.median()).abs().median()
        if spread > 0:
            result[group.index] = ((group - reference.median()) / spread).round(3)
    return result


def _exclude_outliers(qc: pd.DataFrame, numbers: list[str], limit: float) -> None:
    """Mark the usable scans with a score beyond ``limit`` as excluded, with their most extreme number as the reason."""
    for row in qc.index[qc["status"] == "ok"]:
        scores = qc.loc[row, [f"{name}_z" for name in numbers]].astype(float).abs()
        if scores.max() > limit:
            name = scores.idxmax().removesuffix("_z")
            reason = f"{name} is {qc.at[row, name]:.4g}, {scores.max():.1f} robust standard deviations from its site's median, "
            qc.loc[row, ["status", "stage", "reason"]] = ["excluded", "quality", f"{reason}expected at most {limit:g}"]


def read_preproc_tables(
    data: Path, results: Path, limits: QualityLimits
) -> tuple[pd.DataFrame, pd.DataFrame, list[Note]]:
    """quality_tables of what the ingest left in ``data`` and the batches of scans in ``results``, the cohort's folders."""
    scans = read_table(data / "scans.tsv", required=("scan_id", "participant_id", "site"))
    exclusions = read_table(data / "exclusions.tsv", required=tuple(EXCLUSION_COLUMNS))
    keys = {}
    for batch in read_batches(data / "batches.tsv"):
        done = read_table(results / BATCH_RESULTS / f"{batch}.tsv", required=("scan_id", "key_id"))
        keys |= dict(zip(done["scan_id"], done["key_id"], strict=True))
    return quality_tables(scans, exclusions, results / "preproc", limits, keys)
