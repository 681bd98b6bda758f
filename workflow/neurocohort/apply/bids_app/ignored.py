"""The files that a BIDS dataset's ``.bidsignore`` names, with the patterns of a .gitignore."""

import re
from collections.abc import Callable
from pathlib import Path

from neurocohort.errors import InputError

IGNORE_FILE = ".bidsignore"
WILDCARDS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
PIECE = re.compile(r"\*\*/|\*\*|\*|\?|\[[^\]]+\]|.", re.DOTALL)


def reader_of(dataset: Path) -> Callable[[str], bool] | None:
    """A function that decides whether a path below ``dataset`` is ignored; None without a ``.bidsignore``.

    Raises InputError if the file can't be read.
    """
    try:
        text = (dataset / IGNORE_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{dataset / IGNORE_FILE} can't be read as text ({error}); correct or remove it.") from error
    lines = [line.strip() for line in text.splitlines()]
    rules = [(not line.startswith("!"), _pattern(line.lstrip("!"))) for line in lines if line and line[0] != "#"]

    def ignored(path: str) -> bool:
        return next((ignores for ignores, pattern in reversed(rules) if pattern.fullmatch(path)), False)

    return ignored


def _pattern(line: str) -> re.Pattern[str]:
    """A path that the line names, or that is in a folder that it names. A line with an inner slash counts from the dataset."""
    pieces = PIECE.findall(line.strip("/"))
    text = "".join(
        WILDCARDS.get(piece) or (piece.replace("[!", "[^", 1) if len(piece) > 1 else re.escape(piece))
        for piece in pieces
    )
    start = "" if "/" in line.rstrip("/") else "(?:.*/)?"
    inside = "/.*" if line.endswith("/") else "(?:/.*)?"
    return re.compile(start + text + inside)
