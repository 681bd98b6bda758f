"""Worker processes that do tasks one after the other, within limits of memory and time.

If a worker dies, its task is tried once more after all others, alone and with all the memory. If the parent dies, its workers end
at once, and no task is blamed.
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
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

import psutil

from neurocohort.errors import InputError, JobFailed, StorageFailed, is_out_of_memory

TICK_S = 0.1  # between two checks of the workers' memory and time
MEGABYTE = 1_000_000
MEMORY, TIME, CRASH = "memory", "time", "crash"
# Signals of the process itself or of the kernel. Any other comes from outside, for example when a scheduler ends the job.
OWN_SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)
PR_SET_PDEATHSIG = 1  # of prctl(2)
DONE, FAILED, NO_MEMORY, BROKEN = "done", "failed", "no memory", "broken"


@dataclass(frozen=True)
class Limits:
    """``memory_mb``: of all workers together, in units of 10^6 bytes; ``seconds``: of one task."""

    memory_mb: float
    seconds: float


class Death(NamedTuple):
    """Why a worker died. ``cause``: MEMORY, TIME or CRASH. ``words``: the reason as part of a sentence about the task."""

    cause: str
    words: str


class Outcome(NamedTuple):
    """The result of a task, or its error in words, or the death of its worker (also on the second try).

    ``peak_mb``: the largest memory of the worker that was measured meanwhile, in 10^6 bytes.
    """

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
    """Yield the outcome of each task, in the order in which they end.

    Args:
        prepare: Called once in each worker. Returns the function that does a task; its second argument is the probable next task,
            or None. Everything is pickled.
        tasks: The tasks.
        workers: The number of processes.
        limits: The memory of all workers together, and the time of one task.

    Raises:
        InputError: If ``prepare`` raises it.
        JobFailed: If a worker ends before its first task, or by a signal from outside.
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
    process: BaseProcess
    connection: Connection
    limits: Limits
    task: object = None
    busy: bool = True  # until its first message
    began: float = field(default_factory=time.monotonic)
    peak_mb: float = 0.0

    def give(self, task: object, upcoming: object | None) -> None:
        self.task, self.busy, self.began, self.peak_mb = task, True, time.monotonic(), 0.0
        self.connection.send((task, upcoming))

    def over_limit(self) -> Death | None:
        """Why the worker must be ended; None if not."""
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
    """The outcomes of tasks by ``count`` workers. ``limits``: of each worker."""
    waiting = deque(tasks)
    workers: list[_Worker] = []
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
    """End a worker that exceeds its limits, and return the outcome of its task."""
    death = worker.over_limit()
    if death is None:
        return None
    task = worker.task
    worker.end()
    if task is None:
        raise JobFailed(f"a worker could not begin: {death.words}. Give the job more memory.")
    return Outcome(task, death=death, seconds=time.monotonic() - worker.began, peak_mb=worker.peak_mb)


def _heard(worker: _Worker) -> Outcome | None:
    """Read a worker's message: it is ready, its task ended, or the worker is dead."""
    try:
        kind, content = worker.connection.recv()
    except (EOFError, ConnectionError):
        worker.process.join()
        code, task = worker.process.exitcode or 0, worker.task
        worker.end()
        return _dead(worker, task, code)
    task, seconds = worker.task, time.monotonic() - worker.began
    worker.busy, worker.task = False, None
    if kind == BROKEN:
        worker.end()
        raise content
    if task is None:  # it is ready for its first task
        return None
    if kind == NO_MEMORY:
        worker.end()
        return Outcome(task, death=_memory_death(worker.limits), seconds=seconds, peak_mb=worker.peak_mb)
    done = {"result": content} if kind == DONE else {"error": content}
    return Outcome(task, **done, seconds=seconds, peak_mb=worker.peak_mb)


def _dead(worker: _Worker, task: object, code: int) -> Outcome:
    """The outcome of the task of a worker that ended with exit code ``code``."""
    if code < 0 and -code not in OWN_SIGNALS:
        raise JobFailed(f"a worker was ended from outside, by {signal.Signals(-code).name}.")
    words = f"its process was killed by {signal.Signals(-code).name}" if code < 0 else f"its process ended with {code}"
    if task is None:
        raise JobFailed(f"a worker could not begin: {words}; see above.")
    # SIGKILL, while the parent lives on, comes from the kernel when memory runs out.
    cause = MEMORY if -code == signal.SIGKILL else CRASH
    words += ", as the kernel does when memory runs out" if cause == MEMORY else ""
    return Outcome(task, death=Death(cause, words), seconds=time.monotonic() - worker.began, peak_mb=worker.peak_mb)


# --- inside a worker ----------------------------------------------------------------------------------------------


def _work(connection: Connection, prepare: Callable[[], Work], memory_mb: float, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the parent gets it too, and ends its workers
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
    """Let the kernel end this process when its parent dies (on Linux; elsewhere it ends after its task)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died before
            os._exit(1)


def _limit_memory(memory_mb: float) -> None:
    """Let allocations beyond the limit fail, because a large one could be faster than the parent's check of the memory.

    The kernel counts allocated memory, used or not. Memory that is allocated but not used by now is added to the limit.
    """
    if sys.platform != "linux":
        return
    with open("/proc/self/status", encoding="ascii") as stream:
        status = dict(line.split(":", 1) for line in stream)
    unused = 1024 * (int(status["VmData"].split()[0]) - int(status["RssAnon"].split()[0]))
    most = int(memory_mb * MEGABYTE) + max(unused, 0)
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
