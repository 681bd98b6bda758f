"""Networks, losses, deep supervision and patches around structures: each trains, resumes to the bit and is read as written."""

import numpy as np
import pandas as pd
import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss
from neurocohort.learning.batches import random_voxel_of_a_structure
from neurocohort.learning.checkpoint import Interrupted
from neurocohort.learning.data import PackedImages
from neurocohort.learning.deep_supervision import level_weights, loss_of_levels
from neurocohort.learning.inference import predict
from neurocohort.learning.loop import TrainingFiles
from neurocohort.learning.model_files import read_model, write_model
from neurocohort.learning.moving_average import add_step, moving_average
from neurocohort.learning.networks import build_network
from neurocohort.learning.settings import Synthetic, TrainingSettings
from neurocohort.learning.tasks import Segmentation, fit_task, task_from, task_values
from neurocohort.learning.training import Trained, train
from toy_training import CPU, stopped_at_step, toy_cohort, toy_settings, weights_hash

PATCH = [32, 32, 32]
CASES = {
    "dynunet, deep supervision": ("dynunet", [4, 8, 8, 8], {"deep_supervision": True}, PATCH),
    "resencunet": ("resencunet", [4, 8, 8], {}, PATCH),
    "resencunet, deep supervision": ("resencunet", [4, 8, 8, 8, 8], {"deep_supervision": True}, PATCH),
    "swinunetr": ("swinunetr", [12], {}, [32, 32, 64]),  # it halves 32 voxels to one, which it can't normalise
    "dice_focal": ("unet", [4, 8], {"loss": "dice_focal"}, PATCH),
    "around structures": ("unet", [4, 8], {"foreground_fraction": 0.5}, [16, 16, 16]),
    "painted": ("unet", [4, 8], {"synthetic": Synthetic(fraction=0.5), "epochs": 2}, [16, 16, 16]),
}
DEEP = [("dynunet", [4, 8, 8], 2), ("dynunet", [4] * 5, 3), ("resencunet", [4, 8, 8], 2), ("resencunet", [4] * 5, 3)]


def large_cohort() -> tuple[pd.DataFrame, PackedImages]:
    """Three balls of 32 x 32 x 64 voxels: two train, one validates."""
    samples, packed = toy_cohort("segmentation", count=6)
    samples = samples.iloc[[0, 1, 4]].reset_index(drop=True)

    def grown(array: np.ndarray) -> np.ndarray:
        for axis, times in ((-3, 2), (-2, 2), (-1, 4)):
            array = np.repeat(array, times, axis)
        return array

    images, labels = ({key: grown(array) for key, array in of.items()} for of in (packed.images, packed.labels))
    return samples, PackedImages(images, labels, packed.channels)


def settings_of(case: str) -> TrainingSettings:
    network, channels, options, patch = CASES[case]
    values = {"network": network, "channels": channels, "patch": patch, "epochs": 1, "batch_size": 1}
    return toy_settings("segmentation", **values | options)


def trained_once(folder, settings: TrainingSettings, name: str = "checkpoint.pt") -> Trained:
    samples, packed = large_cohort()
    return train(samples, packed, settings, CPU, TrainingFiles(folder / name), lambda line: None)


@pytest.mark.parametrize("case", CASES)
def test_each_is_resumed_with_the_same_bits_and_predicts_as_it_was_written(tmp_path, case):
    settings = settings_of(case)
    whole = trained_once(tmp_path, settings)
    with stopped_at_step(1), pytest.raises(Interrupted):
        trained_once(tmp_path, settings, "cut.pt")
    resumed = trained_once(tmp_path, settings, "cut.pt")
    assert weights_hash(resumed.weights) == weights_hash(whole.weights) and resumed.history == whole.history

    write_model(tmp_path / "model", whole, settings, CPU)
    model = read_model(tmp_path / "model", CPU)
    assert model.task == whole.task and task_from(task_values(whole.task)) == whole.task
    samples, packed = large_cohort()
    found = predict(model, samples.tail(1), packed, tmp_path / "probabilities.npy")
    assert found.shape == (1, 4, 32, 32, 64) and np.isfinite(found).all()
    np.testing.assert_allclose(np.asarray(found, dtype=np.float32).sum(axis=1) / 255, 1, atol=0.02)  # in 255 steps


def test_published_residual_encoder_has_the_size_of_nnu_nets():
    """The medium preset of nnU-Net's ResEnc has 102 million parameters with a patch that is halved five times."""
    with torch.device("meta"):
        network = build_network("resencunet", None, 4)
    assert [len(level) for level in network.encoder] == [1, 3, 4, 6, 6, 6]
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(102.4e6, rel=0.001)


@pytest.mark.parametrize(("name", "channels", "levels"), DEEP)
def test_coarser_levels_have_outputs_in_training_alone(name, channels, levels):
    network, image = build_network(name, channels, 4, deep_supervision=True), torch.randn(1, 1, 32, 32, 32)
    outputs = network(image)
    assert outputs.shape == (1, levels, 4, 32, 32, 32)
    blocks = outputs[:, 1].unfold(2, 2, 2).unfold(3, 2, 2).unfold(4, 2, 2).flatten(-3)
    assert (blocks == blocks[..., :1]).all(), "the second level has half the resolution"
    finest = outputs[:, 0].detach()
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(image), finest)  # instance norm is the same in evaluation


@pytest.mark.parametrize(("name", "channels", "levels"), DEEP)
def test_every_parameter_learns_with_deep_supervision(name, channels, levels):
    network = build_network(name, channels, 4, deep_supervision=True)
    labels = torch.randint(0, 4, (1, 32, 32, 32), dtype=torch.uint8)
    loss_of_levels(Segmentation(), network(torch.randn(1, 1, 32, 32, 32)), labels).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_levels_weigh_half_of_the_next_finer_one_and_one_in_all():
    assert level_weights(1) == [1.0]
    assert level_weights(3) == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    task, labels = Segmentation(), torch.randint(0, 4, (2, 8, 8, 8), dtype=torch.uint8)
    outputs = torch.randn(2, 3, 4, 8, 8, 8)
    expected = sum(weight * task.loss(outputs[:, level], labels) for level, weight in enumerate((4 / 7, 2 / 7, 1 / 7)))
    torch.testing.assert_close(loss_of_levels(task, outputs, labels), expected)


def test_usual_loss_is_monais_dice_and_cross_entropy():
    outputs, labels = torch.randn(2, 4, 8, 8, 8), torch.randint(0, 4, (2, 8, 8, 8), dtype=torch.uint8)
    theirs = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False)(outputs, labels[:, None])
    assert torch.equal(Segmentation().loss(outputs, labels), theirs)
    assert (
        fit_task(toy_settings("segmentation"), None)
        == Segmentation(loss_name="dice_ce")
        == task_from({"kind": "segmentation"})
    )


def test_focal_loss_is_that_of_lin_et_al_over_all_labels():
    outputs, labels = torch.randn(2, 4, 8, 8, 8), torch.randint(0, 4, (2, 8, 8, 8), dtype=torch.uint8)
    own = torch.softmax(outputs, dim=1).gather(1, labels[:, None].long())[
        :, 0
    ]  # probability of each voxel's true label
    focal = (-((1 - own) ** 2) * own.log()).mean()
    dice = DiceLoss(to_onehot_y=True, softmax=True, include_background=False)(outputs, labels[:, None])
    torch.testing.assert_close(
        fit_task(toy_settings("segmentation", loss="dice_focal"), None).loss(outputs, labels), dice + focal
    )


def test_table_of_positions_survives_the_moving_average():
    network = build_network("swinunetr", [12], 4)
    tables = {name: table.clone() for name, table in network.named_buffers() if not table.is_floating_point()}
    average = moving_average(network)
    for step in range(5):
        add_step(average, network, 0.7, step)
    assert tables and all(torch.equal(dict(average.module.named_buffers())[name], tables[name]) for name in tables)


def test_structures_are_drawn_evenly_whatever_their_size():
    labels = np.zeros((20, 21, 22), dtype=np.uint8)
    labels[2:18, 2:18, 2:18] = 3
    labels[5, 6, 7:9] = 17
    generator = np.random.default_rng(0)
    drawn = np.array([random_voxel_of_a_structure(labels, generator) for _ in range(2000)])
    structures = labels[tuple(drawn.T)]
    assert set(structures) == {3, 17} and abs((structures == 17).mean() - 0.5) < 0.04
    assert {tuple(voxel) for voxel in drawn[structures == 17]} == {(5, 6, 7), (5, 6, 8)}
    large = drawn[structures == 3]
    assert (
        np.abs(large.mean(axis=0) - 9.5).max() < 0.6
        and (large.min(axis=0) == 2).all()
        and (large.max(axis=0) == 17).all()
    )
    assert random_voxel_of_a_structure(np.zeros((3, 3, 3), dtype=np.uint8), generator) is None
