"""The comparison with nnU-Net: it gets our images, our split and our minutes, and its label maps are measured by our code."""

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.files import write_table
from neurocohort.learning.data import PackedImages

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

import nnunet_beside
import nnunet_plans

NAMES = ["thalamus_left", "thalamus_right"]
PARTS = ["train", "train", "validation", "held-out", "held-out", "held-out"]
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
BOOTSTRAP = Bootstrap(50, 1)


@pytest.fixture
def samples() -> pd.DataFrame:
    rows = {"scan_id": [f"sub-{n}_ses-1" for n in range(6)], "participant_id": [f"sub-{n}" for n in range(6)]}
    rows |= {"cohort": "clinic", "site": "n/a", "part": PARTS, "age": np.nan, "sex": "n/a"}
    return pd.DataFrame(rows | {"pack": ["development"] * 3 + ["held-out"] * 3, "row": [0, 1, 2, 0, 1, 2]})


@pytest.fixture
def packed() -> PackedImages:
    rng = np.random.default_rng(1)
    images = {
        ("clinic", pack): rng.integers(0, 256, (3, 1, 6, 7, 8), dtype=np.uint8) for pack in ("development", "held-out")
    }
    labels = {pack: rng.integers(0, 3, (3, 6, 7, 8), dtype=np.uint8) for pack in images}
    return PackedImages(images, labels, {pack: [0] for pack in images})


def test_nnunet_gets_the_volumes_of_our_network_and_no_label_of_a_held_out_scan(tmp_path, samples, packed):
    settings = {"modalities": ["T1w"], "structures": NAMES}
    nnunet_beside.write_dataset(tmp_path / "raw", samples, packed, AFFINE, settings)
    files = sorted(str(path.relative_to(tmp_path / "raw")) for path in (tmp_path / "raw").rglob("*.nii.gz"))
    expected = [
        f"{folder}/sub-{n}_ses-1{end}.nii.gz"
        for folder, end in (("imagesTr", "_0000"), ("labelsTr", ""))
        for n in range(3)
    ]
    assert files == sorted([*expected, *(f"imagesTs/sub-{n}_ses-1_0000.nii.gz" for n in (3, 4, 5))])
    image = nib.load(tmp_path / "raw" / "imagesTs" / "sub-4_ses-1_0000.nii.gz")
    assert np.array_equal(np.asarray(image.dataobj), packed.images["clinic", "held-out"][1, 0])
    assert image.header.get_zooms() == (2.0, 2.0, 2.0)
    labels = nib.load(tmp_path / "raw" / "labelsTr" / "sub-2_ses-1.nii.gz")
    assert np.array_equal(np.asarray(labels.dataobj), packed.labels["clinic", "development"][2])
    description = json.loads((tmp_path / "raw" / "dataset.json").read_text())
    assert description["labels"] == {"background": 0, "thalamus_left": 1, "thalamus_right": 2}
    assert description["numTraining"] == 3


def test_its_only_fold_has_our_training_and_validation_scans(samples):
    assert nnunet_beside.one_fold(samples) == [{"train": ["sub-0_ses-1", "sub-1_ses-1"], "val": ["sub-2_ses-1"]}]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [((1000, 1, 1), (50, 19)), ((1000, 20, 10), (9, 5)), ((1e6, 1, 1), (3984, 250)), ((10, 60, 60), (1, 5))],
)
def test_epochs_and_iterations_fill_our_minutes(seconds, expected):
    assert nnunet_plans.choose_epochs(*seconds) == expected


def test_a_narrow_configuration_has_our_patch_batch_and_channels_and_all_else_of_nnunets_plan(tmp_path):
    lists = {
        "features_per_stage": [32, 64, 128],
        "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
        "n_conv_per_stage": [2, 2, 2],
    }
    arguments = lists | {"n_conv_per_stage_decoder": [2, 2], "n_stages": 3, "nonlin": "torch.nn.LeakyReLU"}
    own = {"patch_size": [80, 96, 80], "batch_size": 3, "architecture": {"arch_kwargs": arguments}}
    path = tmp_path / "nnUNetPlans.json"
    path.write_text(json.dumps({"configurations": {"3d_fullres": own}}))
    nnunet_plans.add_like_ours(path, [64, 48, 32], 2, [8, 16])
    configurations = json.loads(path.read_text())["configurations"]
    assert configurations["3d_fullres"] == own
    narrow = configurations["3d_like_ours"]
    assert (narrow["inherits_from"], narrow["patch_size"], narrow["batch_size"]) == ("3d_fullres", [32, 48, 64], 2)
    assert narrow["architecture"]["arch_kwargs"] == {
        "features_per_stage": [8, 16],
        "strides": [[1, 1, 1], [2, 2, 2]],
        "n_conv_per_stage": [2, 2],
        "n_conv_per_stage_decoder": [2],
        "n_stages": 2,
        "nonlin": "torch.nn.LeakyReLU",
    }


def test_a_training_on_whole_scans_gives_nnunet_the_grid_as_its_patch():
    ours = {"patch": [], "batch_size": 2, "channels": [8, 16], "seed": 3, "epochs": 40}
    found = nnunet_beside.nnunet_settings(ours, (48, 56, 48), 90.0, True)
    assert found == {
        "patch": [48, 56, 48],
        "batch_size": 2,
        "channels": [8, 16],
        "seed": 3,
        "cpu_seconds": 90.0,
        "configuration": "3d_like_ours",
    }
    assert (
        nnunet_beside.nnunet_settings(ours | {"channels": []}, (48, 56, 48), 90.0, False)["configuration"]
        == "3d_fullres"
    )
    with pytest.raises(SystemExit, match=r"`network.channels` of the experiment is empty"):
        nnunet_beside.nnunet_settings(ours | {"channels": []}, (48, 56, 48), 90.0, True)


def test_both_are_measured_on_the_same_scans_by_the_same_code(tmp_path, samples, packed):
    (tmp_path / "predictions").mkdir()
    for row, scan in enumerate(["sub-3_ses-1", "sub-4_ses-1", "sub-5_ses-1"]):
        labels = packed.labels["clinic", "held-out"][row]
        nib.save(nib.Nifti1Image(labels, AFFINE), tmp_path / "predictions" / f"{scan}.nii.gz")
    nnunet = nnunet_beside.overlaps(tmp_path / "predictions", samples, packed, AFFINE, NAMES)
    assert len(nnunet) == 6 and (nnunet["dice"] == 1).all() and (nnunet["hd95_mm"] == 0).all()
    write_table(tmp_path / "predictions.tsv", nnunet.assign(dice=0.5))
    write_table(tmp_path / "baselines.tsv", nnunet.assign(dice=0.25, model="atlas"))
    table = nnunet_beside.common_table(tmp_path, nnunet, "nnunet", BOOTSTRAP)
    dice = table[table["metric"] == "dice"].pivot(index="group", columns="model", values="value")
    assert dice.index.tolist() == ["all", "tissue=thalamus_left", "tissue=thalamus_right"]
    assert dice.loc["all"].to_dict() == {"network": 0.5, "atlas": 0.25, "nnunet": 1.0}
    assert (table["n"] == 3).all()


def test_a_study_without_a_record_of_its_training_is_named(tmp_path):
    study = nnunet_beside.FinishedStudy(tmp_path, "structures", "seed-1")
    with pytest.raises(SystemExit, match=r"train/structures/seed-1\.tsv doesn't exist.*--cpu-minutes"):
        study.cpu_seconds()
    write_table(tmp_path / "benchmarks/train/structures/seed-1.tsv", pd.DataFrame({"s": [9.0], "cpu_time": [7.5]}))
    assert study.cpu_seconds() == 7.5
