"""Training learns, resumes to the bit, and depends on its seeds alone."""

import hashlib
import os
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from neurocohort.errors import InputError
from neurocohort.learning.augmentation import augment, draw
from neurocohort.learning.data import PackedImages, intensity_statistics
from neurocohort.learning.device import choose_device
from neurocohort.learning.inference import predict
from neurocohort.learning.model_files import read_model, write_model
from neurocohort.learning.networks import build_network
from neurocohort.learning.tasks import Task, fit_task, loss_of, predict_from
from neurocohort.learning.training import Interrupted, TrainingSettings, train

CPU = torch.device("cpu")
SHAPE = (32, 32, 32)


def toy_cohort(kind: str, count: int = 18) -> tuple[pd.DataFrame, PackedImages]:
    """Balls whose dark centre grows with the target."""
    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    targets = rng.uniform(20, 80, count) if kind == "regression" else (np.arange(count) + np.arange(count) // 6) % 2
    scale = (targets - 20) / 60 if kind == "regression" else targets
    images = np.zeros((count, *SHAPE), dtype=np.uint8)
    labels = np.zeros_like(images)
    for index, part in enumerate(scale):
        core = 0.2 + 0.4 * part
        images[index] = np.where(radius < 0.9, np.where(radius < core, 60, 180), 0)
        images[index] += np.where(radius < 0.9, rng.integers(0, 20, SHAPE), 0).astype(np.uint8)
        labels[index] = np.where(radius < core, 1, np.where(radius < 0.9, 2, 0))
    samples = pd.DataFrame(
        {
            "scan_id": [f"s{i}" for i in range(count)],
            "cohort": "toy",
            "row": range(count),
            "part": (["train"] * 4 + ["validation", "held-out"]) * (count // 6),
            "target": targets if kind != "segmentation" else "dseg",
        }
    )
    return samples, PackedImages({"toy": images[:, None]}, {"toy": labels}, {"toy": [0]})


def settings(**changes) -> TrainingSettings:
    values = {
        "modalities": ["T1w"],
        "network": "sfcn",
        "channels": [4, 8, 8, 8],
        "dropout": 0.2,
        "norm": "batch",
        "soft_bins": True,
    }
    values |= {"epochs": 3, "batch_size": 4, "learning_rate": 0.01, "patience": 0, "seed": 1, "threads": 1}
    return TrainingSettings(**(values | changes))


def weights_hash(weights: dict) -> str:
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode() + weights[name].numpy().tobytes())
    return digest.hexdigest()


def run(kind, tmp_path, chosen, name="checkpoint.pt", report=lambda line: None):
    samples, packed = toy_cohort(kind)
    return train(samples, packed, kind, chosen, device=CPU, checkpoint=tmp_path / name, report=report)


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_network_learns_what_is_there_to_learn(tmp_path, kind):
    trained = run(kind, tmp_path, settings(epochs=25, learning_rate=0.02, dropout=0.0, soft_bins=False))
    write_model(tmp_path / "model", trained, settings(dropout=0.0), CPU)
    network, task, record = read_model(tmp_path / "model", CPU)
    samples, packed = toy_cohort(kind)
    held_out = samples[samples["part"] == "held-out"].reset_index(drop=True)
    predicted = predict(network, task, record, held_out, packed, CPU)
    target = held_out["target"].to_numpy()
    if kind == "regression":
        assert np.abs(predicted - target).mean() < 0.5 * np.abs(samples["target"].mean() - target).mean()
    else:
        assert ((predicted > 0.5) == target).all()


def test_segmentation_network_finds_the_labels(tmp_path):
    trained = run(
        "segmentation", tmp_path, settings(network="unet", channels=[8, 16], epochs=8, batch_size=2, dropout=0.0)
    )
    write_model(tmp_path / "model", trained, settings(network="unet", channels=[8, 16], dropout=0.0), CPU)
    network, task, record = read_model(tmp_path / "model", CPU)
    samples, packed = toy_cohort("segmentation")
    found = predict(network, task, record, samples.tail(3), packed, CPU)
    truth = packed.stack_labels(samples.tail(3)).numpy()
    assert found.shape == truth.shape and (found == truth).mean() > 0.95


@pytest.mark.parametrize("stop_after", [1, 2, 5, 8])
def test_interrupted_training_ends_with_the_same_weights(tmp_path, stop_after):
    whole = run("regression", tmp_path, settings(), "whole.pt")
    steps = 0
    original = torch.optim.AdamW.step

    def counted(self, *arguments, **keywords):
        nonlocal steps
        steps += 1
        if steps == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *arguments, **keywords)

    torch.optim.AdamW.step = counted
    try:
        with pytest.raises(Interrupted):
            run("regression", tmp_path, settings(), "cut.pt")
    finally:
        torch.optim.AdamW.step = original
    resumed = run("regression", tmp_path, settings(), "cut.pt")
    assert weights_hash(resumed.weights) == weights_hash(whole.weights)
    assert resumed.history == whole.history


def test_same_seed_same_weights_other_seed_others(tmp_path):
    first, second, other = (
        run("classification", tmp_path, settings(seed=seed, epochs=1), f"{i}.pt") for i, seed in enumerate((1, 1, 2))
    )
    assert weights_hash(first.weights) == weights_hash(second.weights) != weights_hash(other.weights)


def test_held_out_volumes_are_never_read_in_training(tmp_path):
    samples, packed = toy_cohort("regression")
    held_out = samples.index[samples["part"] == "held-out"]
    poisoned = packed.images["toy"].copy()
    poisoned[held_out] = 255
    changed = samples.assign(target=samples["target"].where(samples["part"] != "held-out", 1e9))
    clean = train(samples, packed, "regression", settings(), device=CPU, checkpoint=tmp_path / "a.pt")
    dirty = train(
        changed,
        PackedImages({"toy": poisoned}, packed.labels, packed.channels),
        "regression",
        settings(),
        device=CPU,
        checkpoint=tmp_path / "b.pt",
    )
    assert weights_hash(clean.weights) == weights_hash(dirty.weights)


def test_best_epoch_is_chosen_on_validation_and_patience_ends_early(tmp_path):
    trained = run("regression", tmp_path, settings(epochs=40, patience=3, learning_rate=0.1))
    assert sum(entry["best"] for entry in trained.history) == 1
    assert len(trained.history) < 40


def test_flip_mirrors_left_and_right_and_labels_move_along():
    image = torch.zeros((1, *SHAPE), dtype=torch.uint8)
    image[0, 4:8, 10:20, 10:20] = 200
    still = {
        "shift": np.zeros(3),
        "angles": np.zeros(3),
        "scale": 1.0,
        "log_gamma": 0.0,
        "noise_sd": 0.0,
        "noise_seed": 0,
    }
    moved, labels = augment(image[:, None], image, [still | {"flip": True}], [0.0], [1.0])
    np.testing.assert_allclose(moved[0, 0].numpy(), image[0].flip(0).numpy(), atol=1e-2)
    assert torch.equal(labels[0], image[0].flip(0))


def test_augmentation_of_a_sample_does_not_depend_on_its_batch():
    images = (torch.rand((3, 1, *SHAPE), generator=torch.Generator().manual_seed(0)) * 255).to(torch.uint8)
    together, _ = augment(images, None, [draw(1, 2, i) for i in range(3)], [100.0], [50.0])
    alone, _ = augment(images[2:], None, [draw(1, 2, 2)], [100.0], [50.0])
    torch.testing.assert_close(together[2], alone[0])


def test_rotation_keeps_volume_on_a_grid_of_unequal_sides():
    image = torch.zeros((1, 1, 40, 48, 32), dtype=torch.uint8)
    image[0, 0, 12:28, 16:32, 8:24] = 255
    turn = {"flip": False, "shift": np.zeros(3), "angles": np.array([0.3, 0.2, 0.1]), "scale": 1.0}
    turn |= {"log_gamma": 0.0, "noise_sd": 0.0, "noise_seed": 0}
    moved, _ = augment(image, None, [turn], [0.0], [255.0])
    assert abs(float(moved.sum()) / 16**3 - 1) < 0.02


def test_soft_bins_recover_the_value_they_encode():
    task = fit_task("regression", True, np.array([20.0, 80.0]))
    centres = torch.linspace(task.low, task.high, task.outputs)
    logits = -0.5 * ((47.0 - centres) / (centres[1] - centres[0])) ** 2
    assert abs(predict_from(task, logits[None]).item() - 47.0) < 0.1
    assert loss_of(task, logits[None], torch.tensor([47.0])).item() < 1e-4


def test_class_weight_comes_from_the_training_counts():
    assert fit_task("classification", False, np.array([1.0, 0, 0, 0])).positive_weight == 3.0


def test_statistics_ignore_what_lies_outside_the_brain():
    images = torch.zeros((2, 2, 8, 8, 8), dtype=torch.uint8)
    images[:, 0, 2:6] = 100
    images[:, 0, 3] = 140
    images[:, 1, 2:6] = 60
    mean, deviation = intensity_statistics(images)
    assert mean == [110, 60], "each channel has its own"
    assert abs(deviation[0] - np.std([100, 140, 100, 100])) < 1e-9


@pytest.mark.parametrize("name", ["sfcn", "densenet121", "resnet18"])
def test_value_networks_return_one_row_a_scan(name):
    network = build_network(name, None if name != "sfcn" else [4, 8, 8], 1).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 1, 64, 64, 64)).shape == (2, 1)


@pytest.mark.parametrize(("name", "channels"), [("unet", [4, 8]), ("dynunet", [4, 8, 8]), ("segresnet", [8])])
def test_segmentation_networks_keep_the_grid(name, channels):
    network = build_network(name, channels, Task("segmentation").outputs).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 32, 32, 32)).shape == (1, 4, 32, 32, 32)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the refusal shows only where no GPU is visible")
def test_job_that_was_promised_a_gpu_fails_at_once_and_says_what_it_saw():
    with pytest.raises(InputError, match=r"CUDA_VISIBLE_DEVICES.*torch"):
        choose_device("cuda")
