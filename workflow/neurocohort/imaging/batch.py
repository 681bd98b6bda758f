"""Preprocess one batch of a cohort's scans in worker processes, each of which imports the packages once.

Scans whose record is current are kept. A scan that the machine can't finish costs only itself.
"""

import contextlib
import functools
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from neurocohort.errors import InputError, JobFailed
from neurocohort.files import private_as, remove_asides, sha256_of, write_table
from neurocohort.imaging.derivatives import qc_path
from neurocohort.imaging.records import clear, current_record, record_key, write_exclusion
from neurocohort.imaging.scan_record import ScanRecord
from neurocohort.imaging.volume import Volume
from neurocohort.progress import steps_shown
from neurocohort.sources.columns import DIFFUSION_COLUMNS, LABELS, MODALITY_COLUMNS, DiffusionFiles
from neurocohort.sources.scan_batches import content_of, read_batches
from neurocohort.sources.scan_paths import read_scan_paths
from neurocohort.workers import MEMORY, TIME, Limits, Outcome, in_workers

OWN_MB = 200  # of the job's memory, for the process that watches the workers
# The time limit of one scan, multiplied by the attempt: a job always ends. On a slow core a scan of 1 mm takes a minute with
# deepbet, and about ten with SynthStrip or a deformable registration.
SCAN_SECONDS = {"deepbet": 480.0, "synthstrip": 1800.0, "deformable": 1800.0, "learned": 1800.0}
# key_id: columns with names that end in _id are read as text, and a hash may consist of digits.
COLUMNS = ["scan_id", "status", "key_id"]


@dataclass(frozen=True)
class Batch:
    """A batch of scans to preprocess.

    Attributes:
        data: The cohort's folder with scans.tsv and batches.tsv.
        name: The batch in batches.tsv.
        preproc: The folder for the preprocessed scans.
        output: The table of the batch.
        template: The template's file.
        weights: SynthStrip's weights.
        settings: `imaging.preprocess.Settings` by name, without the weights.
        code: Hash of the code behind a scan.
        registration_network: The network of `registration: learned`.
    """

    data: Path
    name: str
    preproc: Path
    output: Path
    template: Path
    weights: Path | None
    settings: dict[str, Any]
    code: str
    registration_network: Path | None = None

    @property
    def networks(self) -> dict[str, Path | None]:
        """Files of weights, by their names in `imaging.preprocess.Settings`."""
        return {"weights": self.weights, "registration_network": self.registration_network}


@dataclass(frozen=True)
class Machine:
    """The resources of the job.

    Attributes:
        memory_mb: Memory of all workers together, in 10^6 bytes.
        workers: Number of scans that are preprocessed at the same time.
        attempt: Number of this attempt, from 1.
        attempts: How often the job is tried.
    """

    memory_mb: int
    workers: int = 1
    attempt: int = 1
    attempts: int = 1


@dataclass(frozen=True)
class ScanTask:
    """One scan of a batch.

    Attributes:
        scan_id: The scan.
        record: The path of its record.
        files: Its files, by column of scans.tsv.
        content: `content_of` these files when they were ingested.
        key: The current key of its record.
    """

    scan_id: str
    record: Path
    files: dict[str, Path]
    content: str
    key: str

    def __str__(self) -> str:
        return self.scan_id


def preprocess_batch(batch: Batch, machine: Machine) -> None:
    """Preprocess the scans of a batch that have no current record, and write the batch's table: scan_id, status, key_id.

    A scan that exceeds memory or time or crashes its process, also when it is tried alone, is excluded at the last attempt.

    Raises:
        JobFailed: At earlier attempts, for such scans, after all others are done.
        InputError: If a file isn't the one that was ingested.
    """
    limits = Limits(max(machine.memory_mb - OWN_MB, 1), machine.attempt * scan_seconds(batch.settings))
    scans = _tasks(batch)
    kept = {task.scan_id: current_record(task.record, task.key, limits) for task in scans}
    records = {scan_id: record for scan_id, record in kept.items() if record}
    waiting = [task for task in scans if task.scan_id not in records]
    print(f"{len(scans)} scans, of which {len(records)} are current: {len(waiting)} to do", flush=True)
    failed: list[str] = []
    shown = f"scans of {batch.data.name}, batch {batch.name}"
    with (
        _ended_by_sigterm(),
        steps_shown(shown, len(records), len(scans), shown=True, unit="scan") as step,
        contextlib.closing(_outcomes(batch, waiting, machine.workers, limits)) as outcomes,
    ):
        for outcome in outcomes:
            record, problem = _settled(outcome, machine, limits, batch)
            if record:
                records[outcome.task.scan_id] = record
            else:
                failed.append(f"{outcome.task}: {problem}")
            print(_line(outcome, record, problem), flush=True)
            step.update()
    if failed:
        raise JobFailed(_failures(failed, machine))
    remove_asides(batch.output.parent, batch.output.name)
    rows = [(task.scan_id, records[task.scan_id].status, records[task.scan_id].key) for task in scans]
    write_table(batch.output, pd.DataFrame(rows, columns=COLUMNS))


def scan_seconds(settings: dict[str, Any]) -> float:
    """Return the time limit of one scan at the first attempt."""
    return max(SCAN_SECONDS[settings["brain_extraction"]], SCAN_SECONDS.get(settings["registration"], 0.0))


def _tasks(batch: Batch) -> list[ScanTask]:
    """The batch's scans by id."""
    contents = read_batches(batch.data / "batches.tsv").get(batch.name, {})
    paths = read_scan_paths(batch.data / "scans.tsv")
    parts = {
        "settings": batch.settings,
        "template": sha256_of(batch.template),
        "weights": sha256_of(batch.weights) if batch.weights else None,
        "code": batch.code,
    }
    if batch.registration_network:
        parts["registration_network"] = sha256_of(batch.registration_network)
    tasks = []
    for scan_id, content in sorted(contents.items()):
        if scan_id not in paths:
            raise InputError(
                f"{batch.data / 'scans.tsv'} has no scan {scan_id}, which batches.tsv next to it has; delete both and run again."
            )
        files = {column: batch.data / name for column, name in paths[scan_id].items() if name}
        key = record_key(content, **parts)
        tasks.append(ScanTask(scan_id, qc_path(batch.preproc, scan_id), files, content, key))
    return tasks


def _outcomes(batch: Batch, tasks: list[ScanTask], workers: int, limits: Limits) -> Generator[Outcome, None, None]:
    prepare = functools.partial(_prepare, batch.settings, batch.template, batch.networks)
    return in_workers(prepare, tasks, workers=workers, limits=limits)


def _settled(outcome: Outcome, machine: Machine, limits: Limits, batch: Batch) -> tuple[ScanRecord | None, str]:
    """The scan's record, or None and why there is none."""
    if outcome.death is None:
        return outcome.result, outcome.error
    task, cause = outcome.task, outcome.death.cause
    if machine.attempt < machine.attempts:
        return None, outcome.death.words
    more = {
        MEMORY: f" with `--set-resources preprocess_batch:mem_mb={2 * machine.memory_mb}`",
        TIME: "; the log has its last steps",
    }.get(cause, "; the log has its last messages")
    reason = (
        f"{outcome.death.words}, also when it was preprocessed alone with {machine.memory_mb} MB; look at the image, or try "
        f"it again: delete {task.record} and {batch.output}, and run{more}"
    )
    return write_exclusion(task.record, task.scan_id, task.key, limits, reason), ""


def _line(outcome: Outcome, record: ScanRecord | None, problem: str) -> str:
    status = f"not done: {problem}" if record is None else record.status
    if record and record.reason:
        status += f" at {record.stage}: {record.reason}"
    return f"{outcome.task}: {status} ({outcome.seconds:.1f} s, {outcome.peak_mb:.0f} MB)"


def _failures(failed: list[str], machine: Machine) -> str:
    again = ""
    if machine.attempt < machine.attempts:
        again = f" The next attempt ({machine.attempt + 1} of {machine.attempts}) does these alone, with more memory and time."
    return f"{len(failed)} of the batch's scans are not done, and the others are: {'; '.join(failed)}.{again}"


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """End this process and its workers on a scheduler's SIGTERM, and exclude no scan for it."""

    def leave(number: int, _frame: object) -> None:
        print("ended by SIGTERM; what is done is kept", flush=True)
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# --- inside a worker ----------------------------------------------------------------------------------------------


def _prepare(
    settings: dict[str, Any], template_path: Path, networks: dict[str, Path | None], *, read_ahead: bool | None = None
) -> Callable[[ScanTask, ScanTask | None], ScanRecord]:
    """Import and read what every scan needs; return the function that preprocesses a scan.

    ``read_ahead``: read the next scan at the same time; None means where the brain mask is found on a GPU.
    """
    import torch

    from neurocohort.device import choose_device
    from neurocohort.imaging.preprocess import ScanImages, Settings, preprocess_scan, reader
    from neurocohort.imaging.read_ahead import ReadAhead
    from neurocohort.imaging.scan_files import write_scan
    from neurocohort.imaging.template import read_template

    torch.set_num_threads(1)
    device = choose_device(settings["device"]).type
    if read_ahead is None:
        read_ahead = device != "cpu"  # on a CPU, reading would slow the current scan down
    chosen, template = Settings.taken_from(settings, **networks, device=device), read_template(template_path)
    read_file = reader(chosen)

    def checked_scan(task: ScanTask) -> Volume:
        _check_content(task)  # when the file is read, which may be long before the scan is preprocessed
        return read_file(task.files[MODALITY_COLUMNS["T1w"]])

    ahead = ReadAhead(checked_scan)

    def do(task: ScanTask, upcoming: ScanTask | None = None) -> ScanRecord:
        _check_content(task)
        clear(task.record, task.scan_id)
        paths = {name: task.files[column] for name, column in MODALITY_COLUMNS.items() if column in task.files}
        t1w, reference = paths.pop("T1w"), task.files.get(f"{LABELS}_reference_path")
        own = [task.files[column] for column in DIFFUSION_COLUMNS.values() if column in task.files]
        images = ScanImages(
            t1w,
            paths,
            task.files.get(f"{LABELS}_path"),
            reference if reference != t1w else None,
            DiffusionFiles(*own) if own else None,
        )
        with private_as(task.files.values()):
            read = (lambda _: ahead.take(task, upcoming)) if read_ahead else read_file
            result = preprocess_scan(images, template, chosen, read=read)
            return write_scan(result, task.record.parent, task.scan_id, task.key)

    return do


def _check_content(task: ScanTask) -> None:
    """Raise InputError if the scan's files aren't those that were ingested: the record would be that of another image."""
    try:
        found = content_of({column: sha256_of(path) for column, path in task.files.items()})
    except FileNotFoundError as error:
        found = f"{error.filename} is not there"
    if found != task.content:
        files = ", ".join(map(str, task.files.values()))
        raise InputError(
            f"{files}: changed since the cohort was ingested, or gone; expected the content that scans.tsv and batches.tsv name. "
            "Delete these two files in the cohort's folder under data/ and run again."
        )
