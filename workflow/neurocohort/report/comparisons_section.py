"""The network minus each baseline on the same participants, with the interval of the difference."""

import pandas as pd

from neurocohort.evaluation.measures import GIVEN
from neurocohort.report import labels, tables
from neurocohort.report.part import Part
from neurocohort.report.tables import MARKS, N_COUNTS, Cell, Column, Row, Table

DECIDED = {
    "network": "The interval excludes 0: the network was better.",
    "baseline": "The interval excludes 0: the baseline was better.",
    "neither": "The interval includes 0: these participants do not show which is better.",
}
FAVOUR = {"network": "✓ network", "baseline": "✗ baseline"}


def comparison_sentence(comparisons: pd.DataFrame, part: Part) -> list[str]:
    """The difference to the best baseline by the headline metric; no sentence where it isn't defined."""
    name = part.headline_metric
    rows = comparisons[(comparisons["metric"] == name) & (comparisons["group"] == "all")]
    rows = rows[(rows["cohort"] == tables.lead_cohort(comparisons)) & (rows["best"] == "yes")].dropna(
        subset=["difference"]
    )
    if rows.empty:
        return []
    row = rows.iloc[0]
    described = labels.metric(name)
    unit = labels.metric_unit(name, part.experiment.target)
    difference = _signed(row["difference"], described.decimals)
    interval = labels.interval(row["ci_low"], row["ci_high"], described.decimals)
    better = "higher" if described.higher_is_better else "lower"
    return [
        f"Network minus the best baseline ({labels.model(row['baseline'])}) on the same "
        f"{labels.counted(int(row['n']), 'participant')} of {labels.cohort_in_text(row['cohort'])}: {described.label} "
        f"{difference}{unit} {interval}, where {better} is better. {DECIDED[row['in_favour_of']]}"
    ]


def comparison_table(comparisons: pd.DataFrame, part: Part) -> Table:
    """Every baseline, cohort and tissue against every metric, the best baseline of each metric marked."""
    names = tables.metrics_in_order(comparisons)
    lines = []
    for (cohort, group, baseline), rows in comparisons.groupby(["cohort", "group", "baseline"], sort=False):
        records = {row["metric"]: row for _, row in rows.iterrows()}
        where = labels.cohort(cohort) if group == "all" else f"{labels.cohort(cohort)}, {labels.group(group)}"
        cells = [Cell(where, right=False), *(_cell(records.get(name), name) for name in names)]
        lines.append(Row(labels.model(baseline), [*cells, Cell(str(int(rows["n"].max())))]))
    has_given = comparisons["baseline"].str.startswith(GIVEN).any()
    given = " (never predictions from elsewhere)" if has_given else ""
    decided = comparisons.dropna(subset=["difference"])
    counts = decided["in_favour_of"].value_counts()
    return Table(
        f"Network minus baseline, {part.name}, from a paired bootstrap: both were judged on the same resamples of participants, "
        "so that what makes a person hard for both cancels out. ★ best baseline by that metric, chosen on these very rows, which "
        f"flatters it{given}; ✓ in favour of the network and ✗ of the baseline where the interval excludes 0. "
        f"{tables.intervals_explained(comparisons)} {N_COUNTS}",
        [Column("Baseline", right=False), Column("Rows", right=False)]
        + [tables.metric_column(name) for name in names]
        + [Column("n")],
        lines,
        f"Differences to every baseline: of {len(decided)} comparisons {counts.get('network', 0)} were in favour of the network, "
        f"{counts.get('baseline', 0)} of the baseline, {counts.get('neither', 0)} open.",
    )


def _cell(row: pd.Series | None, name: str) -> Cell:
    if row is None or not labels.is_number(row["difference"]):
        return Cell("–")
    places = labels.metric(name).decimals
    marks = [FAVOUR.get(row["in_favour_of"], ""), "★ best" if row["best"] == "yes" else ""]
    mark = MARKS.get(row.get("interval"), ("",))[0]
    return Cell(
        _signed(row["difference"], places),
        labels.interval(row["ci_low"], row["ci_high"], places),
        mark,
        " ".join(filter(None, marks)),
        value=float(row["difference"]),
    )


def _signed(value: float, places: int) -> str:
    text = labels.number(value, places)
    return f"+{text}" if value > 0 and float(f"{value:.{places}f}") != 0 else text
