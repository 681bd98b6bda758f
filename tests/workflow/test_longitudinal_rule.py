"""A longitudinal analysis in the workflow: its jobs, features of an experiment as inputs, and the guard of held-out people."""

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from checkouts import copy_checkout
from neurocohort.files import read_table, write_json, write_table
from neurocohort.learning.feature_files import write_features

sys.path.append(str(Path(__file__).resolve().parents[1] / "unit"))

from session_cohort import made_tables, write_cohort

ANALYSIS = {"task": "classification", "target": "dementia", "cohorts": ["oasis1"], "features": "brain_age"}
QUICK = {"components": 2, "epochs": 3, "width": 8, "seeds": [1]}
RULES = ("--allowed-rules", "longitudinal", "longitudinal_metrics", "--rerun-triggers", "mtime")
METRICS = "results/longitudinal/course/metrics.tsv"


@pytest.fixture
def study(repository, tmp_path):
    """A checkout whose study is the demo with an analysis, and the options that name it."""
    copy = copy_checkout(repository, tmp_path)
    config = yaml.safe_load((repository / "config/config.yaml").read_text())
    path = copy.path("config/longitudinal.yaml")
    path.write_text(yaml.safe_dump(config | {"longitudinal": {"course": ANALYSIS | QUICK}}, sort_keys=False))
    return copy, ("--configfile", str(path))


def write_tables(copy, learned_part: str) -> None:
    """Write what the analysis reads: tables of a cohort, features, and the samples that their network learned from."""
    tables = made_tables(36)
    tables["scans"] = tables["scans"].rename(columns={"converted": "dementia"})
    write_cohort(copy.path("."), tables, "oasis1")
    folder = copy.path("results/experiments/brain_age")
    for part in ("training", "seed-1"):
        (folder / part).mkdir(parents=True)
    scans = tables["scans"].merge(tables["split"])
    write_table(folder / "training/samples.tsv", scans[scans["part"] == learned_part].assign(cohort="oasis1"))
    learning = {"learned": True, "reason": "", "attempts": []}
    write_json(folder / "seed-1/run.json", {"settings": {}, "learning": learning, "best_epoch": 1})
    values = np.random.default_rng(1).normal(size=(len(scans), 5))
    write_features(folder / "seed-1/features.npz", scans.assign(cohort="oasis1"), values)


def test_dry_run_has_two_jobs_for_an_analysis_and_none_without(study):
    copy, options = study
    jobs = copy.would_run(*options)
    assert (jobs["longitudinal"], jobs["longitudinal_metrics"]) == (1, 1)
    assert not any("longitudinal" in rule for rule in copy.would_run())


@pytest.mark.slow
def test_an_analysis_runs_with_the_features_of_an_experiment(study):
    copy, options = study
    write_tables(copy, "train")
    copy.snakemake(*options, *RULES, "--", METRICS)
    assert {"gru", "last_session", "mixed_model"} <= set(read_table(copy.path(METRICS))["model"])
    assert {"feature_1", "feature_2"} <= set(read_table(copy.path("results/longitudinal/course/sessions.tsv")))
    assert "No `outcome_time` is given" in copy.path("results/longitudinal/course/notes.tsv").read_text()


@pytest.mark.slow
def test_features_of_a_network_that_learned_from_held_out_people_stop_the_run(study):
    copy, options = study
    write_tables(copy, "held-out")
    copy.snakemake(*options, *RULES, "--", METRICS, check=False)
    assert not copy.path(METRICS).exists()
    assert "whose features are used, learned from" in copy.path("logs/longitudinal/course.log").read_text()
