"""The matrix of training against test: what each experiment of one task and target was trained on, and its results on each
cohort and site. It shows how much of a result is left where the scans come from elsewhere."""

from dataclasses import dataclass, field

import pandas as pd

from neurocohort.evaluation.shift import (
    EVERY_SITE,
    NEW_COHORT,
    NEW_SITE,
    PARTLY_NEW,
    SEEN_SITE,
    UNKNOWN,
    shift_matrix,
)
from neurocohort.report import labels, tables
from neurocohort.report.sources import Missing
from neurocohort.report.study import Experiment, Study
from neurocohort.report.tables import N_COUNTS, Cell, Column, Row, Table
from neurocohort.text import listed

TARGETS = {"dseg": "Tissue labels"}
MARKS = {
    SEEN_SITE: "",
    NEW_SITE: "▲ new site",
    PARTLY_NEW: "△ partly new sites",
    NEW_COHORT: "▲ new cohort",
    UNKNOWN: "? site unknown",
}


@dataclass
class Matrix:
    """The matrix of one task and target; ``table`` is None where there is no result."""

    title: str
    sentence: str = ""
    table: Table | None = None
    missing: list[Missing] = field(default_factory=list)


def matrices(study: Study) -> list[Matrix]:
    """The matrix of each task and target.

    The experiments that train without a site, which an experiment's ``leave_one_site_out`` asks for, have rows of their own.
    """
    of_kind: dict[tuple[str, str], list[Experiment]] = {}
    for experiment in study.with_derived:
        of_kind.setdefault((experiment.task, experiment.shown_target), []).append(experiment)
    return [_matrix(*kind, experiments) for kind, experiments in of_kind.items()]


def _matrix(task: str, target: str, experiments: list[Experiment]) -> Matrix:
    matrix = Matrix(f"{TARGETS.get(target) or labels.spaced(target)} ({task})")
    tables, failed = {}, []
    for one in experiments:
        if isinstance(one.shift, Missing):
            matrix.missing.append(one.shift)
            continue
        if one.left_out_site and isinstance(one.networks, Missing):
            matrix.missing.append(one.networks)
        own = _by_left_out_site(one.shift[one.shift["model"] == "network"], one.left_out_site)
        if one.left_out_site and not isinstance(one.networks, Missing) and one.networks.none_learned:
            failed.append(one.title)  # its figures are no drop from a seen to a new site
        elif len(own):
            tables[one.name] = own
        else:
            path, why = one.folder / "shift.tsv", "The table has no rows of the network."
            matrix.missing.append(one.sources.lack(path, f"the network of {one.name}", why))
    if tables:
        rows = pd.concat([table.assign(experiment=name) for name, table in tables.items()], ignore_index=True)
        matrix.sentence = " ".join(filter(None, [_sentence(rows, target), _failed(failed)]))
        matrix.table = _table(shift_matrix(tables), rows, target)
    return matrix


def _failed(names: list[str]) -> str:
    """A sentence on the networks that were trained without a site, learned nothing, and so have no row."""
    if not names:
        return ""
    return f"Left out, because the network learned nothing: {listed(names)}."


def _by_left_out_site(table: pd.DataFrame, site: str) -> pd.DataFrame:
    """Give the test on the left-out site that site's name: the table has a single site as the whole cohort."""
    if not site or (table["site"] == site).any():
        return table
    own = table["seen"].isin((NEW_SITE, UNKNOWN))  # not an external cohort of the experiment
    whole = (table["site"] == EVERY_SITE) & (table["part"] == "external") & own
    return table.assign(site=table["site"].mask(whole, site))


def _table(matrix: pd.DataFrame, rows: pd.DataFrame, target: str) -> Table:
    name = rows["metric"].iloc[0]
    described = labels.metric(name)
    # The first of several rows of a cell, as in the matrix.
    cells = {key: group.iloc[0] for key, group in rows.groupby(["experiment", "cohort", "site"], sort=False)}
    lines = []
    for experiment, trained_on in matrix.index:
        people = int(rows.loc[rows["experiment"] == experiment, "development_participants"].iloc[0])
        found = [_cell(cells.get((experiment, *place)), name) for place in matrix.columns]
        lines.append(
            Row(labels.spaced(experiment), [Cell(_trained(trained_on), right=False), Cell(str(people)), *found])
        )
    places = [f"{labels.cohort(cohort)}, {'all' if site == EVERY_SITE else site}" for cohort, site in matrix.columns]
    unit = labels.metric_unit(name, target)
    arrow = "higher" if described.higher_is_better else "lower"
    return Table(
        f"{described.label}{' in' + unit if unit else ''} of the network by what it was trained on (rows) and tested on "
        f"(columns); {arrow} is better. {_marks_explained(rows)}{tables.intervals_explained(rows)} {N_COUNTS}",
        [
            Column("Experiment", right=False),
            Column("Trained on", right=False),
            Column("Participants"),
            *map(Column, places),
        ],
        lines,
    )


def _trained(description: str) -> str:
    """``ixi (Guys, HH) + oasis1`` with the cohorts' published names."""
    parts = [part.partition(" (") for part in description.split(" + ")]
    return " + ".join(f"{labels.cohort(cohort)}{bracket}{sites}" for cohort, bracket, sites in parts)


def _cell(row: pd.Series | None, name: str) -> Cell:
    if row is None:
        return Cell("–")
    return tables.number_cell(row, name, " ".join(filter(None, (f"n {int(row['n'])}", MARKS[_seen(row["seen"])]))))


def _seen(value: str) -> str:
    return value if value in MARKS else UNKNOWN


def _marks_explained(rows: pd.DataFrame) -> str:
    """A sentence for each mark that the rows have, and none for others."""
    seen = set(rows["seen"].map(_seen))
    new = {NEW_SITE: "a site", NEW_COHORT: "a cohort"}
    places = [text for value, text in new.items() if value in seen]
    sentences = []
    if places:
        sentences.append(f"▲ scans of {' or of '.join(places)} that training had not seen.")
    if places and SEEN_SITE in seen:
        sentences.append("Look along a row for the drop from seen to new.")
    if PARTLY_NEW in seen:
        sentences.append("△ scans of which some are of a site that training had not seen.")
    if UNKNOWN in seen:
        sentences.append("? the sites of these scans, or of those that were trained on, are not all known.")
    return "".join(f"{sentence} " for sentence in sentences)


def _sentence(rows: pd.DataFrame, target: str) -> str:
    name = rows["metric"].iloc[0]
    described = labels.metric(name)
    unit = labels.metric_unit(name, target)
    seen = rows["seen"].map(_seen)
    new = [value for value in (NEW_SITE, NEW_COHORT) if (seen == value).any()]
    places = " and ".join({NEW_SITE: "sites", NEW_COHORT: "cohorts"}[value] for value in new)
    groups = (
        (seen.isin(new), f"on {places} that training had not seen"),
        (seen == SEEN_SITE, "on sites that training had seen"),
        (seen == PARTLY_NEW, "on scans of which some are of a site that training had not seen"),
        (seen == UNKNOWN, "where the sites of the tested or the training scans are not all known"),
    )
    ranges = [
        f"{where} {_range(rows.loc[chosen, 'value'].dropna(), described.decimals, unit)}"
        for chosen, where in groups
        if chosen.any()
    ]
    sentence = f"{described.label} {'; '.join(ranges)}."
    if new:
        return sentence
    return (
        f"{sentence} No experiment was tested on scans that are all of a site or cohort known to be new, so nothing here shows "
        "how far the network carries."
    )


def _range(values: pd.Series, places: int, unit: str) -> str:
    if values.empty:
        return "not defined"
    low, high = labels.number(values.min(), places), labels.number(values.max(), places)
    return f"{low if low == high else f'{low} to {high}'}{unit}"
