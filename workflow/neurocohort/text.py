"""Lists and numbers in words, as sentences of reports and messages have them."""

from collections.abc import Iterable


def listed(words: Iterable[object]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    texts = [str(word) for word in words]
    return f"{', '.join(texts[:-1])} and {texts[-1]}" if len(texts) > 1 else "".join(texts)


def plain_number(value: float) -> str:
    """``3`` for 3.0, ``2,200`` for 2200, ``0.003`` for 0.003."""
    return f"{value:,.0f}" if float(value) == int(value) else f"{value:g}"


def times(sides: Iterable[int]) -> str:
    """``56 × 64 × 56``."""
    return " × ".join(str(side) for side in sides)
