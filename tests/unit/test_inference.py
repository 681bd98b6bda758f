"""A prediction is the scan's own, a file of probabilities says what the network said, and members are averaged row by row."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from neurocohort import progress
from neurocohort.errors import InputError
from neurocohort.learning.data import Intensity, PackedImages, to_input
from neurocohort.learning.ensembles import average_values, ensemble_scans, mean_probabilities, member_rows
from neurocohort.learning.inference import predict, predicted_samples, read_probabilities
from neurocohort.learning.model_files import Model
from neurocohort.learning.prediction_tables import label_map, overlap_rows, reference_labels, value_rows
from neurocohort.learning.settings import TrainingSettings
from neurocohort.learning.tasks import Classification, Regression, Segmentation, Task
from neurocohort.learning.windows import network_outputs
from torch import nn

CPU = torch.device("cpu")
SHAPE = (10, 12, 8)
INTENSITY = Intensity([100.0], [50.0])
PACK = ("toy", "held-out")


@pytest.fixture
def packed() -> PackedImages:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 1, *SHAPE), dtype=np.uint8)
    labels = rng.integers(0, 4, (5, *SHAPE), dtype=np.uint8)
    return PackedImages({PACK: images}, {PACK: labels}, {PACK: [0]})


def samples_of(rows=range(5), **changes) -> pd.DataFrame:
    rows = list(rows)
    values = {
        "cohort": "toy",
        "pack": "held-out",
        "row": rows,
        "scan_id": [f"sub-{row}" for row in rows],
        "participant_id": [f"sub-{row}" for row in rows],
        "site": "a",
        "age": 50.0,
        "sex": "F",
        "part": "held-out",
        "fold": pd.array([pd.NA] * len(rows), dtype="Int64"),
        "target": 1,
    }
    return pd.DataFrame(values | changes)


def model_of(network: nn.Module, task: Task, **settings) -> Model:
    name = "unet" if task.kind == "segmentation" else "sfcn"
    return Model(network, task, TrainingSettings(task=task.kind, network=name, **settings), INTENSITY, CPU)


def value_network(outputs: int) -> nn.Module:
    """With a batch norm, which would mix the scans of a batch if it were left in training mode."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, outputs)
    )


# --- predictions ----------------------------------------------------------------------------------------------------


def test_prediction_does_not_depend_on_the_other_scans(packed):
    model = model_of(value_network(1), Regression(False, 20.0, 80.0, 50.0, 10.0))
    together = predict(model, samples_of(), packed)
    assert together.shape == (5,) and together.dtype == np.float64 and len(set(together)) == 5
    for rows in ([3], [4, 0], [2, 3, 1]):
        np.testing.assert_array_equal(predict(model, samples_of(rows), packed), together[rows])


@pytest.mark.parametrize("classes", [2, 3])
def test_classification_gives_a_probability_for_each_class(packed, classes):
    task = Classification(classes, class_weights=(1.0,) * classes if classes > 2 else ())
    found = predict(model_of(value_network(task.outputs), task, classes=classes), samples_of(), packed)
    assert found.shape == (5, classes)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_segmentation_is_written_scan_by_scan_and_read_back(packed, tmp_path, monkeypatch):
    read, image = [], PackedImages.image
    monkeypatch.setattr(PackedImages, "image", lambda self, pack, row: read.append(row) or image(self, pack, row))
    torch.manual_seed(2)
    network, order = nn.Conv3d(1, 4, 3, padding=1), [4, 1, 2]
    output = tmp_path / "member" / "probabilities.npy"
    found = predict(model_of(network, Segmentation()), samples_of(order), packed, output)
    assert found.shape == (3, 4, *SHAPE) and found.dtype == np.uint8 and not found.flags.writeable
    assert read == order
    with torch.no_grad():
        inputs = to_input(packed.stack_images(samples_of(order)), INTENSITY)
        expected = torch.softmax(network(inputs), dim=1).numpy()
    np.testing.assert_allclose(read_probabilities(output) / 255, expected, atol=0.501 / 255)
    assert np.abs(found.sum(axis=1, dtype=int) - 255).max() <= 2
    assert [path.name for path in output.parent.iterdir()] == ["probabilities.npy"]
    assert (label_map(found[0]) == expected[0].argmax(axis=0)).mean() > 0.99


def test_another_file_in_place_of_probabilities_is_refused(tmp_path):
    np.save(tmp_path / "other.npy", np.zeros((2, 3)))
    with pytest.raises(
        InputError, match=r"float64 of shape \(2, 3\), expected uint8 of shape \(scans, labels, X, Y, Z\)"
    ):
        read_probabilities(tmp_path / "other.npy")
    with pytest.raises(InputError, match=r"absent\.npy can't be read"):
        read_probabilities(tmp_path / "absent.npy")


def test_no_scan_to_predict_is_said(packed):
    with pytest.raises(InputError, match="no scan to predict"):
        predict(model_of(value_network(1), Classification()), samples_of([]), packed)


# --- windows --------------------------------------------------------------------------------------------------------


def test_windows_agree_with_the_whole_volume_where_a_network_looks_no_further_than_a_voxel():
    torch.manual_seed(3)
    network, inputs = nn.Conv3d(2, 4, 1), torch.randn(2, 2, 18, 16, 21)
    with torch.no_grad():
        whole = network_outputs(network, inputs, TrainingSettings(task="segmentation", network="unet"))
        windows = network_outputs(
            network, inputs, TrainingSettings(task="segmentation", network="unet", patch=[8, 16, 10])
        )
    assert whole.shape == windows.shape == (2, 4, 18, 16, 21)
    torch.testing.assert_close(whole, windows)


def test_network_sees_windows_of_the_patch_size_alone():
    seen = set()

    class Network(nn.Module):
        def forward(self, inputs):
            seen.add(tuple(inputs.shape[2:]))
            return inputs.repeat(1, 4, 1, 1, 1)

    network_outputs(
        Network(), torch.zeros(1, 1, 20, 13, 9), TrainingSettings(task="segmentation", network="unet", patch=[8, 8, 8])
    )
    assert seen == {(8, 8, 8)}


def test_window_larger_than_the_volume_goes_on_with_the_outside():
    """Outside the brain the input is the same negative number everywhere; zeros beside it would be read as tissue."""
    inputs = torch.full((1, 1, 6, 6, 6), -2.0)
    mean_of_27 = nn.Conv3d(1, 1, 3, padding=1, padding_mode="replicate", bias=False)
    nn.init.constant_(mean_of_27.weight, 1 / 27)
    with torch.no_grad():
        found = network_outputs(
            mean_of_27, inputs, TrainingSettings(task="segmentation", network="unet", patch=[16, 16, 16])
        )
    torch.testing.assert_close(found, inputs)


# --- tables ---------------------------------------------------------------------------------------------------------


def test_two_classes_keep_one_number_and_more_keep_each():
    values = value_rows(samples_of([0, 1]), np.array([61.23456789, 40.0]))
    assert values["prediction"].tolist() == [61.234568, 40.0]
    binary = value_rows(samples_of([0, 1]), np.array([[0.9, 0.1], [0.25, 0.75]]))
    assert binary["prediction"].tolist() == [0.1, 0.75] and "probability_0" not in binary
    three = value_rows(samples_of([0, 1]), np.array([[0.2, 0.5, 0.3], [0.1, 0.2, 0.7]]))
    assert three["prediction"].tolist() == [1, 2]
    assert three[["probability_0", "probability_1", "probability_2"]].to_numpy().tolist() == [
        [0.2, 0.5, 0.3],
        [0.1, 0.2, 0.7],
    ]


def test_overlap_is_of_each_scan_with_its_own_reference(packed):
    samples = samples_of([2, 0])
    rows = overlap_rows(samples, reference_labels(samples, packed), reference_labels(samples, packed), spacing_mm=2.0)
    assert rows["scan_id"].tolist() == ["sub-2"] * 3 + ["sub-0"] * 3
    assert rows["tissue"].tolist() == ["CSF", "GM", "WM"] * 2
    assert (rows["dice"] == 1).all() and (rows["volume_ml"] == rows["reference_ml"]).all()
    assert "hd95_mm" not in rows
    assert rows["volume_ml"].iloc[4] == 0.008 * (packed.labels[PACK][0] == 2).sum()
    with pytest.raises(ValueError, match="shorter"):
        overlap_rows(samples, reference_labels(samples.head(1), packed), reference_labels(samples, packed), 0.5)
    maps = reference_labels(samples, packed), reference_labels(samples, packed)
    measured = overlap_rows(
        samples, *maps, 2.0, lambda found, true, spacing: [SimpleNamespace(voxels=found.size, mm=sum(spacing))] * 3
    )
    assert (measured["voxels"] == packed.labels[PACK][0].size).all() and (measured["mm"] == 6).all()


def test_member_of_a_cross_validation_is_applied_to_its_own_fold():
    parts = ["train", "train", "validation", "held-out", "external"]
    samples = samples_of(part=parts, fold=pd.array([1, 2, 2, pd.NA, pd.NA], dtype="Int64"))
    split = predicted_samples(samples, 0)
    assert list(zip(split["scan_id"], split["part"], strict=True)) == [
        ("sub-2", "validation"), ("sub-3", "held-out"), ("sub-4", "external")
    ]  # fmt: skip
    second = predicted_samples(samples, 2)
    assert second["scan_id"].tolist() == ["sub-1", "sub-2", "sub-3", "sub-4"]
    assert second["part"].tolist() == ["validation", "validation", "held-out", "external"]


def test_log_gets_a_line_now_and_then(packed, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SCAN_LINE_EVERY_S", 0.0)
    monkeypatch.delenv("NEUROCOHORT_TERMINAL", raising=False)
    predict(model_of(value_network(1), Classification()), samples_of(), packed)
    lines = list(filter(None, capsys.readouterr().err.splitlines()))
    assert any(line.startswith("predicted: 3 of 5 scans (60 %), ") for line in lines)


# --- ensembles ------------------------------------------------------------------------------------------------------


def values_of(predictions: dict[str, float], parts: dict[str, str] | None = None, **changes) -> pd.DataFrame:
    rows = [int(scan_id.removeprefix("sub-")) for scan_id in predictions]
    samples = samples_of(rows, part=[(parts or {}).get(scan_id, "held-out") for scan_id in predictions], **changes)
    return value_rows(samples, np.array(list(predictions.values())))


def test_ensemble_is_the_mean_and_keeps_the_spread():
    tables = {"seed-1": values_of({"sub-0": 60.0, "sub-1": 30.0}), "seed-2": values_of({"sub-0": 64.0, "sub-1": 30.0})}
    found = average_values(tables)
    assert found["prediction"].tolist() == [62.0, 30.0] and found["spread"].tolist() == [2.0, 0.0]
    alone = average_values({"seed-1": tables["seed-1"]})
    pd.testing.assert_frame_equal(alone.drop(columns="spread"), tables["seed-1"])
    assert (alone["spread"] == 0).all()


def test_each_validation_scan_is_averaged_over_the_members_that_never_saw_it():
    def member(validating: dict[str, float], held_out: float) -> pd.DataFrame:
        return values_of(validating | {"sub-9": held_out}, dict.fromkeys(validating, "validation"))

    tables = {
        "fold-1_seed-1": member({"sub-3": 10.0}, 50.0),
        "fold-1_seed-2": member({"sub-3": 14.0}, 52.0),
        "fold-2_seed-1": member({"sub-1": 20.0, "sub-2": 30.0}, 54.0),
        "fold-2_seed-2": member({"sub-1": 22.0, "sub-2": 30.0}, 56.0),
    }
    found = average_values(tables).set_index("scan_id")
    assert found["prediction"].to_dict() == {"sub-1": 21.0, "sub-2": 30.0, "sub-3": 12.0, "sub-9": 53.0}
    assert found["part"].to_dict() == dict.fromkeys(["sub-1", "sub-2", "sub-3"], "validation") | {"sub-9": "held-out"}
    assert found["spread"].round(4).to_dict() == {"sub-1": 1.0, "sub-2": 0.0, "sub-3": 2.0, "sub-9": 2.2361}


def test_classes_are_voted_by_mean_probability():
    first = value_rows(samples_of([0]), np.array([[0.6, 0.4, 0.0]]))
    second = value_rows(samples_of([0]), np.array([[0.0, 0.4, 0.6]]))
    found = average_values({"seed-1": first, "seed-2": second}).iloc[0]
    assert found["prediction"] == 1, "neither member's choice"
    assert found[["probability_0", "probability_1", "probability_2"]].tolist() == [0.3, 0.4, 0.3]
    assert found["spread"] == 0


def test_members_of_other_samples_are_refused():
    table = values_of({"sub-0": 1.0, "sub-1": 2.0})
    with pytest.raises(
        InputError, match=r"held-out and external scans of seed-1 \(2\) and seed-2 \(1\) differ: number 2 is sub-1"
    ):
        average_values({"seed-1": table, "seed-2": table.head(1)})
    with pytest.raises(InputError, match="number 1 is sub-0 of toy and sub-1 of toy"):
        average_values({"seed-1": table, "seed-2": table[::-1]})
    with pytest.raises(InputError, match="predictions of seed-1 have a scan twice"):
        average_values({"seed-1": pd.concat([table, table])})
    with pytest.raises(InputError, match="the target of sub-1"):
        average_values({"seed-1": table, "seed-2": table.assign(target=[1, 7])})
    validating = table.assign(part="validation")
    with pytest.raises(InputError, match=r"validation scans of fold-1 \(2\) and fold-2 \(1\)"):
        average_values({"fold-1": validating, "fold-2": validating.tail(1)})


def test_members_are_kept_apart():
    tables = {"seed-1": values_of({"sub-0": 60.0}), "seed-2": values_of({"sub-0": 64.0})}
    found = member_rows(tables)
    assert found.columns.tolist() == ["member", "scan_id", "cohort", "part", "target", "prediction"]
    assert found[["member", "prediction"]].to_numpy().tolist() == [["seed-1", 60.0], ["seed-2", 64.0]]


def test_segmentations_are_averaged_over_the_members_that_never_saw_the_scan(packed, tmp_path):
    samples = samples_of(
        [0, 1, 2], part=["train", "validation", "held-out"], fold=pd.array([1, 2, pd.NA], dtype="Int64")
    )
    tables, files = {}, {}
    for fold in (1, 2):
        torch.manual_seed(fold)
        name = f"fold-{fold}_seed-1"
        files[name], own = tmp_path / name / "probabilities.npy", predicted_samples(samples, fold)
        found = predict(model_of(nn.Conv3d(1, 4, 1), Segmentation()), own, packed, files[name])
        tables[name] = overlap_rows(own, map(label_map, found), reference_labels(own, packed), 0.001)
    scans = ensemble_scans(tables, samples)
    assert scans["scan_id"].tolist() == ["sub-0", "sub-1", "sub-2"]
    assert scans["part"].tolist() == ["validation", "validation", "held-out"]
    with pytest.raises(InputError, match="1 of the 3 scans that the members predicted are not among"):
        ensemble_scans(tables, samples.tail(2))
    means = list(mean_probabilities(scans, tables, files))
    first, second = (read_probabilities(path) / np.float32(255) for path in files.values())
    for mean, expected in zip(means, (first[0], second[0], (first[1] + second[1]) / 2), strict=True):
        np.testing.assert_allclose(mean, expected, atol=1e-6)
    rows = overlap_rows(scans, map(label_map, means), reference_labels(scans, packed), 0.001)
    assert rows.iloc[:3]["dice"].tolist() == tables["fold-1_seed-1"].iloc[:3]["dice"].tolist()
    members = member_rows(tables)
    assert (
        members.columns.tolist()[3:] == ["part", "tissue", "dice", "volume_ml", "reference_ml"] and len(members) == 12
    )
    with pytest.raises(InputError, match="contains 2 scans and the predictions of fold-1_seed-1 1"):
        next(mean_probabilities(scans, tables | {"fold-1_seed-1": tables["fold-1_seed-1"].head(3)}, files))
