"""Worker processes that do one task after the other, each within limits of memory and time, and that their parent outlives.

A worker that dies counts against the task that it was at: when all others are done, that task is tried once more, alone, with all
the memory. The death of the parent counts against nothing: its workers end with it, at once.
"""

import contextlib
import ctypes
import multiprocessing
import os
import resource
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

import psutil

from neurocohort.errors import InputError, JobFailed, StorageFailed, is_out_of_memory

TICK_S = 0.1  # between two looks at the workers' memory and time
MEGABYTE = 1_000_000
MEMORY, TIME, CRASH = "memory", "time", "crash"
# What a process does to itself, or the kernel to it. Any other signal came from outside, as when a scheduler ends the job.
OWN_SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)
PR_SET_PDEATHSIG = 1  # of prctl(2)
DONE, FAILED, NO_MEMORY, BROKEN = "done", "failed", "no memory", "broken"


@dataclass(frozen=True)
class Limits:
    """``memory_mb``: of all workers together, in units of 10^6 bytes; ``seconds``: of one task."""

    memory_mb: float
    seconds: float


class Death(NamedTuple):
    """Why a task ended its worker. ``cause``: MEMORY, TIME or CRASH; ``words``: part of a sentence about the task."""

    cause: str
    words: str


class Outcome(NamedTuple):
    """What became of a task: its ``result``, or its ``error`` in words, or the ``death`` of its worker, also when it was tried
    alone. ``peak_mb``: the largest memory of its worker that was seen meanwhile."""

    task: Any
    result: Any = None
    error: str = ""
    death: Death | None = None
    seconds: float = 0.0
    peak_mb: float = 0.0


Work = Callable[[Any, Any | None], Any]  # the task, and the one that is likely to be next


def in_workers(
    prepare: Callable[[], Work], tasks: Sequence[object], *, workers: int, limits: Limits
) -> Generator[Outcome, None, None]:
    """Yield the outcome of each task, as they end.

    ``prepare`` is called once in each worker and returns the function that does a task, which gets the task that is likely to be
    next as well, or None; it, the tasks and the results travel between processes. ``workers``: how many work at a time. Raises
    InputError where ``prepare`` does, and JobFailed where a worker ends before its first task, or is ended by a signal from
    outside.
    """
    suspects = []
    count = min(workers, len(tasks))
    for outcome in _pool(prepare, tasks, count, Limits(limits.memory_mb / max(count, 1), limits.seconds)):
        if outcome.death:
            print(f"{outcome.task}: {outcome.death.words}; it is tried again alone at the end", flush=True)
            suspects.append(outcome.task)
        else:
            yield outcome
    for task in suspects:
        yield from _pool(prepare, [task], 1, limits)


@dataclass
class _Worker:
    process: multiprocessing.Process
    connection: Connection
    limits: Limits
    task: object = None
    busy: bool = True  # until it has sent what it is to send first
    began: float = field(default_factory=time.monotonic)
    peak_mb: float = 0.0

    def give(self, task: object, upcoming: object | None) -> None:
        self.task, self.busy, self.began, self.peak_mb = task, True, time.monotonic(), 0.0
        self.connection.send((task, upcoming))

    def over_limit(self) -> Death | None:
        """Why the worker must be ended, if it must."""
        with contextlib.suppress(psutil.Error):
            self.peak_mb = max(self.peak_mb, psutil.Process(self.process.pid).memory_info().rss / MEGABYTE)
        if self.peak_mb > self.limits.memory_mb:
            return _memory_death(self.limits)
        if self.task is not None and time.monotonic() - self.began > self.limits.seconds:
            return Death(TIME, f"it did not end within {self.limits.seconds:g} s")
        return None

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def _memory_death(limits: Limits) -> Death:
    return Death(MEMORY, f"it exceeded the memory limit of {limits.memory_mb:.0f} MB")


def _pool(prepare: Callable[[], Work], tasks: Sequence[object], count: int, limits: Limits) -> Iterator[Outcome]:
    """The outcomes of tasks that ``count`` workers do, ``limits`` being those of each worker."""
    waiting, workers = deque(tasks), []
    try:
        while waiting or any(worker.task is not None for worker in workers):
            if waiting:
                workers += [_start(prepare, limits) for _ in range(count - len(workers))]
            for worker in workers:
                if waiting and not worker.busy:
                    worker.give(waiting.popleft(), waiting[0] if waiting else None)
            ready = wait([worker.connection for worker in workers], timeout=TICK_S)
            for worker in list(workers):
                outcome = _heard(worker) if worker.connection in ready else _watched(worker)
                if outcome is not None:
                    yield outcome
                if worker.connection.closed:
                    workers.remove(worker)
    finally:
        for worker in workers:
            worker.end()


def _start(prepare: Callable[[], Work], limits: Limits) -> _Worker:
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, prepare, limits.memory_mb, os.getpid()), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours, limits)


def _watched(worker: _Worker) -> Outcome | None:
    """End a worker that has gone beyond its limits; the outcome of its task then."""
    death = worker.over_limit()
    if death is None:
        return None
    task = worker.task
    worker.end()
    if task is None:
        raise JobFailed(f"a worker could not begin: {death.words}. Give the job more memory.")
    return Outcome(task, death=death, seconds=time.monotonic() - worker.began, peak_mb=worker.peak_mb)


def _heard(worker: _Worker) -> Outcome | None:
    """What a worker says: that it has begun, or how its task ended; or that it is dead."""
    try:
        kind, content = worker.connection.recv()
    except (EOFError, ConnectionError):
        worker.process.join()
        code, task = worker.process.exitcode, worker.task
        worker.end()
        return _dead(worker, task, code)
    task, seconds = worker.task, time.monotonic() - worker.began
    worker.busy, worker.task = False, None
    if kind == BROKEN:
        worker.end()
        raise content
    if task is None:  # it is ready for its first one
        return None
    if kind == NO_MEMORY:
        worker.end()
        return Outcome(task, death=_memory_death(worker.limits), seconds=seconds, peak_mb=worker.peak_mb)
    done = {"result": content} if kind == DONE else {"error": content}
    return Outcome(task, **done, seconds=seconds, peak_mb=worker.peak_mb)


def _dead(worker: _Worker, task: object, code: int) -> Outcome:
    if code < 0 and -code not in OWN_SIGNALS:
        raise JobFailed(f"a worker was ended from outside, by {signal.Signals(-code).name}.")
    words = f"its process was killed by {signal.Signals(-code).name}" if code < 0 else f"its process ended with {code}"
    if task is None:
        raise JobFailed(f"a worker could not begin: {words}; see above.")
    # Nothing but the kernel, when memory runs out, kills a worker in this way while its parent lives on.
    cause = MEMORY if -code == signal.SIGKILL else CRASH
    words += ", as the kernel does when memory runs out" if cause == MEMORY else ""
    return Outcome(task, death=Death(cause, words), seconds=time.monotonic() - worker.began, peak_mb=worker.peak_mb)


# --- inside a worker ----------------------------------------------------------------------------------------------


def _work(connection: Connection, prepare: Callable[[], Work], memory_mb: float, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the parent gets it too, and ends its workers
    _die_with(parent)
    try:
        work = prepare()
    except InputError as error:
        connection.send((BROKEN, error))
        return
    _limit_memory(memory_mb)
    connection.send((DONE, None))
    with contextlib.suppress(EOFError):
        while True:
            task, upcoming = connection.recv()
            try:
                answer = DONE, work(task, upcoming)
            except (InputError, StorageFailed) as error:
                answer = FAILED, str(error)
            except Exception as error:
                traceback.print_exc()
                answer = (NO_MEMORY, "") if is_out_of_memory(error) else (FAILED, f"{type(error).__name__}: {error}")
            connection.send(answer)


def _die_with(parent: int) -> None:
    """Have the kernel end this process with its parent, whatever it is at; elsewhere than on Linux it ends when its task does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died before
            os._exit(1)


def _limit_memory(memory_mb: float) -> None:
    """Let allocations beyond the limit fail, so that no large one outruns the parent's look at the memory.

    The kernel counts what is allocated and not what is used, so what this process has allocated and not used by now comes on top.
    """
    if sys.platform != "linux":
        return
    with open("/proc/self/status", encoding="ascii") as stream:
        status = dict(line.split(":", 1) for line in stream)
    unused = 1024 * (int(status["VmData"].split()[0]) - int(status["RssAnon"].split()[0]))
    most = int(memory_mb * MEGABYTE) + max(unused, 0)
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
