"""The results of a regression beyond its metrics: the scatter, brain-PAD and its slope, bias-corrected values, and of external
cohorts the participants of the ages of training, or without a dementia rating above 0."""

import pandas as pd

from neurocohort.evaluation.conformal import SETTING as PREDICTION_INTERVAL
from neurocohort.report import figures_regression, labels, tables
from neurocohort.report.figures import Drawing
from neurocohort.report.part import Content, Part
from neurocohort.report.repeatability import repeated
from neurocohort.report.sources import Missing
from neurocohort.report.tables import COHORT, MODEL, Key, Table

AS_PREDICTED, CORRECTED = "as predicted", "bias-corrected"
SHOWN = ("mae", "rmse", "bias", "bias_slope")
EXTERNAL_GROUPS = {
    "healthy": "rated 0 for dementia or not rated",
    "shared age range": "ages as in training",
    "healthy, shared age range": "rated 0 for dementia or not rated, ages as in training",
}


PARTICIPANTS = Key("group", "Participants", lambda group: labels.spaced(EXTERNAL_GROUPS[group]))


def regression(part: Part, content: Content) -> None:
    """Put the sentences, figures and tables of a regression into ``content``."""
    predictions, details = part.predictions, part.details
    content.figures += [predictions] if isinstance(predictions, Missing) else _figures(part, predictions)
    if not isinstance(part.metrics, Missing):
        content.sentences += _pad_sentence(part, part.metrics)
    repeated(part, content)
    if isinstance(details, Missing):
        return
    content.sentences += _intervals_sentence(part, details[details["setting"] == PREDICTION_INTERVAL])
    as_predicted = details[details["setting"] == AS_PREDICTED]
    if len(as_predicted):
        content.details.append(_external_groups(part, as_predicted))
    corrected = details[details["setting"] == CORRECTED]
    own = corrected[corrected["model"] == "network"]
    if own.empty:
        content.sentences.append(
            "No bias-corrected values: a line needs validation scans of three participants or more with more than one "
            f"{part.target}, and this part three participants."
        )
    else:
        content.details.append(_corrected(part, corrected, own))


def _quantity(part: Part) -> tuple[str, str]:
    """The name of predicted minus true, and the words after its slope on the target."""
    return ("Brain-PAD", "per year of age") if part.experiment.target == "age" else ("Error", f"on {part.target}")


def _pad_sentence(part: Part, metrics: pd.DataFrame) -> list[str]:
    rows = metrics[(metrics["group"] == "all") & (metrics["model"] == "network")]
    if rows.empty:
        return []
    cohort = tables.lead_cohort(rows)
    bias, slope = (tables.first(rows, cohort=cohort, metric=name) for name in ("bias", "bias_slope"))
    if bias is None and slope is None:
        return []
    name, on = _quantity(part)
    return [
        f"{name} (predicted minus true {part.target}, as predicted, with no correction; “bias” in the tables), "
        f"{labels.cohort_in_text(cohort)}: mean {tables.with_interval(bias, part.unit)}; slope "
        f"{tables.with_interval(slope)} {on}. A slope of 0 is no regression to the mean, −1 a network that always predicts "
        "the same."
    ]


def _intervals_sentence(part: Part, rows: pd.DataFrame) -> list[str]:
    """How many true values are within the prediction intervals, and how wide these are."""
    if rows.empty:
        return []
    cohort = tables.lead_cohort(rows)
    covered, width = (tables.first(rows, cohort=cohort, metric=name) for name in ("coverage", "interval_width"))
    note = tables.note_of(rows)
    if covered is None or not labels.is_number(covered["value"]):
        return [note]
    return [
        f"{note} On {labels.cohort_in_text(cohort)}, {part.name}, the interval contains the true {part.target} of a fraction "
        f"of {tables.with_interval(covered)} of the scans; its mean width is {tables.with_interval(width, part.unit)}."
    ]


def _corrected(part: Part, corrected: pd.DataFrame, own: pd.DataFrame) -> Table:
    cohort = tables.lead_cohort(own)
    bias, slope, error = (tables.first(own, cohort=cohort, metric=name) for name in ("bias", "bias_slope", "mae"))
    name, on = _quantity(part)
    return tables.metric_table(
        tables.network_first(corrected),
        [MODEL, COHORT],
        names=SHOWN,
        caption=f"Bias-corrected, {part.name}: fitted on validation scans only, and no measure of accuracy, because it "
        f"uses the person's own {part.target}. "
        + (
            "Look at the training mean: a constant has an error of 0 here. "
            if (corrected["model"] == "mean").any()
            else ""
        )
        + f"Of the network: {tables.note_of(own)} Each baseline has a line of its own, fitted in the same way on "
        "its predictions.",
        summary=f"Bias-corrected values, fitted on validation scans only: {name} {tables.with_interval(bias, part.unit)}, slope "
        f"{tables.with_interval(slope)} {on}; their MAE, {tables.with_interval(error, part.unit)}, is no measure of accuracy.",
    )


def _external_groups(part: Part, rows: pd.DataFrame) -> Table:
    own = rows[rows["model"] == "network"]
    figures = [
        f"{EXTERNAL_GROUPS[group]}: {tables.figure(own, part.unit, group=group, metric='mae')}"
        for group in dict.fromkeys(own["group"])
    ]
    notes = " ".join(
        f"{labels.spaced(EXTERNAL_GROUPS[group])}: {tables.note_of(found)}"
        for group, found in rows.groupby("group", sort=False)
    )
    return tables.metric_table(
        rows,
        [PARTICIPANTS, MODEL],
        caption=f"Some of the participants only, {part.name}, as predicted. {notes}",
        summary=f"MAE of the network on some of the participants only: {'; '.join(figures)}.",
    )


def _figures(part: Part, predictions: pd.DataFrame) -> list[Drawing | Missing]:
    usable = predictions.dropna(subset=["target", "prediction"])
    if usable.empty:
        return [part.lack("predictions.tsv", "the scatter", "No row has target and prediction.")]
    target = part.experiment.target
    trained_range = part.trained_range if part.cohort else None
    quantity = f"{target}{' (years)' if target == 'age' else ''}"
    scatter, difference = part.figure("scatter"), part.figure("difference")
    figures_regression.predicted_against_true(usable, scatter, quantity, trained_range)
    figures_regression.difference_against_true(usable, difference, quantity)
    low, high = usable["target"].min(), usable["target"].max()
    pad = "brain-predicted age difference" if target == "age" else "error"
    band = f" Shaded: the {target} range of the scans that were trained on." if trained_range else ""
    return [
        Drawing.of(
            scatter,
            f"Scatter plot of predicted against true {target} for {len(usable)} scans of the {part.name} part; true values "
            f"from {low:.0f} to {high:.0f}, predictions from {usable['prediction'].min():.0f} to "
            f"{usable['prediction'].max():.0f}.",
            f"Predicted against true {target}, as predicted, with no bias correction; {target} from {low:.0f} to "
            f"{high:.0f}. The line is perfect prediction.{band} Look for points along the line. A flat cloud is a network "
            "that predicts the mean"
            + ("; one site off the line is a site effect." if usable["site"].nunique() > 1 else "."),
        ),
        Drawing.of(
            difference,
            f"Scatter plot of predicted minus true {target} against true {target} for {len(usable)} scans, with a fit.",
            f"The {pad} against true {target}, the same scans and marks; dashed is a straight fit. Look for a slope near "
            "zero. A slope towards −1 is shrinkage to the mean, and differences between groups of different "
            f"{target} then mean little.",
        ),
    ]
