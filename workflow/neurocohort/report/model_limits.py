"""The input of a model card, and the limits that follow from the run: few participants, one site, an external cohort on which the
network fails, a baseline that is as good."""

from dataclasses import dataclass, field

import pandas as pd

from neurocohort.report import headline, labels, origins
from neurocohort.report.development import fitted_on, folds_of, held_out
from neurocohort.report.formats import Run
from neurocohort.report.networks import Networks
from neurocohort.text import listed

MIN_HELD_OUT = 100  # participants; with fewer, the card states that intervals are wide
MIN_EXTERNAL_CORRELATION = 0.5  # a smaller one in an external cohort is a caveat
REFERENCE_LIMITS = {  # of a segmentation, by the origin of its reference labels
    origins.FAST: "The reference labels of {cohorts} were made by FAST: the results measure agreement with FAST, not accuracy.",
    origins.PAINTED: "The reference labels of {cohorts} are those from which the scans were simulated.",
    origins.GIVEN: "How the reference labels of {cohorts} were made is not known to the workflow.",
}


@dataclass(frozen=True)
class Known:
    """The input of a card. What can't be read is None, and the card states that it is missing.

    Attributes:
        experiment: The experiment's name.
        settings: Its block of ``configuration``.
        configuration: The whole configuration.
        run: run.json of its first member.
        metrics: metrics.tsv.
        samples: samples.tsv.
        networks: networks.tsv.
        licences: The terms of the data by cohort, where they are known.
    """

    experiment: str
    settings: dict
    configuration: dict
    run: Run | None = None
    metrics: pd.DataFrame | None = None
    samples: pd.DataFrame | None = None
    networks: Networks | None = None
    licences: dict[str, str] = field(default_factory=dict)

    @property
    def folds(self) -> int:
        return folds_of(self.settings, self.configuration)

    @property
    def test_folds(self) -> int:
        return int((self.configuration.get("split") or {}).get("test_folds", 0))


def limits(known: Known) -> list[str]:
    """The sentences on the limits of a network, each from the results of the run."""
    settings, samples, metrics = known.settings, known.samples, known.metrics
    sentences = []
    if known.configuration.get("demo_data"):
        sentences.append("The data are synthetic: the results do not apply to people.")
    if known.networks is not None and known.networks.none_learned:
        sentences.append("The network learned nothing: do not use it.")
    if samples is not None:
        tested = held_out(samples)
        count = tested[["cohort", "participant_id"]].drop_duplicates().shape[0]
        if count < MIN_HELD_OUT:
            people = f"{labels.counted(count, 'participant')} {'was' if count == 1 else 'were'}"
            sentences.append(f"Only {people} held out: the intervals are wide.")
        sites = fitted_on(samples, known.folds)[["cohort", "site"]]
        if len(sites.drop_duplicates()) == 1 and sites["site"].notna().all() and not settings.get("transfer"):
            sentences.append(
                "It learned from one site: effects of that site's scanner can't be separated from others in these data."
            )
    if not settings.get("external"):
        sentences.append("It was not tested on an external cohort.")
    if metrics is not None:
        sentences += [one.caveat for one in headline.headline_of(metrics, "", settings) if one.caveat]
        sentences += external_caveats(metrics, settings)
        sentences += _shrinkage(metrics, settings)
    if settings["task"] == "segmentation":
        sentences += _reference_limits(settings, known.configuration)
    if metrics is not None and (metrics["metric"] == "average_precision").any():
        sentences.append(
            "Average precision depends on the fraction of cases among the tested participants, and applies to that fraction only."
        )
    return sentences


def external_caveats(metrics: pd.DataFrame, settings: dict) -> list[str]:
    """A sentence for each external cohort on which the network fails.

    It fails where its result is no better than the trivial baseline's or clearly worse than on the held-out part, or where its
    predictions correlate weakly with the target.

    Args:
        metrics: metrics.tsv.
        settings: The experiment's block of the configuration.
    """
    name, trivial, higher_is_better = headline.headline_metric(settings)
    label, own = labels.metric(name).label, {"model": "network", "metric": name}
    at_home = _row(metrics, part="held-out", cohort="all", **own)
    if at_home is None:
        at_home = _row(metrics, part="held-out", **own)
    found = []
    for cohort in metrics.loc[metrics["part"] == "external", "cohort"].unique():
        there = {"part": "external", "cohort": cohort}
        result, baseline = _row(metrics, **own, **there), _row(metrics, model=trivial, metric=name, **there)
        correlation = _row(metrics, model="network", metric="pearson_r", **there)
        failures = []
        if result is not None and baseline is not None and not _better(result, baseline, higher_is_better):
            values = f"{label} {value_of(result)} against {value_of(baseline)}"
            failures.append(f"it is no better than {headline.BASELINE_PHRASES[trivial]} there ({values})")
        elif result is not None and at_home is not None and _clearly_worse(result, at_home, higher_is_better):
            failures.append(f"its {label} is {value_of(result)} there and {value_of(at_home)} on the held-out part")
        if correlation is not None and correlation["value"] < MIN_EXTERNAL_CORRELATION:
            target = labels.target(settings["target"])
            failures.append(f"its predictions correlate weakly with {target} (Pearson r {value_of(correlation)})")
        if failures:
            found.append(f"On the external cohort {labels.cohort(cohort)}, {listed(failures)}.")
    return found


def _row(metrics: pd.DataFrame, **where: str) -> pd.Series | None:
    """The first row over all participants with a value and these cells."""
    rows = metrics[(metrics["group"] == "all") & metrics["value"].notna()]
    for column, cell in where.items():
        rows = rows[rows[column] == cell]
    return None if rows.empty else rows.iloc[0]


def _better(row: pd.Series, other: pd.Series, higher_is_better: bool) -> bool:
    return row["value"] > other["value"] if higher_is_better else row["value"] < other["value"]


def _clearly_worse(row: pd.Series, other: pd.Series, higher_is_better: bool) -> bool:
    """Whether the two intervals don't overlap and that of ``row`` is worse."""
    return row["ci_high"] < other["ci_low"] if higher_is_better else row["ci_low"] > other["ci_high"]


def _shrinkage(metrics: pd.DataFrame, settings: dict) -> list[str]:
    rows = metrics[(metrics["group"] == "all") & (metrics["model"] == "network") & (metrics["part"] == "held-out")]
    slopes = rows[(rows["metric"] == "bias_slope") & (rows["ci_high"] < 0)]
    if slopes.empty:
        return []
    target = labels.target(settings["target"])
    return [
        f"Predictions shrink towards the mean {target} (slope of the error {value_of(slopes.iloc[0])}): without "
        f"a correction, differences between groups of different {target} mean little."
    ]


def _reference_limits(settings: dict, configuration: dict) -> list[str]:
    cohorts: dict[str, list[str]] = {}
    for name in [*settings.get("cohorts", []), *(settings.get("external") or [])]:
        kind = origins.reference_labels((configuration.get("cohorts") or {}).get(name) or {})
        cohorts.setdefault(kind, []).append(labels.cohort(name))
    return [REFERENCE_LIMITS[kind].format(cohorts=listed(names)) for kind, names in cohorts.items()]


def value_of(row: pd.Series) -> str:
    """The value of a row of metrics.tsv with its interval: ``3.79 [0.60, 8.29]``."""
    places = labels.metric(row["metric"]).decimals
    return f"{labels.number(row['value'], places)} {labels.interval(row['ci_low'], row['ci_high'], places)}".strip()
