"""Metrics against independent computations, and intervals that behave."""

import numpy as np
import pandas as pd
import pytest
from neurocohort.evaluation.baselines import atlas_labels, value_baselines
from neurocohort.evaluation.evaluate import evaluate
from neurocohort.evaluation.intervals import auc_score_interval, participant_interval
from neurocohort.evaluation.metrics import CLASSIFICATION_METRICS, REGRESSION_METRICS
from scipy import stats
from sklearn import metrics as sk

RNG = np.random.default_rng(0)


def test_regression_metrics_equal_scikit_learns():
    target, prediction = RNG.normal(50, 15, 80), RNG.normal(50, 15, 80)
    assert REGRESSION_METRICS["mae"](target, prediction) == pytest.approx(sk.mean_absolute_error(target, prediction))
    assert REGRESSION_METRICS["rmse"](target, prediction) == pytest.approx(
        sk.root_mean_squared_error(target, prediction)
    )
    assert REGRESSION_METRICS["r2"](target, prediction) == pytest.approx(sk.r2_score(target, prediction))
    assert REGRESSION_METRICS["pearson_r"](target, prediction) == pytest.approx(np.corrcoef(target, prediction)[0, 1])


def test_auc_equals_scikit_learns_with_ties_too():
    target = RNG.integers(0, 2, 200)
    prediction = np.round(RNG.random(200), 1)
    assert CLASSIFICATION_METRICS["auc"](target, prediction) == pytest.approx(sk.roc_auc_score(target, prediction))
    expected = sk.balanced_accuracy_score(target, prediction >= 0.5)
    assert CLASSIFICATION_METRICS["balanced_accuracy"](target, prediction) == pytest.approx(expected)


def test_interval_of_a_mean_is_near_the_closed_form():
    values = RNG.normal(0, 1, 200)
    low, high, method = participant_interval(
        lambda rows: float(values[rows].mean()), np.arange(200), resamples=4000, seed=1
    )
    expected = stats.t.interval(0.95, 199, values.mean(), values.std(ddof=1) / np.sqrt(200))
    assert method == "bca" and (low, high) == pytest.approx(expected, abs=0.02)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    inside = 0
    for repeat in range(200):
        errors = np.abs(np.random.default_rng(repeat).normal(0, 5, 60))
        low, high, _ = participant_interval(
            lambda rows, errors=errors: float(errors[rows].mean()), np.arange(60), resamples=500, seed=repeat
        )
        inside += low <= 5 * np.sqrt(2 / np.pi) <= high
    assert 0.90 <= inside / 200 <= 0.985


def test_repeated_scans_of_a_person_are_drawn_together():
    """Ten copies of each person tell no more than one: the interval must not shrink."""
    values = RNG.normal(0, 1, 30)
    once = participant_interval(lambda rows: float(values[rows].mean()), np.arange(30), resamples=2000, seed=1)
    tenfold = np.repeat(values, 10)
    people = np.repeat(np.arange(30), 10)
    repeated = participant_interval(lambda rows: float(tenfold[rows].mean()), people, resamples=2000, seed=1)
    assert repeated[:2] == pytest.approx(once[:2], abs=0.05)


def test_degenerate_distribution_falls_back_to_percentiles_and_says_so():
    low, high, method = participant_interval(lambda rows: 0.5, np.arange(20), resamples=200, seed=1)
    assert (low, high, method) == (0.5, 0.5, "percentile")


def test_one_person_has_no_interval():
    assert participant_interval(lambda rows: 1.0, np.array(["a", "a"]), resamples=100, seed=1)[2] == "none"


def predictions(kind: str, count: int = 24) -> pd.DataFrame:
    target = RNG.uniform(20, 80, count) if kind == "regression" else np.arange(count) % 2
    return pd.DataFrame(
        {
            "cohort": "a",
            "part": "held-out",
            "scan_id": [f"s{i}" for i in range(count)],
            "participant_id": [f"p{i}" for i in range(count)],
            "site": np.where(np.arange(count) < 12, "x", "y"),
            "target": target,
            "prediction": target + RNG.normal(0, 3, count) if kind == "regression" else np.clip(target * 0.9, 0, 1),
        }
    )


def test_every_model_has_every_figure_with_an_interval_around_it():
    table = predictions("regression")
    validation = table.assign(part="validation")
    baseline = table.assign(prediction=50.0, model="mean")
    metrics = evaluate(pd.concat([table, validation]), baseline, "regression", resamples=200, seed=1)
    assert set(metrics["part"]) == {"held-out"}, "the validation part chose the epoch: no figure on it"
    assert set(metrics["model"]) == {"network", "mean"} and set(metrics["group"]) == {"all", "site=x", "site=y"}
    finite = metrics.dropna(subset="value")
    assert ((finite["ci_low"] <= finite["value"]) & (finite["value"] <= finite["ci_high"])).all()
    network = metrics[(metrics["model"] == "network") & (metrics["metric"] == "mae") & (metrics["group"] == "all")]
    assert network["value"].item() == pytest.approx(np.abs(table["prediction"] - table["target"]).mean(), abs=1e-6)
    assert network["n"].item() == 24


def test_constant_classifier_has_an_auc_of_one_half():
    table = predictions("classification")
    metrics = evaluate(table, table.assign(prediction=0.4, model="majority"), "classification", resamples=200, seed=1)
    auc = metrics[(metrics["metric"] == "auc") & (metrics["group"] == "all")].set_index("model")
    assert auc.loc["majority", ["value", "ci_low", "ci_high"]].tolist() == [0.5, 0.5, 0.5]
    network = auc.loc["network"]
    assert network["value"] == network["ci_high"] == 1.0 and network["interval"] == "newcombe"
    assert 0.7 < network["ci_low"] < 0.95, "twelve of each, perfectly separated, are no proof of certainty"


def test_score_interval_of_an_auc_covers_the_truth():
    """Normal scores one and a half deviations apart: the true AUC is known."""
    true, inside = stats.norm.cdf(1.5 / np.sqrt(2)), 0
    for repeat in range(400):
        rng = np.random.default_rng(repeat)
        prediction = np.concatenate([rng.normal(1.5, 1, 12), rng.normal(0, 1, 12)])
        found = CLASSIFICATION_METRICS["auc"](np.repeat([1, 0], 12), prediction)
        low, high = auc_score_interval(found, 12, 12)
        inside += low <= true <= high
    assert 0.92 <= inside / 400 <= 0.98


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_baselines_are_fitted_on_the_training_part_alone(kind):
    count = 40
    target = RNG.uniform(20, 80, count) if kind == "regression" else np.arange(count) % 2
    samples = pd.DataFrame(
        {
            "scan_id": [f"s{i}" for i in range(count)],
            "part": np.where(np.arange(count) < 20, "train", "held-out"),
            "target": target,
            "age": RNG.uniform(20, 80, count),
            "sex": RNG.choice(["M", "F"], count),
        }
    )
    volumes = RNG.uniform(200, 600, (count, 3))
    qc = pd.DataFrame(volumes, columns=[f"volume_{name}_ml" for name in ("csf", "gm", "wm")])
    qc = qc.assign(scan_id=samples["scan_id"], volume_brain_ml=volumes.sum(axis=1))
    honest = value_baselines(samples, qc, kind)
    changed = samples.assign(target=samples["target"].where(samples["part"] == "train", 1 - (target > 0)))
    for name, values in value_baselines(changed, qc, kind).items():
        np.testing.assert_array_equal(values, honest[name])
    assert set(honest) == ({"mean", "volumes"} if kind == "regression" else {"majority", "age_sex", "volumes"})


def test_atlas_is_the_most_frequent_label_of_the_training_scans():
    labels = np.array([[[[1, 2]]], [[[1, 3]]], [[[0, 3]]]], dtype=np.uint8)
    assert atlas_labels(labels).tolist() == [[[1, 3]]]
