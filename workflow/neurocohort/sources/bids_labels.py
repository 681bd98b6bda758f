"""Participants' and sessions' names as BIDS labels: ``sub-`` or ``ses-`` and then letters, digits and (since BIDS 1.11) ``+``.

Names that users have, such as ``OAS1_0001`` and ``IXI443-HH-2215``, lose their other characters. That is noted, and refused
where two names become one.
"""

import re
import unicodedata
from collections import defaultdict

from neurocohort.errors import InputError
from neurocohort.notes import Kind, Notes
from neurocohort.sources.variable_numbers import number_of

LABEL = re.compile(r"[A-Za-z0-9+]+")
LONGEST_LABEL = 60  # characters: two labels, and what files are called behind them, must fit a file's name
EXPECTED = f"up to {LONGEST_LABEL} letters, digits and + (`_`, `-` and other characters between them are left out)"


def is_label(text: str, prefix: str) -> bool:
    """Whether ``text`` is ``prefix`` and then a BIDS label."""
    name = text.removeprefix(prefix)
    return text.startswith(prefix) and len(name) <= LONGEST_LABEL and bool(LABEL.fullmatch(name))


def as_label(text: str, prefix: str) -> str | None:
    """``text`` with ``prefix``, which users leave out at times, and without what a label can't have; None where nothing is left.

    A number with a sign or a decimal point stays as it is (None): without them it would be another participant's. So does a name
    of a file that isn't UTF-8, and one of more than LONGEST_LABEL characters.
    """
    name = text.strip().removeprefix(prefix)
    if len(name) > LONGEST_LABEL:
        return None
    if LABEL.fullmatch(name):
        return prefix + name
    if number_of(name) is not None or any(unicodedata.category(one) == "Cs" for one in name):
        return None
    label = "".join(LABEL.findall(name))
    return prefix + label if label else None


def without_zeros(label: str) -> str:
    """A label with each of its numbers written without leading zeros."""
    return re.sub(r"\d+", lambda digits: str(int(digits[0])), label)


class Labels:
    """The labels of one cohort's participants or sessions, each with the name that it was made from.

    ``prefix`` is ``sub-`` or ``ses-``, and ``file`` is named in messages.
    """

    def __init__(self, prefix: str, file: str):
        self.prefix, self.file = prefix, file
        self.names: dict[tuple[str, str], str] = {}

    def of(self, text: str, whose: str = "") -> str | None:
        """The label of ``text``; None where it can't be one. ``whose``: the participant whose session it is.

        Raises InputError where another name has this label already.
        """
        label = as_label(text, self.prefix)
        if label is None:
            return None
        name = text.strip().removeprefix(self.prefix)
        other = self.names.setdefault((whose, label), name)
        if other != name:
            what = "participants" if self.prefix == "sub-" else f"sessions of {whose}"
            raise InputError(
                f"{self.file} has the {what} {other} and {name}, which are both {label} in BIDS, where labels are "
                "letters, digits "
                "and + alone; rename one of them."
            )
        return label

    def changed(self) -> dict[tuple[str, str], str]:
        """The names that aren't their labels, by participant (of a session) and label."""
        return {key: name for key, name in self.names.items() if self.prefix + name != key[1]}

    def note(self, notes: Notes) -> None:
        """Note each name that was changed, and those that are nearly the same."""
        alike = defaultdict(list)
        for whose, label in sorted(self.names):
            alike[whose, without_zeros(label).casefold()].append(label)
        for (whose, _), labels in alike.items():
            if len(labels) > 1:
                notes.add(
                    Kind.NAMES,
                    f"{' and '.join(labels)} of {self.file} differ in capitals or leading zeros alone, and are taken for "
                    f"{len(labels)} {'sessions' if whose else 'participants'}; write them alike if they are one.",
                    whose or None,
                )
        for (whose, label), name in sorted(self.changed().items()):
            participant = whose or label
            notes.add(
                Kind.NAMES,
                f"{name} of {self.file} is {label} here: BIDS labels are letters, digits and +.",
                participant,
            )
