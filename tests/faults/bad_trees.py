"""Bad BIDS trees, each by name: its images, tables and links, and what must come out of `ingest_bids`."""

import json
from pathlib import Path
from typing import NamedTuple

from bad_files import good, zipped
from outcomes import Must

IMAGE = zipped(good(shape=(6, 7, 8)))
UNZIPPED = good(shape=(6, 7, 8))


class Tree(NamedTuple):
    """``images``: names without _T1w.nii.gz, which say their folders, or whole paths. ``files``: by path, the text of a table, of
    which blanks become tabs, or an object that becomes JSON. ``links``: by path, where it leads.
    """

    images: tuple[str, ...]
    must: Must
    files: dict[str, str | dict] = {}  # noqa: RUF012  (never changed)
    links: dict[str, str] = {}  # noqa: RUF012
    folders: tuple[str, ...] = ()
    run: str = "first"

    def write(self, source: Path) -> None:
        for name in self.images:
            path = source / (name if "/" in name else place_of(name))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(UNZIPPED if path.name.lower().endswith(".nii") else IMAGE)
        for name, text in self.files.items():
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = ("\t".join(row.split(" ")) + "\n" for row in str(text).splitlines())
            path.write_text(json.dumps(text) if isinstance(text, dict) else "".join(rows))
        for name in self.folders:
            (source / name).mkdir(parents=True)
        for name, target in self.links.items():
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(target)


def place_of(name: str) -> str:
    participant, *rest = name.split("_")
    session = next((part for part in rest if part.startswith("ses-")), "")
    return "/".join(filter(None, (participant, session, "anat", f"{name}_T1w.nii.gz")))


def scans(*names: str) -> dict[str, list[str]]:
    return {"scan_id": [name if "ses-" in name else f"{name}_ses-1" for name in names]}


def ages(*values: str) -> dict[str, list[str]]:
    return {"age": [*values]}


TWO = ("sub-01", "sub-02")
TWICE = ("sub-01_ses-1", "sub-01_ses-2")
AGES = {"participants.tsv": "participant_id age sex\nsub-01 31 M\nsub-02 42 F"}
AGE = {"participants.tsv": "participant_id age sex\nsub-01 31 M"}
DATES = "filename acq_time\nanat/sub-01_ses-{0}_T1w.nii.gz {1}T10:00:00"

TREES: dict[str, Tree] = {
    # sessions
    "a session without anat": Tree(
        TWICE, Must(noted="no folder anat in them: sub-01/ses-3"), folders=("sub-01/ses-3/func",)
    ),
    "an empty session": Tree(TWICE, Must(noted="no folder anat in them: sub-01/ses-3"), folders=("sub-01/ses-3",)),
    "a participant without anat or row": Tree(
        TWO,
        Must(noted="1 folder(s) of a participant or session have no folder anat in them: sub-03"),
        AGES,
        folders=("sub-03/func",),
    ),
    "an empty anat": Tree(
        TWO, Must(noted="1 session(s) with an anat folder have no image that matches"), AGES, folders=("sub-03/anat",)
    ),
    "sessions for some alone": Tree(
        ("sub-01_ses-1", "sub-02"),
        Must(noted="1 participant(s) have no session folders", values=scans("sub-01", "sub-02")),
        AGES,
    ),
    "anat beside the sessions": Tree(
        (*TWICE, "sub-01/anat/sub-01_T1w.nii.gz"),
        Must(noted="an anat folder outside of their session folders, which is left out", values=scans(*TWICE)),
    ),
    "sessions of other zeros in the table": Tree(
        ("sub-01_ses-M000",),
        Must(noted="other leading zeros in the tables than in their folders", values=ages("33")),
        {"sub-01/sub-01_sessions.tsv": "session_id age\nses-M00 33"},
    ),
    "sessions that no folder has": Tree(
        TWICE,
        Must("none of them has a folder"),
        {"sub-01/sub-01_sessions.tsv": "session_id age\nbaseline 33\nyear1 34"},
    ),
    "a session without a row": Tree(
        TWICE,
        Must(noted="1 session folder(s) have no row in the tables of sessions", values=ages("33", "n/a")),
        {"sub-01/sub-01_sessions.tsv": "session_id age\nses-1 33"},
    ),
    "a session's age against the participant's": Tree(
        ("sub-01_ses-1",),
        Must(noted="1 participant(s) have another age in participants.tsv than in their sessions", values=ages("61")),
        AGE | {"sub-01/sub-01_sessions.tsv": "session_id age\nses-1 61"},
    ),
    "ages of sessions around the participant's": Tree(
        TWICE,
        Must(values=ages("30.8", "33")),
        AGE | {"sub-01/sub-01_sessions.tsv": "session_id age\nses-1 30.8\nses-2 33"},
    ),
    "a session's sex against the participant's": Tree(
        ("sub-01_ses-1",),
        Must(noted="1 participant(s) have another sex in participants.tsv", values={"sex": ["F"]}),
        AGE | {"sub-01/sub-01_sessions.tsv": "session_id sex\nses-1 female"},
    ),
    "sessions of two sexes": Tree(
        TWICE,
        Must(noted="1 participant(s) have sessions with different sexes, as of two people: sub-01"),
        {"sub-01/sub-01_sessions.tsv": "session_id sex\nses-1 M\nses-2 female"},
    ),
    "sessions of two generations": Tree(
        TWICE,
        Must(noted="sessions with ages of more than 30 years apart", values=ages("31", "75")),
        {"sub-01/sub-01_sessions.tsv": "session_id age\nses-1 31\nses-2 75"},
    ),
    "two tables of one session": Tree(
        ("sub-01_ses-1",),
        Must(
            noted="age differ between sub-01_sessions.tsv, whose value is used, and a table read before it",
            values=ages("61"),
        ),
        {
            "sessions.tsv": "participant_id session_id age\nsub-01 ses-1 31",
            "sub-01/sub-01_sessions.tsv": "session_id age\nses-1 61",
        },
    ),
    "one age for two sessions": Tree(
        TWICE, Must(noted="have one age for all of their sessions", values=ages("31", "31")), AGE
    ),
    "dates of two sessions": Tree(
        TWICE,
        Must(noted="acq_time", values=ages("31", "33.0014")),
        AGE
        | {
            "sub-01/ses-1/sub-01_ses-1_scans.tsv": DATES.format(1, "2015-03-01"),
            "sub-01/ses-2/sub-01_ses-2_scans.tsv": DATES.format(2, "2017-03-01"),
        },
    ),
    "dates of which one is shifted": Tree(
        TWICE,
        Must(noted="1 scan(s) have n/a for age", values=ages("31", "n/a")),
        AGE
        | {
            "sub-01/ses-1/sub-01_ses-1_scans.tsv": DATES.format(1, "1905-03-01"),
            "sub-01/ses-2/sub-01_ses-2_scans.tsv": DATES.format(2, "2017-03-01"),
        },
    ),
    "a sessions table in months": Tree(
        ("sub-01_ses-1",),
        Must(values=ages("31")),
        {
            "sub-01/sub-01_sessions.tsv": "session_id age\nses-1 372",
            "sub-01/sub-01_sessions.json": {"age": {"Units": "mo"}},
        },
    ),
    # whose image
    "another's image": Tree(
        ("sub-01", "sub-02/anat/sub-01_T1w.nii.gz"),
        Must(excluded="sub-01_T1w.nii.gz is named as sub-01 and is in the folder of sub-02"),
        AGES,
    ),
    "another session's image": Tree(
        ("sub-01_ses-1", "sub-01/ses-2/anat/sub-01_ses-1_T1w.nii.gz"),
        Must(excluded="named as ses-1 and is in the folder of sub-01/ses-2"),
    ),
    "another's image beside one's own": Tree(
        (*TWO, "sub-02/anat/sub-01_T1w.nii.gz"),
        Must(noted="left out: sub-01_T1w.nii.gz (named as sub-01)", values=scans(*TWO)),
        AGES,
    ),
    # which image
    "the suffix in small letters": Tree(
        ("sub-01", "sub-02/anat/sub-02_t1w.nii.gz"),
        Must(noted="no image that matches *_T1w.nii*: sub-02_ses-1", values=scans("sub-01")),
        AGES,
    ),
    "the extension in capitals": Tree(
        ("sub-01", "sub-02/anat/sub-02_T1w.NII.GZ"),
        Must(noted="no image that matches *_T1w.nii*: sub-02_ses-1", values=scans("sub-01")),
        AGES,
    ),
    "T2-weighted alone": Tree(
        ("sub-01", "sub-02/anat/sub-02_T2w.nii.gz"), Must(noted="no image that matches", values=scans("sub-01")), AGES
    ),
    "nothing T1-weighted at all": Tree(
        ("sub-01/anat/sub-01_T2w.nii.gz",), Must("has no image named *_T1w.nii* in its anat folders")
    ),
    ".nii and .nii.gz": Tree(
        ("sub-01", "sub-01/anat/sub-01_T1w.nii"),
        Must(noted="left out: sub-01_T1w.nii (named as the same image in another form)"),
    ),
    "several runs": Tree(
        ("sub-01_run-1", "sub-01_run-2"), Must(noted="sub-01_run-1_T1w.nii.gz is taken; left out: sub-01_run-2")
    ),
    "all of several runs": Tree(
        ("sub-01_run-1", "sub-01_run-2"),
        Must(values={"scan_id": ["sub-01_ses-1_run-1", "sub-01_ses-1_run-2"]}),
        run="all",
    ),
    "reconstructions": Tree(
        ("sub-01_rec-norm", "sub-01"), Must(noted="sub-01_T1w.nii.gz is taken; left out: sub-01_rec-norm")
    ),
    "acquisitions": Tree(
        ("sub-01_acq-A", "sub-01_acq-B"), Must(noted="sub-01_acq-A_T1w.nii.gz is taken; left out: sub-01_acq-B")
    ),
    "a contrast agent": Tree(
        ("sub-01_ce-gad", "sub-01_run-2"), Must(noted="left out: sub-01_ce-gad_T1w.nii.gz (contrast-enhanced)")
    ),
    "nothing but a contrast agent": Tree(("sub-01_ce-gad",), Must(noted="is contrast-enhanced by its name")),
    "phase beside magnitude": Tree(
        ("sub-01_part-mag", "sub-01_part-phase"), Must(noted="sub-01_part-phase_T1w.nii.gz (not a magnitude image)")
    ),
    "phase alone": Tree(
        ("sub-01", "sub-02_part-phase"), Must(excluded="sub-02_ses-1 The session has no magnitude image"), AGES
    ),
    "a defaced copy": Tree(
        ("sub-01", "sub-01/anat/sub-01_desc-defaced_T1w.nii.gz"),
        Must(noted="left out: sub-01_desc-defaced_T1w.nii.gz", values=scans("sub-01")),
    ),
    "a mask of defacing": Tree(
        ("sub-01", "sub-01/anat/sub-01_mod-T1w_defacemask.nii.gz"), Must(values=scans("sub-01"))
    ),
    # what lies beside
    "macOS' hidden files": Tree(
        ("sub-01/anat/._sub-01_T1w.nii.gz", "sub-01", "sub-01/anat/.DS_Store"), Must(values=scans("sub-01"))
    ),
    "derivatives within": Tree(
        (
            "sub-01",
            "derivatives/fmriprep/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz",
            "sourcedata/sub-09/anat/sub-09_T1w.nii.gz",
        ),
        Must(values=scans("sub-01")),
    ),
    "the folder above": Tree(("bids/sub-01/anat/sub-01_T1w.nii.gz",), Must("has no folder named sub-*")),
    "a link to nothing": Tree(
        ("sub-01",),
        Must(excluded="is a link to a file that is not there"),
        links={"sub-02/anat/sub-02_T1w.nii.gz": "../../annex"},
    ),
    "a link to another's image": Tree(
        ("sub-01",),
        Must(
            noted="2 scans have the same image, voxel for voxel: sub-01_ses-1, sub-02_ses-1",
            values=scans("sub-01", "sub-02"),
        ),
        links={"sub-02/anat/sub-02_T1w.nii.gz": "../../sub-01/anat/sub-01_T1w.nii.gz"},
    ),
    # names and tables
    "sub- in capitals, or left out": Tree(
        ("sub-01", "Sub-02/anat/Sub-02_T1w.nii.gz", "03/anat/03_T1w.nii.gz"),
        Must(noted="2 folder(s) aren't named sub-... and are left out: 03, Sub-02", values=scans("sub-01")),
    ),
    "labels with +": Tree(("sub-a+b",), Must(values=scans("sub-a+b"))),
    "labels with underscores": Tree(
        ("sub-OAS1_0001/anat/sub-OAS1_0001_T1w.nii.gz",),
        Must(noted="OAS1_0001 of study is sub-OAS10001 here", values=scans("sub-OAS10001")),
    ),
    "labels that become one": Tree(
        ("sub-A1", "sub-A_1/anat/sub-A_1_T1w.nii.gz"), Must("which are both sub-A1 in BIDS")
    ),
    "labels that differ in zeros": Tree(
        ("sub-1", "sub-01"), Must(noted="sub-01 and sub-1 of study differ only in capitals or leading zeros")
    ),
    "a row without a folder": Tree(
        ("sub-01",), Must(noted="1 of the 2 participants of the tables have no image: sub-02"), AGES
    ),
    "a folder without a row": Tree(
        TWO, Must(noted="1 participant(s) with images are in no table", values=ages("31", "n/a")), AGE
    ),
    "nobody in both": Tree(("sub-07",), Must("and none of them has an image; those with images are sub-07"), AGES),
    "no participants.tsv": Tree(TWO, Must(noted="There is no participants.tsv")),
    "units that nobody knows": Tree(
        TWO, Must("`Units` of age is 'lustra'"), AGES | {"participants.json": {"age": {"Units": "lustra"}}}
    ),
    "a dataset_description.json that is damaged": Tree(
        TWO,
        Must(noted="dataset_description.json can't be read as JSON", values=scans(*TWO)),
        AGES | {"dataset_description.json": "{"},
    ),
    "no dataset_description.json": Tree(TWO, Must(values=scans(*TWO) | ages("31", "42")), AGES),
}
