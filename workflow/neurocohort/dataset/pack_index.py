"""The index of a pack, ``index.tsv``: the scan in each row of its arrays, with the hashes of the row's image and labels."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from neurocohort.errors import InputError
from neurocohort.files import read_table

COLUMNS = ["row", "scan_id", "has_labels", "image_sha256", "labels_sha256"]


def row_sha256(scan_id: str, row: np.ndarray) -> str:
    """Return the sha256 of a scan's id and its row of an array, which ties the array to the index."""
    digest = hashlib.sha256(f"{scan_id}\0".encode())
    digest.update(np.ascontiguousarray(row).data)
    return digest.hexdigest()


@dataclass(frozen=True)
class PackIndex:
    """The rows of a pack's scans.

    Attributes:
        folder: The pack.
        rows: Row by scan_id.
        sha256: By row, its scan and the hashes of image and labels.
        checked: Array and row of the rows whose hash was checked.
    """

    folder: Path
    rows: dict[str, int]
    sha256: dict[int, tuple[str, str, str]]
    checked: set[tuple[str, int]] = field(default_factory=set)

    def row(self, scan_id: str) -> int:
        """Return a scan's row; raise InputError if the pack doesn't have it."""
        if scan_id not in self.rows:
            raise InputError(f"{self.folder} has no scan {scan_id}, which the samples have; delete it and run again.")
        return self.rows[scan_id]

    def check(self, array: str, row: int, content: np.ndarray) -> None:
        """Raise InputError if the ``content`` of a row of ``images`` or ``labels`` isn't its scan's; each row is hashed once."""
        if (array, row) not in self.checked:
            scan_id, *hashes = self.sha256[row]
            if row_sha256(scan_id, content) != hashes[array == "labels"]:
                raise InputError(
                    f"row {row} of {self.folder / array}.npy doesn't match {scan_id} in index.tsv next to it: one of the two is "
                    f"from another run, or damaged. Delete {self.folder} and run again."
                )
            self.checked.add((array, row))


def read_index(folder: Path, images: int, labels: int) -> PackIndex:
    """Read ``index.tsv`` in a folder whose arrays have ``images`` and ``labels`` rows.

    Raises:
        InputError: If it can't be read, lacks a column, or has other rows than the arrays.
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


def index_table(rows: Sequence[tuple]) -> pd.DataFrame:
    """Return the index as a table, from rows of COLUMNS."""
    return pd.DataFrame(rows, columns=COLUMNS)
