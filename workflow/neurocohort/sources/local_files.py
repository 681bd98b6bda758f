"""Finding the images and tables of a user's own scans on disk. No image is opened, and little is imported."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from neurocohort.errors import InputError
from neurocohort.sources.columns import LABELS
from neurocohort.user_files import expanded, fault_of_file, fault_of_folder, is_folder

MASK = "mask"  # the suffix of masks, such as a brain's or a lesion's
IMAGE_SUFFIXES = (".nii.gz", ".nii", ".hdr", ".img")  # of one image in several forms, the first is taken
RUN_ENTITY = re.compile(r"_run-(\d+)(?=_)")
BIDS_TABLES = ("participants.tsv", "sessions.tsv")
BIDS_SIDECARS = ("participants.json", "sessions.json", "dataset_description.json")


class AnatFolder(NamedTuple):
    """One folder ``sub-X[/ses-Y]/anat`` (of a CAPS folder ``t1_linear``) and its files.

    ``session_id``: None for a folder outside of sessions. ``problem``: why the folder can't be listed, or the participant's own
    table can't be read; there are no files then. ``absent``: whether the participant or session has no such folder.
    """

    participant_id: str
    session_id: str | None
    files: list[os.DirEntry]
    problem: str | None = None
    absent: bool = False


def anat_folders(source: Path, images: str = "anat") -> Iterator[AnatFolder]:
    """The anat folders of a BIDS folder, by participant and session, also those that can't be read or are absent.

    ``images``: their name, if it is another one. Raises InputError if ``source`` isn't a folder.
    """
    for participant in participant_folders(source):
        if fault := _fault_of_participant(participant):
            yield AnatFolder(participant.name, None, [], fault)
            continue
        sessions = [entry for entry in _entries(participant.path) if _may_be_folder(entry, "ses-")]
        for session in (None, *sessions):
            place, name = session or participant, session and session.name
            folder = f"{place.path}/{images}"  # texts: a Path each would double the time
            if session and (fault := fault_of_folder(session.path)):
                yield AnatFolder(participant.name, name, [], f"{participant.name}/{name} {fault}.")
            elif os.path.lexists(folder):
                fault = fault_of_folder(folder)
                shown = os.path.relpath(folder, source)
                yield AnatFolder(
                    participant.name, name, [] if fault else _entries(folder), fault and f"{shown} {fault}."
                )
            elif session or not sessions:
                yield AnatFolder(participant.name, name, [], absent=True)


def participant_folders(source: Path) -> list[os.DirEntry]:
    """The folders ``sub-*`` by name, and broken links of such names. Raises InputError if ``source`` isn't a folder."""
    try:
        entries = _entries(source)
    except OSError as error:
        raise InputError(
            f"{source} can't be read as a folder ({error.strerror}); expected a BIDS folder with folders named sub-*."
        ) from None
    return [entry for entry in entries if _may_be_folder(entry, "sub-")]


def misnamed_participants(source: Path) -> list[str]:
    """Folders that look like a participant's but have another name, such as ``Sub-01``, or ``01`` with a folder anat."""
    others = (entry for entry in _entries(source) if not entry.name.startswith("sub-") and is_folder(entry))
    return [
        entry.name for entry in others if entry.name.lower().startswith("sub-") or os.path.isdir(f"{entry.path}/anat")
    ]


def session_tables(source: Path) -> Iterator[tuple[str, Path]]:
    """The participants with a readable ``sub-X/sub-X_sessions.tsv``, and that file; `anat_folders` reports unreadable ones."""
    for participant in participant_folders(source):
        path = _session_table(participant)
        if os.path.lexists(path) and not fault_of_file(path):
            yield participant.name, Path(path)


def scans_table(source: Path | str, *folders: str) -> Path:
    """The table with the times of the images below ``source/sub-X[/ses-Y]``, which may be absent."""
    return Path(source, *folders, f"{'_'.join(folders)}_scans.tsv")


def tables_of(source: Path) -> list[Path]:
    """The user's tables: the source itself, or the existing tables of a BIDS folder."""
    if not os.path.isdir(source):
        return [source]
    tables = [*(source / name for name in BIDS_TABLES), *(path for _, path in session_tables(source))]
    return [path for path in tables if os.path.isfile(path)]


def sidecar(image: Path) -> Path:
    """The .json with the metadata of an image, which may be absent."""
    return image.with_name(image.name.partition(".")[0] + ".json")


def named_file(cell: str, table: Path, base: Path | None) -> Path:
    """The file that a cell of ``table`` names, relative to ``base`` or, if that is None, to the table's folder."""
    return (base or table.parent) / expanded(cell)


def pair_of(path: Path) -> tuple[Path, ...]:
    """Header, voxels and orientation file (which may be absent) of an Analyze pair; empty for other names."""
    if path.suffix.lower() not in (".hdr", ".img"):
        return ()
    suffixes = (".HDR", ".IMG", ".MAT") if path.suffix.isupper() else (".hdr", ".img", ".mat")
    return tuple(path.with_suffix(suffix) for suffix in suffixes)


def matching_images(files: Iterable[os.DirEntry], pattern: str) -> list[os.DirEntry]:
    """The images of an anat folder that match ``pattern``, by run and then name. Label maps and masks are never among them.

    An image in several forms (.nii.gz, .nii, a pair) is listed once.
    """
    best: dict[str, tuple[int, os.DirEntry]] = {}
    for entry in files:
        stem, suffix = stem_and_suffix(entry.name)
        if not suffix or stem.endswith((f"_{LABELS}", f"_{MASK}")):
            continue
        if fnmatchcase(entry.name, pattern) or (suffix in (".hdr", ".img") and fnmatchcase(f"{stem}.nii", pattern)):
            rank = IMAGE_SUFFIXES.index(suffix)
            if stem not in best or rank < best[stem][0]:
                best[stem] = rank, entry
    return sorted((entry for _, entry in best.values()), key=lambda entry: (run_number(entry.name), entry.name))


def other_forms(image: os.DirEntry, files: Iterable[os.DirEntry]) -> list[os.DirEntry]:
    """The files of an anat folder with the name of ``image`` in another form, such as .nii and .nii.gz."""
    stem, suffix = stem_and_suffix(image.name)
    own = (".hdr", ".img") if suffix in (".hdr", ".img") else (suffix, "")
    found = ((entry, *stem_and_suffix(entry.name)) for entry in files)
    return [entry for entry, other, form in found if other == stem and form and form not in own]


def labels_beside(image: os.DirEntry, files: Sequence[os.DirEntry]) -> os.DirEntry | None:
    """The label map of ``image`` among the files of its folder: ``sub-01_dseg.nii.gz`` for ``sub-01_T1w.nii.gz``."""
    wanted = f"{stem_and_suffix(image.name)[0].rpartition('_')[0]}_{LABELS}"
    found = [entry for entry in files if stem_and_suffix(entry.name)[0] == wanted and stem_and_suffix(entry.name)[1]]
    return min(found, key=lambda entry: IMAGE_SUFFIXES.index(stem_and_suffix(entry.name)[1]), default=None)


def stem_and_suffix(name: str) -> tuple[str, str]:
    """A file's name without its image suffix, and that suffix in small letters; an empty one if it is no image."""
    suffix = next((suffix for suffix in IMAGE_SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)], suffix


def run_number(name: str) -> int:
    """The number of the run entity; 0 if there is none."""
    found = RUN_ENTITY.search(name)
    return int(found[1]) if found else 0


def _session_table(participant: os.DirEntry) -> str:
    return f"{participant.path}/{participant.name}_sessions.tsv"


def _fault_of_participant(participant: os.DirEntry) -> str | None:
    """A sentence on why a participant can't be used: the folder can't be listed, or its table can't be read."""
    if fault := fault_of_folder(participant.path):
        return f"{participant.name} {fault}."
    path = _session_table(participant)
    if os.path.lexists(path) and (fault := fault_of_file(path)):
        return f"{os.path.basename(path)} {fault}; correct or delete it, because it may hold the age at each session."
    return None


def _may_be_folder(entry: os.DirEntry, prefix: str) -> bool:
    """Whether an entry with this prefix is a folder, or is unusable in its place: a broken link, or a pipe."""
    if not entry.name.startswith(prefix):
        return False
    if is_folder(entry):
        return True
    if entry.is_symlink():
        return not os.path.exists(entry.path)
    return not entry.is_file(follow_symlinks=False)


def _entries(folder: Path | str) -> list[os.DirEntry]:
    with os.scandir(folder) as entries:
        # Hidden files are no images: macOS leaves ._sub-01_T1w.nii.gz next to sub-01_T1w.nii.gz.
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
