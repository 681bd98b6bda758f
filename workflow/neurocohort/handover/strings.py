"""Finding strings that must not leave a study, such as participant ids and names, in a text.

Only whole words count: the id ``A12`` isn't found in ``A123``. An id is also found with separators inside, because BIDS labels
drop them (``OAS1_0001`` is the participant ``sub-OAS10001``). So is any id of the same form: people who were left out before
the cohort's tables were written have one too.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from neurocohort.errors import InputError

WORD = re.compile(r"[^\W_]+")
SEPARATORS = "-_."
MOST_JOINED = 4  # words of one id
SHORTEST = 4  # characters of a string that is looked for
SHORTEST_NAME = 3  # letters of a person's name
SHORTEST_NUMBER = 6  # digits of a number that is looked for without the prefix of an id
SHORTEST_IN_BINARY = 6  # characters: random bytes have short words too
MOST_COMMON = 2  # words of a text that may be one of this program's own
LONGEST_GAP = 3  # characters between two words of a name or sentence
PACKAGE = Path(__file__).resolve().parents[1]

NOT_BEFORE = r"(?<![\w./<*~)\]}\\+-])"
SYSTEM = r"(?!/(?:usr|bin|dev|proc|sys|etc)/)"  # the same on every machine
PATH = re.compile(
    rf"(?:file://|{NOT_BEFORE}){SYSTEM}(?:/[\w.@%+,~-]*[\w@%+~-]){{2,}}/?"
    r"|(?<!\w)[A-Za-z]:\\{1,2}[\w. -]+(?:\\{1,2}[\w. -]+)+"
)
PATH_IN_BINARY = re.compile(rf"(?<!\w){SYSTEM}/[A-Za-z]{{2,}}[\w.-]*/[\w.-]{{2,}}/[\w./-]{{2,}}")
PATH_KIND = "absolute path"


class Found(NamedTuple):
    """A string in a text: its place, what it is, and the string."""

    start: int
    end: int
    kind: str
    text: str


class Phrase(NamedTuple):
    """A name or other text to look for: its words in lower case, what it is, and its exact text."""

    words: tuple[str, ...]
    kind: str
    text: str


@dataclass
class Strings:
    """The strings to look for.

    Args:
        ids: What an id is by its words without separators, in lower case.
        forms: The same by its form: digits are 0 (`form_of`).
        phrases: Names and other texts, by their first word.
        exact: Known absolute paths, also with spaces.
        spelled: The ids as they are written, by their words in lower case.
    """

    ids: dict[str, str] = field(default_factory=dict)
    forms: dict[str, str] = field(default_factory=dict)
    phrases: dict[str, list[Phrase]] = field(default_factory=dict)
    exact: dict[str, str] = field(default_factory=dict)
    spelled: dict[str, str] = field(default_factory=dict)

    def add_id(self, prefix: str, label: str, kind: str) -> None:
        """Look for the id ``prefix-label``, and for ``label`` alone if it is more than a short number or a common word.

        Raises:
            InputError: If another id differs only in upper and lower case: both would get the same hash.
        """
        known = self.spelled.setdefault(f"{prefix}{label}".lower(), label)
        if known != label:
            raise InputError(
                f"the ids {prefix}-{known} and {prefix}-{label} differ only in upper and lower case, and "
                "would get the same hash. Rename one of them in the cohort."
            )
        self.ids[f"{prefix}{label}".lower()] = kind
        if prefix == "sub" and _is_distinct(label):
            self.ids[label.lower()] = kind
            if sum(letter.isdigit() for letter in label) >= 3 and sum(letter.isalpha() for letter in label) >= 2:
                self.forms[form_of(label)] = f"{kind} (of the same form)"

    def add_phrase(self, text: str, kind: str, *, person: bool = False, listed: bool = False) -> None:
        """Look for a text.

        Args:
            text: The text.
            kind: What it is.
            person: Whether it names somebody, so that it is looked for even if it is a word of this program.
            listed: Whether the user gave it: it is looked for however short it is.
        """
        words = tuple(word.lower() for word in WORD.findall(text))
        whole = "".join(words)
        least = SHORTEST_NUMBER if whole.isdigit() else SHORTEST_NAME if person and whole.isalpha() else SHORTEST
        if not words or (not listed and (len(whole) < least or (not person and _is_common(words)))):
            return
        known = self.phrases.setdefault(words[0], [])
        if all(one.words != words for one in known):
            known.append(Phrase(words, kind, text))

    def add_path(self, path: Path | str) -> None:
        """Look for an absolute path wherever it is, also with spaces in it."""
        if len(str(path)) > SHORTEST:
            self.exact[str(path)] = PATH_KIND

    def without(self, allowed: Iterable[str]) -> "Strings":
        """The strings except those that the user allows."""
        allowed = list(allowed)
        words = {tuple(word.lower() for word in WORD.findall(text)) for text in allowed}
        kept = {first: [one for one in many if one.words not in words] for first, many in self.phrases.items()}
        return Strings(
            self.ids,
            self.forms,
            kept,
            {key: kind for key, kind in self.exact.items() if key not in allowed},
            self.spelled,
        )

    def find(self, text: str, *, binary: bool = False) -> Iterator[Found]:
        """Yield every string of these in ``text``, and every absolute path.

        Args:
            text: The text.
            binary: Whether the text is made of bytes of unknown meaning, in which short strings occur by chance.
        """
        for exact, kind in self.exact.items():
            yield from (Found(match.start(), match.end(), kind, exact) for match in whole_path(exact).finditer(text))
        for match in (PATH_IN_BINARY if binary else PATH).finditer(text):
            yield Found(match.start(), match.end(), PATH_KIND, match.group())
        shortest = SHORTEST_IN_BINARY if binary else 0
        yield from (one for one in self.find_ids(text, forms=not binary) if one.end - one.start >= shortest)
        yield from (one for one in self._find_phrases(text) if one.end - one.start >= shortest)

    def find_ids(self, text: str, *, forms: bool = True) -> Iterator[Found]:
        """Yield the ids in ``text``; of several at the same place the longest."""
        words, end = list(WORD.finditer(text)), 0
        starts = {key[0] for key in (*self.ids, *self.forms)}
        for index, word in enumerate(words):
            if word.start() < end or word.group()[0].lower() not in starts:
                continue
            best = None
            for stop, key in _joined(text, words, index):
                kind = self.ids.get(key) or (self.forms.get(form_of(key)) if forms else None)
                if kind and not (key.isdigit() and _is_decimal(text, word.start(), stop)):
                    best = Found(word.start(), stop, kind, text[word.start() : stop])
            if best:
                end = best.end
                yield best

    def _find_phrases(self, text: str) -> Iterator[Found]:
        if not self.phrases:
            return
        words = list(WORD.finditer(text))
        for index, word in enumerate(words):
            for phrase in self.phrases.get(word.group().lower(), ()):
                found = words[index : index + len(phrase.words)]
                if tuple(one.group().lower() for one in found) == phrase.words and _together(text, found, phrase):
                    yield Found(word.start(), found[-1].end(), phrase.kind, text[word.start() : found[-1].end()])


def whole_path(path: str) -> re.Pattern:
    """The pattern of a known path, which isn't a part of a longer word."""
    return re.compile(rf"(?<![\w.]){re.escape(path)}(?![\w-])")


def form_of(label: str) -> str:
    """A label in lower case with 0 in place of each digit."""
    return re.sub(r"\d", "0", label.lower())


def _is_distinct(label: str) -> bool:
    if len(label) < SHORTEST:
        return False
    if label.isdigit():
        return len(label) >= SHORTEST_NUMBER
    return any(letter.isdigit() for letter in label) or label.lower() not in _own_words()


def _is_common(words: tuple[str, ...]) -> bool:
    """Whether a text is one word or two that this program itself uses, such as ``T1w`` or ``root``."""
    return len(words) <= MOST_COMMON and all(word in _own_words() for word in words)


@cache
def _own_words() -> frozenset[str]:
    """Every word in the package's sources and templates."""
    suffixes = {".py", ".j2", ".yaml", ".md", ".bib", ".css", ".js"}
    texts = (path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*") if path.suffix in suffixes)
    return frozenset(word.lower() for text in texts for word in WORD.findall(text))


def _joined(text: str, words: list[re.Match], index: int) -> Iterator[tuple[int, str]]:
    """Yield where one, two, ... words from ``index`` end, and the words without their separators, in lower case."""
    key = ""
    for number in range(index, min(index + MOST_JOINED, len(words))):
        word = words[number]
        if number > index:
            gap = text[words[number - 1].end() : word.start()]
            if len(gap) != 1 or gap not in SEPARATORS:
                return
        key += word.group().lower()
        yield word.end(), key


def _is_decimal(text: str, start: int, end: int) -> bool:
    """Whether digits are a part of a decimal number."""
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    has_point = "." in text[start:end]
    return has_point or bool(re.fullmatch(r"\d\.", before)) or bool(re.fullmatch(r"\.\d", after))


def _together(text: str, words: list[re.Match], phrase: Phrase) -> bool:
    if "".join(phrase.words).isdigit():  # such as a time: the separators have to be the same
        start, end = words[0].start(), words[-1].end()
        return text[start:end] == phrase.text.strip() and not _is_decimal(text, start, end)
    return all(after.start() - before.end() <= LONGEST_GAP for before, after in pairwise(words))
