"""The plan of an ingest of a BIDS folder: which image of each session is used, and which row of the tables belongs to it."""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from neurocohort.errors import InputError
from neurocohort.notes import Kind
from neurocohort.sources.bids_labels import EXPECTED, Labels
from neurocohort.sources.columns import DIFFUSION_MAPS, LABELS, DiffusionFiles
from neurocohort.sources.data_dictionary import read_dictionary
from neurocohort.sources.diffusion_files import FOLDER as DIFFUSION_FOLDER
from neurocohort.sources.diffusion_files import diffusion_images
from neurocohort.sources.image_choice import Choice, choose_images, is_enhanced, misfiled
from neurocohort.sources.local_files import (
    IMAGE_SUFFIXES,
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
from neurocohort.sources.local_masks import masks_beside
from neurocohort.sources.local_plan import LocalPlan, LocalScan, check_modalities
from neurocohort.sources.local_tables import read_bids_tables
from neurocohort.sources.session_ages import fill_session_ages
from neurocohort.sources.session_matching import match_sessions
from neurocohort.text import few

SESSION = "ses-1"  # of participants without session folders
RUNS = ("first", "last", "all")
NO_IMAGE_SUFFIXES = (*IMAGE_SUFFIXES, ".json", ".tsv", ".txt")
FILES_LOOKED_AT = 20  # of an anat folder without an image, to see whether they are DICOM
Others = dict[str, list[os.DirEntry]]  # the session's images of the extra modalities


def plan_bids(
    source: Path,
    *,
    pattern: str = "*_T1w.nii*",
    run: str = "first",
    modalities: Sequence[str] = ("T1w",),
    ignored: Callable[[str], bool] | None = None,
    masks: Mapping[str, str] | None = None,
) -> LocalPlan:
    """Plan what `ingest_bids` will do; its docstring describes the arguments.

    ``ignored``: whether a file is left out, by its path below ``source``.

    Raises:
        InputError: If ``source`` isn't a BIDS folder or has no image, its tables can't be read or name nobody who has an image,
            or ``run`` is unknown.
    """
    if not pattern or "/" in pattern:
        raise InputError(f"The pattern is {pattern!r}; expected a file name within an anat folder, such as *_T1w.nii*.")
    selection = Selection(source, pattern, run, modalities)
    left_out: list[str] = []
    for anat in sessions_of(selection):
        selection.add(_without(anat, source, ignored, left_out) if ignored else anat)
    plan = selection.plan
    plan.notes.add_list(Kind.IMAGES, left_out, "image(s) are left out by .bidsignore")
    if not plan.scans and selection.dicom:
        from neurocohort.sources.local_scans import dicom_error  # reads images, so it is slow to import

        raise dicom_error(source, selection.dicom[0])
    if not selection.participants:
        raise _nothing_found(source, pattern)
    selection.note()
    if masks:
        plan.scans = [scan._replace(masks=masks_beside(scan.images["T1w"], masks)) for scan in plan.scans]
    plan.tables = read_bids_tables(source, plan.notes)
    plan.entries = {**read_dictionary(source / "sessions.json"), **read_dictionary(source / "participants.json")}
    if not os.path.lexists(source / "participants.tsv"):
        plan.notes.add(Kind.TABLES, "There is no participants.tsv, which would give age, sex and other variables.")
    note_participants(plan, f"The tables of {source}", selection.participants)
    match_sessions(plan, source, selection.without_sessions)
    fill_session_ages(plan, source)
    return plan


class Selection:
    """The images that are chosen, session by session, and what is left out.

    Args:
        source: The folder with the folders of the participants.
        pattern: File names of the T1-weighted images.
        run: Which of several images of a session.
        modalities: T1w first.
        anat: The name of the folders with the images.

    Raises:
        InputError: If ``run`` or a modality is unknown.
    """

    def __init__(self, source: Path, pattern: str, run: str, modalities: Sequence[str], anat: str = "anat"):
        images = [name for name in modalities if name not in DIFFUSION_MAPS]
        check_modalities(images)
        if run not in RUNS:
            raise InputError(f"The run is {run!r}; expected one of {', '.join(RUNS)}.")
        self.plan = LocalPlan()
        self.anat, self.an_anat = anat, f"{'an' if anat.startswith('a') else 'a'} {anat} folder"
        self.source, self.pattern, self.run, self.modalities = source, pattern, run, images
        self.with_diffusion = len(images) < len(modalities)
        self.people, self.sessions = Labels("sub-", source.name), Labels("ses-", source.name)
        self.participants: set[str] = set()  # with an image, whether it is used or not
        self.without_sessions: set[str] = set()  # participants without session folders
        self.unmatched: list[str] = []  # sessions
        self.dicom: list[Path] = []
        self.unused_labels: list[str] = []  # one label map per session whose label maps belong to no image

    def add(self, anat: AnatFolder) -> None:
        """Choose from one session's anat folder."""
        images = matching_images(anat.files, self.pattern)
        if not anat.problem and not images:
            self._add_without_image(anat)
            return
        labels = self._labels(anat)
        participant_id, session_id = labels or (anat.participant_id, anat.session_id or SESSION)
        scan_id = f"{participant_id}_{session_id}"
        self.participants.add(participant_id)
        if anat.problem:
            self.plan.exclude(participant_id, scan_id if anat.session_id else None, anat.problem)
        elif not labels:
            self.plan.exclude(participant_id, scan_id, f"The folders' names can't be BIDS labels: expected {EXPECTED}.")
        else:
            self._choose(anat, images, participant_id, session_id)

    def note(self) -> None:
        """Note what is left out, and names that are changed."""
        notes = self.plan.notes
        what = f"session(s) with {self.an_anat} have no image that matches {self.pattern}"
        notes.add_list(Kind.IMAGES, self.unmatched, what)
        what = "session(s) have label maps that are left out, because none is named as the image with "
        notes.add_list(Kind.LABEL_MAPS, self.unused_labels, f"{what}{LABELS} in the place of its suffix")
        self.people.note(notes)
        self.sessions.note(notes)

    def _labels(self, anat: AnatFolder) -> tuple[str, str] | None:
        """Participant and session as BIDS labels; None if a folder's name can't be one."""
        participant_id = self.people.of(anat.participant_id)
        session_id = self.sessions.of(anat.session_id or SESSION, participant_id or "")
        return (participant_id, session_id) if participant_id and session_id else None

    def _choose(self, anat: AnatFolder, images: list[os.DirEntry], participant_id: str, session_id: str) -> None:
        """Choose among the ``images`` that match the pattern; make scans or an exclusion of them."""
        scan_id = f"{participant_id}_{session_id}"
        named = {image.name: misfiled(image.name, anat.participant_id, anat.session_id) for image in images}
        strangers = {name: whose for name, whose in named.items() if whose}
        own = [image for image in images if image.name not in strangers]
        choice = choose_images(own, self.run)
        others = {modality: self._others(anat, modality) for modality in self.modalities[1:]}
        reason = self._why_excluded(anat, strangers, choice, others)
        diffusion: list[DiffusionFiles] = []
        if not reason and self.with_diffusion:
            diffusion, reason = diffusion_images(Path(choice.taken[0].path).parent.with_name(DIFFUSION_FOLDER))
        if reason:
            self.plan.exclude(participant_id, scan_id, reason)
            return
        self._note_choice(participant_id, scan_id, choice, strangers, anat)
        names = _run_names(choice.taken) if self.run == "all" else [""] * len(choice.taken)
        for image, name in zip(choice.taken, names, strict=True):
            partners = {modality: self._partner(image, found) for modality, found in others.items()}
            paths = {modality: Path(found.path) for modality, found in {"T1w": image, **partners}.items()}
            labels = labels_beside(image, anat.files)
            scan = LocalScan(participant_id, session_id, name, paths, Path(labels.path) if labels else None)
            self.plan.scans.append(scan._replace(diffusion=diffusion[0]) if diffusion else scan)
        if len(diffusion) > 1:
            left = ", ".join(one.dwi.name for one in diffusion[1:])
            sentence = f"{diffusion[0].dwi.name} is taken; left out: {left}."
            self.plan.notes.add(Kind.IMAGES, sentence, participant_id, scan_id)
        maps = [entry.name for entry in anat.files if stem_and_suffix(entry.name)[0].endswith(f"_{LABELS}")]
        if maps and not any(labels_beside(image, anat.files) for image in own):
            self.unused_labels.append(maps[0])

    def _why_excluded(self, anat: AnatFolder, strangers: dict[str, str], choice: Choice, others: Others) -> str | None:
        """Why a session with matching images has no scan; None if it has one."""
        if not choice.taken and strangers:
            image, whose = next(iter(strangers.items()))
            return f"{image} is named as {whose} and is in the folder of {_place(anat)}; move or rename it."
        if not choice.taken:
            return f"The session has no magnitude image: {few(image.name for image, _ in choice.left)}."
        absent = [modality for modality, found in others.items() if not found]
        misplaced = [image.name for modality in absent for image in self._named(anat, modality)]
        why = f": {few(misplaced)} is named as another's" if misplaced else ""
        return f"The session has no {' and no '.join(absent)} image{why}." if absent else None

    def _note_choice(
        self, participant_id: str, scan_id: str, choice: Choice, strangers: dict[str, str], anat: AnatFolder
    ) -> None:
        left = [f"{image.name} ({why})" for image, why in choice.left]
        twins = [twin for image in choice.taken for twin in other_forms(image, anat.files)]
        left += [f"{twin.name} (named as the same image in another form)" for twin in twins]
        left += [f"{image} (named as {whose})" for image, whose in strangers.items()]
        if left:
            taken = ", ".join(image.name for image in choice.taken)
            sentence = f"{taken} {'are' if len(choice.taken) > 1 else 'is'} taken; left out: {', '.join(left)}."
            self.plan.notes.add(Kind.IMAGES, sentence, participant_id, scan_id)
        if enhanced := [image.name for image in choice.taken if is_enhanced(image)]:
            sentence = f"{', '.join(enhanced)} is contrast-enhanced by its name, and the session has no native image."
            self.plan.notes.add(Kind.IMAGES, sentence, participant_id, scan_id)

    def _add_without_image(self, anat: AnatFolder) -> None:
        """Exclude a session with DICOM; keep in mind another one without a matching image."""
        session = f"{anat.participant_id}_{anat.session_id or SESSION}"
        others = [Path(entry.path) for entry in anat.files if not entry.name.endswith(NO_IMAGE_SUFFIXES)]
        dicom = None
        if others:
            from neurocohort.sources.local_images import dicom_reason, is_dicom  # slow to import

            dicom = next((path for path in others[:FILES_LOOKED_AT] if is_dicom(path)), None)
        if dicom is None:
            self.unmatched.append(session)
            return
        self.participants.add(self.people.of(anat.participant_id) or anat.participant_id)
        self.dicom.append(dicom)
        place = dicom if os.path.isdir(dicom) else dicom.parent
        labels = self._labels(anat)
        participant_id, scan_id = (labels[0], "_".join(labels)) if labels else (anat.participant_id, session)
        self.plan.exclude(participant_id, scan_id, dicom_reason(dicom, str(place.relative_to(self.source))))

    def _others(self, anat: AnatFolder, modality: str) -> list[os.DirEntry]:
        """The session's images of an extra modality."""
        found = self._named(anat, modality)
        return [image for image in found if not misfiled(image.name, anat.participant_id, anat.session_id)]

    def _named(self, anat: AnatFolder, modality: str) -> list[os.DirEntry]:
        """The folder's images of a modality, named like the pattern if there are any. They may be misplaced."""
        alike = matching_images(anat.files, self.pattern.replace("T1w", modality)) if "T1w" in self.pattern else []
        return alike or matching_images(anat.files, f"*_{modality}.nii*")

    def _partner(self, image: os.DirEntry, others: list[os.DirEntry]) -> os.DirEntry:
        """The one of ``others`` that goes with ``image``: of the same run, or the first or last."""
        same = [other for other in others if run_number(other.name) == run_number(image.name)]
        best = choose_images(same or others, "last" if self.run == "last" else "first").taken
        return (best or same or others)[0]


def sessions_of(selection: Selection) -> Iterator[AnatFolder]:
    """The anat folders of sessions, and of participants without session folders; note the others."""
    without: list[str] = []
    outside: list[str] = []
    absent: list[str] = []
    people = Labels("sub-", selection.source.name)
    found = anat_folders(selection.source, selection.anat)
    for participant_id, group in itertools.groupby(found, lambda anat: anat.participant_id):
        folders = [*group]
        absent += [_place(anat) for anat in folders if anat.absent]
        present = [anat for anat in folders if not anat.absent]
        if not present:
            continue
        first, *others = present
        if first.session_id is not None or (first.problem and not others):
            yield first
        elif others:
            outside.append(participant_id)
        else:
            without.append(participant_id)
            selection.without_sessions.add(people.of(participant_id) or participant_id)
            yield first
        yield from others
    notes = selection.plan.notes
    if without:
        notes.add(Kind.SESSIONS, f"{len(without)} participant(s) have no session folders; their scans are {SESSION}.")
    misnamed = misnamed_participants(selection.source)
    notes.add_list(Kind.SESSIONS, misnamed, "folder(s) aren't named sub-... and are left out")
    notes.add_list(
        Kind.SESSIONS, absent, f"folder(s) of a participant or session have no folder {selection.anat} in them"
    )
    what = f"participant(s) have {selection.an_anat} outside of their session folders, which is left out"
    notes.add_list(Kind.SESSIONS, outside, what)


def _without(anat: AnatFolder, source: Path, ignored: Callable[[str], bool], left_out: list[str]) -> AnatFolder:
    """The folder without ignored files; the images among these are added to ``left_out``."""
    paths = {entry.name: os.path.relpath(entry.path, source) for entry in anat.files}
    left_out += [path for path in paths.values() if ignored(path) and path.endswith(IMAGE_SUFFIXES)]
    return anat._replace(files=[entry for entry in anat.files if not ignored(paths[entry.name])])


def _place(anat: AnatFolder) -> str:
    return "/".join(filter(None, (anat.participant_id, anat.session_id)))


def _run_names(images: Sequence[os.DirEntry]) -> list[str]:
    """Unique names of the images of one session: their runs, or their places if the runs aren't unique; empty for one."""
    if len(images) == 1:
        return [""]
    runs = [run_number(image.name) for image in images]
    if 0 in runs or len(set(runs)) < len(runs):
        runs = [*range(1, len(images) + 1)]
    return [f"run-{run}" for run in runs]


def _nothing_found(source: Path, pattern: str) -> InputError:
    if not participant_folders(source):
        hint = " For a CAPS folder write `source: caps`." if os.path.isdir(source / "subjects") else ""
        return InputError(
            f"{source} has no folder named sub-*; expected a BIDS folder, with one for each participant.{hint}"
        )
    found = [f"{anat.participant_id}/.../{entry.name}" for anat in anat_folders(source) for entry in anat.files]
    return InputError(
        f"{source} has no image named {pattern} in its anat folders, sub-*/[ses-*/]anat; found there: {few(found) or 'nothing'}."
    )


def note_participants(plan: LocalPlan, tables: str, with_image: set[str]) -> None:
    """Note who is only in the tables, or only in the folders.

    Args:
        plan: The plan, with its tables.
        tables: What the tables are called at the start of a sentence.
        with_image: The participants with an image.

    Raises:
        InputError: If nobody is in both.
    """
    notes = plan.notes
    named = set(plan.tables.participants) | {participant_id for participant_id, _ in plan.tables.sessions}
    if not named:
        return
    if not named & with_image:
        raise InputError(
            f"{tables} name {few(sorted(named))}, and none of them has an image; those with images are "
            f"{few(sorted(with_image))}. Expected the folders' names in the column participant_id."
        )
    absent = sorted(named - with_image)
    notes.add_list(Kind.SESSIONS, absent, f"of the {len(named)} participants of the tables have no image")
    unknown = sorted(with_image - named)
    notes.add_list(Kind.SESSIONS, unknown, "participant(s) with images are in no table and stay with n/a")
