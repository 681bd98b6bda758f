"""Lists and numbers as text, for messages and reports."""

from collections.abc import Iterable

FEW = 5


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
