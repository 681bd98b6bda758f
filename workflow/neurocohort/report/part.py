"""One part of an experiment that results are told of, and the rows of its tables."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from neurocohort.report import labels
from neurocohort.report.sources import Missing, Sources
from neurocohort.report.tables import Table


@dataclass(frozen=True)
class Part:
    """The held-out part of ``experiment``, or with ``cohort`` its part of that external cohort.

    ``folder`` holds the experiment's tables, ``output`` is the report's folder, ``settings`` the experiment's block of the
    ``configuration``.
    """

    sources: Sources
    folder: Path
    experiment: str
    settings: dict
    configuration: dict
    output: Path
    cohort: str | None = None

    @property
    def name(self) -> str:
        """As the tables name the part."""
        return "held-out" if self.cohort is None else "external"

    @property
    def target(self) -> str:
        """What is predicted, in words."""
        return labels.target(self.settings["target"])

    @property
    def classes(self) -> list[str]:
        """The classes of a classification in words, class 0 first."""
        return labels.classes(self.settings)

    def figure(self, kind: str, suffix: str = "svg") -> Path:
        """The file of a figure of this part."""
        stem = self.experiment if self.cohort is None else f"{self.experiment}_{self.cohort}"
        return self.output / "figures" / f"{stem}_{kind}.{suffix}"

    def rows(
        self, file: str, what: str, required: tuple[str, ...], *, may_be_none: bool = False
    ) -> pd.DataFrame | Missing:
        """The rows of this part of a table in the experiment's folder, or Missing; with ``may_be_none`` no rows are none."""
        table = self.sources.table(
            self.folder / file,
            f"{what} of {self.experiment}",
            (*required, "cohort", "part"),
            may_be_empty=may_be_none,
        )
        if isinstance(table, Missing):
            return table
        rows = table[table["part"] == self.name]
        if self.cohort is not None:
            rows = rows[rows["cohort"] == self.cohort]
        return rows if may_be_none or len(rows) else self.lack(file, what)

    def lack(self, file: str, what: str, why: str = "") -> Missing:
        """Something that this part's results needed of a file and didn't find."""
        where = "the held-out part" if self.cohort is None else f"the external cohort {self.cohort}"
        of = self.experiment if self.cohort is None else f"{self.experiment} on {labels.cohort(self.cohort)}"
        return self.sources.lack(self.folder / file, f"{what} of {of}", why or f"The table has no rows of {where}.")


@dataclass
class Content:
    """What the page shows of a part: tables in full, sentences, figures, and tables that are folded behind a sentence."""

    tables: list[Table | Missing]
    sentences: list[str]
    figures: list
    details: list[Table | Missing]

    @classmethod
    def empty(cls) -> "Content":
        """Nothing yet."""
        return cls([], [], [], [])
