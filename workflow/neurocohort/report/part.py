"""One part of an experiment whose results are shown, and the rows of its tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from neurocohort.report import labels
from neurocohort.report.cases import Case
from neurocohort.report.development import fitted_on
from neurocohort.report.figures import Drawing
from neurocohort.report.headline import headline_metric
from neurocohort.report.sources import Missing
from neurocohort.report.study import Cohort, Experiment, Read
from neurocohort.report.tables import Table


@dataclass(frozen=True, eq=False)
class Part:
    """The held-out part of an experiment, or with ``cohort`` that external cohort. ``output``: the report's folder."""

    experiment: Experiment
    output: Path
    cohort: Cohort | None = None

    @property
    def name(self) -> str:
        """As the tables name the part."""
        return "held-out" if self.cohort is None else "external"

    @property
    def cohorts(self) -> Sequence[Cohort]:
        """The tested cohorts."""
        return self.experiment.cohorts if self.cohort is None else [self.cohort]

    @property
    def target(self) -> str:
        """What is predicted, in words."""
        return labels.target(self.experiment.shown_target)

    @property
    def unit(self) -> str:
        """The unit of the target with a leading space; empty where it has none."""
        return labels.unit(self.experiment.target)

    @cached_property
    def metrics(self) -> Read:
        return self._rows("metrics", "the metrics")

    @cached_property
    def comparisons(self) -> Read:
        return self._rows("comparisons", "the differences to the baselines")

    @cached_property
    def predictions(self) -> Read:
        return self._rows("predictions", "the figures")

    @cached_property
    def confusion(self) -> Read:
        return self._rows("confusion", "the confusion matrix")

    @cached_property
    def curves(self) -> Read:
        return self._rows("curves", "the curves")

    @cached_property
    def baselines(self) -> Read:
        """May have no rows."""
        return self._rows("baselines")

    @cached_property
    def details(self) -> Read:
        """May have no rows."""
        return self._rows("details")

    @cached_property
    def spread(self) -> Read:
        """May have no rows."""
        return self._rows("spread")

    @cached_property
    def repeatability(self) -> Read:
        """May have no rows."""
        return self._rows("repeatability")

    @property
    def trained_range(self) -> tuple[float, float] | None:
        """The range of the target among the scans that were trained on; None where it isn't known."""
        samples = self.experiment.samples
        if isinstance(samples, Missing):
            return None
        seen = pd.to_numeric(fitted_on(samples, self.experiment.folds)["target"], errors="coerce").dropna()
        return (float(seen.min()), float(seen.max())) if len(seen) else None

    @property
    def headline_metric(self) -> str:
        return headline_metric(self.experiment.settings).metric

    def figure(self, kind: str) -> Path:
        """The file of a figure of this part."""
        stem = self.experiment.name if self.cohort is None else f"{self.experiment.name}_{self.cohort.name}"
        return self.output / "figures" / f"{stem}_{kind}.svg"

    def lack(self, file: str, what: str, why: str = "") -> Missing:
        """Enter something that the results of this part need and that ``file`` doesn't have into the ledger."""
        name = self.experiment.name
        where = f"the external cohort {self.cohort.name}" if self.cohort else "the held-out part"
        of = f"{name} on {self.cohort.title}" if self.cohort else name
        why = why or f"The table has no rows of {where}."
        return self.experiment.sources.lack(self.experiment.folder / file, f"{what} of {of}", why)

    def _rows(self, table: str, what: str = "") -> Read:
        """The rows of this part of a table; with ``what``, having none is a lack."""
        rows = getattr(self.experiment, table)
        if isinstance(rows, Missing):
            return rows
        rows = rows[rows["part"] == self.name]
        if self.cohort is not None:
            rows = rows[rows["cohort"] == self.cohort.name]
        return self.lack(f"{table}.tsv", what) if what and rows.empty else rows


@dataclass
class Content:
    """What the page shows of a part: tables in full, sentences, figures, and tables that are folded behind a sentence.

    ``name``: of the external cohort, else empty. ``cases``: the best, the median and the worst scan of the held-out part.
    """

    name: str = ""
    tables: list[Table | Missing] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    figures: list[Drawing | Missing] = field(default_factory=list)
    details: list[Table | Missing] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
