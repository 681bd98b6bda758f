"""A cohort's quality table, with a row per scan and scores among the scans of a site, and its exclusions."""

from pathlib import Path

import pandas as pd

from neurocohort.dataset.quality_flags import SMALLEST_COHORT, SMALLEST_SITE, is_flag, robust_z_by_site
from neurocohort.dataset.quality_limits import QualityLimits, beyond_limits
from neurocohort.errors import InputError
from neurocohort.files import read_table
from neurocohort.imaging.derivatives import qc_path
from neurocohort.imaging.scan_record import read_record
from neurocohort.notes import PREPROCESSING, Kind, Note, Notes
from neurocohort.sources.scan_batches import read_batches

EXCLUSION_COLUMNS = ["participant_id", "scan_id", "stage", "reason"]
BATCH_RESULTS = "preproc_batches"  # the folder of the batches' tables


def quality_tables(
    scans: pd.DataFrame,
    ingest_exclusions: pd.DataFrame,
    preproc: Path,
    limits: QualityLimits = QualityLimits(),  # noqa: B008  (it is frozen)
    keys: dict[str, str] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, list[Note]]:
    """Make the quality table and the exclusions of a cohort.

    Args:
        scans: The ingest's table.
        ingest_exclusions: The ingest's exclusions.
        preproc: The folder of the preprocessed scans.
        limits: A scan beyond one of them is excluded.
        keys: By scan_id, the key that its record must have.

    Returns:
        ``qc``, a row per scan; ``exclusions``, those of the ingest and then those of preprocessing; the notes on usable scans.

    Raises:
        InputError: If a record is missing or has another key.
    """
    rows, noted = [], {}
    for scan in scans.itertuples():
        record = read_record(qc_path(preproc, scan.scan_id))
        if keys is not None and record.key != keys.get(scan.scan_id):
            raise InputError(
                f"{qc_path(preproc, scan.scan_id)} isn't the record that the scan's batch left; delete it and the tables in "
                f"{preproc.with_name(BATCH_RESULTS)}, and run again."
            )
        row = {"scan_id": scan.scan_id, "participant_id": scan.participant_id, "site": scan.site}
        row |= {"status": record.status, "stage": record.stage, "reason": record.reason}
        if beyond := beyond_limits(record.metrics, limits, mni_space=record.mni_space):
            row |= {"status": "excluded", "stage": beyond[0], "reason": beyond[1]}
        row["has_labels"] = "yes" if "dseg" in record.outputs else "no"
        row |= record.metrics | {f"volume_{name}_ml": value for name, value in record.volumes_ml.items()}
        rows.append(row)
        noted[scan.scan_id] = record.notes
    qc = pd.DataFrame(rows)
    numbers = [name for name in qc.columns if pd.api.types.is_numeric_dtype(qc[name]) and qc[name].notna().any()]
    for name in numbers:
        qc[f"{name}_z"] = robust_z_by_site(qc[name], qc["site"])
    if limits.max_outlier_z:
        _exclude_outliers(qc, numbers, limits.max_outlier_z)
    lost = qc.loc[qc["status"] != "ok", EXCLUSION_COLUMNS]
    exclusions = pd.concat([ingest_exclusions[EXCLUSION_COLUMNS], lost], ignore_index=True)
    return qc, exclusions, _notes(qc, noted, limits)


def _notes(qc: pd.DataFrame, noted: dict[str, list[str]], limits: QualityLimits) -> list[Note]:
    """The notes on usable scans; an excluded scan has its reason instead."""
    notes = Notes(PREPROCESSING)
    if limits.max_outlier_z and len(qc) < SMALLEST_COHORT:
        found = f"scores need {SMALLEST_COHORT} scans, and the cohort has {len(qc)}"
        notes.add(Kind.OTHER, f"`quality.max_outlier_z` excludes no scan: {found}.")
    for row in qc[qc["status"] == "ok"].itertuples():
        for sentence in noted[row.scan_id]:
            notes.add(Kind.SCANS, sentence, row.participant_id, row.scan_id)
    return notes.notes


def _redo_batches(gone: dict[str, Path], preproc: Path) -> None:
    """Raise InputError, and delete the tables of the batches with missing scans (by id), so that the next run repeats them."""
    for table in set(gone.values()):
        table.unlink(missing_ok=True)
    first = ", ".join(sorted(gone)[:3]) + (" and others" if len(gone) > 3 else "")
    raise InputError(
        f"{preproc} has lost the files of {len(gone)} preprocessed scan(s) ({first}). Run the same command again: it "
        "preprocesses these again, and no other."
    )


def _exclude_outliers(qc: pd.DataFrame, numbers: list[str], limit: float) -> None:
    """Exclude the usable scans with a score beyond ``limit`` on a side of a fault; the most extreme number is the reason."""
    for row in qc.index[qc["status"] == "ok"]:
        scores = {name: float(qc.at[row, f"{name}_z"]) for name in numbers}
        beyond = {name: abs(score) for name, score in scores.items() if is_flag(name, score, limit)}
        if beyond:
            name = max(beyond, key=lambda name: beyond[name])
            reason = (
                f"{name} is {qc.at[row, name]:.4g}, {beyond[name]:.1f} robust standard deviations "
                f"{'below' if scores[name] < 0 else 'above'} the median of its site (of the cohort, where the site has fewer "
                f"than {SMALLEST_SITE} scans), expected less than {limit:g}"
            )
            qc.loc[row, ["status", "stage", "reason"]] = ["excluded", "quality", reason]


def read_preproc_tables(
    data: Path, results: Path, limits: QualityLimits
) -> tuple[pd.DataFrame, pd.DataFrame, list[Note]]:
    """Read what the ingest left in ``data`` and the batches of scans in ``results``, and make the `quality_tables`."""
    scans = read_table(data / "scans.tsv", required=("scan_id", "participant_id", "site"))
    exclusions = read_table(data / "exclusions.tsv", required=tuple(EXCLUSION_COLUMNS))
    keys: dict[str, str] = {}
    gone: dict[str, Path] = {}
    for batch in read_batches(data / "batches.tsv"):
        path = results / BATCH_RESULTS / f"{batch}.tsv"
        done = read_table(path, required=("scan_id", "key_id"))
        keys |= dict(zip(done["scan_id"], done["key_id"], strict=True))
        gone |= {scan: path for scan in done["scan_id"] if not qc_path(results / "preproc", scan).is_file()}
    if gone:
        _redo_batches(gone, results / "preproc")
    return quality_tables(scans, exclusions, results / "preproc", limits, keys)
