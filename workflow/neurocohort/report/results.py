"""What the page shows of one experiment's results: its metrics with intervals beside every baseline, the differences to each,
its groups and the spread of its members, and what belongs to its task; for the held-out part and, apart, for external cohorts."""

from pathlib import Path

import pandas as pd

from neurocohort.evaluation.details import OUT_OF_FOLD
from neurocohort.report import headline, labels
from neurocohort.report.cases import cases
from neurocohort.report.classification_results import classification
from neurocohort.report.comparisons_section import COMPARISON_COLUMNS, comparison_sentence, comparison_table
from neurocohort.report.development import fitted_on, folds_of, members_in_words
from neurocohort.report.part import Content, Part
from neurocohort.report.regression_results import regression
from neurocohort.report.segmentation_results import segmentation
from neurocohort.report.sources import Missing, Sources
from neurocohort.report.tables import (
    Cell,
    Column,
    Row,
    Table,
    first,
    lead_cohort,
    metric_table,
    network_first,
    note_of,
    number_of,
    with_interval,
)
from neurocohort.text import listed

OVERLAPS = ("scan_id", "participant_id", "tissue", "dice", "volume_ml", "reference_ml")
VALUES = ("scan_id", "participant_id", "site", "target", "prediction")
PREDICTION_COLUMNS = {"regression": VALUES, "classification": VALUES, "segmentation": OVERLAPS}
DETAIL_COLUMNS = (*headline.METRIC_COLUMNS, "setting", "note")
SPREAD_COLUMNS = ("metric", "members", "mean", "sd", "lowest", "highest")
BY_TASK = {"regression": regression, "classification": classification, "segmentation": segmentation}
# What a table by site, sex and age holds of the network; a segmentation's tissues have a table of their own.
BY_GROUP = {
    "regression": ("mae", "bias", "bias_slope"),
    "classification": ("auc", "auc_macro", "balanced_accuracy", "brier"),
    "segmentation": ("dice", "hd95_mm", "assd_mm", "surface_dice_1mm"),
}


def outcome(
    sources: Sources,
    results: Path,
    experiment: str,
    settings: dict,
    samples: pd.DataFrame | Missing,
    output: Path,
    configuration: dict,
) -> dict:
    """The results of one experiment: ``held_out`` and ``external`` (one a cohort), each with the fields of `Content`, ``cohort``
    and its ``name``; ``held_out`` has ``cases`` too (`cases`). Figures are written to ``output``'s folder ``figures``.

    The mosaics of the gallery are expected in ``output`` already.
    """
    folder = results / "experiments" / experiment
    trained = _trained_range(samples, folds_of(settings, configuration)) if settings["task"] == "regression" else None
    shared = (sources, folder, experiment, settings, configuration, output)
    held_out = Part(*shared)
    return {
        "held_out": _told(held_out, None) | {"cases": cases(held_out, results, PREDICTION_COLUMNS[settings["task"]])},
        "external": [_told(Part(*shared, cohort), trained) for cohort in settings.get("external") or []],
    }


def _told(part: Part, trained_range: tuple[float, float] | None) -> dict:
    content = Content.empty()
    task = part.settings["task"]
    metrics = part.rows("metrics.tsv", "the metrics", headline.METRIC_COLUMNS)
    comparisons = part.rows("comparisons.tsv", "the differences to the baselines", COMPARISON_COLUMNS)
    predictions = part.rows("predictions.tsv", "the figures", PREDICTION_COLUMNS[task])
    baselines = part.rows("baselines.tsv", "the baselines", ("model", *PREDICTION_COLUMNS[task]), may_be_none=True)
    details = part.rows("details.tsv", "the details of the results", DETAIL_COLUMNS, may_be_none=True)
    spread = part.rows("spread.tsv", "the spread over the members", SPREAD_COLUMNS, may_be_none=True)
    content.tables += [metrics] if isinstance(metrics, Missing) else _metrics_tables(part, metrics)
    if isinstance(comparisons, Missing):
        content.details.append(comparisons)
    else:
        content.sentences += comparison_sentence(comparisons, part.settings)
        content.details.append(comparison_table(comparisons, part))
    if part.cohort is None:
        content.sentences += _out_of_fold(part)
    BY_TASK[task](
        part,
        content,
        metrics=metrics,
        predictions=predictions,
        baselines=baselines,
        details=details,
        trained_range=trained_range,
    )
    content.details += [item for item in (baselines, details) if isinstance(item, Missing)]
    if not isinstance(metrics, Missing):
        content.details += _groups(part, metrics)
    content.details += [spread] if isinstance(spread, Missing) else _spread(part, spread)
    return {**vars(content), "cohort": part.cohort, "name": labels.cohort(part.cohort) if part.cohort else None}


def _metrics_tables(part: Part, metrics: pd.DataFrame) -> list[Table]:
    """A row a model, a column a metric, over the whole part; of several cohorts all together, or the first, in full."""
    whole = metrics[metrics["group"] == "all"]
    name = headline.headline_metric(part.settings)[0]
    unit, lead = labels.unit(part.settings["target"]), lead_cohort(metrics)
    tables = []
    for cohort, rows in sorted(whole.groupby("cohort", sort=False), key=lambda item: item[0] != lead):
        figure = with_interval(
            first(rows, model="network", metric=name), labels.metric_unit(name, part.settings["target"])
        )
        tables.append(
            metric_table(
                network_first(rows),
                keys=["model"],
                heads=["Model"],
                told=lambda model: [labels.model(model)],
                caption=f"{labels.cohort(cohort)}, {part.name}: the network and every baseline on the same participants."
                + (f" Errors and bias in{unit}." if unit else ""),
                summary=""
                if cohort == lead
                else f"{labels.cohort(cohort)} alone: {labels.metric(name).label} {figure}.",
            )
        )
    return tables


def _groups(part: Part, metrics: pd.DataFrame) -> list[Table]:
    """The network within each site, sex and age band."""
    rows = metrics[(metrics["group"] != "all") & (metrics["model"] == "network")]
    rows = rows[~rows["group"].str.startswith("tissue=") & rows["metric"].isin(BY_GROUP[part.settings["task"]])]
    if rows.empty:
        return []
    name = headline.headline_metric(part.settings)[0]
    own = rows[rows["metric"] == name].dropna(subset=["value"])
    described = labels.metric(name)
    kinds = listed(dict.fromkeys(group.partition("=")[0] for group in rows["group"]))
    summary = f"By {kinds}: {rows.groupby(['cohort', 'group']).ngroups} groups."
    if len(own):
        low, high = (own.loc[own["value"].idxmin()], own.loc[own["value"].idxmax()])
        told = [
            f"{labels.number(row['value'], described.decimals)} ({labels.group(row['group'])}, {labels.cohort(row['cohort'])})"
            for row in (low, high)
        ]
        spread = f"from {told[0]} to {told[1]}" if low["value"] < high["value"] else f"{told[0]}, alike in all groups"
        summary = f"By {kinds}: {described.label} of the network {spread}."
    return [
        metric_table(
            rows,
            keys=["group", "cohort"],
            heads=["Group", "Cohort"],
            told=lambda group, cohort: [labels.group(group), labels.cohort(cohort)],
            caption=f"The network by group, {part.name}. Small groups have wide intervals; read those first.",
            summary=summary,
        )
    ]


def _spread(part: Part, spread: pd.DataFrame) -> list[Table]:
    """How far the members of an ensemble lie apart; nothing for a single one."""
    members = int(spread["members"].max()) if len(spread) else 0
    if members < 2:
        return []
    name = headline.headline_metric(part.settings)[0]
    kinds = members_in_words(part.settings, folds_of(part.settings, part.configuration))
    lines = []
    for row in spread.to_dict("records"):
        places = labels.metric(row["metric"]).decimals
        values = [
            Cell(labels.number(row[key], places), value=number_of(row[key]))
            for key in ("mean", "sd", "lowest", "highest")
        ]
        cohort = Cell(labels.cohort(row["cohort"]), right=False)
        lines.append(Row(labels.metric(row["metric"]).label, [cohort, *values], own=row["metric"] == name))
    own = spread[(spread["cohort"] == lead_cohort(spread)) & (spread["metric"] == name)].iloc[0]
    places, label = labels.metric(name).decimals, labels.metric(name).label
    mean, deviation, low, high = (labels.number(own[key], places) for key in ("mean", "sd", "lowest", "highest"))
    return [
        Table(
            f"The {members} networks in the mean ({kinds}) one by one, {part.name}: an uncertainty of the training that no "
            "resample of participants shows. SD is the standard deviation over networks; their mean may be better than each.",
            [Column("Metric", right=False), Column("Cohort", right=False)]
            + [Column(head) for head in ("Mean", "SD", "Lowest", "Highest")],
            lines,
            f"Over {members} networks {label} was {mean} ± {deviation}, from {low} to {high}.",
        )
    ]


def _out_of_fold(part: Part) -> list[str]:
    """With cross-validation, the network and the best baseline on the development participants."""
    table = part.sources.table(
        part.folder / "details.tsv",
        f"the details of the results of {part.experiment}",
        DETAIL_COLUMNS,
        may_be_empty=True,
    )
    if isinstance(table, Missing):
        return []
    name = headline.headline_metric(part.settings)[0]
    rows = table[(table["setting"] == OUT_OF_FOLD) & (table["metric"] == name)].dropna(subset=["value"])
    own = first(rows, model="network")
    if own is None:
        return []
    described, unit = labels.metric(name), labels.metric_unit(name, part.settings["target"])
    others = rows[rows["model"] != "network"].sort_values(
        "value", ascending=not described.higher_is_better, kind="stable"
    )
    best = first(others)
    note = f" {note_of(rows)}" if note_of(rows) else ""
    baseline = f" Best of the baselines: {labels.model(best['model'])} {with_interval(best, unit)}." if best else ""
    return [
        f"Out of fold, each of {labels.counted(int(own['n']), 'development participant')} predicted by the networks that were "
        f"not trained on them: {described.label} of the network {with_interval(own, unit)}. Their epochs were chosen on these "
        f"participants, which flatters the network a little.{baseline}{note}"
    ]


def _trained_range(samples: pd.DataFrame | Missing, folds: int) -> tuple[float, float] | None:
    if isinstance(samples, Missing):
        return None
    seen = pd.to_numeric(fitted_on(samples, folds)["target"], errors="coerce").dropna()
    return (float(seen.min()), float(seen.max())) if len(seen) else None
