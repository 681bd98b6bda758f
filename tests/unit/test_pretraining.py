"""Pretraining: what is hidden and compared, networks that later experiments start from, and trainings that are resumed."""

import math

import numpy as np
import pytest
import torch
from neurocohort.errors import InputError
from neurocohort.learning.augmentation import AugmentationParameters
from neurocohort.learning.batches import BatchSource, TrainingBatches, evaluation_batches
from neurocohort.learning.checkpoint import Interrupted
from neurocohort.learning.data import Intensity
from neurocohort.learning.loop import TrainingFiles
from neurocohort.learning.networks import build_network, weights_of
from neurocohort.learning.pretraining import baseline_loss, encoder_weights, mean_image, pretraining_network
from neurocohort.learning.pretraining_inputs import hidden_cubes, with_crop
from neurocohort.learning.tasks import Pretraining, fit_task
from neurocohort.learning.training import train
from neurocohort.learning.transfer import stages, take_weights
from neurocohort.settings.pretraining import Pretraining as Wanted
from safetensors.torch import save_file
from toy_training import CPU, run, stopped_at_step, toy_cohort, toy_settings, weights_hash

METHODS = {"masked": Wanted(mask_voxels=4), "contrastive": Wanted(method="contrastive")}
NETWORKS = {"sfcn": [4, 8, 8], "densenet121": [], "resnet18": []}
INTENSITY = Intensity([100.0], [40.0])


def settings_of(method: str, **changes):
    return toy_settings("pretraining", **{"pretraining": METHODS[method]} | changes)


def source_of(method: str, **changes) -> tuple:
    samples, packed = toy_cohort("pretraining")
    settings = settings_of(method, **changes)
    return samples, BatchSource(packed, fit_task(settings, None), settings, INTENSITY, CPU)


def part(samples, name: str):
    return samples[samples["part"] == name].reset_index(drop=True)


def test_the_wanted_fraction_of_cubes_is_hidden_and_each_is_whole():
    hidden = hidden_cubes((24, 24, 24), 4, 0.6, np.random.default_rng(1))
    assert hidden.mean() == pytest.approx(0.6, abs=0.05)
    everything = [hidden_cubes((24, 16, 20), 4, 0.5, np.random.default_rng(seed)) for seed in range(200)]
    assert np.mean(everything, axis=0) == pytest.approx(0.5, abs=0.2)  # each voxel in about half of the draws
    changes = np.flatnonzero(np.diff(hidden.astype(int), axis=0).any(axis=(1, 2)))
    assert len(set(changes % 4)) == 1  # edges of cubes are 4 voxels apart


def test_hidden_cubes_never_hide_nothing():
    assert hidden_cubes((8, 8, 8), 8, 0.01, np.random.default_rng(0)).any()


def test_a_network_sees_none_of_the_voxels_that_it_must_reconstruct():
    samples, source = source_of("masked")
    batch = next(TrainingBatches(part(samples, "train"), source).epoch(0))
    scans, counted = batch.targets[:, :-1], batch.targets[:, -1:].bool()
    assert 0.1 < counted.float().mean() < 0.5
    assert (batch.inputs[counted] == 0).all()
    outside = scans < -2.49  # (0 - 100) / 40 is outside of the ball
    assert not (counted & outside).any()
    visible = ~counted & ~outside & (batch.inputs != 0)
    assert (batch.inputs[visible] == scans[visible]).all()


def test_hidden_voxels_may_be_noise():
    samples, source = source_of("masked", pretraining=Wanted(mask_voxels=4, mask_value="noise"))
    batch = next(TrainingBatches(part(samples, "train"), source).epoch(0))
    hidden = batch.inputs[batch.targets[:, -1:].bool()]
    assert (hidden.mean().item(), hidden.std().item()) == pytest.approx((0, 1), abs=0.1)


def test_reconstruction_error_counts_hidden_voxels_of_the_foreground_only():
    task = Pretraining()
    scan, counted = torch.zeros(2, 1, 2, 2, 2), torch.zeros(2, 1, 2, 2, 2)
    counted[:, :, 0] = 1
    outputs = torch.ones(2, 1, 2, 2, 2) * torch.tensor([1.0, 3.0])[:, None, None, None, None]
    outputs[:, :, 1] = 100
    assert task.loss(outputs, torch.cat([scan, counted], dim=1)).item() == pytest.approx((1 + 9) / 2)


def test_contrastive_loss_of_equal_views_is_chance_and_of_matched_ones_near_zero():
    task = Pretraining("contrastive", temperature=0.1)
    nothing = torch.ones(6, 2, 4)
    assert task.loss(nothing, torch.zeros(6)).item() == pytest.approx(task.chance(6), abs=1e-5)
    assert task.chance(6) == pytest.approx(math.log(11))
    matched = torch.eye(6)[:, None].expand(6, 2, 6)
    assert task.loss(matched, torch.zeros(6)).item() < 0.001


def test_views_of_a_scan_differ_and_those_of_validation_are_the_same_in_every_epoch():
    samples, source = source_of("contrastive")
    batch = next(TrainingBatches(part(samples, "train"), source).epoch(0))
    assert batch.inputs.shape[1] == 2
    assert not torch.equal(batch.inputs[:, 0], batch.inputs[:, 1])
    first, second = (next(evaluation_batches(part(samples, "validation"), source)).inputs for _ in range(2))
    assert torch.equal(first, second)


def test_half_of_the_views_are_cropped_within_the_field_of_view():
    wanted = Wanted(method="contrastive", crop=0.5, cutout=0.0)
    drawn = [with_crop(AugmentationParameters(), wanted, np.random.default_rng(seed)) for seed in range(400)]
    cropped = [one for one in drawn if one.scale != 1]
    assert 150 < len(cropped) < 250
    assert all(0.5 <= one.scale < 1 for one in cropped)
    assert all(abs(shift) <= (1 - one.scale) / 2 for one in cropped for shift in one.shift)
    assert all(one.box is None for one in drawn)


@pytest.mark.parametrize(
    ("name", "method"),
    [("sfcn", "masked"), ("sfcn", "contrastive"), ("densenet121", "masked"), ("resnet18", "contrastive")],
)
def test_later_networks_take_all_tensors_but_the_last_layer(tmp_path, name, method):
    settings = settings_of(method, network=name, channels=NETWORKS[name], dropout=0.0)
    network = pretraining_network(settings, fit_task(settings, None))
    channels = 2 if method == "contrastive" else 1
    with torch.no_grad():
        shape = network.eval()(torch.zeros(1, channels, 33, 40, 34)).shape
    assert shape == ((1, 2, 128) if method == "contrastive" else (1, 1, 33, 40, 34))
    kept = encoder_weights(weights_of(network))
    save_file(kept, tmp_path / "model.safetensors")
    later = build_network(name, NETWORKS[name], 1, inputs=1)
    line = take_weights(later, tmp_path / "model.safetensors")
    own = weights_of(later)
    fresh = sorted(set(own) - set(kept))
    assert [tensor.rpartition(".")[2] for tensor in fresh] == ["bias", "weight"]
    assert f"{len(own) - 2} of {len(own)} tensors taken" in line
    assert all(torch.equal(own[tensor], kept[tensor]) for tensor in kept)
    learned = {id(parameter) for stage in stages(network) for parameter in stage.parameters()}
    assert learned == {id(parameter) for parameter in network.parameters()}


def test_baseline_of_masked_is_the_mean_image_and_of_contrastive_chance():
    samples, source = source_of("masked")
    training, validation = part(samples, "train"), part(samples, "validation")
    scans = source.packed.stack_images(training).float()
    assert torch.allclose(mean_image(source, training), (scans.mean(dim=0) - 100) / 40, atol=1e-5)
    errors = []
    for batch in evaluation_batches(validation, source):
        wrong = (mean_image(source, training) - batch.targets[:, :1]) ** 2
        errors += [wrong[i][batch.targets[i, 1:].bool()].mean().item() for i in range(len(batch.inputs))]
    assert baseline_loss(source, training, validation) == pytest.approx(np.mean(errors), rel=1e-4)
    samples, source = source_of("contrastive", batch_size=2)  # batches of 2 and 1 scans
    chance = baseline_loss(source, part(samples, "train"), part(samples, "validation"))
    assert chance == pytest.approx(2 * math.log(3) / 3)


def test_a_part_with_one_scan_has_no_contrast(tmp_path):
    samples, packed = toy_cohort("pretraining", 6)
    with pytest.raises(InputError, match="the validation part has 1; expected at least 2"):
        train(samples, packed, settings_of("contrastive"), CPU, TrainingFiles(tmp_path / "checkpoint.pt"))


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_pretraining_ends_with_the_same_weights(tmp_path, method):
    settings = settings_of(method)
    whole = run(tmp_path / "whole", settings)
    with stopped_at_step(5), pytest.raises(Interrupted):
        run(tmp_path / "stopped", settings)
    lines: list[str] = []
    resumed = run(tmp_path / "stopped", settings, report=lines.append)
    assert lines[0].startswith("continuing from")
    assert weights_hash(resumed.weights) == weights_hash(whole.weights)
    assert resumed.history == whole.history and resumed.pretrained == whole.pretrained


@pytest.mark.parametrize("method", METHODS)
def test_workers_memory_and_an_average_change_no_more_than_they_should(tmp_path, method):
    settings = settings_of(method)
    usual = run(tmp_path / "usual", settings)
    other = run(tmp_path / "other", settings.model_copy(update={"workers": 3, "memory": "streamed"}))
    assert weights_hash(other.weights) == weights_hash(usual.weights)
    averaged = run(tmp_path / "averaged", settings.model_copy(update={"keep": "ema"}))
    assert set(averaged.weights) == set(usual.weights)
    assert not any(name.startswith(("encoder", "decoder", "projection", "classifier")) for name in usual.weights)


def test_reconstruction_improves_with_training_and_beats_the_mean_image(tmp_path):
    settings = settings_of("masked", channels=[8, 16, 32], epochs=60, dropout=0.0)
    trained = run(tmp_path, settings)
    assert trained.judgement.learned is None and len(trained.attempts) == 1
    assert trained.pretrained is not None and trained.validation_loss is not None
    assert trained.validation_loss < trained.pretrained.baseline_loss
    assert (trained.pretrained.training_scans, trained.pretrained.validation_participants) == (12, 3)


def test_views_are_recognised_better_than_by_chance_after_training(tmp_path):
    trained = run(tmp_path, settings_of("contrastive", epochs=30, dropout=0.0))
    assert trained.pretrained is not None and trained.validation_loss is not None
    assert trained.validation_loss < trained.pretrained.baseline_loss
