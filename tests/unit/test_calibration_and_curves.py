"""Calibration and curves against scikit-learn, closed forms and brute force."""

import numpy as np
import pytest
from evaluation_samples import NO_BASELINE, QUICK, model, rated
from neurocohort.evaluation.calibration import calibration_intercept, calibration_slope, reliability
from neurocohort.evaluation.curves import CHANCES, GRID, curve_table, net_benefit, precision_recall, roc
from neurocohort.evaluation.intervals import percentile_band
from neurocohort.evaluation.measures import with_baselines
from scipy import optimize
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression


def test_recalibration_equals_scikit_learns_and_scipys():
    table = rated(200, apart=1)
    target, prediction = table["target"].to_numpy(), table["prediction"].to_numpy()
    logit = np.log(prediction / (1 - prediction))
    fitted = LogisticRegression(C=np.inf, tol=1e-10).fit(logit[:, None], target)
    assert calibration_slope(target, prediction) == pytest.approx(fitted.coef_[0, 0], rel=1e-4)
    expected = optimize.brentq(lambda a: (target - 1 / (1 + np.exp(-(a + logit)))).sum(), -10, 10)
    assert calibration_intercept(target, prediction) == pytest.approx(expected, abs=1e-8)


def test_calibration_of_draws_equals_that_of_repeated_rows():
    table = rated(60)
    target, prediction = table["target"].to_numpy(), table["prediction"].to_numpy()
    weights = np.random.default_rng(0).multinomial(60, np.full(60, 1 / 60), 5)
    for metric in (calibration_slope, calibration_intercept):
        expected = [metric(np.repeat(target, w), np.repeat(prediction, w)) for w in weights]
        np.testing.assert_allclose(metric(target, prediction, weights.astype(float)), expected, rtol=1e-6)


def test_calibrated_probabilities_have_slope_one_and_separated_ones_none():
    rng = np.random.default_rng(8)
    probability = rng.uniform(0.02, 0.98, 20_000)
    target = (rng.random(20_000) < probability).astype(int)
    assert calibration_slope(target, probability) == pytest.approx(1, abs=0.05)
    assert calibration_intercept(target, probability) == pytest.approx(0, abs=0.05)
    over = 1 / (1 + np.exp(-2 * np.log(probability / (1 - probability))))
    assert calibration_slope(target, over) == pytest.approx(0.5, abs=0.03), "twice too sure"
    order = np.sort(rng.random(40))
    assert np.isnan(calibration_slope((order > 0.5).astype(int), order))
    assert np.isnan(calibration_slope(np.ones(40, dtype=int), order))
    assert np.isnan(calibration_slope(np.arange(40) % 2, np.full(40, 0.3)))


def test_draws_that_separate_the_classes_widen_the_slopes_interval():
    prediction, target = np.array([0.1, 0.2, 0.3, 0.45, 0.4, 0.6, 0.8, 0.9]), np.repeat([0, 1], 4)
    without_the_overlap = np.array([1, 1, 1, 0, 1, 1, 1, 1])
    weights = np.stack([np.ones(8), without_the_overlap, np.where(target, 1, 0)]).astype(float)
    found, reverse = calibration_slope(target, prediction, weights), calibration_slope(1 - target, prediction, weights)
    assert 0 < found[0] < 50 and found[1] == 50 and np.isnan(found[2])
    assert reverse[0] == pytest.approx(-found[0]) and reverse[1] == -50


def test_reliability_bins_hold_everybody_once():
    table = rated(95)
    bins = reliability(table)
    assert len(bins) == 9 and bins["n"].sum() == 95 and bins["n"].between(9, 12).all()
    assert (bins["n"] * bins["y"]).sum() == pytest.approx(table["target"].sum())
    assert (bins["n"] * bins["x"]).sum() == pytest.approx(table["prediction"].sum())
    assert ((bins["low"] <= bins["y"]) & (bins["y"] <= bins["high"])).all()
    assert len(reliability(table.assign(prediction=0.3))) == 1


def test_curves_equal_brute_force():
    table = rated(70)
    target, prediction = table["target"].to_numpy(), table["prediction"].to_numpy().round(2)
    false_alarms, sensitivity, _ = sk.roc_curve(target, prediction, drop_intermediate=False)
    assert np.trapezoid(roc(target, prediction)[0], GRID) == pytest.approx(
        sk.roc_auc_score(target, prediction), abs=0.01
    )
    for x, y in zip(GRID, roc(target, prediction)[0], strict=True):
        assert sensitivity[false_alarms <= x + 1e-9].max() <= y + 1e-6
        assert y <= sensitivity[false_alarms >= x - 1e-9].max() + 1e-6
    for recall, precision in zip(GRID, precision_recall(target, prediction)[0], strict=True):
        called = max(
            (prediction >= t for t in np.unique(prediction) if (prediction >= t)[target == 1].any()
             and (prediction >= t)[target == 1].mean() >= recall - 1e-9),
            key=lambda called: -called.sum(),
        )  # fmt: skip
        assert precision == pytest.approx(target[called].mean())
    for chance, benefit in zip(CHANCES, net_benefit(target, prediction)[0], strict=True):
        called = prediction >= chance
        expected = (target[called] == 1).sum() - (target[called] == 0).sum() * chance / (1 - chance)
        assert benefit == pytest.approx(expected / 70)


def test_curves_have_bands_around_them_and_the_treat_all_line():
    table = rated(60)
    found = curve_table(with_baselines(table, model(table, "majority", prediction=0.4)), QUICK)
    assert set(found["curve"]) == {"roc", "pr", "decision", "reliability"}
    network = found[(found["model"] == "network") & (found["curve"] != "reliability")]
    assert ((network["low"] <= network["y"]) & (network["y"] <= network["high"])).mean() > 0.98
    chance = found[(found["model"] == "majority") & (found["curve"] == "roc")]
    np.testing.assert_allclose(chance["y"], GRID, atol=1e-6)
    everybody = found[found["model"] == "treat_all"].set_index("x")["y"]
    share = table["target"].mean()
    assert len(everybody) == 99 and everybody[0.2] == pytest.approx(share - (1 - share) / 4, abs=1e-6)
    one_class = with_baselines(table[table["target"] == 1], NO_BASELINE)
    assert curve_table(one_class, QUICK).empty


def test_band_is_that_of_the_percentiles():
    values = np.random.default_rng(0).normal(0, 1, (4000, 3))
    values[:100, 0] = np.nan
    low, high = percentile_band(values, 1000)
    assert low == pytest.approx([-1.96] * 3, abs=0.15) and high == pytest.approx([1.96] * 3, abs=0.15)
