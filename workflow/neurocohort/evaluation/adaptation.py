"""adaptation.tsv: ways to adapt a network to a new site, each compared with its reference on the same scans of that site."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pandas as pd

from neurocohort.evaluation.comparisons import difference, paired
from neurocohort.evaluation.intervals import NO_INTERVAL, Bootstrap, Interval
from neurocohort.evaluation.measures import KEY, Measure, estimate, measures, too_few
from neurocohort.evaluation.metrics import HIGHER_IS_BETTER
from neurocohort.evaluation.rows import NAN, AdaptationRow, Estimate, table_of

Place = tuple[str, str]  # a cohort and a site

PLAIN, EXPERIMENT, BATCH_NORM, BASELINE = "reference", "experiment", "batch_norm", "baseline"
ALL_SITES = "all"
LEARNED_NOTHING = "The network learned nothing."
TOO_FEW_PEOPLE = "Fewer than three participants."
ABSENT = "No predictions of this site."
LACKS = "Without {}, of which there are no predictions."


@dataclass(frozen=True)
class Method:
    """A model at the new sites.

    Attributes:
        kind: ``reference``, ``experiment``, ``batch_norm`` or ``baseline``.
        name: Of the experiment or the baseline.
        compared_with: Name of the method that it is compared with; empty for one that is a reference itself.
        tables: By (cohort, site), its predictions of that site's scans.
        learned_nothing: The places at which no network of it learned anything.
    """

    kind: str
    name: str
    compared_with: str
    tables: dict[Place, pd.DataFrame]
    learned_nothing: set[Place] = field(default_factory=set)


def adaptation(methods: Sequence[Method], kind: str, bootstrap: Bootstrap) -> pd.DataFrame:
    """adaptation.tsv: kind, method, compared_with, cohort, site, metric, value, ci_low, ci_high, interval, n, difference,
    difference_low, difference_high and note.

    Each site has its rows, and all of them together (site ``all``) where there are several: every scan is then predicted by
    networks that weren't trained on its site. A method and its reference are judged on the scans that both have. The difference
    (method minus reference) is from a paired bootstrap of participants; it is empty for metrics without a better direction.

    Args:
        methods: References before the methods that are compared with them.
        kind: The task.
        bootstrap: Number of resamples and seed.
    """
    places = sorted({place for method in methods for place in method.tables})
    by_name = {(method.kind == BASELINE, method.name): method for method in methods if not method.compared_with}
    rows: list[AdaptationRow] = []
    for method in methods:
        reference = by_name.get((method.kind == BASELINE, method.compared_with))
        for group in [[place] for place in places] + ([places] if len(places) > 1 else []):
            rows += _rows(method, reference, group, kind, bootstrap)
    return table_of(rows, AdaptationRow)


def _rows(
    method: Method, reference: Method | None, places: list[Place], kind: str, bootstrap: Bootstrap
) -> Iterator[AdaptationRow]:
    """The rows of a method at ``places``, which are one site or all."""
    cohort, site = places[0] if len(places) == 1 else (_cohort_of(places), ALL_SITES)
    about = (method.kind, method.name, method.compared_with, cohort, site)
    own, other = _common(method, reference, places)
    lacking = [place[1] for place in places if place not in own]
    note = LEARNED_NOTHING if method.learned_nothing & set(own) else ""
    if not own:
        yield AdaptationRow(*about, Estimate("", NAN), note=ABSENT)
        return
    table = pd.concat(own.values(), ignore_index=True)
    if too_few(table):
        yield AdaptationRow(*about, Estimate("", NAN), note=TOO_FEW_PEOPLE)
        return
    note = " ".join(filter(None, [note, LACKS.format(", ".join(lacking)) if lacking else ""]))
    theirs = measures(pd.concat(other.values(), ignore_index=True), kind) if other else {}
    for name, measure in measures(table, kind).items():
        value, limits = _difference(name, measure, theirs.get(name), bootstrap)
        found = (value, limits.low, limits.high)
        yield AdaptationRow(*about, estimate(name, measure, bootstrap), *found, note=note)


def _common(
    method: Method, reference: Method | None, places: list[Place]
) -> tuple[dict[Place, pd.DataFrame], dict[Place, pd.DataFrame]]:
    """The rows of a method and of its reference that both have, by place; without a reference, the second is empty."""
    own = {place: method.tables[place] for place in places if place in method.tables}
    if reference is None:
        return own, {}
    both = {
        place: paired(table, reference.tables[place], [name for name in KEY if name in table])
        for place, table in own.items()
        if place in reference.tables
    }
    both = {place: pair for place, pair in both.items() if len(pair[0])}
    return {place: pair[0] for place, pair in both.items()}, {place: pair[1] for place, pair in both.items()}


def _cohort_of(places: list[Place]) -> str:
    cohorts = {cohort for cohort, _ in places}
    return cohorts.pop() if len(cohorts) == 1 else ALL_SITES


def _difference(name: str, own: Measure, other: Measure | None, bootstrap: Bootstrap) -> tuple[float, Interval]:
    if other is None or name not in HIGHER_IS_BETTER:
        return NAN, NO_INTERVAL
    return difference(own, other, bootstrap)
