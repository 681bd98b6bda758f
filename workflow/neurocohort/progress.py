"""The progress of a download, a training or a prediction: a bar on a terminal, lines now and then in a log file.

The hash of the code behind a rule leaves this module out (`codehash.ONLY_SHOWN`), so that a change here reruns nothing. No result
may depend on it.
"""

import os
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from tqdm import tqdm

DOWNLOAD_LINE_EVERY_S = 60.0
SCAN_LINE_EVERY_S = 10.0
LOG_LINE = "{desc}: {n_fmt} of {total_fmt}{unit} ({percentage:.0f} %), {rate_fmt}\n"
LOG_LINE_WITHOUT_TOTAL = "{desc}: {n_fmt}{unit}, {rate_fmt}\n"


def terminal_stream() -> TextIO | None:
    """The terminal: standard error or, if the rule's log takes that, the terminal on which Snakemake was started."""
    if sys.stderr.isatty():
        return sys.stderr
    if os.environ.get("NEUROCOHORT_TERMINAL"):
        try:
            return open("/dev/tty", "w")
        except OSError:
            return None
    return None


def transfer_shown(name: str, total: int | None, start: int = 0) -> tqdm:
    """The progress of a transfer in bytes. ``total``: None if unknown. ``start``: the bytes that are there already."""
    return _shown(
        DOWNLOAD_LINE_EVERY_S, terminal_stream(), desc=name, total=total, initial=start, unit="B", unit_scale=True
    )


def in_turn(count: int, done: str) -> Iterable[int]:
    """0 to ``count`` - 1, with the progress of a loop over scans. ``done``: what is done with them, such as "predicted"."""
    return _shown(SCAN_LINE_EVERY_S, terminal_stream(), iterable=range(count), desc=done, unit=" scans")


def steps_shown(label: str, done: int, steps: int, shown: bool, unit: str = "step") -> tqdm:
    """The progress of a loop, for ``with ... as bar`` and ``bar.update()``, only on a terminal and if ``shown``."""
    return _shown(None, terminal_stream() if shown else None, desc=label, total=steps, initial=done, unit=unit)


def _shown(line_every_s: float | None, terminal: TextIO | None, **bar: Any) -> tqdm:
    """A bar on the terminal. Without one, a log line every ``line_every_s``, or nothing if that is None."""
    if terminal is not None or line_every_s is None:
        return tqdm(**bar, leave=False, file=terminal, disable=terminal is None)
    line = LOG_LINE if "iterable" in bar or bar["total"] else LOG_LINE_WITHOUT_TOTAL
    often = {"mininterval": line_every_s, "maxinterval": line_every_s, "delay": line_every_s, "miniters": 1}
    return tqdm(**bar, **often, bar_format=line, leave=False, file=sys.stderr)
