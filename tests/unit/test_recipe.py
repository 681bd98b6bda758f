"""Optional parts of a training: mixup, stochastic gradient descent, coarse epochs, mirror images, and recipes that set them."""

from math import prod

import numpy as np
import pytest
import torch
from neurocohort.errors import InputError
from neurocohort.learning.checkpoint import Interrupted
from neurocohort.learning.constants import SOFT_BINS
from neurocohort.learning.data import Intensity
from neurocohort.learning.inference import predict, read_probabilities
from neurocohort.learning.mixup import Mix, draw_mix, mixed, mixed_loss
from neurocohort.learning.model_files import Model
from neurocohort.learning.schedule import build_optimiser, schedule_at, set_schedule
from neurocohort.learning.tasks import Classification, Regression, fit_task
from neurocohort.learning.training import network_of
from neurocohort.settings.nnunet_rules import LARGEST_BATCH, PRESETS, feature_values, plan, widths
from neurocohort.settings.recipes import RECIPES, with_recipes
from neurocohort.settings.training import Network, Training
from neurocohort.study.configuration import check_configuration
from torch.nn import functional
from torch.nn.modules.module import register_module_forward_pre_hook
from toy_training import CPU, SIDE, run, stopped_at_step, toy_cohort, toy_settings, weights_hash

POSITION = (1, 4, 2, 0)


def test_a_mix_depends_on_the_position_alone_and_favours_the_scan_itself():
    first, again, later = draw_mix(8, 0.4, POSITION), draw_mix(8, 0.4, POSITION), draw_mix(8, 0.4, (1, 5, 2, 0))
    assert first.weight == again.weight and (first.partner == again.partner).all() and later.weight != first.weight
    assert sorted(first.partner) == list(range(8))
    weights = [draw_mix(8, 0.4, (1, epoch, 0, 0)).weight for epoch in range(200)]
    assert min(weights) >= 0.5 and np.mean(weights) > 0.75, "Beta(0.4, 0.4) is mostly near 0 and 1"
    assert draw_mix(8, 0.0, POSITION) is None and draw_mix(1, 0.4, POSITION) is None


def test_scans_are_averaged_with_their_partners():
    inputs = torch.rand(3, 1, 2, 2, 2)
    found = mixed(inputs, Mix(0.7, np.array([1, 2, 0])))
    torch.testing.assert_close(found[0], 0.7 * inputs[0] + 0.3 * inputs[1])
    assert mixed(inputs, None) is inputs


@pytest.mark.parametrize("kind", ["bins", "value", "two classes", "three classes"])
def test_gradient_is_that_of_the_averaged_target(kind):
    """The loss against both targets, averaged, differs from that against the averaged target by a constant."""
    torch.manual_seed(0)
    mix = Mix(0.7, np.array([1, 2, 0]))
    bins, two = Regression(True, 20.0, 90.0, 55.0, 20.0), Classification()
    value, three = Regression(False, 20.0, 90.0, 55.0, 20.0), Classification(3, class_weights=(1.0, 1.0, 1.0))
    task = {"bins": bins, "value": value, "two classes": two, "three classes": three}[kind]
    targets = torch.tensor([30.0, 60.0, 80.0]) if isinstance(task, Regression) else torch.tensor([0, 1, 0])
    outputs = torch.randn(3, task.outputs, requires_grad=True)
    gradient = torch.autograd.grad(mixed_loss(task, outputs, targets, mix), outputs)[0]
    torch.testing.assert_close(
        gradient, torch.autograd.grad(averaged_target_loss(task, outputs, targets, mix), outputs)[0]
    )


def averaged_target_loss(task, outputs, targets, mix):
    """The loss against averaged targets, written out for each task."""

    def average(values):
        return mix.weight * values + (1 - mix.weight) * values[torch.from_numpy(mix.partner)]

    if isinstance(task, Classification):
        soft = average(functional.one_hot(targets, task.classes).float())
        if task.classes == 2:
            return functional.binary_cross_entropy_with_logits(outputs[:, 0], soft[:, 1])
        return functional.cross_entropy(outputs, soft)
    if not task.soft_bins:
        return functional.mse_loss(outputs[:, 0], average((targets - task.mean) / task.scale))
    centres = torch.linspace(task.low, task.high, SOFT_BINS)
    width = (task.high - task.low) / (SOFT_BINS - 1)
    soft = average(torch.softmax(-0.5 * ((targets[:, None] - centres) / width) ** 2, dim=1))
    return functional.kl_div(torch.log_softmax(outputs, dim=1), soft, reduction="batchmean")


def test_sgd_follows_the_schedule_of_rate_and_momentum():
    settings = toy_settings(optimizer="sgd", weight_decay=0.001)
    optimiser = build_optimiser([torch.nn.Parameter(torch.zeros(1))], settings, fused=False)
    assert isinstance(optimiser, torch.optim.SGD) and optimiser.param_groups[0]["weight_decay"] == 0.001
    values = schedule_at(settings, 3, 20)
    set_schedule(optimiser, values)
    group = optimiser.param_groups[0]
    assert group["lr"] == values.rate and group["momentum"] == values.momentum


@pytest.mark.parametrize("stop_after", [2, 4])
def test_training_with_mixup_and_sgd_resumes_with_the_same_bits(tmp_path, stop_after):
    settings = toy_settings(epochs=2, mixup=0.4, optimizer="sgd")
    whole = run(tmp_path, settings, "whole.pt")
    with stopped_at_step(stop_after, torch.optim.SGD), pytest.raises(Interrupted):
        run(tmp_path, settings, "cut.pt")
    assert weights_hash(run(tmp_path, settings, "cut.pt").weights) == weights_hash(whole.weights)
    plain = run(tmp_path, toy_settings(epochs=2, optimizer="sgd"), "plain.pt")
    assert weights_hash(plain.weights) != weights_hash(whole.weights)


@pytest.mark.parametrize("task", ["regression", "classification", "segmentation"])
def test_mirrored_scan_has_the_prediction_of_the_scan(tmp_path, task):
    settings = toy_settings(task, mirror_averaging=True)
    samples, packed = toy_cohort(task)
    rows = samples[samples["pack"] == "held-out"].assign(part="held-out").reset_index(drop=True)
    packed.images["toy", "held-out"][:, :, :6] = 0  # so that left and right differ
    targets = None if task == "segmentation" else rows["target"].to_numpy(float)
    constants = fit_task(settings, targets)
    torch.manual_seed(0)
    network = network_of(settings, constants).eval()
    found = {}
    for name, mirror_averaging in (("averaged", True), ("plain", False)):
        own = settings.model_copy(update={"mirror_averaging": mirror_averaging})
        model = Model(network, constants, own, Intensity([100.0], [60.0]), CPU)
        for side in ("scan", "mirror image"):
            path = tmp_path / f"{name} {side}.npy"
            predicted = predict(model, rows, packed, path)
            found[name, side] = read_probabilities(path)[:] if task == "segmentation" else predicted
            packed.images["toy", "held-out"][:] = packed.images["toy", "held-out"][:, :, ::-1].copy()
    back = (lambda maps: maps[:, :, ::-1]) if task == "segmentation" else (lambda values: values)
    assert not np.allclose(found["plain", "scan"], back(found["plain", "mirror image"]), atol=1e-6)
    tolerance = {"atol": 1} if task == "segmentation" else {"rtol": 1e-5}
    np.testing.assert_allclose(
        found["averaged", "scan"].astype(float), back(found["averaged", "mirror image"]).astype(float), **tolerance
    )


def test_mixup_of_a_segmentation_is_refused(demo_study):
    demo_study["experiments"]["tissue"].setdefault("training", {})["mixup"] = 0.2
    with pytest.raises(InputError, match=r"`experiments.tissue.training.mixup` is 0.2, which is for regression"):
        check_configuration(demo_study, source="test")


@pytest.mark.parametrize("stop_after", [2, 5])
def test_coarse_epochs_come_first_and_are_never_kept(tmp_path, stop_after):
    settings = toy_settings(epochs=3, coarse_epochs=2)
    sides = []

    def note(module, inputs):
        if isinstance(module, torch.nn.Conv3d) and module.in_channels == 1 and module.training:
            sides.append(inputs[0].shape[-1])

    hook = register_module_forward_pre_hook(note)
    whole = run(tmp_path, settings, "whole.pt")
    hook.remove()
    assert sides == sorted(sides) and set(sides) == {SIDE // 2, SIDE}
    assert sides.count(SIDE) < sides.count(SIDE // 2)
    assert whole.best_epoch == 3
    with stopped_at_step(stop_after), pytest.raises(Interrupted):
        run(tmp_path, settings, "cut.pt")
    assert weights_hash(run(tmp_path, settings, "cut.pt").weights) == weights_hash(whole.weights)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("tissue", {"coarse_epochs": 2}, r"`experiments.tissue.training.coarse_epochs` is 2, which is for regression"),
        (
            "brain_age",
            {"coarse_epochs": 6, "epochs": 6},
            r"coarse_epochs` is 6, and .*epochs`, which includes them, is 6",
        ),
        ("brain_age", {"coarse_epochs": 1}, r"coarse_epochs` halves `preprocessing.shape`"),
    ],
)
def test_coarse_epochs_that_cannot_be_are_refused(demo_study, name, changes, message):
    demo_study["experiments"][name].setdefault("training", {}).update(changes)
    if "epochs" not in changes:
        demo_study["experiments"][name]["network"].pop("channels", None)
    with pytest.raises(InputError, match=message):
        check_configuration(demo_study, source="test")


def test_recipe_sets_what_the_experiment_does_not(demo_study):
    experiment = demo_study["experiments"]["brain_age"]
    experiment |= {"recipe": "small_cohort", "network": {"name": "sfcn", "dropout": 0.1}, "training": {"epochs": 3}}
    demo_study["preprocessing"] |= {"spacing_mm": 2.0, "shape": [80, 96, 80]}
    checked = check_configuration(demo_study, source="test")
    found, recipe = checked["experiments"]["brain_age"], RECIPES["small_cohort"]
    assert found["network"]["channels"] == recipe["network"]["channels"] and found["network"]["dropout"] == 0.1
    assert found["training"]["epochs"] == 3 and found["training"]["weight_decay"] == recipe["training"]["weight_decay"]
    assert check_configuration(checked, source="again") == checked
    experiment["network"] = {"name": "resnet18"}
    with pytest.raises(InputError, match=r"`experiments.brain_age.recipe` is small_cohort, which is for sfcn"):
        check_configuration(demo_study, source="test")
    experiment["recipe"] = "large_cohort"
    with pytest.raises(InputError, match=r"recipe"):
        check_configuration(demo_study, source="test")


@pytest.mark.parametrize(("structures", "expected"), [(0, 7), (9, 7), (95, 5)])
def test_recipe_of_nnunets_rules_counts_the_memory_of_the_cohorts_own_labels(structures, expected):
    cohort = {"labels": {f"structure_{label}": label for label in range(1, structures + 1)}}
    experiment = {"task": "segmentation", "cohorts": ["clinic"], "recipe": "nnunet_m"}
    study = {"cohorts": {"clinic": cohort}, "experiments": {"own": experiment}}
    training = with_recipes(study | {"preprocessing": {"shape": [96, 96, 80]}})["experiments"]["own"]["training"]
    assert (training["patch"], training["batch_size"]) == ([96, 96, 80], expected)


def test_recipe_of_nnunets_rules_follows_from_the_grid(demo_study):
    experiment = demo_study["experiments"]["tissue"]
    experiment |= {"recipe": "nnunet_m", "network": {"name": "resencunet"}, "training": {"epochs": 3}}
    demo_study["preprocessing"] |= {"spacing_mm": 1.0, "shape": [160, 192, 160]}
    checked = check_configuration(demo_study, source="test")
    found = checked["experiments"]["tissue"]
    assert found["network"]["channels"] == [32, 64, 128, 256, 320, 320] and found["network"]["deep_supervision"]
    assert (found["training"]["patch"], found["training"]["batch_size"]) == ([128, 128, 128], 2)
    assert (found["training"]["foreground_fraction"], found["training"]["epochs"]) == (0.33, 3)
    assert check_configuration(checked, source="again") == checked
    experiment["training"]["patch"] = [64, 64, 64]
    assert check_configuration(demo_study, source="test")["experiments"]["tissue"]["training"]["patch"] == [64, 64, 64]
    del experiment["training"]["patch"], experiment["network"]["name"]
    demo_study["preprocessing"] |= {
        "spacing_mm": 3.0,
        "shape": [57, 64, 56],
    }  # which the network can't halve as a whole
    demo_study["experiments"] = {"tissue": experiment}
    found = check_configuration(demo_study, source="test")["experiments"]["tissue"]
    assert (found["training"]["patch"], found["training"]["batch_size"]) == ([56, 64, 56], LARGEST_BATCH)
    experiment["network"] = {"name": "unet"}
    with pytest.raises(InputError, match=r"`experiments.tissue.recipe` is nnunet_m, which is for resencunet"):
        check_configuration(demo_study, source="test")


def test_feature_maps_are_counted_as_by_nnunet():
    """Its own planner states 558319104 values for a patch of 128 cubed, three labels and six levels."""
    channels = [32, 64, 128, 256, 320, 320]
    assert widths([128, 128, 128]) == channels and feature_values([128, 128, 128], channels, 3) == 558319104


@pytest.mark.parametrize("shape", [[160, 192, 160], [57, 64, 56], [28, 32, 28], [256, 512, 256], [91, 109, 91]])
@pytest.mark.parametrize("preset", PRESETS)
def test_planned_patch_fits_the_grid_the_network_and_the_memory(shape, preset):
    limit, found = PRESETS[preset], plan(shape, PRESETS[preset], 4)
    values = feature_values(found.patch, found.channels, 4)
    assert all(side <= whole for side, whole in zip(found.patch, shape, strict=True)) and values <= limit
    step = 2 ** (len(found.channels) - 1)
    assert all(side % step == 0 for side in found.patch) and 4 <= min(found.patch) // step < 8
    assert found.batch_size == 2 or found.batch_size * values <= 2.5 * limit
    larger = plan(shape, 8 * limit, 4)
    assert prod(larger.patch) >= prod(found.patch) and larger.batch_size >= 2


def test_every_recipe_holds_valid_keys():
    for values in RECIPES.values():
        Network.model_validate(values["network"]), Training.model_validate(values["training"])
