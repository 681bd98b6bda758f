"""Baselines on tissue maps: fitted on the training rows alone, equal to scikit-learn's on whole arrays, and their mean with the
network, which is no baseline."""

import numpy as np
import pandas as pd
import pytest
from neurocohort.dataset.folds import BaselineFit, baseline_fits
from neurocohort.evaluation import tissue_baselines as tissue
from neurocohort.evaluation.combined import combined
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.tables import evaluation_tables
from neurocohort.report.headline import headline_of
from scipy import ndimage
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import rbf_kernel

SHAPE, SPACING_MM = (12, 14, 11), 4.0
KINDS = {"regression": 0, "classification": 2, "three classes": 3}


def cohort(kind: str, count: int = 60, visits: int = 1, signal: float = 1.0):
    """Samples, and tissue maps with a corner that loses grey matter to CSF with the target; a sixth of the people is held out."""
    rng = np.random.default_rng(0)
    people = np.arange(count) // visits
    classes = KINDS[kind]
    target = people // 6 % classes if classes else rng.uniform(20, 80, people.max() + 1)[people]
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
        }
    )
    maps = rng.integers(60, 90, (count, 3, *SHAPE)).astype(np.uint8)
    scale = target / (classes - 1) if classes else (target - 20) / 60
    lost = (signal * 60 * scale).astype(np.uint8)[:, None, None, None]
    maps[:, 1, :6, :6, :6] -= lost
    maps[:, 0, :6, :6, :6] += lost
    if classes == 3:  # the middle class has a mark of its own: it lies on no line between the others
        maps[target == 1, 1, 6:, 6:, 6:] += 60
    return samples, maps


def fitted(kind: str, samples: pd.DataFrame, maps: np.ndarray, fits=None) -> np.ndarray:
    """The predictions of the task's only model."""
    rows = {scan: number for number, scan in enumerate(samples["scan_id"])}
    found, left_out = tissue.tissue_baselines(
        samples,
        lambda chosen: maps[[rows[scan] for scan in chosen["scan_id"]]],
        fits=fits or baseline_fits(samples, 3),
        classes=KINDS[kind],
        seed=1,
        spacing_mm=SPACING_MM,
    )
    assert left_out == {} and list(found) == ["tissue_kernel_ridge" if kind == "regression" else "grey_matter_svm"]
    return next(iter(found.values()))


@pytest.mark.parametrize("kind", KINDS)
def test_no_prediction_depends_on_the_targets_of_the_predicted_rows(kind):
    samples, maps = cohort(kind, visits=2)
    fits = baseline_fits(samples, 3)
    honest = fitted(kind, samples, maps, fits)
    assert np.isfinite(honest).all()
    for fit in fits:
        other = samples["target"].to_numpy(copy=True)
        other[fit.predicted] = np.random.default_rng(3).permutation(other[fit.predicted])
        changed = samples.assign(target=other)
        assert not changed["target"].equals(samples["target"])
        found = fitted(kind, changed, maps, fits)
        assert found[fit.predicted].tobytes() == honest[fit.predicted].tobytes()
        in_training = ~fit.predicted & (samples["part"] == "train").to_numpy()
        if fit.fold:  # of these rows' own fits the changed targets are training targets
            assert not np.array_equal(found[in_training], honest[in_training])


@pytest.mark.parametrize("kind", KINDS)
def test_each_fold_is_predicted_as_by_a_fit_on_the_other_folds_alone(kind):
    samples, maps = cohort(kind)
    fits = baseline_fits(samples, 3)
    found = fitted(kind, samples, maps, fits)
    for fit in fits:
        alone = fitted(kind, samples, maps, [BaselineFit(0, fit.training, fit.predicted)])
        np.testing.assert_allclose(found[fit.predicted], alone[fit.predicted], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_models_find_what_the_maps_hold(kind):
    samples, maps = cohort(kind, 90)
    values, target = fitted(kind, samples, maps), samples["target"].to_numpy(copy=True)
    if kind == "regression":
        assert np.abs(values - target).mean() < 0.4 * np.abs(target.mean() - target).mean()
    elif kind == "classification":
        assert roc_auc_score(target, values) > 0.95 and ((values > 0.5) == target).mean() > 0.9
    else:
        assert roc_auc_score(target, values, multi_class="ovr") > 0.9
        np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-9)


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_permuted_training_targets_give_chance(kind):
    samples, maps = cohort(kind, 180)
    held_out = (samples["part"] == "held-out").to_numpy()
    whole = baseline_fits(samples, 3)[:1]
    errors, areas = [], []
    for seed in range(5):
        other = samples["target"].to_numpy(copy=True)
        other[~held_out] = np.random.default_rng(seed).permutation(other[~held_out])
        values = fitted(kind, samples.assign(target=other), maps, whole)[held_out]
        target = samples["target"].to_numpy()[held_out]
        if kind == "regression":
            errors.append(np.abs(values - target).mean() / np.abs(other[~held_out].mean() - target).mean())
        else:
            areas.append(roc_auc_score(target, values))
    if kind == "regression":
        assert np.mean(errors) > 0.9  # below 0.4 with the right targets
    else:
        assert abs(np.mean(areas) - 0.5) < 0.15


def test_kernel_is_scikit_learns_of_the_training_rows_median_distance():
    rng = np.random.default_rng(4)
    features = rng.integers(0, 255, (20, 5000)).astype(np.uint8)
    whole, training = np.arange(20) < 15, np.arange(20) % 5 == 0
    training &= whole
    kernel = tissue.gaussian_kernel(*tissue.centred_products(features, whole), whole, training)
    plain = features.astype(float)
    pairs = [((one - other) ** 2).sum() for one in plain[training] for other in plain[training] if one is not other]
    distances = [pair for pair in pairs if pair > 0]
    expected = rbf_kernel(plain, plain[training], gamma=1 / (2 * np.median(distances)))
    np.testing.assert_allclose(kernel, expected, rtol=1e-4)
    target = rng.normal(50, 10, int(training.sum()))
    by_hand = KernelRidge(alpha=0.1, kernel="precomputed").fit(kernel[training], target)
    assert by_hand.predict(kernel).shape == (20,)


@pytest.mark.parametrize("spacing_mm", [1.0, 2.0, 4.0])
def test_maps_are_smoothed_to_the_same_width_from_any_grid(spacing_mm):
    fine = (np.arange(96) + 0.5 - 48) ** 2
    ball = ((fine[:, None, None] + fine[:, None] + fine < 20**2) * 255).astype(float)
    step = round(spacing_mm)
    blocks = ball.reshape(96 // step, step, 96 // step, step, 96 // step, step).mean(axis=(1, 3, 5))
    found = tissue.smoothed(blocks.astype(np.uint8)[None], spacing_mm)[0]
    exact = ndimage.gaussian_filter(ball, 8 / 2.3548)
    at = np.arange(24) * 4 + 1
    centres = np.mean([exact[np.ix_(at + i, at + j, at + k)] for i in (0, 1) for j in (0, 1) for k in (0, 1)], axis=0)
    assert found.shape == (24, 24, 24) and found.dtype == np.uint8
    np.testing.assert_allclose(found, centres, atol=10)


def test_grids_that_are_no_multiple_of_the_coarse_one_keep_all_voxels():
    maps = np.zeros((3, 9, 10, 11), dtype=np.uint8)
    maps[:, -1, -1, -1] = 255
    found = tissue.smoothed(maps, 2.0)
    assert found.shape == (3, 5, 5, 6) and (found[:, -1, -1, -1] > 0).all()


def test_too_few_participants_give_a_reason_and_no_prediction():
    samples, maps = cohort("classification")
    one_fold = (samples["fold"] == 2).fillna(False).to_numpy(dtype=bool)
    rare = samples.assign(target=(one_fold & (np.arange(60) % 2 > 0)).astype(int))
    found, left_out = tissue.tissue_baselines(
        rare, lambda chosen: maps, fits=baseline_fits(rare, 3), classes=2, seed=1, spacing_mm=4.0
    )
    assert found == {} and left_out["grey_matter_svm"].startswith("In fold 2: A class has fewer than 2 participants")


# --- the mean with the network ------------------------------------------------------------------------------------


def predictions(kind: str, count: int = 30) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The network's rows, and those of a constant and of the tissue model; the latter lacks two scans and is in another order."""
    rng = np.random.default_rng(2)
    names = [f"s{number}" for number in range(count)]
    rows = pd.DataFrame({"cohort": "a", "part": "held-out", "scan_id": names, "participant_id": names})
    rows = rows.assign(site="x", age=50.0, sex="F", target=np.arange(count) % max(KINDS[kind], 2))
    if kind == "regression":
        rows["target"] = rng.uniform(20, 80, count)

    def guess() -> pd.DataFrame:
        if kind != "three classes":
            return rows.assign(prediction=rng.uniform(0, 1, count))
        shares = rng.dirichlet(np.ones(3), count)
        columns = {f"probability_{code}": shares[:, code] for code in range(3)}
        return rows.assign(prediction=shares.argmax(axis=1), **columns)

    network, constant, other = guess(), guess(), guess()
    trivial, name = ("mean", "tissue_kernel_ridge") if kind == "regression" else ("majority", "grey_matter_svm")
    other = other.iloc[2:].sample(frac=1, random_state=0)
    return network, pd.concat([constant.assign(model=trivial), other.assign(model=name)], ignore_index=True)


@pytest.mark.parametrize("kind", KINDS)
def test_mean_of_network_and_tissue_model_is_taken_scan_by_scan(kind):
    network, baselines = predictions(kind)
    found = combined(network, baselines)
    assert found["scan_id"].tolist() == network["scan_id"].tolist()[2:] and (found["model"] == "combined").all()
    other = baselines[baselines["model"].isin(tissue.TISSUE_MODELS)].set_index("scan_id").loc[found["scan_id"]]
    columns = [f"probability_{code}" for code in range(3)] if kind == "three classes" else ["prediction"]
    expected = (network[columns].to_numpy()[2:] + other[columns].to_numpy()) / 2
    np.testing.assert_allclose(found[columns], expected)
    if kind == "three classes":
        assert found["prediction"].tolist() == expected.argmax(axis=1).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_mean_has_its_metrics_and_is_compared_with_nothing(kind):
    network, baselines = predictions(kind)
    options = {
        "members": network.assign(member="seed-1"),
        "samples": network.assign(part="train"),
        "scans": {"a": network},
    }
    options |= {"kind": kind if kind == "regression" else "classification", "bootstrap": Bootstrap(100, 1)}
    tables = dict(evaluation_tables(predictions=network, baselines=baselines, **options))
    assert "combined" in set(tables["metrics"]["model"])
    for name in ("comparisons", "details", "curves", "confusion", "shift"):
        for column in {"model", "baseline"} & set(tables[name]):
            assert "combined" not in set(tables[name][column]), name
    without = dict(
        evaluation_tables(
            predictions=network, baselines=baselines[baselines["model"].isin(["mean", "majority"])], **options
        )
    )
    assert "combined" not in set(without["metrics"]["model"])


def test_verdict_names_the_tissue_model_that_wins_and_not_its_mean_with_the_network():
    rows = [("network", 4.0), ("mean", 12.0), ("tissue_kernel_ridge", 3.5), ("combined", 3.0)]
    about = {
        "cohort": "ixi",
        "part": "held-out",
        "group": "all",
        "metric": "mae",
        "ci_low": 2.0,
        "ci_high": 9.0,
        "n": 9,
    }
    metrics = pd.DataFrame([about | {"model": model, "value": value} for model, value in rows])
    (verdict,) = headline_of(metrics, "brain_age", {"task": "regression", "target": "age"})
    assert verdict.best_name == "tissue_kernel_ridge"
    assert verdict.caveat == "Kernel ridge regression on tissue maps reaches 3.50, no worse than the network."
