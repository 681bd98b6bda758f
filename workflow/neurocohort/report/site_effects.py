"""Site effects on the page: whether the site of a scan can be predicted from the network's errors and features and the baselines'
inputs."""

import pandas as pd

from neurocohort.evaluation.harmonisation_details import SETTING as HARMONISATION
from neurocohort.evaluation.site_prediction import ACCURACY, CHANCE, FROM_FEATURES, FROM_INPUTS, FROM_RESIDUALS
from neurocohort.report import labels, tables
from neurocohort.report.part import Content, Part
from neurocohort.report.sources import Missing
from neurocohort.report.tables import COHORT, MODEL, Key, Table

SOURCES = {FROM_RESIDUALS: "Residuals", FROM_INPUTS: "Inputs", FROM_FEATURES: "Features"}
SOURCE = Key("setting", "Site predicted from", lambda setting: SOURCES[setting])
CONSTANTS = ("mean", "majority")


def site_effects(part: Part, content: Content) -> None:
    """Put the prediction of sites into ``content``, if the part has two sites of enough participants; and what was harmonised."""
    details = part.details
    if isinstance(details, Missing):
        return
    content.sentences += harmonisation_sentences(details)
    rows = details[details["setting"].isin(SOURCES)]
    own = rows[(rows["setting"] == FROM_RESIDUALS) & (rows["model"] == "network")]
    if own.empty:
        return
    content.sentences += site_sentence(rows, tables.lead_cohort(own))
    content.details.append(_table(part, rows, own))


def site_sentence(rows: pd.DataFrame, cohort: str) -> list[str]:
    """Whether the site can be predicted from the network's residuals on a cohort, next to those of a constant prediction, and
    from its features.

    Args:
        rows: Rows of details.tsv on site prediction.
        cohort: The cohort whose rows are read.
    """
    own = rows[(rows["cohort"] == cohort) & (rows["setting"] == FROM_RESIDUALS)]
    accuracy, chance = (tables.first(own, model="network", metric=name) for name in (ACCURACY, CHANCE))
    if accuracy is None or chance is None or not labels.is_number(accuracy["ci_low"]):
        return []
    constant = tables.first(own[own["model"].isin(CONSTANTS)], metric=ACCURACY)
    figures = f"balanced accuracy {tables.with_interval(accuracy)}, chance {labels.number(chance['value'], 3)}"
    if accuracy["ci_low"] <= chance["value"]:
        found = f"It is not shown that the network's errors depend on the site: {figures}."
    else:
        found = f"The site can be predicted from the network's errors: {figures}."
        if constant is not None and constant["ci_low"] > chance["value"]:
            found += (
                f" Part of this may come from participants who differ between sites: from the errors of a constant prediction "
                f"it is {tables.with_interval(constant)}."
            )
    features = rows[(rows["cohort"] == cohort) & (rows["setting"] == FROM_FEATURES)]
    return [found, *_feature_sentence(features), tables.note_of(own[own["model"] == "network"])]


def _feature_sentence(rows: pd.DataFrame) -> list[str]:
    """Whether the site can be predicted from the network's features; ``rows`` are those of a cohort with this setting."""
    accuracy, chance = (tables.first(rows, metric=name) for name in (ACCURACY, CHANCE))
    if accuracy is None or chance is None or not labels.is_number(accuracy["ci_low"]):
        return []
    figures = f"balanced accuracy {tables.with_interval(accuracy)}, chance {labels.number(chance['value'], 3)}"
    if accuracy["ci_low"] <= chance["value"]:
        return [f"It is not shown that the features of the first network in the average depend on the site: {figures}."]
    return [
        f"The site can be predicted from the features of the first network in the average: {figures}. Scanners and "
        "participants who differ between sites both have this effect."
    ]


def harmonisation_sentences(details: pd.DataFrame) -> list[str]:
    """Which sites the harmonised baselines correct, from the rows of details.tsv of a part; none without such baselines."""
    rows = details[details["setting"] == HARMONISATION]
    if rows.empty:
        return []
    cohort = tables.lead_cohort(rows)
    return [f"Harmonised baselines, {labels.cohort_in_text(cohort)}: {tables.note_of(rows[rows['cohort'] == cohort])}"]


def _table(part: Part, rows: pd.DataFrame, own: pd.DataFrame) -> Table:
    accuracy = tables.first(own[own["cohort"] == tables.lead_cohort(own)], metric=ACCURACY)
    return tables.metric_table(
        rows,
        [SOURCE, MODEL, COHORT],
        caption=f"How well the site of a scan is predicted, {part.name}: logistic regression, five-fold cross-validation over "
        "participants. Residuals are predicted minus true; near chance is good. Inputs are those of the model. "
        "Features are what the last layer of the network gets, of the first one in the average. The intervals treat the "
        "predicted sites as given.",
        summary=f"Sites predicted from residuals and inputs: balanced accuracy from the network's residuals "
        f"{tables.with_interval(accuracy)}.",
    )
