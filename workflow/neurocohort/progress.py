"""How far a download, a training or a prediction has come: a bar on a terminal, lines now and then in a log file.

The hash of the code behind a rule leaves this module out (`codehash.ONLY_SHOWN`): a change here reruns nothing, so nothing that
a result depends on may stand here.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

DOWNLOAD_LINE_EVERY_S = 60.0
SCAN_LINE_EVERY_S = 10.0


def terminal_stream() -> TextIO | None:
    """The terminal: standard error, or, where the rule's log takes that, the one that Snakemake was started on."""
    if sys.stderr.isatty():
        return sys.stderr
    if os.environ.get("NEUROCOHORT_TERMINAL"):
        try:
            return open("/dev/tty", "w")
        except OSError:
            return None
    return None


class Progress:
    """Shows the bytes of one transfer on standard error. ``total`` is in bytes, None where the server doesn't say."""

    def __init__(self, name: str, total: int | None, start: int = 0):
        self.name, self.total, self.done, self.start = name, total, start, start
        self.bar = None
        if (terminal := terminal_stream()) is not None:
            from tqdm import tqdm

            form = {"unit": "B", "unit_scale": True, "leave": False, "file": terminal}
            self.bar = tqdm(desc=name, total=total, initial=start, **form)

    def __enter__(self) -> "Progress":
        self.began = self.last_line = time.monotonic()
        return self

    def __exit__(self, *_) -> None:
        if self.bar is not None:
            self.bar.close()

    def advance(self, count: int) -> None:
        self.done += count
        if self.bar is not None:
            self.bar.update(count)
        elif (now := time.monotonic()) - self.last_line >= DOWNLOAD_LINE_EVERY_S:
            self.last_line = now
            share = f" of {self.total / 1e6:.0f} MB ({100 * self.done / self.total:.0f} %)" if self.total else " MB"
            rate = (self.done - self.start) / 1e6 / (now - self.began)
            print(f"{self.name}: {self.done / 1e6:.0f}{share}, {rate:.1f} MB/s", file=sys.stderr, flush=True)


def in_turn(count: int, done: str) -> Iterator[int]:
    """0 to ``count`` - 1, showing how many scans were ``done`` (such as "predicted"): a bar on a terminal, else a line on
    standard error every ten seconds."""
    if (terminal := terminal_stream()) is not None:
        from tqdm import tqdm

        yield from tqdm(range(count), desc=done, unit="scan", leave=False, file=terminal)
        return
    began = last = time.monotonic()
    for index in range(count):
        yield index
        if (now := time.monotonic()) - last >= SCAN_LINE_EVERY_S:
            last = now
            rate = (index + 1) / (now - began)
            print(f"{done} {index + 1} of {count} scans, {rate:.2f} a second", file=sys.stderr, flush=True)


@contextlib.contextmanager
def steps_shown(label: str, done: int, steps: int, shown: bool, unit: str = "step") -> Iterator[Callable[[], None]]:
    """Yield what is called after each step: it moves a bar on a terminal, and does nothing elsewhere."""
    terminal = terminal_stream() if shown else None
    if terminal is None:
        yield lambda: None
        return
    from tqdm import tqdm

    with tqdm(desc=label, total=steps, initial=done, leave=False, unit=unit, file=terminal) as bar:
        yield lambda: bar.update() and None
