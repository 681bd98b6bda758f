"""Starting from the published SFCN of UK Biobank. Its file can't be had without a network, so these tests write one with the same
tensors and random values."""

import hashlib
import pickle
from collections import OrderedDict
from itertools import pairwise

import numpy as np
import pytest
import torch
from configurations import SOURCE, changed, experiment_with, refusal
from neurocohort.cluster.planning.study import Study
from neurocohort.errors import InputError
from neurocohort.export.bundle import licence_text
from neurocohort.learning.loop import TrainingFiles
from neurocohort.learning.networks import build_network
from neurocohort.learning.published import SHAPE, SPACING_MM, grid_fraction
from neurocohort.learning.published_weights import intensity_as_published, published_shapes, take_published_weights
from neurocohort.learning.training import train
from neurocohort.report.claims import given_weights
from neurocohort.sources.download import download
from neurocohort.sources.sources import SourceFile
from neurocohort.study.configuration import check_configuration
from neurocohort.study.members import all_experiments, starts_published, training_settings
from neurocohort.study.published import published_file, published_notes, published_path, published_stores
from torch import nn
from toy_training import CPU, toy_cohort, toy_settings

WIDTHS = [32, 64, 128, 256, 256, 64]


class PublishedNetwork(nn.Module):
    """The architecture as its repository defines it, with the names of the file; without pooling and head."""

    def __init__(self):
        super().__init__()
        self.feature_extractor = nn.Sequential()
        for level, (before, after) in enumerate(pairwise([1, *WIDTHS])):
            last = level == len(WIDTHS) - 1
            layers = [nn.Conv3d(before, after, 1 if last else 3, padding=0 if last else 1), nn.BatchNorm3d(after)]
            layers += [nn.ReLU()] if last else [nn.MaxPool3d(2, stride=2), nn.ReLU()]
            self.feature_extractor.add_module(f"conv_{level}", nn.Sequential(*layers))
        self.classifier = nn.Sequential()
        self.classifier.add_module("conv_6", nn.Conv3d(64, 40, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.feature_extractor(images)


@pytest.fixture(scope="module")
def published() -> nn.Module:
    torch.manual_seed(0)
    network = PublishedNetwork()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm3d):
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.uniform_(layer.bias, 0, 1)
            nn.init.uniform_(layer.running_mean, -1, 1)
            nn.init.uniform_(layer.running_var, 0.5, 2)
    return network.eval()


@pytest.fixture
def weights(published, tmp_path):
    path = tmp_path / "run_20190719_00_epoch_best_mae.p"
    torch.save(nn.DataParallel(published).state_dict(), path, _use_new_zipfile_serialization=False)  # as in 2019
    return path


def ours(outputs: int = 32, **options) -> nn.Module:
    return build_network("sfcn", options.pop("channels", None), outputs, **options).eval()


def test_the_expected_tensors_are_those_of_the_published_architecture(published):
    state = {f"module.{name}": tuple(tensor.shape) for name, tensor in published.state_dict().items()}
    assert published_shapes() == state


def test_features_are_those_of_the_published_network_for_the_mirrored_scan(published, weights):
    network, scan = ours(), torch.rand(1, 1, 64, 32, 32)
    head = network.classifier.weight.clone()
    line = take_published_weights(network, weights)
    with torch.no_grad():
        expected = published(scan.flip(2)).flip(2)  # its images run from right to left
        assert torch.allclose(network.features(scan), expected, rtol=1e-4, atol=1e-5) and expected.std() > 0
        assert not torch.allclose(network.features(scan), published(scan), rtol=1e-2)
    assert torch.equal(network.classifier.weight, head)
    assert "36 of 38 tensors taken; left fresh: classifier.weight, classifier.bias" in line


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda state: state.pop("module.feature_extractor.conv_2.0.bias"), ["has no module", "with the shape (128,)"]),
        (lambda state: state.update(other=torch.zeros(2)), ["has other with the shape (2,)", "has no such tensor"]),
        (
            lambda state: state.update({"module.classifier.conv_6.bias": torch.zeros(2)}),
            ["conv_6.bias with the shape (2,)", "with the shape (40,)"],
        ),
    ],
)
def test_another_network_is_refused_with_what_was_found_and_expected(published, tmp_path, change, parts):
    state = nn.DataParallel(published).state_dict()
    change(state)
    torch.save(state, tmp_path / "sex.p")
    with pytest.raises(InputError) as caught:
        take_published_weights(ours(), tmp_path / "sex.p")
    assert all(part in str(caught.value) for part in ["sex.p", *parts, "Delete it to fetch it again"]), caught.value


def test_a_file_without_the_counters_of_batches_is_read(published, tmp_path):
    state = nn.DataParallel(published).state_dict()
    old = OrderedDict((name, tensor) for name, tensor in state.items() if "num_batches" not in name)
    torch.save(old, tmp_path / "old.p")
    assert "36 of 38" in take_published_weights(ours(), tmp_path / "old.p")


class Harmful:
    def __reduce__(self):
        return (open, ("harm", "w"))


def test_a_pickle_that_could_run_something_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Harmful()}, "a.p")
    (tmp_path / "b.p").write_bytes(pickle.dumps(Harmful(), protocol=2))
    (tmp_path / "c.p").write_bytes(b"<html>")
    for name in ("a.p", "b.p", "c.p"):
        with pytest.raises(InputError, match=rf"{name} can't be read as weights alone.*weights_url"):
            take_published_weights(ours(), tmp_path / name)
    assert not (tmp_path / "harm").exists()
    with pytest.raises(InputError, match=r"d\.p is not there"):
        take_published_weights(ours(), tmp_path / "d.p")


def test_a_network_of_another_shape_is_refused(weights):
    for options in ({"channels": [32, 64, 64]}, {"inputs": 2}, {"norm": "group"}):
        with pytest.raises(InputError, match="don't fit this network"):
            take_published_weights(ours(**options), weights)


def test_an_image_is_divided_by_its_mean_over_the_published_field_of_view():
    scan = np.zeros((1, *SHAPE), dtype=np.uint8)
    scan[:, 40:120, 40:120, 40:120] = 100
    settings = toy_settings(grid_fraction=grid_fraction(SHAPE, SPACING_MM))
    intensity, _ = intensity_as_published(lambda: [scan, scan], settings)
    whole = np.zeros((182, 218, 182))
    whole[11:171, 13:205, 11:171] = scan[0]
    assert intensity.mean == [0.0] and intensity.deviation[0] == pytest.approx(whole.mean())
    half = settings.model_copy(update={"grid_fraction": grid_fraction((80, 96, 80), 2.0)})
    coarse, _ = intensity_as_published(lambda: [scan[:, ::2, ::2, ::2]], half)
    assert coarse.deviation[0] == pytest.approx(whole.mean()), "of a coarser grid too"


def test_noise_of_the_augmentation_stays_in_standard_deviations_of_the_intensities():
    levels = np.zeros((1, 4, 4, 4), dtype=np.uint8)
    levels[0, :2] = 50
    levels[0, 0] = 150  # mean 100 and deviation 50 inside, mean 50 overall
    intensity, settings = intensity_as_published(lambda: [levels], toy_settings(grid_fraction=1.0))
    assert intensity.deviation == [50.0]
    assert settings.augmentation.noise == pytest.approx(toy_settings().augmentation.noise)


def test_a_training_starts_from_the_file_and_keeps_the_scale_of_the_intensities(tmp_path, weights):
    samples, packed = toy_cohort("regression")
    for pack, images in packed.images.items():
        packed.images[pack] = np.pad(images, ((0, 0), (0, 0), *[(8, 8)] * 3))
    settings = toy_settings(
        channels=[], epochs=1, weights=str(weights), frozen_epochs=1, grid_fraction=0.5, dropout=0.0
    )
    lines: list[str] = []
    trained = train(samples, packed, settings, CPU, TrainingFiles(tmp_path / "checkpoint.pt"), lines.append)
    assert lines[0].startswith("published weights from")
    network = ours()
    take_published_weights(network, weights)
    assert torch.equal(trained.weights["features.0.weight"], network.features[0].weight), "frozen, so it is still that"
    train_rows = samples[samples["part"] == "train"]
    mean = packed.stack_arrays(train_rows).mean()
    assert trained.intensity.mean == [0.0] and trained.intensity.deviation == pytest.approx([mean * 0.5])


# --- the configuration ------------------------------------------------------------------------------------------


def starting(demo_study, **keys):
    """The demo's brain age from the published weights, with a network that has its published channels."""
    keys = {"network": {"name": "sfcn"}, "transfer": {"weights": "sfcn_ukb"}} | keys
    wide = changed(demo_study, "preprocessing.shape", [160, 192, 160])
    return experiment_with(changed(wide, "preprocessing.spacing_mm", 1.0), **keys)


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ({}, None),
        ({"network": {"name": "sfcn", "channels": WIDTHS, "dropout": 0.5}}, None),
        ({"transfer": {"weights": "sfcn_ukb", "weights_url": "file:///mnt/weights", "frozen_epochs": 2}}, None),
        ({"network": {"name": "resnet18"}}, ["an SFCN", "`resnet18`; write `sfcn`"]),
        ({"network": {"name": "sfcn", "channels": [8, 16]}}, ["[8, 16]; leave it out, or write [32, 64, 128"]),
        ({"network": {"name": "sfcn", "norm": "group"}}, ["norm` is group", "write `norm: batch`"]),
        ({"transfer": {"weights": "sfcn_ukbb"}}, ["did you mean `sfcn_ukb`?"]),
        ({"transfer": {"weights": "dementia", "weights_url": "/w"}}, ["only for `weights: sfcn_ukb`; leave it out"]),
        ({"transfer": {"weights": "sfcn_ukb", "weights_url": "ftp://a/b"}}, ["weights_url", "an address"]),
        ({"sweep": {"values": {"network.norm": ["batch", "group"]}}}, ["draw-02", "write `norm: batch`"]),
    ],
)
def test_only_the_published_network_can_start_from_them(demo_study, keys, parts):
    config = starting(demo_study, **keys)
    if parts is None:
        check_configuration(config, source=SOURCE)
        return
    message = refusal(config)
    assert all(part in message for part in parts), message


def test_scans_must_be_like_those_of_the_published_network(demo_study):
    config = starting(demo_study)
    assert "write percentile or white_matter_peak" in refusal(changed(config, "preprocessing.intensity", "zscore"))
    two = changed(config, "cohorts.ixi.modalities", ["T1w", "T2w"])
    two = changed(two, "experiments.brain_age.cohorts", ["ixi"])
    two = changed(two, "experiments.brain_age.external", [])
    message = refusal(changed(two, "experiments.brain_age.modalities", ["T1w", "T2w"]))
    assert "has T1w, T2w; write `modalities: [T1w]`" in message
    config["experiments"]["sfcn_ukb"] = config["experiments"]["dementia"]
    assert "the name of published weights and of an experiment; rename the experiment" in refusal(config)


def test_another_grid_is_noted(demo_study):
    config = check_configuration(starting(demo_study), source=SOURCE)
    assert published_notes(config) == []
    other = changed(config, "preprocessing.shape", [96, 112, 96])
    (note,) = published_notes(changed(other, "preprocessing.spacing_mm", 2.0))
    assert note.startswith("brain_age: ") and "96 x 112 x 96 voxels of 2 mm" in note
    assert published_notes(check_configuration(demo_study, source=SOURCE)) == []


def test_trainings_that_go_back_to_them_have_their_scale_and_no_others(demo_study):
    config = starting(demo_study, control="shuffled_target")
    config["experiments"]["dementia"]["transfer"] = {"weights": "brain_age"}
    found = all_experiments(check_configuration(config, source=SOURCE)["experiments"])
    names = {"brain_age", "dementia", *(f"brain_age_shuffled-target-{number}" for number in (1, 2, 3))}
    assert {name for name in found if starts_published(found, name)} == names
    assert given_weights(found) == []
    settings = training_settings(found["brain_age"], "seed-1", weights="a.p", fraction=0.5)
    assert (settings.grid_fraction, settings.weights) == (0.5, "a.p")
    assert "grid_fraction" not in training_settings(found["tissue"], "seed-1").as_dict()


def test_each_address_has_a_folder_of_its_own():
    own = {"weights": "sfcn_ukb", "weights_url": "/mnt/weights"}
    plain = {"weights": "sfcn_ukb"}
    stores = published_stores({"a": {"transfer": own}, "b": {"transfer": plain}, "c": {}, "d": {"transfer": plain}})
    assert sorted(stores.values()) == ["", "/mnt/weights"]
    assert {published_path(one).split("/")[1] for one in (own, plain)} == set(stores)


def test_the_plan_counts_the_file_of_each_address(demo_study, tmp_path):
    config = starting(demo_study, transfer={"weights": "sfcn_ukb", "weights_url": "https://example.org/w"})
    archives = Study(check_configuration(config, source=SOURCE), tmp_path).archives
    (own,) = [archive for archive in archives if archive.file == published_file()]
    assert own.remote and own.addresses == (f"https://example.org/w/{published_file().name}",)
    assert own.place.parent.name.startswith("sfcn_ukb-") and own.missing_bytes == pytest.approx(12e6)


# --- the file ---------------------------------------------------------------------------------------------------


def test_the_file_is_held_to_gits_name_of_its_content(tmp_path):
    content = b"weights"
    (tmp_path / "w.p").write_bytes(content)
    blob = hashlib.sha1(b"blob 7\0" + content, usedforsecurity=False).hexdigest()
    file = SourceFile("weights", "w.p", ("https://example.org/w.p",), git_blob=blob)
    download(file, tmp_path / "made" / "w.p", base=str(tmp_path))
    assert (tmp_path / "made" / "w.p").read_bytes() == content
    (tmp_path / "w.p").write_bytes(b"others!")
    with pytest.raises(InputError, match=rf"git_blob is [0-9a-f]{{40}}, and {blob} is expected"):
        download(file, tmp_path / "again" / "w.p", base=str(tmp_path))
    assert len(published_file().git_blob or "") == 40


def test_the_licence_of_a_bundle_names_theirs(demo_study):
    config = starting(demo_study)
    config["experiments"]["dementia"]["transfer"] = {"weights": "brain_age"}
    config = check_configuration(config, source=SOURCE)
    for name in ("brain_age", "dementia"):
        text = licence_text(name, config)
        assert "MIT, copyright (c) 2020 Han Peng" in text and "Peng H, Gong W" in text
    assert "UK Biobank" not in licence_text("tissue", config)
