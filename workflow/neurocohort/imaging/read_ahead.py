"""Read the next scan while the current one is processed, so that a GPU doesn't wait for the disk."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from neurocohort.imaging.volume import Volume

Task = TypeVar("Task")


class ReadAhead(Generic[Task]):
    """Calls ``read`` for the next task in a thread; its errors are raised when that task is taken.

    At most one scan in addition to the current one is in memory.
    """

    def __init__(self, read: Callable[[Task], Volume]):
        self._read = read
        self._thread = ThreadPoolExecutor(1)
        self._coming: tuple[Task, Future] | None = None

    def take(self, task: Task, upcoming: Task | None) -> Volume:
        """Return the scan of ``task``, and start to read that of ``upcoming``, the task that is probably next."""
        coming, self._coming = self._coming, None
        try:
            return coming[1].result() if coming and coming[0] == task else self._read(task)
        finally:
            if upcoming is not None:
                self._coming = upcoming, self._thread.submit(self._read, upcoming)
