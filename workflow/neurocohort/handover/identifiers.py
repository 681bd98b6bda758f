"""The strings of a study that identify people or machines, collected from its cohorts' tables, image headers and sidecars."""

import getpass
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import pandas as pd

from neurocohort.errors import InputError
from neurocohort.files import read_table
from neurocohort.handover.strings import WORD, Strings

PARTICIPANT, SESSION = "participant id", "session id"
HEADER, SIDECAR, FREE_TEXT = (
    "text of an image header",
    "text of an image's JSON sidecar",
    "free text of participants.tsv",
)
NAME, USER, HOST = "name from the list of names", "user name", "host name"
HEADER_FIELDS = ("descrip", "aux_file", "intent_name", "db_name")
IDENTIFYING = re.compile(
    r"Patient|Institution|Station|Operator|Physician|Serial|Accession|Study|Series|Protocol|Procedure|Comment|UID|Date"
    r"|Time$|DateTime|Description|Requested|PersonName",
)
NOT_IDENTIFYING = re.compile(
    r"^(Repetition|Echo|Inversion|Dwell|Effective)|Manufacturer|ReadoutTime|Duration|SeriesNumber"
    r"|Patient(Sex|Age|Size|Weight|Position|Orientation)"
)
PERSON = re.compile(r"Patient|Operator|Physician|PersonName")  # keys whose value is never a common word by accident
CATEGORIES = {"participant_id", "session_id", "scan_id", "site", "scanner", "sex", "handedness", "hand", "group"}
WORDS_OF_FREE_TEXT = 3
MOST_SHARED = 2  # participants: a text that more of them have is a category


def collect(data: Path, cohorts: list[str], names: Path | None = None) -> Strings:
    """The strings to look for before a study is handed over.

    Args:
        data: The folder with a folder for each cohort.
        cohorts: Their names.
        names: A text file with a name in each line.

    Raises:
        InputError: If a cohort's tables aren't there: without them nothing can be checked.
    """
    strings = Strings()
    for cohort in cohorts:
        folder = data / cohort
        scans = read_table(folder / "scans.tsv", ("participant_id", "scan_id", "path"))
        for table in _tables_of(folder, scans):
            _add_ids(strings, table)
        for path in scans["path"].dropna().astype(str):
            for kind, text, person in image_texts(folder / path):
                strings.add_phrase(text, kind, person=person)
        participants = folder / "participants.tsv"
        if participants.is_file():
            for text in free_texts(read_table(participants)):
                strings.add_phrase(text, FREE_TEXT)
    for kind, text in ((USER, _user()), (HOST, socket.gethostname())):
        strings.add_phrase(text, kind)
    for path in (Path.home(), Path.cwd(), data.resolve()):
        strings.add_path(path)
    for name in names_in(names) if names else []:
        strings.add_phrase(name, NAME, listed=True)
    return strings


def names_in(path: Path) -> list[str]:
    """The lines of a list of names that aren't empty. Raises InputError if there are none."""
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}, the list of names, can't be read: {error}. Give a text file with a name in each line."
        ) from error
    if not any(names):
        raise InputError(f"{path}, the list of names, has no line; expected a name in each line.")
    return [name for name in names if name]


def image_texts(path: Path) -> Iterator[tuple[str, str, bool]]:
    """Yield what is free text in the header of an image and in its JSON sidecar: kind, text, and whether it names a person."""
    try:
        header: Any = nib.load(path).header
    except (OSError, ValueError, nib.filebasedimages.ImageFileError) as error:
        raise InputError(
            f"the header of {path} can't be read ({error}), so that its texts can't be looked for. Restore the file, which is "
            "one of the cohort's scans."
        ) from error
    for name in HEADER_FIELDS:
        if name in header:
            text = bytes(header[name]).split(b"\0")[0].decode("utf-8", "replace").strip()
            yield from [(HEADER, text, False)] if text else []
    for extension in getattr(header, "extensions", ()):
        content = extension.get_content()
        if isinstance(content, (bytes, str)):
            text = content.decode("utf-8", "replace") if isinstance(content, bytes) else content
            yield HEADER, text.strip("\0 \n"), False
    sidecar = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii")).with_suffix(".json")
    if sidecar.is_file():
        try:
            content = json.loads(sidecar.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"{sidecar} can't be read as JSON: {error}. Its texts can't be looked for; correct it."
            ) from error
        yield from ((SIDECAR, text, bool(PERSON.search(key))) for key, text in _identifying(content))


def free_texts(participants: pd.DataFrame) -> Iterator[str]:
    """Yield the sentences in a table of participants: texts of three words or more that hardly anybody shares."""
    for name in participants.columns.difference(list(CATEGORIES)):
        if pd.api.types.is_numeric_dtype(participants[name]):
            continue
        counts = participants[name].dropna().astype(str).value_counts()
        for text, count in counts.items():
            if count <= MOST_SHARED and len(str(text).split()) >= WORDS_OF_FREE_TEXT:
                yield str(text)


def _tables_of(folder: Path, scans: pd.DataFrame) -> Iterator[pd.DataFrame]:
    yield scans
    for name in ("participants.tsv", "exclusions.tsv", "notes.tsv"):
        if (folder / name).is_file():
            yield read_table(folder / name)


def _add_ids(strings: Strings, table: pd.DataFrame) -> None:
    columns = [name for name in ("participant_id", "session_id", "scan_id") if name in table]
    for value in {str(one) for name in columns for one in table[name].dropna()}:
        entities = re.findall(r"(sub|ses)-([^_]+)", value)
        for prefix, label in entities:
            strings.add_id(prefix, label, PARTICIPANT if prefix == "sub" else SESSION)
        if not entities and (label := "".join(WORD.findall(value))):  # a source's own id
            strings.add_id("sub", label, PARTICIPANT)


def _identifying(content: object, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield key and value of whatever could identify somebody in a sidecar."""
    if isinstance(content, dict):
        for name, value in content.items():
            yield from _identifying(value, str(name))
    elif isinstance(content, list):
        for value in content:
            yield from _identifying(value, key)
    elif content not in (None, "") and IDENTIFYING.search(key) and not NOT_IDENTIFYING.search(key):
        yield key, str(content)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return ""


def paths_in(content: object) -> Iterator[str]:
    """Yield the absolute paths among the values of a configuration, also those with spaces."""
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        for value in content:
            yield from paths_in(value)
    elif isinstance(content, str) and Path(content).is_absolute():
        yield content
