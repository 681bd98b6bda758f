"""Escape texts with the user's names (sites, classes, files) for Markdown, so that no character is markup or HTML."""

import re

# An interval of numbers, such as [4.00, 6.00], is no link unless a bracket or colon follows it, and is easier to read as it is.
MARKUP = re.compile(r"(?P<interval>\[[-\d., ]+\](?![\[(:]))|[\\`*_<>\[\]{}|$#~^&@!]")


def escaped(text: str) -> str:
    """``text`` as one line of Markdown, with a backslash before punctuation that Pandoc and CommonMark would read as markup."""
    line = " ".join(text.split("\n"))
    return MARKUP.sub(lambda found: found[0] if found["interval"] else f"\\{found[0]}", line)
