"""Who was excluded, against who was kept: a table a cohort by class, age, sex and site, and what it says."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from neurocohort.dataset.targets import OTHER, target_values
from neurocohort.errors import InputError
from neurocohort.evaluation.excluded import FEWEST, MANN_WHITNEY, TABLES, excluded_against_kept
from neurocohort.files import write_table
from neurocohort.report import labels
from neurocohort.report.sources import Missing, Sources
from neurocohort.report.tables import Cell, Column, Row, Table

SIGNIFICANT = 0.05
VARIABLES = {"age": "Age (years)", "sex": "Sex", "site": "Site", "cdr": "CDR"}
SEED = 1  # of Fisher's random tables


@dataclass(frozen=True)
class Comparison:
    """``counts``: who was excluded, in sentences. ``table`` and ``verdict`` are None where too few were, or nothing is known of
    them. ``rows``: the table as excluded.tsv; ``missing``: what the table lacks."""

    counts: list[str]
    table: Table | None
    verdict: str | None
    rows: pd.DataFrame
    missing: list[Missing]


def compare_excluded(
    sources: Sources, data: Path, cohort: str, tables: dict[str, pd.DataFrame], experiments: dict[str, dict]
) -> Comparison:
    """Compare a cohort's participants without any usable scan with the others, each once, at their first scan.

    ``tables``: the cohort's ``scans``, ``ingest`` and ``every``, its exclusions at ingest and all of them. ``experiments``: for
    the classes of those that use the cohort. Who was left out at ingest and has no row in scans.tsv is counted apart.
    """
    scans, ingest, every = tables["scans"], tables["ingest"], tables["every"]
    lost = scans["scan_id"].isin(every.loc[every["stage"] != "ingest", "scan_id"])
    people = scans.drop_duplicates("participant_id")
    excluded = people["participant_id"].map(lost.groupby(scans["participant_id"]).all()).to_numpy(dtype=bool)
    counts = _counts(scans, lost, people, excluded, ingest)
    few = min(int(excluded.sum()), int((~excluded).sum())) < FEWEST
    if few or not len(people):
        return Comparison(counts, None, None, excluded_against_kept(pd.DataFrame(), excluded, SEED), [])
    variables, missing = _variables(sources, data, cohort, people, experiments)
    rows = excluded_against_kept(variables, excluded, SEED)
    if rows.empty:
        return Comparison(counts, None, None, rows, missing)
    caption = (
        f"{labels.cohort(cohort)}: {labels.counted(int(excluded.sum()), 'participant')} excluded after ingest, and "
        f"{int((~excluded).sum()):,} kept. Each participant counts once, with the values of their first scan; the percentage is "
        "of those with the value. p: for numbers the Mann-Whitney U test, for counts Fisher's exact test (with more than two "
        f"values by {TABLES:,} random tables), without those of whom nothing is known. Holm: p corrected for the "
        "tests of this table."
    )
    return Comparison(counts, _table(rows, caption), _verdict(rows, int(excluded.sum())), rows, missing)


def write_tables(flows: list[dict], output: Path) -> list[dict]:
    """Write ``tables/<cohort>_excluded.tsv`` under ``output`` for each cohort with a comparison; return their downloads."""
    written = []
    for flow in flows:
        found = flow["comparison"]
        if found is None or found.rows.empty:
            continue
        path = output / "tables" / f"{flow['cohort']}_excluded.tsv"
        path.parent.mkdir(exist_ok=True)
        write_table(path, found.rows)
        entry = {"file": f"tables/{path.name}", "of": labels.cohort(flow["cohort"]), "bytes": path.stat().st_size}
        written.append(entry | {"text": "excluded participants against those kept, with tests"})
    return written


def _counts(
    scans: pd.DataFrame, lost: pd.Series, people: pd.DataFrame, excluded: np.ndarray, ingest: pd.DataFrame
) -> list[str]:
    gone = set(people.loc[excluded, "participant_id"])
    told = [
        f"After ingest, {len(gone):,} of {labels.counted(len(people), 'participant')} were excluded with all their scans."
    ]
    others = int((lost & ~scans["participant_id"].isin(gone)).sum())
    if others:
        verb = "was" if others == 1 else "were"
        told.append(
            f"{labels.counted(others, 'more scan')} {verb} excluded, of participants who have another, usable scan."
        )
    unknown = ingest[~ingest["participant_id"].isin(scans["participant_id"])]
    if len(unknown):
        # Rows without a participant can't be told apart: each counts as one.
        number = unknown["participant_id"].nunique() + int(unknown["participant_id"].isna().sum())
        told.append(
            f"Excluded at ingest: {labels.counted(number, 'participant')}, whose age, sex and class are not known here. They are "
            "not compared."
        )
    if 0 < len(gone) < FEWEST:
        told.append(f"With {len(gone)} excluded after ingest, there is no comparison with those kept.")
    elif len(people) - len(gone) < FEWEST:
        told.append("Too few were kept for a comparison.")
    return told


def _variables(
    sources: Sources, data: Path, cohort: str, people: pd.DataFrame, experiments: dict[str, dict]
) -> tuple[pd.DataFrame, list[Missing]]:
    """The columns that are compared, by their names on the page: the experiments' classes, CDR, age, sex and site."""
    found, missing = _classes(sources, data, cohort, people, experiments)
    for name, label in VARIABLES.items():
        if name in people and name != "age":
            found[label] = people[name].map(_text, na_action="ignore").astype(object)
    if "age" in people:
        found[VARIABLES["age"]] = pd.to_numeric(people["age"], errors="coerce")
    return pd.DataFrame(found), missing


def _classes(
    sources: Sources, data: Path, cohort: str, people: pd.DataFrame, experiments: dict[str, dict]
) -> tuple[dict[str, pd.Series], list[Missing]]:
    found, missing, known = {}, [], set()
    for name, settings in experiments.items():
        used = [*settings.get("cohorts", []), *settings.get("external", [])]
        target, classes = settings.get("target"), settings.get("classes")
        if settings["task"] != "classification" or cohort not in used or target == "sex":
            continue
        if (target, str(classes)) in known:
            continue
        known.add((target, str(classes)))
        # A class may have its only values in another cohort, so all of the experiment's are read.
        tables = {other: _scans(sources, data, other) for other in used}
        missing += [table for table in tables.values() if isinstance(table, Missing)]
        tables = {other: table for other, table in tables.items() if not isinstance(table, Missing)}
        try:
            codes = target_values(tables, "classification", target, classes)[cohort]
        except InputError as error:
            what = f"the classes of {name} among the excluded of {labels.cohort(cohort)}"
            missing.append(sources.lack(data / cohort / "scans.tsv", what, str(error)))
            continue
        names = [*labels.classes(settings), "another value"]
        values = codes.reindex(people.index).map(dict(enumerate(names[:-1])) | {OTHER: names[-1]})
        label = VARIABLES.get(target, labels.spaced(target))
        label = f"{label}, classes of {labels.spaced(name).lower()}" if classes else label
        found[label] = pd.Series(pd.Categorical(values, categories=names, ordered=True), index=people.index)
    return found, missing


def _scans(sources: Sources, data: Path, cohort: str) -> pd.DataFrame | Missing:
    # In the words of that cohort's flow, so that a missing table stands in the ledger once.
    what = f"the flow of participants of {labels.cohort(cohort)}"
    return sources.table(data / cohort / "scans.tsv", what, ("participant_id", "scan_id"))


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(rows: pd.DataFrame, caption: str) -> Table:
    columns = [Column("Variable", right=False), Column("Excluded"), Column("Kept"), Column("Excluded, %")]
    columns += [Column("p"), Column("p, Holm")]
    lines = []
    for variable, group in rows.groupby("variable", sort=False):
        for place, row in enumerate(group.to_dict("records")):
            share = row["fraction_excluded"]
            cells = [Cell(row["excluded"].replace("n/a", "–")), Cell(row["kept"].replace("n/a", "–"))]
            cells.append(Cell(labels.number(100 * share, 1), value=None if np.isnan(share) else float(share)))
            cells += [Cell(_p(row[name]) if place == 0 else "") for name in ("p", "p_holm")]
            joint = ", " if row["test"] == MANN_WHITNEY else ": "
            lines.append(Row(f"{variable}{joint}{row['level']}", cells))
    return Table(caption, columns, lines)


def _p(value: float) -> str:
    return "–" if np.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _verdict(rows: pd.DataFrame, excluded: int) -> str:
    variables = rows.drop_duplicates("variable")
    tests = variables.dropna(subset=["p_holm"])
    if tests.empty:
        return "Nothing could be tested: too little is known of those excluded or kept."
    unlike = tests[tests["p_holm"] < SIGNIFICANT]
    if len(unlike):
        told = "; ".join(
            f"{row['variable']}, p {_p(row['p_holm']) if row['p_holm'] < 0.001 else '= ' + _p(row['p_holm'])}"
            for row in unlike.to_dict("records")
        )
        return (
            f"Excluded participants differ from those kept ({told}, after Holm's correction): the results are of the "
            "participants kept and may not hold for the whole cohort."
        )
    untested = variables.loc[variables["p_holm"].isna(), "variable"]
    gap = (
        f" Not tested, because fewer than {FEWEST} are known on a side: {'; '.join(untested)}." if len(untested) else ""
    )
    return f"No difference was found, which with {excluded} excluded does not show that there is none.{gap}"
