"""A cell's text as a number, and the range of an age."""

import math
import re

NUMBER_TEXT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

AGE_RANGE_YEARS = (0.0, 120.0)


def number_of(text: str) -> float | None:
    """The number in ``text``; None if it isn't a finite number."""
    value = float(text) if NUMBER_TEXT.fullmatch(text) else math.inf
    return value if math.isfinite(value) else None
