"""Multiple-instance learning: cubes in any order, weights that add up to 1, and attention that finds what the label is about."""

import numpy as np
import pandas as pd
import pytest
import torch
from configurations import DEMO, changed, refusal
from neurocohort.architectures.modules.attention_mil import divided, with_content
from neurocohort.learning.checkpoint import Interrupted
from neurocohort.learning.data import PackedImages, to_input
from neurocohort.learning.loop import TrainingFiles
from neurocohort.learning.model_files import read_model, write_model
from neurocohort.learning.networks import build_network
from neurocohort.learning.saliency import (
    ATTENTION,
    GRAD_CAM,
    OCCLUSION,
    attention_weights,
    grad_cam_map,
    method_for,
    saliency_maps,
)
from neurocohort.learning.tasks import Classification
from neurocohort.learning.training import Trained, train
from neurocohort.settings.training import Augmentation
from neurocohort.study.configuration import load_configuration
from toy_training import CPU, stopped_at_step, toy_settings, weights_hash

SIDE, CUBE, COUNT = 32, 8, 36


def network(channels=(4, 8), **options) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_network("attention_mil", [*channels], 1, patch_size=CUBE, **options).eval()


def test_the_prediction_does_not_depend_on_the_order_of_the_cubes():
    built, image = network(), torch.randn(2, 1, 16, 16, 24)
    mirrored = image.roll(CUBE, dims=3).roll(2 * CUBE, dims=4)
    with torch.no_grad():
        assert torch.allclose(built(image), built(mirrored), atol=1e-6)
        assert not torch.allclose(built(image), built(image.roll(3, dims=3)), atol=1e-6)


def test_cubes_are_parts_of_the_volume_in_its_order():
    image = torch.arange(2 * 16 * 16 * 24).reshape(1, 2, 16, 16, 24).float()
    cubes, grid = divided(image, CUBE)
    assert cubes.shape == (1, 12, 2, 8, 8, 8) and grid == [2, 2, 3]
    assert torch.equal(cubes[0, 2 * 3 - 1], image[0, :, :8, 8:, 16:])
    with pytest.raises(ValueError, match="expected multiples of 8"):
        network()(torch.zeros(1, 1, 16, 16, 20))


def test_weights_add_up_to_one_and_cubes_without_content_have_none():
    image = torch.full((1, 1, 16, 16, 16), -1.5)
    image[..., :8, :8, 2:12] = torch.randn(8, 8, 10)
    weights = attention_weights(network(), "attention_mil", image)
    assert weights.shape == (1, 1, 2, 2, 2) and float(weights.sum()) == pytest.approx(1)
    assert (weights[0, 0, 0, 0] > 0).all() and float(weights[0, 0, 0, 0].sum()) == pytest.approx(1)
    empty = torch.zeros(1, 1, 16, 16, 16)
    assert with_content(divided(empty, CUBE)[0]).all() and torch.isfinite(network()(empty)).all()


def test_small_cubes_and_many_levels_still_have_a_voxel():
    built = build_network("attention_mil", [4, 4, 8, 8], 2, patch_size=2, inputs=2)
    assert built(torch.randn(1, 2, 4, 4, 6)).shape == (1, 2)


def lesions() -> tuple[pd.DataFrame, PackedImages, np.ndarray]:
    """Noise of which every second scan has a bright blob in one cube; and which cube, (scans,), -1 for none."""
    rng = np.random.default_rng(1)
    images = rng.integers(60, 120, (COUNT, 1, SIDE, SIDE, SIDE)).astype(np.uint8)
    cubes = np.where(np.arange(COUNT) % 2, rng.integers(0, 64, COUNT), -1)
    for image, cube in zip(images, cubes, strict=True):
        if cube >= 0:
            x, y, z = (int(place) * CUBE + 1 for place in np.unravel_index(cube, (4, 4, 4)))
            image[0, x : x + 6, y : y + 6, z : z + 6] += 90
    parts = np.where(np.arange(COUNT) < 20, "train", np.where(np.arange(COUNT) < 28, "validation", "held-out"))
    samples = pd.DataFrame({"scan_id": [f"s{number}" for number in range(COUNT)], "part": parts, "fold": 1})
    samples = samples.assign(participant_id=samples["scan_id"], cohort="toy", pack="all", row=range(COUNT))
    samples["target"] = (cubes >= 0).astype(int)
    labels = np.zeros((COUNT, SIDE, SIDE, SIDE), dtype=np.uint8)
    return samples, PackedImages({("toy", "all"): images}, {("toy", "all"): labels}, {("toy", "all"): [0]}), cubes


def trained_on_lesions(path, **changes) -> Trained:
    samples, packed, _ = lesions()
    unchanged = Augmentation(**{name: 0 for name in Augmentation.model_fields if name != "flip"})
    settings = toy_settings(
        "classification", network="attention_mil", channels=[4, 8], patch_size=CUBE, augmentation=unchanged, **changes
    )
    return train(samples, packed, settings, CPU, TrainingFiles(path), lambda line: None)


def test_attention_finds_the_cube_that_makes_the_label(tmp_path):
    trained = trained_on_lesions(tmp_path / "one.pt", epochs=12, dropout=0.0, batch_size=4)
    settings = toy_settings("classification", network="attention_mil", channels=[4, 8], patch_size=CUBE)
    write_model(tmp_path / "model", trained, settings, CPU)
    model = read_model(tmp_path / "model", CPU)
    samples, packed, cubes = lesions()
    found = []
    for scan in np.flatnonzero((samples["part"] == "held-out") & (cubes >= 0)):
        inputs = to_input(torch.from_numpy(packed.image(("toy", "all"), scan))[None], model.intensity)
        found.append(int(attention_weights(model.network, "attention_mil", inputs).flatten().argmax()) == cubes[scan])
    assert np.mean(found) >= 0.75  # by chance 1 of 64
    held_out = samples[(samples["part"] == "held-out") & (cubes >= 0)].head(1)
    mask = np.ones((SIDE,) * 3, dtype=bool)
    maps, _ = saliency_maps(model, held_out, packed, mask, 2.0, method=ATTENTION, seed=1)
    assert maps["network"].shape == (SIDE,) * 3 and maps["network"].max() == 1
    first = maps["network"][:CUBE, :CUBE, :CUBE]
    assert np.ptp(first) == 0 and np.ptp(maps["network"]) > 0  # one value in each cube


def test_a_stopped_training_ends_with_the_same_weights(tmp_path):
    whole = trained_on_lesions(tmp_path / "whole.pt", epochs=1)
    with stopped_at_step(3), pytest.raises(Interrupted):
        trained_on_lesions(tmp_path / "cut.pt", epochs=1)
    assert weights_hash(trained_on_lesions(tmp_path / "cut.pt", epochs=1).weights) == weights_hash(whole.weights)


def test_other_networks_get_grad_cam_in_place_of_attention():
    assert method_for(ATTENTION, "attention_mil") == ATTENTION and method_for(ATTENTION, "sfcn") == GRAD_CAM
    assert method_for(OCCLUSION, "attention_mil") == OCCLUSION
    found = grad_cam_map(network(), Classification(), iter([torch.randn(1, 1, 32, 32, 40)]))
    assert found.shape == (32, 32, 40) and np.isfinite(found).all()


def test_cubes_that_do_not_divide_the_grid_are_refused():
    config = changed(load_configuration([DEMO]), "experiments.dementia.network", {"name": "attention_mil"})
    assert "attention_mil divides it into patches of 16 voxels a side" in refusal(config)
