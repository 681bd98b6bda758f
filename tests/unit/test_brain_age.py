"""Secondary results of brain age."""

import numpy as np
import pandas as pd
import pytest
from evaluation_samples import NO_BASELINE, QUICK, aged, model
from neurocohort.evaluation.brain_age import fit_bias
from neurocohort.evaluation.details import details
from neurocohort.evaluation.spread import member_spread
from sklearn import metrics as sk


def test_correction_is_fitted_on_validation_alone_and_takes_the_slope_away():
    validation, held_out = aged(40, "validation", seed=1), aged(60)
    slope, intercept = np.polyfit(validation["target"], validation["prediction"], 1)
    line = fit_bias(validation)
    assert (line.slope, line.intercept, line.participants) == pytest.approx((slope, intercept, 40))
    corrected = line.corrected(validation["target"].to_numpy(), validation["prediction"].to_numpy())
    assert np.polyfit(validation["target"], corrected - validation["target"], 1) == pytest.approx([0, 0], abs=1e-8)

    found = details(pd.concat([validation, held_out]), NO_BASELINE, held_out.head(0), None, "regression", QUICK)
    found = found[found["setting"] == "bias-corrected"]
    assert len(found) and set(found["part"]) == {"held-out"}
    by_hand = held_out["prediction"] + held_out["target"] - (slope * held_out["target"] + intercept)
    values = found.set_index("metric")["value"]
    assert values["mae"] == pytest.approx(sk.mean_absolute_error(held_out["target"], by_hand), abs=1e-5)
    assert values["bias_slope"] == pytest.approx(
        np.polyfit(held_out["target"], by_hand - held_out["target"], 1)[0], abs=1e-5
    )
    assert abs(values["bias_slope"]) < 0.1 and "no measure of accuracy" in found["note"].iloc[0]


def test_corrected_constant_has_no_error_which_is_why_the_correction_is_shown_apart():
    rows = pd.concat([aged(30, "validation"), aged(30)])
    found = details(rows, model(rows, "mean", prediction=50.0), rows.head(0), None, "regression", QUICK)
    assert found[(found["model"] == "mean") & (found["metric"] == "mae")]["value"].item() == pytest.approx(0, abs=1e-6)


def test_external_cohort_is_restricted_to_shared_ages_and_to_the_healthy():
    external = aged(60, "external", "b")
    samples = aged(40).assign(part="train")
    samples["age"] = samples["age"].clip(40, 70)
    traits = external[["cohort", "scan_id"]].assign(cdr=np.where(np.arange(60) % 4 == 0, 0.5, np.nan))
    traits.loc[1, "cdr"] = 0
    found = details(external, NO_BASELINE, samples, traits, "regression", QUICK)
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
    without = details(external, NO_BASELINE, samples, None, "regression", QUICK)
    assert set(without["group"]) == {"shared age range"}, "nothing tells who is healthy"


def groups_of(external: pd.DataFrame, samples: pd.DataFrame, cdr) -> dict[str, str]:
    """By group of an external cohort with these ratings, its note."""
    traits = external[["cohort", "scan_id"]].assign(cdr=cdr)
    found = details(external, NO_BASELINE, samples, traits, "regression", QUICK)
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
    found = details(twice, NO_BASELINE, aged(40).assign(part="train"), traits, "regression", QUICK)
    assert found.query("group == 'healthy' and metric == 'mae'")["n"].item() == 15


def test_spread_over_the_members_is_numpys():
    members = pd.concat([aged(30, noise=noise).assign(member=f"seed-{noise}") for noise in (3, 5, 8)])
    found = member_spread(members, "regression").set_index("metric").loc["mae"]
    each = [sk.mean_absolute_error(t["target"], t["prediction"]) for _, t in members.groupby("member")]
    assert found["members"] == 3 and found["mean"] == pytest.approx(np.mean(each), abs=1e-6)
    assert found["sd"] == pytest.approx(np.std(each, ddof=1), abs=1e-6)
    assert (found["lowest"], found["highest"]) == pytest.approx((min(each), max(each)), abs=1e-6)
    assert np.isnan(member_spread(members[members["member"] == "seed-3"], "regression")["sd"]).all()
