"""Units of ages and codes of sexes in a data dictionary (the .json next to a table), and the conversion to years, M and F.

An age may be in years, months, weeks or days; a sex may have codes that ``Levels`` explain. Anything else is refused: an age in
an unknown unit would be taken for years.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from neurocohort.errors import InputError
from neurocohort.notes import Kind, Notes
from neurocohort.sources.variable_numbers import number_of
from neurocohort.user_files import UnusableFile, read_user_json

Entry = Mapping[str, object]  # of one column: Description, Units, Levels and other keys
Entries = Mapping[str, Entry]  # by column

UNITS_PER_YEAR = {"year": 1.0, "month": 12.0, "week": 365.25 / 7, "day": 365.25}
UNIT_NAMES = {
    "year": ("y", "yr", "yrs", "year", "years", "yo"),
    "month": ("mo", "mon", "mos", "mth", "mths", "month", "months"),
    "week": ("w", "wk", "wks", "week", "weeks"),
    "day": ("d", "day", "days"),
}
UNIT_OF_WORD = {word: unit for unit, words in UNIT_NAMES.items() for word in words} | {"a": "year", "annum": "year"}
IN_UNITS = re.compile(r"(?:\bin|\()\s*(years|months|weeks|days)\b", re.IGNORECASE)  # of a description
SEXES = {"m": "M", "male": "M", "f": "F", "female": "F"}
SEX_WORDS = SEXES | {"man": "M", "men": "M", "males": "M", "boy": "M"}
SEX_WORDS |= {"woman": "F", "women": "F", "females": "F", "girl": "F"}
ACCEPTED_SEXES = "m, male, f and female, in any capitals"
DIGITS = 4  # of an age that is computed


def read_dictionary(path: Path, notes: Notes | None = None) -> Entries:
    """Read a data dictionary. Empty if it is absent or damaged; the latter is noted."""
    return {
        name: entry if isinstance(entry, dict) else {"Description": str(entry)}
        for name, entry in read_object(path, notes).items()
    }


def read_object(path: Path, notes: Notes | None = None) -> Entry:
    """Read a JSON object. Empty if the file is absent or damaged; the latter is noted."""
    if not os.path.lexists(path):
        return {}
    try:
        return read_user_json(path)
    except (UnusableFile, ValueError) as error:
        if notes is not None:
            notes.add(Kind.TABLES, f"{path.name} can't be read as JSON ({error}); its content is ignored.")
        return {}


def entry_of(entries: Entries, column: str) -> Entry:
    """The entry of a column, in any capitals; empty if there is none."""
    lower = {name.lower(): entry for name, entry in entries.items()}
    return entries.get(column, lower.get(column.lower(), {}))


def given_unit(entry: Entry) -> object:
    """The value of ``Units`` (or ``Unit``, in any capitals); None if there is none."""
    given = next((value for key, value in entry.items() if key.lower() in ("units", "unit")), None)
    return None if given in ("", "n/a") else given


def unit_of(entry: Entry, default: str = "year") -> str | None:
    """The unit of an age: ``year``, ``month``, ``week`` or ``day``.

    It is taken from Units, or else from a Description or LongName such as "age in months". ``default`` if neither has it; None
    if Units isn't understood.
    """
    given = given_unit(entry)
    if given is None:
        text = f"{entry.get('Description', '')} {entry.get('LongName', '')}"
        described = {UNIT_OF_WORD[word.lower()] for word in IN_UNITS.findall(text)}
        return described.pop() if len(described) == 1 else default
    words = re.findall(r"[a-z]+", str(given).lower())
    found = {UNIT_OF_WORD[word] for word in words if word in UNIT_OF_WORD and (word != "a" or len(words) == 1)}
    return found.pop() if len(found) == 1 else None


class Translation:
    """The conversion of the ages and sexes of one table to years, and to M or F.

    Args:
        names: The table's variables and their columns.
        entries: Its data dictionary.
        file: The data dictionary's name, for messages.

    Raises:
        InputError: If the unit of an age or the levels of a sex aren't understood.
    """

    def __init__(self, names: dict[str, str], entries: Entries, file: str):
        self.file = file
        self.per_year = self._per_year(names["age"], entries) if "age" in names else 1.0
        self.sexes = self._sexes(names["sex"], entries) if "sex" in names else {}

    def of(self, values: dict[str, str | None]) -> dict[str, str | None]:
        """A row's texts with the age in years, and the sex as M or F by ``Levels``."""
        changed: dict[str, str | None] = {}
        if self.per_year != 1 and (age := number_of(values.get("age") or "")) is not None:
            changed["age"] = repr(round(age / self.per_year, DIGITS))
        if self.sexes and (sex := values.get("sex")) is not None:
            changed["sex"] = self.sexes.get(_code(sex), sex)
        return values | changed

    def _per_year(self, column: str, entries: Entries) -> float:
        entry = entry_of(entries, column)
        if (unit := unit_of(entry)) is None:
            raise InputError(
                f"{self.file}: `Units` of {column} is {given_unit(entry)!r}; expected years, months, weeks or days (or "
                "short: y, yr, mo, wk, d). Correct it, or leave it out if the ages are years."
            )
        return UNITS_PER_YEAR[unit]

    def _sexes(self, column: str, entries: Entries) -> dict[str, str]:
        levels = entry_of(entries, column).get("Levels")
        if not isinstance(levels, dict) or not levels:
            return {}
        found = {}
        for code, meaning in levels.items():
            words = re.findall(r"[a-z]+", _meaning(meaning).lower())
            sexes = {SEX_WORDS[word] for word in words if word in SEX_WORDS}
            if len(sexes) != 1:
                continue  # a level of its own, such as other or unknown, stays n/a
            (sex,) = sexes
            if SEXES.get(str(code).lower(), sex) != sex:
                raise InputError(
                    f"{self.file}: `Levels` of {column} has the meaning {_meaning(meaning)!r} for {code!r}; expected the code "
                    "and its meaning to agree. Correct it."
                )
            found[_code(str(code))] = sex
        if not found and not {str(code).lower() for code in levels} & {*SEXES}:
            raise InputError(
                f"{self.file}: `Levels` of {column} has {', '.join(map(repr, levels))}, and none of their meanings is male or "
                'female; write, for example, {"1": "male", "2": "female"}.'
            )
        return found


def _meaning(level: object) -> str:
    """A level is a text, or an object with one."""
    return str(level.get("Description") or level.get("LongName") or "") if isinstance(level, dict) else str(level)


def _code(text: str) -> str:
    """A code as it is compared: 1.0 is 1, and capitals don't matter."""
    number = number_of(text)
    return f"{number:g}" if number is not None else text.lower()
