"""A classification at a threshold, and its confusion matrix."""

import numpy as np
import pandas as pd
import pytest
from evaluation_samples import NO_BASELINE, QUICK, aged, model, people, rated, volumes
from neurocohort.evaluation.classification_details import confusion_table
from neurocohort.evaluation.curves import curve_table
from neurocohort.evaluation.details import details
from neurocohort.evaluation.measures import with_baselines
from neurocohort.evaluation.operating_point import choose_threshold, youden_threshold
from neurocohort.evaluation.tables import evaluation_tables
from scipy import stats
from sklearn import metrics as sk


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
        bootstrap=QUICK,
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
    found = details(pd.concat([validation, held_out]), NO_BASELINE, held_out, None, "classification", QUICK)
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
        details(rows, NO_BASELINE, rows, None, "classification", QUICK)
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
    found = details(table, NO_BASELINE, table, None, "classification", QUICK)
    assert set(found["setting"]) == {"site from residuals"}, "no operating point and no calibration of three classes"
    assert curve_table(with_baselines(table, NO_BASELINE), QUICK).empty
