"""ComBat: sites that were trained on are corrected, others are not, and nothing depends on the predicted rows."""

import importlib.util

import numpy as np
import pandas as pd
import pytest
from evaluation_samples import NO_BASELINE, QUICK, model
from neurocohort.dataset.folds import BaselineFit, baseline_fits
from neurocohort.errors import InputError
from neurocohort.evaluation import combat_package
from neurocohort.evaluation.details import details
from neurocohort.evaluation.evaluation_notes import evaluation_notes
from neurocohort.evaluation.harmonisation import ONE_SITE, Harmonisation
from neurocohort.evaluation.harmonisation_details import harmonisation_details
from neurocohort.evaluation.harmonised_baselines import harmonised_tissues, harmonised_volumes
from neurocohort.settings.evaluation import BaselineSettings
from neurocohort.study.baseline_tables import value_table

installed = pytest.mark.skipif(
    importlib.util.find_spec("combatlearn") is None, reason="combatlearn, an optional package, is not installed"
)
COUNT = 150
TRAINED = np.arange(COUNT) < 90


def study(count: int = COUNT) -> tuple[pd.DataFrame, np.ndarray]:
    """Samples of two sites, of which one has older people, and four values that follow age and differ between the sites."""
    rng = np.random.default_rng(0)
    second = np.arange(count) % 2 == 1
    age = rng.uniform(20, 70, count) + 15 * second
    names = [f"p{number:03d}" for number in range(count)]
    samples = pd.DataFrame({"scan_id": names, "participant_id": names, "cohort": "a", "age": age})
    samples = samples.assign(site=np.where(second, "y", "x"), sex=rng.choice(["F", "M"], count), target=age)
    samples["part"] = np.where(np.arange(count) < 90, "train", "held-out")
    noise = rng.normal(0, 1, (count, 4)) * np.where(second, 2.0, 1.0)[:, None]
    return samples, 10 + 0.1 * age[:, None] + noise + 5.0 * second[:, None]


def on_age(values: np.ndarray, samples: pd.DataFrame, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The slopes on age, and the differences between the sites at equal age, of some rows."""
    design = np.column_stack([samples["age"], samples["site"] == "y", np.ones(len(samples))]).astype(float)
    slopes, differences, _ = np.linalg.lstsq(design[rows], values[rows], rcond=None)[0]
    return slopes, differences


@installed
@pytest.mark.parametrize("target", ["mmse", "age"])
def test_offset_of_a_site_is_removed_and_age_preserved(target):
    samples, values = study()
    found = Harmonisation.of(samples, target).applied(values, TRAINED)
    for rows in (TRAINED, ~TRAINED):
        slopes, differences = on_age(found, samples, rows)
        assert np.abs(differences).max() < 1.6 and np.abs(on_age(values, samples, rows)[1]).min() > 3
        np.testing.assert_allclose(slopes, 0.1, atol=0.04)
    spread = np.std(
        found - 0.1 * samples["age"].to_numpy()[:, None], axis=0, where=(samples["site"] == "y").to_numpy()[:, None]
    )
    assert (spread < 1.9).all() == (target == "mmse")  # of a target among the covariates only the mean is corrected


@installed
def test_correction_does_not_depend_on_values_or_covariates_of_predicted_rows():
    samples, values = study()
    found = Harmonisation.of(samples, "mmse").applied(values, TRAINED)
    other = np.where(TRAINED[:, None], values, 100 - values)
    changed = samples.assign(age=samples["age"].where(TRAINED, 5.0), sex=samples["sex"].where(TRAINED, "F"))
    again = Harmonisation.of(changed, "mmse").applied(other, TRAINED)
    np.testing.assert_array_equal(again[TRAINED], found[TRAINED])
    alone = Harmonisation.of(samples[:91], "mmse").applied(values[:91], TRAINED[:91])
    np.testing.assert_allclose(alone, found[:91])  # nor on how many there are


@installed
def test_true_age_of_predicted_rows_is_not_used_if_age_is_the_target():
    samples, values = study()
    found = Harmonisation.of(samples, "age").applied(values, TRAINED)
    changed = samples.assign(age=samples["age"].where(TRAINED, 5.0))
    np.testing.assert_allclose(Harmonisation.of(changed, "age").applied(values, TRAINED), found, atol=1e-9)


@installed
def test_rows_of_an_unseen_small_or_unknown_site_are_not_corrected():
    samples, values = study()
    sites = samples["site"].copy()
    sites[100], sites[101] = "new", None
    sites[:4] = "small"
    values[120, 0] = np.nan
    found = Harmonisation.of(samples.assign(site=sites), "mmse").applied(values, TRAINED)
    same = (found == values).all(axis=1)
    assert np.flatnonzero(same).tolist() == [0, 1, 2, 3, 100, 101]
    np.testing.assert_array_equal(found[120], values[120])


@installed
def test_missing_and_constant_covariates_are_accepted():
    samples, values = study()
    samples.loc[[3, 120], "age"] = np.nan
    for one in (samples, samples.assign(sex="F"), samples.assign(age=np.nan, sex=None)):
        assert np.isfinite(Harmonisation.of(one, "mmse").applied(values, TRAINED)).all()


def quality(samples: pd.DataFrame, values: np.ndarray) -> pd.DataFrame:
    names = ["volume_csf_ml", "volume_gm_ml", "volume_wm_ml"]
    table = pd.DataFrame(values[:, :3] * 20, columns=names).assign(scan_id=samples["scan_id"].to_numpy())
    return table.assign(volume_brain_ml=table[names].sum(axis=1))


@installed
@pytest.mark.parametrize("classes", [0, 2])
def test_harmonised_baselines_are_fitted_on_training_rows_only(classes):
    samples, values = study()
    target = "mmse" if classes else "age"
    if classes:
        samples["target"] = (samples["age"] > 50).astype(int)
    features = np.clip(values.repeat(20, axis=1) * 8, 0, 255).astype(np.uint8)
    fits = baseline_fits(samples, 0)

    def predictions(values: np.ndarray, features: np.ndarray) -> dict[str, np.ndarray]:
        volumes = harmonised_volumes(samples, quality(samples, values), fits, target=target, classes=classes)
        tissues = harmonised_tissues(samples, features, fits, target=target, classes=classes, seed=1)
        return volumes.predictions | tissues.predictions

    found = predictions(values, features)
    assert set(found) == {"volumes_combat", "grey_matter_svm_combat" if classes else "tissue_kernel_ridge_combat"}
    rows = np.arange(COUNT) >= 120  # other values in some predicted rows leave the others' predictions as they are
    again = predictions(np.where(rows[:, None], 9.0, values), np.where(rows[:, None], 0, features))
    for name, own in found.items():
        assert np.isfinite(own[~TRAINED]).all() and np.isnan(own[TRAINED]).all()
        np.testing.assert_allclose(again[name][90:120], own[90:120], atol=1e-6)
        assert np.corrcoef(own[~TRAINED], samples["target"][~TRAINED])[0, 1] > 0.4


class Volumes:
    """Empty volumes of any rows."""

    def stack_arrays(self, rows: pd.DataFrame) -> np.ndarray:
        return np.zeros((len(rows), 1, 3, 3, 3), dtype=np.uint8)


@installed
@pytest.mark.parametrize("switch", ["none", "combat"])
def test_harmonised_baselines_have_rows_only_if_they_are_switched_on(switch):
    samples, values = study()
    place = np.arange(COUNT)
    samples["fold"] = pd.array(place // 2 % 3 + 1, dtype="Int64")
    own = {"task": "regression", "target": "age", "modalities": ["T1w"], "classes": 0, "seed": 1, "spacing_mm": 3.0}
    wanted = BaselineSettings(**own, folds=3, tissue_maps=True, harmonisation=switch)
    tissues = {"tissue_kernel_ridge": np.clip(values * 8, 0, 255).astype(np.uint8)}
    found = value_table(samples, quality(samples, values), Volumes(), wanted, tissues)
    expected = {"mean", "volumes", "voxel_ridge", "voxel_svm", "tissue_kernel_ridge"}
    harmonised = {"volumes_combat", "tissue_kernel_ridge_combat"} if switch == "combat" else set()
    assert set(found["model"]) == expected | harmonised
    for _, rows in found.groupby("model"):
        assert sorted(rows["scan_id"]) == sorted(samples["scan_id"])


def test_one_site_and_scans_in_mni_space_are_reasons_for_no_harmonised_baseline():
    samples, values = study()
    fits = [BaselineFit(0, TRAINED, ~TRAINED)]
    alone = harmonised_volumes(samples.assign(site="x"), quality(samples, values), fits, target="age", classes=0)
    assert alone.predictions == {} and alone.left_out == {"volumes_combat": ONE_SITE}
    none = quality(samples, values).assign(volume_brain_ml=np.nan)
    found = harmonised_volumes(samples, none, fits, target="age", classes=0)
    assert "MNI space" in found.left_out["volumes_combat"]


def test_details_name_the_sites_that_are_not_corrected():
    samples, _ = study()
    samples.loc[100:102, "site"] = "new"
    tested = samples[~TRAINED].assign(prediction=50.0)
    (row,) = harmonisation_details(pd.concat([model(tested, "network"), model(tested, "volumes_combat")]), samples)
    assert (row.model, row.part, row.estimate.value) == ("volumes_combat", "held-out", 3.0)
    assert row.note == "ComBat corrects scans of a x, a y. Scans of other sites are used as they are: a new (3)."
    assert harmonisation_details(model(tested, "volumes"), samples) == []
    both = pd.concat([model(tested, name) for name in ("volumes_combat", "tissue_kernel_ridge_combat")])
    (note,) = evaluation_notes(both, samples, {})["note"]
    cohort = tested["cohort"].iloc[0]
    assert note == f"a new (3) of {cohort}, held-out, not corrected by ComBat: fewer than 5 training scans of the site."
    assert evaluation_notes(model(tested, "volumes"), samples, {}).empty
    table = details(tested, NO_BASELINE, samples, None, "regression", QUICK)
    assert "harmonisation" not in set(table["setting"])


def test_without_the_package_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(combat_package.importlib.util, "find_spec", lambda name: None)
    samples, values = study()
    with pytest.raises(InputError, match=r"run `pip install combatlearn==2\.3\.0`"):
        Harmonisation.of(samples, "age").applied(values, TRAINED)
