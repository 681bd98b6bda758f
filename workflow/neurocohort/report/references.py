"""The references of the methods text.

``references.bib`` next to this module has every entry that a methods text may cite. A text cites by key, ``[@efron1987]``, as in
Pandoc; the page shows a number instead, and the report's own ``references.bib`` has only the cited entries.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LIBRARY = Path(__file__).with_name("references.bib")
CITATION = re.compile(r"\[(@[\w-]+(?:; @[\w-]+)*)\]")
FIELD = re.compile(r"^\s+(\w+) = \{(.*)\},$")
MAX_AUTHORS = 6  # of more authors, the first three are named, as in most journals


@dataclass(frozen=True)
class Reference:
    """An entry: its ``key``, its BibTeX text (``entry``), and its fields in BibTeX's notation."""

    key: str
    entry: str
    fields: dict[str, str]

    @property
    def text(self) -> str:
        """The reference for a list of references, as plain text with the DOI."""
        plain = {name: _plain(value) for name, value in self.fields.items()}
        place = plain.get("journal") or plain.get("booktitle") or plain.get("howpublished", "")
        numbers = ", ".join(filter(None, [plain.get("volume"), plain.get("pages"), plain.get("publisher")]))
        place = f"{place}{', ' if 'booktitle' in plain else ' '}{numbers}" if numbers else place
        year = f" ({plain['year']})" if "year" in plain else ""
        doi = f" doi:{plain['doi']}" if "doi" in plain else ""
        return f"{_people(self.fields['author'])}. {plain['title'].rstrip('.')}. {place}{year}.{doi}"


@cache
def library() -> dict[str, Reference]:
    """Every entry of ``references.bib`` by its key.

    Raises:
        ValueError: If an entry can't be read.
    """
    found = {}
    for entry in re.split(r"\n(?=@)", LIBRARY.read_text(encoding="utf-8")):
        head = re.match(r"@\w+\{([\w-]+),\n", entry)
        fields = {match[1]: match[2] for line in entry.splitlines()[1:] if (match := FIELD.match(line))}
        if head is None or not {"author", "title"} <= fields.keys() or head[1] in found:
            raise ValueError(f"{LIBRARY.name}: this entry can't be read: {entry[:80]!r}; one field a line is expected.")
        found[head[1]] = Reference(head[1], entry.strip(), fields)
    return found


def cited(texts: Iterable[str]) -> list[Reference]:
    """The references that ``texts`` cite, in the order of their first citation."""
    keys = dict.fromkeys(key for text in texts for match in citations(text) for key in _keys(match[1]))
    return [library()[key] for key in keys]


def citations(text: str) -> Iterator[re.Match[str]]:
    """The citations of ``text``. An unknown key is no citation but a text of the user, such as a site's name."""
    return (match for match in CITATION.finditer(text) if all(key in library() for key in _keys(match[1])))


def numbered(text: str, references: list[Reference]) -> list[str | list[int]]:
    """``text`` in pieces: plain texts, and for each citation the numbers of its references, from 1."""
    number = {reference.key: place for place, reference in enumerate(references, start=1)}
    pieces: list[str | list[int]] = []
    end = 0
    for match in citations(text):
        pieces += [text[end : match.start()], [number[key] for key in _keys(match[1])]]
        end = match.end()
    return [piece for piece in [*pieces, text[end:]] if piece]


def bibliography(references: list[Reference]) -> str:
    """The content of a ``.bib`` file, in the order of the keys."""
    return "\n\n".join(reference.entry for reference in sorted(references, key=lambda one: one.key)) + "\n"


def _keys(group: str) -> list[str]:
    return [key.strip().removeprefix("@") for key in group.split(";")]


def _people(field: str) -> str:
    """``Efron B``, ``Pocock SJ, Simon R``, ``Marcus DS, Wang TH, Parker J, et al``."""
    names = [_person(name) for name in field.split(" and ")]
    others = names[-1] == "others" or len(names) > MAX_AUTHORS
    names = names[:3] if others else names
    return ", ".join([*names, "et al"] if others else names)


def _person(name: str) -> str:
    family, _, given = name.partition(", ")
    initials = "".join(part[0] for part in re.split(r"[\s-]+", given) if part)
    return f"{_plain(family)} {initials}".strip()


def _plain(text: str) -> str:
    return text.replace("{", "").replace("}", "").replace(r"\&", "&").replace("--", "–")
