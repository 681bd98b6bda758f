"""Longitudinal analyses on the page: whom they learned from, every model's metrics, and whether the networks over all sessions
gained anything over the last session alone and over a linear mixed model."""

from dataclasses import dataclass, field

import pandas as pd

from neurocohort.dataset.sessions import CLASSIFICATION, PERSON
from neurocohort.evaluation.measures import HELD_OUT, POOLED
from neurocohort.evaluation.session_baselines import LAST_SESSION, MIXED_MODEL, VISITS
from neurocohort.notes import NOTE_COLUMNS
from neurocohort.report import labels, tables
from neurocohort.report.sources import Missing
from neurocohort.report.study import Study
from neurocohort.report.tables import COHORT, MODEL, Table
from neurocohort.study.longitudinal import unknown_start

FOLDER = "longitudinal"  # in the results
HEADLINE = {CLASSIFICATION: "auc", "regression": "mae"}
# A metric of the visits, and its value if they don't predict the target.
OF_VISITS = {CLASSIFICATION: ("auc", 0.5), "regression": ("r2", 0.0)}
PREDICTS = {LAST_SESSION: "the last session alone", MIXED_MODEL: "the linear mixed model"}
METRIC_COLUMNS = ("model", "cohort", "part", "metric", "value", "ci_low", "ci_high", "interval", "n")
COMPARISON_COLUMNS = (
    *("model", "baseline", "cohort", "metric", "network_value", "baseline_value"),
    *("difference", "ci_low", "ci_high", "n", "in_favour_of"),
)
SESSION_COLUMNS = ("cohort", "participant_id", "part", "scan_id")


@dataclass
class LongitudinalShown:
    """An analysis on the page; ``table`` is None where its metrics can't be read."""

    title: str
    sentences: list[str] = field(default_factory=list)
    table: Table | None = None
    missing: list[Missing] = field(default_factory=list)


def longitudinal_analyses(study: Study) -> list[LongitudinalShown]:
    """The longitudinal analyses of a study; none where it has none."""
    return [_shown(study, name, settings) for name, settings in study.block("longitudinal").items()]


def _shown(study: Study, name: str, settings: dict) -> LongitudinalShown:
    shown = LongitudinalShown(labels.spaced(name))
    found = {}
    for table, columns in (
        ("sessions", SESSION_COLUMNS),
        ("metrics", METRIC_COLUMNS),
        ("comparisons", COMPARISON_COLUMNS),
        ("notes", NOTE_COLUMNS),
    ):
        path = study.folders.results / FOLDER / name / f"{table}.tsv"
        what = f"the longitudinal analysis {name}"
        found[table] = study.sources.table(path, what, columns, may_be_empty=table in ("notes", "comparisons"))
    shown.missing = [one for one in found.values() if isinstance(one, Missing)]
    tables_of = {name: one for name, one in found.items() if not isinstance(one, Missing)}
    if "sessions" in tables_of:
        shown.sentences += people_sentences(tables_of["sessions"], settings)
    if settings.get("features"):
        shown.sentences.append(features_sentence(study.configuration["experiments"], settings))
    if "comparisons" in tables_of:
        shown.sentences += gain_sentences(tables_of["comparisons"], settings)
    if "metrics" in tables_of:
        shown.sentences += visits_sentences(tables_of["metrics"], settings["task"])
        caption = f"{shown.title}: every model on the held-out participants, each with the same sessions and inputs."
        shown.table = tables.metric_table(tables_of["metrics"], [MODEL, COHORT], caption)
    if "notes" in tables_of:
        shown.sentences += list(dict.fromkeys(tables_of["notes"]["note"].astype(str)))
    return shown


def people_sentences(sessions: pd.DataFrame, settings: dict) -> list[str]:
    """What is predicted, and from how many sessions of how many participants."""
    parts = {part: rows for part, rows in sessions.groupby("part")}
    counts = {
        part: f"{labels.counted(len(rows), 'session')} of {labels.counted(rows.groupby(PERSON).ngroups, 'participant')}"
        for part, rows in parts.items()
    }
    target = labels.in_text(settings["target"])
    what = (
        f"The yearly change of {target}, from the last session that is an input to the participant's last session,"
        if settings["change_per_year"]
        else f"{target[:1].upper()}{target[1:]}, one value for each participant,"
    )
    before = settings.get("outcome_time")
    dated = f" Only sessions before {labels.in_text(before)} are inputs." if before else ""
    return [
        f"{what} is predicted from the sequence of sessions. The networks learned from {counts['train']}; their epochs were "
        f"chosen on {counts['validation']}, and all models were tested on {counts[HELD_OUT]}.{dated}"
    ]


def features_sentence(experiments: dict[str, dict], settings: dict) -> str:
    """Which network's features are inputs, and whether it could have learned from those who are tested."""
    name = labels.in_text(settings["features"])
    if unknown_start(experiments, settings):
        return (
            f"Features of a network of {name} are inputs. It started from weights from outside this study, of which it isn't "
            "known whom they were learned from; in this study it learned from no held-out participant."
        )
    return f"Features of a network of {name} are inputs, which learned from no held-out participant."


def gain_sentences(comparisons: pd.DataFrame, settings: dict) -> list[str]:
    """For each network, whether it gains over the last session and over the mixed model, in the headline metric."""
    metric = HEADLINE[settings["task"]]
    own = comparisons[comparisons["metric"] == metric]
    if POOLED in set(own["cohort"]):
        own = own[own["cohort"] == POOLED]
    found = []
    for model in settings["models"]:
        for baseline, title in PREDICTS.items():
            rows = own[(own["model"] == model) & (own["baseline"] == baseline)]
            name = labels.model(model)
            name = name if name.isupper() else name.lower()
            found += [_gain(name, title, row, metric) for _, row in rows.iterrows()]
    return found


def _gain(model: str, baseline: str, row: pd.Series, metric: str) -> str:
    label, places = labels.metric(metric).label, labels.metric(metric).decimals
    if not (labels.is_number(row["difference"]) and labels.is_number(row["ci_low"])):
        return (
            f"The {model} can't be compared with {baseline}: there is no interval of the difference of {label} for the held-out "
            "participants, who may be too few, or all of one class."
        )
    values = [labels.number(row[name], places) for name in ("network_value", "baseline_value", "difference")]
    figures = (
        f"{label} {values[0]} and {values[1]}, difference {values[2]} "
        f"{labels.interval(row['ci_low'], row['ci_high'], places)} on the same {labels.counted(int(row['n']), 'participant')}"
    )
    if row["in_favour_of"] == "network":
        return f"The {model} over all sessions predicts better than {baseline}: {figures}."
    if row["in_favour_of"] == "baseline":
        return f"The {model} over all sessions predicts worse than {baseline}: {figures}."
    return f"The {model} over all sessions shows no gain over {baseline}: {figures}; the interval contains 0."


def visits_sentences(metrics: pd.DataFrame, task: str) -> list[str]:
    """A warning where the number of sessions and the time between them already predict the target."""
    metric, nothing = OF_VISITS[task]
    rows = metrics[(metrics["model"] == VISITS) & (metrics["metric"] == metric) & (metrics["ci_low"] > nothing)]
    return [
        f"The number of sessions and the years between them alone predict the target ({labels.metric(metric).label} "
        f"{tables.with_interval(row)}, {labels.cohort(row['cohort'])}): how participants were followed depends on the outcome, "
        "and every model may use that."
        for _, row in rows.iterrows()
    ]
