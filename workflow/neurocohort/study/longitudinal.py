"""Checks of the longitudinal analyses against the cohorts and experiments of the study.

Imports stay light: this runs at the start of every Snakemake process.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from neurocohort.dataset.filters import filter_columns
from neurocohort.errors import InputError
from neurocohort.learning.session_networks import SESSION_NETWORKS
from neurocohort.settings.selection import WITH_VALUES
from neurocohort.sources.variable_kinds import NUMBER, TWO_CLASSES
from neurocohort.study.members import transfer_chain
from neurocohort.study.messages import did_you_mean, listed

Kinds = Mapping[str, Mapping[str, str | None]]  # by cohort, the kind of each variable; None if it isn't known


def longitudinal_faults(config: dict, kinds: Kinds) -> Iterator[str]:
    """Yield a sentence for each conflict of a longitudinal analysis with the rest of the configuration.

    Args:
        config: The checked configuration.
        kinds: By configured cohort, the kind of each of its variables; None if the kind isn't known.
    """
    for name, analysis in (config.get("longitudinal") or {}).items():
        key = f"longitudinal.{name}"
        if name in config["experiments"] or name in config["models"]:
            yield f"`{key}` has the name of an experiment or model; expected another name, such as `{name}_sessions`."
        if config["split"]["test_folds"]:
            yield (
                f"`{key}` is given, and `split.test_folds` is {config['split']['test_folds']}: a longitudinal analysis is "
                "tested on a single held-out part. Set `split.test_folds: 0`, or leave the analysis out."
            )
        yield from _own_faults(key, analysis)
        yield from _feature_faults(key, analysis, config["experiments"])
        unknown = [cohort for cohort in analysis["cohorts"] if cohort not in config["cohorts"]]
        for cohort in unknown:
            hint = did_you_mean(cohort, config["cohorts"])
            yield f"`{key}.cohorts` names `{cohort}`, which isn't configured; expected some of {listed(config['cohorts'])}{hint}"
        if not unknown:
            yield from _variable_faults(key, analysis, kinds)


def feature_chain(experiments: dict[str, dict], analysis: Mapping[str, Any]) -> list[str]:
    """The experiments whose training the features of an analysis depend on: the one that it names, and those it started from."""
    name = analysis.get("features")
    return transfer_chain(experiments, name) if name in experiments else []


def unknown_start(experiments: dict[str, dict], analysis: Mapping[str, Any]) -> bool:
    """Whether the features go back to weights from outside the study, whose training participants aren't known."""
    chain = feature_chain(experiments, analysis)
    return bool(chain) and bool((experiments[chain[-1]].get("transfer") or {}).get("weights"))


def _own_faults(key: str, analysis: dict) -> Iterator[str]:
    target, inputs = analysis["target"], analysis["variables"]
    if analysis["change_per_year"]:
        if analysis["task"] != "regression":
            yield f"`{key}.change_per_year` is true, and `{key}.task` is {analysis['task']}; expected `task: regression`."
        if analysis.get("outcome_time"):
            yield (
                f"`{key}.outcome_time` is given, and `{key}.change_per_year` is true, whose outcome is at the last session; "
                "leave one of them out."
            )
    elif target in inputs:
        yield f"`{key}.variables` names `{target}`, which is the target; leave it out of the inputs."
    if target in (analysis["time"], analysis.get("outcome_time")):
        yield f"`{key}.target` is `{target}`, which is also a time; expected another variable."
    if (outcome := analysis.get("outcome_time")) and outcome in (*inputs, analysis["time"]):
        yield f"`{key}.outcome_time` is `{outcome}`, which is an input or the time of the sessions; expected another variable."
    for model in analysis["models"]:
        if model not in SESSION_NETWORKS:
            hint = did_you_mean(model, SESSION_NETWORKS)
            yield f"`{key}.models` names `{model}`; expected some of {listed(SESSION_NETWORKS)}{hint or '.'}"


def _feature_faults(key: str, analysis: dict, experiments: dict[str, dict]) -> Iterator[str]:
    name = analysis.get("features")
    if name is None:
        return
    fitting = [one for one, experiment in experiments.items() if experiment["task"] in WITH_VALUES]
    if name not in fitting:
        found = f"whose task is {experiments[name]['task']}" if name in experiments else "which isn't configured"
        yield (
            f"`{key}.features` names `{name}`, {found}; regressions and classifications export features: "
            f"{listed(fitting) or 'there are none'}{did_you_mean(name, fitting) or '.'}"
        )
        return
    used = {*experiments[name]["cohorts"], *experiments[name]["external"]}
    if absent := [cohort for cohort in analysis["cohorts"] if cohort not in used]:
        yield (
            f"`{key}.features` names `{name}`, which isn't applied to {listed(absent)}; add the cohort to "
            f"`experiments.{name}.external`, or leave it out of `{key}.cohorts`."
        )


def _variable_faults(key: str, analysis: dict, kinds: Kinds) -> Iterator[str]:
    """Variables that a cohort lacks, or that are no numbers."""
    wanted = {"target": [analysis["target"]], "time": [analysis["time"]], "variables": analysis["variables"]}
    if outcome := analysis.get("outcome_time"):
        wanted["outcome_time"] = [outcome]
    classes = analysis["task"] == "classification"
    for cohort in analysis["cohorts"]:
        known = kinds[cohort]
        for field, names in wanted.items():
            for name in names:
                if name not in known:
                    hint = did_you_mean(name, known)
                    yield (
                        f"`{key}.{field}` names `{name}`, which isn't a variable of `{cohort}`: {listed(sorted(known))}"
                        f"{hint or '.'}"
                    )
                    continue
                fitting = (TWO_CLASSES, None) if field == "target" and classes else (NUMBER, None)
                if known[name] not in fitting and not (field == "variables" and known[name] == TWO_CLASSES):
                    yield f"`{key}.{field}` names `{name}`, which is {known[name]} in `{cohort}`; expected {fitting[0]}."
    if analysis["filter"].strip():
        variables = sorted(set().union(*(kinds[cohort] for cohort in analysis["cohorts"])) - {"dseg"})
        try:
            named = filter_columns(analysis["filter"])
        except InputError as error:
            yield f"`{key}.filter`: {error}"
            return
        for name in sorted(named - set(variables)):
            yield (
                f"`{key}.filter` names `{name}`, which no cohort of the analysis has; the variables are {listed(variables)}"
                f"{did_you_mean(name, variables) or '.'}"
            )
