"""Site prediction: a site effect in the errors or in the inputs is found, and none is made up."""

import numpy as np
import pandas as pd
import pytest
from evaluation_samples import NO_BASELINE, QUICK, aged, model, people, rated
from neurocohort.evaluation.baseline_inputs import (
    baseline_inputs,
    feature_inputs,
    leading_components,
    of_scans,
    with_inputs,
)
from neurocohort.evaluation.details import details
from neurocohort.evaluation.site_prediction import (
    ACCURACY,
    CHANCE,
    FROM_FEATURES,
    FROM_RESIDUALS,
    predicted_sites,
    residuals,
    site_details,
    sites_of,
)

SAMPLES = pd.DataFrame(columns=["cohort", "scan_id", "part"])


def drawn(count: int, offset: float, seed: int = 0, sites: int = 2) -> pd.DataFrame:
    """Ages with errors of 5 years, and ``offset`` more for each site."""
    rng = np.random.default_rng([seed, 7])
    site = np.arange(count) % sites
    table = people(count, seed=seed).assign(site=[f"s{number}" for number in site])
    return table.assign(target=table["age"], prediction=table["age"] + rng.normal(0, 5, count) + offset * site)


def found_in(table: pd.DataFrame, samples: pd.DataFrame = SAMPLES, kind: str = "regression") -> pd.DataFrame:
    rows = list(site_details(model(table, "network"), samples, kind, QUICK))
    return pd.DataFrame([vars(row) | vars(row.estimate) for row in rows])


def test_site_offset_in_the_errors_is_found():
    found = found_in(drawn(60, offset=15)).set_index("metric")
    assert found.loc[ACCURACY, "value"] > 0.8 and found.loc[ACCURACY, "ci_low"] > 0.5
    assert found.loc[CHANCE, "value"] == 0.5 and found.loc[ACCURACY, "n"] == 60
    assert set(found["setting"]) == {FROM_RESIDUALS} and set(found["part"]) == {"held-out"}


def test_errors_without_a_site_effect_are_at_chance():
    limits = [
        found_in(drawn(60, 0, seed, sites=3)).set_index("metric").loc[ACCURACY, ["ci_low", "ci_high"]]
        for seed in range(8)
    ]
    assert sum(low <= 1 / 3 <= high for low, high in limits) >= 7


def test_sessions_of_a_participant_are_never_on_both_sides():
    """Each participant has values of their own at four sessions, so that a divided participant would give away the site."""
    table = drawn(40, 0)
    again = [
        table.assign(scan_id=table["scan_id"] + f"_{number}", prediction=table["prediction"] + number)
        for number in range(4)
    ]
    table = pd.concat(again, ignore_index=True)
    assert found_in(table)["n"].eq(40).all()
    values = np.eye(40)[np.tile(np.arange(40), 4)]  # a column for each participant: nothing is common to two of them
    sites = sites_of(table, np.ones(len(table), dtype=bool))
    shares = predicted_sites(values, sites, seed=1)
    assert np.ptp(shares.reshape(4, 40, 2), axis=0).max() == 0  # a person's sessions are predicted by one model
    assert np.abs(shares - 0.5).max() < 0.1


@pytest.mark.parametrize("table", [drawn(30, 9, sites=1), drawn(9, 9), drawn(30, 9).assign(part="external")])
def test_no_rows_without_two_sites_of_enough_participants(table):
    assert found_in(table).empty
    assert found_in(table.assign(site=np.nan)).empty and found_in(table.drop(columns="site")).empty


def test_small_sites_are_left_out_with_a_note():
    table = drawn(40, 9)
    table.loc[:3, "site"] = "tiny"
    found = found_in(table).iloc[0]
    assert found["n"] == 36
    assert (
        found["note"]
        == "Sites (participants): a s0 (18), a s1 (18). Left out, with fewer than 5 participants: a tiny (4)."
    )


def test_cohorts_without_sites_count_as_sites_of_all_cohorts():
    both = pd.concat([aged(12, cohort="a").assign(site=np.nan), aged(12, cohort="b").assign(site="x")])
    found = found_in(both)
    assert found["cohort"].unique().tolist() == ["all"]
    assert found["note"].iloc[0] == "Sites (participants): a (12), b x (12)."


def test_residuals_of_a_classification_are_probabilities_minus_classes():
    two = pd.DataFrame({"target": [0, 1], "prediction": [0.2, 0.7]})
    np.testing.assert_allclose(residuals(two), [[0.2], [-0.3]])
    three = two.assign(target=[0, 2], probability_0=[0.5, 0.1], probability_1=[0.3, 0.2], probability_2=[0.2, 0.7])
    np.testing.assert_allclose(residuals(three), [[-0.5, 0.3, 0.2], [0.1, 0.2, -0.3]])


def test_site_is_found_in_volumes_of_the_same_scans():
    table = drawn(40, 0)
    qc = pd.DataFrame({"scan_id": table["scan_id"], "volume_brain_ml": 1000.0})
    rng = np.random.default_rng(0)
    grey = 500 + 40 * (table["site"] == "s1") + rng.normal(0, 9, 40)
    qc = qc.assign(volume_csf_ml=100.0, volume_gm_ml=grey, volume_wm_ml=400.0)
    samples = with_inputs(table[["cohort", "scan_id"]], baseline_inputs(table, qc, {}))
    found = found_in(table, samples).query("setting == 'site from inputs'").set_index("metric")
    assert found.loc[ACCURACY, "model"] == "volumes" and found.loc[ACCURACY, "ci_low"] > 0.6
    qc.loc[0, "volume_brain_ml"] = np.nan
    samples = with_inputs(table[["cohort", "scan_id"]], baseline_inputs(table, qc, {}))
    assert found_in(table, samples).query("setting == 'site from inputs'")["n"].eq(39).all()


def from_features(table: pd.DataFrame, values: np.ndarray, rows: slice = slice(None)) -> pd.DataFrame:
    samples = with_inputs(table[["cohort", "scan_id"]], feature_inputs(table[rows], values[rows]))
    found = found_in(table, samples).query(f"setting == {FROM_FEATURES!r}")
    return found.set_index("metric") if len(found) else found


def test_site_is_found_in_features_of_the_network():
    table, rng = drawn(60, 0), np.random.default_rng(0)
    values = rng.normal(size=(60, 512)).astype(np.float32)
    values[:, :40] += 1.5 * (table["site"] == "s1").to_numpy()[:, None]
    found = from_features(table, values)
    assert found["model"].eq("network").all() and found.loc[ACCURACY, "n"] == 60
    assert found.loc[ACCURACY, "ci_low"] > 0.6 and found.loc[CHANCE, "value"] == 0.5


def test_features_without_a_site_effect_are_at_chance():
    limits = []
    for seed in range(8):
        values = np.random.default_rng(seed).normal(size=(60, 512))
        values[:, 3] = 0  # a channel that is never active
        limits.append(from_features(drawn(60, 0), values).loc[ACCURACY, ["ci_low", "ci_high"]])
    assert sum(low <= 0.5 <= high for low, high in limits) >= 7


def test_only_the_scans_that_the_network_holds_out_are_used():
    table, values = drawn(60, 0), np.random.default_rng(0).normal(size=(60, 12))
    assert from_features(table, values, slice(0, 20))["n"].eq(20).all()
    assert from_features(table, values, slice(0, 6)).empty, "three participants a site"


def test_ten_scans_with_many_features_are_enough():
    assert from_features(drawn(10, 0), np.random.default_rng(0).normal(size=(10, 512)))["n"].eq(10).all()


def test_components_are_uncorrelated_and_independent_of_other_rows():
    rng = np.random.default_rng(1)
    features = rng.integers(0, 255, (30, 50)).astype(np.uint8)
    fitted = np.arange(30) < 20
    found = leading_components(features, fitted, 5)
    np.testing.assert_allclose(np.corrcoef(found[fitted].T), np.eye(5), atol=1e-6)
    other = np.where(fitted[:, None], features, 255 - features)
    np.testing.assert_allclose(np.abs(leading_components(other, fitted, 5)[fitted]), np.abs(found[fitted]))
    assert leading_components(features, np.arange(30) < 3, 5).shape == (30, 2)
    samples = people(30).assign(part="train")
    table = with_inputs(samples, baseline_inputs(samples, None, {"tissue_kernel_ridge": found}))
    assert of_scans("volumes", samples, table) is None
    assert of_scans("tissue_kernel_ridge", samples.iloc[::-1], table).shape == (30, 10)


def test_details_have_site_prediction_for_regression_and_classification_and_not_for_one_site():
    for table, kind in ((aged(40), "regression"), (rated(40), "classification")):
        samples = table.assign(part="train")
        settings = set(details(table, NO_BASELINE, samples, None, kind, QUICK)["setting"])
        assert FROM_RESIDUALS in settings
        alone = details(table.assign(site="x"), NO_BASELINE, samples, None, kind, QUICK)
        assert FROM_RESIDUALS not in set(alone["setting"])
