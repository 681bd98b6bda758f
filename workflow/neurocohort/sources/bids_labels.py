"""Participants' and sessions' names as BIDS labels: ``sub-`` or ``ses-``, then letters, digits and (since BIDS 1.11) ``+``.

Names such as ``OAS1_0001`` and ``IXI443-HH-2215`` lose their other characters. A note lists the changed names; two names that
become one label are an error.
"""

import re
import unicodedata
from collections import defaultdict

from neurocohort.errors import InputError
from neurocohort.notes import Kind, Notes
from neurocohort.sources.variable_numbers import number_of

LABEL = re.compile(r"[A-Za-z0-9+]+")
LONGEST_LABEL = 60  # characters: a file's name has two labels and more
EXPECTED = f"up to {LONGEST_LABEL} letters, digits and + (`_`, `-` and other characters between them are left out)"


def as_label(text: str, prefix: str) -> str | None:
    """``text`` with ``prefix`` and without characters that a label can't have; None if nothing is left.

    Also None for a number with a sign or a decimal point, which could become another participant's, for a file name that isn't
    UTF-8, and for more than LONGEST_LABEL characters.
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
    """A label whose numbers have no leading zeros."""
    return re.sub(r"\d+", lambda digits: str(int(digits[0])), label)


class Labels:
    """The labels of one cohort's participants or sessions, and the names from which they were made.

    ``prefix``: ``sub-`` or ``ses-``. ``file``: for messages.
    """

    def __init__(self, prefix: str, file: str):
        self.prefix, self.file = prefix, file
        self.names: dict[tuple[str, str], str] = {}

    def of(self, text: str, whose: str = "") -> str | None:
        """The label of ``text``; None if it can't be one. ``whose``: the participant of a session.

        Raises InputError if another name has this label already.
        """
        label = as_label(text, self.prefix)
        if label is None:
            return None
        name = text.strip().removeprefix(self.prefix)
        other = self.names.setdefault((whose, label), name)
        if other != name:
            what = "participants" if self.prefix == "sub-" else f"sessions of {whose}"
            raise InputError(
                f"{self.file} has the {what} {other} and {name}, which are both {label} in BIDS, where labels have only letters, "
                "digits and +; rename one of them."
            )
        return label

    def changed(self) -> dict[tuple[str, str], str]:
        """The names that differ from their labels, by participant (of a session) and label."""
        return {key: name for key, name in self.names.items() if self.prefix + name != key[1]}

    def note(self, notes: Notes) -> None:
        """Note changed names, and labels that are nearly the same."""
        alike = defaultdict(list)
        for whose, label in sorted(self.names):
            alike[whose, without_zeros(label).casefold()].append(label)
        for (whose, _), labels in alike.items():
            if len(labels) > 1:
                notes.add(
                    Kind.NAMES,
                    f"{' and '.join(labels)} of {self.file} differ only in capitals or leading zeros, and count as "
                    f"{len(labels)} {'sessions' if whose else 'participants'}; write them alike if they are one.",
                    whose or None,
                )
        for (whose, label), name in sorted(self.changed().items()):
            sentence = f"{name} of {self.file} is {label} here: BIDS labels have only letters, digits and +."
            notes.add(Kind.NAMES, sentence, whose or label)
