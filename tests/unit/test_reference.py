"""What a bundle knows of its training scans, and the limit beyond which a new scan is flagged."""

import json

import numpy as np
import pandas as pd
import pytest
from neurocohort.apply.bundles import open_bundle
from neurocohort.apply.flags import feature_flags, image_flags, not_compared, person_flags, prediction_flags
from neurocohort.apply.scans import RawScan
from neurocohort.export.raw_scans import RAW_SCANS, REFERENCE
from neurocohort.export.reference import (
    FLAGGED_FRACTION,
    KINDS,
    LEAST_LIMIT,
    FeatureSpace,
    Spread,
    kind_of,
    reference_of,
)
from neurocohort.imaging.scan_results import PreprocessedScan, ScanImages
from neurocohort.learning.feature_files import ScanFeatures
from raw_scan_bundle import TYPICAL, features, quality, samples, write_raw_scan_bundle, write_template
from torch import device


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    return write_raw_scan_bundle(folder, write_template(folder), members=2)


@pytest.fixture(scope="module")
def bundle(bundle_folder):
    return open_bundle(bundle_folder, device("cpu"))


def image(**changes: float) -> PreprocessedScan:
    sound = {"template_dice": 0.96, "mutual_information": 0.8, "mask_border_cm2": 0.0, "missing_brain": 0.0}
    return PreprocessedScan(ScanImages(None), metrics=TYPICAL | sound | changes)


def kinds_of(result: PreprocessedScan, bundle) -> list[str]:
    return [flag.kind for flag in image_flags(result, bundle.reference.number_scores(result.metrics), bundle)]


def test_score_counts_standard_deviations_of_the_own_side():
    spread = Spread.of(np.random.default_rng(1).normal(10, 2, 20_000))
    assert spread.score(16) == pytest.approx(3, abs=0.1) and spread.score(4) == pytest.approx(-3, abs=0.1)
    skewed = Spread.of(np.random.default_rng(1).exponential(1, 20_000))
    assert skewed.score(3) < 2.5 < abs(skewed.score(-2.5))
    assert np.isnan(Spread.of([0.0] * 50).score(1.0))
    assert Spread.of(range(9)) is None


def test_distance_grows_along_directions_in_which_training_scans_do_not_differ():
    values = np.random.default_rng(1).normal(0, [5, 0.5], (2000, 2))
    space = FeatureSpace.of(values)
    along, across = space.distances(np.array([[5.0, 0.0], [0.0, 5.0]]))
    assert along == pytest.approx(1, abs=0.1) and across > 8


def simulated(scans: int, seed: int, held_out: int) -> tuple[pd.DataFrame, pd.DataFrame, ScanFeatures]:
    """A study whose numbers have heavy tails: samples, quality table and features."""
    rng, rows = np.random.default_rng(seed), pd.DataFrame({"scan_id": [f"s{number}" for number in range(scans)]})
    rows = rows.assign(cohort="ixi", site="A", sex="F", age=50.0, target=50.0)
    rows["part"] = ["held-out"] * held_out + ["train"] * (scans - held_out)
    table = rows[["scan_id", "cohort"]].copy()
    for name in ("snr_wm", "cjv", "mask_ml", "symmetry"):
        table[name], table[f"{name}_z"] = 100 + rng.standard_t(4, scans), 0.0
    values = rng.normal(0, 1, (scans, 8)).astype(np.float32)
    return rows, table, ScanFeatures(rows[["cohort", "part", "scan_id"]], values)


def test_at_most_five_percent_of_new_scans_like_the_training_scans_are_flagged():
    flagged = []
    for seed in range(12):
        rows, table, found = simulated(600, seed, 300)
        known, new = rows.iloc[100:].reset_index(drop=True), slice(0, 100)
        reference = reference_of(known, table, {"seed-1": found})
        for record, own in zip(table.iloc[new].to_dict("records"), found.values[new], strict=True):
            scores = reference.number_scores(record)
            scores["features"] = reference.distance.score(reference.distance_of({"seed-1": own}))
            flagged.append(any(abs(score) > reference.limits[kind_of(name)] for name, score in scores.items()))
    assert 0.01 < np.mean(flagged) <= FLAGGED_FRACTION + 0.015


def test_with_few_scans_the_limit_is_their_largest_score():
    rows, table, found = simulated(40, 1, 10)
    reference = reference_of(rows, table, {"seed-1": found})
    held_out = table.iloc[:10].to_dict("records")
    assert reference.calibration_scans == 10
    for record in held_out:
        scores = reference.number_scores(record)
        assert all(abs(score) <= reference.limits[kind_of(name)] for name, score in scores.items())


def test_limit_is_never_below_that_of_an_outlier():
    own = features(np.ones(6))
    limits = reference_of(samples(), quality(TYPICAL), {"seed-1": own}).limits
    assert set(limits) == set(KINDS) and min(limits.values()) >= LEAST_LIMIT


def test_external_scans_and_held_out_scans_do_not_change_the_spread():
    wild = quality(TYPICAL)
    wild.loc[40:, "snr_wm"] *= 10
    plain = reference_of(samples(), quality(TYPICAL), {}).numbers["snr_wm"]
    assert reference_of(samples(), wild, {}).numbers["snr_wm"] == plain


def test_bundle_states_ranges_and_no_person(bundle_folder, bundle):
    assert bundle.reference.age == (20.0, 79.0) and bundle.reference.sexes == ("F", "M")
    text = (bundle_folder / RAW_SCANS).read_text()
    assert "sub-" not in text and str(bundle_folder.parent) not in text
    assert json.loads(text)["reference"]["scans"] == 40
    with np.load(bundle_folder / REFERENCE) as arrays:
        assert {array.ndim for array in arrays.values()} == {1, 2}
        assert max(array.size for array in arrays.values()) < 40  # a mean and a covariance; 40 scans have more numbers


def test_reference_is_the_same_after_reading(bundle):
    own = {name: features(np.ones(6)) for name in ("seed-1", "seed-2")}
    made = reference_of(samples(), quality(TYPICAL), own)
    assert made.numbers == bundle.reference.numbers and made.limits == bundle.reference.limits
    given = {name: np.full(6, 0.9, dtype=np.float32) for name in own}
    assert made.distance_of(given) == pytest.approx(bundle.reference.distance_of(given))


@pytest.mark.parametrize(
    ("scan", "words"),
    [
        ({"age": 7.0}, "The age, 7 years, is outside the range of the model's scans, 20.0 to 79.0 years."),
        ({"age": 91.0}, "The age, 91 years"),
        ({"sex": "X"}, "The sex, X, is not among the training scans, which have F and M."),
        ({"site": "HH"}, "The site, HH, is not among the training scans' sites: Guys."),
    ],
)
def test_person_outside_of_the_training_scans_is_flagged_in_words(bundle, scan, words):
    (flag,) = person_flags(RawScan("a", None, **scan), bundle)
    assert flag.sentence.startswith(words)


def test_person_like_the_training_scans_is_not_flagged_and_the_unknown_is_named(bundle):
    scan = RawScan("a", None, age=50.0, sex="F", site="Guys")
    assert not list(person_flags(scan, bundle)) and not not_compared(scan, bundle)
    assert not_compared(RawScan("a", None), bundle) == ["age", "sex", "site"]


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"contrast_gm_csf": -0.2}, "contrast", "doesn't look T1-weighted"),
        ({"missing_brain": 0.05}, "brain extraction", "5.0% of the brain is missing: outside of the field of view"),
        ({"missing_brain": 0.01}, "field of view", "1.0% of the brain is outside of the field of view"),
        ({"mask_border_cm2": 50.0}, "brain extraction", "The brain is cut"),
        ({"template_dice": 0.5}, "registration", "overlaps the template's with Dice 0.5"),
        ({"snr_wm": 8.0}, "quality", "SNR WM (`snr_wm`) is 8"),
        ({"mask_ml": 900.0}, "quality", "standard deviations below the median of the training scans"),
        ({"contrast_wm_gm": 0.6}, "intensity", "standard deviations above the median"),
    ],
)
def test_image_unlike_the_training_scans_is_flagged_in_words(bundle, changes, kind, words):
    result = image(**changes)
    found = [flag for flag in image_flags(result, bundle.reference.number_scores(result.metrics), bundle)]
    assert kind in [flag.kind for flag in found]
    assert any(words in flag.sentence for flag in found), found


def test_sound_image_and_one_better_than_the_training_scans_are_not_flagged(bundle):
    assert kinds_of(image(), bundle) == []
    assert kinds_of(image(snr_wm=40.0, cjv=0.2), bundle) == []


def test_far_features_and_impossible_predictions_are_flagged(bundle):
    far = {name: np.full(6, 9.0, dtype=np.float32) for name in bundle.models}
    distance = bundle.reference.distance_of(far)
    (flag,) = feature_flags(distance, bundle.reference.distance.score(distance), bundle)
    assert "features are far from those of the training scans" in flag.sentence
    (flag,) = prediction_flags({"prediction": 97.3}, bundle)
    assert "The predicted age, 97.3, is outside" in flag.sentence
    assert not list(prediction_flags({"prediction": 50.0}, bundle))
