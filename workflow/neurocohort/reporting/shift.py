"""Training cohorts and sites against test cohorts and sites, over all experiments of one task and target: what is left of a
result where the scans come from elsewhere."""

from pathlib import Path

import pandas as pd

from neurocohort.evaluation.shift import EVERY_SITE, shift_matrix
from neurocohort.members import without_site_names
from neurocohort.reporting import labels
from neurocohort.reporting.sources import Missing, Sources
from neurocohort.reporting.tables import Cell, Column, Row, Table, intervals_told, number_cell

SHIFT_COLUMNS = ("model", "trained_on", "development_participants", "cohort", "site", "part", "seen", "metric", "value")
SHIFT_COLUMNS += ("ci_low", "ci_high", "n")
TARGETS = {"dseg": "Tissue labels"}
SEEN = {"site": "", "cohort": "▲ new site", "new": "▲ new cohort"}


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
    tables, missing = {}, []
    for name, settings in members:
        path = results / "experiments" / name / "shift.tsv"
        table = sources.table(path, f"the row of {name} in the matrix of training and test", SHIFT_COLUMNS)
        if isinstance(table, Missing):
            missing.append(table)
            continue
        own = _by_left_out_site(table[table["model"] == "network"], settings.get("left_out_site"))
        if len(own):
            tables[name] = own
        else:
            missing.append(sources.lack(path, f"the network of {name}", "The table has no rows of the network."))
    title = f"{TARGETS.get(target) or labels.spaced(target)} ({task})"
    if not tables:
        return {"title": title, "sentence": "", "table": None, "missing": missing}
    rows = pd.concat([table.assign(experiment=name) for name, table in tables.items()], ignore_index=True)
    return {
        "title": title,
        "sentence": _sentence(rows, target),
        "table": _table(shift_matrix(tables), rows, target),
        "missing": missing,
    }


def _by_left_out_site(table: pd.DataFrame, site: str | None) -> pd.DataFrame:
    """The test on a left-out site under that site's name: alone in its part, it stands there as the cohort's whole."""
    if not site or (table["site"] == site).any():
        return table
    whole = (table["site"] == EVERY_SITE) & (table["part"] == "external") & (table["seen"] == "cohort")
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
        f"(columns); {arrow} is better. ▲ scans of a site or of a cohort that training had not seen. Look along a row for the "
        f"drop from seen to new. {intervals_told(rows)}",
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
    return number_cell(row, name, " ".join(filter(None, (f"n {int(row['n'])}", SEEN.get(row["seen"], "")))))


def _sentence(rows: pd.DataFrame, target: str) -> str:
    name = rows["metric"].iloc[0]
    described = labels.metric(name)
    unit = labels.metric_unit(name, target)
    seen = rows.loc[rows["seen"] == "site", "value"].dropna()
    new = rows.loc[rows["seen"] != "site", "value"].dropna()
    if new.empty:
        return (
            f"{described.label} {_range(seen, described.decimals)}{unit}, all of it on sites that training had seen: no "
            "experiment was tested on a new one, so nothing here says how far the network carries."
        )
    told = f"{described.label} on sites and cohorts that training had not seen: {_range(new, described.decimals)}{unit}"
    return f"{told}; on those that it had: {_range(seen, described.decimals)}{unit}." if len(seen) else f"{told}."


def _range(values: pd.Series, places: int) -> str:
    if values.empty:
        return "not defined"
    low, high = labels.number(values.min(), places), labels.number(values.max(), places)
    return low if low == high else f"{low} to {high}"
