"""Longitudinal analyses in a study: what `check` accepts and refuses, what is off by default, and the jobs."""

import copy

import pytest
import yaml
from configurations import DEMO, changed, refusal
from neurocohort.study.configuration import check_configuration
from neurocohort.study.longitudinal import feature_chain, unknown_start

KEY = "longitudinal.conversion"


@pytest.fixture
def given(tmp_path, monkeypatch) -> dict:
    """The demo with an analysis of OASIS-1."""
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load(DEMO.read_text())
    analysis = {"task": "classification", "target": "dementia", "cohorts": ["oasis1"], "features": "brain_age"}
    return config | {"longitudinal": {"conversion": analysis}}


def checked(config: dict) -> dict:
    return check_configuration(copy.deepcopy(config), source="study.yaml")


def test_an_analysis_is_off_by_default_and_then_has_defaults(given):
    analysis = checked(given)["longitudinal"]["conversion"]
    assert analysis["models"] == ["gru", "transformer"] and analysis["variables"] == ["age"]
    assert "outcome_time" not in analysis
    del given["longitudinal"]
    assert "longitudinal" not in checked(given)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("target", "age", "`longitudinal.conversion.variables` names `age`, which is the target"),
        ("change_per_year", True, "expected `task: regression`"),
        ("outcome_time", "age", "which is an input or the time of the sessions"),
        ("time", "dementia", "which is also a time"),
        ("time", "visit", "`longitudinal.conversion.time` names `visit`, which isn't a variable of `oasis1`"),
        ("variables", ["age", "mmsee"], "did you mean `mmse`?"),
        ("variables", ["handedness"], "expected a number"),
        ("target", "cdr", "which is"),
        ("models", ["gruu"], "expected some of gru, transformer; did you mean `gru`?"),
        ("features", "tissue", "whose task is segmentation"),
        ("features", "brain_ag", "which isn't configured"),
        ("cohorts", ["oasis2"], "`longitudinal.conversion.cohorts` names `oasis2`, which isn't configured"),
        ("filter", "agee > 60", "`longitudinal.conversion.filter` names `agee`"),
        ("filter", "age +", "`longitudinal.conversion.filter`"),
        ("width", 7, "`longitudinal.conversion.width`"),
        ("epochs", 0, "`longitudinal.conversion.epochs`"),
    ],
)
def test_what_cannot_work_is_refused_with_its_key(given, key, value, words):
    assert words in refusal(changed(given, f"{KEY}.{key}", value))


def test_features_need_an_experiment_that_is_applied_to_the_cohort(given):
    other = changed(given, "experiments.brain_age.cohorts", ["ixi"])
    assert "`longitudinal.conversion.features` names `brain_age`, which isn't applied to oasis1" in refusal(other)
    checked(changed(other, "experiments.brain_age.external", ["oasis1"]))


def test_an_analysis_has_a_name_of_its_own_and_one_held_out_part(given):
    renamed = given | {"longitudinal": {"brain_age": given["longitudinal"]["conversion"]}}
    assert "has the name of an experiment or model" in refusal(renamed)
    assert "`split.test_folds` is 3" in refusal(changed(given, "split.test_folds", 3))


def test_a_yearly_change_may_have_its_variable_among_the_inputs_but_no_outcome_time(given):
    change = {"task": "regression", "target": "nwbv", "change_per_year": True, "variables": ["age", "nwbv"]}
    config = given | {"longitudinal": {"change": change | {"cohorts": ["oasis1"]}}}
    checked(config)
    assert "leave one of them out" in refusal(changed(config, "longitudinal.change.outcome_time", "delay_days"))


def test_the_guard_knows_all_networks_behind_the_features(given):
    experiments = checked(given)["experiments"]
    analysis = given["longitudinal"]["conversion"]
    assert feature_chain(experiments, analysis) == ["brain_age"] and not unknown_start(experiments, analysis)
    experiments["brain_age"]["transfer"] = {"weights": "dementia"}
    assert feature_chain(experiments, analysis) == ["brain_age", "dementia"]
    experiments["dementia"]["transfer"] = {"weights": "own.safetensors"}
    assert unknown_start(experiments, analysis)
    assert feature_chain(experiments, {"features": None}) == []
