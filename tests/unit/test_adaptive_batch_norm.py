"""Adaptive batch normalisation: the statistics of one batch of all scans of a site, whatever their order and number at a time."""

import copy

import numpy as np
import pytest
import torch
from neurocohort.architectures import ARCHITECTURES
from neurocohort.errors import InputError
from neurocohort.learning import adaptive_batch_norm
from neurocohort.learning.adaptive_batch_norm import BATCH_NORMS, adapted_model, adapted_predictions
from neurocohort.learning.data import Intensity, to_input
from neurocohort.learning.ensembles import average_values
from neurocohort.learning.model_files import Model
from neurocohort.learning.networks import build_network, weights_of
from neurocohort.learning.tasks import Regression
from toy_training import CPU, toy_cohort, toy_settings, weights_hash


def model(network: str = "sfcn", channels: tuple[int, ...] = (4, 8, 8), **changes) -> Model:
    torch.manual_seed(1)
    settings = toy_settings(network=network, channels=list(channels), soft_bins=False, dropout=0.0, **changes)
    built = build_network(network, list(channels), 1, norm=settings.norm).eval()
    return Model(built, Regression(False, 0.0, 1.0, 50.0, 10.0), settings, Intensity([100.0], [50.0]), CPU)


def cohort():
    samples, packed = toy_cohort("regression")
    return samples.assign(part="external", age=samples["target"], sex="F"), packed


@pytest.mark.parametrize(("name", "channels"), [("sfcn", (4, 8, 8)), ("resnet10", (8,))])
def test_each_layer_has_the_statistics_of_one_batch_of_all_scans(name, channels):
    given, (samples, packed) = model(name, channels), cohort()
    before = weights_hash(weights_of(given.network))
    adapted = adapted_model(given, samples, packed)
    assert weights_hash(weights_of(given.network)) == before
    together = copy.deepcopy(given.network).train()
    inputs = to_input(packed.stack_images(samples), given.intensity)
    with torch.no_grad():
        torch.testing.assert_close(adapted.network(inputs), together(inputs), rtol=1e-3, atol=1e-4)
        assert not torch.allclose(given.network(inputs), together(inputs), atol=1e-2)


def test_neither_order_nor_batch_size_changes_a_bit():
    samples, packed = cohort()
    hashes = set()
    for rows, size in ((samples, 4), (samples.sample(frac=1, random_state=1).reset_index(drop=True), 1)):
        adapted = adapted_model(model(batch_size=size), rows, packed)
        hashes.add(weights_hash({name: one.contiguous() for name, one in weights_of(adapted.network).items()}))
    assert len(hashes) == 1


def test_each_site_has_statistics_of_its_own_and_small_ones_have_no_rows(monkeypatch, capsys):
    samples, packed = cohort()
    found = adapted_predictions(model(), samples, packed)
    assert set(found["site"]) == {"large"} and "toy small: 3 scan(s), fewer than 8" in capsys.readouterr().out
    monkeypatch.setattr(adaptive_batch_norm, "FEWEST_SITE_SCANS", 3)
    both = adapted_predictions(model(), samples, packed)
    assert both["scan_id"].tolist() == samples["scan_id"].tolist()
    own = both[both["site"] == "large"].reset_index(drop=True)
    np.testing.assert_array_equal(own["prediction"], found["prediction"])
    held_out = samples.assign(part="held-out")
    empty = adapted_predictions(model(), held_out, packed)
    assert empty.empty and list(empty) == list(both)
    assert average_values({"seed-1": empty, "seed-2": empty}).empty


def test_labels_are_not_used_and_mirror_images_count_if_they_are_predicted():
    samples, packed = cohort()
    plain = adapted_predictions(model(), samples, packed)
    other = adapted_predictions(model(), samples.assign(target=0.0, age=0.0), packed)
    np.testing.assert_array_equal(plain["prediction"], other["prediction"])
    mirrored = adapted_predictions(model(mirror_averaging=True), samples, packed)
    assert np.isfinite(mirrored["prediction"]).all()


def test_a_network_without_batch_norm_is_refused():
    samples, packed = cohort()
    with pytest.raises(InputError, match=r"`adaptation.batch_norm` is true, and the network sfcn has no batch norm"):
        adapted_model(model(norm="group"), samples, packed)


@pytest.mark.parametrize("name", [name for name, one in ARCHITECTURES.items() if one.last_layer])
def test_the_table_of_architectures_knows_which_networks_have_batch_norm(name):
    channels = {"sfcn": [4, 8, 8], "vit": [24, 24], "swin": [12]}.get(name, [8])
    for norm in ("batch", "group") if ARCHITECTURES[name].has_norm else ("batch",):
        built = build_network(name, channels, 1, norm=norm)
        assert any(isinstance(one, BATCH_NORMS) for one in built.modules()) == ARCHITECTURES[name].batch_statistics(
            norm
        )
