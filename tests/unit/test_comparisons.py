"""The network compared with its baselines."""

import numpy as np
import pandas as pd
import pytest
from evaluation_samples import QUICK, aged, model, people, rated
from neurocohort.evaluation.comparisons import compare
from neurocohort.evaluation.details import details
from neurocohort.evaluation.evaluate import evaluate
from neurocohort.evaluation.shift import shift_rows
from sklearn import metrics as sk


def test_difference_is_that_of_the_two_metrics_and_pairing_makes_it_narrow():
    network = aged(60, noise=5)
    worse = model(network, "worse", prediction=network["prediction"] + np.sign(network["prediction"] - network["age"]))
    shuffled = worse.sample(frac=1, random_state=1)
    found = compare(network, shuffled, "regression", QUICK)
    assert set(found["metric"]) == {"mae", "rmse", "r2", "pearson_r"}, "a bias has no better direction"
    row = found[found["metric"] == "mae"].squeeze()
    assert row["difference"] == pytest.approx(-1, abs=1e-6) and row["in_favour_of"] == "network"
    assert row["ci_high"] - row["ci_low"] < 1e-6, (
        "every participant's error is one year more: nothing is left to chance"
    )
    apart = evaluate(network, worse, "regression", QUICK)
    apart = apart[(apart["metric"] == "mae") & (apart["group"] == "all")]
    assert (apart["ci_high"] - apart["ci_low"]).min() > 1, "unpaired, the two intervals overlap"
    assert apart["ci_high"].min() > apart["ci_low"].max()


def test_best_baseline_is_named_by_metric_and_its_own_direction():
    network = rated(60)
    good, poor = model(rated(60, apart=3), "good", target=network["target"]), model(network, "poor", prediction=0.5)
    good["prediction"] = 0.8 * network["target"] + 0.1
    found = compare(network, pd.concat([poor, good]), "classification", QUICK)
    best = found[found["best"] == "yes"].set_index("metric")
    assert (best["baseline"] == "good").all() and (found.groupby("metric")["best"].apply(list).map(len) == 2).all()
    assert best.loc["brier", "difference"] > 0 and best.loc["auc", "difference"] < 0
    assert (best["in_favour_of"] == "baseline").all()
    expected = sk.roc_auc_score(network["target"], network["prediction"]) - 0.5
    row = found[(found["metric"] == "auc") & (found["baseline"] == "poor")].squeeze()
    assert row["difference"] == pytest.approx(expected, abs=1e-6) and row["n"] == 60


def test_a_perfect_auc_against_a_constant_has_an_interval():
    """Every resample has the same difference; eight people don't warrant an interval without width."""
    network = rated(8).assign(target=[0.0, 1.0] * 4)
    network["prediction"] = 0.8 * network["target"] + 0.1
    found = compare(network, model(network, "majority", prediction=0.5), "classification", QUICK)
    row = found[found["metric"] == "auc"].squeeze()
    assert (row["difference"], row["ci_high"], row["interval"]) == (0.5, 0.5, "newcombe")
    assert 0 < row["ci_low"] < 0.2 and row["in_favour_of"] == "network"


def test_segmentations_are_paired_by_scan_and_tissue():
    rng = np.random.default_rng(2)
    table = people(12).merge(pd.DataFrame({"tissue": ["CSF", "GM", "WM"]}), how="cross")
    table["dice"] = rng.uniform(0.7, 0.9, len(table))
    atlas = model(table, "atlas", dice=table["dice"] - 0.1).sample(frac=1, random_state=3)
    found = compare(table, atlas, "segmentation", QUICK)
    assert found["group"].tolist() == ["all", "tissue=CSF", "tissue=GM", "tissue=WM"]
    assert found["difference"].tolist() == pytest.approx([0.1] * 4, abs=1e-6) and set(found["n"]) == {12}


def test_a_baseline_that_lacks_a_cohort_is_compared_on_its_own_alone():
    """Tissue volumes predict no scan in MNI space: such a baseline has no figure of all cohorts, and the rest stands."""
    network = pd.concat([aged(30, "held-out", "a"), aged(30, "held-out", "b"), aged(30, "validation", "a")])
    volumes = model(network[network["cohort"] == "a"], "volumes", prediction=50.0)
    both = pd.concat([volumes, model(network, "mean", prediction=55.0)])
    metrics = evaluate(network, both, "regression", QUICK)
    assert set(metrics.loc[metrics["model"] == "volumes", "cohort"]) == {"a"}
    assert set(metrics.loc[metrics["model"] == "mean", "cohort"]) == {"a", "b", "all"}
    compared = compare(network, both, "regression", QUICK)
    places = compared.groupby("baseline")["cohort"].agg(set)
    assert places["volumes"] == {"a"} and places["mean"] == {"a", "b", "all"}
    samples = network.assign(part=np.where(network["part"] == "validation", "validation", "held-out"))
    assert set(shift_rows(network, both, samples, "regression", QUICK)["model"]) == {"network", "volumes", "mean"}
    traits = network[["scan_id", "cohort"]].assign(dementia=0)
    found = details(network, both, samples, traits, "regression", QUICK)
    assert {"network", "volumes", "mean"} >= set(found["model"]) and len(found)
