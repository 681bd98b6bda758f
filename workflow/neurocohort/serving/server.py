"""The server from its start to its end: a private folder, the worker, the address, and the deletion of all files."""

import contextlib
import errno
import fcntl
import ipaddress
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from neurocohort.errors import InputError
from neurocohort.serving.jobs import Jobs
from neurocohort.serving.packages import check_packages
from neurocohort.serving.worker import About, Given, Worker, WorkerEnded

PREFIX, LOCK, SCRATCH = "neurocohort-serve-", "lock", "scratch"
LOCAL_NAMES = ["localhost", "127.0.0.1", "[::1]"]
CLOSING_S = 2


def serve(given: Given, host: str, port: int, max_mb: float) -> None:
    """Serve the page until Ctrl-C or SIGTERM, then delete every upload and result.

    Args:
        given: The model and the device. Its ``scratch`` is replaced.
        host: The address to listen on.
        port: The port; 0 for any free one.
        max_mb: The limit of an upload and of its voxels, in 10^6 bytes.

    Raises:
        InputError: If a package is missing, or the model or the address can't be used.
    """
    check_packages()
    if max_mb <= 0:
        raise InputError(f"--max-mb is {max_mb:g}; expected a number above 0.")
    with _listening(host, port) as listener, _private_folder() as folder, _ended_by_signals():
        worker = Worker(replace(given, scratch=folder / SCRATCH))
        try:
            about = worker.start()
        except WorkerEnded as ended:
            raise InputError(f"the model {given.model} can't be opened. {ended}") from ended
        jobs = Jobs(folder, worker)
        try:
            _announce(host, listener.getsockname()[1], given.model)
            _run(jobs, about, max_mb, LOCAL_NAMES if is_local(host) else ["*"], listener)
        finally:
            jobs.close()


def is_local(host: str) -> bool:
    """Whether only this machine can reach the address."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _run(jobs: Jobs, about: About, max_mb: float, hosts: list[str], listener: socket.socket) -> None:
    import uvicorn

    from neurocohort.serving.site import application

    # No log of requests: they have the names of files. No header with the name of the server.
    config = uvicorn.Config(
        application(jobs, about, max_mb, hosts), access_log=False, log_level="warning", server_header=False,
        timeout_graceful_shutdown=CLOSING_S, ws="none", lifespan="off",
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listener])


def _announce(host: str, port: int, model: Path) -> None:
    if not is_local(host):
        print(
            f"warning: --host {host} lets every machine that reaches this one upload scans and use its processor. There is no "
            "password, and nothing is encrypted. Use 127.0.0.1 (the default) and an ssh tunnel instead where you can.",
            file=sys.stderr,
            flush=True,
        )
    shown = f"[{host}]" if ":" in host else host
    print(f"{model}: http://{shown}:{port}\nCtrl-C ends the server and deletes all uploads and results.", flush=True)


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except (OSError, OverflowError) as error:
            used = getattr(error, "errno", None) == errno.EADDRINUSE
            reason = "is used by another program: give another with --port" if used else f"can't be used ({error})"
            raise InputError(f"the port {port} of {host} {reason}.") from error
        listener.listen()
        yield listener


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    """A folder that only this user can read, deleted at the end. Folders of servers that were killed are deleted first."""
    _remove_forgotten(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        with open(folder / LOCK, "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / SCRATCH).mkdir()
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_forgotten(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), open(folder / LOCK, "rb") as lock:  # also of other users, who keep theirs
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held by a server as long as it lives
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM, and SIGHUP of a closed terminal, end this process as Ctrl-C does, so that its files are deleted."""

    def end(number: int, _: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
