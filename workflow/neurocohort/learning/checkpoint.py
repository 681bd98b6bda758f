"""Checkpoints that survive a kill: written aside, synced, renamed, and read with plain values and tensors only.

Also what asks a training to stop: SIGTERM or SIGUSR1, which is noted and answered at the next step.
"""

import contextlib
import hashlib
import io
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

import torch

from neurocohort.errors import InputError
from neurocohort.files import sha256_of, written_aside

SECONDS_VARIABLE = (
    "NEUROCOHORT_CHECKPOINT_SECONDS"  # of the environment: it is the machine's matter, and moves no result
)
INTERRUPTED_EXIT_CODE = 75  # EX_TEMPFAIL: the job was told to stop and can be submitted again


class Interrupted(Exception):
    """A signal asked the loop to stop; the checkpoint is written and the same command goes on from it."""


class StopRequest:
    """Within its block, remembers that SIGTERM or SIGUSR1 came; the loop asks at each step and decides when to stop."""

    def __enter__(self) -> "StopRequest":
        self.received = False
        self.handlers = {name: signal.signal(name, self._note) for name in (signal.SIGTERM, signal.SIGUSR1)}
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in self.handlers.items():
            signal.signal(name, handler)

    def _note(self, *_: object) -> None:
        self.received = True


def checkpoint_path(folder: Path, texts: list[str], files: list[Path]) -> Path:
    """The checkpoint in ``folder`` of the training that depends on these texts and on the content of these files."""
    depends_on = "\n".join([*texts, *map(sha256_of, files)])
    return folder / f"{hashlib.sha256(depends_on.encode()).hexdigest()[:20]}.pt"


def checkpoint_seconds(usual: float = 60.0) -> float:
    """Seconds between two checkpoints: ``usual``, or what the environment says. Raises InputError for no such number."""
    given = os.environ.get(SECONDS_VARIABLE, str(usual))
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InputError(f"{SECONDS_VARIABLE} is {given!r}; expected a number of seconds, such as 60.")
    return seconds


def save_checkpoint(path: Path, state: dict) -> None:
    """Write ``state`` (tensors, numbers, texts, lists and dicts of them) so that a power cut leaves the old or the new."""
    with written_aside(path) as aside:
        torch.save(state, aside)
        with open(aside, "rb") as stream:
            os.fsync(stream.fileno())
    with contextlib.suppress(OSError):  # the new name too; some network file systems can't sync a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def load_checkpoint(path: Path, report: Callable[[str], None] = print) -> dict | None:
    """The state at ``path``, its tensors on the CPU; None where there is none.

    A file that isn't whole, as a full disk may leave it, is renamed to ``<name>.unreadable``, told to ``report`` and
    counts as none: the job would fail on it forever.
    """
    if not path.is_file():
        return None
    content = path.read_bytes()  # apart: that the disk can't be read is no fault of the file, and a retry may read it
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # of half a file torch raises nearly anything
        aside = _unreadable(path)
        os.replace(path, aside)
        reason = str(error).strip().split("\n")[0]
        report(
            f"the checkpoint {path} can't be read ({reason}); it is set aside as {aside.name}, training starts over."
        )
        return None


def attempt_file(path: Path, number: int) -> Path:
    """The place of attempt ``number``, counted from 1, of what lies at ``path``: ``path`` itself, then ``<name>-attempt-2``."""
    return path if number == 1 else path.with_name(f"{path.stem}-attempt-{number}{path.suffix}")


def remove_checkpoint(path: Path, attempts: int = 1) -> None:
    """Remove the checkpoints of a training that is done in up to ``attempts`` attempts, and what killed writers left half
    written beside them."""
    for one in (attempt_file(path, number) for number in range(1, attempts + 1)):
        for left in (one, _unreadable(one), *one.parent.glob(f".*.{one.name}")):
            left.unlink(missing_ok=True)


def _unreadable(path: Path) -> Path:
    return path.with_name(f"{path.name}.unreadable")
