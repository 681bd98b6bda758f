"""Texts without ids, dates and paths: an id becomes its salted hash, a date its year, an absolute path ``path-removed``."""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from neurocohort.errors import InputError
from neurocohort.files import write_text
from neurocohort.handover.contents import ENCODED
from neurocohort.handover.strings import PATH, WORD, Strings, whole_path

SALT_BYTES = 32
PARTICIPANT_DIGITS, SESSION_DIGITS = 12, 8
PATH_REMOVED = "path-removed"
MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
DATE = re.compile(
    r"\b((?:19|20)\d\d)-(?:0[1-9]|1[0-2])-(?:[0-2]\d|3[01])"
    r"(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?(?![\w-])"
    rf"|\b\d{{1,2}} (?:{MONTHS}) ((?:19|20)\d\d)\b"
)
HASHED_COLUMNS = "_sha256"  # a public image's own hash would lead to its participant


def new_salt() -> bytes:
    """A random salt."""
    return secrets.token_bytes(SALT_BYTES)


def read_salt(path: Path) -> bytes:
    """The salt in a file. Raises InputError if it has none."""
    try:
        salt = bytes.fromhex(path.read_text(encoding="utf-8").strip())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}, the file of the salt, can't be read: {error}. It has hexadecimal digits alone."
        ) from error
    if len(salt) < SALT_BYTES // 2:
        raise InputError(f"{path} has a salt of {len(salt)} bytes; expected {SALT_BYTES}. Delete it to draw one.")
    return salt


def keep_secret(path: Path, text: str) -> None:
    """Write a file that its owner alone can read."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    write_text(path, text)
    path.chmod(0o600)


@dataclass
class Pseudonyms:
    """The hashes of a study's ids. ``key`` has those that were used: the text in the study, and that in the archive."""

    strings: Strings
    salt: bytes
    key: dict[str, str] = field(default_factory=dict)

    def rewritten(self, text: str) -> str:
        """``text`` without ids, dates and paths. Long base64 is kept as it is."""
        pieces = ENCODED.split(text)
        kept = [*ENCODED.findall(text), ""]
        return "".join(self._rewritten(piece) + code for piece, code in zip(pieces, kept, strict=True))

    def _rewritten(self, text: str) -> str:
        for exact in sorted(self.strings.exact, key=len, reverse=True):
            text = whole_path(exact).sub(PATH_REMOVED, text)
        text = DATE.sub(lambda match: match.group(1) or match.group(2), PATH.sub(PATH_REMOVED, text))
        kept, end = [], 0
        for found in self.strings.find_ids(text):
            kept += [text[end : found.start], self.hashed(found.text)]
            end = found.end
        return "".join([*kept, text[end:]])

    def table(self, text: str) -> str:
        """A tab-separated table without ids, dates and paths; the hashes of images are salted. Numbers keep their digits."""
        lines = text.split("\n")
        hashes = [index for index, name in enumerate(lines[0].split("\t")) if name.endswith(HASHED_COLUMNS)]
        for number in range(1, len(lines)) if hashes else ():
            cells = lines[number].split("\t")
            for index in hashes:
                if index < len(cells) and cells[index] not in ("", "n/a"):
                    cells[index] = self._digest(cells[index], 64)
            lines[number] = "\t".join(cells)
        return lines[0] + "\n" + self.rewritten("\n".join(lines[1:])) if len(lines) > 1 else text

    def hashed(self, text: str) -> str:
        """An id with its hash in place of its label: ``sub-01`` becomes ``sub-p`` and digits, ``ses-1`` ``ses-v`` and digits."""
        words = [word.lower() for word in WORD.findall(text)]
        prefix = words[0] if len(words) > 1 and words[0] in ("sub", "ses") else ""
        label = "".join(words[1:] if prefix else words)
        if prefix == "ses":
            own = "v" + self._digest(f"ses-{label}", SESSION_DIGITS)
        else:
            own = "p" + self._digest(f"sub-{label}", PARTICIPANT_DIGITS)
        replaced = f"{prefix}-{own}" if prefix else own
        self.key[text] = replaced
        return replaced

    def key_table(self) -> str:
        """The ids of the study with those in the archive, tab-separated. Raises InputError if two people have the same hash."""
        by_hash: dict[str, set[str]] = {}
        for text, replaced in self.key.items():
            label = "".join(word.lower() for word in WORD.findall(text)).removeprefix("sub").removeprefix("ses")
            by_hash.setdefault(replaced.rpartition("-")[2], set()).add(label)
        if twice := [labels for labels in by_hash.values() if len(labels) > 1]:
            raise InputError(
                f"two ids have the same hash: {', '.join(sorted(twice[0]))}. Export again with another salt."
            )
        rows = (f"{text}\t{replaced}" for text, replaced in sorted(self.key.items()))
        return "\n".join(["in_study\tin_archive", *rows]) + "\n"

    def _digest(self, text: str, digits: int) -> str:
        return hmac.new(self.salt, text.encode(), hashlib.sha256).hexdigest()[:digits]
