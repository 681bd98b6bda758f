"""How far a download has come: a bar on a terminal, a line a minute in a log file."""

import os
import sys
import time
from typing import TextIO

LINE_EVERY_S = 60.0


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
        elif (now := time.monotonic()) - self.last_line >= LINE_EVERY_S:
            self.last_line = now
            share = f" of {self.total / 1e6:.0f} MB ({100 * self.done / self.total:.0f} %)" if self.total else " MB"
            rate = (self.done - self.start) / 1e6 / (now - self.began)
            print(f"{self.name}: {self.done / 1e6:.0f}{share}, {rate:.1f} MB/s", file=sys.stderr, flush=True)
