"""A generative model of scans: resumed to the bit, images that follow from their seed, and what is measured."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from configurations import AGE, DEMENTIA, DEMO, SOURCE, changed, refusal
from neurocohort.errors import InputError
from neurocohort.evaluation.generation import (
    COPIES,
    DISTRIBUTION,
    GENERATED,
    HELD_OUT,
    MMD,
    NEAR_COPIES,
    USE,
    Images,
    block_means,
    generation_table,
)
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.learning.checkpoint import Interrupted
from neurocohort.learning.data import open_packed, packed_folders
from neurocohort.learning.generated_images import (
    darkest_levels,
    draw_images,
    drawn_samples,
    example_images,
    write_pack,
)
from neurocohort.learning.loop import TrainingFiles
from neurocohort.learning.model_files import read_model, write_model
from neurocohort.learning.settings import TrainingSettings
from neurocohort.learning.tasks import Generation as GenerationTask
from neurocohort.learning.tasks import task_from, task_values
from neurocohort.learning.training import Trained, train
from neurocohort.settings.generation import Generation
from neurocohort.study.configuration import check_configuration, load_configuration
from neurocohort.study.generation import generator_settings, learner_settings
from neurocohort.study.members import all_experiments
from statement_generation import made, people
from toy_training import CPU, SIDE, stopped_at_step, toy_cohort, toy_settings, weights_hash

SMALL = Generation(channels=[4, 8], latent_channels=2, diffusion_channels=[8], steps=3)


def settings_of(**changes) -> TrainingSettings:
    base = toy_settings("regression", keep="ema", judged=False)
    own = {"task": "generation", "network": "latent_diffusion", "generation": SMALL, "channels": []}
    return base.model_copy(update=own | changes)


def cohort():
    samples, packed = toy_cohort("regression")
    return samples.assign(sex=["F", "M"] * (len(samples) // 2)), packed


def run(folder, settings: TrainingSettings, name: str = "one.pt") -> Trained:
    samples, packed = cohort()
    return train(samples, packed, settings, CPU, TrainingFiles(folder / name), lambda line: None)


@pytest.mark.parametrize("stop_after", [1, 4])
def test_a_stopped_training_of_a_generative_model_ends_with_the_same_weights(tmp_path, stop_after):
    whole = run(tmp_path, settings_of(), "whole.pt")
    with stopped_at_step(stop_after), pytest.raises(Interrupted):
        run(tmp_path, settings_of(), "cut.pt")
    resumed = run(tmp_path, settings_of(), "cut.pt")
    assert weights_hash(resumed.weights) == weights_hash(whole.weights)
    assert resumed.history == whole.history


def test_held_out_scans_change_nothing(tmp_path):
    samples, packed = cohort()
    one = train(samples, packed, settings_of(epochs=1), CPU, TrainingFiles(tmp_path / "a"), lambda line: None)
    packed.images["toy", "held-out"][:] = 255
    other = train(samples, packed, settings_of(epochs=1), CPU, TrainingFiles(tmp_path / "b"), lambda line: None)
    assert weights_hash(one.weights) == weights_hash(other.weights)


def test_conditions_are_the_standardised_target_and_sex():
    task = GenerationTask.fitted(np.array([40.0, 60.0]), 0.1)
    table = pd.DataFrame({"target": [60.0, 50.0, 40.0], "sex": ["M", "F", None]})
    assert task.conditions(table).tolist() == [[1, 1], [0, -1], [-1, 0]]
    assert task_from(task_values(task)) == task
    assert float(task.loss(torch.tensor([[1.0, 2.0, 3.0]]), torch.zeros(1, 2))) == pytest.approx(1 + 0.2 + 3)


def test_conditions_are_drawn_from_training_scans_only_and_from_each_equally_often():
    samples, _ = cohort()
    drawn = drawn_samples(samples, "experiments/e/generation", 24, seed=1)
    known = samples[samples["part"] == "train"]
    pairs = {(row.target, row.sex) for row in known.itertuples()}
    assert {(row.target, row.sex) for row in drawn.itertuples()} == pairs
    assert drawn.groupby("target").size().unique().tolist() == [2]
    assert drawn["part"].value_counts().to_dict() == {"train": 19, "validation": 5}
    assert drawn.equals(drawn_samples(samples, "experiments/e/generation", 24, seed=1))
    assert not drawn.equals(drawn_samples(samples, "experiments/e/generation", 24, seed=2))


def test_images_follow_from_seed_and_number_and_a_network_learns_from_their_pack(tmp_path):
    settings, (samples, packed) = settings_of(), cohort()
    write_model(tmp_path / "model", run(tmp_path, settings), settings, CPU)
    model = read_model(tmp_path / "model", CPU)
    drawn, darkest = drawn_samples(samples, "drawn", 12, seed=1), darkest_levels(packed, samples)
    shape = (SIDE, SIDE, SIDE)
    images = draw_images(model, drawn, shape, darkest, seed=1)
    assert images.shape == (12, 1, *shape) and images.dtype == np.uint8
    assert not ((images > 0) & (images < darkest[0])).any()
    assert np.array_equal(images[:3], draw_images(model, drawn.head(3), shape, darkest, seed=1))
    assert not np.array_equal(images[:3], draw_images(model, drawn.head(3), shape, darkest, seed=2))
    images[:, :, 4:12] += 20  # three epochs don't learn much: something inside
    write_pack(tmp_path / "drawn" / "packed" / "generated", images, drawn, ["T1w"])
    opened = open_packed(packed_folders(drawn, tmp_path), ["T1w"])
    learner = toy_settings("regression", epochs=1)
    assert train(drawn, opened, learner, CPU, TrainingFiles(tmp_path / "l"), lambda line: None).weights
    examples = example_images(opened, drawn)
    assert list(examples["target"]) == sorted(examples["target"]) and len(examples["images"]) == len(examples["sex"])


def rows(table: pd.DataFrame, **chosen) -> pd.Series:
    for name, value in chosen.items():
        table = table[table[name] == value]
    return table.iloc[0]


def test_copies_are_found_and_new_images_of_the_same_kind_are_not():
    copied = rows(made(copies=True), question=COPIES, model=GENERATED, metric=NEAR_COPIES)
    fresh = rows(made(), question=COPIES, model=GENERATED, metric=NEAR_COPIES)
    assert copied["value"] == 1 and copied["ci_low"] > 0.05
    assert fresh["ci_low"] <= 0.05
    assert rows(made(copies=True), question=COPIES, model=HELD_OUT, metric=NEAR_COPIES)["ci_low"] <= 0.05


def test_smooth_images_are_near_but_no_copies():
    smooth = people(40, 1)
    smooth = Images(0.3 * smooth.values + 0.7 * smooth.values.mean(axis=0), smooth.people)
    near = rows(made(generated=smooth), question=COPIES, model=GENERATED, metric=NEAR_COPIES)
    assert near["ci_low"] <= 0.05


def test_another_distribution_is_farther_than_training_scans_are():
    shifted = people(40, 1)
    shifted = Images(shifted.values + 3, shifted.people)
    far = rows(made(generated=shifted), question=DISTRIBUTION, model=GENERATED, metric=MMD)
    same = rows(made(), question=DISTRIBUTION, model=GENERATED, metric=MMD)
    assert far["difference_low"] > 0
    assert same["difference_low"] < 0 < same["difference_high"]
    assert abs(same["value"]) < far["value"]


def test_discrepancy_is_unbiased_and_equals_its_definition():
    table = made(count=6)
    nobody = pd.DataFrame(columns=["cohort", "scan_id", "participant_id"])
    groups = people(6, 1), people(6, 2), people(6, 3)
    again = generation_table((nobody, nobody), *groups, Bootstrap(50, 1))
    value = rows(table, question=DISTRIBUTION, model=GENERATED)["value"]
    assert rows(again, question=DISTRIBUTION, model=GENERATED)["value"] == value
    a, t, h = (people(6, seed).values.astype(float) for seed in (1, 2, 3))
    off = ~np.eye(6, dtype=bool)
    width = np.median(np.linalg.norm(t[:, None] - t[None], axis=2)[off])

    def kernel(x, y):
        return np.exp(-(np.linalg.norm(x[:, None] - y[None], axis=2) ** 2) / (2 * width**2))

    wanted = kernel(a, a)[off].mean() + kernel(h, h)[off].mean() - 2 * kernel(a, h).mean()
    assert value == pytest.approx(wanted, abs=2e-6)


def test_the_network_from_generated_images_is_compared_on_the_same_scans():
    worse = rows(made(error=12.0), question=USE, model=GENERATED, metric="mae")
    assert worse["difference_low"] > 0 and worse["n"] == 40
    assert USE not in set(made(count=2)["question"])


def test_blocks_are_means_of_cubes():
    images = np.arange(2 * 48**3, dtype=np.uint32).reshape(2, 1, 48, 48, 48)
    found = block_means(images)
    assert found.shape == (2, 24**3)
    assert found[0, 0] == pytest.approx(images[0, 0, :2, :2, :2].mean())


def demo(**keys: object) -> dict:
    return changed(load_configuration([DEMO]), f"{AGE}.generation", keys)


def test_the_generative_model_changes_no_other_training():
    plain = check_configuration(load_configuration([DEMO]), source=SOURCE)["experiments"]
    config = check_configuration(demo(epochs=7, images=30), source=SOURCE)["experiments"]
    own = all_experiments(config)
    assert own == all_experiments(plain)
    settings = generator_settings(own["brain_age"], config["brain_age"]["generation"])
    assert (settings.task, settings.epochs, settings.keep, settings.generation.images) == ("generation", 7, "ema", 30)
    assert not any(json.loads(settings.as_json())["augmentation"].values())
    assert learner_settings(own["brain_age"]).task == "regression"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (f"{DEMENTIA}.generation", {"epochs": 3}, "is for regression, and this experiment's task is classification"),
        ("split.test_folds", 3, "needs one held-out part, and `split.test_folds` is 3"),
        (f"{AGE}.training.cross_validation", True, "can't be combined with `experiments.brain_age.training.cross_val"),
        (f"{AGE}.auxiliary", {"sex": 0.3}, "can't be combined with `experiments.brain_age.auxiliary`"),
        (f"{AGE}.generation.channels", [6, 12], "channels"),
        (f"{AGE}.generation.diffusion_channels", [8] * 5, "halves the grid 6 times"),
    ],
)
def test_what_does_not_go_with_a_generative_model_is_refused(key, value, message):
    assert message in refusal(changed(demo(epochs=3), key, value))


def test_other_models_draw_no_images():
    model = SimpleNamespace(task=SimpleNamespace(kind="regression"), network=SimpleNamespace(eval=lambda: None))
    with pytest.raises(InputError, match="draws no images"):
        draw_images(model, pd.DataFrame(), (8, 8, 8), np.zeros(1), 1)
