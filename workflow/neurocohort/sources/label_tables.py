"""The names of the structures in the label maps of a BIDS folder, from its table ``dseg.tsv`` with the columns index and name.

Every Snakemake process reads it. So the label map that shows where its table is, is looked for in a few folders only, and this
module imports little.
"""

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from neurocohort.errors import InputError
from neurocohort.sources.columns import LABELS
from neurocohort.sources.local_files import anat_folders, labels_beside, matching_images, stem_and_suffix
from neurocohort.sources.local_tables import read_local_table
from neurocohort.structures import MOST, TISSUES

TABLE_ENDING = f"{LABELS}.tsv"
FOLDERS_LOOKED_AT = 50  # for a label map
BACKGROUND = ("background", "bg", "unknown")
LONG_NAMES = ("cerebrospinal fluid", "gray matter", "white matter")  # BIDS' of the tissues
OTHER_CHARACTERS = re.compile(r"[^A-Za-z0-9_.-]+")
LONGEST_NAME = 60


def labels_of_bids(source: Path, pattern: str) -> dict[str, list[int]] | None:
    """The structures and their values from the table of a BIDS folder, in its order.

    Args:
        source: The BIDS folder.
        pattern: File names of the T1-weighted images, beside which the label maps are.

    Returns:
        None without a table, and if it names just 1 CSF, 2 GM and 3 WM.

    Raises:
        InputError: If the table lacks a column, has a wrong or repeated value, or more structures than a label map can have.
    """
    table = find_table(source, pattern)
    labels = read_label_table(table) if table else {}
    names = [name.replace("_", " ").lower() for name in labels]
    tissues = ([name.lower() for name in TISSUES], [*LONG_NAMES])
    if not labels or (names in tissues and [*labels.values()] == [[1], [2], [3]]):
        return None
    return labels


def find_table(source: Path, pattern: str) -> Path | None:
    """The table of the first label map: beside it with its name, or in the root with some of its entities (BIDS' inheritance)."""
    if not os.path.isdir(source):
        return None
    in_root = sorted(
        (name for name in os.listdir(source) if name.endswith(TABLE_ENDING)), key=lambda name: -name.count("_")
    )
    label_map = next(_label_maps(source, pattern), None)
    if label_map is None:
        return source / TABLE_ENDING if TABLE_ENDING in in_root else None
    if os.path.isfile(beside := own_table(label_map)):
        return beside
    entities = set(stem_and_suffix(label_map.name)[0].split("_"))
    fitting = (source / name for name in in_root if set(name.removesuffix(".tsv").split("_")) <= entities)
    return next(fitting, None)


def own_table(label_map: Path) -> Path:
    """The table beside a label map that is of this map only; it may be absent."""
    return label_map.with_name(f"{stem_and_suffix(label_map.name)[0]}.tsv")


def read_label_table(path: Path) -> dict[str, list[int]]:
    """The values of each structure of a table with the columns index and name, without background.

    Rows with the same name are one structure. What a name of the configuration can't have becomes an underscore.
    """
    labels: dict[str, list[int]] = {}
    rows = read_local_table(path, required=("index", "name"), kept=("index", "name")).rows
    for number, row in rows.items():
        index, name = row.get("index") or "", OTHER_CHARACTERS.sub("_", row.get("name") or "").strip("_")
        if not re.fullmatch(r"\d{1,9}(\.0*)?", index):
            raise InputError(
                f"{path}, row {number}: index is {index or 'empty'}; expected a whole number, the value in the label maps."
            )
        value = int(float(index))
        if value == 0 or name.lower() in BACKGROUND:
            continue
        if not name[:1].isalpha() or len(name) > LONGEST_NAME:
            raise InputError(
                f"{path}, row {number}: name is {row.get('name') or 'empty'}; expected a name that begins with a letter and "
                f"has at most {LONGEST_NAME} characters."
            )
        if value in itertools.chain(*labels.values()):
            raise InputError(f"{path}, row {number}: index {value} occurs twice; expected each value once.")
        labels.setdefault(name, []).append(value)
    if len(labels) > MOST:
        raise InputError(
            f"{path} names {len(labels)} structures, and a label map can have {MOST}; give the ones you want, with their values, "
            "under the cohort's `labels`."
        )
    return labels


def _label_maps(source: Path, pattern: str) -> Iterator[Path]:
    """The label maps beside T1-weighted images in the first folders."""
    for anat in itertools.islice(anat_folders(source), FOLDERS_LOOKED_AT):
        for image in matching_images(anat.files, pattern):
            if found := labels_beside(image, anat.files):
                yield Path(found.path)
