"""What a model card is made of, and the limits and caveats that follow from the run: few participants, one site, an external
cohort on which the network fails, a baseline that does as well."""

from dataclasses import dataclass, field

import pandas as pd

from neurocohort.report import headline, labels, origins
from neurocohort.report.development import fitted_on, folds_of
from neurocohort.text import listed
from neurocohort.report.networks import Networks

FEW = 100  # held-out participants: below it, intervals are wide enough to say so
EXTERNAL_CORRELATION = 0.5  # a smaller one, in an external cohort, is a caveat
REFERENCE_LIMITS = {  # of a segmentation, by where its reference labels are from
    origins.FAST: "The reference labels of {cohorts} are FAST's: the figures are agreement with that program and not accuracy.",
    origins.PAINTED: "The reference labels of {cohorts} are those that the synthetic scans were painted with.",
    origins.GIVEN: "How the reference labels of {cohorts} were made is not known to the workflow.",
}


@dataclass(frozen=True)
class Known:
    """What a card is made of; what can't be read is None, and the card's lines say that it is missing.

    ``settings``: the experiment's block of ``configuration``; ``run``: run.json of its first member; ``metrics``, ``samples``:
    its metrics.tsv and samples.tsv; ``networks``: its networks.tsv; ``licences``: by cohort, the licence in its
    dataset_description.json.
    """

    experiment: str
    settings: dict
    configuration: dict
    run: dict | None = None
    metrics: pd.DataFrame | None = None
    samples: pd.DataFrame | None = None
    networks: Networks | None = None
    licences: dict[str, str] = field(default_factory=dict)

    @property
    def folds(self) -> int:
        return folds_of(self.settings, self.configuration)


def limits(known: Known) -> list[str]:
    """The sentences on what limits the network's use, each from the run's own figures."""
    settings, samples, metrics = known.settings, known.samples, known.metrics
    sentences = []
    if known.configuration.get("demo_data"):
        sentences.append("The data are synthetic: the figures say nothing about people.")
    if known.networks is not None and known.networks.none_learned:
        sentences.append("The network learned nothing: do not use it.")
    if samples is not None:
        tested = samples[samples["part"] == "held-out"]
        count = tested[["cohort", "participant_id"]].drop_duplicates().shape[0]
        if count < FEW:
            people = f"{labels.counted(count, 'participant')} {'was' if count == 1 else 'were'}"
            sentences.append(f"Only {people} held out: the intervals are wide.")
        sites = fitted_on(samples, known.folds)[["cohort", "site"]]
        if len(sites.drop_duplicates()) == 1 and sites["site"].notna().all() and not settings.get("transfer"):
            sentences.append("It learned from one site; what it owes to that scanner can't be separated in these data.")
    if not settings.get("external"):
        sentences.append("It was not tested on an external cohort.")
    if metrics is not None:
        records = headline.headline_of(metrics, "", settings)
        sentences += [record["caveat"] for record in records if record.get("caveat")]
        sentences += external_caveats(metrics, settings)
        sentences += _shrinkage(metrics, settings)
    if settings["task"] == "segmentation":
        sentences += _reference_limits(settings, known.configuration)
    if metrics is not None and (metrics["metric"] == "average_precision").any():
        sentences.append("Average precision holds for the fraction of cases among the tested participants alone.")
    return sentences


def external_caveats(metrics: pd.DataFrame, settings: dict) -> list[str]:
    """What went worse on each external cohort: no better than the trivial baseline, clearly worse than the held-out part, or
    predictions that hardly follow the target."""
    name, trivial, higher_is_better = headline.headline_metric(settings)
    rows = metrics[(metrics["group"] == "all") & (metrics["model"] == "network")]
    at_home = rows[(rows["part"] == "held-out") & (rows["metric"] == name)]
    at_home = at_home[
        at_home["cohort"] == ("all" if "all" in set(at_home["cohort"]) else next(iter(at_home["cohort"]), None))
    ]
    found = []
    for cohort, own in rows[rows["part"] == "external"].groupby("cohort", sort=False):
        said, label, title = [], labels.metric(name).label, labels.cohort(cohort)
        figure = own[own["metric"] == name].dropna(subset=["value"])
        if len(figure):
            value = figure.iloc[0].to_dict()
            other = metrics[
                (metrics["cohort"] == cohort) & (metrics["part"] == "external") & (metrics["group"] == "all")
            ]
            other = other[(other["model"] == trivial) & (other["metric"] == name)].dropna(subset=["value"])
            if len(other) and not _better(value, other.iloc[0].to_dict(), higher_is_better):
                phrase = headline.BASELINE_PHRASES[trivial]
                said.append(
                    f"it is no better than {phrase} there ({label} {value_of(value)} against {value_of(other.iloc[0].to_dict())})"
                )
            elif len(at_home) and _clearly_worse(value, at_home.iloc[0].to_dict(), higher_is_better):
                said.append(
                    f"its {label} is {value_of(value)} there and {value_of(at_home.iloc[0].to_dict())} on the held-out part"
                )
        correlation = own[own["metric"] == "pearson_r"].dropna(subset=["value"])
        if len(correlation) and correlation["value"].iloc[0] < EXTERNAL_CORRELATION:
            target = labels.target(settings["target"])
            said.append(f"its predictions follow {target} weakly (Pearson r {value_of(correlation.iloc[0].to_dict())})")
        if said:
            found.append(f"On the external cohort {title}, {listed(said)}.")
    return found


def _better(row: dict, other: dict, higher_is_better: bool) -> bool:
    return row["value"] > other["value"] if higher_is_better else row["value"] < other["value"]


def _clearly_worse(row: dict, other: dict, higher_is_better: bool) -> bool:
    """Whether the whole interval of ``row`` lies on the worse side of that of ``other``."""
    return row["ci_high"] < other["ci_low"] if higher_is_better else row["ci_low"] > other["ci_high"]


def _shrinkage(metrics: pd.DataFrame, settings: dict) -> list[str]:
    rows = metrics[(metrics["group"] == "all") & (metrics["model"] == "network") & (metrics["part"] == "held-out")]
    slopes = rows[(rows["metric"] == "bias_slope") & (rows["ci_high"] < 0)]
    if slopes.empty:
        return []
    target = labels.target(settings["target"])
    return [
        f"Predictions shrink towards the mean {target} (slope of the error {value_of(slopes.iloc[0].to_dict())}): differences "
        f"between groups of unlike {target} mean little uncorrected."
    ]


def _reference_limits(settings: dict, configuration: dict) -> list[str]:
    cohorts: dict[str, list[str]] = {}
    for name in [*settings.get("cohorts", []), *(settings.get("external") or [])]:
        kind = origins.reference_labels((configuration.get("cohorts") or {}).get(name) or {})
        cohorts.setdefault(kind, []).append(labels.cohort(name))
    return [REFERENCE_LIMITS[kind].format(cohorts=listed(names)) for kind, names in cohorts.items()]


def value_of(row: dict) -> str:
    """The value of a row of metrics.tsv with its interval: ``3.79 [0.60, 8.29]``."""
    places = labels.metric(row["metric"]).decimals
    return f"{labels.number(row['value'], places)} {labels.interval(row['ci_low'], row['ci_high'], places)}".strip()
