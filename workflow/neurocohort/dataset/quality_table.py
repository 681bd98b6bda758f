"""The cohort's quality table and its exclusions: one row a scan, with scores among the scans of its site."""

from pathlib import Path

import pandas as pd

from neurocohort.dataset.quality_flags import SMALLEST_COHORT, SMALLEST_SITE, is_flag, robust_z_by_site
from neurocohort.dataset.quality_limits import QualityLimits, beyond_limits
from neurocohort.errors import InputError
from neurocohort.files import read_json, read_table
from neurocohort.imaging.derivatives import qc_path
from neurocohort.notes import PREPROCESSING, Kind, Note, Notes
from neurocohort.sources.scan_batches import read_batches

EXCLUSION_COLUMNS = ["participant_id", "scan_id", "stage", "reason"]
BATCH_RESULTS = "preproc_batches"  # the folder of what each batch of scans leaves


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
    return qc, exclusions, _notes(qc, noted, limits)


def _notes(qc: pd.DataFrame, noted: dict[str, list[str]], limits: QualityLimits) -> list[Note]:
    """What preprocessing noted of the scans that are used; the reason of an excluded one says what is to be known of it."""
    notes = Notes(PREPROCESSING)
    if limits.max_outlier_z and len(qc) < SMALLEST_COHORT:
        found = f"scores need {SMALLEST_COHORT} scans, and the cohort has {len(qc)}"
        notes.add(Kind.OTHER, f"`quality.max_outlier_z` excludes no scan: {found}.")
    for row in qc[qc["status"] == "ok"].itertuples():
        for sentence in noted[row.scan_id]:
            notes.add(Kind.SCANS, sentence, row.participant_id, row.scan_id)
    return notes.notes


def _have_made_again(gone: dict[str, Path], preproc: Path) -> None:
    """Delete the tables of the batches whose scans, by id in ``gone``, were deleted: the next run does those again. Raises
    InputError, which says so."""
    for table in set(gone.values()):
        table.unlink(missing_ok=True)
    first = ", ".join(sorted(gone)[:3]) + (" and others" if len(gone) > 3 else "")
    raise InputError(
        f"{preproc} has lost the files of {len(gone)} preprocessed scan(s) ({first}). Run the same command again: it "
        "preprocesses these again, and no other."
    )


def _exclude_outliers(qc: pd.DataFrame, numbers: list[str], limit: float) -> None:
    """Mark the usable scans with a score beyond ``limit``, on a side that points at a fault, as excluded, with their most extreme
    number as the reason."""
    for row in qc.index[qc["status"] == "ok"]:
        scores = {name: float(qc.at[row, f"{name}_z"]) for name in numbers}
        beyond = {name: abs(score) for name, score in scores.items() if is_flag(name, score, limit)}
        if beyond:
            name = max(beyond, key=beyond.get)
            reason = (
                f"{name} is {qc.at[row, name]:.4g}, {beyond[name]:.1f} robust standard deviations "
                f"{'below' if scores[name] < 0 else 'above'} the median of its site (of the cohort, where the site has fewer "
                f"than {SMALLEST_SITE} scans), expected less than {limit:g}"
            )
            qc.loc[row, ["status", "stage", "reason"]] = ["excluded", "quality", reason]


def read_preproc_tables(
    data: Path, results: Path, limits: QualityLimits
) -> tuple[pd.DataFrame, pd.DataFrame, list[Note]]:
    """quality_tables of what the ingest left in ``data`` and the batches of scans in ``results``, the cohort's folders."""
    scans = read_table(data / "scans.tsv", required=("scan_id", "participant_id", "site"))
    exclusions = read_table(data / "exclusions.tsv", required=tuple(EXCLUSION_COLUMNS))
    keys, gone = {}, {}
    for batch in read_batches(data / "batches.tsv"):
        path = results / BATCH_RESULTS / f"{batch}.tsv"
        done = read_table(path, required=("scan_id", "key_id"))
        keys |= dict(zip(done["scan_id"], done["key_id"], strict=True))
        gone |= {scan: path for scan in done["scan_id"] if not qc_path(results / "preproc", scan).is_file()}
    if gone:
        _have_made_again(gone, results / "preproc")
    return quality_tables(scans, exclusions, results / "preproc", limits, keys)
