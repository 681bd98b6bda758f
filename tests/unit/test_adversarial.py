"""Adversarial features: a site classifier with a reversed gradient, which leaves no trace in the finished network."""

import numpy as np
import pandas as pd
import pytest
import torch
from configurations import AGE, SOURCE, TISSUE, changed, refusal
from neurocohort.architectures import ARCHITECTURES
from neurocohort.errors import InputError
from neurocohort.learning.adversarial import (
    AdversarialNetwork,
    ramp,
    site_loss,
    site_numbers,
    sites_line,
    training_sites,
    without_classifier,
)
from neurocohort.learning.checkpoint import Interrupted
from neurocohort.learning.loop import TrainingFiles
from neurocohort.learning.mixup import Mix
from neurocohort.learning.model_files import read_model, read_run, write_model
from neurocohort.learning.networks import build_network, weights_of
from neurocohort.learning.training import train
from neurocohort.learning.transfer import stages
from neurocohort.study.configuration import check_configuration
from neurocohort.study.members import training_settings
from toy_training import CPU, run, stopped_at_step, toy_cohort, toy_settings, weights_hash


def network(name: str = "sfcn", channels: tuple[int, ...] = (4, 8, 8)) -> AdversarialNetwork:
    torch.manual_seed(1)
    return AdversarialNetwork(build_network(name, list(channels), 2), name, 3)


@pytest.mark.parametrize("options", [{}, {"mixup": 0.4, "keep": "ema"}])
def test_a_stopped_training_with_adversarial_features_is_resumed_with_the_same_bits(tmp_path, options):
    settings = toy_settings("classification", adversarial_site=0.5, **options)
    whole = run(tmp_path, settings)
    with stopped_at_step(5), pytest.raises(Interrupted):
        run(tmp_path, settings, "cut.pt")
    resumed = run(tmp_path, settings, "cut.pt")
    assert weights_hash(resumed.weights) == weights_hash(whole.weights) and resumed.history == whole.history
    assert resumed.sites == whole.sites == {"toy large": 9, "toy small": 3}


def test_auxiliary_variables_and_adversarial_features_are_learned_together(tmp_path):
    samples, packed = toy_cohort("regression")
    samples = samples.assign(auxiliary_size=2 * samples["target"] + 1)
    settings = toy_settings(adversarial_site=0.5, auxiliary={"size": 1.0}, epochs=1)
    found = train(samples, packed, settings, CPU, TrainingFiles(tmp_path / "checkpoint.pt"), lambda line: None)
    plain = run(tmp_path, toy_settings(epochs=1), "plain.pt")
    assert [head.variable for head in found.heads] == ["size"] and len(found.sites) == 2
    assert found.parameters == plain.parameters and found.weights.keys() == plain.weights.keys()


def test_the_finished_network_is_one_without_a_classifier(tmp_path):
    lines = []
    settings, plain = toy_settings(adversarial_site=1.0), toy_settings()
    found, other = run(tmp_path, settings, report=lines.append), run(tmp_path, plain, "plain.pt")
    assert lines[0] == (
        "adversarial site classifier: toy large 9, toy small 3; note: toy small with fewer than 5 training scans can hardly be "
        "learned as a site"
    )
    assert found.parameters == other.parameters and found.weights.keys() == other.weights.keys()
    assert weights_hash(found.weights) != weights_hash(other.weights) and not other.sites
    write_model(tmp_path / "model", found, settings, CPU)
    assert read_run(tmp_path / "model")["adversarial_sites"] == {"toy large": 9, "toy small": 3}
    assert read_model(tmp_path / "model", CPU).settings.adversarial_site == 1.0


@pytest.mark.parametrize("name", [name for name, one in ARCHITECTURES.items() if one.last_layer])
def test_outputs_are_those_of_the_network_itself(name):
    architecture = ARCHITECTURES[name]
    channels = {"sfcn": [4, 8, 8], "vit": [24, 24], "swin": [12]}.get(name, [8])
    options = {"patch_size": 8} if architecture.patch_size else {}
    torch.manual_seed(1)
    plain = build_network(name, channels, 2, **options).eval()
    images = torch.randn(1, 1, 64, 48, 48) if name == "swin" else torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        expected = plain(images)
        wrapped = AdversarialNetwork(plain, name, 3).eval()
        torch.testing.assert_close(wrapped(images)[:, :2], expected, rtol=0, atol=0)
    assert wrapped(images).shape == (1, 5)
    back = without_classifier(weights_of(wrapped), name)
    rebuilt = build_network(name, channels, 2, **options)
    assert back.keys() == weights_of(rebuilt).keys()
    grouped = [parameter for stage in stages(wrapped) for parameter in stage.parameters()]
    assert {id(one) for one in grouped} == {id(one) for one in wrapped.parameters()}


def test_the_gradient_of_the_classifier_reaches_the_network_reversed():
    wrapped, images = network(), torch.randn(4, 1, 16, 16, 16)
    sites = torch.tensor([0, 1, 2, 0])
    gradients = {}
    for weight in (0.0, 0.5, -1.0):  # a strength of -1 is the plain gradient
        wrapped.zero_grad()
        wrapped.strength.fill_(weight)
        site_loss(wrapped(images)[:, 2:], sites, None).backward()
        gradients[weight] = wrapped.network.features[0].weight.grad.clone()
        assert wrapped.site_classifier[0].weight.grad.abs().sum() > 0
    assert gradients[0.0].abs().max() == 0 and gradients[-1.0].abs().max() > 0
    torch.testing.assert_close(gradients[0.5], -0.5 * gradients[-1.0])


def test_the_weight_rises_from_0_as_published():
    assert ramp(0.0) == 0 and ramp(0.1) == pytest.approx(0.4621, abs=1e-4) and ramp(1.0) == pytest.approx(1, abs=1e-4)
    wrapped = network()
    wrapped.set_strength(0.3, 0.1)
    assert wrapped.strength.item() == pytest.approx(0.3 * 0.4621, abs=1e-4)
    assert "strength" not in weights_of(wrapped)  # it follows from the step


def test_sites_are_hidden_in_adversarial_features_and_found_in_others():
    """Two sites of different brightness, no target: with the reversed gradient the classifier ends near chance."""
    accuracy = {}
    for weight in (0.0, 1.0):
        wrapped = network()
        optimiser = torch.optim.Adam(wrapped.parameters(), 0.01)
        generator, sites = torch.Generator().manual_seed(1), torch.arange(16) % 2
        for step in range(60):
            images = torch.randn(16, 1, 8, 8, 8, generator=generator) + 0.5 * sites[:, None, None, None, None]
            wrapped.set_strength(weight, step / 60)
            optimiser.zero_grad()
            loss = site_loss(wrapped(images)[:, 2:], sites, None)
            if weight == 0:  # then the network itself helps the classifier
                wrapped.strength.fill_(-1.0)
                loss = site_loss(wrapped(images)[:, 2:], sites, None)
            loss.backward()
            optimiser.step()
        accuracy[weight] = loss.item()
    assert accuracy[0.0] < 0.1 < 0.5 < accuracy[1.0]


def test_mixup_mixes_the_sites_too():
    outputs, sites = torch.randn(3, 2), torch.tensor([0, 1, 1])
    mix = Mix(0.75, np.array([2, 0, 1]))
    expected = 0.75 * site_loss(outputs, sites, None) + 0.25 * site_loss(outputs, sites[[2, 0, 1]], None)
    torch.testing.assert_close(site_loss(outputs, sites, mix), expected)


def test_sites_are_those_of_the_training_scans_and_their_cohorts():
    table = pd.DataFrame({"cohort": ["a", "a", "b", "b"], "site": ["x", "y", None, None]})
    settings = toy_settings(adversarial_site=0.1)
    sites = training_sites(settings, table)
    assert sites == {"a x": 1, "a y": 1, "b": 2} and training_sites(toy_settings(), table) == {}
    assert site_numbers(tuple(sites), table).tolist() == [0, 1, 2, 2]
    assert "note" not in sites_line({"a": 5, "b": 9})
    with pytest.raises(InputError, match=r"all 2 training scans are from one site \(b\); expected scans of two sites"):
        training_sites(settings, table.tail(2))


def test_adversarial_features_are_for_values(demo_study):
    checked = check_configuration(changed(demo_study, f"{AGE}.training.adversarial_site", 0.1), source=SOURCE)
    assert training_settings(checked["experiments"]["brain_age"], "seed-1").adversarial_site == 0.1
    message = refusal(changed(demo_study, f"{TISSUE}.training.adversarial_site", 0.1))
    assert "which is for regression and classification, and this experiment's task is segmentation" in message
