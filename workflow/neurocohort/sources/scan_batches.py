"""The batches of scans that one job preprocesses: ``data/<cohort>/batches.tsv``, written by ingest and read by the rules.

A scan's batch follows from the hash of its id and the number of batches, so that a new scan changes only one batch. The number
of batches is a power of two: when a cohort doubles, each batch is divided in two.
"""

import csv
import hashlib
from collections.abc import Mapping
from pathlib import Path

from neurocohort.errors import InputError
from neurocohort.files import write_text

COLUMNS = ("scan_id", "batch", "content")
MIN_BATCHES = 4  # of a small cohort, to use all cores of a laptop; more would waste time on imports
MIN_SCANS = 4  # in each of them, on average


def batch_count(scans: int, size: int) -> int:
    """The number of batches, a power of two, with at most ``size`` scans in a batch on average.

    A small cohort has up to MIN_BATCHES batches with MIN_SCANS scans each.
    """
    wanted = max(-(-scans // size), min(MIN_BATCHES, scans // MIN_SCANS), 1)
    return 1 << (wanted - 1).bit_length()


def batch_of(scan_id: str, count: int) -> str:
    """The name of a scan's batch, ``000`` and so on, among ``count`` batches."""
    return f"{int(hashlib.sha256(scan_id.encode()).hexdigest()[:15], 16) % count:03d}"


def content_of(hashes: Mapping[str, str]) -> str:
    """The sha256 (hexadecimal) of all files of a scan that preprocessing reads.

    ``hashes``: the sha256 of each file, by the column of scans.tsv with its path.
    """
    text = "".join(f"{column}\0{hashes[column]}\n" for column in sorted(hashes))
    return hashlib.sha256(text.encode()).hexdigest()


def write_batches(path: Path, contents: Mapping[str, str], size: int) -> None:
    """Write batches.tsv. ``contents``: `content_of` each scan, by scan_id. ``size``: most scans in a batch, on average."""
    count = batch_count(len(contents), size)
    rows = [COLUMNS, *((scan_id, batch_of(scan_id, count), contents[scan_id]) for scan_id in sorted(contents))]
    write_text(path, "".join("\t".join(row) + "\n" for row in rows))


def read_batches(path: Path | str) -> dict[str, dict[str, str]]:
    """The content's hash by batch (sorted) and scan_id. Raises InputError if the table can't be read."""
    batches: dict[str, dict[str, str]] = {}
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream, delimiter="\t"):
                scan_id, batch, content = (row[name] for name in COLUMNS)
                batches.setdefault(batch, {})[scan_id] = content
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise InputError(
            f"{path} can't be read as a table with the columns {', '.join(COLUMNS)}: {error!r}. Delete it and run again."
        ) from error
    return dict(sorted(batches.items()))


def batch_hash(contents: Mapping[str, str]) -> str:
    """One hash (16 hexadecimal digits) over the scans of a batch and their contents."""
    text = "".join(f"{scan_id}\0{contents[scan_id]}\n" for scan_id in sorted(contents))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
