"""The three tasks: what their losses and predictions are, and that their constants come from the training part."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from neurocohort.dataset.controls import shuffle_targets
from neurocohort.dataset.targets import OTHER, class_names, target_values
from neurocohort.errors import InputError
from neurocohort.learning.settings import TrainingSettings
from neurocohort.learning.tasks import fit_task, task_from, task_values
from sklearn.metrics import log_loss

AGES = np.array([20.0, 35.0, 50.0, 80.0])


def task_of(kind: str, network: str = "sfcn", targets=None, **changes):
    return fit_task(TrainingSettings(task=kind, network=network, **changes), targets)


TASKS = {
    "soft bins": task_of("regression", targets=AGES),
    "one value": task_of("regression", "densenet121", AGES),
    "two classes": task_of("classification", targets=np.array([0, 0, 0, 1])),
    "three classes": task_of("classification", targets=np.array([0, 0, 0, 1, 1, 2]), classes=3),
    "segmentation": task_of("segmentation", "unet"),
}


def batch(name: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random outputs and targets of a task."""
    task, generator = TASKS[name], torch.Generator().manual_seed(1)
    shape = (6, 6, 6) if task.kind == "segmentation" else ()
    outputs = torch.randn((count, task.outputs, *shape), generator=generator)
    if task.kind == "regression":
        return outputs, torch.rand(count, generator=generator) * 60 + 20
    classes = 4 if shape else task.classes
    return outputs, torch.randint(classes, (count, *shape), generator=generator).to(task.target_dtype)


@pytest.mark.parametrize("name", TASKS)
def test_loss_of_a_batch_is_the_mean_of_its_samples_losses(name):
    """Batches that are divided over processes rely on it."""
    outputs, targets = batch(name, 6)
    alone = [TASKS[name].loss(outputs[[index]], targets[[index]]) for index in range(6)]
    torch.testing.assert_close(TASKS[name].loss(outputs, targets), torch.stack(alone).mean())


@pytest.mark.parametrize("name", TASKS)
def test_task_is_restored_from_its_record(name):
    assert task_from(json.loads(json.dumps(task_values(TASKS[name])))) == TASKS[name]


@pytest.mark.parametrize("name", TASKS)
def test_loss_is_computed_in_float32_whatever_the_network_returned(name):
    outputs, targets = batch(name, 3)
    halved = outputs.to(torch.bfloat16)
    loss = TASKS[name].loss(halved, targets)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, TASKS[name].loss(halved.float(), targets))
    assert TASKS[name].predict(halved).dtype == torch.float32


@pytest.mark.parametrize("name", TASKS)
def test_loss_falls_along_its_gradient(name):
    outputs, targets = batch(name, 4)
    outputs.requires_grad_()
    before = TASKS[name].loss(outputs, targets)
    before.backward()
    assert TASKS[name].loss(outputs - 0.01 * outputs.grad / outputs.grad.norm(), targets) < before


# --- regression ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("age", [20.0, 47.0, 80.0])
def test_soft_bins_recover_the_value_they_encode(age):
    task = TASKS["soft bins"]
    centres = torch.linspace(task.low, task.high, task.outputs)
    logits = -0.5 * ((age - centres) / (centres[1] - centres[0])) ** 2
    assert abs(task.predict(logits[None]).item() - age) < 0.1
    assert task.loss(logits[None], torch.tensor([age])).item() < 1e-4
    assert task.loss(logits[None], torch.tensor([age + 10])).item() > 0.5


def test_bins_reach_a_little_beyond_the_training_ages():
    task = TASKS["soft bins"]
    assert task.low == pytest.approx(14.0) and task.high == pytest.approx(86.0)


def test_one_value_is_standardised_by_the_training_ages():
    task = TASKS["one value"]
    assert task.outputs == 1 and task.mean == AGES.mean() and task.scale == pytest.approx(AGES.std())
    targets = torch.tensor(AGES, dtype=torch.float32)
    outputs = ((targets - task.mean) / task.scale)[:, None]
    torch.testing.assert_close(task.predict(outputs), targets)
    assert task.loss(outputs, targets).item() == pytest.approx(0, abs=1e-10)
    assert task.loss(torch.zeros(4, 1), targets).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("network", ["densenet121", "resnet18", "resnet50"])
def test_densenet_and_resnet_have_the_plain_head_even_where_bins_are_asked_for(network):
    assert task_of("regression", network, AGES, soft_bins=True).outputs == 1
    assert task_of("regression", "sfcn", AGES, soft_bins=False).outputs == 1


@pytest.mark.parametrize("soft_bins", [True, False])
def test_equal_training_targets_give_finite_losses(soft_bins):
    task = task_of("regression", targets=np.full(5, 0.1), soft_bins=soft_bins)
    loss = task.loss(torch.zeros(2, task.outputs), torch.tensor([0.1, 0.2]))
    assert torch.isfinite(loss) and abs(task.predict(torch.zeros(1, task.outputs)).item() - 0.1) < 1e-5


# --- classification -----------------------------------------------------------------------------------------------


def _normed(probabilities: torch.Tensor) -> np.ndarray:
    wide = probabilities.numpy().astype(float)
    return wide / wide.sum(axis=1, keepdims=True)


def test_weight_of_the_positive_class_comes_from_the_training_counts():
    task = TASKS["two classes"]
    assert task.positive_weight == 3.0 and task.outputs == 1
    outputs, targets = batch("two classes", 50)
    probabilities = task.predict(outputs)
    assert probabilities.shape == (50, 2)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(50))
    weights = np.where(targets == 1, 3.0, 1.0)
    expected = log_loss(targets, _normed(probabilities), sample_weight=weights, normalize=False) / 50
    assert task.loss(outputs, targets).item() == pytest.approx(expected, rel=1e-5)


def test_weights_of_several_classes_come_from_the_training_counts():
    task = TASKS["three classes"]
    assert task.outputs == 3 and task.class_weights == pytest.approx((6 / 9, 6 / 6, 6 / 3))
    outputs, targets = batch("three classes", 50)
    probabilities = task.predict(outputs)
    weights = np.array(task.class_weights)[targets]
    expected = log_loss(targets, _normed(probabilities), sample_weight=weights, normalize=False) / 50
    assert task.loss(outputs, targets).item() == pytest.approx(expected, rel=1e-5)


def test_class_without_a_training_scan_is_refused_with_the_way_out():
    with pytest.raises(InputError, match=r"4 scan\(s\) have none of class 1 \(of 0 to 2\).*merged `classes`"):
        task_of("classification", targets=np.array([0, 0, 2, 2]), classes=3)
    with pytest.raises(InputError, match=r"none of class 1 "):
        task_of("classification", targets=np.zeros(4))
    with pytest.raises(InputError, match=r"target\(s\) 2; expected 0 to 1"):
        task_of("classification", targets=np.array([0, 1, 2]))


# --- segmentation -------------------------------------------------------------------------------------------------


def test_segmentation_loss_is_dice_of_the_tissues_plus_cross_entropy():
    outputs, labels = batch("segmentation", 2)
    probabilities = torch.softmax(outputs, dim=1).numpy().astype(float)
    one_hot = np.moveaxis(np.eye(4)[labels], -1, 1)
    axes = (2, 3, 4)
    overlap = (probabilities * one_hot).sum(axes)
    dice = (2 * overlap + 1e-5) / (probabilities.sum(axes) + one_hot.sum(axes) + 1e-5)
    cross_entropy = -np.log((probabilities * one_hot).sum(1)).mean()
    expected = 1 - dice[:, 1:].mean() + cross_entropy
    assert TASKS["segmentation"].loss(outputs, labels).item() == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(TASKS["segmentation"].predict(outputs).numpy(), probabilities, atol=1e-6)


# --- targets ------------------------------------------------------------------------------------------------------


def scans(column: str, values: list) -> dict[str, pd.DataFrame]:
    return {"a": pd.DataFrame({column: values})}


def test_classes_are_coded_in_their_order_and_others_are_left_out():
    rated = scans("cdr", [0.0, 0.5, 1.0, 2.0, 3.0, None])
    coded = target_values(rated, "classification", "cdr", [0, 0.5, [1, 2]])["a"]
    assert coded[:5].tolist() == [0, 1, 2, 2, OTHER] and np.isnan(coded[5])
    backwards = target_values(rated, "classification", "cdr", [["2.0", "1"], "0.50", "0"])["a"]
    assert backwards[:5].tolist() == [2, 1, 0, 0, OTHER]


def test_two_classes_of_several_values_are_a_negative_and_a_positive_one():
    rated = scans("cdr", [0.0, 0.5, 1.0, 2.0])
    assert target_values(rated, "classification", "cdr", [0, [0.5, 1, 2]])["a"].tolist() == [0, 1, 1, 1]


def test_a_class_may_list_a_value_that_only_a_larger_cohort_has():
    assert target_values(scans("cdr", [0.0, 0.5, 1.0]), "classification", "cdr", [0, 0.5, [1, 2]])["a"].tolist() == [
        0,
        1,
        2,
    ]


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ([0, 0.5, [4, 5]], r"names 4 or 5, which no scan has; the values are 0, 0\.5, 1"),
        ([0, 0.5, [0.5, 1]], r"names '0\.5' twice; expected each value once, in one class"),
        ([0, 0.5, ["1", "1.0"]], r"names '1' twice"),
        ([[0, 1]], r"has 1 class; expected two or more"),
    ],
)
def test_classes_that_can_not_be_told_apart_are_refused(classes, said):
    with pytest.raises(InputError, match=said):
        target_values(scans("cdr", [0.0, 0.5, 1.0]), "classification", "cdr", classes)


def test_classes_are_named_by_their_values():
    assert class_names([0, 0.5, [1, 2]]) == ["0", "0.5", "1/2"] == class_names([["0"], ["0.5"], ["1", "2"]])


# --- the control's targets ----------------------------------------------------------------------------------------


def study(people: int, visits: int = 1, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    ages = rng.uniform(20, 80, people)
    rows = pd.DataFrame({"participant_id": np.repeat([f"p{i:03}" for i in range(people)], visits)})
    rows["part"] = np.repeat(
        np.resize(["train", "train", "train", "validation", "held-out", "external"], people), visits
    )
    return rows.assign(target=np.repeat(ages, visits))


def test_control_permutes_the_targets_of_training_and_validation_and_no_others():
    samples = study(60)
    shuffled = shuffle_targets(samples, 1)
    for part in ("train", "validation"):
        true, drawn = (table.loc[table["part"] == part, "target"] for table in (samples, shuffled))
        assert sorted(true) == sorted(drawn) and (true != drawn).mean() > 0.6
    rest = samples["part"].isin(["held-out", "external"])
    pd.testing.assert_frame_equal(shuffled[rest], samples[rest])
    pd.testing.assert_frame_equal(shuffled, shuffle_targets(samples, 1))
    assert not shuffled.equals(shuffle_targets(samples, 2))
    assert samples.equals(study(60)), "the table given is left as it was"


def test_permuted_targets_tell_nothing_of_the_true_ones_in_any_draw():
    samples = study(120)
    chosen = samples["part"] == "train"
    draws = [shuffle_targets(samples, seed).loc[chosen, "target"] for seed in range(30)]
    assert max(abs(np.corrcoef(samples.loc[chosen, "target"], drawn)[0, 1]) for drawn in draws) < 0.15


def test_what_is_constant_in_a_person_stays_so_in_the_control():
    samples = study(30, visits=3).drop(index=[1, 2, 10])
    shuffled = shuffle_targets(samples, 4)
    assert (shuffled.groupby("participant_id")["target"].nunique() == 1).all()
    assert shuffled["target"].isin(samples["target"]).all()


def test_permuted_classes_are_as_frequent_as_before():
    samples = study(40).assign(target=lambda rows: (rows["target"] > 60).astype(int))
    shuffled = shuffle_targets(samples, 1)
    assert (shuffled.groupby("part")["target"].sum() == samples.groupby("part")["target"].sum()).all()
    assert shuffled["target"].dtype == samples["target"].dtype
