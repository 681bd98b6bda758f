"""The cohort's quality table and its exclusions: one row a scan, outliers measured against the scans of the same site."""

from pathlib import Path

import numpy as np
import pandas as pd

from neurocohort.files import read_json, read_table
from neurocohort.imaging.derivatives import qc_path

EXCLUSION_COLUMNS = ["participant_id", "scan_id", "stage", "reason"]
MAD_TO_SD = 1.4826  # a normal distribution's standard deviation over its median absolute deviation
SMALLEST_SITE = 5  # fewer scans have no distribution of their own: the whole cohort's is taken


def quality_tables(
    scans: pd.DataFrame, ingest_exclusions: pd.DataFrame, preproc: Path, max_outlier_z: float = 0.0
) -> tuple:
    """The tables ``qc`` (a row a scan) and ``exclusions`` (ingest's rows, then preprocessing's).

    ``scans``: ingest's table; ``preproc``: the folder of the preprocessed scans. ``max_outlier_z``: a scan with a score beyond
    it is excluded too; 0 excludes none. Raises InputError where a record is missing.
    """
    rows = []
    for scan in scans.itertuples():
        record = read_json(qc_path(preproc, scan.scan_id))
        row = {"scan_id": scan.scan_id, "participant_id": scan.participant_id, "site": scan.site}
        row |= {key: record[key] for key in ("status", "stage", "reason")}
        row["has_labels"] = "yes" if "dseg" in record["outputs"] else "no"
        row |= record["metrics"] | {f"volume_{name}_ml": value for name, value in record["volumes_ml"].items()}
        rows.append(row)
    qc = pd.DataFrame(rows)
    numbers = [name for name in qc.columns if pd.api.types.is_numeric_dtype(qc[name]) and qc[name].notna().any()]
    for name in numbers:
        qc[f"{name}_z"] = robust_z_by_site(qc[name], qc["site"])
    if max_outlier_z:
        _exclude_outliers(qc, numbers, max_outlier_z)
    lost = qc.loc[qc["status"] != "ok", EXCLUSION_COLUMNS]
    exclusions = pd.concat([ingest_exclusions[EXCLUSION_COLUMNS], lost], ignore_index=True)
    return qc, exclusions


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


def read_preproc_tables(scans_path: Path, exclusions_path: Path, preproc: Path, max_outlier_z: float) -> tuple:
    """quality_tables of the files that ingest left."""
    scans = read_table(scans_path, required=("scan_id", "participant_id", "site"))
    return quality_tables(scans, read_table(exclusions_path, required=tuple(EXCLUSION_COLUMNS)), preproc, max_outlier_z)
