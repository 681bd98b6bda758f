"""Age-matched pairs and clinical dementia ratings."""

import itertools

import numpy as np
import pandas as pd
import pytest
from evaluation_samples import NO_BASELINE, QUICK, people, rated
from neurocohort.evaluation.classification_details import age_matched
from neurocohort.evaluation.details import details
from sklearn import metrics as sk


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
    found = details(table, NO_BASELINE, table, None, "classification", QUICK)
    found = found[found["setting"] == "as predicted"].set_index(["group", "metric"])["value"]
    assert abs(found["age-matched", "age_difference"]) < 1 < 10 < found["all", "age_difference"]
    assert abs(found["age-matched", "auc"] - 0.5) < 0.1
    expected = table.groupby("target")["age"].mean()
    assert found["all", "age_difference"] == pytest.approx(expected[1] - expected[0], abs=1e-6)


def test_each_dementia_rating_is_held_against_all_controls():
    table = rated(90)
    cdr = np.where(table["target"] == 1, np.where(np.arange(90) % 3, 0.5, 1.0), 0.0)
    traits = table[["cohort", "scan_id"]].assign(cdr=cdr)
    found = details(table, NO_BASELINE, table, traits, "classification", QUICK)
    for rating in (0.5, 1.0):
        rows = table[(cdr == rating) | (table["target"] == 0)]
        own = found[(found["group"] == f"cdr={rating:g}") & (found["metric"] == "auc")].squeeze()
        assert own["value"] == pytest.approx(sk.roc_auc_score(rows["target"], rows["prediction"]), abs=1e-6)
        assert own["n"] == len(rows)
        sensitivity = found[(found["group"] == f"cdr={rating:g}") & (found["metric"] == "sensitivity")].squeeze()
        assert sensitivity["n"] == (cdr == rating).sum()
