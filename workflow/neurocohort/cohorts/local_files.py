"""Where the images and tables of a user's own scans lie on disk; nothing here opens an image, and the imports are light."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from neurocohort.errors import InputError

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".hdr", ".img")  # where one image lies there in several forms, the first is taken
PATH_COLUMNS = {"T1w": "path", "T2w": "path_T2w", "PDw": "path_PDw", "FLAIR": "path_FLAIR"}
BIDS_TABLES = ("participants.tsv", "sessions.tsv")
BIDS_SIDECARS = ("participants.json", "sessions.json", "dataset_description.json")


class AnatFolder(NamedTuple):
    """One folder ``sub-X[/ses-Y]/anat``, its files by name. ``session_id`` is None where it lies beside the sessions."""

    participant_id: str
    session_id: str | None
    files: list[os.DirEntry]


def anat_folders(source: Path) -> Iterator[AnatFolder]:
    """The anat folders of a BIDS folder, by participant and session. Raises InputError where ``source`` isn't a folder."""
    for participant in participant_folders(source):
        sessions = [entry for entry in _entries(participant.path) if entry.name.startswith("ses-") and entry.is_dir()]
        for session in (None, *sessions):
            folder = f"{(session or participant).path}/anat"  # texts: a Path each would double the time
            if os.path.isdir(folder):
                yield AnatFolder(participant.name, session and session.name, _entries(folder))


def participant_folders(source: Path) -> list[os.DirEntry]:
    """The folders ``sub-*`` by name. Raises InputError where ``source`` isn't a folder."""
    try:
        entries = _entries(source)
    except OSError as error:
        raise InputError(
            f"{source} can't be read as a folder ({error.strerror}); expected a BIDS folder, which holds folders named sub-*."
        ) from None
    return [entry for entry in entries if entry.name.startswith("sub-") and entry.is_dir()]


def session_tables(source: Path) -> Iterator[tuple[str, Path]]:
    """The participants who have a ``sub-X/sub-X_sessions.tsv``, each with that file."""
    for participant in participant_folders(source):
        path = f"{participant.path}/{participant.name}_sessions.tsv"
        if os.path.isfile(path):
            yield participant.name, Path(path)


def named_file(cell: str, table: Path, base: Path | None) -> Path:
    """The file that a cell of ``table`` names: relative to ``base``, or to the table's folder where that is None."""
    return (base or table.parent) / Path(cell).expanduser()


def pair_of(path: Path) -> tuple[Path, ...]:
    """Header, voxels and orientation file (which may be absent) of an Analyze pair; nothing for other names."""
    if path.suffix.lower() not in (".hdr", ".img"):
        return ()
    suffixes = (".HDR", ".IMG", ".MAT") if path.suffix.isupper() else (".hdr", ".img", ".mat")
    return tuple(path.with_suffix(suffix) for suffix in suffixes)


def _entries(folder: Path | str) -> list[os.DirEntry]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)
