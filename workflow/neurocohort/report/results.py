"""The results of one experiment on the page: its metrics with intervals next to those of every baseline, the differences to each,
its groups and the spread of its networks, and what belongs to its task; for the held-out part and for each external cohort."""

import pandas as pd

from neurocohort.evaluation.combined import COMBINED
from neurocohort.evaluation.details import OUT_OF_FOLD
from neurocohort.evaluation.measures import GIVEN
from neurocohort.evaluation.outer_folds import BY_TEST_FOLD, CORRECTED_T
from neurocohort.report import labels, tables
from neurocohort.report.adaptation import adaptation
from neurocohort.report.applied import applied_scans, only_predicted
from neurocohort.report.auxiliary_results import auxiliary
from neurocohort.report.cases import cases
from neurocohort.report.classification_results import classification
from neurocohort.report.comparisons_section import comparison_sentence, comparison_table
from neurocohort.report.counterfactual import counterfactual
from neurocohort.report.development import members_in_words
from neurocohort.report.few_labels import few_labels
from neurocohort.report.generation import generation
from neurocohort.report.given import given_models
from neurocohort.report.learning_curve import learning_curve
from neurocohort.report.part import Content, Part
from neurocohort.report.regions import regions
from neurocohort.report.regression_results import regression
from neurocohort.report.segmentation_results import segmentation
from neurocohort.report.site_effects import site_effects
from neurocohort.report.sources import Missing
from neurocohort.report.study import missing_of
from neurocohort.report.tables import COHORT, MODEL, Cell, Column, Key, Row, Table
from neurocohort.text import listed

BY_TASK = {"regression": regression, "classification": classification, "segmentation": segmentation}
BY_GROUP = {  # the metrics of the table by site, sex and age; a segmentation's tissues have a table of their own
    "regression": ("mae", "bias", "bias_slope"),
    "classification": ("auc", "auc_macro", "balanced_accuracy", "brier"),
    "segmentation": ("dice", "hd95_mm", "assd_mm", "surface_dice_1mm"),
}
COMBINED_EXPLAINED = (
    " The mean of the network and the model of tissue maps is not a baseline. It was declared before results were seen."
)
GROUP = Key("group", "Group", labels.group)


def part_results(part: Part) -> Content:
    """The results of one part of an experiment. Its figures are written into the report's folder ``figures``."""
    content = Content(part.cohort.title if part.cohort else "")
    applied_scans(part, content)
    if only_predicted(part):
        return content
    metrics, comparisons = part.metrics, part.comparisons
    content.tables += [metrics] if isinstance(metrics, Missing) else _metrics_tables(part, metrics)
    if isinstance(comparisons, Missing):
        content.details.append(comparisons)
    else:
        content.sentences += comparison_sentence(comparisons, part)
        content.details.append(comparison_table(comparisons, part))
    given_models(part, content)
    if part.cohort is None:
        content.sentences += _out_of_fold(part)
        content.sentences += _by_test_fold(part)
        content.details += _test_folds(part)
        content.cases += cases(part.experiment, part.predictions, part.output)
    BY_TASK[part.experiment.task](part, content)
    if part.cohort is None:
        learning_curve(part, content)
        adaptation(part, content)
        few_labels(part, content)
        generation(part, content)
        counterfactual(part, content)
        regions(part, content)
    auxiliary(part, content)
    site_effects(part, content)
    content.details += missing_of((part.baselines, part.details))
    if not isinstance(metrics, Missing):
        content.details += _groups(part, metrics)
    content.details += [part.spread] if isinstance(part.spread, Missing) else _spread(part, part.spread)
    return content


def _metrics_tables(part: Part, metrics: pd.DataFrame) -> list[Table]:
    """Every model by every metric on the whole part; of several cohorts all together, or the first, in full."""
    whole = metrics[metrics["group"] == "all"]
    name = part.headline_metric
    unit, lead = labels.metric_unit(name, part.experiment.target), tables.lead_cohort(metrics)
    found = []
    for cohort, rows in sorted(whole.groupby("cohort", sort=False), key=lambda item: item[0] != lead):
        figure = tables.figure(rows, unit, model="network", metric=name)
        caption = f"{labels.cohort(cohort)}, {part.name}: the network and every baseline on the same participants."
        if rows["model"].str.startswith(GIVEN).any():
            caption += (
                " Predictions from elsewhere (given) are of the participants whose scans have a value: look at n."
            )
        caption += COMBINED_EXPLAINED if (rows["model"] == COMBINED).any() else ""
        caption += f" Errors and bias in{part.unit}." if part.unit else ""
        summary = f"{labels.cohort(cohort)} alone: {labels.metric(name).label} {figure}." if cohort != lead else ""
        found.append(tables.metric_table(tables.network_first(rows), [MODEL], caption, summary=summary))
    return found


def _groups(part: Part, metrics: pd.DataFrame) -> list[Table]:
    """The network within each site, sex and age band."""
    rows = metrics[(metrics["group"] != "all") & (metrics["model"] == "network")]
    rows = rows[~rows["group"].str.startswith("tissue=") & rows["metric"].isin(BY_GROUP[part.experiment.task])]
    if rows.empty:
        return []
    name = part.headline_metric
    own = rows[rows["metric"] == name].dropna(subset=["value"])
    described = labels.metric(name)
    kinds = listed(dict.fromkeys(group.partition("=")[0] for group in rows["group"]))
    summary = f"By {kinds}: {rows.groupby(['cohort', 'group']).ngroups} groups."
    if len(own):
        low, high = own.loc[own["value"].idxmin()], own.loc[own["value"].idxmax()]
        lowest, highest = (
            f"{labels.number(row['value'], described.decimals)} ({labels.group(row['group'])}, {labels.cohort(row['cohort'])})"
            for row in (low, high)
        )
        spread = f"from {lowest} to {highest}" if low["value"] < high["value"] else f"{lowest}, alike in all groups"
        summary = f"By {kinds}: {described.label} of the network {spread}."
    caption = f"The network by group, {part.name}. Small groups have wide intervals; read those first."
    return [tables.metric_table(rows, [GROUP, COHORT], caption, summary=summary)]


def _spread(part: Part, spread: pd.DataFrame) -> list[Table]:
    """How much the networks of an ensemble differ; nothing for a single one."""
    members = int(spread["members"].max()) if len(spread) else 0
    if members < 2:
        return []
    name = part.headline_metric
    kinds = members_in_words(part.experiment.settings, part.experiment.folds, part.experiment.test_folds)
    lines = []
    for row in spread.to_dict("records"):
        places = labels.metric(row["metric"]).decimals
        values = [
            Cell(labels.number(row[key], places), value=tables.number_of(row[key]))
            for key in ("mean", "sd", "lowest", "highest")
        ]
        cohort = Cell(labels.cohort(row["cohort"]), right=False)
        lines.append(Row(labels.metric(row["metric"]).label, [cohort, *values], own=row["metric"] == name))
    own = spread[(spread["cohort"] == tables.lead_cohort(spread)) & (spread["metric"] == name)].iloc[0]
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
    table = part.experiment.details
    if isinstance(table, Missing):
        return []
    name = part.headline_metric
    rows = table[(table["setting"] == OUT_OF_FOLD) & (table["metric"] == name)].dropna(subset=["value"])
    own = tables.first(rows, model="network")
    if own is None:
        return []
    described, unit = labels.metric(name), labels.metric_unit(name, part.experiment.target)
    others = rows[(rows["model"] != "network") & ~rows["model"].str.startswith(GIVEN)].sort_values(
        "value", ascending=not described.higher_is_better, kind="stable"
    )
    best = tables.first(others)
    note = f" {tables.note_of(rows)}" if tables.note_of(rows) else ""
    baseline = ""
    if best is not None:
        baseline = f" Best of the baselines: {labels.model(best['model'])} {tables.with_interval(best, unit)}."
    return [
        f"Out of fold, each of {labels.counted(int(own['n']), 'development participant')} predicted by the networks that were "
        f"not trained on them: {described.label} of the network {tables.with_interval(own, unit)}. Their epochs were chosen on "
        f"these participants, which flatters the network a little.{baseline}{note}"
    ]


def _of_test_folds(part: Part, setting: str) -> pd.DataFrame:
    """The rows on the test folds, of the cohort whose figures represent the part; none without test folds."""
    table = part.experiment.details
    if isinstance(table, Missing) or not (table["setting"] == setting).any():
        return pd.DataFrame()
    rows = table[table["setting"] == setting]
    return rows[rows["cohort"] == tables.lead_cohort(rows)]


def _by_test_fold(part: Part) -> list[str]:
    """With test folds, the headline metric of the network in each of them, and its differences to the baselines."""
    rows, name = _of_test_folds(part, BY_TEST_FOLD), part.headline_metric
    if rows.empty:
        return []
    described, unit = labels.metric(name), labels.metric_unit(name, part.experiment.target)
    own = rows[(rows["model"] == "network") & (rows["metric"] == name)].dropna(subset=["value"])
    each, mean = own[own["group"] != "all"]["value"], tables.first(own, group="all")
    if mean is None:
        return []
    low, high = (labels.number(value, described.decimals) for value in (each.min(), each.max()))
    average = labels.number(mean["value"], described.decimals)
    sentences = [
        f"In {len(each)} test folds one by one: {described.label} of the network {average}{unit} on average, {low} to {high}. A "
        "test fold has few participants; the result is that of all together."
    ]
    tests = _of_test_folds(part, CORRECTED_T)
    for row in tests[tests["metric"] == f"{name}_difference"].to_dict("records") if len(tests) else ():
        limits = labels.interval(row["ci_low"], row["ci_high"], described.decimals)
        p = str(row["note"]).rpartition(": p ")[2].rstrip(".")
        sentences.append(
            f"Corrected resampled t-test against “{labels.model(row['model'])}”: difference in {described.label} "
            f"{labels.number(row['value'], described.decimals)}{unit} {limits}, p {p}."
        )
    return sentences


def _test_folds(part: Part) -> list[Table]:
    """With test folds, the network's metrics in each of them."""
    rows = _of_test_folds(part, BY_TEST_FOLD)
    rows = rows[(rows["model"] == "network") & (rows["group"] != "all")] if len(rows) else rows
    if rows.empty:
        return []
    summary = f"By test fold: {labels.counted(rows['group'].nunique(), 'test fold')} one by one."
    caption = "The network in each test fold, by the networks that leave it out. Single values have no interval."
    return [tables.metric_table(rows, [GROUP], caption, summary=summary)]
