"""Prediction intervals: their coverage in a simulation, their limits by hand, and what is said where there can't be any."""

import numpy as np
import pandas as pd
import pytest
from evaluation_samples import NO_BASELINE, QUICK, aged
from neurocohort.evaluation.conformal import (
    FEWEST,
    FEWEST_STABLE,
    SETTING,
    Calibration,
    calibrations_of,
    conformal_limits,
    few_participants,
    interval_details,
    prediction_intervals,
)
from neurocohort.evaluation.conformal_rule import place_of_quantile
from neurocohort.evaluation.rows import DetailRow, table_of
from neurocohort.evaluation.tables import evaluation_tables


def test_intervals_contain_94_to_96_percent_of_new_values():
    rng = np.random.default_rng(3)
    inside = []
    for _ in range(2000):
        residuals, new = np.abs(rng.standard_t(4, 59)), rng.standard_t(4, 20)
        low, high = conformal_limits({0: np.zeros(20)}, Calibration(residuals, np.zeros(59, dtype=int)))
        inside.append(((low <= new) & (new <= high)).mean())
    assert 0.94 < np.mean(inside) < 0.96


def test_cross_validated_intervals_of_refitted_lines_contain_94_to_97_percent():
    rng = np.random.default_rng(4)
    inside, folds = [], np.arange(60) % 5 + 1
    for _ in range(800):
        x, new = rng.uniform(20, 80, 60), rng.uniform(20, 80, 20)
        y, true = x + rng.normal(0, 6, 60), new + rng.normal(0, 6, 20)
        by_fold, residuals = {}, np.zeros(60)
        for fold in range(1, 6):
            line = np.polyfit(x[folds != fold], y[folds != fold], 1)
            by_fold[fold], own = np.polyval(line, new), folds == fold
            residuals[own] = np.abs(y[own] - np.polyval(line, x[own]))
        low, high = conformal_limits(by_fold, Calibration(residuals, folds))
        inside.append(((low <= true) & (true <= high)).mean())
    assert 0.94 < np.mean(inside) < 0.97


def test_limits_are_the_prediction_and_the_quantile_of_the_errors():
    errors = np.random.default_rng(1).permutation(np.arange(1.0, 40.0))  # 39: the 38th of 39 is 0.95 * 40
    low, high = conformal_limits({0: np.array([50.0, 70.0])}, Calibration(errors, np.zeros(39, dtype=int)))
    assert low.tolist() == [12.0, 32.0] and high.tolist() == [88.0, 108.0]


def tables_of(validation: int, sessions: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """intervals.tsv and details.tsv for a number of validation participants, and one external cohort."""
    seen = aged(validation, "validation", seed=3)
    again = [seen.assign(scan_id=seen["scan_id"] + f"_{number}") for number in range(sessions)]
    predictions = pd.concat([*again, aged(40), aged(30, "external", "b", seed=5)], ignore_index=True)
    found = evaluation_tables(
        predictions=predictions,
        baselines=NO_BASELINE,
        members=predictions.assign(member="seed-1"),
        samples=predictions,
        scans={name: rows[["scan_id"]] for name, rows in predictions.groupby("cohort")},
        kind="regression",
        bootstrap=QUICK,
    )
    found = dict(found)
    return found["intervals"], found["details"][found["details"]["setting"] == SETTING]


def test_coverage_and_width_are_in_the_details_and_external_cohorts_have_a_warning():
    intervals, details = tables_of(60)
    assert list(intervals.columns[-2:]) == ["interval_low", "interval_high"] and len(intervals) == 70
    own = intervals[intervals["part"] == "held-out"]
    inside = (own["interval_low"] <= own["target"]) & (own["target"] <= own["interval_high"])
    rows = details.set_index(["part", "metric"])
    assert rows.loc[("held-out", "coverage"), "value"] == pytest.approx(inside.mean(), abs=1e-6)
    width = (own["interval_high"] - own["interval_low"]).mean()
    assert rows.loc[("held-out", "interval_width"), "value"] == pytest.approx(width, abs=1e-5)
    assert rows.loc[("held-out", "coverage"), "interval"] == "wilson"
    assert "60 validation participants" in rows.loc[("held-out", "coverage"), "note"]
    assert "coverage is approximate" in rows.loc[("held-out", "coverage"), "note"]
    assert "this cohort's may differ" in rows.loc[("external", "coverage"), "note"]
    assert "may differ" not in rows.loc[("held-out", "coverage"), "note"]


def test_intervals_that_the_largest_error_sets_are_called_wide_with_the_range_of_their_coverage():
    assert place_of_quantile(FEWEST_STABLE - 1, 0.95) == FEWEST_STABLE - 1 == 38  # the largest of 38 errors
    assert place_of_quantile(FEWEST_STABLE, 0.95) == FEWEST_STABLE - 1
    rng = np.random.default_rng(1)
    largest = np.sort(rng.random((20000, 22)), axis=1)[:, -1]  # of uniform errors, the limit is the coverage
    low, high = np.quantile(largest, [0.05, 0.95])
    note = tables_of(22)[1]["note"].iloc[0]
    assert "With fewer than 39 participants the largest error sets the width" in note
    assert f"with 22, it is between {low:.0%} and {high:.1%} in 90 %" in note
    assert "`training.cross_validation: true`" in note
    calibration = Calibration(np.ones(22), np.zeros(22, dtype=int))
    assert few_participants({0: calibration}).startswith("wide: the largest error of 22 validation participants")
    for enough in (Calibration(np.ones(39), np.zeros(39, dtype=int)), Calibration(np.ones(22), np.arange(22) % 2 + 1)):
        assert few_participants({0: enough}) == ""
    assert "largest error" not in tables_of(39)[1]["note"].iloc[0]


@pytest.mark.parametrize(("people", "finite"), [(FEWEST, True), (FEWEST - 1, False)])
def test_too_few_participants_give_no_interval_and_a_note_with_the_number(people, finite):
    intervals, details = tables_of(people, sessions=2)
    assert intervals["interval_low"].notna().all() == finite == intervals["interval_high"].notna().any()
    assert details["value"].notna().all() == finite
    words = (
        "95 % split-conformal" if finite else f"No intervals: {people} validation participants, and a finite interval"
    )
    assert details["note"].str.startswith(words).all()


def test_cross_validation_uses_the_networks_that_did_not_see_the_participant():
    validation, held_out = aged(40, "validation", seed=3), aged(10)
    predictions = pd.concat([validation, held_out], ignore_index=True)
    fold = np.arange(len(predictions)) % 2 + 1
    samples = predictions.assign(fold=fold, part=predictions["part"].replace("validation", "train"))
    members = pd.concat(
        [held_out.assign(member=f"fold-{k}_seed-1", prediction=held_out["prediction"] + 100 * (k - 1)) for k in (1, 2)]
    )
    calibration = calibrations_of(predictions, members, samples)[0]
    assert sorted(set(calibration.folds)) == [1, 2] and len(calibration.residuals) == 40
    table = prediction_intervals(predictions, members, {0: calibration})
    assert (table["interval_low"] < held_out["prediction"].to_numpy()).all()
    assert (table["interval_high"] > held_out["prediction"].to_numpy() + 100).all(), "the folds differ by 100"
    note = table_of(interval_details(table, {0: calibration}), DetailRow)["note"]
    assert note.str.startswith("95 % intervals by CV+ from the errors out of fold of 40 participants").all()


def test_each_test_fold_has_intervals_of_its_own_and_external_scans_those_of_all():
    validation, held_out, external = aged(40, "validation", seed=3), aged(20), aged(10, "external", "b", seed=5)
    tables = []
    for number, wider in ((1, 0.0), (2, 50.0)):
        own = validation.assign(test_fold=number, prediction=validation["prediction"] + wider)
        tables += [own, held_out[held_out.index % 2 == number - 1].assign(test_fold=number)]
    predictions = pd.concat([*tables, external.assign(test_fold=pd.NA)], ignore_index=True)
    members = pd.concat(
        [
            rows.assign(member=f"test-{number}_seed-1", prediction=rows["prediction"] + shift)
            for number, shift in ((1, 0.0), (2, 100.0))
            for rows in (predictions[predictions["test_fold"] == number], external)
        ]
    )
    found = calibrations_of(predictions, members, predictions)
    assert sorted(found) == [0, 1, 2] and found[0].between_test_folds and len(found[0].residuals) == 20
    table = prediction_intervals(predictions, members, found)
    width = (table["interval_high"] - table["interval_low"]).to_numpy()
    number = pd.concat([one for one in tables if (one["part"] == "held-out").all()])["test_fold"].to_numpy(dtype=int)
    assert width[:20][number == 1].max() + 80 < width[:20][number == 2].min(), (
        "the second fold's errors are larger by 50"
    )
    abroad = table[table["part"] == "external"]
    assert (abroad["interval_high"].to_numpy() > external["prediction"].to_numpy() + 100).all(), (
        "the folds differ by 100"
    )
    notes = table_of(interval_details(table, found), DetailRow).drop_duplicates("part").set_index("part")["note"]
    assert notes["held-out"].startswith(
        "For each of 2 test folds: 95 % split-conformal intervals from the errors of 40"
    )
    assert notes["external"].startswith("95 % intervals by CV+ from the errors of 20 participants while held out")


def test_other_tasks_have_no_intervals():
    assert prediction_intervals(aged(5), aged(5), {}).empty
