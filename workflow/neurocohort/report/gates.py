"""The gates that a result passes or fails, each with what was found: every network learned something, better than the trivial
baseline, clear of the best one, no leak, its control at chance, and nothing missing."""

from pathlib import Path

from neurocohort.learning.outcomes import NOT_JUDGED
from neurocohort.report import labels
from neurocohort.report.headline import BASELINE_PHRASES, held_out_rows, read_comparisons
from neurocohort.report.networks import Networks
from neurocohort.report.sources import Missing

LEAKS = ("overlapping", "crossing_folds", "images", "moved")  # of `participants.split_check`
PASS, WARN, FAIL, OPEN = "pass", "warn", "fail", "open"
STATES = {PASS: ("✓", "passed"), WARN: ("≈", "warning"), FAIL: ("✗", "failed"), OPEN: ("–", "not judged")}


def with_gates(verdicts: list[dict], described: list[dict], results: Path) -> list[dict]:
    """The verdicts, each with its ``gates`` and the sentence of its ``difference`` to the best baseline."""
    by_name = {experiment["name"]: experiment for experiment in described}
    judged = []
    for verdict in verdicts:
        comparison = best_comparison(results, verdict)
        gates = experiment_gates(verdict, by_name[verdict["experiment"]], comparison)
        judged.append({**verdict, "gates": gates, "difference": difference_sentence(verdict, comparison)})
    return judged


def experiment_gates(verdict: dict, described: dict, comparison: dict | None) -> list[dict]:
    """The gates of one verdict: state (pass, warn, fail or open), its symbol and words, the gate's name, and what was found.

    ``verdict``: a record of `headline.headline`; ``described``: the experiment as the page describes it, with ``networks``,
    ``split`` and ``control``; ``comparison``: of `best_comparison`.
    """
    return [
        _learned(described["networks"]),
        _beats(verdict),
        _clear(verdict, comparison),
        _leak(described["split"]),
        _control(described["control"]),
    ]


def completeness_gate(missing: list[Missing]) -> dict:
    """Whether everything that was expected is on the page."""
    if not missing:
        return _gate(PASS, "Nothing missing", "Everything that was expected is on this page.")
    return _gate(
        FAIL, "Nothing missing", f"{labels.counted(len(missing), 'expected item')} missing: see the red box below."
    )


def best_comparison(results: Path, verdict: dict) -> dict | None:
    """The paired difference of the network and the best of its baselines, from comparisons.tsv, in the headline's metric on
    its held-out rows; None where the file or the row is not there (a section of the page boxes the file)."""
    table = read_comparisons(results / "experiments" / verdict["experiment"])
    rows = held_out_rows(table, verdict["metric"])
    rows = rows[(rows["cohort"] == verdict["cohort"]) & (rows["best"] == "yes")]
    return None if rows.empty else rows.iloc[0].to_dict()


def difference_sentence(verdict: dict, comparison: dict | None) -> str:
    """What the comparison says, for a card; empty without one."""
    if comparison is None or not labels.is_number(comparison["difference"]):
        return ""
    places = labels.metric(verdict["metric"]).decimals
    unit = labels.unit(verdict["target"]) if verdict["metric"] == "mae" else ""
    phrase = BASELINE_PHRASES.get(str(comparison["baseline"]), f"the baseline '{comparison['baseline']}'")
    interval = labels.interval(comparison["ci_low"], comparison["ci_high"], places)
    difference = labels.number(comparison["difference"], places)
    return (
        f"Against the best baseline, {phrase}, on the same participants: difference {difference}{unit} {interval}".rstrip()
        + "."
    )


def _learned(networks: Networks | Missing) -> dict:
    name = "Every network learned"
    if isinstance(networks, Missing):
        return _gate(OPEN, name, "The record of the networks is missing.")
    judged = networks.total - int((networks.table["learned"] == NOT_JUDGED).sum())
    if not judged:
        return _gate(OPEN, name, "The networks were not judged.")
    failed = networks.failed
    if networks.none_learned:
        return _gate(FAIL, name, f"None learned anything: {networks.members(failed)}.")
    if len(failed):
        kept = f"the mean is over the other {networks.used}" if networks.used > 1 else "one network is left"
        return _gate(WARN, name, f"Left out: {networks.members(failed)}; {kept}.")
    if len(networks.early):
        early = networks.members(networks.early)
        return _gate(
            WARN, name, f"The first epoch that could be kept was the best: {early}. Look at the learning curve."
        )
    again = ", after another seed was tried" if networks.retrained else ""
    rest = f"; {networks.total - judged} could not be judged" if judged < networks.total else ""
    return _gate(PASS, name, f"{labels.counted(judged, 'network')} learned something{again}{rest}.")


def _beats(verdict: dict) -> dict:
    name = "Beats the trivial baseline"
    if verdict["verdict"] == "missing":
        return _gate(OPEN, name, "Its numbers are missing.")
    places = labels.metric(verdict["metric"]).decimals
    told = f"{labels.number(verdict['value'], places)} against {labels.number(verdict['baseline_value'], places)}."
    # By the values: a verdict fails for networks that learned nothing, too.
    higher_is_better = labels.metric(verdict["metric"]).higher_is_better
    better = (
        verdict["value"] > verdict["baseline_value"]
        if higher_is_better
        else verdict["value"] < verdict["baseline_value"]
    )
    return _gate(PASS if better else FAIL, name, told)


def _clear(verdict: dict, comparison: dict | None) -> dict:
    name = "Clear of the best baseline"
    if verdict["verdict"] == "missing":
        return _gate(OPEN, name, "Its numbers are missing.")
    if comparison is None:
        return _gate(OPEN, name, "The paired comparison is missing.")
    if not (labels.is_number(comparison["ci_low"]) and labels.is_number(comparison["ci_high"])):
        return _gate(WARN, name, "The paired difference has no interval.")
    favoured = str(comparison["in_favour_of"])
    state = {"network": PASS, "baseline": FAIL}.get(favoured, WARN)
    told = {
        PASS: "The interval of the paired difference does not hold 0.",
        FAIL: "The baseline is better, and the interval of the paired difference does not hold 0.",
        WARN: "The interval of the paired difference holds 0.",
    }
    return _gate(state, name, told[state])


def _leak(split: dict | Missing) -> dict:
    name = "No leak"
    if isinstance(split, Missing):
        return _gate(OPEN, name, "The samples are missing.")
    if any(split[key] for key in LEAKS):
        return _gate(FAIL, name, "Something stands on two sides of the split: see Split.")
    if split["missing"]:
        return _gate(OPEN, name, "A table that the check needs is missing: see Split.")
    return _gate(PASS, name, f"No participant and none of {split['compared']} images on two sides.")


def _control(control: dict | Missing | None) -> dict:
    name = "Control at chance"
    if control is None:
        return _gate(OPEN, name, "This experiment has no control.")
    if isinstance(control, Missing) or control.get("holds") is None:
        return _gate(OPEN, name, "The control's record or numbers are missing.")
    if control["holds"]:
        return _gate(PASS, name, "Trained on permuted targets, it ended at chance.")
    return _gate(FAIL, name, "Trained on permuted targets, it did not end at chance: look for a leak.")


def _gate(state: str, name: str, told: str) -> dict:
    symbol, words = STATES[state]
    return {"state": state, "symbol": symbol, "words": words, "name": name, "told": told}
