"""The T1-weighted scans of a BIDS dataset, with age, sex and site from its tables, chosen by the reader of `source: bids`."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from neurocohort.apply.bids_app import ignored
from neurocohort.apply.scans import RawScan
from neurocohort.errors import InputError
from neurocohort.notes import Note
from neurocohort.sources.bids_plan import SESSION, plan_bids
from neurocohort.sources.local_files import anat_folders, participant_folders, run_number, stem_and_suffix
from neurocohort.sources.local_plan import LocalPlan, LocalScan
from neurocohort.sources.variables import values_of_plan
from neurocohort.text import few

PARTICIPANT, SESSION_PREFIX = "sub-", "ses-"


@dataclass(frozen=True)
class BidsScan:
    """A scan of a BIDS dataset.

    Attributes:
        scan: The scan; its scan_id has the entities of the image's name, such as ``sub-01_ses-1_run-2``.
        participant_id: The participant's folder, which is the name in participants.tsv.
        session_id: The session's folder; None without one.
        run: The image's run; None without one.
        source: The image's path below the dataset.
    """

    scan: RawScan
    participant_id: str
    session_id: str | None
    run: int | None
    source: str

    @property
    def folder(self) -> Path:
        """The folder of its files below a derivative dataset."""
        return Path(*filter(None, (self.participant_id, self.session_id)), "anat")


@dataclass(frozen=True)
class LeftOut:
    """A participant or session without a scan, and why."""

    participant_id: str
    session_id: str | None
    reason: str


@dataclass(frozen=True)
class Dataset:
    """What a BIDS dataset has for a model."""

    scans: list[BidsScan]
    left_out: list[LeftOut]
    notes: list[Note]


@dataclass(frozen=True)
class Selection:
    """The participants and sessions that are wanted, with or without ``sub-`` and ``ses-``; empty for all."""

    participants: Sequence[str] = ()
    sessions: Sequence[str] = ()

    def has(self, participant_id: str, session_id: str | None) -> bool:
        """Whether a participant's session is wanted."""
        people, visits = _labels(self.participants, PARTICIPANT), _labels(self.sessions, SESSION_PREFIX)
        return (not people or participant_id in people) and (not visits or session_id in visits)


def read_dataset(dataset: Path, *, run: str = "first", modalities: Sequence[str] = ("T1w",)) -> Dataset:
    """Find the scans of a BIDS dataset, without what its ``.bidsignore`` names.

    Args:
        dataset: The dataset's folder.
        run: Which of several images of a session: ``first``, ``last`` or ``all``.
        modalities: T1w first, then the others that a model needs; a session without them is left out.

    Raises:
        InputError: If it isn't a BIDS dataset, or has no T1-weighted image.
    """
    plan = plan_bids(dataset, run=run, modalities=modalities, ignored=ignored.reader_of(dataset))
    variables = values_of_plan(plan)
    scans = [_scan(dataset, one, variables.values[one.scan_id]) for one in plan.scans]
    return Dataset(scans, _left_out(dataset, plan, scans), [*plan.notes.notes, *variables.notes.notes])


def selected(dataset: Dataset, selection: Selection, folder: Path) -> Dataset:
    """The wanted part of a dataset in ``folder``, with the notes of the wanted participants.

    Raises:
        InputError: If a label is of no participant or session.
    """
    people, visits = _labels(selection.participants, PARTICIPANT), _labels(selection.sessions, SESSION_PREFIX)
    _check(people, {entry.name for entry in participant_folders(folder)}, "--participant-label", folder)
    everything: list[BidsScan | LeftOut] = [*dataset.scans, *dataset.left_out]
    if visits:
        _check(visits, {one.session_id for one in everything if one.session_id}, "--session-label", folder)
    kept = [one for one in everything if selection.has(one.participant_id, one.session_id)]
    named = {one.participant_id for one in kept}
    return Dataset(
        [one for one in kept if isinstance(one, BidsScan)],
        [one for one in kept if isinstance(one, LeftOut)],
        [note for note in dataset.notes if note.participant_id is None or note.participant_id in named],
    )


def _labels(given: Iterable[str], prefix: str) -> list[str]:
    """Folders' names from labels that may lack their prefix, and may be several in one text."""
    words = (word for text in given for word in re.split(r"[\s,]+", text) if word)
    return [word if word.startswith(prefix) else prefix + word for word in words]


def _check(wanted: Sequence[str], known: Iterable[str], option: str, folder: Path) -> None:
    names = sorted(known)
    if unknown := [name for name in wanted if name not in names]:
        raise InputError(f"{option}: {folder} has no {few(unknown)}; it has {few(names) or 'none'}.")


def _scan(dataset: Path, scan: LocalScan, values: dict[str, object]) -> BidsScan:
    path = scan.images["T1w"]
    folders = path.relative_to(dataset).parts[:-2]
    name = stem_and_suffix(path.name)[0].removesuffix("_T1w")
    age, sex, site = (values.get(name) for name in ("age", "sex", "site"))
    raw = RawScan(
        name,
        path,
        float(age) if isinstance(age, int | float) else None,
        str(sex) if sex is not None else None,
        str(site) if site is not None else None,
        {modality: image for modality, image in scan.images.items() if modality != "T1w"},
    )
    session = folders[1] if len(folders) > 1 else None
    return BidsScan(raw, folders[0], session, run_number(path.name) or None, path.relative_to(dataset).as_posix())


def _left_out(dataset: Path, plan: LocalPlan, scans: Sequence[BidsScan]) -> list[LeftOut]:
    """The excluded sessions, and those whose folder has no T1-weighted image."""
    reasons: dict[tuple[str, str | None], str] = {}
    for one in plan.exclusions:
        session = (one.scan_id or "").removeprefix(f"{one.participant_id}_") or None
        reasons[str(one.participant_id), session] = one.reason
    used = {(one.participant_id, one.session_id) for one in scans}
    people = {participant_id for participant_id, _ in used}
    found = []
    for anat in anat_folders(dataset):
        key = (anat.participant_id, anat.session_id)
        if key in used or (anat.session_id is None and anat.participant_id in people):
            continue
        default = "There is no folder anat." if anat.absent else "There is no T1-weighted image."
        reason = anat.problem or reasons.get(key) or reasons.get((key[0], key[1] or SESSION)) or default
        found.append(LeftOut(*key, reason))
    return found
