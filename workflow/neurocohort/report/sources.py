"""Read the files that the report shows. A file that is expected and can't be read becomes a `Missing`, which the page shows as
a red box with the file's name. It is never a gap and never a crash."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from neurocohort.errors import InputError
from neurocohort.files import read_json, read_table


class Record(BaseModel):
    """A JSON file. Keys that a subclass doesn't name are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")


Kind = TypeVar("Kind", bound=Record)


@dataclass(frozen=True)
class Missing:
    """An expected file that can't be shown: its name, what it was expected for, the reason, and its anchor on the page."""

    file: str
    what: str
    why: str
    anchor: str


@dataclass
class Sources:
    """The folders that the report reads from, and the ledger: what is missing in them, in the order in which it was noticed."""

    roots: tuple[Path, ...]
    missing: list[Missing] = field(default_factory=list)

    def name(self, path: Path) -> str:
        """The path as seen from the run's working directory, so that no page has a path of one machine."""
        for root in self.roots:
            if path.is_relative_to(root):
                return (Path(root.name) / path.relative_to(root)).as_posix()
        return path.name

    def lack(self, path: Path, what: str, why: str = "The file is not there.") -> Missing:
        """Enter a missing file into the ledger, once for each reason.

        Args:
            path: The file.
            what: What it was expected for.
            why: Why it can't be used.

        Returns:
            The entry, to be shown in place of the file's content.
        """
        for known in self.missing:
            if (known.file, known.what, known.why) == (self.name(path), what, why):
                return known
        found = Missing(self.name(path), what, why, f"missing-{len(self.missing) + 1}")
        self.missing.append(found)
        return found

    def table(
        self, path: Path, what: str, required: tuple[str, ...] = (), *, may_be_empty: bool = False
    ) -> pd.DataFrame | Missing:
        """A TSV file; Missing where it is absent, unreadable, lacks a column or, unless ``may_be_empty``, has no rows."""
        if not path.is_file():
            return self.lack(path, what)
        try:
            table = read_table(path, required)
        except InputError as error:
            return self.lack(path, what, self._without_roots(error))
        return self.lack(path, what, "The table has no rows.") if table.empty and not may_be_empty else table

    def record(self, path: Path, what: str, kind: type[Kind]) -> Kind | Missing:
        """A JSON file; Missing where it is absent, unreadable, or not of this ``kind``."""
        if not path.is_file():
            return self.lack(path, what)
        try:
            value = read_json(path)
            if not isinstance(value, dict):
                return self.lack(path, what, "The file has no JSON object.")
            return kind.model_validate(value)
        except ValidationError as error:
            return self.lack(path, what, _problem(error))
        except InputError as error:
            return self.lack(path, what, self._without_roots(error))

    def optional(self, path: Path) -> Mapping[str, Any]:
        """A JSON object that may be absent; empty where it is or can't be read."""
        try:
            value = read_json(path)
        except InputError:
            return {}
        return value if isinstance(value, dict) else {}

    def _without_roots(self, error: InputError) -> str:
        text = str(error)
        for root in self.roots:
            text = text.replace(f"{root}/", f"{root.name}/")
        return text


def _problem(error: ValidationError) -> str:
    """Why a JSON file is not of the expected kind."""
    problems = error.errors()
    if absent := [str(problem["loc"][0]) for problem in problems if problem["type"] == "missing"]:
        return f"The file has no {', '.join(absent)}."
    return f"{'.'.join(map(str, problems[0]['loc']))}: {problems[0]['msg']}, found {problems[0]['input']!r}."
