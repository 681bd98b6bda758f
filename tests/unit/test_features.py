"""Features of a network are what its last layer gets; recording them changes no prediction; their file has every scan used."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from neurocohort.cli.learning import predict_samples as predict_command
from neurocohort.dataset.pack_index import index_table, row_sha256
from neurocohort.errors import InputError
from neurocohort.files import read_table, write_table
from neurocohort.learning.data import Intensity, PackedImages
from neurocohort.learning.feature_files import KEYS, read_features, write_features, write_no_features
from neurocohort.learning.features import features, predict_with_features, recorded_features
from neurocohort.learning.inference import predict, trained_samples
from neurocohort.learning.model_files import Model, write_model
from neurocohort.learning.networks import build_network
from neurocohort.learning.tasks import Regression
from toy_training import CPU, run, toy_cohort, toy_settings

NETWORKS = [("sfcn", [4, 8, 6], 6), ("densenet121", None, 1024), ("resnet18", None, 512), ("resnet50", [8], 256)]
NETWORKS += [("vit", [24, 24], 24), ("swin", [12], 192), ("attention_mil", [4, 8], 8)]
INTENSITY = Intensity([100.0], [50.0])


@pytest.mark.parametrize(("name", "channels", "width"), NETWORKS)
def test_the_last_layer_of_each_architecture_maps_the_features_to_the_outputs(name, channels, width):
    torch.manual_seed(0)
    network = build_network(name, channels, 3, dropout=0.0).eval()
    inputs = torch.randn(2, 1, 32, 32, 32)
    found = features(network, name, inputs)
    assert found.shape == (2, width) and found.dtype == torch.float32 and not torch.equal(found[0], found[1])
    last = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.inference_mode():
        torch.testing.assert_close(last(found), network(inputs))
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_a_network_of_label_maps_has_no_features():
    with pytest.raises(ValueError, match="unet has no features"), recorded_features(torch.nn.Identity(), "unet"):
        pass


def toy_model(**changes) -> Model:
    torch.manual_seed(1)
    settings = toy_settings(**changes)
    return Model(
        build_network("sfcn", [4, 8, 8], 1), Regression(False, 20.0, 80.0, 50.0, 10.0), settings, INTENSITY, CPU
    )


@pytest.mark.parametrize("mirror_averaging", [False, True])
def test_predictions_keep_their_bits_and_features_do_not_depend_on_the_other_scans(mirror_averaging):
    (samples, packed), model = toy_cohort("regression"), toy_model(mirror_averaging=mirror_averaging)
    predictions, found = predict_with_features(model, samples, packed)
    np.testing.assert_array_equal(predictions, predict(model, samples, packed))
    assert found.shape == (len(samples), 8) and found.dtype == np.float32
    np.testing.assert_array_equal(predict_with_features(model, samples.iloc[[5, 2]], packed)[1], found[[5, 2]])


def test_features_of_mirrored_scans_are_the_same_if_both_are_averaged():
    (samples, packed), model = toy_cohort("regression"), toy_model(mirror_averaging=True)
    mirrored = PackedImages(
        {key: array[:, :, ::-1] for key, array in packed.images.items()}, packed.labels, packed.channels
    )
    expected = predict_with_features(model, samples, packed)[1]
    np.testing.assert_allclose(predict_with_features(model, samples, mirrored)[1], expected, rtol=1e-5, atol=1e-6)


def test_file_has_the_rows_in_order_and_the_same_bytes_again(tmp_path):
    samples = pd.DataFrame({"cohort": ["b", "a"], "part": ["train", "external"], "scan_id": ["s1", "s1"], "age": 1.0})
    values = np.arange(6.0).reshape(2, 3)
    for name in ("one.npz", "two.npz"):
        write_features(tmp_path / name, samples, values)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    found = read_features(tmp_path / "one.npz")
    assert found.scans.to_dict("list") == samples[list(KEYS)].to_dict("list")
    assert found.values.dtype == np.float32
    np.testing.assert_array_equal(found.values, values)
    np.testing.assert_array_equal(found.of_part("external").values, values[1:])
    wanted = pd.DataFrame({"cohort": ["a", "a", "b"], "scan_id": ["s1", "s2", "s1"]})
    np.testing.assert_array_equal(found.of_scans(wanted), [values[1], [np.nan] * 3, values[0]])


def test_file_of_a_training_without_a_model_is_empty(tmp_path):
    write_no_features(tmp_path / "features.npz")
    found = read_features(tmp_path / "features.npz")
    assert found.values.shape == (0, 0) and list(found.scans) == list(KEYS)


def test_damaged_files_are_reported_with_what_to_do(tmp_path):
    path = tmp_path / "features.npz"
    path.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(InputError, match=r"features.npz can't be read .* delete it and run again"):
        read_features(path)
    np.savez(path, cohort=np.array(["a"]), scan_id=np.array(["s"]))
    with pytest.raises(InputError, match="has no part, features; expected"):
        read_features(path)
    np.savez(path, cohort=np.array([{}], dtype=object))  # a pickle, which is never read
    with pytest.raises(InputError, match="delete it and run again"):
        read_features(path)


def test_command_writes_the_rows_that_are_predicted_and_those_trained_on(tmp_path):
    samples, packed = toy_cohort("regression")
    samples = samples.assign(
        participant_id=samples["scan_id"], voxels_sha256=samples["scan_id"], site="a", age=samples["target"], sex="F"
    )
    write_table(tmp_path / "samples.tsv", samples)
    for pack in packed.images:
        _write_pack(tmp_path / "toy" / "packed" / pack[1], packed, samples[samples["pack"] == pack[1]])
    settings = toy_settings(epochs=1, fold=2)
    write_model(tmp_path / "model", run(tmp_path, settings), settings, CPU)
    output, file = tmp_path / "model" / "predictions.tsv", tmp_path / "model" / "features.npz"
    predict_command(tmp_path / "samples.tsv", tmp_path, tmp_path / "model", output, "cpu", file)
    with_features = output.read_bytes()
    predict_command(tmp_path / "samples.tsv", tmp_path, tmp_path / "model", output, "cpu")
    assert with_features == output.read_bytes()
    predictions, found, trained = read_table(output), read_features(file), trained_samples(samples, 2)
    assert found.scans["scan_id"].tolist() == [*predictions["scan_id"], *trained["scan_id"]]
    assert found.scans["part"].tolist() == [*predictions["part"], *["train"] * len(trained)]
    assert not set(predictions["scan_id"]) & set(trained["scan_id"]) and len(found.values) == len(samples)


def _write_pack(folder: Path, packed: PackedImages, rows: pd.DataFrame) -> None:
    folder.mkdir(parents=True)
    images, labels = (arrays["toy", folder.name] for arrays in (packed.images, packed.labels))
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    write_table(folder / "channels.tsv", pd.DataFrame({"modality": ["T1w"]}))
    index = [
        (row, scan, 1, row_sha256(scan, images[row]), row_sha256(scan, labels[row]))
        for scan, row in rows[["scan_id", "row"]].itertuples(index=False)
    ]
    write_table(folder / "index.tsv", index_table(index))
