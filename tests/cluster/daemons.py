"""Shared by the test schedulers: ports, processes and waiting."""

import contextlib
import socket
import time
from collections.abc import Callable

import psutil


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def kill_tree(process: int) -> None:
    """Send SIGKILL to a process and all its children, like a power failure."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process)
        for each in [parent, *parent.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


def processes_of(name: str, ours: Callable[[psutil.Process], bool]) -> list[int]:
    """Processes with this start of their name that are ``ours``; the system may have others."""
    found = []
    for process in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error):
            if process.info["name"].startswith(name) and ours(process):
                found.append(process.pid)
    return found


def wait_until(happened: Callable[[], object], seconds: float, what: str):
    """Wait until ``happened()`` is true and return its value; AssertionError after ``seconds``."""
    until = time.monotonic() + seconds
    while True:
        if value := happened():
            return value
        assert time.monotonic() < until, f"waited {seconds:g} s for {what}"
        time.sleep(0.2)
