"""The gates that a result passes or fails: every network learned something, it beats the trivial baseline, it is clearly better
than the best baseline, no leak, its control is at chance, and nothing is missing."""

from dataclasses import dataclass

import pandas as pd

from neurocohort.learning.outcomes import NOT_JUDGED
from neurocohort.report import labels
from neurocohort.report.headline import BASELINE_PHRASES, Verdict, held_out_rows
from neurocohort.report.networks import Networks
from neurocohort.report.participants import SplitCheck
from neurocohort.report.sources import Missing
from neurocohort.report.study import Control, Read

PASS, WARN, FAIL, OPEN = "pass", "warn", "fail", "open"
STATES = {PASS: ("✓", "passed"), WARN: ("≈", "warning"), FAIL: ("✗", "failed"), OPEN: ("–", "not judged")}


@dataclass(frozen=True)
class Gate:
    """A gate, its state (pass, warn, fail or open), and what was found."""

    state: str
    name: str
    finding: str

    @property
    def symbol(self) -> str:
        return STATES[self.state][0]

    @property
    def words(self) -> str:
        return STATES[self.state][1]


def experiment_gates(
    verdict: Verdict,
    split: SplitCheck | Missing,
    comparison: pd.Series | None,
    networks: Networks | Missing,
    control: Control | Missing | None,
) -> list[Gate]:
    """The gates of one verdict.

    Args:
        verdict: The verdict on an experiment.
        split: The check of its split.
        comparison: The result of `best_comparison`.
        networks: What its networks learned.
        control: The result of its controls; None where it has none.
    """
    return [_learned(networks), _beats(verdict), _clear(verdict, comparison), _leak(split), _control(control)]


def completeness_gate(missing: list[Missing]) -> Gate:
    """Whether everything that was expected is on the page."""
    if not missing:
        return Gate(PASS, "Nothing missing", "Everything that was expected is on this page.")
    return Gate(
        FAIL, "Nothing missing", f"{labels.counted(len(missing), 'expected item')} missing: see the red box below."
    )


def best_comparison(verdict: Verdict, comparisons: Read) -> pd.Series | None:
    """The row of comparisons.tsv with the paired difference of the network and the best baseline, in the headline metric on the
    held-out part; None where there is none."""
    if isinstance(comparisons, Missing):
        return None
    rows = held_out_rows(comparisons, verdict.metric)
    rows = rows[(rows["cohort"] == verdict.cohort) & (rows["best"] == "yes")]
    return None if rows.empty else rows.iloc[0]


def difference_sentence(verdict: Verdict, comparison: pd.Series | None) -> str:
    """The difference to the best baseline, for a card; empty without one."""
    if comparison is None or not labels.is_number(comparison["difference"]):
        return ""
    places = labels.metric(verdict.metric).decimals
    phrase = BASELINE_PHRASES.get(str(comparison["baseline"]), f"the baseline '{comparison['baseline']}'")
    interval = labels.interval(comparison["ci_low"], comparison["ci_high"], places)
    difference = f"{labels.number(comparison['difference'], places)}{verdict.unit} {interval}".rstrip()
    return f"Against the best baseline, {phrase}, on the same participants: difference {difference}."


def _learned(networks: Networks | Missing) -> Gate:
    name = "Every network learned"
    if isinstance(networks, Missing):
        return Gate(OPEN, name, "The record of the networks is missing.")
    judged = networks.total - int((networks.table["learned"] == NOT_JUDGED).sum())
    if not judged:
        return Gate(OPEN, name, "The networks were not judged.")
    failed = networks.failed
    if networks.none_learned:
        return Gate(FAIL, name, f"None learned anything: {networks.members(failed)}.")
    if len(failed):
        kept = f"the mean is over the other {networks.used}" if networks.used > 1 else "one network is left"
        return Gate(WARN, name, f"Left out: {networks.members(failed)}; {kept}.")
    if len(networks.early):
        early = networks.members(networks.early)
        return Gate(
            WARN, name, f"The first epoch that could be kept was the best: {early}. Look at the learning curve."
        )
    again = ", after another seed was tried" if networks.retrained else ""
    rest = f"; {networks.total - judged} could not be judged" if judged < networks.total else ""
    return Gate(PASS, name, f"{labels.counted(judged, 'network')} learned something{again}{rest}.")


def _beats(verdict: Verdict) -> Gate:
    name = "Beats the trivial baseline"
    if verdict.network is None or verdict.trivial is None:
        return Gate(OPEN, name, "Its numbers are missing.")
    places = labels.metric(verdict.metric).decimals
    network, trivial = verdict.network.value, verdict.trivial.value
    # By the values: a verdict fails for networks that learned nothing, too.
    better = network > trivial if verdict.headline.higher_is_better else network < trivial
    finding = f"{labels.number(network, places)} against {labels.number(trivial, places)}."
    return Gate(PASS if better else FAIL, name, finding)


def _clear(verdict: Verdict, comparison: pd.Series | None) -> Gate:
    name = "Clear of the best baseline"
    if verdict.network is None:
        return Gate(OPEN, name, "Its numbers are missing.")
    if comparison is None:
        return Gate(OPEN, name, "The paired comparison is missing.")
    if not (labels.is_number(comparison["ci_low"]) and labels.is_number(comparison["ci_high"])):
        return Gate(WARN, name, "The paired difference has no interval.")
    favoured = str(comparison["in_favour_of"])
    if favoured == "network":
        return Gate(PASS, name, "The interval of the paired difference excludes 0.")
    if favoured == "baseline":
        return Gate(FAIL, name, "The baseline is better, and the interval of the paired difference excludes 0.")
    return Gate(WARN, name, "The interval of the paired difference includes 0.")


def _leak(split: SplitCheck | Missing) -> Gate:
    name = "No leak"
    if isinstance(split, Missing):
        return Gate(OPEN, name, "The samples are missing.")
    if split.leaks:
        return Gate(FAIL, name, "Something is in two parts of the split: see Split.")
    if split.missing:
        return Gate(OPEN, name, "A table that the check needs is missing: see Split.")
    return Gate(PASS, name, f"No participant and none of {split.compared} images in two parts.")


def _control(control: Control | Missing | None) -> Gate:
    name = "Control at chance"
    if control is None:
        return Gate(OPEN, name, "This experiment has no control.")
    if isinstance(control, Missing) or control.holds is None:
        return Gate(OPEN, name, "The control's record or numbers are missing.")
    if control.holds:
        return Gate(PASS, name, "Trained on permuted targets, it ended at chance.")
    return Gate(FAIL, name, "Trained on permuted targets, it did not end at chance: look for a leak.")
