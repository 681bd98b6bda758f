"""Text for a terminal: aligned tables, and amounts with their unit."""

import sys
from collections.abc import Sequence

from tabulate import tabulate

RIGHT = "right"  # alignment of a column; the others are left-aligned
UNITS = (
    ("d", 86400.0, 2 * 86400.0),
    ("h", 3600.0, 2 * 3600.0),
    ("min", 60.0, 100.0),
)  # seconds, and the least to use it for


def table(rows: Sequence[Sequence[object]], sides: Sequence[str] = (), indent: str = "  ") -> list[str]:
    """The lines of an aligned table.

    Args:
        rows: Its rows, all of one length.
        sides: RIGHT for each column that is right-aligned; missing ones are left-aligned.
        indent: The beginning of each line.
    """
    alignments = [side or "left" for side in sides] + ["left"] * (len(rows[0]) - len(sides))
    text = tabulate(rows, tablefmt="plain", colalign=alignments, disable_numparse=True)
    return [(indent + line).rstrip() for line in text.splitlines()]


def size(count: float) -> str:
    """Bytes in powers of 1000, as disks are sold: 4.51 GB, 812 MB, 3 kB."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count / 1e3:.0f} kB"


def duration(seconds: float) -> str:
    """Seconds as days, hours or minutes: 2.1 d, 5.4 h, 12 min, 40 s."""
    for unit, factor, least in UNITS:
        if seconds >= least:
            count = seconds / factor
            return f"{count:.0f} {unit}" if count >= 9.95 else f"{count:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.0f} s"


def hours(seconds: float) -> str:
    """Seconds in hours, with two decimals below ten hours."""
    return f"{seconds / 3600:.2f}" if seconds < 36000 else f"{seconds / 3600:.0f}"


def can_show(text: str) -> bool:
    """Whether standard output can show ``text``: not every cluster's terminal uses UTF-8."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
