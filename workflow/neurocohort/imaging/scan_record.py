"""The record of a preprocessed scan, ``*_qc.json``: its status, quality numbers, notes and files."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from neurocohort.errors import InputError
from neurocohort.files import read_json, write_json

Numbers = dict[str, float | None]  # by name; None where a value is missing or not finite


@dataclass(frozen=True)
class OutputFile:
    """A file next to the record: its name and the sha256 of its content."""

    file: str
    sha256: str


@dataclass(frozen=True)
class ScanRecord:
    """What preprocessing found out about a scan.

    Attributes:
        scan_id: The scan.
        key: Hash of everything that the result depends on (`records.record_key`).
        status: ``ok`` or ``excluded``.
        stage: The stage that excluded the scan.
        reason: Why it was excluded, a sentence.
        limits: Memory (MB) and time (s) that were not enough, where the machine could not finish the scan.
        mni_space: Whether the scan was in MNI space before preprocessing.
        metrics: Quality numbers.
        volumes_ml: Volumes of the brain and its tissues in mL; None in MNI space, where all heads have the template's size.
        notes: Sentences about unusual numbers.
        outputs: The scan's files by name.
    """

    scan_id: str
    key: str = ""
    status: str = "ok"
    stage: str | None = None
    reason: str | None = None
    limits: dict[str, float] | None = None
    mni_space: bool = False
    metrics: Numbers = field(default_factory=dict)
    volumes_ml: Numbers = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    outputs: Mapping[str, OutputFile] = field(default_factory=dict)


def read_record(path: Path) -> ScanRecord:
    """Read a scan's record.

    Raises:
        InputError: If the file is missing, damaged, or was written by an earlier version.
    """
    content = read_json(path)
    try:
        return ScanRecord(
            **content | {"outputs": {name: OutputFile(**output) for name, output in content["outputs"].items()}}
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path} isn't the record of a scan ({error}); delete it and run again.") from error


def write_record(path: Path, record: ScanRecord) -> None:
    """Write a scan's record as JSON, without ``limits`` where it has none."""
    content = asdict(record)
    if record.limits is None:
        del content["limits"]
    write_json(path, content)
