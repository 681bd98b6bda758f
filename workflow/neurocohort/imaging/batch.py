"""One batch of a cohort's scans, preprocessed by worker processes that import once: scans whose record is current are kept, the
others are computed, and what the machine can't finish costs its own scan alone.
"""

import contextlib
import functools
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from neurocohort.errors import InputError, JobFailed
from neurocohort.files import private_as, remove_asides, sha256_of, write_table
from neurocohort.imaging.derivatives import qc_path
from neurocohort.imaging.records import clear, current_record, record_key, write_exclusion
from neurocohort.imaging.volume import Volume
from neurocohort.progress import steps_shown
from neurocohort.sources.local_files import LABELS, MODALITY_COLUMNS
from neurocohort.sources.scan_batches import content_of, read_batches
from neurocohort.sources.scan_paths import read_scan_paths
from neurocohort.workers import MEMORY, TIME, Limits, Outcome, in_workers

OWN_MB = 200  # of the job's memory, for the process that watches the workers
# Of one scan, times the attempt: on a slow core a scan of 1 mm takes a minute with deepbet, and some ten with SynthStrip or a
# deformable registration. It is what ends a scan that would never end.
SCAN_SECONDS = {"deepbet": 480.0, "synthstrip": 1800.0, "deformable": 1800.0}
# key_id: a column whose name ends so is read as text, and a hash may have digits alone.
COLUMNS = ["scan_id", "status", "key_id"]


@dataclass(frozen=True)
class Batch:
    """``data``: the cohort's folder, with scans.tsv and batches.tsv; ``name``: of the batch there. ``preproc``: where scans are
    written; ``output``: the batch's own table. ``settings``: of imaging.preprocess.Settings, by name, without the weights.
    ``code``: the hash of its code."""

    data: Path
    name: str
    preproc: Path
    output: Path
    template: Path
    weights: Path | None
    settings: dict[str, object]
    code: str


@dataclass(frozen=True)
class Machine:
    """What the job was given: ``memory_mb`` (10^6 bytes) for ``workers`` that work at a time, at the ``attempt`` of ``attempts``,
    counted from 1."""

    memory_mb: int
    workers: int = 1
    attempt: int = 1
    attempts: int = 1


@dataclass(frozen=True)
class ScanTask:
    """One scan of a batch. ``files``: by column of scans.tsv; ``content``: `content_of` these files when they were ingested."""

    scan_id: str
    record: Path
    files: dict[str, Path]
    content: str
    key: str

    def __str__(self) -> str:
        return self.scan_id


def preprocess_batch(batch: Batch, machine: Machine) -> None:
    """Bring every scan of ``batch`` to a current record, and write its ``output``: scan_id, status and key_id, the record's key.

    A scan that exceeds the memory or the time, or crashes its process, again when it is tried alone, is excluded at the last
    attempt. Before that the job does all other scans and then raises JobFailed, which names these. Raises InputError where a file
    isn't what was ingested.
    """
    limits = Limits(max(machine.memory_mb - OWN_MB, 1), machine.attempt * scan_seconds(batch.settings))
    scans = _tasks(batch)
    kept = {task.scan_id: current_record(task.record, task.key, limits) for task in scans}
    waiting = [task for task in scans if kept[task.scan_id] is None]
    print(f"{len(scans)} scans, of which {len(scans) - len(waiting)} are current: {len(waiting)} to do", flush=True)
    records = {scan_id: record for scan_id, record in kept.items() if record}
    failed: list[str] = []
    with (
        _ended_by_sigterm(),
        steps_shown(
            f"scans of {batch.data.name}, batch {batch.name}", len(records), len(scans), shown=True, unit="scan"
        ) as step,
        contextlib.closing(_outcomes(batch, waiting, machine.workers, limits)) as outcomes,
    ):
        for outcome in outcomes:
            task = outcome.task
            record, problem = _settled(outcome, machine, limits, batch)
            if record:
                records[task.scan_id] = record
            else:
                failed.append(f"{task}: {problem}")
            print(_line(outcome, record, problem), flush=True)
            step()
    if failed:
        raise JobFailed(_words(failed, machine))
    remove_asides(batch.output.parent, batch.output.name)
    done = [(task.scan_id, records[task.scan_id]) for task in scans]
    rows = [(scan_id, record["status"], record["key"]) for scan_id, record in done]
    write_table(batch.output, pd.DataFrame(rows, columns=COLUMNS))


def scan_seconds(settings: dict[str, object]) -> float:
    """The time limit of one scan at the first attempt."""
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
    tasks = []
    for scan_id, content in sorted(contents.items()):
        if scan_id not in paths:
            raise InputError(
                f"{batch.data / 'scans.tsv'} has no scan {scan_id}, which batches.tsv beside it has; delete both and run again."
            )
        files = {column: batch.data / name for column, name in paths[scan_id].items() if name}
        key = record_key(content, **parts)
        tasks.append(ScanTask(scan_id, qc_path(batch.preproc, scan_id), files, content, key))
    return tasks


def _outcomes(batch: Batch, tasks: list[ScanTask], workers: int, limits: Limits) -> Iterator[Outcome]:
    prepare = functools.partial(_prepare, batch.settings, batch.template, batch.weights)
    return in_workers(prepare, tasks, workers=workers, limits=limits)


def _settled(outcome: Outcome, machine: Machine, limits: Limits, batch: Batch) -> tuple[dict | None, str]:
    """The scan's record, or None and why there is none."""
    if outcome.death is None:
        return outcome.result, outcome.error
    task, cause = outcome.task, outcome.death.cause
    if machine.attempt < machine.attempts:
        return None, outcome.death.words
    more = {
        MEMORY: f" with `--set-resources preprocess_batch:mem_mb={2 * machine.memory_mb}`",
        TIME: "; the log has its last steps",
    }.get(cause, "; the log has its last words")
    reason = (
        f"{outcome.death.words}, also when it was preprocessed alone with {machine.memory_mb} MB; look at the image, or try "
        f"it again: delete {task.record} and {batch.output}, and run{more}"
    )
    return write_exclusion(task.record, task.scan_id, task.key, limits, reason), ""


def _line(outcome: Outcome, record: dict | None, problem: str) -> str:
    said = f"not done: {problem}" if record is None else record["status"]
    if record and record["reason"]:
        said += f" at {record['stage']}: {record['reason']}"
    return f"{outcome.task}: {said} ({outcome.seconds:.1f} s, {outcome.peak_mb:.0f} MB)"


def _words(failed: list[str], machine: Machine) -> str:
    again = ""
    if machine.attempt < machine.attempts:
        again = f" The next attempt ({machine.attempt + 1} of {machine.attempts}) does these alone, with more memory and time."
    return f"{len(failed)} of the batch's scans are not done, and the others are: {'; '.join(failed)}.{again}"


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """A scheduler's SIGTERM ends this process and its workers, and marks no scan."""

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
    settings: dict[str, object], template_path: Path, weights: Path | None, *, read_ahead: bool | None = None
) -> Callable[[ScanTask, ScanTask | None], dict]:
    """Import and read what every scan needs; returns the function that does a scan.

    ``read_ahead``: read the next scan meanwhile; None: where the brain mask is found on a GPU.
    """
    import torch

    from neurocohort.device import choose_device
    from neurocohort.imaging.preprocess import Settings, preprocess_scan
    from neurocohort.imaging.read_ahead import ReadAhead
    from neurocohort.imaging.reading import read_scan
    from neurocohort.imaging.template import read_template

    torch.set_num_threads(1)
    device = choose_device(settings["device"]).type
    if read_ahead is None:
        read_ahead = device != "cpu"  # there, reading would take the processor from the scan before
    chosen, template = Settings.taken_from(settings, weights=weights, device=device), read_template(template_path)

    def checked_scan(task: ScanTask) -> Volume:
        _check_content(task)  # of the file as it is when it is read, which may be long before the scan's turn
        return read_scan(task.files[MODALITY_COLUMNS["T1w"]])

    ahead = ReadAhead(checked_scan)

    def do(task: ScanTask, upcoming: ScanTask | None = None) -> dict:
        _check_content(task)
        clear(task.record, task.scan_id)
        further = {name: task.files[column] for name, column in MODALITY_COLUMNS.items() if column in task.files}
        with private_as(task.files.values()):
            return preprocess_scan(
                further.pop("T1w"),
                task.record.parent,
                task.scan_id,
                template,
                chosen,
                labels_path=task.files.get(f"{LABELS}_path"),
                labels_reference_path=task.files.get(f"{LABELS}_reference_path"),
                further=further,
                key=task.key,
                read=(lambda _: ahead.take(task, upcoming)) if read_ahead else read_scan,
            )

    return do


def _check_content(task: ScanTask) -> None:
    """Raise InputError where the scan's files are not those that the ingest left: the record would be that of another image."""
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
