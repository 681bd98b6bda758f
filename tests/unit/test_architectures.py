"""The networks for values: what each has to know is in one file, and the transformers behave like the other networks."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from configurations import AGE, SOURCE, changed, experiment_with, refusal
from neurocohort import architectures
from neurocohort.architectures import ARCHITECTURES
from neurocohort.cluster.planning.networks import gflops, weights_bytes
from neurocohort.errors import InputError
from neurocohort.learning.checkpoint import Interrupted
from neurocohort.learning.data import PackedImages
from neurocohort.learning.inference import predict
from neurocohort.learning.loop import TrainingFiles
from neurocohort.learning.model_files import read_model, write_model
from neurocohort.learning.networks import build_network
from neurocohort.learning.saliency import _deep_layer, _WithEvidence, grad_cam_map
from neurocohort.learning.tasks import Regression
from neurocohort.learning.training import train
from neurocohort.learning.transfer import take_weights
from neurocohort.report.methods_numbers import network_phrase
from neurocohort.study.configuration import check_configuration, read_checked
from safetensors.torch import save_file
from toy_training import CPU, stopped_at_step, toy_cohort, toy_settings, weights_hash

ROOT = Path(__file__).resolve().parents[2]
TOY = """
from neurocohort.architectures.densenet import stages
from neurocohort.architectures.facts import VALUE_TASKS, Architecture, volumes

ARCHITECTURES = {
    "toynet": Architecture(
        VALUE_TASKS,
        "monai.networks.nets.DenseNet",
        lambda shape: volumes(shape) | {"init_features": 8, "growth_rate": 4, "block_config": (1, 1, 1, 1)},
        stages,
        "a toy network [@huang2017]",
        last_layer="class_layers.out",
        halvings=5,
    )
}
"""
USE = """
import json, sys
from pathlib import Path
import yaml
from neurocohort.cluster.planning.networks import gflops
from neurocohort.export.bundle import network_definition
from neurocohort.learning.features import predict_with_features
from neurocohort.learning.model_files import read_model, write_model
from neurocohort.learning.transfer import stages
from neurocohort.report.methods_numbers import network_phrase
from neurocohort.study.configuration import check_configuration, read_checked
from test_architectures import CPU, grown_cohort, toy_settings, trained_once

folder = Path(sys.argv[1])
config = yaml.safe_load(Path(sys.argv[2]).read_text())
config["experiments"]["brain_age"]["network"] = {"name": "toynet"}
config["preprocessing"]["shape"] = [64, 64, 64]
settings = toy_settings(network="toynet", channels=[], epochs=1, soft_bins=False)
trained = trained_once(folder, settings)
write_model(folder / "model", trained, settings, CPU)
model = read_model(folder / "model", CPU)
values, features = predict_with_features(model, *grown_cohort())
print(json.dumps({
    "checked": check_configuration(config, source="t")["experiments"]["brain_age"]["network"]["name"],
    "epochs": len(trained.history), "values": len(values), "features": features.shape[1], "stages": len(stages(model.network)),
    "gflops": gflops(settings.as_dict(), [32, 32, 32]), "phrase": network_phrase("toynet"),
}))
"""
TRANSFORMERS = {
    "vit": {"channels": [24, 24], "patch_size": 8},
    "vit, soft bins": {"channels": [24, 24], "patch_size": 4, "soft_bins": True},
    "swin": {"channels": [12]},
}


def grown_cohort():
    """Three balls of 32 x 32 x 64 voxels: two train, one validates."""
    samples, packed = toy_cohort("regression", count=6)
    images = {key: array.repeat(2, 2).repeat(2, 3).repeat(4, 4) for key, array in packed.images.items()}
    return samples.iloc[[0, 1, 4]].reset_index(drop=True), PackedImages(images, packed.labels, packed.channels)


def trained_once(folder, settings, name="checkpoint.pt"):
    return train(*grown_cohort(), settings, CPU, TrainingFiles(folder / name), lambda line: None)


def settings_of(case):
    return toy_settings(
        network=case.split(",")[0], **{"soft_bins": False, "epochs": 1, "batch_size": 1} | TRANSFORMERS[case]
    )


def test_one_file_adds_a_network(tmp_path):
    """In a copy of the package, since the names of a running one are fixed."""
    shutil.copytree(
        ROOT / "workflow/neurocohort", tmp_path / "neurocohort", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "neurocohort/architectures/toynet.py").write_text(TOY)
    (tmp_path / "use.py").write_text(USE)
    arguments = [sys.executable, tmp_path / "use.py", tmp_path, ROOT / "config/config.yaml"]
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT / 'tests/unit'}"}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("gflops") > 0
    expected = {"checked": "toynet", "epochs": 1, "values": 3, "stages": 6, "phrase": "a toy network [@huang2017]"}
    assert found.pop("features") > 1 and found == expected


def test_the_study_of_networks_has_one_of_each_family():
    experiments = read_checked([ROOT / "tests/studies/networks.yaml"])["experiments"]
    names = {one["network"]["name"] for one in experiments.values()}
    assert names == {"sfcn", "densenet121", "resnet10", "resnet18", "vit", "swin"}


def test_a_name_that_two_files_have_is_refused(tmp_path, monkeypatch):
    (tmp_path / "second.py").write_text(TOY.replace("toynet", "sfcn"))
    monkeypatch.setattr(architectures, "__path__", [*architectures.__path__, str(tmp_path)])
    with pytest.raises(ValueError, match=r"has sfcn, as another module has; rename it"):
        architectures.found_architectures()


def test_every_network_is_documented_and_cited():
    references = (ROOT / "workflow/neurocohort/report/references.bib").read_text()
    pages = (ROOT / "docs/networks.md").read_text() + (ROOT / "docs/segmentation.md").read_text()
    for name, one in ARCHITECTURES.items():
        assert all(f"{{{key}," in references for key in re.findall(r"@(\w+)", network_phrase(name))), name
        assert f"| `{name}` |" in pages, f"{name} has no row in docs/networks.md or docs/segmentation.md"
        assert bool(one.last_layer) == (one.tasks == architectures.VALUE_TASKS)


@pytest.mark.parametrize("case", TRANSFORMERS)
def test_a_transformer_is_resumed_with_the_same_bits_and_predicts_as_it_was_written(tmp_path, case):
    settings = settings_of(case)
    whole = trained_once(tmp_path, settings)
    with stopped_at_step(1), pytest.raises(Interrupted):
        trained_once(tmp_path, settings, "cut.pt")
    resumed = trained_once(tmp_path, settings, "cut.pt")
    assert weights_hash(resumed.weights) == weights_hash(whole.weights) and resumed.history == whole.history
    assert whole.task.soft_bins == settings.soft_bins
    write_model(tmp_path / "model", whole, settings, CPU)
    values = predict(read_model(tmp_path / "model", CPU), *grown_cohort())
    assert values.shape == (3,) and np.isfinite(values).all() and len(set(values.tolist())) == 3


@pytest.mark.parametrize("case", TRANSFORMERS)
def test_every_parameter_of_a_transformer_learns(case):
    options = {"patch_size": TRANSFORMERS[case].get("patch_size")}
    network = build_network(case.split(",")[0], TRANSFORMERS[case]["channels"], 2, **options)
    network(torch.randn(2, 1, 40, 32, 48)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


def test_a_vision_transformer_knows_where_a_patch_is():
    torch.manual_seed(0)
    network = build_network("vit", [24, 24], 1, patch_size=8).eval()
    image = torch.zeros(1, 1, 32, 32, 32)
    image[..., :8, :8, :8] = 1
    with torch.no_grad():
        moved = [network(image.roll(8, dims=axis)) for axis in (2, 3, 4)]
        assert len({round(value.item(), 6) for value in (network(image), *moved)}) == 4
        with pytest.raises(ValueError, match=r"\(32, 30, 32\) voxels; expected multiples of 8"):
            network(image[..., :30, :])


def test_published_sizes_of_the_transformers():
    """ViT-S has 12 blocks of 384 channels, 21.3 million parameters besides its embedding and head; Swin UNETR's encoder 8.1."""
    settings = {"task": "regression", "classes": 2, "modalities": ["T1w"], "channels": [], "soft_bins": False}
    embedding_and_head = 384 * (16**3 + 1) + 385
    blocks = 12 * (12 * 384**2 + 13 * 384) + 2 * 384
    vit = weights_bytes(settings | {"network": "vit"}) / 4
    assert vit == blocks + embedding_and_head
    assert weights_bytes(settings | {"network": "swin"}) / 4 == pytest.approx(8.06e6, rel=0.01)
    assert gflops(settings | {"network": "vit"}, [64, 64, 64]) > 2e-9 * 64 * blocks * 0.9


def test_grad_cam_has_the_deepest_features_that_are_large_enough():
    value = Regression(False, 20.0, 80.0, 50.0, 10.0)
    for name, channels, options, layer in (
        ("vit", [24, 24], {"patch_size": 8}, "network.volume"),
        ("swin", [12], {}, "network.levels.2"),  # 32 / 8 voxels
    ):
        torch.manual_seed(0)
        network, inputs = build_network(name, channels, 1, **options).eval(), torch.randn(1, 1, 32, 32, 40)
        assert _deep_layer(_WithEvidence(network, value), inputs) == layer
        found = grad_cam_map(network, value, iter([inputs]))
        assert found.shape == (32, 32, 40) and np.isfinite(found).all() and found.max() > 0


def test_an_encoder_starts_from_the_weights_of_swin_unetr(tmp_path):
    whole, encoder = build_network("swinunetr", [12], 4), build_network("swin", [12], 1)
    save_file(
        {name: tensor.contiguous() for name, tensor in whole.state_dict().items()}, tmp_path / "model.safetensors"
    )
    line = take_weights(encoder, tmp_path / "model.safetensors")
    assert "left fresh: classifier.weight (not there), classifier.bias (not there)" in line
    assert torch.equal(whole.swinViT.patch_embed.proj.weight, encoder.swinViT.patch_embed.proj.weight)


@pytest.mark.parametrize(
    ("network", "shape", "parts"),
    [
        ({"name": "vit"}, [96, 112, 96], None),
        (
            {"name": "vit"},
            [44, 50, 44],
            ["[44, 50, 44]", "patches of 16 voxels", "multiples of 16, such as [48, 64, 48]."],
        ),
        ({"name": "vit"}, [40, 48, 40], ["such as [48, 48, 48]", "or a `patch_size` of 4, 8"]),
        ({"name": "vit", "patch_size": 8}, [40, 48, 40], None),
        ({"name": "vit", "channels": [48, 48, 48]}, [48, 48, 48], None),
        (
            {"name": "vit", "channels": [48, 72]},
            [48, 48, 48],
            ["[48, 72]; vit has the same number in all of its levels"],
        ),
        ({"name": "vit", "channels": [50, 50]}, [48, 48, 48], ["vit expects a multiple of 24"]),
        ({"name": "vit", "channels": [48]}, [48, 48, 48], ["has 1 value; vit expects 2 to 24"]),
        (
            {"name": "sfcn", "patch_size": 8},
            [96, 96, 96],
            ["patch_size` is 8, and sfcn has no patches", "or use attention_mil, vit"],
        ),
        ({"name": "swin"}, [44, 50, 44], None),
        ({"name": "swin"}, [32, 32, 32], ["halves it 5 times", "to a single voxel"]),
        ({"name": "swin", "channels": [20]}, [44, 50, 44], ["swin expects a multiple of 12"]),
        ({"name": "resnet50", "channels": [16]}, [44, 50, 44], None),
        ({"name": "densenet201", "channels": [7]}, [44, 70, 44], ["densenet201 expects a multiple of 2"]),
        ({"name": "vit", "norm": "group"}, [48, 48, 48], ["network.norm` is group, and vit has a fixed norm"]),
    ],
)
def test_networks_are_checked_with_the_grid(demo_study, network, shape, parts):
    config = changed(experiment_with(demo_study, network=network), "preprocessing.shape", shape)
    config["preprocessing"]["spacing_mm"] = 5.0
    config["experiments"] = {"brain_age": config["experiments"]["brain_age"]}
    if parts is None:
        check_configuration(config, source=SOURCE)
        return
    message = refusal(config)
    assert all(part in message for part in parts), message


def test_patches_must_divide_half_the_grid_too_if_epochs_are_coarse(demo_study):
    config = changed(experiment_with(demo_study, network={"name": "vit"}), "preprocessing.shape", [96, 112, 96])
    config["experiments"] = {"brain_age": config["experiments"]["brain_age"]}
    message = refusal(changed(config, f"{AGE}.training.coarse_epochs", 2))
    assert "also where `" in message and "multiples of 32, such as [96, 128, 96], or a `patch_size` of 4, 8" in message


def test_weights_of_another_depth_are_refused(tmp_path):
    settings = settings_of("vit").model_copy(update={"channels": [24, 24, 24]})
    write_model(tmp_path / "model", trained_once(tmp_path, settings), settings, CPU)
    path = tmp_path / "model/run.json"
    path.write_text(path.read_text().replace("24,\n      24,\n", "24,\n"))
    with pytest.raises(InputError, match="don't fit the network"):
        read_model(tmp_path / "model", CPU)
