"""Metrics against independent computations, and intervals that behave."""

import numpy as np
import pandas as pd
import pytest
from neurocohort.errors import InputError
from neurocohort.evaluation.controls import chance_holds
from neurocohort.evaluation.evaluate import evaluate
from neurocohort.evaluation.intervals import Bootstrap, auc_score_interval, participant_interval
from neurocohort.evaluation.metrics import CLASSES_METRICS, CLASSIFICATION_METRICS, REGRESSION_METRICS
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


def mean_of(values: np.ndarray):
    """The statistic whose interval is that of the mean of ``values``."""
    return lambda weights: (weights * values).sum(axis=1) / weights.sum(axis=1)


def test_interval_of_a_mean_is_near_the_closed_form():
    values = RNG.normal(0, 1, 200)
    low, high, method = participant_interval(mean_of(values), np.arange(200), Bootstrap(4000, seed=1))
    expected = stats.t.interval(0.95, 199, values.mean(), values.std(ddof=1) / np.sqrt(200))
    assert method == "bca" and (low, high) == pytest.approx(expected, abs=0.02)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    inside = 0
    for repeat in range(200):
        errors = np.abs(np.random.default_rng(repeat).normal(0, 5, 60))
        low, high, _ = participant_interval(mean_of(errors), np.arange(60), Bootstrap(500, seed=repeat))
        inside += low <= 5 * np.sqrt(2 / np.pi) <= high
    assert 0.90 <= inside / 200 <= 0.985


def test_repeated_scans_of_a_person_are_drawn_together():
    """Ten copies of each person tell no more than one: the interval must not shrink."""
    values = RNG.normal(0, 1, 30)
    once = participant_interval(mean_of(values), np.arange(30), Bootstrap(2000, seed=1))
    tenfold = np.repeat(values, 10)
    people = np.repeat(np.arange(30), 10)
    repeated = participant_interval(mean_of(tenfold), people, Bootstrap(2000, seed=1))
    assert repeated[:2] == pytest.approx(once[:2], abs=0.05)


def test_degenerate_distribution_falls_back_to_percentiles_and_says_so():
    low, high, method = participant_interval(
        lambda weights: np.full(len(weights), 0.5), np.arange(20), Bootstrap(200, seed=1)
    )
    assert (low, high, method) == (0.5, 0.5, "percentile")


def test_one_person_has_no_interval():
    assert (
        participant_interval(lambda weights: np.ones(len(weights)), np.array(["a", "a"]), Bootstrap(100, seed=1))[2]
        == "none"
    )


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
    metrics = evaluate(pd.concat([table, validation]), baseline, "regression", Bootstrap(200, seed=1))
    assert set(metrics["part"]) == {"held-out"}, "the validation part chose the epoch: no figure on it"
    assert set(metrics["model"]) == {"network", "mean"} and set(metrics["group"]) == {"all", "site=x", "site=y"}
    finite = metrics.dropna(subset="value")
    assert ((finite["ci_low"] <= finite["value"]) & (finite["value"] <= finite["ci_high"])).all()
    network = metrics[(metrics["model"] == "network") & (metrics["metric"] == "mae") & (metrics["group"] == "all")]
    assert network["value"].item() == pytest.approx(np.abs(table["prediction"] - table["target"]).mean(), abs=1e-6)
    assert network["n"].item() == 24


def test_constant_classifier_has_an_auc_of_one_half():
    table = predictions("classification")
    metrics = evaluate(table, table.assign(prediction=0.4, model="majority"), "classification", Bootstrap(200, seed=1))
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


# --- more than two classes ----------------------------------------------------------------------------------------


def of_classes(count: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    target = np.arange(count) % classes
    scores = RNG.normal(0, 1, (count, classes)) + 1.2 * (target[:, None] == np.arange(classes))
    probabilities = np.exp(scores)
    return target, np.round(probabilities / probabilities.sum(axis=1, keepdims=True), 1 if classes == 4 else 6)


@pytest.mark.parametrize("classes", [3, 4])
def test_metrics_of_several_classes_equal_scikit_learns(classes):
    target, probabilities = of_classes(150, classes)  # of four classes with ties
    metric = {name: function(target, probabilities) for name, function in CLASSES_METRICS.items()}
    one_against_rest = np.eye(classes)[target]
    assert metric["auc_macro"] == pytest.approx(sk.roc_auc_score(one_against_rest, probabilities, average="macro"))
    called = probabilities.argmax(axis=1)
    assert metric["accuracy"] == pytest.approx(sk.accuracy_score(target, called))
    assert metric["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(target, called))


def test_class_that_nobody_has_leaves_the_macro_auc_undefined():
    target, probabilities = of_classes(40)
    chosen = target != 2
    assert np.isnan(CLASSES_METRICS["auc_macro"](target[chosen], probabilities[chosen]))
    assert np.isnan(CLASSES_METRICS["balanced_accuracy"](target[chosen], probabilities[chosen]))
    assert CLASSES_METRICS["accuracy"](target[chosen], probabilities[chosen]) > 0.4


def class_table(target: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    table = predictions("classification", len(target))
    table = table.assign(target=target, prediction=probabilities.argmax(axis=1))
    return table.assign(**{f"probability_{code}": column for code, column in enumerate(probabilities.T)})


def test_figures_of_several_classes_have_intervals_and_a_constant_is_at_chance():
    target, probabilities = of_classes(48)
    table = class_table(target, probabilities)
    constant = class_table(target, np.tile([0.5, 0.3, 0.2], (48, 1))).assign(model="majority")
    metrics = evaluate(table, constant, "classification", Bootstrap(200, seed=1))
    assert set(metrics["metric"]) == set(CLASSES_METRICS) and set(metrics["group"]) == {"all", "site=x", "site=y"}
    whole = metrics[metrics["group"] == "all"].set_index(["model", "metric"])
    for name, metric in CLASSES_METRICS.items():
        row = whole.loc[("network", name)]
        assert row["value"] == pytest.approx(metric(target, probabilities), abs=1e-6)
        assert row["ci_low"] < row["value"] < row["ci_high"] and row["interval"] == "bca"
    assert whole.loc[("majority", "auc_macro"), ["value", "ci_low", "ci_high"]].tolist() == [0.5, 0.5, 0.5]
    assert whole.loc[("majority", "balanced_accuracy"), "value"] == pytest.approx(1 / 3, abs=1e-6)


def test_perfect_macro_auc_is_no_proof_of_certainty():
    target = np.arange(24) % 3
    metrics = evaluate(
        class_table(target, np.eye(3)[target]),
        pd.DataFrame(columns=["model"]),
        "classification",
        Bootstrap(100, seed=1),
    )
    row = metrics[(metrics["metric"] == "auc_macro") & (metrics["group"] == "all")].squeeze()
    assert row["value"] == row["ci_high"] == 1.0 and row["interval"] == "newcombe" and 0.6 < row["ci_low"] < 0.95


def test_more_than_ten_classes_keep_their_order():
    target = np.arange(44) % 11
    table = class_table(target, np.eye(11)[target])
    metrics = evaluate(table[sorted(table)], pd.DataFrame(columns=["model"]), "classification", Bootstrap(50, seed=1))
    assert metrics.loc[(metrics["metric"] == "accuracy") & (metrics["group"] == "all"), "value"].item() == 1.0


# --- the control --------------------------------------------------------------------------------------------------


def judged(kind: str, noise: float, repeat: int = 0, count: int = 60) -> pd.DataFrame:
    """metrics.tsv of predictions that know the truth up to ``noise`` (in its standard deviations)."""
    rng = np.random.default_rng(repeat)
    truth = rng.normal(50, 15, count)
    known = truth + rng.normal(0, 15 * noise, count) if noise < np.inf else rng.normal(50, 3, count)
    table = predictions(kind, count)
    if kind == "classification":
        table["target"], known = (truth > 50).astype(int), 1 / (1 + np.exp(-(known - 50) / 15))
    else:
        table["target"] = truth
    table["prediction"] = known
    constant = table.assign(prediction=table["target"].mean(), model="mean" if kind == "regression" else "majority")
    table, constant = table.assign(site="x"), constant.assign(site="x")
    return evaluate(table, constant, kind, Bootstrap(100, seed=1))


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_control_holds_chance_where_nothing_was_learned_and_not_where_the_truth_was(kind):
    held = [chance_holds(judged(kind, np.inf, repeat), kind).holds for repeat in range(10)]
    assert np.mean(held) >= 0.8
    record = chance_holds(judged(kind, 0.5), kind)
    assert record.holds is False and "Look for a leak" in record.sentence
    assert record.metric == ("mae" if kind == "regression" else "auc")
    assert record.ci_low <= record.value <= record.ci_high


def test_network_that_is_worse_than_the_mean_is_no_leak():
    table = predictions("regression").assign(prediction=lambda rows: 100 - rows["target"])
    metrics = evaluate(table, table.assign(prediction=50.0, model="mean"), "regression", Bootstrap(200, seed=1))
    assert chance_holds(metrics, "regression").holds is True


def test_several_permutations_are_judged_by_their_mean_and_their_spread():
    """Two results far from chance on either side of it are what drawn permutations do; four on one side are not."""
    better, worse = (
        judged("classification", 0.5),
        judged("classification", 0.5).assign(value=0.15, ci_low=0.08, ci_high=0.25),
    )
    assert chance_holds(better, "classification").holds is False
    both = chance_holds([better, worse], "classification")
    assert both.holds is True and both.ci_low < 0.5 < both.ci_high and "2 permutations" in both.sentence
    assert chance_holds([judged("classification", 0.5, repeat) for repeat in range(4)], "classification").holds is False


def test_control_of_several_classes_is_judged_by_the_macro_auc():
    target, _ = of_classes(60)
    table = class_table(target, np.random.default_rng(3).dirichlet(np.ones(3), 60))
    metrics = evaluate(table, pd.DataFrame(columns=["model"]), "classification", Bootstrap(200, seed=1))
    record = chance_holds(metrics, "classification")
    assert record.metric == "auc_macro" and record.chance == 0.5 and record.holds is True


def test_control_without_numbers_says_so_and_a_segmentation_has_none():
    table = predictions("classification").assign(target=1)  # one class: no AUC
    metrics = evaluate(table, table.assign(model="majority"), "classification", Bootstrap(50, seed=1))
    record = chance_holds(metrics, "classification")
    assert record.holds is None and "can't be judged" in record.sentence
    with pytest.raises(InputError, match="regression or a classification; found segmentation"):
        chance_holds(metrics, "segmentation")
