"""Models of other studies that were applied to this study's cohorts: predictions with flags, and metrics where the target
is known."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd

from neurocohort.evaluation.measures import SMALLEST_GROUP
from neurocohort.report import formats, labels, tables
from neurocohort.report.headline import headline_metric
from neurocohort.report.part import Content
from neurocohort.report.sources import Missing, Record
from neurocohort.report.study import Study
from neurocohort.report.tables import COHORT, MODEL, Cell, Column, Row, Table
from neurocohort.text import listed

MOST_ROWS = 50  # of a table of predictions
FOLDER = "applied_models"  # in the results
COLUMNS = (*formats.PREDICTED, "target", "status", "prediction", "flags")


class ModelRecord(Record):
    """model.json: what the model is, and ``true_values``, the column that it is compared with."""

    study: str
    experiment: str
    task: str
    target: str
    true_values: str
    classes: list[str]
    demo_data: bool


@dataclass(frozen=True)
class AppliedModel:
    """A model as the page shows it."""

    name: str
    title: str
    content: Content


def applied_models(study: Study) -> list[AppliedModel]:
    """The models of a study's configuration."""
    return [AppliedModel(name, labels.spaced(name), _content(study, name)) for name in study.block("models")]


def _content(study: Study, name: str) -> Content:
    folder, of = study.folders.results / FOLDER / name, f"of the applied model {name}"
    model = study.sources.record(folder / "model.json", f"the description {of}", ModelRecord)
    predictions = study.sources.table(folder / "predictions.tsv", f"the predictions {of}", COLUMNS)
    metrics = study.sources.table(
        folder / "metrics.tsv", f"the metrics {of}", formats.METRIC_COLUMNS, may_be_empty=True
    )
    if isinstance(model, Missing) or isinstance(predictions, Missing) or isinstance(metrics, Missing):
        return Content(tables=[one for one in (model, predictions, metrics) if isinstance(one, Missing)])
    content = Content(sentences=_origin(model, study))
    whole = metrics[metrics["group"] == "all"]
    if len(whole):
        caption = f"The model on the scans with a value of {model.true_values}, by cohort. It has no baselines here."
        content.tables.append(tables.metric_table(whole, [MODEL, COHORT], caption))
    for cohort, rows in predictions.groupby("cohort", sort=False):
        content.sentences += _cohort(model, str(cohort), rows, whole[whole["cohort"] == cohort])
    content.details.append(_table(model, predictions))
    return content


def _origin(model: ModelRecord, study: Study) -> list[str]:
    sentences = [
        f"This {model.task} of {labels.target(model.target)} was trained in the study {model.study} (its experiment "
        f"{model.experiment}). It was applied as it is: nothing was trained for it here.",
        "The workflow does not know on which participants it was trained; if some of them are in these cohorts, its results are "
        "too good.",
    ]
    if model.demo_data and not study.demo:
        sentences.append("It was trained on synthetic scans, so its predictions of real scans mean nothing.")
    return sentences


def _cohort(model: ModelRecord, cohort: str, rows: pd.DataFrame, metrics: pd.DataFrame) -> list[str]:
    """What the model predicted of a cohort, how right it was, and how many scans are flagged."""
    title, predicted = labels.cohort(cohort), rows[rows["status"] == "predicted"]
    sentences = []
    if excluded := len(rows) - len(predicted):
        sentences.append(
            f"{title}: {labels.counted(excluded, 'scan')} got no prediction because preprocessing excluded them (see "
            "Participants)."
        )
    if predicted.empty:
        return sentences
    known = predicted[predicted["target"].notna()]
    if known.empty:
        sentences.append(
            f"{title}: {labels.counted(len(predicted), 'scan')} with no value of {model.true_values} only got predictions. "
            "Whether these predictions are right is not known."
        )
    else:
        sentences.append(_result(model, title, known, metrics))
        if without := len(predicted) - len(known):
            sentences.append(
                f"{title}: {labels.counted(without, 'other scan')} with no value of {model.true_values} got a prediction too, "
                "and are in no metric."
            )
    return [*sentences, _flagged(title, predicted)]


def _result(model: ModelRecord, title: str, known: pd.DataFrame, metrics: pd.DataFrame) -> str:
    people = known["participant_id"].nunique()
    name = headline_metric(_settings(model)).metric
    row = tables.first(metrics, metric=name)
    if row is None or not labels.is_number(row["value"]):
        return (
            f"{title}: no {labels.metric(name).label} of {labels.counted(people, 'participant')} with a value of "
            f"{model.true_values}: metrics need {SMALLEST_GROUP} participants or more, and a classification needs all of its "
            "classes."
        )
    value = tables.with_interval(row, labels.metric_unit(name, model.target))
    return f"{title}: {labels.metric(name).label} {value} on {labels.counted(people, 'participant')}."


def _flagged(title: str, predicted: pd.DataFrame) -> str:
    kinds = Counter(kind for flags in predicted["flags"].dropna() for kind in str(flags).split(", "))
    if not kinds:
        return f"{title}: no scan is flagged as different from the model's training scans."
    number = int(predicted["flags"].notna().sum())
    counts = listed([f"{kind} {count}" for kind, count in kinds.most_common()])
    return (
        f"{title}: {number} of {labels.counted(len(predicted), 'scan')} differ from the model's training scans in a way that is "
        f"checked ({counts}). A flagged prediction may be wrong by more than the metrics of the model's own study suggest."
    )


def _settings(model: ModelRecord) -> dict[str, Any]:
    return {"task": model.task, "classes": model.classes}


def _table(model: ModelRecord, predictions: pd.DataFrame) -> Table:
    decimals = 1 if model.task == "regression" else 2
    lines = []
    for row in predictions.head(MOST_ROWS).to_dict("records"):
        values = [
            Cell(labels.number(row[key], decimals), value=tables.number_of(row[key]))
            for key in ("prediction", "target")
        ]
        why = row["flags"] if row["status"] == "predicted" else row.get("reason")
        lines.append(Row(str(row["scan_id"]), [*values, Cell("" if pd.isna(why) else str(why), right=False)]))
    more = f" The others of {len(predictions)} scans are in predictions.tsv." if len(predictions) > MOST_ROWS else ""
    return Table(
        f"Predictions of {labels.target(model.target)} by the applied model. The flags in words are in predictions.tsv.{more}",
        [Column("Scan", right=False), Column("Prediction"), Column("True value"), Column("Flags", right=False)],
        lines,
        f"Predictions of {labels.counted(len(predictions), 'scan')} with their flags.",
    )
