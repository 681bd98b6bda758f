"""Checkpoints that survive a kill: written under another name, synced and renamed; only plain values and tensors are read.

Also the request to stop a training: after SIGTERM or SIGUSR1 it stops at the next step.
"""

import contextlib
import hashlib
import io
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch

from neurocohort.errors import InputError
from neurocohort.files import sha256_of, written_aside

# An environment variable, since it depends on the machine and changes no result.
SECONDS_VARIABLE = "NEUROCOHORT_CHECKPOINT_SECONDS"
INTERRUPTED_EXIT_CODE = 75  # EX_TEMPFAIL: the job was stopped and can be submitted again


class SavedTraining(TypedDict):
    """The content of a checkpoint; ``processes`` are the loss sum and random generators of each process, and
    ``teacher`` are the weights and steps of a teacher that isn't what is kept."""

    weights: dict[str, torch.Tensor]
    optimiser: dict[str, Any]
    scaler: dict[str, Any]
    state: dict[str, Any]
    processes: list[Any]
    teacher: NotRequired[dict[str, Any]]


class Interrupted(Exception):
    """The training was stopped by a signal; the checkpoint is written, and the same command continues from it."""


class StopRequest:
    """Within its ``with`` block, ``received`` states whether SIGTERM or SIGUSR1 arrived; the loop checks it at each step."""

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
    """Seconds between two checkpoints: ``usual``, or the environment variable. Raises InputError where it is not a number."""
    given = os.environ.get(SECONDS_VARIABLE, str(usual))
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InputError(f"{SECONDS_VARIABLE} is {given!r}; expected a number of seconds, such as 60.")
    return seconds


def save_checkpoint(path: Path, state: SavedTraining) -> None:
    """Write ``state``, which consists of plain values and tensors; a power cut leaves the old or the new file."""
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


def load_checkpoint(path: Path, report: Callable[[str], None] = print) -> SavedTraining | None:
    """The state at ``path``, with tensors on the CPU; None where there is none.

    An incomplete file, such as a full disk may leave, is renamed to ``<name>.unreadable`` and reported; the training then
    starts over, since the job would fail on it forever.
    """
    if not path.is_file():
        return None
    content = path.read_bytes()  # not below: an error of the disk is no fault of the file, and a retry may succeed
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # for an incomplete file torch raises nearly any exception
        aside = _unreadable(path)
        os.replace(path, aside)
        reason = str(error).strip().split("\n")[0]
        report(
            f"the checkpoint {path} can't be read ({reason}); it is renamed to {aside.name}, and training starts over."
        )
        return None


def attempt_file(path: Path, number: int) -> Path:
    """The path of attempt ``number`` (from 1): ``path`` itself, then ``<name>-attempt-2`` and so on."""
    return path if number == 1 else path.with_name(f"{path.stem}-attempt-{number}{path.suffix}")


def remove_checkpoint(path: Path, attempts: int = 1) -> None:
    """Remove the checkpoints of a finished training with up to ``attempts`` attempts, and files of killed writers."""
    for one in (attempt_file(path, number) for number in range(1, attempts + 1)):
        for left in (one, _unreadable(one), *one.parent.glob(f".*.{one.name}")):
            left.unlink(missing_ok=True)


def _unreadable(path: Path) -> Path:
    return path.with_name(f"{path.name}.unreadable")
