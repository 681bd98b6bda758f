"""Texts that hold names of the user's (sites, classes, files) as Markdown: none of their characters is markup or HTML."""

import re

MARKUP = re.compile(r"[\\`*_<>\[\]{}|$#~^&@!]")


def escaped(text: str) -> str:
    """``text`` in one line of Markdown that reads as it stands: Pandoc and CommonMark take a backslash before punctuation so."""
    return MARKUP.sub(r"\\\g<0>", " ".join(text.split("\n")))
