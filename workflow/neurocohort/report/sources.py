"""Reading what the report shows. What was expected and is not there becomes a ``Missing``, which the page draws as a
red box that names the file; it is never a gap, and never a crash."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from neurocohort.errors import InputError
from neurocohort.files import read_json, read_table


@dataclass(frozen=True)
class Missing:
    """Something that was expected: the file, what it would have shown, why it can't be shown, and its page anchor."""

    file: str
    what: str
    why: str
    anchor: str


@dataclass
class Sources:
    """The folders that the report reads from, and a ledger of what was missing in them, in the order it was found."""

    roots: tuple[Path, ...]
    missing: list[Missing] = field(default_factory=list)

    def name(self, path: Path) -> str:
        """The path as the run's working directory sees it, so that no page holds a path of one machine."""
        for root in self.roots:
            if path.is_relative_to(root):
                return (Path(root.name) / path.relative_to(root)).as_posix()
        return path.name

    def lack(self, path: Path, what: str, why: str = "The file is not there.") -> Missing:
        """Put an absent item into the ledger and return it, for the place where it would have stood."""
        for known in self.missing:
            if (known.file, known.what, known.why) == (self.name(path), what, why):
                return known
        found = Missing(self.name(path), what, why, f"missing-{len(self.missing) + 1}")
        self.missing.append(found)
        return found

    def table(
        self, path: Path, what: str, required: tuple[str, ...] = (), empty_is_missing: bool = True
    ) -> pd.DataFrame | Missing:
        """A TSV as a table, or Missing where it is absent, unreadable, without a required column, or without rows."""
        if not path.is_file():
            return self.lack(path, what)
        try:
            table = read_table(path, required)
        except InputError as error:
            return self.lack(path, what, self._without_roots(str(error)))
        if empty_is_missing and table.empty:
            return self.lack(path, what, "The table has no rows.")
        return table

    def record(self, path: Path, what: str) -> dict | Missing:
        """A JSON object, or Missing."""
        if not path.is_file():
            return self.lack(path, what)
        try:
            value = read_json(path)
        except InputError as error:
            return self.lack(path, what, self._without_roots(str(error)))
        return value if isinstance(value, dict) else self.lack(path, what, "The file holds no JSON object.")

    def _without_roots(self, text: str) -> str:
        for root in self.roots:
            text = text.replace(f"{root}/", f"{root.name}/")
        return text
