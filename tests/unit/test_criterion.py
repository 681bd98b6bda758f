"""Epochs of a classification are compared by what their networks know, not by how sure they are."""

import numpy as np
import pytest
import torch
from neurocohort.learning.criterion import LARGEST_SLOPE, calibrated_loss, epoch_criterion
from neurocohort.learning.tasks import Classification

TWO = Classification(2, positive_weight=3.0)
THREE = Classification(3, class_weights=(0.5, 1.0, 1.5))


def scans(count: int = 40, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that know something of the class, and the classes."""
    rng = np.random.default_rng(seed)
    classes = (np.arange(count) % 4 == 0).astype(int)
    return torch.tensor(rng.normal(2.0 * classes - 1, 1.0)[:, None]), torch.tensor(classes)


def chosen(task: Classification, logits: torch.Tensor, classes: torch.Tensor) -> float:
    return epoch_criterion(task, logits, classes, float(task.loss(logits, classes)))


@pytest.mark.parametrize(("factor", "shift"), [(8.0, 0.0), (0.2, 0.0), (1.0, 3.0), (5.0, -20.0)])
def test_confidence_and_threshold_change_nothing(factor, shift):
    logits, classes = scans()
    plain = float(TWO.loss(factor * logits + shift, classes))
    assert abs(plain - float(TWO.loss(logits, classes))) > 0.05, "the plain loss sees them"
    assert chosen(TWO, factor * logits + shift, classes) == pytest.approx(chosen(TWO, logits, classes), abs=1e-3)


def test_overconfident_network_that_orders_better_is_preferred():
    logits, classes = scans()
    better = 20 * (logits + 0.3 * (2 * classes[:, None] - 1))
    loss = [float(TWO.loss(one, classes)) for one in (better, logits)]
    assert loss[0] > loss[1]
    assert chosen(TWO, better, classes) < chosen(TWO, logits, classes)


def test_network_that_orders_the_wrong_way_is_no_better_than_one_that_orders_nothing():
    logits, classes = scans()
    nothing = chosen(TWO, torch.zeros_like(logits), classes)
    assert chosen(TWO, -logits, classes) == pytest.approx(nothing, abs=1e-4)
    assert chosen(TWO, logits, classes) < nothing - 0.1


def test_surer_network_doesn_t_win_among_those_that_separate_all_scans():
    classes = torch.tensor([0, 0, 0, 1, 1])
    near, far = torch.tensor([[-1.0], [-1.1], [-0.9], [1.0], [1.1]]), torch.tensor([[-9.0], [-0.1], [-0.2], [0.2], [9]])
    assert chosen(TWO, 9 * near, classes) == pytest.approx(chosen(TWO, near, classes), rel=1e-2)
    assert chosen(TWO, near, classes) < chosen(TWO, 9 * far, classes)


def test_hardly_trained_network_is_not_made_as_sure_as_may_be():
    logits, classes = scans()
    assert chosen(TWO, logits / (1000 * LARGEST_SLOPE), classes) > chosen(TWO, logits, classes) + 0.1


def test_three_classes_have_a_temperature():
    rng = np.random.default_rng(1)
    classes = torch.tensor(np.arange(30) % 3)
    logits = torch.tensor(rng.normal(size=(30, 3)) + 0.8 * np.eye(3)[np.arange(30) % 3])
    assert chosen(THREE, 7 * logits, classes) == pytest.approx(chosen(THREE, logits, classes), abs=1e-3)
    assert float(THREE.loss(7 * logits, classes)) > float(THREE.loss(logits, classes)) + 0.1
    assert chosen(THREE, -logits, classes) == pytest.approx(float(THREE.loss(0 * logits, classes)), abs=1e-4)


@pytest.mark.parametrize("task", [TWO, THREE])
def test_fit_is_the_best_of_a_fine_grid(task):
    """No slope and intercept near the fitted ones has a smaller loss than a little, which the softened targets cost."""
    rng = np.random.default_rng(2)
    classes = torch.tensor(np.arange(200) % task.classes)
    logits = torch.tensor(rng.normal(size=(200, task.outputs)))
    logits[:, 0] += classes * (2.0 if task.outputs == 1 else 0.0)
    intercepts = np.linspace(-4, 2, 25) if task.classes == 2 else [0.0]
    losses = [float(task.loss(slope * logits + b, classes)) for slope in np.linspace(0, 6, 31) for b in intercepts]
    assert min(losses) - 5e-3 <= calibrated_loss(task, logits, classes) <= min(losses) + 5e-3


def test_scans_of_one_class_and_outputs_that_are_no_numbers_leave_the_plain_loss():
    logits, classes = scans()
    assert epoch_criterion(TWO, logits, torch.zeros_like(classes), 0.7) == 0.7
    assert np.isnan(epoch_criterion(TWO, logits * torch.nan, classes, float("nan")))
