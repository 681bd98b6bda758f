"""The process that opens the model once and applies it to one scan after the other.

It is a process of its own, so that the page stays responsive, a scan that exhausts the memory doesn't end the server, and a job
can be stopped at once.
"""

import contextlib
import multiprocessing
import signal
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from neurocohort.errors import InputError, StorageFailed

if TYPE_CHECKING:
    from neurocohort.apply.bundles import RawScanBundle
    from neurocohort.apply.one_scan import Options

READY, STEP, DONE, FAILED, BROKEN = "ready", "step", "done", "failed", "broken"
DRAWING = "drawing"
LONGEST_STEP_S = 1800.0


class WorkerEnded(Exception):
    """A job has no result. The text is a sentence."""


@dataclass(frozen=True)
class Given:
    """What the process is started with. ``scratch``: the folder of its temporary files."""

    model: Path
    device: str
    weights: Path | None
    scratch: Path


@dataclass(frozen=True)
class About:
    """What the page shows of the model. ``ages``: the range of its scans, in years; ``sexes``: of its training scans;
    ``native``: whether it takes images of any part of the body, in their own space."""

    study: str
    experiment: str
    demo: bool
    intended_use: str
    ages: tuple[float, float] | None
    sexes: list[str]
    native: bool = False


@dataclass(frozen=True)
class Task:
    """A scan with what is known of the person, and the folder for the results."""

    scan: Path
    age: float | None
    sex: str | None
    output: Path


@dataclass(frozen=True)
class Done:
    """What became of a scan. ``page``, ``label_map``: relative to the folder for the results."""

    status: str
    reason: str
    page: str
    label_map: str | None
    seconds: float


class Worker:
    """The process, as the server sees it."""

    def __init__(self, given: Given):
        self._given = given

    def start(self) -> About:
        """Start the process and open the model. Raises InputError if the model can't be used."""
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, self._given), daemon=True)
        self._process.start()
        theirs.close()
        kind, content = self._receive()
        if kind == BROKEN:
            raise InputError(content)
        return content

    def predict(self, task: Task, step: Callable[[str], None]) -> Done:
        """Apply the model to a scan. ``step``: called with what is done next.

        Raises:
            WorkerEnded: If there is no result. The process may have ended then: see `alive`.
        """
        self._connection.send(task)
        while True:
            if not self._connection.poll(LONGEST_STEP_S):
                self.end()
                raise WorkerEnded(f"The scan was stopped: a step took more than {LONGEST_STEP_S / 60:.0f} minutes.")
            kind, content = self._receive()
            if kind == DONE:
                return content
            if kind == FAILED:
                raise WorkerEnded(content)
            step(content)

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def end(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.join()

    def _receive(self) -> tuple:
        try:
            return self._connection.recv()
        except (EOFError, ConnectionError) as error:
            self._process.join()
            code = self._process.exitcode or 0
            words = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
            memory = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
            raise WorkerEnded(f"The process that applies the model {words}{memory}.") from error


def _work(connection: Connection, given: Given) -> None:
    """What the process does: open the model, then a task after the other until the server ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the server gets it too, and ends this process
    tempfile.tempdir = str(given.scratch)
    from neurocohort.apply.one_scan import MAPS, Options
    from neurocohort.apply.predict import open_model

    try:
        bundle, options = open_model(given.model, Options(weights=given.weights), given.device)
        if extra := [name for name in bundle.modalities if name not in MAPS and name != "T1w"]:
            raise InputError(
                f"the model needs {', '.join(extra)} in addition to the T1-weighted image, and the page takes one image: use "
                "`neurocohort predict --table`."
            )
    except InputError as error:
        connection.send((BROKEN, str(error)))
        return
    known = bundle.reference
    known_of = bundle.study, bundle.experiment, bundle.demo, bundle.intended_use
    about = About(*known_of, known.age, list(known.sexes), bundle.native)
    connection.send((READY, about))
    with contextlib.suppress(EOFError):
        while True:
            task = connection.recv()
            try:
                answer: tuple[str, Done | str] = (
                    DONE,
                    _apply(bundle, options, task, lambda name: connection.send((STEP, name))),
                )
            except (InputError, StorageFailed) as error:
                answer = FAILED, str(error)
            except Exception as error:
                traceback.print_exc()
                answer = FAILED, f"The program failed ({type(error).__name__}: {error}); the terminal shows where."
            connection.send(answer)


def _apply(bundle: "RawScanBundle", options: "Options", task: Task, step: Callable[[str], None]) -> Done:
    """Apply the model to the scan, and write the files that `neurocohort predict` writes."""
    from neurocohort.apply.one_scan import predict_scan
    from neurocohort.apply.pages import write_index, write_page
    from neurocohort.apply.results import SCANS, labels_path, write_images, write_tables
    from neurocohort.apply.scans import scans_from_paths

    (scan,) = scans_from_paths([task.scan], age=task.age, sex=task.sex)
    outcome = predict_scan(bundle, scan, options, step)
    step(DRAWING)
    write_images(task.output, outcome)
    write_page(task.output, bundle, [scan.scan_id], outcome)
    write_tables(task.output, bundle, [outcome])
    write_index(task.output, bundle, [outcome])
    label_map = None if outcome.labels is None else f"{SCANS}/{labels_path(task.output, outcome).name}"
    return Done(outcome.status, outcome.reason, f"{SCANS}/{scan.scan_id}.html", label_map, outcome.seconds)
