"""Diagnosis from the amounts of tissues and from the brain-age gap: fitted on the training rows alone."""

import numpy as np
import pandas as pd
import pytest
from neurocohort.dataset.folds import baseline_fits
from neurocohort.evaluation.age_gap import AMOUNTS, GAP, brain_ages, gap_baselines
from neurocohort.evaluation.combined import combined
from neurocohort.evaluation.tissue_baselines import centred_products, smoothed_features
from sklearn.metrics import roc_auc_score

SHAPE, SPACING_MM = (12, 14, 11), 4.0


def cohort(count: int = 120, visits: int = 1) -> tuple[pd.DataFrame, np.ndarray]:
    """Samples, and maps that lose grey matter to CSF with age; the brains of class 1 are fifteen years older."""
    rng = np.random.default_rng(0)
    people = np.arange(count) // visits
    age = rng.uniform(40, 90, people.max() + 1)[people]
    target = rng.integers(0, 2, people.max() + 1)[people]
    part = np.where(people % 6 == 5, "held-out", "train")
    fold = pd.array(people % 3 + 1, dtype="Int64")
    fold[part == "held-out"] = pd.NA
    samples = pd.DataFrame(
        {
            "scan_id": [f"s{number}" for number in range(count)],
            "participant_id": [f"p{person}" for person in people],
            "target": target,
            "part": part,
            "fold": fold,
            "age": age,
            "sex": np.where(people % 2, "F", "M"),
        }
    )
    maps = rng.integers(120, 140, (count, 3, *SHAPE)).astype(np.uint8)
    lost = (age + 15 * target - 40).astype(np.uint8)[:, None, None, None]
    maps[:, 1, :6, :6, :6] -= lost
    maps[:, 0, :6, :6, :6] += lost
    rows = {scan: number for number, scan in enumerate(samples["scan_id"])}
    features = smoothed_features(samples, lambda one: maps[[rows[scan] for scan in one["scan_id"]]], SPACING_MM)
    return samples, features


def fitted(samples: pd.DataFrame, features: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    return gap_baselines(samples, features, baseline_fits(samples, 3), target="dementia", classes=2, seed=1)


def test_older_brains_are_found_although_age_says_nothing():
    samples, features = cohort()
    found, left_out = fitted(samples, features)
    tested = (samples["part"] == "held-out").to_numpy()
    assert left_out == {} and list(found) == [AMOUNTS, GAP]
    for values in found.values():
        assert roc_auc_score(samples["target"][tested], values[tested]) > 0.8
    assert abs(roc_auc_score(samples["target"], samples["age"]) - 0.5) < 0.15


@pytest.mark.parametrize("visits", [1, 2])
def test_no_prediction_depends_on_the_targets_of_the_predicted_rows(visits):
    samples, features = cohort(visits=visits)
    honest, _ = fitted(samples, features)
    for fit in baseline_fits(samples, 3):
        other = samples.copy()
        other.loc[fit.predicted, "target"] = np.random.default_rng(3).permutation(samples["target"][fit.predicted])
        assert not other["target"].equals(samples["target"])
        changed, _ = fitted(other, features)
        for name in (AMOUNTS, GAP):
            assert changed[name][fit.predicted].tobytes() == honest[name][fit.predicted].tobytes()
    aged = samples.assign(age=samples["age"].mask(samples["part"] == "held-out"))
    without, _ = fitted(aged, features)
    training = (samples["part"] == "train").to_numpy()
    assert without[GAP][training].tobytes() == honest[GAP][training].tobytes(), "ages of tested people train nothing"
    assert np.isfinite(without[GAP]).all(), "a person without an age is predicted too"


def test_brain_age_of_a_training_row_is_from_other_participants():
    samples, features = cohort(visits=2)
    training = (samples["part"] == "train").to_numpy()
    kernel = (*centred_products(features, training), training)
    honest = brain_ages(samples, kernel, training, 1)
    person = (samples["participant_id"] == samples["participant_id"][training].iloc[0]).to_numpy()
    found = brain_ages(samples.assign(age=samples["age"] + 30 * person), kernel, training, 1)
    assert found[person].tobytes() == honest[person].tobytes()
    assert not np.allclose(found[~training], honest[~training])
    assert np.corrcoef(honest[training], samples["age"][training])[0, 1] > 0.6


def test_without_ages_there_is_no_gap_but_the_amounts_remain():
    samples, features = cohort()
    samples["age"] = np.where(np.arange(len(samples)) < 12, samples["age"], np.nan)
    found, left_out = fitted(samples, features)
    assert list(found) == [AMOUNTS] and left_out[GAP].endswith("participant(s) with an age; a brain age needs 20.")
    few, why = gap_baselines(
        samples.head(2), features[:2], baseline_fits(samples.head(2), 0), target="dementia", classes=2, seed=1
    )
    assert few == {} and set(why) == {AMOUNTS, GAP}


def test_network_is_averaged_with_the_gap_model_where_there_is_one():
    rows = pd.DataFrame({"cohort": "a", "scan_id": ["s1", "s2"], "participant_id": ["p1", "p2"], "part": "held-out"})
    network = rows.assign(target=[0, 1], prediction=[0.2, 0.6])
    models = {"grey_matter_svm": 0.1, GAP: 0.4}
    baselines = pd.concat([network.assign(model=name, prediction=value) for name, value in models.items()])
    assert combined(network, baselines)["prediction"].tolist() == pytest.approx([0.3, 0.5])
    assert combined(network, baselines[baselines["model"] != GAP])["prediction"].tolist() == pytest.approx([0.15, 0.35])
