"""A user's own scans in a BIDS folder, raw or derivatives: whatever holds ``sub-X[/ses-Y]/anat``."""

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from neurocohort.cohorts import raw_bids
from neurocohort.cohorts.local_files import (
    BIDS_TABLES,
    IMAGE_SUFFIXES,
    LABELS,
    AnatFolder,
    anat_folders,
    labels_beside,
    matching_images,
    participant_folders,
    run_number,
    session_tables,
    stem_and_suffix,
)
from neurocohort.cohorts.local_images import dicom_reason, is_dicom
from neurocohort.cohorts.local_scans import LocalScan, check_modalities, dicom_error, ingest_local, is_label
from neurocohort.cohorts.local_tables import CohortTables, few, read_bids_tables
from neurocohort.errors import InputError
from neurocohort.user_files import UnusableFile, read_user_json

SESSION = "ses-1"  # where a participant has no session folders
RUNS = ("first", "last", "all")
NO_IMAGE_SUFFIXES = (*IMAGE_SUFFIXES, ".json", ".tsv", ".txt")
FILES_LOOKED_AT = 20  # of an anat folder without an image, to see whether they are DICOM
CARRIED_OVER = ("Name", "License")  # of dataset_description.json


def ingest_bids(
    source: Path | str,
    folder: Path | str,
    *,
    pattern: str = "*_T1w.nii*",
    run: str = "first",
    modalities: Sequence[str] = ("T1w",),
) -> dict:
    """Turn a BIDS folder into the raw BIDS layout under ``folder``.

    ``pattern`` (file names, with ``*`` and ``?``) says which images in an anat folder are the T1-weighted ones; an Analyze
    pair counts as a .nii. Of several in one session ``run`` takes the ``first`` or ``last``, by run entity and then by
    name, or ``all``, as scans of their own. A further modality is the image whose name is as the pattern with the other
    suffix, or else any with that suffix; a session without it is excluded. The image's reference segmentation is the file
    beside it whose name has ``dseg`` for its suffix (see `local_labels`), and may be absent. A .nii.gz is linked, .nii and
    Analyze are written as .nii.gz. Values of sessions.tsv and sub-X_sessions.tsv go before those of participants.tsv.

    Returns the numbers of scans, participants, excluded rows and the notes. Raises InputError where ``source`` isn't a BIDS
    folder or no image of it can be used, where a table can't be read, and for an unknown ``run``.
    """
    source, folder = Path(source), Path(folder)
    check_modalities(modalities)
    _check_options(source, folder, pattern, run)
    tables = read_bids_tables(source)
    collected = raw_bids.Ingested(folder)
    collected.tables += [source / name for name in BIDS_TABLES if (source / name).is_file()]
    collected.tables += [path for _, path in session_tables(source)]
    chosen = _Chosen(collected, source, pattern, run, tuple(modalities))
    for anat in _sessions(collected, source):
        chosen.add(anat)
    if not chosen.scans and chosen.dicom:
        raise dicom_error(source, chosen.dicom[0])
    if not chosen.participants:
        raise _nothing_found(source, pattern)
    chosen.tell()
    _tell_participants(collected, source, tables, chosen.participants)
    entries = _sidecar(collected, source / "sessions.json") | _sidecar(collected, source / "participants.json")
    return ingest_local(collected, chosen.scans, tables, entries, _description(collected, source), source)


class _Chosen:
    """The images that are chosen, session by session, and counts of what is left."""

    def __init__(self, collected: raw_bids.Ingested, source: Path, pattern: str, run: str, modalities: tuple[str, ...]):
        self.collected = collected
        self.source = source
        self.pattern = pattern
        self.run = run
        self.modalities = modalities
        self.scans: list[LocalScan] = []
        self.participants: set[str] = set()  # with an image, be it used or not
        self.unmatched: list[str] = []
        self.dicom: list[Path] = []
        self.left_out = 0
        self.of_several = 0
        self.unused_labels: list[str] = []  # of sessions whose label maps belong to no image that is taken

    def add(self, anat: AnatFolder) -> None:
        """Choose from one session's anat folder."""
        session = f"{anat.participant_id}_{anat.session_id}"
        if anat.problem:
            self.participants.add(anat.participant_id)
            self.collected.exclude(anat.participant_id, session, anat.problem)
            return
        images = matching_images(anat.files, self.pattern)
        if not images:
            self._without_image(anat, session)
            return
        self.participants.add(anat.participant_id)
        if not (is_label(anat.participant_id, "sub-") and is_label(anat.session_id, "ses-")):
            self.collected.exclude(
                anat.participant_id,
                session,
                "The folders' names have characters after sub- or ses- that are no letters or digits; rename them.",
            )
            return
        further = {modality: self._further(anat, modality) for modality in self.modalities[1:]}
        if absent := [modality for modality, there in further.items() if not there]:
            self.collected.exclude(anat.participant_id, session, f"The session has no {' and no '.join(absent)} image.")
            return
        names = _run_names(images) if self.run == "all" else [""] * len(images)
        kept = {"first": slice(0, 1), "last": slice(-1, None), "all": slice(None)}[self.run]
        self.left_out += len(images) - len(images[kept])
        self.of_several += len(images) > 1
        for image, name in zip(images[kept], names[kept], strict=True):
            others = {modality: self._beside(image, there) for modality, there in further.items()}
            paths = {"T1w": Path(image.path)} | {modality: Path(other.path) for modality, other in others.items()}
            labels = labels_beside(image, anat.files)
            self.scans.append(
                LocalScan(anat.participant_id, anat.session_id, name, paths, labels and Path(labels.path))
            )
        others = [entry.name for entry in anat.files if stem_and_suffix(entry.name)[0].endswith(f"_{LABELS}")]
        if others and not any(labels_beside(image, anat.files) for image in images):
            self.unused_labels += others[:1]

    def tell(self) -> None:
        """Note what was left out."""
        if self.left_out:
            self.collected.note(
                f"{self.of_several} session(s) have several images that match {self.pattern}; the {self.run} of each is taken, "
                f"and {self.left_out} image(s) are left out."
            )
        if self.unmatched:
            self.collected.note(
                f"{len(self.unmatched)} session(s) with an anat folder have no image that matches {self.pattern}: "
                f"{few(self.unmatched)}."
            )
        if self.unused_labels:
            self.collected.note(
                f"{len(self.unused_labels)} session(s) have label maps that are left out, because none is named as the image "
                f"with {LABELS} in the place of its suffix: {few(self.unused_labels)}."
            )

    def _without_image(self, anat: AnatFolder, session: str) -> None:
        others = [Path(entry.path) for entry in anat.files if not entry.name.endswith(NO_IMAGE_SUFFIXES)]
        dicom = next((path for path in others[:FILES_LOOKED_AT] if is_dicom(path)), None)
        if dicom is None:
            self.unmatched.append(session)
            return
        self.participants.add(anat.participant_id)
        self.dicom.append(dicom)
        place = dicom if os.path.isdir(dicom) else dicom.parent
        self.collected.exclude(anat.participant_id, session, dicom_reason(dicom, str(place.relative_to(self.source))))

    def _further(self, anat: AnatFolder, modality: str) -> list[os.DirEntry]:
        """The session's images of a further modality, those that are named as the T1-weighted one before others."""
        alike = matching_images(anat.files, self.pattern.replace("T1w", modality)) if "T1w" in self.pattern else []
        return alike or matching_images(anat.files, f"*_{modality}.nii*")

    def _beside(self, image: os.DirEntry, others: list[os.DirEntry]) -> os.DirEntry:
        """The one of ``others`` that goes with ``image``: of the same run, or the first or last."""
        same = [other for other in others if run_number(other.name) == run_number(image.name)]
        return (same or others)[-1 if self.run == "last" else 0]


def _check_options(source: Path, folder: Path, pattern: str, run: str) -> None:
    if run not in RUNS:
        raise InputError(f"The run is {run!r}; expected one of {', '.join(RUNS)}.")
    if not pattern or "/" in pattern:
        raise InputError(f"The pattern is {pattern!r}; expected a file name within an anat folder, such as *_T1w.nii*.")
    place, real = Path(os.path.realpath(folder)), Path(os.path.realpath(source))
    if place in (real, *real.parents):
        raise InputError(
            f"{source} lies in {folder}, where this cohort is written; move it, or call the cohort something else."
        )


def _sessions(collected: raw_bids.Ingested, source: Path) -> Iterator[AnatFolder]:
    """The anat folders, each with a session: ses-1 for participants who have no session folders."""
    without, beside = [], []
    for participant_id, group in itertools.groupby(anat_folders(source), lambda anat: anat.participant_id):
        first, *others = group
        if first.session_id is not None:
            yield first
        elif others:
            beside.append(participant_id)
        else:
            without.append(participant_id)
            yield first._replace(session_id=SESSION)
        yield from others
    if without:
        collected.note(f"{len(without)} participant(s) have no session folders; their scans are {SESSION}.")
    if beside:
        collected.note(
            f"{len(beside)} participant(s) have an anat folder beside their session folders, which is left out: {few(beside)}."
        )


def _run_names(images: Sequence[os.DirEntry]) -> list[str]:
    """What tells the images of one session apart: their own runs, or their places where those don't; nothing for one."""
    if len(images) == 1:
        return [""]
    runs = [run_number(image.name) for image in images]
    if 0 in runs or len(set(runs)) < len(runs):
        runs = range(1, len(images) + 1)
    return [f"run-{run}" for run in runs]


def _nothing_found(source: Path, pattern: str) -> InputError:
    if not participant_folders(source):
        return InputError(f"{source} has no folder named sub-*; expected a BIDS folder, which has one a participant.")
    found = [f"{anat.participant_id}/.../{entry.name}" for anat in anat_folders(source) for entry in anat.files]
    return InputError(
        f"{source} has no image named {pattern} in its anat folders, sub-*/[ses-*/]anat; found there: {few(found) or 'nothing'}."
    )


def _tell_participants(collected: raw_bids.Ingested, source: Path, tables: CohortTables, with_image: set[str]) -> None:
    """Note who is in the tables or the folders alone. Raises InputError where nobody is in both."""
    named = set(tables.participants) | {participant_id for participant_id, _ in tables.sessions}
    if not os.path.lexists(source / "participants.tsv"):
        collected.note("There is no participants.tsv, which would give age, sex and other variables.")
    if not named:
        return
    if not named & with_image:
        raise InputError(
            f"The tables of {source} name {few(sorted(named))}, and none of them has an image; those with images are "
            f"{few(sorted(with_image))}. Expected the folders' names in the column participant_id."
        )
    if absent := sorted(named - with_image):
        collected.note(f"{len(absent)} of the {len(named)} participants of the tables have no image: {few(absent)}.")
    if unknown := sorted(with_image - named):
        collected.note(f"{len(unknown)} participant(s) with images are in no table and stay with n/a: {few(unknown)}.")


def _sidecar(collected: raw_bids.Ingested, path: Path) -> dict[str, dict]:
    """A data dictionary, by column; nothing where it is absent, or damaged (it only explains)."""
    return {
        name: entry if isinstance(entry, dict) else {"Description": str(entry)}
        for name, entry in _json(collected, path).items()
    }


def _description(collected: raw_bids.Ingested, source: Path) -> dict:
    given = _json(collected, source / "dataset_description.json")
    kept = {name: given[name] for name in CARRIED_OVER if isinstance(given.get(name), str)}
    return {"Name": source.resolve().name, **kept, "DatasetType": "raw"}


def _json(collected: raw_bids.Ingested, path: Path) -> dict:
    if not os.path.lexists(path):
        return {}
    try:
        content = read_user_json(path)
    except (UnusableFile, ValueError) as error:
        collected.note(f"{path.name} can't be read as JSON ({error}); what it says is left out.")
        return {}
    return content
