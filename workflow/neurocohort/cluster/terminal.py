"""What is printed for a person: aligned tables, amounts with their unit, and marks that the terminal can show."""

import sys
from collections.abc import Sequence

RIGHT = "right"  # how a column stands; anything else is left


def table(rows: Sequence[Sequence[object]], sides: Sequence[str] = (), indent: str = "  ") -> list[str]:
    """Lines in which the columns of ``rows`` stand below one another; ``sides`` has RIGHT for columns of numbers."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*texts, strict=True)]
    sides = [*sides, *[""] * (len(widths) - len(sides))]
    lines = []
    for row in texts:
        columns = zip(row, widths, sides, strict=True)
        cells = [cell.rjust(width) if side == RIGHT else cell.ljust(width) for cell, width, side in columns]
        lines.append((indent + "  ".join(cells)).rstrip())
    return lines


def size(count: float) -> str:
    """Bytes as a person reads them, in powers of 1000 as disks are sold: 4.51 GB, 812 MB, 3 kB."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count / 1e3:.0f} kB"


def duration(seconds: float) -> str:
    """Seconds as days, hours or minutes: 2.1 d, 5.4 h, 12 min, 40 s."""
    for unit, factor, least in (("d", 86400.0, 2 * 86400.0), ("h", 3600.0, 2 * 3600.0), ("min", 60.0, 100.0)):
        if seconds >= least:
            count = seconds / factor
            return f"{count:.0f} {unit}" if count >= 9.95 else f"{count:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.0f} s"


def hours(seconds: float) -> str:
    """Seconds in hours, with as many places as they deserve."""
    return f"{seconds / 3600:.2f}" if seconds < 36000 else f"{seconds / 3600:.0f}"


def shows(text: str) -> bool:
    """Whether standard output can show ``text``: not every cluster's terminal is UTF-8."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
