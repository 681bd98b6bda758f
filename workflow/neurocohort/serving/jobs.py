"""The jobs of the page: one runs at a time, some may wait, and no file outlives its use.

An upload is deleted when its job ends. The results of a job are deleted on request, after an hour, and when the server ends.
"""

import contextlib
import queue
import secrets
import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from neurocohort.errors import InputError
from neurocohort.serving.worker import Done, Task, Worker, WorkerEnded

UPLOADING, WAITING, RUNNING, DONE, FAILED = "uploading", "waiting", "running", "done", "failed"
UNFINISHED = (UPLOADING, WAITING, RUNNING)
MOST_JOBS = 5  # being uploaded, waiting or running
KEPT_S = 3600.0  # results of a job


@dataclass
class Job:
    """A scan on its way. ``folder``: holds its upload and its results. ``deleted``: its files are to be deleted."""

    name: str
    folder: Path
    state: str = UPLOADING
    step: str = ""
    message: str = ""
    age: float | None = None
    sex: str | None = None
    scan: Path | None = None
    done: Done | None = None
    deleted: bool = False
    since: float = field(default_factory=time.monotonic)

    @property
    def upload(self) -> Path:
        return self.folder / "upload"

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def becomes(self, state: str, message: str = "") -> None:
        self.state, self.message, self.step, self.since = state, message, "", time.monotonic()


class Jobs:
    """All jobs of the server, and the thread that gives them to the worker one after the other."""

    def __init__(self, folder: Path, worker: Worker):
        self._folder, self._worker = folder, worker
        self._jobs: dict[str, Job] = {}
        self._queue: queue.Queue[Job] = queue.Queue()
        self._lock = threading.Lock()
        self._closing = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def new(self) -> Job | None:
        """A job for an upload that begins; None if too many are unfinished."""
        with self._lock:
            if self._closing or sum(job.state in UNFINISHED for job in self._jobs.values()) >= MOST_JOBS:
                return None
            name = secrets.token_urlsafe(16)
            job = Job(name, self._folder / name)
            job.upload.mkdir(parents=True)
            self._jobs[name] = job
            return job

    def get(self, name: str) -> Job | None:
        return self._jobs.get(name)

    def submit(self, job: Job) -> None:
        """Let an uploaded job wait for its turn."""
        job.becomes(WAITING)
        self._queue.put(job)

    def ahead(self, job: Job) -> int:
        """How many jobs run before this one."""
        with self._lock:
            before = [one for one in self._jobs.values() if one.state in (WAITING, RUNNING)]
        return before.index(job) if job in before else 0

    def delete(self, job: Job) -> None:
        """Delete a job and its files; if it runs, it is stopped."""
        job.deleted = True
        if job.state == RUNNING:
            self._worker.end()  # the thread then deletes the files
        else:
            self._remove(job)

    def close(self) -> None:
        """Stop the running job and the worker, and delete all files."""
        self._closing = True
        self._worker.end()
        self._thread.join(10)
        for job in list(self._jobs.values()):
            self._remove(job)

    def _run(self) -> None:
        while not self._closing:
            with contextlib.suppress(queue.Empty):
                job = self._queue.get(timeout=0.2)
                if not job.deleted and not self._closing:
                    self._do(job)
            self._remove_old()

    def _do(self, job: Job) -> None:
        job.becomes(RUNNING)

        def step(name: str) -> None:
            job.step = name

        self._restart_if_ended()
        try:
            job.done = self._worker.predict(self._task(job), step)
            job.becomes(DONE)
        except WorkerEnded as ended:
            job.becomes(FAILED, str(ended))
        except OSError as error:  # the process ended between two jobs
            job.becomes(FAILED, f"The process that applies the model ended ({error}). Try again.")
        finally:
            shutil.rmtree(job.upload, ignore_errors=True)
        self._restart_if_ended()
        if job.deleted:
            self._remove(job)

    def _task(self, job: Job) -> Task:
        if job.scan is None:
            raise WorkerEnded("The upload is gone.")
        return Task(job.scan, job.age, job.sex, job.output)

    def _restart_if_ended(self) -> None:
        if self._closing or self._worker.alive:
            return
        with contextlib.suppress(InputError, WorkerEnded):  # the next job then fails, and says so
            self._worker.start()

    def _remove_old(self) -> None:
        for job in list(self._jobs.values()):
            if job.state in (DONE, FAILED) and time.monotonic() - job.since > KEPT_S:
                self._remove(job)

    def _remove(self, job: Job) -> None:
        shutil.rmtree(job.folder, ignore_errors=True)
        with self._lock:
            self._jobs.pop(job.name, None)
