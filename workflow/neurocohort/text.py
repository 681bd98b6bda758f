"""Lists, numbers, sizes and durations as text, for messages and reports."""

from collections.abc import Iterable

FEW = 5
UNITS = (
    ("d", 86400.0, 2 * 86400.0),
    ("h", 3600.0, 2 * 3600.0),
    ("min", 60.0, 100.0),
)  # seconds, and the least to use it for


def few(names: Iterable[object], most: int = FEW, separator: str = ", ") -> str:
    """The first ``most`` names and how many more there are: ``a, b, c, d, e and 3 more``."""
    texts = [str(name) for name in names]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return separator.join(texts[:most]) + more


def listed(words: Iterable[object]) -> str:
    """All words: ``a``, ``a and b``, ``a, b and c``."""
    texts = [str(word) for word in words]
    return f"{', '.join(texts[:-1])} and {texts[-1]}" if len(texts) > 1 else "".join(texts)


def plain_number(value: float) -> str:
    """``3`` for 3.0, ``2,200`` for 2200, ``0.003`` for 0.003."""
    return f"{value:,.0f}" if float(value) == int(value) else f"{value:g}"


def times(sides: Iterable[int]) -> str:
    """The sides of a grid, for reports: ``56 × 64 × 56``."""
    return " × ".join(str(side) for side in sides)


def by(sides: Iterable[object]) -> str:
    """The sides of a grid, for messages: ``256 x 256 x 150``."""
    return " x ".join(map(str, sides))


def counted(count: int, noun: str) -> str:
    """``1 scan``, ``2 scans``, ``1,200 scans``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def size(count: float) -> str:
    """Bytes in powers of 1000, as disks are sold: 4.51 GB, 812 MB, 3 kB."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count / 1e3:.0f} kB"


def rough_duration(seconds: float) -> str:
    """An estimated or allowed time in one unit: 2.1 d, 5.4 h, 12 min, 40 s."""
    for unit, factor, least in UNITS:
        if seconds >= least:
            count = seconds / factor
            return f"{count:.0f} {unit}" if count >= 9.95 else f"{count:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.0f} s"


def duration(seconds: float) -> str:
    """A measured time: ``4.2 s``, ``42 s``, ``3 min 5 s``, ``2 h 10 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
