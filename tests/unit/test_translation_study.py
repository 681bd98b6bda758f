"""Translations in a study: what `check` accepts and refuses, the metrics of an image, and the baselines."""

import copy
import json

import numpy as np
import pytest
import yaml
from configurations import ROOT, changed, refusal
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.translation import image_scores, translation_table
from neurocohort.evaluation.translation_baselines import BASELINES, fit_baselines
from neurocohort.study.configuration import check_configuration
from neurocohort.study.members import all_experiments, training_settings
from neurocohort.study.pretraining import evaluated
from neurocohort.study.translation import translations
from statement_translation import scores

PAIRS, UNPAIRED = "experiments.t2_from_pairs", "experiments.t2_unpaired"


@pytest.fixture
def given() -> dict:
    worked = yaml.safe_load((ROOT / "tests/studies/translation.yaml").read_text())
    return json.loads(json.dumps(worked))  # so that no two experiments share a group of keys


def test_a_translation_needs_no_settings_of_its_own(given):
    experiments = check_configuration(copy.deepcopy(given), source="study.yaml")["experiments"]
    settings = training_settings(all_experiments(experiments)["t2_from_pairs"], "seed-1")
    assert settings.translation.method == "paired" and settings.read_channels == ["T1w", "T2w"]
    assert not settings.judged and settings.modalities == ["T1w"]
    assert set(translations(experiments)) == {"t2_from_pairs", "t2_unpaired"} and not evaluated(experiments)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (f"{PAIRS}.target", "age", "a translation predicts an image; expected one of T1w, T2w"),
        (f"{PAIRS}.target", "T1w", "an image would be predicted from itself"),
        (f"{PAIRS}.target", "FLAIR", "`cohorts.ixi.modalities` has T1w and T2w; add it there"),
        (f"{PAIRS}.transfer", {"weights": "t2_unpaired"}, "starts from random weights"),
        (f"{PAIRS}.training.patch", [16, 16, 16], "learns from whole volumes"),
        (f"{PAIRS}.training.augmentation.cutout", 0.3, "would change the image to predict too"),
        (f"{PAIRS}.translation", {"cycle": 5}, "cycle` is only for `method: unpaired`"),
        (f"{PAIRS}.network.name", "sfcn", "isn't for translation"),
        (f"{UNPAIRED}.translation", {"method": "unpaired", "adversarial": 1}, "is only for `method: paired`"),
        (f"{UNPAIRED}.training.keep", "best", "chooses the epoch by pairs"),
        ("split.test_folds", 3, "needs one held-out part"),
    ],
)
def test_what_does_not_go_with_a_translation_is_refused(given, key, value, words):
    assert words in refusal(changed(given, key, value))


def test_the_key_is_for_translations_only_and_nothing_starts_from_one(given):
    age = given["experiments"]["t2_from_pairs"] | {"task": "regression", "target": "age", "network": {"name": "sfcn"}}
    given["experiments"]["age"] = age | {"translation": {}, "transfer": {"weights": "t2_unpaired"}}
    found = refusal(given)
    assert "is only for `task: translation`" in found and "whose network no other experiment can start from" in found


def test_scores_have_known_values_and_ignore_the_outside():
    generator = np.random.default_rng(1)
    true, inside = generator.random((16, 16, 16)).astype(np.float32), np.zeros((16, 16, 16), dtype=bool)
    inside[3:13, 3:13, 3:13] = True
    found = np.where(inside, true + 0.1, generator.random(true.shape)).astype(np.float32)
    scored = image_scores(found, true, inside)
    assert (scored.mae, scored.psnr) == pytest.approx((0.1, 20), rel=1e-4)
    same = image_scores(np.where(inside, true, 5), true, inside)
    assert same.ssim == pytest.approx(1) and same.mae == 0 and same.psnr == np.inf
    assert image_scores(1 - true, true, inside).ssim < scored.ssim < 1


def test_the_difference_to_the_best_baseline_is_paired():
    table = translation_table(scores(22), Bootstrap(200, 1))
    rows = table[(table["metric"] == "psnr") & (table["best"] == "yes")]
    assert (
        len(rows) == 1
        and rows["value"].item() == table.loc[table["best"].ne("") & table["metric"].eq("psnr"), "value"].max()
    )
    assert 0 < rows["difference_low"].item() < rows["difference"].item() < rows["difference_high"].item()


def test_baselines_learn_what_they_can():
    generator = np.random.default_rng(2)
    source = generator.integers(1, 200, (5, 12, 12, 12))
    source[:, 0] = 0
    scans = np.stack([source, np.where(source > 0, 220 - source, 0)], axis=1).astype(np.uint8)
    fitted = fit_baselines(lambda: iter(scans[:4]), 1)
    again = fit_baselines(lambda: iter(scans[:4]), 1)
    true, inside = scans[4, 1] / 255, scans[4, 0] > 0
    found = fitted.predicted(scans[4, :1])
    errors = {name: np.abs(found[name] - true)[inside].mean() for name in BASELINES}
    assert errors["intensity"] < 0.01 and errors["intensity_and_place"] < 0.01 and errors["mean_image"] > 0.1
    assert all((found[name][~inside] == 0).all() for name in BASELINES)
    assert all(
        (one == other).all() for one, other in zip(found.values(), again.predicted(scans[4, :1]).values(), strict=True)
    )
