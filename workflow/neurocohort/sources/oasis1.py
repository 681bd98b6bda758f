"""OASIS-1 (cross-sectional): averaged T1-weighted scans of 416 people, their dementia ratings, and FSL's tissue labels.

The images are Analyze pairs in one folder per session, ``disc1/OAS1_0001_MR1/``; `analyze` describes their orientation.
"""

import bisect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np

from neurocohort.errors import InputError, ScanExcluded
from neurocohort.notes import Kind
from neurocohort.sources import raw_bids
from neurocohort.sources.analyze import analyze_to_nifti
from neurocohort.sources.archives import Oversized, stream_members
from neurocohort.sources.columns import Image, IngestResult, Scan
from neurocohort.sources.data_dictionary import Entry
from neurocohort.sources.inputs import record_inputs
from neurocohort.sources.oasis1_table import PARTICIPANT_COLUMNS, SCANNER, SESSION_NAME, SITE, VARIABLES, read_table
from neurocohort.sources.spreadsheets import PublishedTable

DERIVATIVES = "derivatives/oasis-fslseg"


class _Kind(NamedTuple):
    """One image of each session: its folder and name in the archive, the stored order of its axes, and its name in BIDS."""

    folder: str
    name: str
    stored: str
    target: str
    ending: str

    @property
    def pattern(self) -> re.Pattern:
        return re.compile(rf"{self.folder}/[^/.][^/]*{self.name}\.(hdr|img)")


# n is followed by the number of averaged acquisitions, 3 to 6; it is not the N4 correction.
KINDS = {
    "t1w": _Kind("PROCESSED/MPRAGE/SUBJ_111", r"_mpr_n\d+_anon_sbj_111", "ASL", "", "T1w"),
    "reference": _Kind(
        "PROCESSED/MPRAGE/T88_111",
        "_t88_masked_gfc",
        "LAS",
        f"{DERIVATIVES}/",
        "space-T88_desc-brain_T1w",
    ),
    "dseg": _Kind("FSL_SEG", "_t88_masked_gfc_fseg", "LAS", f"{DERIVATIVES}/", "space-T88_dseg"),
}
# The last MR1 number on each of the twelve discs; a repeat session (MR2) is on the disc of its MR1.
LAST_ON_DISC = (42, 80, 115, 150, 191, 231, 272, 309, 348, 382, 419, 457)
DESCRIPTION: Entry = {
    "Name": "OASIS-1 (cross-sectional)",
    "DatasetType": "raw",
    "License": "OASIS Data Use Agreement",
    "Acknowledgements": "OASIS-1: Cross-Sectional. Principal Investigators: D. Marcus, R. Buckner, J. Csernansky, "
    "J. Morris; P50 AG05681, P01 AG03991, P01 AG026276, R01 AG021910, P20 MH071616, U24 RR021382",
    "ReferencesAndLinks": ["https://doi.org/10.1162/jocn.2007.19.9.1498"],
    "SourceDatasets": [{"URL": "https://sites.wustl.edu/oasisbrains/"}],
}


def ingest_oasis1(archives: Sequence[Path | str], table: Path | str, folder: Path | str) -> IngestResult:
    """Turn OASIS-1's disc archives and table into the raw BIDS layout.

    The T1w image is the session's average (SUBJ_111); MR1 is ses-1 and MR2 ses-2 of the same participant. FSL's labels and the
    atlas-space image on which they are drawn go to ``derivatives/oasis-fslseg``. A session whose labels can't be used keeps its
    scan. A session of the table without a usable image is excluded if its disc was given, and only counted if not. An image
    without a row in the table stays, with n/a.

    Args:
        archives: The discs.
        table: The table of the sessions.
        folder: The cohort's folder.

    Raises:
        InputError: If an archive is damaged or has no session, or if the table lacks a column or has an impossible value.
    """
    rows = read_table(table)
    collected = raw_bids.Ingested(Path(folder))
    for reason in rows.nameless:
        collected.exclude(None, None, reason)
    pairs = _Pairs(collected)
    discs: set[int] = set()
    for archive in archives:
        discs.update(map(int, re.findall(r"disc([0-9]{1,2})\.", Path(archive).name)))
        for name, content in stream_members(archive, lambda name: _recognise(name)[1] is not None, collected.inputs):
            session, kind = _recognise(name)
            if session is None:
                continue
            discs.update(map(int, re.findall(r"(?:^|/)disc([0-9]{1,2})/", name)))
            pairs.sessions.add(session)
            if kind is not None and content is not None:
                pairs.add(session, kind, name, content)
    record_inputs(collected, [table])
    if not pairs.sessions:
        where = ", ".join(str(archive) for archive in archives) or "the archives (none are given)"
        raise InputError(
            f"No member of {where} is in a folder like disc1/OAS1_0001_MR1/; the discs of OASIS-1 are expected."
        )
    for session in sorted(pairs.sessions):
        _finish(collected, session, pairs, rows)
    _account_for_rows(collected, pairs.sessions, {*rows.known, *rows.conflicts}, discs)
    if any(path.startswith(DERIVATIVES) for path in collected.images):
        program = {"Name": "FSL FAST", "Description": "Run by OASIS on the masked, gain-field corrected T88 image"}
        raw_bids.describe_labels(collected, DERIVATIVES, "Tissue labels of OASIS-1", program)
    return raw_bids.write_tables(collected, VARIABLES, DESCRIPTION, PARTICIPANT_COLUMNS)


class _Pairs:
    """The Analyze images of all sessions; the two files of a pair come in any order. A complete pair is converted at once."""

    def __init__(self, collected: raw_bids.Ingested):
        self.collected = collected
        self.sessions: set[str] = set()
        self.waiting: dict[tuple[str, str], dict[str, bytes]] = {}
        self.held: dict[tuple[str, str], nib.Nifti1Image] = {}  # labels without their image, and the reverse
        self.written: dict[tuple[str, str], Image] = {}
        self.problems: dict[tuple[str, str], str] = {}

    def add(self, session: str, kind: str, name: str, content: bytes | Oversized) -> None:
        """Take one file of a pair."""
        key = session, kind
        suffix = name[-3:]
        if key in self.written or key in self.held or key in self.problems or suffix in self.waiting.get(key, {}):
            self.collected.notes.add(
                Kind.IMAGES, f"{name} is a second {suffix} file of this kind for {session}; it is ignored."
            )
            return
        if isinstance(content, Oversized):
            self.problems[key] = str(content)
            return
        self.waiting.setdefault(key, {})[suffix] = content
        if len(self.waiting[key]) == 2:
            self._convert(key, self.waiting.pop(key))

    def _convert(self, key: tuple[str, str], pair: dict[str, bytes]) -> None:
        session, kind = key
        try:
            image = analyze_to_nifti(pair["hdr"], pair["img"], KINDS[kind].stored)
            if kind == "dseg" and not {0} < set(np.unique(image.dataobj)) | {0} <= {0, 1, 2, 3}:
                raise ScanExcluded(raw_bids.STAGE, "The labels are not 0, 1, 2 and 3.")
        except ScanExcluded as exclusion:
            self.problems[key] = exclusion.reason
            return
        if kind == "t1w":
            self._write(key, image)
        else:
            self.held[key] = image
            self._write_labels(session)

    def _write_labels(self, session: str) -> None:
        """Write the labels and their image once both are there. The labels take the header of the image."""
        keys = (session, "dseg"), (session, "reference")
        if all(key in self.held for key in keys):
            labels, reference = (self.held.pop(key) for key in keys)
            if labels.shape != reference.shape:
                self.problems[keys[0]] = f"The labels are {labels.shape} and their image is {reference.shape}."
                return
            labels.set_sform(*reference.get_sform(coded=True))
            labels.set_qform(*reference.get_qform(coded=True))
            self._write(keys[0], labels)
            self._write(keys[1], reference)

    def _write(self, key: tuple[str, str], image: nib.Nifti1Image) -> None:
        path = _path(*key)
        sha256 = self.collected.write_image(path, raw_bids.gzipped(image))
        self.written[key] = Image(path, sha256, raw_bids.voxels_sha256(image))

    def why_missing(self, session: str, kind: str) -> str | None:
        """A sentence on why there is no image of this kind; None if there is one."""
        key = session, kind
        if key in self.written or key in self.held:
            return None
        if key in self.problems:
            return self.problems[key]
        if key in self.waiting:
            return f"Of the pair in {KINDS[kind].folder} only the .{next(iter(self.waiting[key]))} file is there."
        return f"The session's folder has no image in {KINDS[kind].folder}."


def _recognise(name: str) -> tuple[str | None, str | None]:
    """The session and the kind of image of a member, by its name."""
    place = re.search(rf"(?:^|/)({SESSION_NAME})/(.+)\Z", name)
    if not place:
        return None, None
    return place[1], next((key for key, kind in KINDS.items() if kind.pattern.fullmatch(place[2])), None)


def _identity(session: str) -> tuple[str, str]:
    """participant_id and scan_id of OAS1_0001_MR1: sub-OAS10001, sub-OAS10001_ses-1."""
    participant_id = f"sub-OAS1{session[5:9]}"
    return participant_id, f"{participant_id}_ses-{session[-1]}"


def _disc_of(session: str) -> int:
    return bisect.bisect_left(LAST_ON_DISC, int(session[5:9])) + 1


def _path(session: str, kind: str) -> str:
    participant_id, scan_id = _identity(session)
    return f"{KINDS[kind].target}{participant_id}/ses-{session[-1]}/anat/{scan_id}_{KINDS[kind].ending}.nii.gz"


def _finish(collected: raw_bids.Ingested, session: str, pairs: _Pairs, rows: PublishedTable[str]) -> None:
    """Make a scan or an exclusion of one session."""
    participant_id, scan_id = _identity(session)
    if reason := rows.conflicts.get(session) or pairs.why_missing(session, "t1w"):
        collected.exclude(participant_id, scan_id, reason)
        collected.drop_images(_path(session, kind) for kind in KINDS)
        return
    if problem := pairs.why_missing(session, "dseg") or pairs.why_missing(session, "reference"):
        sentence = f"It stays without tissue labels. {problem}"
        collected.notes.add(Kind.LABEL_MAPS, sentence, participant_id, scan_id)
    columns = {"dseg_path": (session, "dseg"), "dseg_reference_path": (session, "reference")}
    files = {column: pairs.written[key].path for column, key in columns.items() if key in pairs.written}
    variables = {"site": SITE, "scanner": SCANNER} | rows.known.get(session, {})
    t1w = pairs.written[session, "t1w"]
    collected.scans[scan_id] = Scan(participant_id, f"ses-{session[-1]}", scan_id, t1w, files, variables)


def _account_for_rows(collected: raw_bids.Ingested, found: set[str], rows: set[str], discs: set[int]) -> None:
    """Exclude the table's sessions that the given ``discs`` lack, and note those of other discs and sessions without a row."""
    absent = sorted(rows - found)
    for session in absent:
        if _disc_of(session) in discs:
            collected.exclude(*_identity(session), f"Disc {_disc_of(session)} has no folder of this session.")
    if elsewhere := [session for session in absent if _disc_of(session) not in discs]:
        sentence = f"{len(elsewhere)} session(s) of the table are on discs that were not given."
        collected.notes.add(Kind.SESSIONS, sentence)
    collected.notes.add_list(
        Kind.SESSIONS, sorted(found - rows), "session(s) have no row in the table and stay with n/a"
    )
