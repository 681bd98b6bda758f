"""A user's own scans, named one by one in a table: participant, session, path of the image, and any variables."""

import os
from collections.abc import Sequence
from pathlib import Path

from neurocohort.cohorts import raw_bids
from neurocohort.cohorts.local_files import LABELS, PATH_COLUMNS, named_file, pair_of
from neurocohort.cohorts.local_scans import LocalScan, check_modalities, ingest_local, is_label
from neurocohort.cohorts.local_tables import LocalTable, with_prefix
from neurocohort.cohorts.variables import cohort_of, read_scan_table
from neurocohort.errors import InputError

SESSION = "ses-1"  # where the table names none


def ingest_table(
    table: Path | str, folder: Path | str, *, modalities: Sequence[str] = ("T1w",), base: Path | str | None = None
) -> dict:
    """Turn the scans that a table names into the raw BIDS layout under ``folder``.

    The table (.csv, .tsv or .xlsx) has a row a scan: ``participant_id`` and ``path`` are needed, ``session_id`` is ses-1
    where it is left out, and ``path_T2w``, ``path_PDw`` and ``path_FLAIR`` are needed where ``modalities`` has them.
    ``path_dseg`` is the scan's reference segmentation (see `local_labels`), for the rows that have one. Every other column
    is a variable. Paths are absolute or start from ``base``, the table's own folder by default. A .nii.gz is
    linked, .nii and Analyze are written as .nii.gz, and a scan whose image is missing or can't be read is excluded.

    Returns the numbers of scans, participants, excluded rows and the notes. Raises InputError where the table can't be
    read, a row's IDs aren't letters and digits, two rows are of one participant and session, or no scan can be used.
    """
    table, folder, base = Path(table), Path(folder), Path(base) if base else None
    check_modalities(modalities)
    content = read_scan_table(table)
    if not content.rows:
        raise InputError(f"{table} has a header and no row below it; expected a row a scan.")
    _check_path_columns(content, modalities)
    collected = raw_bids.Ingested(folder)
    collected.tables.append(table)
    keys = _keys(content)
    if without := sum(not row.get("session_id") for row in content.rows.values()):
        collected.note(f"{without} row(s) name no session; their scans are {SESSION}.")
    scans = []
    for number, row in content.rows.items():
        participant_id, session_id = keys[number]
        cells = {modality: row.get(PATH_COLUMNS[modality]) for modality in modalities}
        images = {modality: named_file(cell, table, base) for modality, cell in cells.items() if cell}
        cell = row.get(PATH_COLUMNS[LABELS])
        labels = named_file(cell, table, base) if cell else None
        _check_outside(table, number, [*images.values(), *filter(None, [labels])], folder)
        if lacking := [PATH_COLUMNS[modality] for modality, cell in cells.items() if not cell]:
            reason = f"Row {number} of the table has no {' and no '.join(lacking)}."
            collected.exclude(participant_id, f"{participant_id}_{session_id}", reason)
        else:
            scans.append(LocalScan(participant_id, session_id, "", images, labels))
    if scans and not any(os.path.lexists(scan.images["T1w"]) for scan in scans):
        raise InputError(
            f"{table} names {len(scans)} image(s), and none of them is there, such as {scans[0].images['T1w']}; expected paths "
            f"that are absolute or start from {base or table.absolute().parent}."
        )
    return ingest_local(collected, scans, cohort_of(content, keys), {}, _description(table), table)


def _description(table: Path) -> dict:
    return {"Name": table.stem, "DatasetType": "raw"}


def _check_path_columns(table: LocalTable, modalities: Sequence[str]) -> None:
    columns = set().union(*table.rows.values())
    if absent := [PATH_COLUMNS[modality] for modality in modalities if PATH_COLUMNS[modality] not in columns]:
        raise InputError(
            f"{table.path} lacks the column(s) {', '.join(absent)}, which the modalities {', '.join(modalities)} ask for; add "
            "them, or leave those modalities out."
        )


def _keys(table: LocalTable) -> dict[int, tuple[str, str]]:
    """Participant and session by row. Raises InputError where they can't be those of a BIDS folder, or stand twice."""
    keys: dict[int, tuple[str, str]] = {}
    rows: dict[tuple[str, str], int] = {}
    for number, row in table.rows.items():
        key = tuple(
            with_prefix(row.get(column) or usual, prefix)
            for column, prefix, usual in (("participant_id", "sub-", ""), ("session_id", "ses-", SESSION))
        )
        for label, prefix, column in zip(key, ("sub-", "ses-"), ("participant_id", "session_id"), strict=True):
            if not is_label(label, prefix):
                found = repr(row[column]) if row.get(column) else "nothing"
                raise InputError(
                    f"{table.path}, row {number}, column {column} holds {found}; expected letters and digits alone, with or "
                    f"without {prefix} before them, such as {prefix}01."
                )
        if key in rows:
            raise InputError(
                f"{table.path}, rows {rows[key]} and {number} are both of {' '.join(key)}; give each scan a session_id of its "
                "own, or leave one of them out."
            )
        keys[number] = key
        rows[key] = number
    return keys


def _check_outside(table: Path, number: int, images: Sequence[Path], folder: Path) -> None:
    """Images in the folder that ingest writes would be links to themselves, or be removed as those of an earlier run."""
    place = os.path.realpath(folder)
    for path in images:
        parents = (os.path.realpath(one.parent) for one in (path, *pair_of(path)))
        if any(place in (parent, *map(str, Path(parent).parents)) for parent in parents):
            raise InputError(
                f"{table}, row {number} names {path}, which lies in {folder}, where this cohort is written; move the image, or "
                "call the cohort something else."
            )
