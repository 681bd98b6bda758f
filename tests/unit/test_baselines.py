"""Baselines: fitted on the training rows alone, out of fold with cross-validation, equal to scikit-learn's on whole arrays, and
never a crash on a small part."""

import json

import numpy as np
import pandas as pd
import pytest
from neurocohort.cli import app
from neurocohort.dataset.folds import BaselineFit, baseline_fits, predicted_rows
from neurocohort.dataset.pack_index import COLUMNS, index_table, row_sha256
from neurocohort.evaluation import voxel_baselines as voxels
from neurocohort.evaluation.baselines import atlases, value_baselines
from neurocohort.files import read_table, write_table
from neurocohort.learning.prediction_tables import baseline_rows
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.svm import SVC
from typer.testing import CliRunner

SHAPE = (1, 6, 7, 5)
KINDS = {"regression": 0, "classification": 2, "three classes": 3}


def cohort(kind: str, count: int = 48, visits: int = 1, strength: float = 60.0):
    """Samples, their quality table and volumes in which a corner brightens with the target; two of five scans are held out."""
    rng = np.random.default_rng(0)
    people = np.arange(count) // visits
    classes = KINDS[kind]
    target = rng.uniform(20, 80, people.max() + 1)[people] if not classes else people % classes
    samples = pd.DataFrame(
        {
            "scan_id": [f"s{i}" for i in range(count)],
            "participant_id": [f"p{person}" for person in people],
            "cohort": "native",
            "target": target,
            "age": rng.uniform(20, 80, count),
            "sex": rng.choice(["M", "F"], count),
        },
        index=rng.permutation(count),  # nothing may depend on it
    )
    volumes = rng.uniform(200, 600, (count, 3))
    qc = pd.DataFrame(volumes, columns=[f"volume_{name}_ml" for name in ("csf", "gm", "wm")])
    qc = qc.assign(scan_id=samples["scan_id"].to_numpy(), volume_brain_ml=volumes.sum(axis=1)).sample(
        frac=1, random_state=1
    )
    images = rng.integers(60, 120, (count, *SHAPE)).astype(np.uint8)
    scale = (target - 20) / 60 if not classes else target / (classes - 1)
    images[:, :, :3, :3, :3] += (strength * scale).astype(np.uint8)[:, None, None, None, None]
    if classes == 3:  # the middle class has a mark of its own: it lies on no line between the others
        images[target == 1, :, 3:, 3:, 3:] += np.uint8(strength)
    return samples, qc, images, people % 5 < 3


def reader(samples: pd.DataFrame, images: np.ndarray, sizes: list | None = None):
    """The volumes of any rows, noting how many were asked for at once."""
    place = {scan: number for number, scan in enumerate(samples["scan_id"])}

    def read(rows: pd.DataFrame) -> np.ndarray:
        if sizes is not None:
            sizes.append(len(rows))
        return images[[place[scan] for scan in rows["scan_id"]]]

    return read


def baselines(kind: str, samples, qc, images, training, target="variable", seed=1, fits=None):
    """Fitted on ``training`` for every row, unless there are ``fits``."""
    return value_baselines(
        samples,
        qc,
        fits or [BaselineFit(0, training, np.ones_like(training))],
        None if images is None else reader(samples, images),
        target=target,
        classes=KINDS[kind],
        seed=seed,
    )


NAMES = {
    "regression": {"mean", "age_sex", "volumes", "voxel_ridge", "voxel_svm"},
    "classification": {"majority", "age_sex", "volumes", "voxel_ridge", "voxel_svm"},
    "three classes": {"majority", "age_sex", "volumes", "voxel_ridge", "voxel_svm"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_baselines_are_fitted_on_the_training_rows_alone(kind):
    samples, qc, images, training = cohort(kind)
    honest = baselines(kind, samples, qc, images, training)
    assert set(honest.predictions) == NAMES[kind] and honest.left_out == {}
    other = np.roll(samples["target"].to_numpy(), 1)
    changed = samples.assign(target=np.where(training, samples["target"], other))
    for name, values in baselines(kind, changed, qc, images, training).predictions.items():
        np.testing.assert_array_equal(values, honest.predictions[name], err_msg=name)
    brighter = images.copy()
    brighter[~training] = 255 - brighter[~training]
    for name, values in baselines(kind, samples, qc, brighter, training).predictions.items():
        np.testing.assert_array_equal(values[training], honest.predictions[name][training], err_msg=name)


def in_mni_space(samples, qc, rows: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables with the scans of ``rows`` as a cohort in MNI space: its volumes are n/a."""
    others = qc["scan_id"].isin(samples["scan_id"].to_numpy()[rows])
    volumes = [name for name in qc if name.startswith("volume_")]
    return samples.assign(cohort=np.where(rows, "mni", "native")), qc.assign(
        **{name: qc[name].mask(others) for name in volumes}
    )


@pytest.mark.parametrize("kind", KINDS)
def test_volumes_of_native_heads_predict_no_scan_in_mni_space(kind):
    samples, qc, _, training = cohort(kind)
    elsewhere = np.arange(48) % 4 == 0
    native = training & ~elsewhere
    expected = baselines(kind, samples, qc, None, native).predictions["volumes"]
    found = baselines(kind, *in_mni_space(samples, qc, elsewhere), None, training)
    assert found.left_out == {}
    assert np.isnan(found.predictions["volumes"][elsewhere]).all()
    np.testing.assert_array_equal(found.predictions["volumes"][~elsewhere], expected[~elsewhere])
    assert np.isfinite(found.predictions["age_sex"]).all()
    rows = baseline_rows(
        samples[~training].assign(part="held-out", site=None),
        {name: values[~training] for name, values in found.predictions.items()},
    )
    counts = rows.groupby("model")["scan_id"].count()
    assert counts["volumes"] == (~training & ~elsewhere).sum() and counts["age_sex"] == (~training).sum()


@pytest.mark.parametrize("columns", ["n/a", "absent"])
def test_there_is_no_baseline_of_volumes_where_every_training_scan_is_in_mni_space(columns):
    samples, qc, _, training = cohort("regression")
    samples, qc = in_mni_space(samples, qc, training)
    if columns == "absent":
        samples, qc = samples.assign(cohort="mni"), qc[["scan_id"]]
    found = baselines("regression", samples, qc, None, training)
    assert set(found.predictions) == {"mean", "age_sex"} and "MNI space" in found.left_out["volumes"]


def test_volumes_that_some_scans_of_a_cohort_lack_take_the_training_mean():
    samples, qc, _, training = cohort("regression")
    volumes = [name for name in qc if name.startswith("volume_")]
    gaps = qc.assign(**{name: qc[name].mask(qc["scan_id"].isin(["s1", "s3", "s4"])) for name in volumes})
    found = baselines("regression", samples, gaps, None, training)
    assert np.isfinite(found.predictions["volumes"]).all()


@pytest.mark.parametrize("kind", ["classification", "three classes"])
def test_classification_baselines_are_probabilities(kind):
    samples, qc, images, training = cohort(kind)
    for name, values in baselines(kind, samples, qc, images, training).predictions.items():
        assert values.shape == ((48,) if kind == "classification" else (48, 3)), name
        assert (values >= 0).all() and (values <= 1).all()
        if kind == "three classes":
            np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-9)


def test_constants_are_the_mean_and_the_shares_of_the_training_rows():
    samples, qc, _, training = cohort("regression")
    mean = baselines("regression", samples, qc, None, training).predictions["mean"]
    np.testing.assert_allclose(mean, samples["target"].to_numpy()[training].mean())
    samples, qc, _, training = cohort("three classes")
    shares = baselines("three classes", samples, qc, None, training).predictions["majority"]
    expected = [(samples["target"].to_numpy()[training] == code).mean() for code in range(3)]
    np.testing.assert_allclose(shares, np.tile(expected, (48, 1)))


@pytest.mark.parametrize(
    ("target", "others"),
    [("age", {"mean", "volumes"}), ("sex", {"mean", "volumes"}), ("mmse", {"mean", "volumes", "age_sex"})],
)
def test_a_variable_is_no_input_to_its_own_prediction(target, others):
    samples, qc, _, training = cohort("regression")
    values = samples["age"] if target == "age" else (samples["sex"] == "M").astype(float)
    samples = samples.assign(target=values.to_numpy())
    found = baselines("regression", samples, qc, None, training, target=target)
    assert set(found.predictions) == others
    off = np.abs(found.predictions["volumes"] - samples["target"].to_numpy())[~training].mean()
    off /= samples["target"].to_numpy()[training].std()
    assert off < 0.1 if target == "mmse" else off > 0.5, "here mmse is the sex under another name"


def test_missing_ages_and_sexes_take_the_training_mean():
    samples, qc, _, training = cohort("classification")
    gaps = samples.assign(
        age=samples["age"].mask(np.arange(48) % 5 == 0), sex=samples["sex"].mask(np.arange(48) % 7 == 0)
    )
    for lacking in (gaps, samples.assign(age=np.nan, sex=None)):
        found = baselines("classification", lacking, qc, None, training).predictions
        assert all(np.isfinite(values).all() for values in found.values())
    assert np.ptp(found["age_sex"]) == 0, "where nobody's age and sex are known they say nothing"


# --- cross-validation ---------------------------------------------------------------------------------------------


def in_folds(kind: str, visits: int = 1, folds: int = 3):
    """`cohort` with parts and folds: the held-out fifth in none, an external fifth, the others in one each."""
    samples, qc, images, development = cohort(kind, 60, visits)
    person = np.arange(60) // visits
    part = np.where(person % 5 == 4, "external", np.where(person % 10 == 0, "validation", "train"))
    part = np.where(person % 5 == 3, "held-out", part)
    fold = pd.array(np.where(development, (person // 5 + person % 5) % folds + 1, 0), dtype="Int64")
    samples = samples.assign(part=part, fold=fold)
    samples.loc[~development, "fold"] = pd.NA
    return samples, qc, images, development


@pytest.mark.parametrize("kind", KINDS)
def test_with_cross_validation_no_row_is_predicted_by_a_fit_that_it_was_in(kind):
    samples, qc, images, _ = in_folds(kind, visits=2)
    fits = baseline_fits(samples, 3)
    honest = baselines(kind, samples, qc, images, None, fits=fits)
    assert set(honest.predictions) == NAMES[kind] and honest.left_out == {}
    for fold in (1, 2, 3):
        own = (samples["fold"] == fold).fillna(False).to_numpy(dtype=bool)
        changed = samples.assign(target=np.where(own, np.roll(samples["target"].to_numpy(), 2), samples["target"]))
        for name, values in baselines(kind, changed, qc, images, None, fits=fits).predictions.items():
            np.testing.assert_array_equal(values[own], honest.predictions[name][own], err_msg=name)
            if name != "majority":  # which the counts alone decide
                assert not np.array_equal(values[~own], honest.predictions[name][~own]), name


@pytest.mark.parametrize("kind", KINDS)
def test_each_fold_is_predicted_as_by_a_fit_on_the_other_folds_alone(kind):
    samples, qc, images, development = in_folds(kind)
    found = baselines(kind, samples, qc, images, None, fits=baseline_fits(samples, 3)).predictions
    for fold in (0, 1, 2, 3):
        own = (samples["fold"] == fold).fillna(False).to_numpy(dtype=bool) if fold else ~development
        alone = baselines(kind, samples, qc, images, development & ~own).predictions
        for name, values in found.items():
            np.testing.assert_allclose(values[own], alone[name][own], rtol=2e-3, atol=2e-3, err_msg=name)


def test_out_of_fold_errors_are_those_of_the_held_out_part_and_not_of_the_fit():
    samples, qc, images, development = in_folds("regression")
    rng = np.random.default_rng(5)
    noisy = samples.assign(target=samples["target"] + rng.normal(0, 10, 60))
    for fits, flattering in (
        (baseline_fits(noisy, 3), False),
        ([BaselineFit(0, development, np.ones(60, bool))], True),
    ):
        values = baselines("regression", noisy, qc, images, None, fits=fits).predictions["voxel_ridge"]
        off = np.abs(values - noisy["target"].to_numpy())
        assert (off[development].mean() < 0.5 * off[~development].mean()) == flattering


def test_volumes_are_read_once_whatever_the_folds():
    samples, qc, images, development = in_folds("regression")
    reads = []
    for fits in (baseline_fits(samples, 3), [BaselineFit(0, development, ~development)]):
        sizes: list[int] = []
        value_baselines(samples, qc, fits, reader(samples, images, sizes), target="mmse", classes=0, seed=1)
        reads.append(sizes)
    assert reads[0] == reads[1]


def test_fold_that_lacks_a_class_leaves_the_baseline_out_with_its_reason():
    samples, qc, images, _ = in_folds("classification")
    one_fold = (samples["fold"] == 2).fillna(False).to_numpy(dtype=bool)
    rare = samples.assign(target=(one_fold & (np.arange(60) % 3 > 0)).astype(int))  # all cases are in fold 2
    found = baselines("classification", rare, qc, images, None, fits=baseline_fits(rare, 3))
    assert set(found.predictions) == {"majority"}
    assert found.left_out["volumes"] == "In fold 2: All training scans are of one class; a fit needs two."
    assert found.left_out["voxel_svm"].startswith("In fold 2: A class has fewer than 2 participants")


def test_baselines_predict_the_rows_that_the_networks_predict():
    pytest.importorskip("torch")
    from neurocohort.learning.inference import predicted_samples

    samples = in_folds("regression")[0].reset_index(drop=True).assign(cohort="a")
    samples.loc[0, "fold"] = pd.NA  # a participant that a split file gives no fold is predicted by no network
    key = ["cohort", "scan_id", "part"]
    for folds in (0, 3):
        members = [predicted_samples(samples, fold) for fold in (range(1, folds + 1) if folds else [0])]
        networks = pd.concat(members).drop_duplicates(["cohort", "scan_id"])[key]
        rows, predicted = predicted_rows(samples, baseline_fits(samples, folds))
        assert sorted(map(tuple, rows[key].to_numpy())) == sorted(map(tuple, networks.to_numpy()))
        assert rows["scan_id"].tolist() == samples.loc[predicted, "scan_id"].tolist()


def test_products_of_a_fold_are_those_of_its_own_rows():
    samples, _, images, development = in_folds("regression")
    fold = baseline_fits(samples, 3)[2].training
    gram = voxels.voxel_gram(samples, reader(samples, images), development)
    alone = voxels.voxel_gram(samples, reader(samples, images), fold)
    found = voxels.gram_of_fold(gram, development, fold)
    np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-5 * np.abs(alone).max())
    with pytest.raises(ValueError, match="not computed for"):
        voxels.gram_of_fold(alone, fold, development)


# --- voxels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chunk", "block"), [(1, 7), (SHAPE[1] * 35 * 5, 64), (2**28, 2**16)])
def test_gram_matrix_is_the_centred_product_and_is_read_in_chunks(monkeypatch, chunk, block):
    monkeypatch.setattr(voxels, "CHUNK_BYTES", chunk)
    monkeypatch.setattr(voxels, "BLOCK_VOXELS", block)
    samples, _, images, training = cohort("regression")
    sizes = []
    gram = voxels.voxel_gram(samples, reader(samples, images, sizes), training)
    flat = images.reshape(48, -1).astype(float)
    flat -= flat[training].mean(axis=0)
    np.testing.assert_allclose(gram, flat @ flat[training].T, rtol=1e-5, atol=1e-5 * np.abs(gram).max())
    assert max(sizes) <= max(chunk // images[0].size, 1)


def test_gram_matrix_of_training_rows_alone_needs_no_other_row():
    samples, _, images, _ = cohort("regression")
    everybody = np.ones(48, dtype=bool)
    gram = voxels.voxel_gram(samples, reader(samples, images), everybody)
    assert gram.shape == (48, 48) and np.isfinite(gram).all()


def test_ridge_by_the_gram_matrix_equals_scikit_learns_on_the_voxels():
    samples, _, images, training = cohort("regression")
    flat, target = images.reshape(48, -1).astype(float), samples["target"].to_numpy()
    gram = voxels.voxel_gram(samples, reader(samples, images), training)
    for alpha in (1e2, 1e4, 1e6):
        expected = Ridge(alpha).fit(flat[training], target[training]).predict(flat)
        np.testing.assert_allclose(voxels.ridge(gram[training], target[training], gram, alpha), expected, atol=2e-3)


def test_support_vector_machine_by_the_gram_matrix_equals_scikit_learns_on_the_voxels():
    samples, _, images, training = cohort("classification", strength=8.0)
    flat, signs = images.reshape(48, -1).astype(float), np.where(samples["target"].to_numpy() == 1, 1.0, -1.0)
    gram = voxels.voxel_gram(samples, reader(samples, images), training)
    model = SVC(kernel="linear", C=1e-5, class_weight="balanced", tol=1e-6).fit(flat[training], signs[training])
    found = voxels.svm_decision(gram[training], signs[training], gram, 1e5)
    np.testing.assert_allclose(found, model.decision_function(flat), atol=5e-3)


@pytest.mark.parametrize("name", ["voxel_ridge", "voxel_svm"])
@pytest.mark.parametrize("kind", KINDS)
def test_voxel_baselines_find_what_the_voxels_hold(kind, name):
    samples, qc, images, training = cohort(kind, 90)
    found = baselines(kind, samples, qc, images, training).predictions
    target, values = samples["target"].to_numpy()[~training], found[name][~training]
    if kind == "regression":
        assert np.abs(values - target).mean() < 0.4 * np.abs(found["mean"][~training] - target).mean()
    elif kind == "classification":
        assert roc_auc_score(target, values) > 0.95 and ((values > 0.5) == target).mean() > 0.9
    else:
        assert roc_auc_score(target, values, multi_class="ovr") > 0.9 and (values.argmax(axis=1) == target).mean() > 0.8


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_voxel_baselines_of_noise_are_about_as_good_as_the_constant(kind):
    samples, qc, images, training = cohort(kind, 90, strength=0.0)
    found = baselines(kind, samples, qc, images, training).predictions
    target = samples["target"].to_numpy()[~training]
    for name in ("voxel_ridge", "voxel_svm"):
        values = found[name][~training]
        if kind == "regression":
            assert np.abs(values - target).mean() < 1.3 * np.abs(found["mean"][~training] - target).mean()
        else:
            assert np.abs(values - 0.5).mean() < 0.25, "no certainty where there is no knowledge"


def test_decision_values_that_ranked_the_wrong_way_round_when_tried_say_nothing():
    positive = np.arange(20) % 2 == 1
    right, wrong = (sign * np.where(positive, 1.0, -1.0) + np.linspace(-0.1, 0.1, 20) for sign in (1, -1))
    decisions = np.array([-1.0, 0.0, 2.0])
    assert (np.diff(voxels._platt(right, positive, decisions)) > 0).all()
    assert voxels._platt(wrong, positive, decisions).tolist() == [0.5, 0.5, 0.5]


def test_scans_of_a_person_stay_together_when_the_strength_is_chosen(monkeypatch):
    tried = []
    original = voxels._cross_validated

    def noted(fit, kernel, targets, folds, strength):
        tried.extend(folds)
        return original(fit, kernel, targets, folds, strength)

    monkeypatch.setattr(voxels, "_cross_validated", noted)
    for kind in KINDS:
        samples, qc, images, training = cohort(kind, 72, visits=2)
        baselines(kind, samples, qc, images, training)
        people = samples["participant_id"].to_numpy()[training]
        assert tried and all(not set(people[fitted]) & set(people[tested]) for fitted, tested in tried)
        tried.clear()


@pytest.mark.parametrize("count", range(1, 13))
@pytest.mark.parametrize("kind", KINDS)
def test_small_training_part_gives_a_baseline_or_a_reason(kind, count):
    samples, qc, images, _ = cohort(kind)
    training = np.arange(48) < count
    found = baselines(kind, samples, qc, images, training)
    assert set(found.predictions) | set(found.left_out) == NAMES[kind]
    assert not set(found.predictions) & set(found.left_out)
    assert {"mean", "majority"} & set(found.predictions), "a constant there always is"
    assert all(np.isfinite(values).all() for values in found.predictions.values())
    assert all(reason.endswith(".") for reason in found.left_out.values())
    assert count < 8 or not found.left_out


def test_class_with_one_case_gives_a_reason():
    samples, qc, images, training = cohort("classification")
    rare = samples.assign(target=np.where(np.flatnonzero(training)[3] == np.arange(48), 1, 0))
    found = baselines("classification", rare, qc, images, training)
    assert "fewer than 2 participants" in found.left_out["voxel_ridge"] and "volumes" in found.predictions
    one = baselines("classification", rare.assign(target=0), qc, images, training)
    assert "of one class" in one.left_out["age_sex"] and set(one.predictions) == {"majority"}


def test_class_without_a_training_scan_has_no_probability():
    samples, qc, _, training = cohort("three classes")
    training &= samples["target"].to_numpy() != 1
    for values in baselines("three classes", samples, qc, None, training).predictions.values():
        assert (values[:, 1] == 0).all()


# --- the atlas ----------------------------------------------------------------------------------------------------


def atlas_labels(maps):
    """The atlas of one fit on all ``maps``."""
    maps = list(maps)
    fit = BaselineFit(0, np.ones(len(maps), bool), np.zeros(len(maps), bool))
    return atlases([fit], lambda rows: iter(maps))[0]


def test_atlas_is_the_most_frequent_label_of_the_training_scans():
    labels = np.array([[[[1, 2]]], [[[1, 3]]], [[[0, 3]]]], dtype=np.uint8)
    assert atlas_labels(labels).tolist() == [[[1, 3]]]


def test_atlas_takes_the_maps_one_by_one_and_the_lowest_of_equally_frequent_labels():
    maps = np.random.default_rng(0).integers(0, 4, (6, 4, 5, 3)).astype(np.uint8)
    counts = np.stack([(maps == label).sum(axis=0) for label in range(4)])
    np.testing.assert_array_equal(atlas_labels(one for one in maps), counts.argmax(axis=0))
    with pytest.raises(ValueError, match="at least one label map"):
        atlas_labels(iter(()))


def test_atlas_of_a_fold_has_none_of_its_own_maps():
    samples = in_folds("regression")[0]
    maps = np.random.default_rng(1).integers(0, 4, (60, 3, 2, 2)).astype(np.uint8)
    fits, read = baseline_fits(samples, 3), []

    def chosen(rows: np.ndarray):
        read.extend(np.flatnonzero(rows))
        return (maps[row] for row in np.flatnonzero(rows))

    found = atlases(fits, chosen)
    assert list(found) == [0, 1, 2, 3]
    for fit in fits:
        np.testing.assert_array_equal(found[fit.fold], atlas_labels(maps[fit.training]))
    assert np.bincount(read).max() == 2, "no map is read for every fold"
    with pytest.raises(ValueError, match="at least one label map"):
        atlases(
            [
                BaselineFit(0, np.ones(60, bool), np.zeros(60, bool)),
                BaselineFit(1, np.zeros(60, bool), np.ones(60, bool)),
            ],
            chosen,
        )


# --- the command --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["regression", "segmentation"])
def test_command_predicts_the_rows_of_the_networks_with_and_without_cross_validation(tmp_path, task):
    samples, qc, images, development = in_folds("regression")
    samples = samples.reset_index(drop=True).assign(cohort="a", site="x", target=samples["target"].to_numpy())
    samples["pack"] = np.where(development, "development", "held-out")
    samples["row"] = samples.groupby("pack").cumcount()
    write_table(tmp_path / "samples.tsv", samples)
    write_table(tmp_path / "results" / "a" / "qc.tsv", qc)
    for pack, chosen in (("development", development), ("held-out", ~development)):
        folder = tmp_path / "results" / "a" / "packed" / pack
        folder.mkdir(parents=True)
        packed, labels = images[chosen], (images[chosen][:, 0] // 70).astype(np.uint8)
        np.save(folder / "images.npy", packed)
        np.save(folder / "labels.npy", labels)
        names = samples.loc[samples["pack"] == pack, "scan_id"]
        hashes = [(row_sha256(name, packed[row]), row_sha256(name, labels[row])) for row, name in enumerate(names)]
        rows = [(row, name, 1, *hashes[row]) for row, name in enumerate(names)]
        write_table(folder / "index.tsv", index_table([dict(zip(COLUMNS, row, strict=True)) for row in rows]))
        write_table(folder / "channels.tsv", pd.DataFrame({"modality": ["T1w"]}))
    options = {
        "samples": tmp_path / "samples.tsv",
        "results": tmp_path / "results",
        "output": tmp_path / "baselines.tsv",
        "inputs": tmp_path / "baseline_inputs.tsv",
    }
    settings = {"task": task, "target": "mmse", "modalities": ["T1w"], "classes": 2, "seed": 1, "spacing_mm": 2}
    found = {}
    for folds in (0, 3):
        command = [f"--{name}={value}" for name, value in options.items()]
        command.append(f"--settings={json.dumps(settings | {'folds': folds})}")
        outcome = CliRunner().invoke(app, ["baselines", *command])
        assert outcome.exit_code == 0, outcome.output
        found[folds] = read_table(tmp_path / "baselines.tsv")
        parts = found[folds].drop_duplicates("scan_id").set_index("scan_id")["part"].to_dict()
        expected = samples if folds else samples[samples["part"] != "train"]
        assert parts == {
            row.scan_id: "validation" if row.part == "train" else row.part for row in expected.itertuples()
        }
    whole = found[3] if task == "regression" else found[3].query("empty != 'both'")
    assert whole["prediction" if task == "regression" else "dice"].notna().all()
    assert found[3].columns.tolist() == found[0].columns.tolist()
    if task == "regression":
        assert set(found[3]["model"]) == {"mean", "age_sex", "volumes", "voxel_ridge", "voxel_svm"}
        means = found[3].query("model == 'mean'").set_index("scan_id")["prediction"]
        for fold in (1, 2, 3):
            others = samples.loc[development & (samples["fold"] != fold), "target"].mean()
            assert means[samples.loc[samples["fold"] == fold, "scan_id"]].unique() == pytest.approx([others], abs=1e-5)
