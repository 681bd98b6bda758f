"""Starting from another network's weights: what is taken, what is told, and what is frozen until when."""

import itertools
import json

import pytest
import torch
from neurocohort.errors import InputError
from neurocohort.learning.loop import Loop
from neurocohort.learning.networks import build_network, copied_weights, weights_of
from neurocohort.learning.transfer import learning_stages, set_learning, stages, take_weights
from safetensors.torch import save_file
from toy_training import run, toy_settings

NETWORKS = [
    ("sfcn", [4, 8, 8]),
    ("densenet121", None),
    ("densenet169", [8]),
    ("densenet201", [8]),
    ("resnet10", [8]),
    ("resnet18", None),
    ("resnet34", [8]),
    ("resnet50", [8]),
    ("vit", [24, 24]),
    ("swin", [12]),
    ("attention_mil", [4, 8]),
    ("unet", [4, 8, 8]),
    ("dynunet", [4, 8, 8, 8]),
    ("segresnet", [8]),
    ("resencunet", [4, 8, 8]),
    ("swinunetr", [12]),
]


def sfcn(outputs: int, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build_network("sfcn", [4, 8, 8], outputs)


def saved(network: torch.nn.Module, path):
    save_file(weights_of(network), path)
    return path


def test_body_is_taken_and_the_other_head_left_fresh(tmp_path):
    source, target = sfcn(3), sfcn(1, seed=1)
    head = target.classifier.weight.clone()
    line = take_weights(target, saved(source, tmp_path / "source.safetensors"))
    assert torch.equal(target.features[0].weight, source.features[0].weight)
    assert torch.equal(target.features[1].running_mean, source.features[1].running_mean)
    assert torch.equal(target.classifier.weight, head)
    assert "18 of 20 tensors taken" in line and "\n" not in line
    assert "left fresh: classifier.weight (3 x 8 there, 1 x 8 here), classifier.bias (3 there, 1 here)" in line


def test_same_network_is_taken_whole(tmp_path):
    source, target = sfcn(3), sfcn(3, seed=1)
    assert "20 of 20 tensors taken; left fresh: none" in take_weights(target, saved(source, tmp_path / "s.safetensors"))
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))


def test_dynunet_is_taken_although_it_knows_its_layers_by_two_names(tmp_path):
    source, target = (build_network("dynunet", [4, 8, 8], 4) for _ in range(2))
    take_weights(target, saved(source, tmp_path / "source.safetensors"))
    assert all(torch.equal(tensor, target.state_dict()[name]) for name, tensor in source.state_dict().items())


def segmentation_in(folder, name: str, channels: list[int] | None, structures: list[str] | None):
    """A network of three labels and the record of its training, as a training leaves them."""
    network = build_network(name, channels, 3)
    settings = {"task": "segmentation", "structures": structures}
    (folder / "run.json").write_text(json.dumps({"settings": settings}))
    return network, saved(network, folder / "model.safetensors")


@pytest.mark.parametrize(("name", "channels"), NETWORKS[3:])
@pytest.mark.parametrize("other", [["lesion", "oedema"], ["thalamus_right", "thalamus_left"]])
def test_last_layer_of_other_structures_is_left_fresh(tmp_path, name, channels, other):
    source, path = segmentation_in(tmp_path, name, channels, other)
    target = build_network(name, channels, 3)
    head = {id(parameter) for parameter in stages(target)[-1].parameters()}
    line = take_weights(target, path, ["thalamus_left", "thalamus_right"])
    assert f"of other structures: {', '.join(other)}" in line
    pairs = list(zip(source.parameters(), target.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs if id(b) not in head)
    assert not any(torch.equal(a, b) for a, b in pairs if id(b) in head and b.ndim > 1)


@pytest.mark.parametrize("record", [True, False])
def test_last_layer_of_the_same_structures_is_taken(tmp_path, record):
    source, path = segmentation_in(tmp_path, "dynunet", [4, 8, 8], ["thalamus_left", "thalamus_right"])
    if not record:  # a file that the user gives
        (tmp_path / "run.json").unlink()
    target = build_network("dynunet", [4, 8, 8], 3)
    assert "left fresh: none" in take_weights(target, path, ["thalamus_left", "thalamus_right"])
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))


@pytest.mark.parametrize("ending", [".pt", ".pth", ".ckpt"])
def test_pickle_is_refused_unread(tmp_path, ending):
    path = tmp_path / f"model{ending}"
    torch.save(sfcn(1).state_dict(), path)
    with pytest.raises(InputError, match="is a pickle by its ending, and a pickle can run any program"):
        take_weights(sfcn(1), path)


def test_pickle_by_another_name_is_refused(tmp_path):
    torch.save(sfcn(1).state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="can't be read as safetensors"):
        take_weights(sfcn(1), tmp_path / "model.safetensors")


def test_missing_file_is_told(tmp_path):
    with pytest.raises(InputError, match="is not there"):
        take_weights(sfcn(1), tmp_path / "model.safetensors")


def test_weights_of_another_network_are_refused(tmp_path):
    path = saved(build_network("unet", [4, 8], 4), tmp_path / "unet.safetensors")
    with pytest.raises(InputError, match=r"no tensor with the name and shape of one of this network's.*model\.0"):
        take_weights(sfcn(1), path)


@pytest.mark.parametrize(("name", "channels"), NETWORKS)
def test_every_parameter_is_in_one_stage_and_the_head_is_the_last(name, channels):
    network = build_network(name, channels, 4)
    parts = stages(network)
    held = [id(parameter) for part in parts for parameter in part.parameters()]
    assert sorted(held) == sorted(id(parameter) for parameter in network.parameters())
    assert len(parts) >= 4 and all(any(True for _ in part.parameters()) for part in parts)
    shapes = [tuple(parameter.shape) for parameter in parts[-1].parameters()]
    assert any(4 in shape[:2] for shape in shapes), "the head has the outputs"


def test_stages_thaw_from_the_head_backwards():
    settings = toy_settings(weights="some.safetensors", frozen_epochs=2, thaw_epochs=3)
    assert [learning_stages(settings, 4, epoch) for epoch in range(10)] == [1, 1, 2, 2, 2, 3, 3, 3, 4, 4]
    at_once = toy_settings(weights="some.safetensors", frozen_epochs=2)
    assert [learning_stages(at_once, 4, epoch) for epoch in range(4)] == [1, 1, 4, 4]
    assert learning_stages(toy_settings(), 4, 0) == 4


def test_frozen_stages_keep_their_batch_statistics():
    network = sfcn(1).train()
    parts = stages(network)
    set_learning(parts, 2)
    before = {name: tensor.clone() for name, tensor in network.named_buffers()}
    network(torch.rand(2, 1, 16, 16, 16))
    changed = {name for name, tensor in network.named_buffers() if not torch.equal(tensor, before[name])}
    assert changed and all(name.startswith("features.9") for name in changed), "the last block's alone"


def test_stages_learn_epoch_by_epoch_as_they_thaw(tmp_path, monkeypatch):
    epochs = [run(tmp_path, toy_settings(epochs=1), "first.pt").weights]
    save_file(epochs[0], tmp_path / "first.safetensors")
    original = Loop.close_epoch

    def watched(self, *measured):
        epochs.append(copied_weights(self.network))
        return original(self, *measured)

    monkeypatch.setattr(Loop, "close_epoch", watched)
    lines = []
    settings = toy_settings(weights=str(tmp_path / "first.safetensors"), frozen_epochs=1, thaw_epochs=1, epochs=4)
    run(tmp_path, settings, "second.pt", report=lines.append)
    assert lines[0].startswith("weights from") and lines[0].endswith("left fresh: none")
    learned = [
        {name.rsplit(".", 1)[0] for name in before if not torch.equal(before[name], after[name])}
        for before, after in itertools.pairwise(epochs)
    ]
    head, last = {"classifier"}, {"features.8", "features.9"}
    middle, first = {"features.4", "features.5"}, {"features.0", "features.1"}
    assert learned == [head, head | last, head | last | middle, head | last | middle | first]


def test_freezing_a_fresh_network_is_refused(tmp_path):
    with pytest.raises(InputError, match="`frozen_epochs` is 2 and `thaw_epochs` 0 without `weights`"):
        run(tmp_path, toy_settings(frozen_epochs=2))
