"""Texts that hold names of the user's (sites, classes, files) as Markdown: none of their characters is markup or HTML."""

import re

# An interval of numbers, such as [4.00, 6.00], is no link unless a bracket or colon follows it, and is easier to read as it is.
MARKUP = re.compile(r"(?P<interval>\[[-\d., ]+\](?![\[(:]))|[\\`*_<>\[\]{}|$#~^&@!]")


def escaped(text: str) -> str:
    """``text`` in one line of Markdown that reads as it stands: Pandoc and CommonMark take a backslash before punctuation so."""
    line = " ".join(text.split("\n"))
    return MARKUP.sub(lambda found: found[0] if found["interval"] else f"\\{found[0]}", line)
