"""Bundles: a folder with which MONAI alone gives the pipeline's own predictions, and which says what it is."""

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigWorkflow, run, verify_net_in_out
from monai.data import MetaTensor
from neurocohort.dataset.pack import pack_scans
from neurocohort.errors import InputError
from neurocohort.export.bundle import licence_text, write_bundle
from neurocohort.export.bundle_files.scans import find_scans, to_levels
from neurocohort.export.bundle_files.weights import read_safetensors
from neurocohort.files import sha256_of, write_json
from neurocohort.imaging.derivatives import (
    channel_output,
    labels_name,
    modulated_gm_name,
    preproc_name,
    qc_path,
    scan_folder,
    template_tissue_map_name,
)
from neurocohort.imaging.reading import write_image
from neurocohort.imaging.scan_files import PROBABILITY_STEPS
from neurocohort.imaging.template import study_grid
from neurocohort.learning.data import PackedImages
from neurocohort.learning.ensembles import average_values
from neurocohort.learning.inference import predict
from neurocohort.learning.model_files import RUN, WEIGHTS, read_model
from neurocohort.learning.networks import copied_weights
from neurocohort.learning.prediction_tables import label_map, value_rows
from neurocohort.learning.settings import TrainingSettings
from neurocohort.learning.tasks import Classification, Regression, Segmentation, task_values
from neurocohort.learning.training import network_of
from neurocohort.study.configuration import check_configuration
from safetensors.torch import load_file, save_file

CPU = torch.device("cpu")
SHAPE, SPACING_MM = (32, 40, 32), 5.0
SCANS = ("sub-01_ses-1", "sub-02_ses-1", "sub-03_ses-1")
BINS, VALUE = Regression(True, 20.0, 90.0, 55.0, 20.0), Regression(False, 20.0, 90.0, 55.0, 20.0)
THREE = Classification(3, class_weights=(1.0, 1.0, 1.0))
MULTIMODAL = {"modalities": ["T1w", "T2w"], "norm": "group"}
CASES = {
    "soft bins": ("sfcn", BINS, {}, 1),
    "members with statistics of their own": ("sfcn", VALUE, {}, 2),
    "resnet18": ("resnet18", VALUE, {}, 1),
    "vit, two modalities, two members": ("vit", BINS, {"modalities": ["T1w", "T2w"], "patch_size": 8}, 2),
    "swin, three classes": ("swin", THREE, {}, 1),
    "attention_mil, two modalities": (
        "attention_mil",
        Classification(),
        {"modalities": ["T1w", "T2w"], "patch_size": 8},
        1,
    ),
    "resnet50 of other channels": ("resnet50", VALUE, {}, 1),
    "mirrored, two members": ("sfcn", VALUE, {"mirror_averaging": True}, 2),
    "mirrored unet": ("unet", Segmentation(), {"mirror_averaging": True}, 1),
    "densenet121, two classes": ("densenet121", Classification(), {}, 1),
    "three classes, two modalities, two members": ("sfcn", THREE, MULTIMODAL, 2),
    "tissue maps first": ("sfcn", VALUE, {"modalities": ["GM", "T1w"], "norm": "group"}, 1),
    "modulated grey matter": ("sfcn", VALUE, {"modalities": ["T1w", "GM_modulated"], "norm": "group"}, 1),
    "unet in windows, two members": ("unet", Segmentation(), {"patch": [16, 24, 16]}, 2),
    "dynunet": ("dynunet", Segmentation(), {}, 1),
    "segresnet": ("segresnet", Segmentation(), {}, 1),
    "dynunet, deep supervision": ("dynunet", Segmentation(), {"deep_supervision": True}, 1),
    "resencunet, deep supervision": ("resencunet", Segmentation(), {"deep_supervision": True}, 1),
    "swinunetr in windows": ("swinunetr", Segmentation(loss_name="dice_focal"), {"patch": [32, 64, 32]}, 1),
}
CHANNELS = {
    "sfcn": [4, 6, 6],
    "unet": [4, 8],
    "dynunet": [4, 8, 8],
    "segresnet": [8],
    "resencunet": [4, 8, 8],
    "swinunetr": [12],
    "vit": [24, 24],
    "swin": [12],
    "resnet50": [8],
    "attention_mil": [4, 8],
}
TARGETS = {"regression": "age", "classification": "dementia", "segmentation": "dseg"}


@pytest.fixture(autouse=True)
def own_imports(monkeypatch):
    """Each bundle's scripts are imported anew: MONAI puts the bundle on the path."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "scripts"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def preproc(tmp_path_factory) -> Path:
    """Three preprocessed scans of two modalities, with a tissue map, as preprocessing leaves them."""
    folder, generator = tmp_path_factory.mktemp("preproc"), np.random.default_rng(1)
    grid = study_grid(SPACING_MM, SHAPE)
    for scan_id in SCANS:
        outputs, scan = {}, scan_folder(folder, scan_id)
        scan.mkdir(parents=True)
        for modality in ("T1w", "T2w", "GM"):
            data = np.kron(generator.random((4, 5, 4), dtype=np.float32), np.ones((8, 8, 8), dtype=np.float32))
            data *= generator.random(SHAPE, dtype=np.float32)
            data[:4] = 0
            is_map = modality == "GM"
            name = template_tissue_map_name(scan_id, "gm") if is_map else preproc_name(scan_id, modality)
            steps = np.rint(data * PROBABILITY_STEPS).astype(np.uint8) if is_map else data
            write_image(scan / name, steps, grid.affine, slope=1 / PROBABILITY_STEPS if is_map else None)
            outputs[channel_output(modality)] = {"file": name, "sha256": sha256_of(scan / name)}
        name = modulated_gm_name(scan_id)
        modulated = np.rint(3 * 4096 * data).astype(np.uint16)  # some beyond the range of the packs
        write_image(scan / name, modulated, grid.affine, slope=1 / 4096)
        outputs[channel_output("GM_modulated")] = {"file": name, "sha256": sha256_of(scan / name)}
        write_json(qc_path(folder, scan_id), {"scan_id": scan_id, "outputs": outputs})
    return folder


def samples() -> pd.DataFrame:
    rows = pd.DataFrame({"scan_id": SCANS, "cohort": "oasis1", "pack": "held-out", "row": range(3), "part": "held-out"})
    rows["participant_id"] = [scan_id.split("_")[0] for scan_id in SCANS]
    return rows.assign(site="WashU", age=[30.0, 50.0, 70.0], sex="F", target=[0, 1, 0])


def metrics() -> pd.DataFrame:
    columns = ["model", "cohort", "part", "group", "metric", "value", "ci_low", "ci_high", "interval", "n"]
    return pd.DataFrame(
        [
            ["network", "oasis1", "held-out", "all", "mae", 4.5, 3.5, 5.5, "bca", 3],
            ["network", "oasis1", "held-out", "sex=F", "mae", 4.0, 3.0, 5.0, "bca", 2],
            ["network", "oasis1", "validation", "all", "mae", 4.1, 3.1, 5.1, "bca", 3],
            ["network", "oasis1", "held-out", "all", "r2", 0.5, float("nan"), float("nan"), "none", 3],
            ["mean", "oasis1", "held-out", "all", "mae", 14.5, 13.5, 15.5, "bca", 3],
        ],
        columns=columns,
    )


def configuration(task: str = "regression", **changes) -> dict:
    cohorts = {"oasis1": {"source": "oasis1", "accept_data_use_agreement": True}, "ixi": {"source": "ixi"}}
    experiment = {"task": task, "target": TARGETS[task], "cohorts": ["oasis1"]}
    network = {"name": "unet" if task == "segmentation" else "sfcn"}
    network["channels"] = CHANNELS[network["name"]]
    config = {"study": "toy", "cohorts": cohorts, "experiments": {"toy": experiment | {"network": network}}}
    config["preprocessing"] = {"spacing_mm": SPACING_MM, "shape": list(SHAPE)}
    return check_configuration(config, source="test") | changes


def write_member(folder: Path, network: str, task, options: dict, number: int) -> Path:
    """A model with random weights and statistics, as a training leaves it."""
    values = {"task": task.kind, "network": network, "channels": CHANNELS.get(network, []), "seed": number} | options
    settings = TrainingSettings(**values, classes=getattr(task, "classes", 2))
    torch.manual_seed(number)
    if task.kind == "regression":  # as of another fold
        task = Regression(task.soft_bins, task.low - number, task.high + number, task.mean + number, task.scale)
    model = network_of(settings, task)
    for name, buffer in model.named_buffers():
        if "running_mean" in name:
            buffer.copy_(torch.rand_like(buffer) * 0.1)
        elif "running_var" in name:
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    member, channels = folder / f"seed-{number}", len(settings.modalities)
    member.mkdir(parents=True)
    save_file(copied_weights(model), member / WEIGHTS)
    intensity = {"mean": [120.0 + number] * channels, "deviation": [70.0 - number] * channels}
    record = {"settings": settings.as_dict(), "task": task_values(task), "intensity": intensity, "validation_loss": 0.5}
    record |= {"parameters": 1, "epochs_run": 3, "best_epoch": 2, "seed": number, "device": "cpu", "torch": "2"}
    write_json(member / RUN, record)
    return member


def make_bundle(folder: Path, network: str, task, options: dict, count: int) -> dict[str, Path]:
    members = [write_member(folder / "members", network, task, options, number) for number in range(1, count + 1)]
    named = {member.name: member for member in members}
    write_bundle(folder / "bundle", "toy", named, metrics(), samples(), configuration(task.kind))
    return named


def run_bundle(folder: Path, scans: Path, output: Path) -> pd.DataFrame:
    run(
        config_file=str(folder / "configs" / "inference.json"),
        bundle_root=str(folder),
        dataset_dir=str(scans),
        output_dir=str(output),
        device="$torch.device('cpu')",
    )
    return pd.read_csv(output / "predictions.tsv", sep="\t")


@pytest.mark.parametrize(("network", "task", "options", "count"), CASES.values(), ids=CASES)
def test_monai_gives_the_pipelines_own_predictions(preproc, tmp_path, network, task, options, count):
    members = make_bundle(tmp_path, network, task, options, count)
    modalities = tuple(options.get("modalities", ["T1w"]))
    pack_scans(list(SCANS), preproc, tmp_path / "images.npy", tmp_path / "labels.npy", modalities)
    place, rows = ("oasis1", "held-out"), samples()
    packed = PackedImages({place: np.load(tmp_path / "images.npy")}, {}, {place: list(range(len(modalities)))})
    own = {}
    for name, member in members.items():
        own[name] = predict(read_model(member, CPU), rows, packed, tmp_path / name / "probabilities.npy")

    found = run_bundle(tmp_path / "bundle", preproc, tmp_path / "predictions")

    if task.kind == "segmentation":
        for index, scan_id in enumerate(SCANS):
            expected = label_map(sum(maps[index].astype(float) for maps in own.values()))
            image = nib.load(tmp_path / "predictions" / labels_name(scan_id))
            assert len(np.unique(expected)) > 1
            assert (np.asarray(image.dataobj) != expected).mean() < 1e-4  # a rounding may fall to the other side
            np.testing.assert_allclose(image.affine, study_grid(SPACING_MM, SHAPE).affine)
            volume = found[(found["scan_id"] == scan_id) & (found["tissue"] == "GM")]["volume_ml"].item()
            assert volume == pytest.approx((expected == 2).sum() * SPACING_MM**3 / 1000, rel=1e-3, abs=0.2)
        return
    expected = average_values({name: value_rows(rows, values) for name, values in own.items()})
    assert found["scan_id"].tolist() == expected["scan_id"].tolist()
    columns = [name for name in expected if name.startswith("prob")] + ["prediction"]
    assert set(columns) < set(found)
    assert expected[columns[0]].nunique() == len(SCANS)
    np.testing.assert_allclose(found[columns], expected[columns], rtol=1e-5, atol=3e-6)


def test_bundle_is_whole_by_monais_own_checks(preproc, tmp_path):
    make_bundle(tmp_path, "sfcn", THREE, MULTIMODAL, 1)
    sys.path.insert(1, str(tmp_path / "bundle"))
    config, meta = (str(tmp_path / "bundle" / "configs" / name) for name in ("inference.json", "metadata.json"))
    places = {"bundle_root": str(tmp_path / "bundle"), "dataset_dir": str(preproc)}
    workflow = ConfigWorkflow(config, meta, logging_file=False, workflow_type="infer", **places)
    workflow.initialize()
    assert workflow.check_properties() == []
    verify_net_in_out(net_id="network_def", meta_file=meta, config_file=config, device="cpu")


def test_metadata_tells_use_input_and_figures_with_intervals(tmp_path):
    make_bundle(tmp_path, "sfcn", BINS, {}, 2)
    found = json.loads((tmp_path / "bundle" / "configs" / "metadata.json").read_text())
    required = (
        "version changelog monai_version pytorch_version numpy_version required_packages_version task description"
    )
    assert set(f"{required} authors copyright network_data_format schema intended_use".split()) <= set(found)
    assert found["version"] in found["changelog"] and "nibabel" in found["required_packages_version"]
    image = found["network_data_format"]["inputs"]["image"]
    assert image["spatial_shape"] == list(SHAPE) and image["channel_def"] == {"0": "T1w"}
    assert found["network_data_format"]["outputs"]["pred"]["num_channels"] == BINS.outputs
    measured = {row["metric"]: row for row in found["neurocohort"]["measured"]}
    assert set(measured) == {"mae", "r2"} and found["eval_metrics"]["mae (oasis1, held-out)"] == 4.5
    assert (measured["mae"]["ci_low"], measured["mae"]["ci_high"], measured["mae"]["n"]) == (3.5, 5.5, 3)
    assert measured["r2"]["ci_low"] is None
    assert list(found["neurocohort"]["members"]) == ["seed-1", "seed-2"]
    assert "Not a medical device" in found["intended_use"]


def test_results_by_test_fold_are_not_said_to_be_those_of_the_whole_bundle(tmp_path):
    member, own = write_member(tmp_path / "members", "sfcn", VALUE, {}, 1), samples().assign(test_fold=[1, 2, 1])
    write_bundle(tmp_path / "bundle", "toy", {member.name: member}, metrics(), own, configuration())
    measured = json.loads((tmp_path / "bundle" / "configs" / "metadata.json").read_text())
    parts = {row["part"] for row in measured["neurocohort"]["measured"]}
    assert parts == {"held-out, each by the networks of the own test fold alone"}


def test_members_of_different_networks_are_refused(tmp_path):
    networks = {"a": "sfcn", "b": "resnet18"}
    members = {name: write_member(tmp_path / name, network, VALUE, {}, 1) for name, network in networks.items()}
    with pytest.raises(InputError, match="`network` is sfcn in a and resnet18 in b"):
        write_bundle(tmp_path / "bundle", "toy", members, metrics(), samples(), configuration())


def test_bundle_needs_nothing_of_this_package(tmp_path):
    make_bundle(tmp_path, "sfcn", BINS, {}, 1)
    for script in (tmp_path / "bundle" / "scripts").glob("*.py"):
        assert not [line for line in script.read_text().splitlines() if "import" in line and "neurocohort" in line]
    card = (tmp_path / "bundle" / "docs" / "README.md").read_text()
    assert "python -m monai.bundle run" in card and "Intended use" in card


@pytest.mark.parametrize("network", ["sfcn", "resencunet"])
def test_bundle_has_the_source_of_a_network_that_is_not_monais(tmp_path, network):
    make_bundle(tmp_path, network, VALUE if network == "sfcn" else Segmentation(), {}, 1)
    source = (tmp_path / "bundle" / "scripts" / "network.py").read_text()
    assert "neurocohort." not in source and "(nn.Module)" in source


def test_bundle_names_the_packages_that_its_network_needs(tmp_path):
    make_bundle(tmp_path, "swinunetr", Segmentation(), {"patch": [32, 64, 32]}, 1)
    metadata = json.loads((tmp_path / "bundle" / "configs" / "metadata.json").read_text())
    assert set(metadata["required_packages_version"]) == {"nibabel", "einops"}
    assert "pip install monai torch nibabel einops fire" in (tmp_path / "bundle" / "docs" / "README.md").read_text()


def test_licence_is_that_of_the_training_data():
    config = configuration()
    assert "Data Use Agreement" in licence_text("toy", config) and "CC" not in licence_text("toy", config)
    config["experiments"]["toy"]["cohorts"] = ["ixi", "mine"]
    config["cohorts"]["mine"] = {"source": "bids"}
    text = licence_text("toy", config)
    assert "ShareAlike 3.0" in text and "terms of their owner" in text and "Data Use Agreement" not in text
    assert "ShareAlike" not in licence_text("toy", config | {"demo_data": True})
    config["experiments"]["toy"]["transfer"] = {"weights": "other.safetensors"}
    assert "started from other.safetensors" in licence_text("toy", config)


def test_safetensors_are_read_as_by_their_own_package(tmp_path):
    tensors = {
        "a.weight": torch.randn(3, 2, 1),
        "half": torch.randn(5).half(),
        "brain": torch.randn(4).bfloat16(),
        "count": torch.tensor(7),
        "flag": torch.tensor([True]),
        "none": torch.zeros(0, 3),
    }
    save_file(tensors, tmp_path / "some.safetensors", metadata={"made": "here"})
    found, expected = read_safetensors(tmp_path / "some.safetensors"), load_file(tmp_path / "some.safetensors")
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name
    whole = (tmp_path / "some.safetensors").read_bytes()
    for length in (4, 40, len(whole) - 1):
        (tmp_path / "part.safetensors").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"part\.safetensors"):
            read_safetensors(tmp_path / "part.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data, affine: (data[:, 1:], affine), "has .* voxels and the model expects"),
        (lambda data, affine: (data, affine + np.eye(4, k=3)), "is not on the model's grid"),
        (lambda data, affine: (data * 255, affine), "has intensities from 0 to 25[45].*expects 0 to 1"),
        (lambda data, affine: (data * 0, affine), "has intensities from 0 to 0"),
    ],
    ids=["another shape", "another place", "another scale", "empty"],
)
def test_scan_that_was_prepared_otherwise_is_refused(change, message):
    grid = study_grid(SPACING_MM, SHAPE)
    data, affine = change(torch.from_numpy(np.random.default_rng(0).random((1, *SHAPE), dtype=np.float32)), grid.affine)
    image = MetaTensor(data - data.min(), affine=torch.from_numpy(affine), meta={"filename_or_obj": "folder/a.nii.gz"})
    with pytest.raises(ValueError, match=rf"^a\.nii\.gz {message}"):
        to_levels(image, list(SHAPE), grid.affine.tolist())


def test_folder_without_its_scans_is_said(preproc, tmp_path):
    with pytest.raises(ValueError, match="contains no preprocessed scan"):
        find_scans(str(tmp_path), ["T1w"])
    with pytest.raises(ValueError, match=r"sub-01_ses-1 has no .*preproc_FLAIR"):
        find_scans(str(preproc), ["T1w", "FLAIR"])
    assert [scan["scan_id"] for scan in find_scans(str(preproc), ["T1w", "T2w"])] == list(SCANS)
