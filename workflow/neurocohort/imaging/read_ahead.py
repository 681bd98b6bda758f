"""Reads the next scan while the current one is processed, so that a GPU doesn't wait for a disk."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from neurocohort.imaging.volume import Volume


class ReadAhead:
    """Calls ``read`` for the next file in a thread. What it raises is raised when that file is asked for, and never before.

    One scan at most is held in memory beside the current one.
    """

    def __init__(self, read: Callable[[Path], Volume]):
        self._read = read
        self._thread = ThreadPoolExecutor(1)
        self._coming: tuple[Path, Future] | None = None

    def take(self, path: Path, upcoming: Path | None) -> Volume:
        """Return the scan at ``path``, and begin to read ``upcoming``, the file that is likely to be next."""
        coming, self._coming = self._coming, None
        try:
            return coming[1].result() if coming and coming[0] == path else self._read(path)
        finally:
            if upcoming is not None:
                self._coming = upcoming, self._thread.submit(self._read, upcoming)
