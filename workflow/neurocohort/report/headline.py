"""The verdict on each experiment: its headline metric against the trivial baseline.

``pass``: better, and the 95 % interval of the paired difference leaves out 0. ``warn``: better, but that interval includes 0 or
is missing. ``fail``: not better, or no network learned anything. ``missing``: there are no numbers. The verdicts are on the page
and in the terminal at the end of a run. Network and baseline are compared on the same participants: what makes a participant
hard for both cancels out, so the paired difference may be clear although the two intervals overlap.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from neurocohort.evaluation.combined import COMBINED
from neurocohort.evaluation.measures import GIVEN
from neurocohort.report import labels
from neurocohort.report.formats import COMPARISON_COLUMNS
from neurocohort.report.networks import Networks, networks_sentence
from neurocohort.report.sources import Missing
from neurocohort.report.study import Experiment, found


class Headline(NamedTuple):
    """The headline metric of a task, its trivial baseline, and whether a higher value is better."""

    metric: str
    trivial: str
    higher_is_better: bool


HEADLINES = {
    "regression": Headline("mae", "mean", False),
    "classification": Headline("auc", "majority", True),
    "segmentation": Headline("dice", "atlas", True),
}
MANY_CLASSES = Headline("auc_macro", "majority", True)  # a classification of more than two classes
BASELINE_PHRASES = {
    "mean": "predicting the training mean",
    "majority": "always answering the majority class",
    "atlas": "the atlas of the training labels",
    "volumes": "tissue volumes alone",
    "age_sex": "age and sex alone",
    "voxel_ridge": "ridge regression on the voxels",
    "voxel_svm": "a linear support vector machine on the voxels",
    "tissue_kernel_ridge": "kernel ridge regression on tissue maps",
    "grey_matter_svm": "a linear support vector machine on the grey matter map",
    "tissue_amounts": "the amounts of the tissues, age and sex",
    "brain_age_gap": "the brain-age gap of tissue maps, age and sex",
    "volumes_combat": "tissue volumes harmonised with ComBat",
    "tissue_kernel_ridge_combat": "kernel ridge regression on harmonised tissue maps",
    "grey_matter_svm_combat": "a linear support vector machine on the harmonised grey matter map",
}
PLURAL = ("volumes", "age_sex", "tissue_amounts", "volumes_combat")
# By judgement: the state of the verdict, and its words after the figures. ``gain``: of the network over the trivial baseline.
JUDGEMENTS = {
    "better": ("pass", "Better than the trivial baseline by {gain}, paired by participant."),
    "unclear": ("warn", "Better than the trivial baseline by {gain}, paired by participant: the interval includes 0."),
    "no interval": ("warn", "Better than the trivial baseline, but the paired difference has no interval."),
    "no better": ("fail", "No better than the trivial baseline."),
    "nothing learned": ("fail", ""),  # the sentence on the networks reports it
    "missing": ("missing", ""),
}


@dataclass(frozen=True)
class Figure:
    """A value and its interval, whose ends are None where they are missing."""

    value: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, rows: pd.DataFrame, value: str = "value") -> "Figure | None":
        """The first of ``rows``, by its column ``value``; None where there is no value."""
        if rows.empty or not labels.is_number(rows[value].iloc[0]):
            return None
        numbers = (rows[name].iloc[0] for name in (value, "ci_low", "ci_high"))
        return cls(*(float(number) if labels.is_number(number) else None for number in numbers))  # type: ignore[arg-type]

    def __neg__(self) -> "Figure":
        return Figure(-self.value, None if self.high is None else -self.high, None if self.low is None else -self.low)

    def text(self, metric: str, unit: str = "") -> str:
        """``2.70 years [1.31, 4.02]`` with the decimals of the metric."""
        places = labels.metric(metric).decimals
        return f"{labels.number(self.value, places)}{unit} {labels.interval(self.low, self.high, places)}".rstrip()


@dataclass(frozen=True)
class Verdict:
    """The network against the trivial baseline on the held-out participants of a cohort.

    ``judgement``: a key of JUDGEMENTS. ``gain``: by how much the network is better, paired by participant. ``best`` and
    ``best_name``: the best of the baselines that are not trivial. ``n``: held-out participants. ``networks``: a sentence where a
    network learned nothing. ``why``: why there are no numbers.
    """

    experiment: str
    target: str
    headline: Headline
    judgement: str
    cohort: str | None = None
    network: Figure | None = None
    trivial: Figure | None = None
    gain: Figure | None = None
    best_name: str | None = None
    best: Figure | None = None
    n: int | None = None
    networks: str = ""
    why: str = ""

    @property
    def state(self) -> str:
        """``pass``, ``warn``, ``fail`` or ``missing``."""
        return JUDGEMENTS[self.judgement][0]

    @property
    def metric(self) -> str:
        return self.headline.metric

    @property
    def unit(self) -> str:
        """The unit of the metric with a leading space; empty where it has none."""
        return labels.metric_unit(self.metric, self.target)

    @property
    def gain_text(self) -> str:
        """``2.70 years [1.31, 4.02]``; empty where it isn't known."""
        return self.gain.text(self.metric, self.unit) if self.gain else ""

    @property
    def caveat(self) -> str:
        """Names the best of the other baselines where it is at least as good as the network; else empty."""
        if self.best is None or self.network is None or _better(self.network, self.best, self.headline):
            return ""
        phrase = _phrase(str(self.best_name))
        value = labels.number(self.best.value, labels.metric(self.metric).decimals)
        reaches = "reach" if self.best_name in PLURAL else "reaches"
        return f"{phrase[:1].upper()}{phrase[1:]} {reaches} {value}, no worse than the network."

    @property
    def other_baseline(self) -> str:
        """A sentence on the best of the baselines that are not trivial; empty where there is none."""
        if self.best is None:
            return ""
        return f"The best of the other baselines, {_phrase(str(self.best_name))}: {self.best.text(self.metric)}."

    @property
    def sentence(self) -> str:
        """The verdict in words, for the terminal."""
        if self.network is None or self.trivial is None:
            return f"{self.experiment}: no verdict, because {self.why}."
        people = labels.counted(self.n or 0, "held-out participant")
        words = [
            f"{self.experiment}: {labels.metric(self.metric).name} {self.network.text(self.metric, self.unit)}",
            f"on {people} of {labels.cohort_in_text(str(self.cohort))}, against {self.trivial.text(self.metric)}",
            f"for {BASELINE_PHRASES[self.headline.trivial]}.",
            JUDGEMENTS[self.judgement][1].format(gain=self.gain_text),
            self.networks,
            self.caveat or self.other_baseline,
        ]
        return " ".join(filter(None, words))


def headline(experiments: Iterable[Experiment]) -> list[Verdict]:
    """The verdicts on the experiments; several on one that has several cohorts and no pooled row named ``all``."""
    verdicts = []
    for one in experiments:
        if isinstance(one.metrics, Missing):
            verdicts.append(_missing(one.name, one.settings, "its metrics.tsv is missing or incomplete"))
        else:
            known = found(one.comparisons), found(one.networks)
            verdicts += headline_of(one.metrics, one.name, one.settings, *known)
    return verdicts


def headline_metric(settings: dict) -> Headline:
    """The headline of an experiment with these settings."""
    if settings["task"] == "classification" and len(settings.get("classes") or ()) > 2:
        return MANY_CLASSES
    return HEADLINES[settings["task"]]


def headline_of(
    metrics: pd.DataFrame,
    experiment: str,
    settings: dict,
    comparisons: pd.DataFrame | None = None,
    networks: Networks | None = None,
) -> list[Verdict]:
    """The verdicts on one experiment from its tables.

    Args:
        metrics: metrics.tsv.
        experiment: Its name.
        settings: Its block of the configuration.
        comparisons: comparisons.tsv. Without it, no verdict is more than that the network is better.
        networks: What its networks learned.
    """
    metric = headline_metric(settings).metric
    rows = held_out_rows(metrics, metric)
    cohorts = list(dict.fromkeys(rows.loc[rows["model"] == "network", "cohort"]))
    if not cohorts:
        return [_missing(experiment, settings, f"its metrics.tsv has no {metric} of the network on the held-out part")]
    if comparisons is None:
        comparisons = pd.DataFrame(columns=list(COMPARISON_COLUMNS))
    paired = held_out_rows(comparisons, metric)
    return [
        _verdict(rows[rows["cohort"] == cohort], paired[paired["cohort"] == cohort], experiment, settings, networks)
        for cohort in (["all"] if "all" in cohorts else cohorts)
    ]


def held_out_rows(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of metrics.tsv or comparisons.tsv on the whole held-out part, in one metric."""
    return table[(table["part"] == "held-out") & (table["group"] == "all") & (table["metric"] == metric)]


def judgement_of(network: Figure, trivial: Figure, gain: Figure | None, headline: Headline) -> str:
    """A key of JUDGEMENTS, from the network, the trivial baseline and their paired difference."""
    if not _better(network, trivial, headline):
        return "no better"
    if gain is None or gain.low is None or gain.high is None:
        return "no interval"
    return "better" if gain.low > 0 else "unclear"


def _better(one: Figure, other: Figure, headline: Headline) -> bool:
    return one.value > other.value if headline.higher_is_better else one.value < other.value


def _verdict(
    rows: pd.DataFrame, paired: pd.DataFrame, experiment: str, settings: dict, networks: Networks | None
) -> Verdict:
    head = headline_metric(settings)
    network = Figure.of(rows[rows["model"] == "network"])
    trivial = Figure.of(rows[rows["model"] == head.trivial])
    if trivial is None and head.metric in ("auc", "auc_macro"):
        trivial = Figure(0.5)  # the AUC of a constant, by definition
    if network is None or trivial is None:
        who = "the network" if network is None else f"the baseline '{head.trivial}'"
        return _missing(experiment, settings, f"its metrics.tsv has no {head.metric} of {who} on the held-out part")
    gain = Figure.of(paired[paired["baseline"] == head.trivial], "difference")
    gain = -gain if gain and not head.higher_is_better else gain
    none_learned = networks is not None and networks.none_learned
    # Predictions from elsewhere are no baselines: their tool may know these participants.
    own = ~rows["model"].isin(["network", COMBINED, head.trivial]) & ~rows["model"].str.startswith(GIVEN)
    others = rows[own].dropna(subset=["value"])
    best = others.sort_values("value", ascending=not head.higher_is_better, kind="stable").head(1)
    return Verdict(
        experiment,
        settings.get("target", ""),
        head,
        "nothing learned" if none_learned else judgement_of(network, trivial, gain, head),
        rows["cohort"].iloc[0],
        network,
        trivial,
        gain,
        next(iter(best["model"]), None),
        Figure.of(best),
        int(rows.loc[rows["model"] == "network", "n"].iloc[0]),
        networks_sentence(networks),
    )


def _phrase(model: str) -> str:
    return BASELINE_PHRASES.get(model, f"the baseline '{model}'")


def _missing(experiment: str, settings: dict, why: str) -> Verdict:
    return Verdict(experiment, settings.get("target", ""), headline_metric(settings), "missing", why=why)
