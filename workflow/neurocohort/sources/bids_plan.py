"""A user's BIDS folder before an image is opened: which image of each session is taken, and whose values it has."""

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from neurocohort.errors import InputError
from neurocohort.notes import Kind
from neurocohort.sources.bids_labels import EXPECTED, Labels
from neurocohort.sources.data_dictionary import read_dictionary
from neurocohort.sources.image_choice import Choice, choose_images, is_enhanced, misfiled
from neurocohort.sources.local_files import (
    IMAGE_SUFFIXES,
    LABELS,
    AnatFolder,
    anat_folders,
    labels_beside,
    matching_images,
    misnamed_participants,
    other_forms,
    participant_folders,
    run_number,
    stem_and_suffix,
)
from neurocohort.sources.local_plan import LocalPlan, LocalScan, check_modalities
from neurocohort.sources.local_tables import few, read_bids_tables
from neurocohort.sources.session_ages import fill_session_ages
from neurocohort.sources.session_matching import match_sessions

SESSION = "ses-1"  # where a participant has no session folders
RUNS = ("first", "last", "all")
NO_IMAGE_SUFFIXES = (*IMAGE_SUFFIXES, ".json", ".tsv", ".txt")
FILES_LOOKED_AT = 20  # of an anat folder without an image, to see whether they are DICOM


def plan_bids(
    source: Path, *, pattern: str = "*_T1w.nii*", run: str = "first", modalities: Sequence[str] = ("T1w",)
) -> LocalPlan:
    """What `ingest_bids` will do with the folder ``source``; its docstring has the options.

    Raises InputError where ``source`` isn't a BIDS folder, has no image, or has tables that can't be read or that name nobody who
    has an image, and for an unknown ``run``.
    """
    check_modalities(modalities)
    if run not in RUNS:
        raise InputError(f"The run is {run!r}; expected one of {', '.join(RUNS)}.")
    if not pattern or "/" in pattern:
        raise InputError(f"The pattern is {pattern!r}; expected a file name within an anat folder, such as *_T1w.nii*.")
    chosen = _Chosen(source, pattern, run, tuple(modalities))
    for anat in _sessions(chosen.plan, source, chosen.without_folders):
        chosen.add(anat)
    if not chosen.plan.scans and chosen.dicom:
        from neurocohort.sources.local_scans import dicom_error  # reads images, so it is slow to import

        raise dicom_error(source, chosen.dicom[0])
    if not chosen.participants:
        raise _nothing_found(source, pattern)
    chosen.note()
    plan = chosen.plan
    plan.tables = read_bids_tables(source, plan.notes)
    plan.entries = read_dictionary(source / "sessions.json") | read_dictionary(source / "participants.json")
    _note_participants(plan, source, chosen.participants)
    match_sessions(plan, source, chosen.without_folders)
    fill_session_ages(plan, source)
    return plan


class _Chosen:
    """The images that are chosen, session by session, and what is left."""

    def __init__(self, source: Path, pattern: str, run: str, modalities: tuple[str, ...]):
        self.plan = LocalPlan(tables=None)
        self.source, self.pattern, self.run, self.modalities = source, pattern, run, modalities
        self.people, self.sessions = Labels("sub-", source.name), Labels("ses-", source.name)
        self.participants: set[str] = set()  # with an image, whether it is used or not
        self.without_folders: set[str] = set()  # of sessions
        self.unmatched: list[str] = []
        self.dicom: list[Path] = []
        self.unused_labels: list[str] = []  # of sessions whose label maps belong to no image that is taken

    def add(self, anat: AnatFolder) -> None:
        """Choose from one session's anat folder."""
        if anat.problem:
            self._without_files(anat)
            return
        images = matching_images(anat.files, self.pattern)
        session = f"{anat.participant_id}_{anat.session_id or SESSION}"
        if not images:
            self._without_image(anat, session)
            return
        labels = self._labels(anat)
        if labels is None:
            self.participants.add(anat.participant_id)
            self.plan.exclude(
                anat.participant_id, session, f"The folders' names can't be BIDS labels: expected {EXPECTED}."
            )
            return
        participant_id, session_id = labels
        scan_id = f"{participant_id}_{session_id}"
        self.participants.add(participant_id)
        strangers = {
            image: whose for image in images if (whose := misfiled(image.name, anat.participant_id, anat.session_id))
        }
        own = [image for image in images if image not in strangers]
        choice = choose_images(own, self.run)
        if not choice.taken:
            self.plan.exclude(participant_id, scan_id, _why_none(anat, strangers, choice))
            return
        further = {modality: self._further(anat, modality) for modality in self.modalities[1:]}
        if absent := [modality for modality, there in further.items() if not there]:
            strangers = [image.name for modality in absent for image in self._named(anat, modality)]
            why = f": {few(strangers)} is named as another's" if strangers else ""
            self.plan.exclude(participant_id, scan_id, f"The session has no {' and no '.join(absent)} image{why}.")
            return
        self._note_choice(participant_id, scan_id, choice, strangers, anat)
        names = _run_names(choice.taken) if self.run == "all" else [""] * len(choice.taken)
        for image, name in zip(choice.taken, names, strict=True):
            others = {modality: self._beside(image, there) for modality, there in further.items()}
            paths = {"T1w": Path(image.path)} | {modality: Path(other.path) for modality, other in others.items()}
            labels = labels_beside(image, anat.files)
            self.plan.scans.append(LocalScan(participant_id, session_id, name, paths, labels and Path(labels.path)))
        others = [entry.name for entry in anat.files if stem_and_suffix(entry.name)[0].endswith(f"_{LABELS}")]
        if others and not any(labels_beside(image, anat.files) for image in own):
            self.unused_labels += others[:1]

    def note(self) -> None:
        """Note what was left out, and names that were changed."""
        if self.unmatched:
            self.plan.notes.add(
                Kind.IMAGES,
                f"{len(self.unmatched)} session(s) with an anat folder have no image that matches {self.pattern}: "
                f"{few(self.unmatched)}.",
            )
        if self.unused_labels:
            self.plan.notes.add(
                Kind.LABEL_MAPS,
                f"{len(self.unused_labels)} session(s) have label maps that are left out, because none is named as the image "
                f"with {LABELS} in the place of its suffix: {few(self.unused_labels)}.",
            )
        self.people.note(self.plan.notes)
        self.sessions.note(self.plan.notes)

    def _labels(self, anat: AnatFolder) -> tuple[str, str] | None:
        """Participant and session as BIDS labels; None where a folder's name has nothing that a label may have."""
        participant_id = self.people.of(anat.participant_id)
        session_id = self.sessions.of(anat.session_id or SESSION, participant_id or "")
        return (participant_id, session_id) if participant_id and session_id else None

    def _note_choice(
        self, participant_id: str, scan_id: str, choice: Choice, strangers: dict, anat: AnatFolder
    ) -> None:
        left = [f"{image.name} ({why})" for image, why in choice.left]
        twins = [twin for image in choice.taken for twin in other_forms(image, anat.files)]
        left += [f"{twin.name} (named as the same image in another form)" for twin in twins]
        left += [f"{image.name} (named as {whose})" for image, whose in strangers.items()]
        if left:
            taken = ", ".join(image.name for image in choice.taken)
            sentence = f"{taken} {'are' if len(choice.taken) > 1 else 'is'} taken; left out: {', '.join(left)}."
            self.plan.notes.add(Kind.IMAGES, sentence, participant_id, scan_id)
        if enhanced := [image.name for image in choice.taken if is_enhanced(image)]:
            sentence = f"{', '.join(enhanced)} is contrast-enhanced by its name, and the session has no native image."
            self.plan.notes.add(Kind.IMAGES, sentence, participant_id, scan_id)

    def _without_files(self, anat: AnatFolder) -> None:
        """Exclude what lies in a folder that can't be listed."""
        labels = self._labels(anat) or (anat.participant_id, anat.session_id or SESSION)
        self.participants.add(labels[0])
        self.plan.exclude(labels[0], "_".join(labels) if anat.session_id else None, anat.problem)

    def _without_image(self, anat: AnatFolder, session: str) -> None:
        others = [Path(entry.path) for entry in anat.files if not entry.name.endswith(NO_IMAGE_SUFFIXES)]
        if others:
            from neurocohort.sources.local_images import dicom_reason, is_dicom  # slow to import

            dicom = next((path for path in others[:FILES_LOOKED_AT] if is_dicom(path)), None)
            if dicom is not None:
                self.participants.add(self.people.of(anat.participant_id) or anat.participant_id)
                self.dicom.append(dicom)
                place = dicom if os.path.isdir(dicom) else dicom.parent
                reason = dicom_reason(dicom, str(place.relative_to(self.source)))
                labels = self._labels(anat)
                self.plan.exclude(
                    *((labels[0], "_".join(labels)) if labels else (anat.participant_id, session)), reason
                )
                return
        self.unmatched.append(session)

    def _further(self, anat: AnatFolder, modality: str) -> list:
        """The session's images of a further modality, those that are named as the T1-weighted one before others."""
        found = self._named(anat, modality)
        return [image for image in found if not misfiled(image.name, anat.participant_id, anat.session_id)]

    def _named(self, anat: AnatFolder, modality: str) -> list:
        """The folder's images of ``modality``, also those whose names state another participant or session."""
        alike = matching_images(anat.files, self.pattern.replace("T1w", modality)) if "T1w" in self.pattern else []
        return alike or matching_images(anat.files, f"*_{modality}.nii*")

    def _beside(self, image, others: list):
        """The one of ``others`` that goes with ``image``: of the same run, or the first or last."""
        same = [other for other in others if run_number(other.name) == run_number(image.name)]
        best = choose_images(same or others, "last" if self.run == "last" else "first").taken
        return (best or same or others)[0]


def _why_none(anat: AnatFolder, strangers: dict, choice: Choice) -> str:
    """Why a session has images that match and none that can be taken."""
    if strangers:
        image, whose = next(iter(strangers.items()))
        return f"{image.name} is named as {whose} and lies in the folder of {_place(anat)}; move or rename it."
    return f"The session has no magnitude image: {few(image.name for image, _ in choice.left)}."


def _sessions(plan: LocalPlan, source: Path, without_folders: set[str]) -> Iterator[AnatFolder]:
    """The anat folders to choose images from: those of sessions, and those of participants without session folders.

    ``without_folders`` collects the labels of participants without session folders.
    """
    without, beside, absent = [], [], []
    people = Labels("sub-", source.name)
    found = (anat for anat in anat_folders(source) if not anat.absent or absent.append(_place(anat)))
    for participant_id, group in itertools.groupby(found, lambda anat: anat.participant_id):
        first, *others = group
        if first.session_id is not None or (first.problem and not others):
            yield first
        elif others:
            beside.append(participant_id)
        else:
            without.append(participant_id)
            without_folders.add(people.of(participant_id) or participant_id)
            yield first
        yield from others
    if without:
        plan.notes.add(
            Kind.SESSIONS, f"{len(without)} participant(s) have no session folders; their scans are {SESSION}."
        )
    if misnamed := misnamed_participants(source):
        plan.notes.add(
            Kind.SESSIONS, f"{len(misnamed)} folder(s) aren't named sub-... and are left out: {few(misnamed)}."
        )
    if absent:
        plan.notes.add(
            Kind.SESSIONS,
            f"{len(absent)} folder(s) of a participant or session have no folder anat in them: {few(absent)}.",
        )
    if beside:
        plan.notes.add(
            Kind.SESSIONS,
            f"{len(beside)} participant(s) have an anat folder beside their session folders, which is left out: {few(beside)}.",
        )


def _place(anat: AnatFolder) -> str:
    return "/".join(filter(None, (anat.participant_id, anat.session_id)))


def _run_names(images: Sequence) -> list[str]:
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


def _note_participants(plan: LocalPlan, source: Path, with_image: set[str]) -> None:
    """Note who is in the tables or the folders alone. Raises InputError where nobody is in both."""
    tables = plan.tables
    named = set(tables.participants) | {participant_id for participant_id, _ in tables.sessions}
    if not os.path.lexists(source / "participants.tsv"):
        plan.notes.add(Kind.TABLES, "There is no participants.tsv, which would give age, sex and other variables.")
    if not named:
        return
    if not named & with_image:
        raise InputError(
            f"The tables of {source} name {few(sorted(named))}, and none of them has an image; those with images are "
            f"{few(sorted(with_image))}. Expected the folders' names in the column participant_id."
        )
    if absent := sorted(named - with_image):
        plan.notes.add(
            Kind.SESSIONS, f"{len(absent)} of the {len(named)} participants of the tables have no image: {few(absent)}."
        )
    if unknown := sorted(with_image - named):
        plan.notes.add(
            Kind.SESSIONS,
            f"{len(unknown)} participant(s) with images are in no table and stay with n/a: {few(unknown)}.",
        )
