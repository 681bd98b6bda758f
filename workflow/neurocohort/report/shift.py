"""Training cohorts and sites against test cohorts and sites, over all experiments of one task and target: what is left of a
result where the scans come from elsewhere."""

from pathlib import Path

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
from neurocohort.report import labels
from neurocohort.report.networks import networks_of
from neurocohort.report.sources import Missing, Sources
from neurocohort.report.tables import N_TOLD, Cell, Column, Row, Table, intervals_told, number_cell
from neurocohort.study.members import without_site_names
from neurocohort.text import listed

SHIFT_COLUMNS = ("model", "trained_on", "development_participants", "cohort", "site", "part", "seen", "metric", "value")
SHIFT_COLUMNS += ("ci_low", "ci_high", "n")
TARGETS = {"dseg": "Tissue labels"}
MARKS = {
    SEEN_SITE: "",
    NEW_SITE: "▲ new site",
    PARTLY_NEW: "△ partly new sites",
    NEW_COHORT: "▲ new cohort",
    UNKNOWN: "? site unknown",
}


def matrices(sources: Sources, results: Path, experiments: dict[str, dict]) -> list[dict]:
    """One record a task and target: ``title``, ``sentence``, ``table`` (None where there is no result) and ``missing``.

    ``experiments``: that block of the configuration. The ones that train without a site, which an experiment's
    ``leave_one_site_out`` asks for, are rows of their own.
    """
    of_kind: dict[tuple[str, str], list[tuple[str, dict]]] = {}
    for name, settings in _with_derived(experiments).items():
        of_kind.setdefault((settings["task"], settings["target"]), []).append((name, settings))
    return [_matrix(sources, results, *kind, members) for kind, members in of_kind.items()]


def _with_derived(experiments: dict[str, dict]) -> dict[str, dict]:
    found = {}
    for name, settings in experiments.items():
        found[name] = settings
        for other, site in without_site_names(name, settings.get("leave_one_site_out") or []).items():
            found[other] = settings | {"left_out_site": site}
    return found


def _matrix(sources: Sources, results: Path, task: str, target: str, members: list[tuple[str, dict]]) -> dict:
    tables, missing, failed = {}, [], []
    for name, settings in members:
        path = results / "experiments" / name / "shift.tsv"
        table = sources.table(path, f"the row of {name} in the matrix of training and test", SHIFT_COLUMNS)
        if isinstance(table, Missing):
            missing.append(table)
            continue
        own = _by_left_out_site(table[table["model"] == "network"], settings.get("left_out_site"))
        networks = networks_of(results, name)
        if settings.get("left_out_site") and networks is not None and networks.none_learned:
            failed.append(name)  # its figures are no drop from a seen to a new site
        elif len(own):
            tables[name] = own
        else:
            missing.append(sources.lack(path, f"the network of {name}", "The table has no rows of the network."))
    title = f"{TARGETS.get(target) or labels.spaced(target)} ({task})"
    if not tables:
        return {"title": title, "sentence": "", "table": None, "missing": missing}
    rows = pd.concat([table.assign(experiment=name) for name, table in tables.items()], ignore_index=True)
    return {
        "title": title,
        "sentence": " ".join(filter(None, [_sentence(rows, target), _failed(failed)])),
        "table": _table(shift_matrix(tables), rows, target),
        "missing": missing,
    }


def _failed(names: list[str]) -> str:
    """Which of the networks that were trained without a site learned nothing, and so have no row."""
    if not names:
        return ""
    return f"Left out, because the network learned nothing: {listed([labels.in_text(name) for name in names])}."


def _by_left_out_site(table: pd.DataFrame, site: str | None) -> pd.DataFrame:
    """The test on a left-out site under that site's name: an only site of its part is there as the cohort's whole."""
    if not site or (table["site"] == site).any():
        return table
    own = table["seen"].isin((NEW_SITE, UNKNOWN))  # not an external cohort of the experiment
    whole = (table["site"] == EVERY_SITE) & (table["part"] == "external") & own
    return table.assign(site=table["site"].mask(whole, site))


def _table(matrix: pd.DataFrame, rows: pd.DataFrame, target: str) -> Table:
    name = rows["metric"].iloc[0]
    described = labels.metric(name)
    # The first of several rows of a cell, as in the matrix.
    cells = {key: group.iloc[0].to_dict() for key, group in rows.groupby(["experiment", "cohort", "site"], sort=False)}
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
        f"(columns); {arrow} is better. {_marks_explained(rows)}{intervals_told(rows)} {N_TOLD}",
        [
            Column("Experiment", right=False),
            Column("Trained on", right=False),
            Column("Participants"),
            *map(Column, places),
        ],
        lines,
    )


def _trained(told: str) -> str:
    """``ixi (Guys, HH) + oasis1`` with the cohorts' published names."""
    parts = [part.partition(" (") for part in told.split(" + ")]
    return " + ".join(f"{labels.cohort(cohort)}{bracket}{sites}" for cohort, bracket, sites in parts)


def _cell(row: dict | None, name: str) -> Cell:
    if row is None:
        return Cell("–")
    return number_cell(row, name, " ".join(filter(None, (f"n {int(row['n'])}", MARKS[_seen(row["seen"])]))))


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
    told = [
        f"{where} {_range(rows.loc[chosen, 'value'].dropna(), described.decimals, unit)}"
        for chosen, where in groups
        if chosen.any()
    ]
    sentence = f"{described.label} {'; '.join(told)}."
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
