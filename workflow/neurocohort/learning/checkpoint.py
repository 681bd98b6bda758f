"""Checkpoints that survive a kill: written aside, synced, renamed, and read with plain tensors only."""

import os
import signal
from pathlib import Path

import torch

from neurocohort.files import written_aside

INTERRUPTED_EXIT_CODE = 75  # EX_TEMPFAIL: the job was told to stop and can be submitted again


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


def save_checkpoint(path: Path, state: dict) -> None:
    """Write ``state`` (tensors, numbers, texts, lists and dicts of them) so that a power cut leaves the old or the new."""
    with written_aside(path) as aside:
        torch.save(state, aside)
        with open(aside, "rb") as stream:
            os.fsync(stream.fileno())


def load_checkpoint(path: Path) -> dict | None:
    """The state at ``path``, or None where there is none."""
    return torch.load(path, weights_only=True) if path.is_file() else None
