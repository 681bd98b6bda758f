"""Where the images and tables of a user's own scans lie on disk; nothing here opens an image, and the imports are light."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from neurocohort.errors import InputError

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".hdr", ".img")  # where one image lies there in several forms, the first is taken
MODALITY_COLUMNS = {"T1w": "path", "T2w": "path_T2w", "PDw": "path_PDw", "FLAIR": "path_FLAIR"}
LABELS = "dseg"  # BIDS' suffix of a label map
PATH_COLUMNS = MODALITY_COLUMNS | {LABELS: f"path_{LABELS}"}  # every column of a table that names a file
RUN_ENTITY = re.compile(r"_run-(\d+)(?=_)")
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


def matching_images(files: Iterable[os.DirEntry], pattern: str) -> list[os.DirEntry]:
    """The images of an anat folder that match, by run and then name; each once, be it there as .nii.gz, .nii or a pair.

    A label map is none of them, however wide the pattern is.
    """
    best: dict[str, tuple[int, os.DirEntry]] = {}
    for entry in files:
        stem, suffix = stem_and_suffix(entry.name)
        if not suffix or stem.endswith(f"_{LABELS}"):
            continue
        if fnmatchcase(entry.name, pattern) or (suffix in (".hdr", ".img") and fnmatchcase(f"{stem}.nii", pattern)):
            rank = IMAGE_SUFFIXES.index(suffix)
            if stem not in best or rank < best[stem][0]:
                best[stem] = rank, entry
    return sorted((entry for _, entry in best.values()), key=lambda entry: (run_number(entry.name), entry.name))


def labels_beside(image: os.DirEntry, files: Sequence[os.DirEntry]) -> os.DirEntry | None:
    """The label map of ``image`` among the files of its folder: ``sub-01_dseg.nii.gz`` for ``sub-01_T1w.nii.gz``."""
    wanted = f"{stem_and_suffix(image.name)[0].rpartition('_')[0]}_{LABELS}"
    found = [entry for entry in files if stem_and_suffix(entry.name)[0] == wanted and stem_and_suffix(entry.name)[1]]
    return min(found, key=lambda entry: IMAGE_SUFFIXES.index(stem_and_suffix(entry.name)[1]), default=None)


def stem_and_suffix(name: str) -> tuple[str, str]:
    """A file's name without what makes it an image, and that (in small letters); an empty suffix where it is none."""
    suffix = next((suffix for suffix in IMAGE_SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)], suffix


def run_number(name: str) -> int:
    """The number of the run entity; 0 where there is none."""
    found = RUN_ENTITY.search(name)
    return int(found[1]) if found else 0


def _entries(folder: Path | str) -> list[os.DirEntry]:
    with os.scandir(folder) as entries:
        # Hidden files are no images: macOS leaves ._sub-01_T1w.nii.gz beside sub-01_T1w.nii.gz.
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
