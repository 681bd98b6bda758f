"""The index of a pack, ``index.tsv``: which scan each row of its arrays holds, with the hashes of the row's image and labels."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from neurocohort.errors import InputError
from neurocohort.files import read_table

COLUMNS = ["row", "scan_id", "has_labels", "image_sha256", "labels_sha256"]


def row_sha256(scan_id: str, row: np.ndarray) -> str:
    """The sha256 of a scan's id and its row of an array, so that neither the array nor the index can be another one's."""
    digest = hashlib.sha256(f"{scan_id}\0".encode())
    digest.update(np.ascontiguousarray(row))
    return digest.hexdigest()


@dataclass(frozen=True)
class PackIndex:
    """Where a pack's scans are. ``rows``: by scan_id; ``sha256``: by row, its scan and the hashes of image and labels."""

    folder: Path
    rows: dict[str, int]
    sha256: dict[int, tuple[str, str, str]]
    checked: set[tuple[str, int]] = field(default_factory=set)

    def row(self, scan_id: str) -> int:
        """The scan's row. Raises InputError where the pack has none."""
        if scan_id not in self.rows:
            raise InputError(f"{self.folder} holds no scan {scan_id}, which the samples have; delete it and run again.")
        return self.rows[scan_id]

    def check(self, array: str, row: int, content: np.ndarray) -> None:
        """Raise InputError unless a row's ``content`` is its scan's; each row is hashed once. ``array``: images or labels."""
        if (array, row) not in self.checked:
            scan_id, *hashes = self.sha256[row]
            if row_sha256(scan_id, content) != hashes[array == "labels"]:
                raise InputError(
                    f"row {row} of {self.folder / array}.npy isn't what index.tsv beside it says of {scan_id}: one of the two is "
                    f"of another run, or damaged. Delete {self.folder} and run again."
                )
            self.checked.add((array, row))


def read_index(folder: Path, images: int, labels: int) -> PackIndex:
    """Read ``index.tsv`` in ``folder``, whose arrays have ``images`` and ``labels`` rows.

    Raises InputError where it can't be read, lacks a column, or names other rows than the arrays have.
    """
    table = read_table(folder / "index.tsv", required=tuple(COLUMNS))
    rows = table["row"].tolist()
    if sorted(rows) != list(range(images)) or images != labels or table["scan_id"].duplicated().any():
        raise InputError(
            f"{folder}: index.tsv has {len(rows)} rows, images.npy {images} and labels.npy {labels}; expected one row of each "
            "for every scan. Delete the folder and run again."
        )
    hashes = table[["scan_id", "image_sha256", "labels_sha256"]].itertuples(index=False, name=None)
    return PackIndex(folder, dict(zip(table["scan_id"], rows, strict=True)), dict(zip(rows, hashes, strict=True)))


def index_table(rows: list[dict]) -> pd.DataFrame:
    """The table that `read_index` reads."""
    return pd.DataFrame(rows, columns=COLUMNS)
