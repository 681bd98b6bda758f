"""`keep: ema` keeps a moving average of the weights and batch statistics over the steps."""

import pytest
import torch
from neurocohort.learning.moving_average import add_step, moving_average
from torch import nn
from toy_training import run, toy_settings, weights_hash


def test_weights_and_batch_statistics_are_averaged_with_the_decay():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average, expected = moving_average(network), None
    for step in range(40):
        with torch.no_grad():
            network[0].weight.add_(torch.randn(2, 3))
        network.train()(torch.randn(5, 3))
        add_step(average, network, 0.8, step)
        decay = min(0.8, (1 + step) / (10 + step))
        now = {"weight": network[0].weight.detach().clone(), "mean": network[1].running_mean.clone()}
        expected = {key: decay * expected[key] + (1 - decay) * now[key] for key in now} if expected else now
    torch.testing.assert_close(average.module[0].weight.detach(), expected["weight"])
    torch.testing.assert_close(average.module[1].running_mean, expected["mean"])
    assert average.module[1].num_batches_tracked.dtype == torch.int64


def test_a_small_decay_keeps_nearly_the_last_weights_and_a_large_one_others(tmp_path):
    last = run(tmp_path, toy_settings(keep="last"), "last.pt")
    near, far = (run(tmp_path, toy_settings(keep="ema", ema_decay=decay), f"{decay}.pt") for decay in (1e-6, 0.99))
    assert near.history[-1].validation_loss == last.history[-1].validation_loss, "the training itself is the same"
    for name, tensor in last.weights.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(near.weights[name], tensor, rtol=1e-4, atol=1e-5)
    assert weights_hash(far.weights) != weights_hash(last.weights)
    assert far.best_epoch == 3 and [row.best for row in far.history] == [0, 0, 1]


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_average_is_finite_in_every_task(tmp_path, task):
    trained = run(tmp_path, toy_settings(task, keep="ema"))
    assert all(bool(torch.isfinite(tensor).all()) for tensor in trained.weights.values())
