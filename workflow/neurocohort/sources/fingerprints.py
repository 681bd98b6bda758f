"""One hash of a user's BIDS folder, CAPS folder or table: a new, changed or missing file changes it, a touched one doesn't.

Every Snakemake process computes it, so that this module imports little, and no image is opened whose size and time are those of
the last run.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from neurocohort.files import sha256_of
from neurocohort.sources.caps_plan import IMAGES, SUBJECTS
from neurocohort.sources.columns import DIFFUSION_MAPS, PATH_COLUMNS
from neurocohort.sources.diffusion_files import DIFFUSION_ENDINGS, FOLDER
from neurocohort.sources.label_tables import TABLE_ENDING
from neurocohort.sources.local_files import (
    BIDS_SIDECARS,
    BIDS_TABLES,
    IMAGE_SUFFIXES,
    AnatFolder,
    anat_folders,
    named_file,
    pair_of,
    scans_table,
    session_tables,
    sidecar,
)
from neurocohort.sources.local_tables import read_local_table
from neurocohort.sources.seen_files import NAME, SeenFiles
from neurocohort.user_files import read_bytes

# A .mat file has the orientation of an Analyze pair, and a .json may have the age at the scan.
WATCHED_SUFFIXES = (*IMAGE_SUFFIXES, ".mat", ".dcm", ".json")
SMALL_BYTES = 1_000_000  # larger files that the ingest didn't hash aren't hashed here


def fingerprint_bids(source: Path | str, folder: Path | str | None = None, *, diffusion: bool = False) -> str:
    """The hash of a BIDS folder: sha256 over name and mark of every image and table that `ingest_bids` may read.

    ``folder``: the cohort's folder, with the record of seen files (`SeenFiles`). ``diffusion``: whether it reads
    diffusion-weighted images. Raises InputError if ``source`` isn't a folder.
    """
    return _fingerprint(hashlib.sha256(), _watched_bids(Path(source), diffusion), folder)


def fingerprint_table(
    table: Path | str,
    folder: Path | str | None = None,
    *,
    base: Path | None = None,
    masks: Mapping[str, str] | None = None,
) -> str:
    """The hash of a table of scans: sha256 over its content and the mark of each file that it names.

    ``folder``: the cohort's folder. ``base``: the folder of relative paths; the table's own if None. ``masks``: columns with
    masks, by structure. Raises InputError if the table can't be read or has no column ``path``.
    """
    table = Path(table)
    watched = _watched_table(table, base, masks or {})  # raises a clear error for an unreadable table
    return _fingerprint(hashlib.sha256(read_bytes(table)), watched, folder)


def fingerprint_caps(
    source: Path | str, folder: Path | str | None = None, *, participants_tsv: Path | str | None = None
) -> str:
    """The hash of a CAPS folder: sha256 over name and mark of every image and table that `ingest_caps` may read.

    ``folder``: the cohort's folder. Raises InputError if ``source`` isn't a CAPS folder.
    """
    return _fingerprint(hashlib.sha256(), _watched_caps(Path(source), participants_tsv), folder)


def fingerprint_local(cohort: Mapping[str, Any], folder: Path | str) -> str:
    """The hash of a configured local cohort. ``folder``: the cohort's folder. Raises InputError if its files can't be read."""
    if cohort["source"] == "table":
        return fingerprint_table(cohort["path"], folder, masks=cohort.get("masks"))
    if cohort["source"] == "caps":
        return fingerprint_caps(cohort["path"], folder, participants_tsv=cohort.get("participants_tsv"))
    return fingerprint_bids(cohort["path"], folder, diffusion=_has_diffusion(cohort))


def note_sources(cohort: Mapping[str, Any], folder: Path | str, hashes: Mapping[Path, str]) -> None:
    """Record the files of a local cohort after the ingest.

    Args:
        cohort: Its configuration.
        folder: The cohort's folder, in which the record is kept.
        hashes: The sha256 of the files that the ingest read. Others are hashed here if they are small.
    """
    source, seen = Path(cohort["path"]), SeenFiles(Path(folder) / NAME)
    watched: Iterable[tuple[str, Path | str]]
    if cohort["source"] == "table":
        watched = _watched_table(source, None, cohort.get("masks") or {})
    elif cohort["source"] == "caps":
        watched = _watched_caps(source, cohort.get("participants_tsv"))
    else:
        watched = _watched_bids(source, _has_diffusion(cohort))
    for _, path in watched:
        sha256 = hashes.get(Path(path).absolute())
        with contextlib.suppress(OSError):
            if sha256 is None and os.path.isfile(path) and os.stat(path).st_size <= SMALL_BYTES:
                sha256 = sha256_of(path)
        if sha256 is not None:
            seen.note(path, sha256)
    seen.save()


def _fingerprint(digest: "hashlib._Hash", watched: Iterable[tuple[str, Path | str]], folder: Path | str | None) -> str:
    seen = SeenFiles(folder and Path(folder) / NAME)
    for name, path in watched:
        digest.update(os.fsencode(f"{name}\0{seen.mark(path) if path else ''}\0"))
    seen.save()
    return digest.hexdigest()


def _has_diffusion(cohort: Mapping[str, Any]) -> bool:
    return bool({*DIFFUSION_MAPS} & {*cohort.get("modalities", ())})


def _watched_bids(source: Path, diffusion: bool) -> Iterator[tuple[str, Path | str]]:
    """Name and path of each file that matters, whether it exists or not. The problem of a folder has an empty path."""
    tables = [source / name for name in (*BIDS_TABLES, *BIDS_SIDECARS)]
    sessions = [path for _, path in session_tables(source)]
    for path in (*tables, *sessions, *(path.with_suffix(".json") for path in sessions)):
        yield path.name, path
    for folder in anat_folders(source):
        times = scans_table(source, *filter(None, folder[:2]))
        yield times.name, times
        yield from _watched_images(folder)
    for folder in anat_folders(source, FOLDER) if diffusion else ():
        yield from _watched_images(folder, DIFFUSION_ENDINGS)


def _watched_caps(source: Path, participants_tsv: Path | str | None) -> Iterator[tuple[str, Path | str]]:
    description = source / "dataset_description.json"
    yield description.name, description
    if participants_tsv is not None:
        for path in (Path(participants_tsv), Path(participants_tsv).with_suffix(".json")):
            yield path.suffix, path
    for folder in anat_folders(source / SUBJECTS, IMAGES):
        yield from _watched_images(folder)


def _watched_images(
    folder: AnatFolder, endings: tuple[str, ...] = WATCHED_SUFFIXES
) -> Iterator[tuple[str, Path | str]]:
    if folder.problem:
        yield folder.problem, ""
    for entry in folder.files:
        if entry.name.lower().endswith(endings) or entry.name.endswith(f"_{TABLE_ENDING}"):
            yield f"{folder.participant_id}/{folder.session_id or ''}/{entry.name}", entry.path


def _watched_table(table: Path, base: Path | None, masks: Mapping[str, str]) -> list[tuple[str, Path]]:
    columns, found = (*PATH_COLUMNS.values(), *masks.values()), []
    rows = read_local_table(table, required=("path",), kept=columns).rows
    for number, row in rows.items():
        for column in columns:
            if cell := row.get(column):
                path = named_file(cell, table, base)
                named = [*(pair_of(path) or (path,)), *([sidecar(path)] if column == "path" else [])]
                found += [(f"{number}/{column}/{one.suffix}", one) for one in named]
    return found
