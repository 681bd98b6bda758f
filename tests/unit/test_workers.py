"""Workers that run out of memory or time, crash, or lose their parent: what it costs, and whom."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from neurocohort.errors import InputError, JobFailed
from neurocohort.workers import CRASH, MEMORY, TIME, Limits, in_workers

LIMITS = Limits(memory_mb=600, seconds=3)
GOOD = [f"good{number}" for number in range(6)]


def prepared(folder: Path):
    (folder / f"prepared-{os.getpid()}").touch()
    return functools.partial(work, folder)


def work(folder: Path, task: str, upcoming: str | None):
    """Do what the task is called."""
    with (folder / "tried").open("a") as stream:
        stream.write(f"{task}\n")
    if task == "slow":
        time.sleep(1)
        with (folder / "slow").open("a") as stream:
            stream.write(f"{os.getpid()}\n")
    if task == "greedy":  # in pieces, which a look at the memory sees, and which the kernel's limit ends too
        pieces = []
        while True:
            pieces.append(np.ones(5_000_000))
    if task == "huge":  # at once: only the kernel's limit is in time
        return float(np.ones(10**9).sum())
    if task == "endless":
        while True:
            pass
    if task == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if task == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "once" and not (folder / "once").exists():  # dies the first time
        (folder / "once").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "wrong":
        raise ValueError("a mistake in the code")
    if task == "input":
        raise InputError("this file has changed")
    if task == "outside":
        os.kill(os.getpid(), signal.SIGTERM)
    return os.getpid()


def outcomes(folder, tasks, workers=1, limits=LIMITS):
    with contextlib.closing(
        in_workers(functools.partial(prepared, folder), tasks, workers=workers, limits=limits)
    ) as found:
        return {outcome.task: outcome for outcome in found}


def test_one_worker_does_many_tasks_and_is_prepared_once(tmp_path):
    found = outcomes(tmp_path, GOOD)
    assert set(found) == set(GOOD) and len({outcome.result for outcome in found.values()}) == 1
    assert len(list(tmp_path.glob("prepared-*"))) == 1


def test_several_work_at_a_time(tmp_path):
    outcomes(tmp_path, ["slow"] * 6, workers=2)
    assert len(list(tmp_path.glob("prepared-*"))) == len({*(tmp_path / "slow").read_text().split()}) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's limit is Linux'")
@pytest.mark.parametrize(
    ("task", "cause", "words"),
    [
        ("greedy", MEMORY, "exceeded the memory limit of 600 MB"),
        ("huge", MEMORY, "exceeded the memory limit of 600 MB"),
        ("endless", TIME, "did not end within 3 s"),
        ("crash", CRASH, "SIGSEGV"),
        ("killed", MEMORY, "SIGKILL"),
    ],
)
def test_what_a_task_does_to_its_process_costs_that_task_alone_and_after_a_second_try(tmp_path, task, cause, words):
    found = outcomes(tmp_path, [*GOOD[:2], task, *GOOD[2:]])
    assert all(found[name].result for name in GOOD)
    assert found[task].death.cause == cause and words in found[task].death.words
    tried = (tmp_path / "tried").read_text().split()
    assert tried.count(task) == 2 and tried[-1] == task, "again, when the others are done"


def test_a_task_that_its_neighbour_disturbed_is_done_when_it_is_alone(tmp_path):
    found = outcomes(tmp_path, [*GOOD, "once"], workers=2)
    assert found["once"].result and not found["once"].death


def test_the_memory_is_divided_among_the_workers_and_a_second_try_has_all_of_it(tmp_path):
    found = outcomes(tmp_path, ["greedy", *GOOD], workers=2, limits=Limits(900, 30))
    assert "900 MB" in found["greedy"].death.words


def test_an_error_is_told_and_ends_neither_the_worker_nor_the_others(tmp_path):
    found = outcomes(tmp_path, ["wrong", "input", *GOOD])
    assert "a mistake in the code" in found["wrong"].error and found["input"].error == "this file has changed"
    assert all(found[name].result for name in GOOD) and len(list(tmp_path.glob("prepared-*"))) == 1


def test_a_signal_from_outside_marks_no_task(tmp_path):
    with pytest.raises(JobFailed, match="from outside, by SIGTERM"):
        outcomes(tmp_path, [*GOOD, "outside"])


def no_input():
    raise InputError("the template is not there")


def dies():
    os.kill(os.getpid(), signal.SIGSEGV)


def test_a_worker_that_cannot_begin_ends_the_job_and_marks_no_task():
    with pytest.raises(InputError, match="the template is not there"):
        list(in_workers(no_input, GOOD, workers=1, limits=LIMITS))
    with pytest.raises(JobFailed, match="could not begin"):
        list(in_workers(dies, GOOD, workers=1, limits=LIMITS))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a worker ends with its task")
def test_the_workers_of_a_killed_parent_end_at_once(tmp_path):
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    code += "from test_workers import outcomes; from pathlib import Path\n"
    code += f"outcomes(Path({str(tmp_path)!r}), ['endless'] * 2, workers=2, limits=__import__('test_workers').Limits(900, 600))"
    script = tmp_path / "parent.py"
    script.write_text(f"if __name__ == '__main__':\n    {code.replace(chr(10), chr(10) + '    ')}\n")
    parent = subprocess.Popen([sys.executable, str(script)])
    until = time.monotonic() + 60
    while not (tmp_path / "tried").exists() or (tmp_path / "tried").read_text().count("endless") < 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    workers = psutil.Process(parent.pid).children(recursive=True)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    gone, alive = psutil.wait_procs(workers, timeout=5)
    assert len(gone) >= 2 and not alive
