"""The choice among the T1-weighted images of one session, by the entities of their names."""

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from neurocohort.sources.local_files import run_number, stem_and_suffix

NATIVE = ("none", "no", "pre", "native", "0")  # values of ce- that mean no contrast agent
# Labels of acq- that mean a contrast agent, such as gd, postGd and mprageContrast, and not precontrast or posterior.
ENHANCED = re.compile(
    r"(?<!no)(?<!non)(?<!pre)(contrast|gado|enhanced)|gd$|^gad$|^ce$|^post(?!er)|post$", re.IGNORECASE
)
NO_MAGNITUDE = ("phase", "real", "imag")  # values of part- without tissue contrast
ENTITY = re.compile(r"(?:^|_)([a-z]+)-([A-Za-z0-9+]+)(?=_)")


class Choice(NamedTuple):
    """``taken``: the chosen images, by run. ``left``: the others, and why they are left out."""

    taken: list[os.DirEntry]
    left: list[tuple[os.DirEntry, str]]


def misfiled(name: str, participant: str, session: str | None) -> str:
    """The participant or session that a file is named after, such as ``sub-01``, if it isn't that of its folder; else empty.

    ``participant`` and ``session`` are the names of the folders.
    """
    for folder in filter(None, (participant, session)):
        if name.startswith(f"{folder}_") or f"_{folder}_" in name or f"_{folder}." in name:
            continue
        prefix = folder[: len("sub-")]
        other = next((part for part in name.split("_") if part.startswith(prefix)), None)
        if other is not None:
            return other.partition(".")[0]
    return ""


def choose_images(images: Sequence[os.DirEntry], run: str) -> Choice:
    """Choose among one session's images: the ``first`` or ``last`` of the best kind (by run, then name), or ``all`` of it.

    Native is better than contrast-enhanced (``ce-`` or ``acq-``), whole than a slab (``chunk-``), combined than a single echo
    (``echo-``). Phase, real and imaginary parts (``part-``) are never used. Of several reconstructions of one acquisition
    (``rec-``) the plain one is used, or the first.
    """
    if len(images) == 1 and "part-" not in images[0].name:  # nearly every session
        return Choice([*images], [])
    left = [(image, "not a magnitude image") for image in images if _entities(image).get("part") in NO_MAGNITUDE]
    usable = [image for image in images if image not in [other for other, _ in left]]
    if not usable:
        return Choice([], left)
    best = min(map(_kind, usable))
    for image in usable:
        if _kind(image) != best:
            left.append((image, _why(_kind(image), best)))
    usable = [image for image in usable if _kind(image) == best]
    taken: dict[tuple, os.DirEntry] = {}
    for image in sorted(usable, key=lambda image: (run_number(image.name), "rec" in _entities(image), image.name)):
        acquisition = tuple(sorted((key, value) for key, value in _entities(image).items() if key != "rec"))
        if acquisition in taken:
            left.append((image, "another reconstruction of the same acquisition"))
        else:
            taken[acquisition] = image
    kept = [*taken.values()][{"first": slice(0, 1), "last": slice(-1, None), "all": slice(None)}[run]]
    left += [(image, f"run: {run}") for image in taken.values() if image not in kept]
    return Choice(kept, left)


def is_enhanced(image: os.DirEntry) -> bool:
    """Whether the name means that a contrast agent was given."""
    if "ce-" not in image.name and "acq-" not in image.name:  # nearly every image
        return False
    entities = _entities(image)
    return entities.get("ce", "none").lower() not in NATIVE or bool(ENHANCED.search(entities.get("acq", "")))


def _entities(image: os.DirEntry) -> dict[str, str]:
    return dict(ENTITY.findall(stem_and_suffix(image.name)[0]))


def _kind(image: os.DirEntry) -> tuple[bool, bool, int]:
    entities = _entities(image)
    echo = entities.get("echo", "0")
    return is_enhanced(image), "chunk" in entities, int(echo) if echo.isdigit() else 1


def _why(kind: tuple[bool, bool, int], best: tuple[bool, bool, int]) -> str:
    words = ("contrast-enhanced", "a part of the field of view", "a single echo")
    return next(word for word, own, other in zip(words, kind, best, strict=True) if own != other)
