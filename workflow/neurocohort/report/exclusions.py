"""The excluded participants compared with those kept: a table for each cohort by class, age, sex and site, and its verdict."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from neurocohort.dataset.targets import OTHER, target_values
from neurocohort.errors import InputError
from neurocohort.evaluation.excluded import FEWEST, MANN_WHITNEY, TABLES, excluded_against_kept
from neurocohort.report import labels
from neurocohort.report.sources import Missing
from neurocohort.report.study import Cohort, Experiment, Read, Study, missing_of
from neurocohort.report.tables import Cell, Column, Row, Table

SIGNIFICANT = 0.05
VARIABLES = {"age": "Age (years)", "sex": "Sex", "site": "Site", "cdr": "CDR"}
SEED = 1  # of Fisher's random tables


@dataclass(frozen=True)
class Comparison:
    """The excluded participants of a cohort compared with those kept.

    ``counts``: sentences on how many were excluded. ``table`` and ``verdict``: None where too few were excluded or kept, or
    nothing is known of them. ``rows``: the table as excluded.tsv. ``missing``: what the table lacks.
    """

    counts: list[str]
    table: Table | None
    verdict: str | None
    rows: pd.DataFrame
    missing: list[Missing]


def compare_excluded(study: Study, cohort: Cohort) -> Comparison | None:
    """Compare a cohort's participants without any usable scan with the others, each once, at their first scan.

    Participants who were excluded at ingest and have no row in scans.tsv are counted separately. None where a table is missing.
    """
    scans, ingest, every = cohort.scans, cohort.ingest_exclusions, cohort.exclusions
    if isinstance(scans, Missing) or isinstance(ingest, Missing) or isinstance(every, Missing):
        return None
    lost = scans["scan_id"].isin(every.loc[every["stage"] != "ingest", "scan_id"])
    people = scans.drop_duplicates("participant_id")
    excluded = people["participant_id"].map(lost.groupby(scans["participant_id"]).all()).to_numpy(dtype=bool)
    counts = _counts(scans, lost, people, excluded, ingest)
    few = min(int(excluded.sum()), int((~excluded).sum())) < FEWEST
    if few or not len(people):
        return Comparison(counts, None, None, excluded_against_kept(pd.DataFrame(), excluded, SEED), [])
    variables, missing = _variables(study, cohort, people)
    rows = excluded_against_kept(variables, excluded, SEED)
    if rows.empty:
        return Comparison(counts, None, None, rows, missing)
    caption = (
        f"{cohort.title}: {labels.counted(int(excluded.sum()), 'participant')} excluded after ingest, and "
        f"{int((~excluded).sum()):,} kept. Each participant counts once, with the values of their first scan; the percentage is "
        "of those with the value. p: for numbers the Mann-Whitney U test, for counts Fisher's exact test (with more than two "
        f"values by {TABLES:,} random tables), without participants whose value is not known. Holm: p corrected for the "
        "tests of this table."
    )
    return Comparison(counts, _table(rows, caption), _verdict(rows, int(excluded.sum())), rows, missing)


def _counts(
    scans: pd.DataFrame, lost: pd.Series, people: pd.DataFrame, excluded: np.ndarray, ingest: pd.DataFrame
) -> list[str]:
    """How many were excluded, in sentences."""
    gone = set(people.loc[excluded, "participant_id"])
    sentences = [
        f"After ingest, {len(gone):,} of {labels.counted(len(people), 'participant')} were excluded with all their scans."
    ]
    others = int((lost & ~scans["participant_id"].isin(gone)).sum())
    if others:
        verb = "was" if others == 1 else "were"
        sentences.append(
            f"{labels.counted(others, 'more scan')} {verb} excluded, of participants who have another, usable scan."
        )
    unknown = ingest[~ingest["participant_id"].isin(scans["participant_id"])]
    if len(unknown):
        # Rows without a participant can't be distinguished: each counts as one.
        number = unknown["participant_id"].nunique() + int(unknown["participant_id"].isna().sum())
        sentences.append(
            f"Excluded at ingest: {labels.counted(number, 'participant')}, whose age, sex and class are not known here. They are "
            "not compared."
        )
    if 0 < len(gone) < FEWEST:
        sentences.append(f"With {len(gone)} excluded after ingest, there is no comparison with those kept.")
    elif len(people) - len(gone) < FEWEST:
        sentences.append("Too few were kept for a comparison.")
    return sentences


def _variables(study: Study, cohort: Cohort, people: pd.DataFrame) -> tuple[pd.DataFrame, list[Missing]]:
    """The columns that are compared, by their names on the page: the experiments' classes, CDR, age, sex and site."""
    found: dict[str, pd.Series] = {}
    missing: list[Missing] = []
    for experiment in _classifications(study, cohort):
        missing += missing_of(one.scans for one in (*experiment.cohorts, *experiment.external))
        codes = _codes(experiment, cohort)
        if isinstance(codes, Missing):
            missing.append(codes)
            continue
        names = [*experiment.classes, "another value"]
        values = codes.reindex(people.index).map(dict(enumerate(names[:-1])) | {OTHER: names[-1]})
        label = VARIABLES.get(experiment.target, labels.spaced(experiment.target))
        if experiment.settings.get("classes"):
            label += f", classes of {experiment.heading.lower()}"
        found[label] = pd.Series(pd.Categorical(values, categories=names, ordered=True), index=people.index)
    for name, label in VARIABLES.items():
        if name in people and name != "age":
            found[label] = people[name].map(_text, na_action="ignore").astype(object)
    if "age" in people:
        found[VARIABLES["age"]] = pd.to_numeric(people["age"], errors="coerce")
    return pd.DataFrame(found), missing


def _classifications(study: Study, cohort: Cohort) -> list[Experiment]:
    """The classifications that use the cohort, one for each target and classes."""
    found: dict[tuple[str, str], Experiment] = {}
    for one in study.experiments.values():
        used = cohort in (*one.cohorts, *one.external)
        if one.task == "classification" and used and one.target != "sex":
            found.setdefault((one.target, str(one.settings.get("classes"))), one)
    return list(found.values())


def _codes(experiment: Experiment, cohort: Cohort) -> Read:
    """The class codes of a cohort's scans."""
    # A class may have its only values in another cohort, so the tables of all cohorts are needed.
    tables = {one.name: one.scans for one in (*experiment.cohorts, *experiment.external)}
    present = {name: table for name, table in tables.items() if not isinstance(table, Missing)}
    try:
        return target_values(present, "classification", experiment.target, experiment.settings.get("classes"))[
            cohort.name
        ]
    except InputError as error:
        what = f"the classes of {experiment.name} among the excluded of {cohort.title}"
        return cohort.sources.lack(cohort.data / "scans.tsv", what, str(error))


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(rows: pd.DataFrame, caption: str) -> Table:
    columns = [Column("Variable", right=False), Column("Excluded"), Column("Kept"), Column("Excluded, %")]
    columns += [Column("p"), Column("p, Holm")]
    lines = []
    for variable, group in rows.groupby("variable", sort=False):
        for place, row in enumerate(group.to_dict("records")):
            fraction = row["fraction_excluded"]
            cells = [Cell(row["excluded"].replace("n/a", "–")), Cell(row["kept"].replace("n/a", "–"))]
            cells.append(Cell(labels.number(100 * fraction, 1), value=None if np.isnan(fraction) else float(fraction)))
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
    different = tests[tests["p_holm"] < SIGNIFICANT]
    if len(different):
        differences = "; ".join(
            f"{row['variable']}, p {_p(row['p_holm']) if row['p_holm'] < 0.001 else '= ' + _p(row['p_holm'])}"
            for row in different.to_dict("records")
        )
        return (
            f"Excluded participants differ from those kept ({differences}, after Holm's correction): the results are of the "
            "participants kept and may not apply to the whole cohort."
        )
    untested = variables.loc[variables["p_holm"].isna(), "variable"]
    gap = (
        f" Not tested, because fewer than {FEWEST} are known on a side: {'; '.join(untested)}." if len(untested) else ""
    )
    return f"No difference was found, which with {excluded} excluded does not show that there is none.{gap}"
