"""What the page shows of one experiment: its learning curves, its metrics with intervals beside every baseline, and the
figures of its task, for the held-out part and, apart from it, for external cohorts."""

from pathlib import Path

import pandas as pd

from neurocohort.dataset.targets import class_names
from neurocohort.members import members_of
from neurocohort.reporting import figures, headline, labels
from neurocohort.reporting.figures import Drawing
from neurocohort.reporting.sources import Missing, Sources

PREDICTION_COLUMNS = {
    "regression": ("cohort", "part", "scan_id", "participant_id", "site", "target", "prediction"),
    "classification": ("cohort", "part", "scan_id", "participant_id", "site", "target", "prediction"),
    "segmentation": ("cohort", "part", "scan_id", "participant_id", "tissue", "dice", "volume_ml", "reference_ml"),
}
HISTORY_COLUMNS = ("epoch", "train_loss", "validation_loss", "best")
MARKED = ("percentile", "newcombe")  # the kinds of interval that carry a mark on the page; BCa carries none


def learning(
    sources: Sources, results: Path, experiment: str, settings: dict, output: Path, folds: int = 0
) -> list[dict]:
    """One record a member (a seed, or a fold and seed): the run's facts and its learning curve."""
    folder = results / "experiments" / experiment
    if (settings.get("training") or {}).get("seeds"):
        members = members_of(settings, folds)
    else:
        members = sorted(path.name for path in folder.glob("seed-*"))
    if not members:
        return [
            {"member": None, "facts": [], "figure": sources.lack(folder / "seed-*", f"the training of {experiment}")}
        ]
    return [_run(sources, folder / member, experiment, member, output) for member in members]


def control(sources: Sources, results: Path, experiment: str, settings: dict) -> dict | Missing | None:
    """What became of the experiment's controls; None where it has none."""
    if not settings.get("control"):
        return None
    return sources.record(results / "experiments" / experiment / "control.json", f"the control of {experiment}")


def sweep(sources: Sources, results: Path, experiment: str, settings: dict) -> str | Missing:
    """A sentence on what a sweep chose; empty where there is none."""
    if not settings.get("sweep"):
        return ""
    path = results / "experiments" / experiment / "sweep" / "sweep.tsv"
    table = sources.table(path, f"the sweep of {experiment}", ("draw", "validation_loss", "chosen"))
    if isinstance(table, Missing):
        return table
    chosen = table.loc[table["chosen"] == 1].iloc[0]
    values = ", ".join(f"{key} {chosen[key]}" for key in table.columns.drop(["draw", "validation_loss", "chosen"]))
    return f"Chosen from {len(table)} draws by the validation loss, before the held-out part was opened: {values}."


def outcome(
    sources: Sources, results: Path, experiment: str, settings: dict, samples: pd.DataFrame | Missing, output: Path
) -> dict:
    """The metrics and figures of one experiment: ``held_out`` and ``external``, each with tables, groups, figures."""
    folder = results / "experiments" / experiment
    task = settings["task"]
    what = f"the results of {experiment}"
    metrics = sources.table(folder / "metrics.tsv", what, headline.METRIC_COLUMNS)
    predictions = sources.table(folder / "predictions.tsv", f"the figures of {experiment}", PREDICTION_COLUMNS[task])
    baselines = sources.table(
        folder / "baselines.tsv", f"the baselines of {experiment}", ("model", *PREDICTION_COLUMNS[task])
    )
    shared = {"sources": sources, "folder": folder, "experiment": experiment, "settings": settings, "output": output}
    external = settings.get("external") or []
    return {
        "held_out": _part(**shared, part="held-out", cohorts=None, metrics=metrics, predictions=predictions,
                          baselines=baselines, trained_range=None),
        "external": [
            _part(**shared, part="external", cohorts=cohort, metrics=metrics, predictions=predictions,
                  baselines=baselines, trained_range=_trained_range(samples) if task == "regression" else None)
            for cohort in external
        ],
    }  # fmt: skip


def _spelt(member: str) -> str:
    """``fold-2_seed-1`` as fold 2, seed 1."""
    return member.replace("_", ", ").replace("-", " ")


def _run(sources: Sources, folder: Path, experiment: str, member: str, output: Path) -> dict:
    what = f"the learning curve of {experiment}, {_spelt(member)}"
    history = sources.table(folder / "history.tsv", what, HISTORY_COLUMNS)
    run = sources.record(folder / "run.json", f"the facts of the training of {experiment}, {_spelt(member)}")
    figure: Drawing | Missing = history if isinstance(history, Missing) else None  # type: ignore[assignment]
    if not isinstance(history, Missing):
        path = output / "figures" / f"{experiment}_{member}_learning.svg"
        figures.learning_curves(history, path)
        best = history.loc[history["best"] == 1, "epoch"]
        kept = f"Best epoch {int(best.iloc[-1])} of {int(history['epoch'].max())}." if len(best) else "No best epoch."
        figure = Drawing.of(
            path,
            f"Training and validation loss of {experiment}, {_spelt(member)}, over {len(history)} epochs. {kept}",
            f"{labels.spaced(experiment)}, {_spelt(member)}. {kept} Look for a validation loss that falls and levels off. "
            "Still falling at the end: train longer. Rising while the training loss falls: overfitting, and the "
            "weights of the best epoch are the ones that were kept.",
        )
    return {"member": _spelt(member), "facts": run if isinstance(run, Missing) else _facts(run), "figure": figure}


def _facts(run: dict) -> list[tuple[str, str]]:
    names = {
        "network": "Network",
        "parameters": "Parameters",
        "epochs_run": "Epochs run",
        "best_epoch": "Best epoch",
        "device": "Device",
        "torch": "PyTorch",
        "torch_version": "PyTorch",
    }
    facts = []
    for key, name in names.items():
        value = run.get(key)
        if isinstance(value, dict):
            value = value.get("name")
        if value is not None:
            facts.append((name, f"{value:,}" if isinstance(value, int) else str(value)))
    return facts


def _part(*, sources, folder, experiment, settings, output, part, cohorts, metrics, predictions, baselines,
          trained_range) -> dict:  # fmt: skip
    """Tables and figures of one part; ``cohorts`` is one external cohort's name, or None for the held-out part."""

    def chosen(table: pd.DataFrame, name: str, what: str) -> pd.DataFrame | Missing:
        if isinstance(table, Missing):
            return table
        rows = table[table["part"] == part]
        if cohorts is not None:
            rows = rows[rows["cohort"] == cohorts]
        where = f"of the {part} part" if cohorts is None else f"of the external cohort {cohorts}"
        return rows if not rows.empty else sources.lack(folder / name, what, f"The table has no rows {where}.")

    of = f"of {experiment}" if cohorts is None else f"of {experiment} on {labels.cohort(cohorts)}"
    own_metrics = chosen(metrics, "metrics.tsv", f"the metrics {of}")
    own_predictions = chosen(predictions, "predictions.tsv", f"the figures {of}")
    beside = None if isinstance(baselines, Missing) else baselines[baselines["part"] == part]
    if beside is not None and cohorts is not None:
        beside = beside[beside["cohort"] == cohorts]
    described = {"cohort": cohorts, "name": labels.cohort(cohorts) if cohorts else None}
    if isinstance(own_metrics, Missing):
        described |= {"tables": [own_metrics], "groups": None}
    else:
        described |= {"tables": _tables(own_metrics), "groups": _groups(own_metrics, settings)}
    if isinstance(own_predictions, Missing):
        described["figures"] = [own_predictions]
    else:
        stem = experiment if cohorts is None else f"{experiment}_{cohorts}"
        draw = {"regression": _regression, "classification": _classification, "segmentation": _segmentation}
        described["figures"] = draw[settings["task"]](
            sources, folder, own_predictions, beside, settings, stem, output, part, trained_range
        )
    if isinstance(baselines, Missing):
        described["figures"].append(baselines)
    return described


def _tables(metrics: pd.DataFrame) -> list[dict]:
    """One table a cohort: a row a model, a column a metric, over the whole part."""
    whole = metrics[metrics["group"] == "all"]
    tables = []
    for cohort, rows in whole.groupby("cohort", sort=False):
        names = list(dict.fromkeys(rows["metric"]))
        models = ["network", *(model for model in dict.fromkeys(rows["model"]) if model != "network")]
        cells = {(row["model"], row["metric"]): row for row in rows.to_dict("records")}
        tables.append(
            {
                "cohort": labels.cohort(cohort),
                "columns": [labels.metric(name) for name in names],
                "rows": [
                    {
                        "model": labels.MODELS.get(model, model),
                        "network": model == "network",
                        "n": max(
                            (int(row["n"]) for row in rows.to_dict("records") if row["model"] == model), default=0
                        ),
                        "cells": [_cell(cells.get((model, name)), name) for name in names],
                    }
                    for model in models
                ],
                **{mark: "interval" in rows and bool((rows["interval"] == mark).any()) for mark in MARKED},
            }
        )
    return tables


def _cell(row: dict | None, metric: str) -> dict:
    if row is None:
        return {"value": "–", "interval": "", **dict.fromkeys(MARKED, False)}
    places = labels.metric(metric).decimals
    return {
        "value": labels.number(row["value"], places),
        "interval": labels.interval(row["ci_low"], row["ci_high"], places),
        **{mark: row.get("interval") == mark for mark in MARKED},
    }


def _groups(metrics: pd.DataFrame, settings: dict) -> dict | None:
    """The headline metric of the network within each group (a site, a sex, a tissue)."""
    name = headline.headline_metric(settings)[0]
    rows = metrics[(metrics["group"] != "all") & (metrics["model"] == "network") & (metrics["metric"] == name)]
    if rows.empty:
        return None
    return {
        "metric": labels.metric(name),
        "rows": [
            {
                "group": str(row["group"]).replace("=", ": "),
                "cohort": labels.cohort(row["cohort"]),
                "n": int(row["n"]),
                **_cell(row, name),
            }
            for row in rows.to_dict("records")
        ],
    }


def _regression(sources, folder, predictions, baselines, settings, stem, output, part, trained_range) -> list:
    usable = predictions.dropna(subset=["target", "prediction"])
    if usable.empty:
        return [sources.lack(folder / "predictions.tsv", f"the scatter of {stem}", "No row has target and prediction.")]
    target = settings["target"]
    quantity = f"{target}{' (years)' if target == 'age' else ''}"
    path = output / "figures" / f"{stem}_scatter.svg"
    figures.predicted_against_true(usable, path, quantity, trained_range)
    low, high = usable["target"].min(), usable["target"].max()
    beside = output / "figures" / f"{stem}_difference.svg"
    figures.difference_against_true(usable, beside, quantity)
    pad = "brain-predicted age difference" if target == "age" else "error"
    band = f" Shaded: the {target} range of the training part." if trained_range else ""
    return [
        Drawing.of(
            path,
            f"Scatter plot of predicted against true {target} for {len(usable)} scans of the {part} part; true values "
            f"from {low:.0f} to {high:.0f}, predictions from {usable['prediction'].min():.0f} to "
            f"{usable['prediction'].max():.0f}.",
            f"Predicted against true {target}, as predicted, with no bias correction; {target} from {low:.0f} to "
            f"{high:.0f}. The line is perfect prediction.{band} Look for points along the line. A flat cloud is a network "
            "that predicts the mean; one site off the line is a site effect.",
        ),
        Drawing.of(
            beside,
            f"Scatter plot of predicted minus true {target} against true {target} for {len(usable)} scans, with a fit.",
            f"The {pad} against true {target}, the same scans and marks; dashed is a straight fit. Look for a slope near "
            "zero. A slope towards −1 is shrinkage to the mean, and differences between groups of unlike "
            f"{target} then mean little.",
        ),
    ]


def _classification(sources, folder, predictions, baselines, settings, stem, output, part, trained_range) -> list:
    usable = predictions.dropna(subset=["target", "prediction"])
    target = labels.spaced(settings["target"]).lower()
    if len(settings.get("classes") or ()) > 2:
        return [_classes(sources, folder, usable, class_names(settings["classes"]), target, stem, output, part)]
    figure_list: list = []
    if usable["target"].nunique() < 2:
        why = f"The {part} part has {usable['target'].nunique()} of the two classes, so a ROC curve has no meaning."
        return [sources.lack(folder / "predictions.tsv", f"the ROC curve of {stem}", why)]
    curves = {"Network": usable}
    for model, table in baselines.groupby("model", sort=False) if baselines is not None else []:
        table = table.dropna(subset=["target", "prediction"])
        if model != "majority" and table["target"].nunique() == 2:
            curves[labels.MODELS.get(model, model)] = table
    path = output / "figures" / f"{stem}_roc.svg"
    figures.roc_curves(curves, path)
    figure_list.append(
        Drawing.of(
            path,
            f"ROC curves for {target} on {len(usable)} scans of the {part} part: {', '.join(curves)}.",
            "ROC curves on the same scans. The grey diagonal is chance. Look whether the network lies above the "
            "baselines: where age and sex do as well, the network may have learned age.",
        )
    )
    path = output / "figures" / f"{stem}_classes.svg"
    figures.strip_by_class(usable, path, (f"no {target}", target))
    figure_list.append(
        Drawing.of(
            path,
            f"Strip plot of the predicted probability of {target} by true class for {len(usable)} scans.",
            f"Predicted probability of {target} by true class; bars are medians. Look for two clouds that lie apart on "
            "the two sides of 0.5. Both on one side is a calibration fault, both at one height a network that has "
            "learned nothing.",
        )
    )
    return figure_list


def _classes(sources, folder, usable, names, target, stem, output, part) -> Drawing | Missing:
    """The network's ROC curve of each of more than two classes against the rest."""
    curves = {}
    for code, name in enumerate(names):
        column = f"probability_{code}"
        own = usable["target"] == code
        if column in usable and own.any() and not own.all():
            curves[f"{target} {name}"] = usable.assign(target=own.astype(int), prediction=usable[column])
    if not curves:
        why = f"The {part} part has one class, or no probabilities of the classes, so ROC curves have no meaning."
        return sources.lack(folder / "predictions.tsv", f"the ROC curves of {stem}", why)
    path = output / "figures" / f"{stem}_roc.svg"
    figures.roc_curves(curves, path)
    return Drawing.of(
        path,
        f"ROC curves of each class against the rest on {len(usable)} scans of the {part} part: {', '.join(curves)}.",
        "The network's ROC curves, each class against all others. The grey diagonal is chance. Look for a class near the "
        "diagonal: the network doesn't tell it from the rest, which the mean of the areas (macro AUC) may hide. Middle "
        "classes of an ordered scale are the hardest.",
    )


def _segmentation(sources, folder, predictions, baselines, settings, stem, output, part, trained_range) -> list:
    scans = predictions["scan_id"].nunique()
    atlas = None if baselines is None else baselines[baselines["model"] == "atlas"]
    path = output / "figures" / f"{stem}_dice.svg"
    figures.dice_by_tissue(predictions, atlas, "Atlas", path)
    medians = predictions.groupby("tissue", sort=False)["dice"].median()
    told = ", ".join(f"{tissue} {value:.2f}" for tissue, value in medians.items())
    overlap = Drawing.of(
        path,
        f"Boxplot of Dice by tissue for {scans} scans of the {part} part; medians {told}.",
        f"Dice by tissue, a point a scan; medians {told}. Look for a scan far below its tissue's box: open its mosaic. "
        "It is agreement with the reference labels, which another program made, not accuracy.",
    )
    path = output / "figures" / f"{stem}_volumes.svg"
    figures.volume_agreement(predictions.dropna(subset=["volume_ml", "reference_ml"]), path)
    volumes = Drawing.of(
        path,
        f"Bland-Altman plot of predicted and reference tissue volumes for {scans} scans of the {part} part.",
        "Bland-Altman plot of tissue volumes; the legend gives mean difference ± standard deviation. Look for points "
        "around zero with no slope. A line off zero is a bias that Dice may hide.",
    )
    return [overlap, volumes]


def _trained_range(samples: pd.DataFrame | Missing) -> tuple[float, float] | None:
    if isinstance(samples, Missing):
        return None
    seen = pd.to_numeric(samples.loc[samples["part"] == "train", "target"], errors="coerce").dropna()
    return (float(seen.min()), float(seen.max())) if len(seen) else None
