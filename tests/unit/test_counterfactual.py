"""Held-out scans with a changed target: what the images follow from, which directions are left out, and what is measured."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from configurations import AGE, DEMO, SOURCE, changed, refusal
from neurocohort.errors import InputError
from neurocohort.evaluation.counterfactual import (
    BRAIN,
    CHANGED,
    DIRECTION,
    IDENTIFIED,
    IMAGE_CHANGE,
    LEFT_OUT,
    MEAN_IMAGE,
    PER_UNIT,
    PREDICTION,
    RANDOM_MODELS,
    RANDOM_NETWORKS,
    REACHED,
    RECONSTRUCTION,
    STEADINESS,
    TOO_FEW,
    TRAINED,
    VOXEL_ERROR,
    Asked,
    Pairs,
    counterfactual_table,
    identified,
)
from neurocohort.evaluation.generation import Images
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.learning.counterfactual_images import (
    changed_images,
    noise_levels,
    random_diffusion,
    scans_to_change,
)
from neurocohort.learning.generated_images import darkest_levels
from neurocohort.learning.loop import TrainingFiles
from neurocohort.learning.model_files import read_model, write_model
from neurocohort.learning.regions import random_network
from neurocohort.learning.training import train
from neurocohort.settings.generation import Counterfactual
from neurocohort.study.configuration import check_configuration, load_configuration
from neurocohort.study.counterfactual import CounterfactualTest, directions
from neurocohort.study.generation import generator_settings, without_counterfactual
from neurocohort.study.members import all_experiments
from statement_counterfactual import made, pairs, scans
from test_generation import cohort, settings_of
from toy_training import CPU, toy_settings

STRENGTH = 0.5


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A generative model of three epochs, a network of one, and what they learned from."""
    folder, (samples, packed) = tmp_path_factory.mktemp("models"), cohort()
    for name, settings in (("model", settings_of()), ("network", toy_settings("regression", epochs=1))):
        found = train(samples, packed, settings, CPU, TrainingFiles(folder / f"{name}.pt"), lambda line: None)
        write_model(folder / name, found, settings, CPU)
    models = (read_model(folder / name, CPU) for name in ("model", "network"))
    generator, network = models
    return SimpleNamespace(samples=samples, packed=packed, generator=generator, network=network)


def images_of(trained, targets, generator=None) -> np.ndarray:
    scan = scans_to_change(trained.samples, 1, seed=1).iloc[0]
    image = next(trained.packed.each_image(scan.to_frame().T))
    darkest = darkest_levels(trained.packed, trained.samples)
    return changed_images(generator or trained.generator, image, scan, targets, STRENGTH, darkest)


def own_target(trained) -> float:
    return float(scans_to_change(trained.samples, 1, seed=1)["target"].iloc[0])


def test_the_own_target_gives_the_reconstruction_and_another_one_does_not(trained):
    own = own_target(trained)
    found = images_of(trained, [own, own, own + 20])
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    assert found.dtype == np.float32 and found.min() >= 0 and found.max() <= 255


def test_nothing_is_random_in_a_changed_image(trained):
    own = own_target(trained)
    torch.manual_seed(1)
    once = images_of(trained, [own, own - 10])
    torch.manual_seed(2)
    assert np.array_equal(once, images_of(trained, [own, own - 10]))


def test_without_a_change_the_way_back_ends_where_it_began(trained):
    """A network that predicts the same noise at each step: the steps back undo those into the noise exactly."""
    model, own = trained.generator, own_target(trained)
    network = model.network
    constant = torch.nn.Module()
    constant.forward = lambda latents, timesteps, context: torch.full_like(latents, 0.3)
    original, network.diffusion = network.diffusion, constant
    try:
        found = images_of(trained, [own])
        scan = scans_to_change(trained.samples, 1, seed=1)
        image = torch.from_numpy(trained.packed.stack_arrays(scan)).float()
        mean, deviation = model.intensity.mean[0], model.intensity.deviation[0]
        with torch.inference_mode():
            back = network.decoded(network.encoded((image - mean) / deviation)) * deviation + mean
    finally:
        network.diffusion = original
    inside = found[0] > 0
    assert inside.any()
    assert np.abs(found[0] - back[0].numpy())[inside].max() < 0.05


def test_random_weights_keep_the_autoencoder_and_let_the_conditions_change_the_image(trained):
    own, first, other = (
        own_target(trained),
        random_diffusion(trained.generator, 1),
        random_diffusion(trained.generator, 2),
    )
    kept = trained.generator.network.autoencoder.state_dict()
    assert all(torch.equal(value, first.network.autoencoder.state_dict()[name]) for name, value in kept.items())
    asked = [own, own + 60]
    found = images_of(trained, asked, first)
    assert not np.array_equal(found[0], found[1]), "its last layer is 0 in MONAI, with which nothing changes"
    assert np.array_equal(found, images_of(trained, asked, random_diffusion(trained.generator, 1)))
    assert not np.array_equal(found, images_of(trained, asked, other))


@pytest.mark.parametrize(
    ("steps", "strength", "levels"),
    [(50, 0.1, [0, 20, 40, 60, 80, 100]), (2, 0.5, [0, 500]), (2, 1.0, [0, 500]), (4, 0.001, [0, 250])],
)
def test_the_strength_is_the_fraction_of_the_noise_levels(steps, strength, levels):
    assert noise_levels(steps, strength) == levels


def test_scans_of_different_held_out_people_follow_from_the_seed(trained):
    twice = pd.concat([trained.samples, trained.samples.assign(scan_id=lambda t: t["scan_id"] + "b")])
    found = scans_to_change(twice, 100, seed=1)
    assert set(found["part"]) == {"held-out"} and found["participant_id"].is_unique and len(found) == 3
    assert found.equals(scans_to_change(twice, 100, seed=1))
    assert len(scans_to_change(twice, 2, seed=1)) == 2
    with pytest.raises(InputError, match="no held-out scan to change"):
        scans_to_change(twice[twice["part"] != "held-out"], 2, seed=1)


def test_a_direction_outside_the_range_of_the_training_targets_is_left_out_and_counted():
    table = pd.DataFrame({"target": [25.0, 50.0, 78.0]})
    found = directions(table, np.array([20.0, 50.0, 80.0]), 10.0)
    assert found.scan.tolist() == [0, 1, 1, 2]
    assert found.asked.tolist() == [10.0, -10.0, 10.0, -10.0]
    assert (found.about.change, found.about.left_out) == (10.0, 2)
    by_spread = directions(table, np.array([20.0, 50.0, 80.0]), None)
    assert by_spread.about.change == pytest.approx(np.std([20, 50, 80]))


def test_scans_are_changed_and_measured(trained):
    test = CounterfactualTest(
        trained.samples,
        trained.packed,
        trained.generator,
        trained.network,
        Counterfactual(change=5.0, random_networks=2),
        seed=1,
    )
    found = test.run()
    count = len(found.pairs.asked)
    assert 0 < count == 6 - found.asked.left_out and len(found.scans.people) == 3
    assert found.pairs.of_random_networks.shape == found.pairs.of_random_models.shape == (2, count)
    assert (found.pairs.voxels > 0).all() and (found.scans.error > 0).all()
    assert found.examples["differences"].shape == (2, 16, 16, 16)
    again = test.run()
    assert np.array_equal(again.pairs.predicted, found.pairs.predicted)
    assert np.array_equal(again.pairs.random_voxels, found.pairs.random_voxels)
    table = counterfactual_table(found.pairs, found.scans, found.asked, Bootstrap(50, 1))
    assert row(table, VOXEL_ERROR, RECONSTRUCTION)["n"] == 3


def test_no_direction_inside_the_range_is_no_result_and_no_crash(trained):
    options = Counterfactual(change=1000.0, random_networks=2)
    found = CounterfactualTest(
        trained.samples, trained.packed, trained.generator, trained.network, options, seed=1
    ).run()
    table = counterfactual_table(found.pairs, found.scans, found.asked, Bootstrap(50, 1))
    assert PREDICTION not in set(table["question"])
    assert row(table, LEFT_OUT, TRAINED)["value"] == 6
    assert set(table.loc[table["question"] == "asked", "note"]) == {TOO_FEW}


def row(table: pd.DataFrame, metric: str, model: str) -> pd.Series:
    return table[(table["metric"] == metric) & (table["model"] == model)].iloc[0]


def test_slope_direction_and_steadiness_of_changes_whose_truth_is_known():
    table = made(slope=0.5, noise=0.0)
    assert row(table, PER_UNIT, TRAINED)["value"] == pytest.approx(0.5)
    assert row(table, DIRECTION, TRAINED)[["value", "interval", "n"]].tolist() == [1.0, "wilson", 20]
    assert row(table, STEADINESS, TRAINED)["value"] == pytest.approx(1)
    against = made(slope=-0.5, noise=0.0)
    assert row(against, DIRECTION, TRAINED)["value"] == 0
    assert row(against, STEADINESS, TRAINED)["value"] == pytest.approx(-1)
    nothing = made(slope=0.0, noise=0.0)
    assert row(nothing, DIRECTION, TRAINED)["value"] == row(nothing, STEADINESS, TRAINED)["value"] == 0


def test_predictions_that_move_the_same_way_in_both_directions_are_not_steady():
    own = pairs(noise=0.0)
    same = Pairs(**{**vars(own), "predicted": np.full(len(own.asked), 7.0)})
    table = counterfactual_table(same, scans(), Asked(10.0, 0), Bootstrap(50, 1))
    assert row(table, STEADINESS, TRAINED)["value"] == 0
    assert row(table, DIRECTION, TRAINED)["value"] == 0.5


def test_random_networks_are_compared_without_their_sign():
    steady = made(noise=0.0, random_noise=0.0)
    random = row(steady, STEADINESS, RANDOM_NETWORKS)
    assert random["value"] == pytest.approx(1) and random["difference"] == pytest.approx(0)
    assert row(steady, DIRECTION, RANDOM_NETWORKS)["value"] == 0.5, "two of the four move against what is asked"
    reached = row(steady, REACHED, RANDOM_NETWORKS)
    assert reached[["value", "n"]].tolist() == [0.5, 4], "the other two move as asked each time, like the trained one"
    loose = row(made(noise=0.0, random_noise=20.0), STEADINESS, RANDOM_NETWORKS)
    assert loose["value"] < 0.5 and loose["difference_low"] > 0


def test_images_and_reconstructions_are_compared_with_random_weights_and_an_average_brain():
    table = made()
    images = row(table, IMAGE_CHANGE, RANDOM_MODELS)
    assert images["value"] == pytest.approx(1, abs=0.1) and images["difference"] == pytest.approx(2, abs=0.1)
    assert images["difference_low"] > 1.5
    assert row(table, VOXEL_ERROR, RECONSTRUCTION)["difference"] == pytest.approx(-5, abs=0.1)
    assert row(table, VOXEL_ERROR, MEAN_IMAGE)["value"] == pytest.approx(10, abs=0.1)
    assert row(table, IDENTIFIED, RECONSTRUCTION)["value"] == 1
    assert row(table, IDENTIFIED, CHANGED)["value"] == 0.75
    assert row(table, IDENTIFIED, CHANGED)["question"] == BRAIN


def test_the_nearest_scan_decides_whose_image_it_is():
    known = Images(np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]), np.array(["a", "b", "a"]))
    images = Images(np.array([[1.0, 1.0], [8.0, 1.0], [1.0, 8.0]]), np.array(["a", "a", "a"]))
    assert identified(images, known).tolist() == [True, False, True]


def test_changing_scans_changes_no_training():
    plain = changed(load_configuration([DEMO]), f"{AGE}.generation", {"epochs": 7})
    with_it = changed(plain, f"{AGE}.generation.counterfactual", {"change": 20})
    found = [check_configuration(one, source=SOURCE)["experiments"] for one in (plain, with_it)]
    experiments = [all_experiments(one)["brain_age"] for one in found]
    wanted = [one["brain_age"]["generation"] for one in found]
    assert wanted[1]["counterfactual"] == {"change": 20, "strength": 0.5, "scans": 24, "random_networks": 5}
    first, second = (generator_settings(one, own) for one, own in zip(experiments, wanted, strict=True))
    assert first.as_json() == second.as_json()
    assert json.dumps(without_counterfactual(wanted[1])) == json.dumps(wanted[0])


@pytest.mark.parametrize(("key", "value"), [("change", 0), ("strength", 1.5), ("scans", 0), ("random_networks", 1)])
def test_wrong_settings_are_refused_by_their_key(key, value):
    config = changed(load_configuration([DEMO]), f"{AGE}.generation", {"epochs": 7, "counterfactual": {key: value}})
    assert f"experiments.brain_age.generation.counterfactual.{key}" in refusal(config)


def test_other_models_change_no_scans(trained):
    with pytest.raises(InputError, match="changes no scans"):
        images_of(trained, [50.0], random_network(trained.network, 1))
