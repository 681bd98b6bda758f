"""Whether the record of a scan is current, so that the scan isn't preprocessed again.

A record is current if its key is, and if its files are unchanged. The key is a hash of everything that the result depends on: the
content of the scan's files, the settings, the template and the code.
"""

import hashlib
import json
from pathlib import Path

from neurocohort.errors import InputError
from neurocohort.files import remove_asides, sha256_of
from neurocohort.imaging.derivatives import BEGINNINGS, files_of
from neurocohort.imaging.scan_record import OutputFile, ScanRecord, read_record, write_record
from neurocohort.workers import Limits

STAGE = "preprocessing"  # of scans that are excluded because the machine could not finish them


def record_key(content: str, **parts: object) -> str:
    """Return the key of a scan's record, 32 hexadecimal digits.

    Args:
        content: Hash of the scan's files.
        **parts: The settings, and the hashes of template and code; anything that JSON can store.
    """
    return hashlib.sha256(json.dumps([content, parts], sort_keys=True).encode()).hexdigest()[:32]


def current_record(path: Path, key: str, limits: Limits) -> ScanRecord | None:
    """Read the record at ``path`` if it is current; else return None.

    Args:
        path: The scan's ``*_qc.json``.
        key: The current key.
        limits: Memory and time of this attempt. A scan that ran out of either is tried again only with more of it.
    """
    try:
        record = read_record(path)
    except InputError:  # absent, damaged, or written by an earlier version
        return None
    if record.key != key or not all(_is_unchanged(path.parent, output) for output in record.outputs.values()):
        return None
    had = record.limits
    return None if had and (limits.memory_mb > had["memory_mb"] or limits.seconds > had["seconds"]) else record


def clear(path: Path, scan_id: str) -> None:
    """Delete a scan's record at ``path``, then its files, including the temporary files of killed processes."""
    path.unlink(missing_ok=True)
    for beginning in BEGINNINGS:
        remove_asides(path.parent, f"{scan_id}_{beginning}*")
    for file in files_of(path.parent, scan_id):
        file.unlink(missing_ok=True)


def write_exclusion(path: Path, scan_id: str, key: str, limits: Limits, reason: str) -> ScanRecord:
    """Write and return the record of a scan for which ``limits`` were not enough."""
    given = {"memory_mb": limits.memory_mb, "seconds": limits.seconds}
    record = ScanRecord(scan_id, key, "excluded", STAGE, reason, given)
    clear(path, scan_id)
    write_record(path, record)
    return record


def _is_unchanged(folder: Path, output: OutputFile) -> bool:
    file = folder / output.file
    return file.is_file() and sha256_of(file) == output.sha256
