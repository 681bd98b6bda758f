"""What stands beside the metrics, against scikit-learn, scipy, MONAI, closed forms and brute force on random data."""

import itertools

import numpy as np
import pandas as pd
import pytest
from neurocohort.evaluation.brain_age import fit_bias
from neurocohort.evaluation.calibration import calibration_intercept, calibration_slope, reliability
from neurocohort.evaluation.classification_details import age_matched, confusion_table
from neurocohort.evaluation.comparisons import compare
from neurocohort.evaluation.curves import CHANCES, GRID, curve_table, net_benefit, precision_recall, roc
from neurocohort.evaluation.details import details
from neurocohort.evaluation.evaluate import evaluate
from neurocohort.evaluation.intervals import participant_interval, percentile_band, wilson_interval
from neurocohort.evaluation.measures import with_baselines
from neurocohort.evaluation.metrics import CLASSES_METRICS, CLASSIFICATION_METRICS, REGRESSION_METRICS
from neurocohort.evaluation.operating_point import choose_threshold, youden_threshold
from neurocohort.evaluation.segmentation_details import surface_values
from neurocohort.evaluation.shift import shift_matrix, shift_rows
from neurocohort.evaluation.spread import member_spread
from neurocohort.evaluation.tables import evaluation_tables
from scipy import ndimage, optimize, stats
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression

QUICK = {"resamples": 200, "seed": 1}
NO_BASELINE = pd.DataFrame(columns=["model"])


def people(count: int, part: str = "held-out", cohort: str = "a", seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng([seed, count])
    names = [f"{cohort}{part[0]}{number:03d}" for number in range(count)]
    table = pd.DataFrame({"cohort": cohort, "part": part, "scan_id": names, "participant_id": names})
    table["site"] = np.where(np.arange(count) % 3, "x", "y")
    return table.assign(age=rng.uniform(20, 90, count).round(1), sex=np.where(np.arange(count) % 2, "F", "M"))


def aged(count: int, part: str = "held-out", cohort: str = "a", seed: int = 0, noise: float = 5) -> pd.DataFrame:
    """Ages and predictions that are drawn to the mean."""
    table = people(count, part, cohort, seed)
    drawn = np.random.default_rng([seed, 1]).normal(0, noise, count)
    return table.assign(target=table["age"], prediction=0.7 * table["age"] + 15 + drawn)


def rated(count: int, part: str = "held-out", cohort: str = "a", seed: int = 0, apart: float = 1.5) -> pd.DataFrame:
    """Classes and probabilities."""
    rng = np.random.default_rng([seed, 2])
    table = people(count, part, cohort, seed).assign(target=(rng.random(count) < 0.45).astype(int))
    score = rng.normal(0, 1, count) + apart * (table["target"] - 0.5)
    return table.assign(prediction=(1 / (1 + np.exp(-score))).round(6))


def model(table: pd.DataFrame, name: str, **columns) -> pd.DataFrame:
    return table.assign(model=name, **columns)


# --- metrics and intervals on weighted rows -----------------------------------------------------------------------


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


def test_weights_and_row_numbers_give_one_interval():
    rng = np.random.default_rng(5)
    owner, values = rng.integers(0, 20, 60), rng.normal(0, 1, 60)
    classes = owner % 2
    of_rows = participant_interval(lambda rows: float(values[rows].mean()), owner, strata=classes, **QUICK)
    of_weights = participant_interval(
        lambda weights: (weights * values).sum(axis=1) / weights.sum(axis=1),
        owner,
        strata=classes,
        weighted=True,
        **QUICK,
    )
    assert of_rows[2] == of_weights[2] == "bca" and of_rows[:2] == pytest.approx(of_weights[:2], abs=1e-12)


def test_interval_of_few_people_is_as_wide_as_students():
    widths, students = [], []
    for repeat in range(60):
        values = np.random.default_rng(repeat).normal(0, 1, 12)
        low, high, _ = participant_interval(
            lambda weights, values=values: (weights * values).mean(axis=1),
            np.arange(12),
            weighted=True,
            resamples=1000,
            seed=1,
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
    metrics = evaluate(table, NO_BASELINE, "regression", **QUICK)
    assert {"sex=F", "sex=M", "age=20-39", "age=40-59", "site=x"} <= set(metrics["group"])
    own = table[(table["age"] >= 40) & (table["age"] < 60)]
    row = metrics[(metrics["group"] == "age=40-59") & (metrics["metric"] == "mae")].squeeze()
    assert row["value"] == pytest.approx(sk.mean_absolute_error(own["target"], own["prediction"]), abs=1e-6)
    assert row["n"] == len(own)


# --- comparisons --------------------------------------------------------------------------------------------------


def test_difference_is_that_of_the_two_metrics_and_pairing_makes_it_narrow():
    network = aged(60, noise=5)
    worse = model(network, "worse", prediction=network["prediction"] + np.sign(network["prediction"] - network["age"]))
    shuffled = worse.sample(frac=1, random_state=1)
    found = compare(network, shuffled, "regression", **QUICK)
    assert set(found["metric"]) == {"mae", "rmse", "r2", "pearson_r"}, "a bias has no better direction"
    row = found[found["metric"] == "mae"].squeeze()
    assert row["difference"] == pytest.approx(-1, abs=1e-6) and row["in_favour_of"] == "network"
    assert row["ci_high"] - row["ci_low"] < 1e-6, (
        "every participant's error is one year more: nothing is left to chance"
    )
    apart = evaluate(network, worse, "regression", **QUICK)
    apart = apart[(apart["metric"] == "mae") & (apart["group"] == "all")]
    assert (apart["ci_high"] - apart["ci_low"]).min() > 1, "unpaired, the two intervals overlap"
    assert apart["ci_high"].min() > apart["ci_low"].max()


def test_best_baseline_is_named_by_metric_and_its_own_direction():
    network = rated(60)
    good, poor = model(rated(60, apart=3), "good", target=network["target"]), model(network, "poor", prediction=0.5)
    good["prediction"] = 0.8 * network["target"] + 0.1
    found = compare(network, pd.concat([poor, good]), "classification", **QUICK)
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
    found = compare(network, model(network, "majority", prediction=0.5), "classification", **QUICK)
    row = found[found["metric"] == "auc"].squeeze()
    assert (row["difference"], row["ci_high"], row["interval"]) == (0.5, 0.5, "newcombe")
    assert 0 < row["ci_low"] < 0.2 and row["in_favour_of"] == "network"


def test_segmentations_are_paired_by_scan_and_tissue():
    rng = np.random.default_rng(2)
    table = people(12).merge(pd.DataFrame({"tissue": ["CSF", "GM", "WM"]}), how="cross")
    table["dice"] = rng.uniform(0.7, 0.9, len(table))
    atlas = model(table, "atlas", dice=table["dice"] - 0.1).sample(frac=1, random_state=3)
    found = compare(table, atlas, "segmentation", **QUICK)
    assert found["group"].tolist() == ["all", "tissue=CSF", "tissue=GM", "tissue=WM"]
    assert found["difference"].tolist() == pytest.approx([0.1] * 4, abs=1e-6) and set(found["n"]) == {12}


def test_a_baseline_that_lacks_a_cohort_is_compared_on_its_own_alone():
    """Tissue volumes predict no scan in MNI space: such a baseline has no figure of all cohorts, and the rest stands."""
    network = pd.concat([aged(30, "held-out", "a"), aged(30, "held-out", "b"), aged(30, "validation", "a")])
    volumes = model(network[network["cohort"] == "a"], "volumes", prediction=50.0)
    both = pd.concat([volumes, model(network, "mean", prediction=55.0)])
    metrics = evaluate(network, both, "regression", **QUICK)
    assert set(metrics.loc[metrics["model"] == "volumes", "cohort"]) == {"a"}
    assert set(metrics.loc[metrics["model"] == "mean", "cohort"]) == {"a", "b", "all"}
    compared = compare(network, both, "regression", **QUICK)
    places = compared.groupby("baseline")["cohort"].agg(set)
    assert places["volumes"] == {"a"} and places["mean"] == {"a", "b", "all"}
    samples = network.assign(part=np.where(network["part"] == "validation", "validation", "held-out"))
    assert set(shift_rows(network, both, samples, "regression", **QUICK)["model"]) == {"network", "volumes", "mean"}
    traits = network[["scan_id", "cohort"]].assign(dementia=0)
    found = details(network, both, samples, traits, "regression", **QUICK)
    assert {"network", "volumes", "mean"} >= set(found["model"]) and len(found)


# --- brain age ----------------------------------------------------------------------------------------------------


def test_correction_is_fitted_on_validation_alone_and_takes_the_slope_away():
    validation, held_out = aged(40, "validation", seed=1), aged(60)
    slope, intercept = np.polyfit(validation["target"], validation["prediction"], 1)
    line = fit_bias(validation)
    assert (line.slope, line.intercept, line.participants) == pytest.approx((slope, intercept, 40))
    corrected = line.corrected(validation["target"].to_numpy(), validation["prediction"].to_numpy())
    assert np.polyfit(validation["target"], corrected - validation["target"], 1) == pytest.approx([0, 0], abs=1e-8)

    found = details(pd.concat([validation, held_out]), NO_BASELINE, held_out.head(0), None, "regression", **QUICK)
    assert set(found["setting"]) == {"bias-corrected"} and set(found["part"]) == {"held-out"}
    by_hand = held_out["prediction"] + held_out["target"] - (slope * held_out["target"] + intercept)
    values = found.set_index("metric")["value"]
    assert values["mae"] == pytest.approx(sk.mean_absolute_error(held_out["target"], by_hand), abs=1e-5)
    assert values["bias_slope"] == pytest.approx(
        np.polyfit(held_out["target"], by_hand - held_out["target"], 1)[0], abs=1e-5
    )
    assert abs(values["bias_slope"]) < 0.1 and "no measure of accuracy" in found["note"].iloc[0]


def test_corrected_constant_has_no_error_which_is_why_the_correction_is_shown_apart():
    rows = pd.concat([aged(30, "validation"), aged(30)])
    found = details(rows, model(rows, "mean", prediction=50.0), rows.head(0), None, "regression", **QUICK)
    assert found[(found["model"] == "mean") & (found["metric"] == "mae")]["value"].item() == pytest.approx(0, abs=1e-6)


def test_external_cohort_is_restricted_to_shared_ages_and_to_the_healthy():
    external = aged(60, "external", "b")
    samples = aged(40).assign(part="train")
    samples["age"] = samples["age"].clip(40, 70)
    traits = external[["cohort", "scan_id"]].assign(cdr=np.where(np.arange(60) % 4 == 0, 0.5, np.nan))
    traits.loc[1, "cdr"] = 0
    found = details(external, NO_BASELINE, samples, traits, "regression", **QUICK)
    found = found[found["metric"] == "mae"].set_index("group")
    shared, well = external["age"].between(40, 70), ~(traits["cdr"] > 0)
    for group, chosen in (
        ("shared age range", shared),
        ("healthy", well),
        ("healthy, shared age range", shared & well),
    ):
        rows = external[chosen.to_numpy()]
        assert found.loc[group, "n"] == len(rows)
        expected = sk.mean_absolute_error(rows["target"], rows["prediction"])
        assert found.loc[group, "value"] == pytest.approx(expected, abs=1e-6)
    without = details(external, NO_BASELINE, samples, None, "regression", **QUICK)
    assert set(without["group"]) == {"shared age range"}, "nothing tells who is healthy"


def groups_of(external: pd.DataFrame, samples: pd.DataFrame, cdr) -> dict[str, str]:
    """By group of an external cohort with these ratings, its note."""
    traits = external[["cohort", "scan_id"]].assign(cdr=cdr)
    found = details(external, NO_BASELINE, samples, traits, "regression", **QUICK)
    return found[found["metric"] == "mae"].set_index("group")["note"].to_dict()


def test_group_of_the_same_scans_is_not_listed_twice():
    external, samples = aged(60, "external", "b"), aged(40).assign(part="train")
    young = external["age"] < 60
    everybody, up_to_60 = (samples.assign(age=samples["age"].clip(*ages)) for ages in ((20, 90), (20, 59.9)))
    everybody.loc[everybody.index[:2], "age"] = [1, 99]
    up_to_60.loc[up_to_60.index[:2], "age"] = [1, 59.96]
    some = np.where(np.arange(60) % 4 == 0, 0.5, 0.0)
    assert list(groups_of(external, everybody, some)) == ["healthy"], "all are of the ages of training"
    assert groups_of(external, everybody, 0.0) == {}, "and all are rated 0"
    assert list(groups_of(external, up_to_60, 0.0)) == ["shared age range"]
    assert list(groups_of(external, up_to_60, some)) == ["healthy", "shared age range", "healthy, shared age range"]
    same = groups_of(external, up_to_60, np.where(young, np.nan, 1.0))
    assert list(same) == ["healthy"]
    assert same["healthy"].endswith("The same scans are left by the restriction “Ages 1.0 to 60.0, as in training”.")


def test_group_without_a_sign_of_dementia_says_that_it_includes_those_who_were_not_rated():
    external, samples = aged(60, "external", "b"), aged(40).assign(part="train")
    cdr = np.where(np.arange(60) % 4 == 0, 0.5, np.nan)
    notes = groups_of(external, samples, np.where(np.arange(60) % 4 == 1, 0.0, cdr))
    assert notes["healthy"].startswith("Rated 0 for dementia, or not rated.")


def test_participant_with_dementia_is_not_healthy_at_a_session_without_a_rating():
    """In OASIS-1 repeat sessions have no rating."""
    external = aged(20, "external", "b")
    twice = pd.concat([external, external.assign(scan_id=external["scan_id"] + "-2")], ignore_index=True)
    ratings = np.where(np.arange(20) < 5, 1.0, 0.0)
    traits = twice[["cohort", "scan_id"]].assign(cdr=[*ratings, *[np.nan] * 20])
    found = details(twice, NO_BASELINE, aged(40).assign(part="train"), traits, "regression", **QUICK)
    assert found.query("group == 'healthy' and metric == 'mae'")["n"].item() == 15


def test_spread_over_the_members_is_numpys():
    members = pd.concat([aged(30, noise=noise).assign(member=f"seed-{noise}") for noise in (3, 5, 8)])
    found = member_spread(members, "regression").set_index("metric").loc["mae"]
    each = [sk.mean_absolute_error(t["target"], t["prediction"]) for _, t in members.groupby("member")]
    assert found["members"] == 3 and found["mean"] == pytest.approx(np.mean(each), abs=1e-6)
    assert found["sd"] == pytest.approx(np.std(each, ddof=1), abs=1e-6)
    assert (found["lowest"], found["highest"]) == pytest.approx((min(each), max(each)), abs=1e-6)
    assert np.isnan(member_spread(members[members["member"] == "seed-3"], "regression")["sd"]).all()


# --- a classification at a threshold ------------------------------------------------------------------------------


def test_youdens_threshold_is_the_best_of_all():
    for seed in range(5):
        table = rated(40, seed=seed)
        target, prediction = table["target"].to_numpy(), table["prediction"].to_numpy().round(1)
        threshold, index = youden_threshold(target, prediction)
        false_alarms, sensitivity, _ = sk.roc_curve(target, prediction, drop_intermediate=False)
        assert index == pytest.approx((sensitivity - false_alarms).max())
        called = prediction >= threshold
        assert called[target == 1].mean() - called[target == 0].mean() == pytest.approx(index)


def test_every_n_counts_participants_and_a_note_on_scans_says_scans():
    """Two scans of each participant."""

    def twice(table: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([table, table.assign(scan_id=table["scan_id"] + "-2")], ignore_index=True)

    validation, held_out = rated(30, "validation"), rated(60)
    rows = twice(pd.concat([validation, held_out]))
    found = tables_of(rows, "classification")
    once = tables_of(pd.concat([validation, held_out]), "classification")
    for name in ("metrics", "comparisons", "details", "shift"):
        assert found[name]["n"].tolist() == once[name]["n"].tolist() and found[name]["n"].max() == 60, name
    curves = found["curves"]
    assert set(curves.loc[curves["curve"] != "reliability", "n"]) == {60}
    assert curves.loc[curves["curve"] == "reliability"].groupby("model")["n"].sum().tolist() == [60, 60]
    cells = found["confusion"]
    assert cells["scans"].sum() == 2 * cells["participants"].sum() == 240
    cases = int((validation["target"] > 0).sum())
    note = choose_threshold(twice(validation)).note
    assert f"60 validation scans ({2 * cases} of cases) of 30 participants" in note

    ages = tables_of(twice(pd.concat([aged(30, "validation"), aged(60)])), "regression")
    for name in ("metrics", "comparisons", "details", "shift"):
        assert ages[name]["n"].max() == 60, name
    assert "30 validation participants" in ages["details"]["note"].iloc[0]

    tissues = volumes(20)
    tissues.loc[tissues.index[:2], "volume_ml"] = np.nan
    found = tables_of(twice(tissues), "segmentation")
    agreement = found["details"].query("setting == 'volumes' and group == 'tissue=GM'")
    assert set(agreement["n"]) == {19} and set(agreement["note"]) == {"Limits of agreement of 38 scans."}


def tables_of(rows: pd.DataFrame, kind: str) -> dict[str, pd.DataFrame]:
    """All tables of an evaluation in which a baseline predicts the same as the network."""
    found = evaluation_tables(
        predictions=rows,
        baselines=model(rows, "same"),
        members=rows.assign(member="seed-1"),
        samples=rows.assign(part=rows["part"].replace("validation", "train")),
        scans={"a": rows[["scan_id"]].drop_duplicates().assign(cdr=np.nan)},
        kind=kind,
        **QUICK,
    )
    return dict(found)


def test_threshold_comes_from_validation_and_half_where_that_has_one_class():
    validation, held_out = rated(30, "validation", seed=4), rated(60)
    both = with_baselines(pd.concat([validation, held_out]), NO_BASELINE)
    expected = choose_threshold(validation)
    flipped = with_baselines(pd.concat([validation, held_out.assign(target=1 - held_out["target"])]), NO_BASELINE)
    for table in (both, flipped):
        assert set(confusion_table(table)["threshold"]) == {expected.value}, "the held-out part has no say"
    one_class = choose_threshold(validation[validation["target"] == 1])
    assert one_class.value == 0.5 and not one_class.chosen and "one class" in one_class.note


def test_figures_at_the_threshold_equal_scikit_learns():
    validation, held_out = rated(30, "validation", seed=4), rated(80)
    threshold = choose_threshold(validation).value
    found = details(pd.concat([validation, held_out]), NO_BASELINE, held_out, None, "classification", **QUICK)
    at = found[(found["setting"] == "at threshold") & (found["group"] == "all")].set_index("metric")
    target, called = held_out["target"], held_out["prediction"] >= threshold
    expected = {
        "sensitivity": sk.recall_score(target, called),
        "specificity": sk.recall_score(target, called, pos_label=0),
        "ppv": sk.precision_score(target, called),
        "npv": sk.precision_score(target, called, pos_label=0),
        "balanced_accuracy": sk.balanced_accuracy_score(target, called),
    }
    assert at["value"].to_dict() == pytest.approx(expected, abs=1e-6)
    assert at.loc["sensitivity", "n"] == target.sum() and at.loc["ppv", "n"] == called.sum()
    wilson = stats.binomtest(int(called[target == 1].sum()), int(target.sum())).proportion_ci(method="wilson")
    assert at.loc["sensitivity", ["ci_low", "ci_high"]].tolist() == pytest.approx([wilson.low, wilson.high], abs=1e-6)
    assert at.loc["balanced_accuracy", "interval"] == "bca" and "Youden" in at["note"].iloc[0]

    cells = confusion_table(with_baselines(pd.concat([validation, held_out]), NO_BASELINE))
    matrix = cells.pivot_table(index="true", columns="called", values="scans").to_numpy()
    np.testing.assert_array_equal(matrix, sk.confusion_matrix(target, called))


def test_repeated_scans_of_a_person_make_no_proportion_surer():
    table = rated(40)
    twice = pd.concat([table, table.assign(scan_id=table["scan_id"] + "b")])
    once, doubled = (
        details(rows, NO_BASELINE, rows, None, "classification", **QUICK)
        .query("group == 'all' and metric == 'sensitivity'")
        .squeeze()
        for rows in (table, twice)
    )
    assert once[["value", "ci_low", "ci_high", "n"]].tolist() == doubled[["value", "ci_low", "ci_high", "n"]].tolist()


def test_confusion_matrix_of_three_classes_equals_scikit_learns():
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(3), 50)
    table = people(50).assign(target=rng.integers(0, 3, 50), prediction=probabilities.argmax(axis=1))
    table = table.assign(**{f"probability_{code}": probabilities[:, code] for code in range(3)})
    cells = confusion_table(with_baselines(table, NO_BASELINE))
    matrix = cells.pivot_table(index="true", columns="called", values="scans").to_numpy()
    np.testing.assert_array_equal(matrix, sk.confusion_matrix(table["target"], table["prediction"]))
    assert cells["threshold"].isna().all()
    assert details(table, NO_BASELINE, table, None, "classification", **QUICK).empty
    assert curve_table(with_baselines(table, NO_BASELINE), **QUICK).empty


# --- calibration --------------------------------------------------------------------------------------------------


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


# --- curves -------------------------------------------------------------------------------------------------------


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
    found = curve_table(with_baselines(table, model(table, "majority", prediction=0.4)), **QUICK)
    assert set(found["curve"]) == {"roc", "pr", "decision", "reliability"}
    network = found[(found["model"] == "network") & (found["curve"] != "reliability")]
    assert ((network["low"] <= network["y"]) & (network["y"] <= network["high"])).mean() > 0.98
    chance = found[(found["model"] == "majority") & (found["curve"] == "roc")]
    np.testing.assert_allclose(chance["y"], GRID, atol=1e-6)
    everybody = found[found["model"] == "treat_all"].set_index("x")["y"]
    share = table["target"].mean()
    assert len(everybody) == 99 and everybody[0.2] == pytest.approx(share - (1 - share) / 4, abs=1e-6)
    one_class = with_baselines(table[table["target"] == 1], NO_BASELINE)
    assert curve_table(one_class, **QUICK).empty


def test_band_is_that_of_the_percentiles():
    values = np.random.default_rng(0).normal(0, 1, (4000, 3))
    values[:100, 0] = np.nan
    low, high = percentile_band(values, 1000)
    assert low == pytest.approx([-1.96] * 3, abs=0.15) and high == pytest.approx([1.96] * 3, abs=0.15)


# --- who is compared with whom ------------------------------------------------------------------------------------


def test_matched_pairs_are_as_many_and_as_near_as_can_be():
    for seed in range(6):
        table = people(11, seed=seed).assign(target=(np.arange(11) < 5).astype(int))
        table["age"] = np.random.default_rng(seed).uniform(60, 80, 11).round(1)
        found = age_matched(table, 3.0)
        ages = found.pivot_table(index="pair", columns="target", values="age")
        apart = (ages[1] - ages[0]).abs() if len(found) else pd.Series(dtype=float)
        assert (apart <= 3).all() and found["participant_id"].is_unique
        best = (0, 0.0)
        for order in itertools.permutations(range(5, 11), 5):
            near = [abs(table["age"][i] - table["age"][j]) for i, j in enumerate(order)]
            near = [distance for distance in near if distance <= 3]
            best = max(best, (len(near), -sum(near)))
        assert (len(apart), -apart.sum()) == pytest.approx(best)
        again = age_matched(table.sample(frac=1, random_state=seed), 3.0)
        pd.testing.assert_frame_equal(again, found)


def test_age_that_tells_the_classes_apart_is_of_no_use_among_matched_people():
    """As in OASIS-1: young controls and old patients."""
    rng = np.random.default_rng(6)
    table = people(120).assign(target=(np.arange(120) < 40).astype(int))
    table["age"] = np.where(table["target"], rng.uniform(65, 90, 120), rng.uniform(18, 90, 120)).round(1)
    table["prediction"] = table["age"] / 100
    found = details(table, NO_BASELINE, table, None, "classification", **QUICK)
    found = found[found["setting"] == "as predicted"].set_index(["group", "metric"])["value"]
    assert abs(found["age-matched", "age_difference"]) < 1 < 10 < found["all", "age_difference"]
    assert abs(found["age-matched", "auc"] - 0.5) < 0.1
    expected = table.groupby("target")["age"].mean()
    assert found["all", "age_difference"] == pytest.approx(expected[1] - expected[0], abs=1e-6)


def test_each_dementia_rating_is_held_against_all_controls():
    table = rated(90)
    cdr = np.where(table["target"] == 1, np.where(np.arange(90) % 3, 0.5, 1.0), 0.0)
    traits = table[["cohort", "scan_id"]].assign(cdr=cdr)
    found = details(table, NO_BASELINE, table, traits, "classification", **QUICK)
    for rating in (0.5, 1.0):
        rows = table[(cdr == rating) | (table["target"] == 0)]
        own = found[(found["group"] == f"cdr={rating:g}") & (found["metric"] == "auc")].squeeze()
        assert own["value"] == pytest.approx(sk.roc_auc_score(rows["target"], rows["prediction"]), abs=1e-6)
        assert own["n"] == len(rows)
        sensitivity = found[(found["group"] == f"cdr={rating:g}") & (found["metric"] == "sensitivity")].squeeze()
        assert sensitivity["n"] == (cdr == rating).sum()


# --- surfaces and volumes -----------------------------------------------------------------------------------------


def ball(radius_mm: float, spacing: tuple, centre_mm: tuple = (0, 0, 0), shape: tuple = (28, 24, 20)) -> np.ndarray:
    places = [
        (np.arange(size) - size / 2 + 0.5) * step - middle
        for size, step, middle in zip(shape, spacing, centre_mm, strict=True)
    ]
    x, y, z = np.meshgrid(*places, indexing="ij")
    return (x**2 + y**2 + z**2 <= radius_mm**2).astype(np.uint8)


def by_distance_maps(found: np.ndarray, true: np.ndarray, spacing: tuple) -> tuple[float, float]:
    """HD95 and ASSD from dense distance maps."""
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (found, true)]
    maps = [ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in edges]
    there, back = maps[1][edges[0]], maps[0][edges[1]]
    return max(np.quantile(there, 0.95), np.quantile(back, 0.95)), np.concatenate([there, back]).mean()


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 1.25, 2.0)])
def test_surface_distances_equal_those_of_distance_maps_and_of_monai(spacing):
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    found, true = ball(9, spacing, (1.5, 0, 0.5)), ball(8, spacing)
    found[2, 3, 4] = 1  # a speck far away
    row = surface_values(found, true, spacing)[0]
    hd95, assd = by_distance_maps(found > 0, true > 0, spacing)
    assert (row["hd95_mm"], row["assd_mm"]) == pytest.approx((hd95, assd), rel=1e-5) and row["empty"] == "no"
    pair = [torch.from_numpy(mask)[None, None].float() for mask in (found, true)]
    options = {"include_background": True, "spacing": list(spacing)}
    assert row["hd95_mm"] == pytest.approx(float(compute_hausdorff_distance(*pair, percentile=95, **options)), rel=1e-5)
    assert row["assd_mm"] == pytest.approx(
        float(compute_average_surface_distance(*pair, symmetric=True, **options)), rel=1e-5
    )
    within = compute_surface_dice(*pair, [1.0], use_subvoxels=True, **options)
    assert row["surface_dice_1mm"] == pytest.approx(float(within), abs=1e-5)


def test_shifted_slab_is_as_far_away_as_it_was_shifted_in_mm():
    true = np.zeros((30, 12, 12), dtype=np.uint8)
    true[5:20] = 2
    moved = np.roll(true, 1, axis=0)
    faces, sides = 2 * 12 * 12, 4 * 12 * 15 * 1.6  # mm2
    for spacing, within in ((0.8, 1.0), (1.6, sides / (faces + sides))):  # the faces are 0.8 or 1.6 mm off
        gm = surface_values(moved, true, (spacing, 1.0, 1.0))[1]
        assert gm["hd95_mm"] == pytest.approx(spacing)
        assert gm["surface_dice_1mm"] == pytest.approx(within, abs=0.03), "but for the rims"


def test_equal_maps_agree_and_empty_tissues_are_told():
    labels = np.zeros((12, 12, 12), dtype=np.uint8)
    labels[2:6, 2:10, 2:10], labels[6:9, 2:10, 2:10] = 1, 2
    same = {row["tissue"]: row for row in surface_values(labels, labels, (1, 1, 1))}
    assert same["GM"]["hd95_mm"] == same["GM"]["assd_mm"] == 0 and same["GM"]["surface_dice_1mm"] == 1
    assert same["WM"]["empty"] == "both" and np.isnan(same["WM"]["surface_dice_1mm"])
    without = {row["tissue"]: row for row in surface_values(np.where(labels == 2, 0, labels), labels, (1, 1, 1))}
    assert without["GM"]["empty"] == "prediction" and without["GM"]["surface_dice_1mm"] == 0
    assert np.isnan(without["GM"]["hd95_mm"]) and without["CSF"]["empty"] == "no"
    with pytest.raises(ValueError, match="voxel sizes"):
        surface_values(labels, labels, (1, 1))
    with pytest.raises(ValueError, match="one shape"):
        surface_values(labels, labels[:-1], (1, 1, 1))


def volumes(count: int) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    table = people(count).merge(pd.DataFrame({"tissue": ["CSF", "GM"]}), how="cross")
    reference = rng.normal(500, 50, len(table))
    return table.assign(
        dice=rng.uniform(0.8, 0.9, len(table)),
        hd95_mm=rng.uniform(1, 3, len(table)),
        reference_ml=reference,
        volume_ml=reference + 12 + rng.normal(0, 20, len(table)),
    )


def test_volume_agreement_is_bland_and_altmans():
    table = volumes(150)
    found = details(table, NO_BASELINE, table, None, "segmentation", resamples=1000, seed=1)
    own = found[(found["group"] == "tissue=GM") & (found["setting"] == "volumes")].set_index("metric")
    gm = table[table["tissue"] == "GM"]
    difference = (gm["volume_ml"] - gm["reference_ml"]).to_numpy()
    mean, sd, n = difference.mean(), difference.std(ddof=1), len(difference)
    expected = [mean, mean - 1.959964 * sd, mean + 1.959964 * sd]
    assert own["value"].tolist() == pytest.approx(expected, abs=1e-3)
    of_mean, of_limit = 1.96 * sd / np.sqrt(n), 1.96 * sd * np.sqrt(1 / n + 1.96**2 / (2 * (n - 1)))
    half = ((own["ci_high"] - own["ci_low"]) / 2).tolist()
    assert half == pytest.approx([of_mean, of_limit, of_limit], rel=0.25)


def test_empty_predictions_are_counted_and_do_not_count_as_distances():
    table = volumes(20).assign(empty="no")
    lost = (table["tissue"] == "GM") & table["scan_id"].isin(table["scan_id"].unique()[:2])
    table.loc[lost, ["empty", "hd95_mm"]] = ["prediction", np.nan]
    found = details(table, NO_BASELINE, table, None, "segmentation", **QUICK)
    counts = found[found["metric"] == "empty_predictions"].set_index("group")
    assert counts["value"].to_dict() == {"tissue=CSF": 0, "tissue=GM": 2}
    assert table["scan_id"].iloc[0] in counts.loc["tissue=GM", "note"]
    metrics = evaluate(table, NO_BASELINE, "segmentation", **QUICK)
    row = metrics[(metrics["metric"] == "hd95_mm") & (metrics["group"] == "tissue=GM")].squeeze()
    own = table[(table["tissue"] == "GM") & ~lost]["hd95_mm"]
    assert row["value"] == pytest.approx(own.mean(), abs=1e-6) and row["n"] == 18
    by_volume = volumes(20)
    by_volume.loc[lost, "volume_ml"] = 0
    found = details(by_volume, NO_BASELINE, by_volume, None, "segmentation", **QUICK)
    assert found[found["metric"] == "empty_predictions"]["value"].tolist() == [0, 2]


# --- shift --------------------------------------------------------------------------------------------------------


def test_shift_tells_what_was_trained_on_and_whether_a_test_site_was_seen():
    held_out, external = aged(30), aged(24, "external", "b")
    samples = pd.concat([aged(20).assign(part="train", site="x"), held_out, external])
    found = shift_rows(pd.concat([held_out, external]), NO_BASELINE, samples, "regression", **QUICK)
    rows = found.set_index(["cohort", "site"])
    assert rows["seen"].to_dict() == {
        ("a", "all"): "partly new", ("a", "x"): "site", ("a", "y"): "new site",
        ("b", "all"): "new cohort", ("b", "x"): "new cohort", ("b", "y"): "new cohort",
    }  # fmt: skip
    own = held_out[held_out["site"] == "y"]
    assert rows.loc[("a", "y"), "value"] == pytest.approx(
        sk.mean_absolute_error(own["target"], own["prediction"]), abs=1e-6
    )
    assert rows.loc[("a", "y"), "n"] == len(own) and set(found["trained_on"]) == {"a"}
    matrix = shift_matrix({"age": found, "again": found.assign(value=1.0)})
    assert matrix.shape == (2, 6) and matrix.columns[0] == ("a", "all")
    assert matrix.loc[("again", "a")].tolist() == [1.0] * 6


def seen_of(trained: list, tested: list, part: str = "held-out") -> dict:
    """By site, what shift.tsv says of a cohort with these sites, four participants each."""
    train, test = aged(4 * len(trained)), aged(4 * len(tested), part)
    train = train.assign(part="train", site=np.repeat(pd.array(trained, dtype=object), 4))
    test = test.assign(site=np.repeat(pd.array(tested, dtype=object), 4))
    found = shift_rows(test, NO_BASELINE, pd.concat([train, test]), "regression", **QUICK)
    return found.set_index("site")["seen"].to_dict()


@pytest.mark.parametrize(
    ("trained", "tested", "expected"),
    [
        ([None], [None], {"all": "unknown"}),
        (["x"], ["x"], {"all": "site"}),
        (["x", "y"], ["x", "y"], {"all": "site", "x": "site", "y": "site"}),
        (["x"], ["y"], {"all": "new site"}),
        (["x"], ["y", "z"], {"all": "new site", "y": "new site", "z": "new site"}),
        (["x"], ["x", "y"], {"all": "partly new", "x": "site", "y": "new site"}),
        (["x"], ["x", None], {"all": "unknown", "x": "site"}),
        (["x"], ["y", None], {"all": "partly new", "y": "new site"}),
        (["x", None], ["x"], {"all": "site"}),
        (["x", None], ["y"], {"all": "unknown"}),
        (["x", None], ["x", "y"], {"all": "unknown", "x": "site", "y": "unknown"}),
        ([None], ["y"], {"all": "unknown"}),
        (["x"], [None], {"all": "unknown"}),
        ([1.0, None, 2.0], [1, 2], {"all": "site", "1": "site", "2": "site"}),
    ],
)
def test_site_counts_as_new_only_where_it_is_known_that_training_had_none_of_it(trained, tested, expected):
    assert seen_of(trained, tested) == expected
