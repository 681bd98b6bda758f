"""The structures of a segmentation: their names, in the order of the labels 1 to n, and which of them are the left and the right
one of a pair. This module imports nothing heavy, because every Snakemake process imports it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

TISSUES = ("CSF", "GM", "WM")  # of cohorts without names of their own
MOST = 255  # a label map has eight bits
OTHER_SIDE = {"left": "right", "lh": "rh", "l": "r"}
OTHER_SIDE |= {right: left for left, right in OTHER_SIDE.items()}
WORDS = re.compile(r"[^A-Za-z0-9]+")


def structures_of(cohort: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the structures in the label maps of a configured cohort, label 1 first: those of masks are last."""
    names = *(cohort.get("labels") or ()), *(cohort.get("masks") or ())
    return names or TISSUES


def values_by_name(labels: Mapping[str, int | Sequence[int]]) -> dict[str, list[int]]:
    """The values of each structure in a cohort's label maps, from the configuration's ``labels``."""
    return {name: [values] if isinstance(values, int) else [*values] for name, values in labels.items()}


def mirrored_labels(structures: Sequence[str]) -> tuple[int, ...]:
    """The label that each label becomes in the mirror image, from 0 (background) on: left and right are exchanged.

    A structure without a side, and one whose other side isn't among ``structures``, keeps its label.
    """
    places = {_words_and_side(name): label for label, name in enumerate(structures, start=1)}
    found = [0]
    for label, name in enumerate(structures, start=1):
        words, side = _words_and_side(name)
        found.append(places.get((words, OTHER_SIDE.get(side, "")), label) if side else label)
    return tuple(found)


def one_sided(structures: Sequence[str]) -> list[str]:
    """The names of a left or right structure whose other side is not among ``structures``."""
    mirrored = mirrored_labels(structures)
    return [
        name for label, name in enumerate(structures, start=1) if _words_and_side(name)[1] and mirrored[label] == label
    ]


def _words_and_side(name: str) -> tuple[tuple[str, ...], str]:
    """The words of a name, ``*`` for its side, and the side: one word left, right, lh, rh, L or R; else an empty side."""
    words = [word.lower() for word in WORDS.split(name) if word]
    sides = [word for word in words if word in OTHER_SIDE]
    if len(sides) != 1 or len(words) == 1:
        return tuple(words), ""
    return tuple("*" if word in OTHER_SIDE else word for word in words), sides[0]
