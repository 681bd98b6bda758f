"""Metrics, intervals and their weights against scikit-learn, scipy and closed forms."""

import numpy as np
import pytest
from evaluation_samples import NO_BASELINE, QUICK, aged, rated
from neurocohort.evaluation.evaluate import evaluate
from neurocohort.evaluation.intervals import Bootstrap, participant_interval, wilson_interval
from neurocohort.evaluation.metrics import CLASSES_METRICS, CLASSIFICATION_METRICS, REGRESSION_METRICS
from scipy import stats
from sklearn import metrics as sk


@pytest.mark.parametrize("name", [*REGRESSION_METRICS, *CLASSIFICATION_METRICS, *CLASSES_METRICS])
def test_weighted_metric_equals_the_metric_of_repeated_rows(name):
    rng = np.random.default_rng(3)
    weights = rng.integers(0, 4, (6, 50))
    target, prediction = rng.normal(50, 10, 50).round(), rng.normal(50, 10, 50).round()
    metric = (REGRESSION_METRICS | CLASSIFICATION_METRICS | CLASSES_METRICS)[name]
    if name in CLASSIFICATION_METRICS:
        target, prediction = (target > 50).astype(int), prediction / 100
    if name in CLASSES_METRICS:
        target, prediction = rng.integers(0, 3, 50), rng.dirichlet(np.ones(3), 50).round(1)
        metric = CLASSES_METRICS[name]
    found = metric(target, prediction, weights.astype(float))
    expected = [metric(np.repeat(target, w, axis=0), np.repeat(prediction, w, axis=0)) for w in weights]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_new_metrics_equal_scikit_learns_and_numpys():
    table, years = rated(150), aged(80)
    target, prediction = table["target"].to_numpy(), table["prediction"].to_numpy().round(1)  # with ties
    found = {name: metric(target, prediction) for name, metric in CLASSIFICATION_METRICS.items()}
    assert found["average_precision"] == pytest.approx(sk.average_precision_score(target, prediction))
    assert found["brier"] == pytest.approx(sk.brier_score_loss(target, prediction))
    age, predicted = years["target"].to_numpy(), years["prediction"].to_numpy()
    assert REGRESSION_METRICS["bias"](age, predicted) == pytest.approx((predicted - age).mean())
    assert REGRESSION_METRICS["bias_slope"](age, predicted) == pytest.approx(np.polyfit(age, predicted - age, 1)[0])
    assert REGRESSION_METRICS["bias_slope"](age, np.full(80, 50.0)) == pytest.approx(-1)


def test_weights_and_repeated_rows_give_one_interval():
    rng = np.random.default_rng(5)
    owner, values = rng.integers(0, 20, 60), rng.normal(0, 1, 60)
    classes = owner % 2
    of_rows = participant_interval(
        lambda weights: [np.repeat(values, draw.astype(int)).mean() for draw in weights], owner, QUICK, classes
    )
    of_weights = participant_interval(
        lambda weights: (weights * values).sum(axis=1) / weights.sum(axis=1), owner, QUICK, classes
    )
    assert of_rows[2] == of_weights[2] == "bca" and of_rows[:2] == pytest.approx(of_weights[:2], abs=1e-12)


def test_interval_of_few_people_is_as_wide_as_students():
    widths, students = [], []
    for repeat in range(60):
        values = np.random.default_rng(repeat).normal(0, 1, 12)
        low, high, _ = participant_interval(
            lambda weights, values=values: (weights * values).mean(axis=1),
            np.arange(12),
            Bootstrap(1000, seed=1),
        )
        widths.append(high - low)
        students.append(np.ptp(stats.t.interval(0.95, 11, 0, values.std(ddof=1) / np.sqrt(12))))
    assert np.mean(widths) == pytest.approx(np.mean(students), rel=0.05)


def test_wilsons_interval_equals_scipys():
    for successes, count in ((0, 7), (3, 7), (7, 7), (41, 90)):
        expected = stats.binomtest(successes, count).proportion_ci(method="wilson")
        assert wilson_interval(successes / count, count) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert np.isnan(wilson_interval(float("nan"), 0)).all()


def test_metrics_are_told_by_sex_and_age_band_where_these_are_known():
    table = aged(60)
    metrics = evaluate(table, NO_BASELINE, "regression", QUICK)
    assert {"sex=F", "sex=M", "age=20-39", "age=40-59", "site=x"} <= set(metrics["group"])
    own = table[(table["age"] >= 40) & (table["age"] < 60)]
    row = metrics[(metrics["group"] == "age=40-59") & (metrics["metric"] == "mae")].squeeze()
    assert row["value"] == pytest.approx(sk.mean_absolute_error(own["target"], own["prediction"]), abs=1e-6)
    assert row["n"] == len(own)
