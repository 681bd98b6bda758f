"""The record of each scan's preprocessing, ``*_qc.json``: whether it is current, and what is done with one that isn't.

A record holds a key, the hash of all that the result depends on: the content of the scan's files, the settings, the template and
the code. A scan whose record has the current key, and whose files are as the record says, is not computed again.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from neurocohort.errors import InputError
from neurocohort.files import read_json, remove_asides, sha256_of, write_json
from neurocohort.imaging.derivatives import BEGINNINGS, files_of
from neurocohort.workers import Limits

STAGE = "preprocessing"  # of scans that are excluded because the machine could not finish them


def record_key(content: str, **parts: object) -> str:
    """The key (32 hexadecimal digits) of a scan with this content hash. ``parts``: the settings, and hashes of the
    template and the code; each is JSON."""
    return hashlib.sha256(json.dumps([content, parts], sort_keys=True).encode()).hexdigest()[:32]


def current_record(path: Path, key: str, limits: Limits) -> dict | None:
    """The record at ``path`` if it is current; else None.

    A record of a scan that ran out of memory or time is current as long as ``limits`` give no more than it had.
    """
    try:
        record = read_json(path)
        if record["key"] != key or not all(_is_as_recorded(path.parent, one) for one in record["outputs"].values()):
            return None
        had = record.get("limits")
        grown = had and (limits.memory_mb > had["memory_mb"] or limits.seconds > had["seconds"])
        return None if grown else record
    except (InputError, KeyError, TypeError, AttributeError):  # absent, damaged, or of an earlier version
        return None


def _is_as_recorded(folder: Path, output: Mapping[str, str]) -> bool:
    file = folder / output["file"]
    return file.is_file() and sha256_of(file) == output["sha256"]


def clear(path: Path, scan_id: str) -> None:
    """Delete a scan's record at ``path``, and then its files and what was left of them when their writer was killed."""
    path.unlink(missing_ok=True)
    for beginning in BEGINNINGS:
        remove_asides(path.parent, f"{scan_id}_{beginning}*")
    for file in files_of(path.parent, scan_id):
        file.unlink(missing_ok=True)


def write_exclusion(path: Path, scan_id: str, key: str, limits: Limits, reason: str) -> dict:
    """Write and return the record of a scan that ``limits`` did not suffice for."""
    record = {"scan_id": scan_id, "key": key, "status": "excluded", "stage": STAGE, "reason": reason}
    record |= {"limits": {"memory_mb": limits.memory_mb, "seconds": limits.seconds}}
    record |= {"mni_space": False, "metrics": {}, "volumes_ml": {}, "notes": [], "outputs": {}}
    clear(path, scan_id)
    write_json(path, record)
    return record
