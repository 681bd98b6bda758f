"""The one number of each experiment, beside the trivial baseline that it has to beat, and the verdict.

``pass``: better, and the 95 % interval of the paired difference doesn't hold 0. ``warn``: better, but that interval holds 0 or is
missing. ``fail``: no better, or no network learned anything. ``missing``: the numbers are not there. The page's verdict strip and
the text that ends a run in the terminal both come from here. Network and baseline are compared on the same participants, so what
makes a participant hard for both cancels out; their two own intervals may overlap although the difference is clear.
"""

from pathlib import Path

import pandas as pd

from neurocohort.errors import InputError
from neurocohort.files import read_table
from neurocohort.report import labels
from neurocohort.report.networks import Networks, networks_of, networks_sentence

# By task: the metric, the trivial baseline, and whether a higher value is better.
HEADLINES = {
    "regression": ("mae", "mean", False),
    "classification": ("auc", "majority", True),
    "segmentation": ("dice", "atlas", True),
}
MANY_CLASSES = ("auc_macro", "majority", True)  # of a classification of more than two
COMPARISON_COLUMNS = ("baseline", "best", "cohort", "part", "group", "metric", "difference", "ci_low", "ci_high")
COMPARISON_COLUMNS += ("in_favour_of",)
METRIC_COLUMNS = ("model", "cohort", "part", "group", "metric", "value", "ci_low", "ci_high", "n")
BASELINE_PHRASES = {
    "mean": "predicting the training mean",
    "majority": "always answering the majority class",
    "atlas": "the atlas of the training labels",
    "volumes": "tissue volumes alone",
    "age_sex": "age and sex alone",
    "voxel_ridge": "ridge regression on the voxels",
    "voxel_svm": "a linear support vector machine on the voxels",
}
PLURAL = ("volumes", "age_sex")
BEST = ("best_baseline", "best_value", "best_low", "best_high")
DIFFERENCE = ("gain", "gain_low", "gain_high")
# By judgement: the verdict that it is, and its words after the figures. ``gain``: of the network over the trivial baseline.
JUDGEMENTS = {
    "better": ("pass", "Better than the trivial baseline by {gain}, paired by participant."),
    "unclear": ("warn", "Better than the trivial baseline by {gain}, paired by participant: the interval holds 0."),
    "no interval": ("warn", "Better than the trivial baseline, but the paired difference has no interval."),
    "no better": ("fail", "No better than the trivial baseline."),
    "nothing learned": ("fail", ""),  # the sentence on the networks says it
}


def headline(results: Path, experiments: dict[str, dict]) -> list[dict]:
    """One record an experiment (and a cohort, where an experiment has several and no pooled row named ``all``).

    A record has: experiment, task, target, cohort, metric, value, ci_low, ci_high, baseline, baseline_value,
    baseline_low, baseline_high, gain, gain_low, gain_high (by how much the network is better than the trivial baseline on the
    same participants), n (held-out participants), verdict, judgement (a key of JUDGEMENTS), sentence, networks (a sentence where
    a network learned nothing, else empty), caveat (a sentence where a baseline that is not trivial does as well
    as the network, else None), and the best of the baselines that are not trivial: best_baseline, best_value, best_low,
    best_high. Values are None where they are missing.
    """
    records = []
    for experiment, settings in experiments.items():
        folder = results / "experiments" / experiment
        try:
            metrics = read_table(folder / "metrics.tsv", METRIC_COLUMNS)
        except InputError:
            records.append(_missing(experiment, settings, "its metrics.tsv is missing or incomplete"))
            continue
        networks = networks_of(results, experiment)
        records += headline_of(metrics, experiment, settings, read_comparisons(folder), networks)
    return records


def read_comparisons(folder: Path) -> pd.DataFrame:
    """comparisons.tsv of an experiment's folder; without rows where the file is missing or incomplete."""
    try:
        return read_table(folder / "comparisons.tsv", COMPARISON_COLUMNS)
    except InputError:
        return pd.DataFrame(columns=COMPARISON_COLUMNS)


def headline_metric(settings: dict) -> tuple[str, str, bool]:
    """An experiment's headline metric, its trivial baseline, and whether a higher value is better."""
    if settings["task"] == "classification" and len(settings.get("classes") or ()) > 2:
        return MANY_CLASSES
    return HEADLINES[settings["task"]]


def headline_of(
    metrics: pd.DataFrame,
    experiment: str,
    settings: dict,
    comparisons: pd.DataFrame | None = None,
    networks: Networks | None = None,
) -> list[dict]:
    """The records of one experiment from its table of metrics, its ``comparisons``, and what its ``networks`` learned; without
    these two, no verdict can be more than that the network is better."""
    metric = headline_metric(settings)[0]
    rows = held_out_rows(metrics, metric)
    network = rows[rows["model"] == "network"]
    if network.empty:
        return [_missing(experiment, settings, f"its metrics.tsv has no {metric} of the network on the held-out part")]
    paired = held_out_rows(pd.DataFrame(columns=COMPARISON_COLUMNS) if comparisons is None else comparisons, metric)
    cohorts = list(dict.fromkeys(network["cohort"]))
    if "all" in cohorts:
        cohorts = ["all"]
    return [
        _record(rows[rows["cohort"] == cohort], paired[paired["cohort"] == cohort], experiment, settings, networks)
        for cohort in cohorts
    ]


def held_out_rows(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of metrics.tsv or comparisons.tsv on the whole held-out part, in one metric."""
    return table[(table["part"] == "held-out") & (table["group"] == "all") & (table["metric"] == metric)]


def judgement_of(model: float, baseline: float, gain: dict, higher_is_better: bool) -> str:
    """A key of JUDGEMENTS, from the values of network and baseline, and ``gain``: gain_low and gain_high (None where missing)."""
    if not (model > baseline if higher_is_better else model < baseline):
        return "no better"
    if gain["gain_low"] is None or gain["gain_high"] is None:
        return "no interval"
    return "better" if gain["gain_low"] > 0 else "unclear"


def _gain(paired: pd.DataFrame, trivial: str, higher_is_better: bool) -> dict:
    """By how much the network is better than the trivial baseline, with its interval; None where that isn't known."""
    rows = paired[paired["baseline"] == trivial]
    if rows.empty or not labels.is_number(rows["difference"].iloc[0]):
        return dict.fromkeys(DIFFERENCE)
    found = [rows[name].iloc[0] for name in ("difference", "ci_low", "ci_high")]
    difference, low, high = (float(number) if labels.is_number(number) else None for number in found)
    if not higher_is_better:
        difference, low, high = (None if number is None else -number for number in (difference, high, low))
    return dict(zip(DIFFERENCE, (difference, low, high), strict=True))


def _record(
    rows: pd.DataFrame, paired: pd.DataFrame, experiment: str, settings: dict, networks: Networks | None
) -> dict:
    metric, trivial, higher_is_better = headline_metric(settings)
    model = _numbers(rows, "network")
    baseline = _numbers(rows, trivial)
    if baseline is None and metric in ("auc", "auc_macro"):
        baseline = {"value": 0.5, "ci_low": None, "ci_high": None}  # the AUC of a constant, by definition
    if model is None or baseline is None:
        who = "the network" if model is None else f"the baseline '{trivial}'"
        return _missing(experiment, settings, f"its metrics.tsv has no {metric} of {who} on the held-out part")
    gain = _gain(paired, trivial, higher_is_better)
    judgement = judgement_of(model["value"], baseline["value"], gain, higher_is_better)
    if networks is not None and networks.none_learned:
        judgement = "nothing learned"
    best = _best(rows, trivial, higher_is_better)
    record = {
        "experiment": experiment,
        "task": settings["task"],
        "target": settings.get("target", ""),
        "cohort": rows["cohort"].iloc[0],
        "metric": metric,
        **model,
        "baseline": trivial,
        "baseline_value": baseline["value"],
        "baseline_low": baseline["ci_low"],
        "baseline_high": baseline["ci_high"],
        **gain,
        "n": int(rows.loc[rows["model"] == "network", "n"].iloc[0]),
        "verdict": JUDGEMENTS[judgement][0],
        "judgement": judgement,
        "networks": networks_sentence(networks),
        **best,
    }
    record["caveat"] = _caveat(record, higher_is_better)
    record["sentence"] = _sentence(record)
    return record


def _numbers(rows: pd.DataFrame, model: str) -> dict | None:
    found = rows[rows["model"] == model]
    if found.empty or not labels.is_number(found["value"].iloc[0]):
        return None
    row = found.iloc[0]
    return {name: float(row[name]) if labels.is_number(row[name]) else None for name in ("value", "ci_low", "ci_high")}


def _sentence(record: dict) -> str:
    described = labels.metric(record["metric"])
    places = described.decimals
    unit = labels.unit(record["target"]) if record["metric"] == "mae" else ""
    own = f"{labels.number(record['value'], places)}{unit}"
    own_interval = labels.interval(record["ci_low"], record["ci_high"], places)
    other = labels.number(record["baseline_value"], places)
    other_interval = labels.interval(record["baseline_low"], record["baseline_high"], places)
    people = labels.counted(record["n"], "held-out participant")
    words = [
        f"{record['experiment']}: {described.name} {own}",
        own_interval,
        f"on {people} of {labels.cohort_in_text(record['cohort'])}, against",
        other,
        other_interval,
        f"for {BASELINE_PHRASES[record['baseline']]}.",
        JUDGEMENTS[record["judgement"]][1].format(gain=gain_text(record)),
        record["networks"],
        record["caveat"] or beside(record),
    ]
    return " ".join(word for word in words if word)


def gain_text(record: dict) -> str:
    """``2.70 years [1.31, 4.02]``; empty where it isn't known."""
    if record["gain"] is None:
        return ""
    places = labels.metric(record["metric"]).decimals
    unit = labels.unit(record["target"]) if record["metric"] == "mae" else ""
    interval = labels.interval(record["gain_low"], record["gain_high"], places)
    return f"{labels.number(record['gain'], places)}{unit} {interval}".rstrip()


def _best(rows: pd.DataFrame, trivial: str, higher_is_better: bool) -> dict:
    """The best of the baselines that are not trivial."""
    others = rows[~rows["model"].isin(["network", trivial])].dropna(subset=["value"])
    if others.empty:
        return dict.fromkeys(BEST)
    name = others.loc[others["value"].idxmax() if higher_is_better else others["value"].idxmin(), "model"]
    numbers = _numbers(rows, name) or {}
    return dict(zip(BEST, (name, *(numbers.get(key) for key in ("value", "ci_low", "ci_high"))), strict=True))


def _caveat(record: dict, higher_is_better: bool) -> str | None:
    """Name the best of the other baselines where it is at least as good as the network."""
    sign = 1.0 if higher_is_better else -1.0
    if record["best_value"] is None or sign * record["best_value"] < sign * record["value"]:
        return None
    name = record["best_baseline"]
    value = labels.number(record["best_value"], labels.metric(record["metric"]).decimals)
    phrase = _phrase(name)
    reaches = "reach" if name in PLURAL else "reaches"
    return f"{phrase[:1].upper()}{phrase[1:]} {reaches} {value}, no worse than the network."


def beside(record: dict) -> str:
    """A sentence with the best of the baselines that are not trivial; empty where there is none."""
    if record["best_value"] is None:
        return ""
    places = labels.metric(record["metric"]).decimals
    value = labels.number(record["best_value"], places)
    interval = labels.interval(record["best_low"], record["best_high"], places)
    told = f"The best of the other baselines, {_phrase(record['best_baseline'])}: {value} {interval}"
    return f"{told.rstrip()}."


def _phrase(model: str) -> str:
    return BASELINE_PHRASES.get(model, f"the baseline '{model}'")


def _missing(experiment: str, settings: dict, why: str) -> dict:
    metric, trivial, _ = headline_metric(settings)
    numbers = ("value", "ci_low", "ci_high", "baseline_value", "baseline_low", "baseline_high", "n", "caveat", "cohort")
    empty = dict.fromkeys((*numbers, *DIFFERENCE, *BEST))
    return {
        "experiment": experiment,
        "task": settings["task"],
        "target": settings.get("target", ""),
        "metric": metric,
        "baseline": trivial,
        **empty,
        "verdict": "missing",
        "judgement": "missing",
        "networks": "",
        "sentence": f"{experiment}: no verdict, because {why}.",
    }
