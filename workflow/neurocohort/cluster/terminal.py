"""Text for a terminal: aligned tables, and amounts with their unit."""

import sys
from collections.abc import Sequence

from tabulate import tabulate

RIGHT = "right"  # alignment of a column; the others are left-aligned


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
