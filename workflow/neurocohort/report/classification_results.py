"""The results of a classification beyond its metrics: curves with bands, the operating point, the confusion matrix, calibration,
the decision curve, cases by clinical dementia rating, and people of similar age."""

import pandas as pd

from neurocohort.evaluation.curves import TREAT_ALL
from neurocohort.report import classification_tables, figures_classification, labels, tables
from neurocohort.report.figures import Drawing
from neurocohort.report.part import Content, Part
from neurocohort.report.sources import Missing

AGE_SEX = labels.model("age_sex")
BAND = "The band is the network's, pointwise 95 % over resamples of participants."


def classification(part: Part, content: Content) -> None:
    """Put the sentences, figures and tables of a classification into ``content``."""
    classes, predictions = part.experiment.classes, part.predictions
    if isinstance(predictions, Missing):
        content.figures.append(predictions)
    else:
        usable = predictions.dropna(subset=["target", "prediction"])
        if len(classes) > 2:
            content.figures.append(_one_against_the_rest(part, usable))
        elif usable["target"].nunique() < 2:
            why = f"The {part.name} part has {usable['target'].nunique()} of the two classes, so a ROC curve has no meaning."
            content.figures.append(part.lack("predictions.tsv", "the ROC curve", why))
            return
    if len(classes) == 2:
        content.figures += [part.curves] if isinstance(part.curves, Missing) else _curves(part, part.curves)
        if not isinstance(predictions, Missing):
            content.figures.append(_strip(part, usable))
        if not isinstance(part.details, Missing):
            found = classification_tables.of_details(part, part.details)
            content.details += found or [part.lack("details.tsv", "the operating point")]
            content.sentences += classification_tables.operating_sentence(part, part.details)
    if not isinstance(part.details, Missing):
        content.sentences += classification_tables.sets_sentence(part, part.details)
    confusion = part.confusion
    if not isinstance(confusion, Missing):
        confusion = classification_tables.confusion_matrix(part, confusion)
    content.details.append(confusion)


def _curves(part: Part, curves: pd.DataFrame) -> list[Drawing | Missing]:
    rows = curves[curves["cohort"] == tables.lead_cohort(curves)]
    by_curve = {kind: _by_model(rows[rows["curve"] == kind]) for kind in ("roc", "pr", "decision")}
    bins = rows[(rows["curve"] == "reliability") & (rows["model"] == "network")]
    treat_all = rows[(rows["curve"] == "decision") & (rows["model"] == TREAT_ALL)]
    absent = [kind for kind, found in by_curve.items() if not found] + (["reliability"] if bins.empty else [])
    if absent or treat_all.empty:
        why = f"The table has no curve {', '.join(absent or [TREAT_ALL])} of the network."
        return [part.lack("curves.tsv", "the curves", why)]
    people = labels.counted(int(rows.loc[rows["curve"] == "roc", "n"].max()), "participant")
    on = f"{people} of the {part.name} part"
    prevalence = _prevalence(treat_all)
    return [
        _roc(part, by_curve["roc"], on),
        _precision_recall(part, by_curve["pr"], prevalence, on),
        _reliability(part, bins, on),
        _decision(part, by_curve["decision"], treat_all, prevalence, on),
    ]


def _roc(part: Part, curves: dict[str, pd.DataFrame], on: str) -> Drawing:
    path = part.figure("roc")
    figures_classification.roc_figure(curves, path)
    age = ": where age and sex do as well, the network may have learned age." if AGE_SEX in curves else "."
    return Drawing.of(
        path,
        f"ROC curves for {part.target} on {on}: {', '.join(curves)}.",
        f"ROC curves on the same participants{_figure(part, 'auc')}. The grey diagonal is chance. {BAND} Look whether the "
        f"network lies above the baselines{age}",
    )


def _precision_recall(part: Part, curves: dict[str, pd.DataFrame], prevalence: float, on: str) -> Drawing:
    path = part.figure("pr")
    figures_classification.precision_recall_figure(curves, prevalence, path)
    return Drawing.of(
        path,
        f"Precision-recall curves for {part.target} on {on}: {', '.join(curves)}.",
        f"Precision against recall{_figure(part, 'average_precision')}. The grey line is the fraction of cases here, "
        f"{prevalence:.2f}, which calling everybody reaches; where cases are rarer, precision is lower. {BAND} Look how far "
        "right the network stays high.",
    )


def _reliability(part: Part, bins: pd.DataFrame, on: str) -> Drawing:
    path = part.figure("reliability")
    figures_classification.reliability_figure(bins, path)
    return Drawing.of(
        path,
        f"Reliability curve of the network for {part.target}: {labels.counted(len(bins), 'bin')} of {on}.",
        f"Fraction of cases against mean predicted probability{_figure(part, 'brier')}, with Wilson's intervals and the "
        "participants of each bin. Look for points along the diagonal. Below it the network claims too much, above it too "
        "little; a curve flatter than the diagonal is over-confident.",
    )


def _decision(
    part: Part, curves: dict[str, pd.DataFrame], treat_all: pd.DataFrame, prevalence: float, on: str
) -> Drawing:
    path = part.figure("decision")
    figures_classification.decision_figure(curves, treat_all, path)
    return Drawing.of(
        path,
        f"Decision curves for {part.target} on {on}: {', '.join(curves)}, everybody and nobody.",
        "Net benefit by the probability at which one would act. A model helps at a threshold where it lies above both "
        f"“everybody” and “nobody” (0). The curve is valid for the fraction of cases here, {prevalence:.2f}. {BAND} Look at the "
        "thresholds that a clinic would use, not at the whole axis.",
    )


def _by_model(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The curves by label, the network's first, without the majority's (a point) and that of `TREAT_ALL`."""
    found = {model: table for model, table in rows.groupby("model", sort=False) if model not in ("majority", TREAT_ALL)}
    if "network" not in found:
        return {}
    order = ["network", *(model for model in found if model != "network")]
    return {labels.model(model): found[model] for model in order}


def _prevalence(treat_all: pd.DataFrame) -> float:
    """The fraction of cases, from the net benefit of calling everybody: y = p - (1 - p) x / (1 - x)."""
    x, y = treat_all["x"].iloc[0], treat_all["y"].iloc[0]
    odds = x / (1 - x)
    return float((y + odds) / (1 + odds))


def _figure(part: Part, name: str) -> str:
    """``; AUC of the network 0.82 [0.70, 0.91]``, or nothing."""
    if isinstance(part.metrics, Missing):
        return ""
    row = tables.first(part.metrics, cohort=tables.lead_cohort(part.metrics), model="network", group="all", metric=name)
    label = labels.metric(name).label
    if row is None:
        return ""
    return f"; {label if label.isupper() else label.lower()} of the network {tables.with_interval(row)}"


def _strip(part: Part, usable: pd.DataFrame) -> Drawing:
    threshold, classes = 0.5, part.experiment.classes
    if not isinstance(part.confusion, Missing):
        own = part.confusion.loc[part.confusion["model"] == "network", "threshold"].dropna()
        threshold = float(own.iloc[0]) if len(own) else threshold
    path = part.figure("classes")
    figures_classification.strip_by_class(usable, path, classes, threshold)
    return Drawing.of(
        path,
        f"Strip plot of the predicted probability of {classes[1]} by true class for {len(usable)} scans.",
        f"Predicted probability of {classes[1]} by true class; bars are medians, dotted the threshold {threshold:.3f}. "
        "Look for two clouds that are separate, on the two sides of it. Both on one side is a calibration fault, both at "
        "one height a network that has learned nothing.",
    )


def _one_against_the_rest(part: Part, usable: pd.DataFrame) -> Drawing | Missing:
    """The network's ROC curve of each of more than two classes against the rest."""
    curves = {}
    for code, name in enumerate(part.experiment.classes):
        column = f"probability_{code}"
        own = usable["target"] == code
        if column in usable and own.any() and not own.all():
            curves[name] = usable.assign(target=own.astype(int), prediction=usable[column])
    if not curves:
        why = f"The {part.name} part has one class, or no probabilities of the classes, so ROC curves have no meaning."
        return part.lack("predictions.tsv", "the ROC curves", why)
    path = part.figure("roc")
    figures_classification.classes_figure(curves, path)
    return Drawing.of(
        path,
        f"ROC curves of each class against the rest on {len(usable)} scans of the {part.name} part: {', '.join(curves)}.",
        "The network's ROC curves, each class against all others. The grey diagonal is chance. Look for a class near the "
        "diagonal: the network doesn't distinguish it from the rest, which the mean of the areas (macro AUC) may hide. Middle "
        "classes of an ordered scale are the hardest.",
    )
