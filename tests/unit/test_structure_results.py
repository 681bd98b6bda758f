"""Structures with names after ingest: mirrored images, predictions, absent structures, baselines, and the files of a model."""

import json
from functools import partial

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from neurocohort.apply.bids_app import layout
from neurocohort.dataset.folds import BaselineFit
from neurocohort.evaluation.baselines import atlases
from neurocohort.evaluation.details import details
from neurocohort.evaluation.evaluate import evaluate
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.lesions import LesionCounts, lesion_counts
from neurocohort.evaluation.segmentation_details import structure_values
from neurocohort.export.bundle_files import evaluator, outputs
from neurocohort.files import read_table
from neurocohort.imaging.label_names import LABELS, label_table
from neurocohort.learning.augmentation import AugmentationParameters, augment
from neurocohort.learning.data import Intensity, PackedImages
from neurocohort.learning.inference import predict
from neurocohort.learning.model_files import Model
from neurocohort.learning.prediction_tables import overlap_rows
from neurocohort.learning.settings import TrainingSettings
from neurocohort.learning.tasks import Segmentation, fit_task, task_from, task_values
from neurocohort.report import viewers
from neurocohort.structures import TISSUES
from torch import nn

STRUCTURES = ("lesion", "side_left", "side_right", "stem")
SHAPE = (8, 6, 4)
INTENSITY = Intensity([100.0], [50.0])
PACK = ("toy", "held-out")
QUICK = Bootstrap(100, seed=1)


def head() -> np.ndarray:
    """A label map with a lesion in the left half, both sides, and a stem in the middle."""
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[0:2], labels[6:8], labels[3:5], labels[1, 1, 1] = 2, 3, 4, 1
    return labels


# --- learning -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (0.0, 1e-7, 0.0)])  # without and with interpolation
def test_a_mirrored_training_image_has_left_and_right_exchanged(shift):
    labels, task = torch.from_numpy(head()), Segmentation(STRUCTURES)
    drawn = [AugmentationParameters(flip=True, shift=shift), AugmentationParameters(shift=shift)]
    images = [torch.full((1, *SHAPE), 100, dtype=torch.uint8)] * 2
    _, moved = augment(images, [labels] * 2, drawn, INTENSITY, mirrored_labels=task.mirrored_labels)
    mirrored = head()[::-1]
    expected = np.array([0, 1, 3, 2, 4])[mirrored]
    np.testing.assert_array_equal(moved[0].numpy(), expected)
    assert (moved[0].numpy()[0:2, 3] == 2).all(), "what is on the left is called left"
    np.testing.assert_array_equal(moved[1].numpy(), head())


def test_tissues_are_mirrored_as_before():
    assert Segmentation().mirrored_labels is None and Segmentation(("lesion",)).mirrored_labels is None


class ByPlace(nn.Module):
    """Calls the left half of an image side_left, and the right half side_right."""

    def forward(self, inputs):
        found = torch.zeros((len(inputs), len(STRUCTURES) + 1, *inputs.shape[2:]))
        half = inputs.shape[2] // 2
        found[:, 2, :half], found[:, 3, half:] = 20, 20
        return found


def test_mirror_averaging_exchanges_left_and_right(tmp_path):
    packed = PackedImages({PACK: np.full((1, 1, *SHAPE), 90, dtype=np.uint8)}, {}, {PACK: [0]})
    settings = TrainingSettings(task="segmentation", network="unet", structures=[*STRUCTURES], mirror_averaging=True)
    model = Model(ByPlace(), Segmentation(STRUCTURES), settings, INTENSITY, torch.device("cpu"))
    samples = pd.DataFrame({"cohort": ["toy"], "pack": ["held-out"], "row": [0], "scan_id": ["sub-1"]})
    found = predict(model, samples, packed, tmp_path / "probabilities.npy")[0]
    assert found.shape == (5, *SHAPE)
    assert (found[2, :4] == 255).all() and (found[3, 4:] == 255).all()
    member = evaluator.members_of([ByPlace()], [lambda x: x], [outputs.classes], [0, 1, 3, 2, 4])[0]

    class Inferer:
        def __call__(self, inputs, network):
            return network(inputs)

    class Levels(torch.Tensor):
        def as_tensor(self):
            return torch.Tensor(self)

    scan = torch.full((1, *SHAPE), 90.0).as_subclass(Levels)
    own = evaluator.Evaluator(torch.device("cpu"), [], [member], Inferer(), None, "", mirror_averaging=True)
    np.testing.assert_allclose(own._prediction(scan, member).numpy() * 255, found, atol=0.51)


def test_the_record_of_a_training_has_the_names_in_their_order():
    settings = TrainingSettings(task="segmentation", network="unet", structures=[*STRUCTURES])
    task = fit_task(settings, None)
    assert task.outputs == 5
    assert task_values(task) == {"kind": "segmentation", "structures": STRUCTURES, "loss_name": "dice_ce"}
    assert task_from(json.loads(json.dumps(task_values(task)))) == task
    tissues = fit_task(TrainingSettings(task="segmentation", network="unet"), None)
    assert task_values(tissues) == {"kind": "segmentation"} and task_from({"kind": "segmentation"}) == tissues
    assert tissues.structures == TISSUES and tissues.outputs == 4


def test_the_loss_is_defined_where_structures_are_absent():
    task = Segmentation(STRUCTURES)
    logits = torch.zeros((2, 5, *SHAPE), requires_grad=True)
    loss = task.loss(logits, torch.stack([torch.from_numpy(head()), torch.zeros(SHAPE, dtype=torch.uint8)]))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


# --- evaluation -----------------------------------------------------------------------------------------------------


def cohort(count=6, lesions=()):
    """Samples whose last three references have no lesion; of two of these one is found, and one of the others is missed."""
    samples = pd.DataFrame({"scan_id": [f"s{n}" for n in range(count)]})
    samples = samples.assign(
        cohort="a", part="held-out", participant_id=samples["scan_id"], site="x", age=50.0, sex="F"
    )
    references = [np.where((head() == 1) & (number >= 3), 0, head()) for number in range(count)]
    predicted = [one.copy() for one in references]
    predicted[0][predicted[0] == 1] = 0
    predicted[4][5, 5, 3] = predicted[5][5, 5, 3] = 1
    surfaces = partial(structure_values, structures=STRUCTURES, lesions=lesions)
    return overlap_rows(samples, predicted, references, 2.0, surfaces, STRUCTURES)


def test_dice_is_missing_where_neither_map_has_the_structure_and_0_where_one_has():
    rows = cohort().set_index(["tissue", "scan_id"])
    assert rows.index.levels[0].tolist() == sorted(STRUCTURES)
    lesions = rows.loc["lesion"]
    np.testing.assert_array_equal(lesions["dice"], [0, 1, 1, np.nan, 0, 0])
    assert lesions["empty"].tolist() == ["prediction", "no", "no", "both", "reference", "reference"]
    np.testing.assert_array_equal(lesions["surface_dice_1mm"], [0, 1, 1, np.nan, 0, 0])
    np.testing.assert_array_equal(lesions["hd95_mm"], [np.nan, 0, 0, np.nan, np.nan, np.nan])
    assert lesions["reference_ml"].tolist() == [0.008] * 3 + [0] * 3
    assert (rows.loc["stem", "dice"] == 1).all()


def test_missed_and_false_structures_are_counted_and_volumes_compared():
    table = cohort()
    nothing = pd.DataFrame(columns=[*table, "model"])
    found = details(table, nothing, table, None, "segmentation", QUICK)
    values = found.set_index(["group", "metric"])["value"]
    assert values["tissue=lesion", "with_structure"] == 3 and values["tissue=lesion", "without_structure"] == 3
    assert values["tissue=lesion", "found_where_absent"] == 2 and values["tissue=lesion", "empty_predictions"] == 1
    assert values["tissue=stem", "without_structure"] == values["tissue=stem", "found_where_absent"] == 0
    assert values["tissue=lesion", "volume_bias_ml"] == pytest.approx(0.008 / 6, abs=1e-6)
    assert values["tissue=lesion", "volume_error_ml"] == pytest.approx(3 * 0.008 / 6, abs=1e-6)
    metrics = evaluate(table, nothing, "segmentation", QUICK).set_index(["group", "metric"])
    assert metrics.loc[("tissue=lesion", "dice"), "value"] == pytest.approx(2 / 5)
    assert metrics.loc[("tissue=lesion", "dice"), "n"] == 5


def test_tissues_have_no_new_rows():
    table = cohort().replace({"tissue": dict(zip(STRUCTURES, (*TISSUES, "GM"), strict=True))})
    table = table.drop_duplicates(["scan_id", "tissue"])
    found = details(table, pd.DataFrame(columns=[*table, "model"]), table, None, "segmentation", QUICK)
    assert set(found["metric"]) == {"volume_bias_ml", "volume_lower_ml", "volume_upper_ml", "empty_predictions"}


def test_lesions_are_connected_by_corners_and_found_where_they_are_overlapped():
    reference, predicted = np.zeros((12, 12, 12), dtype=bool), np.zeros((12, 12, 12), dtype=bool)
    reference[1:3, 1:3, 1:3] = reference[3, 3, 3] = True  # one, which a corner connects
    reference[8, 8, 8] = reference[10, 10, 8] = True
    predicted[2:5, 2:5, 2:5] = predicted[8, 8, 8:11] = predicted[0, 11, 11] = True
    assert lesion_counts(predicted, reference) == LesionCounts(3, 2, 1)
    assert lesion_counts(predicted, predicted & False) == LesionCounts(0, 0, 3)
    assert lesion_counts(predicted & False, reference) == LesionCounts(3, 0, 0)


def test_details_have_the_detection_of_lesions():
    table = cohort(lesions=("lesion",))
    assert table.loc[table["tissue"] == "stem", "lesions"].isna().all()
    found = details(table, pd.DataFrame(columns=[*table, "model"]), table, None, "segmentation", QUICK)
    values = found[found["setting"] == "lesions"].set_index(["group", "metric"])["value"]
    assert values.to_dict() == {
        ("tissue=lesion", "lesion_sensitivity"): pytest.approx(2 / 3, abs=1e-6),
        ("tissue=lesion", "false_lesions"): pytest.approx(2 / 6, abs=1e-6),
    }


def test_the_atlas_has_all_structures():
    fit = BaselineFit(0, np.ones(3, bool), np.zeros(3, bool))
    maps = [head(), head(), np.zeros_like(head())]
    np.testing.assert_array_equal(atlases([fit], lambda rows: iter(maps), len(STRUCTURES))[0], head())


# --- the files of a model -------------------------------------------------------------------------------------------


def test_label_maps_get_a_table_of_the_names():
    assert label_table(TISSUES) is LABELS
    assert label_table(STRUCTURES).to_dict("list") == {
        "index": [0, 1, 2, 3, 4],
        "name": ["Background", *STRUCTURES],
    }


def test_a_bundle_has_the_volume_of_each_structure(tmp_path):
    probabilities = torch.stack([torch.from_numpy(head() == label).float() for label in range(5)])
    rows = outputs.label_rows("s1", [probabilities], str(tmp_path), np.diag([2.0, 2, 2, 1]), "MNI", STRUCTURES)
    assert {row["tissue"]: row["volume_ml"] for row in rows} == {
        name: round(int((head() == label).sum()) * 0.008, 3) for label, name in enumerate(STRUCTURES, start=1)
    }
    np.testing.assert_array_equal(nib.load(tmp_path / "s1_space-MNI_dseg.nii.gz").dataobj, head())


def test_the_bids_app_names_the_structures_of_each_model(tmp_path):
    (tmp_path / "raw").mkdir()
    layout.write_dataset_files(tmp_path / "raw", tmp_path / "out", {"tissue": TISSUES, "own": STRUCTURES})
    assert read_table(tmp_path / "out" / "dseg.tsv")["name"].iloc[1] == "Cerebrospinal Fluid"
    assert read_table(tmp_path / "out" / "desc-own_dseg.tsv")["name"].tolist() == ["Background", *STRUCTURES]


def test_each_structure_has_a_colour_in_the_viewer():
    assert viewers.colours_of(TISSUES) == {"CSF": "#0072B2", "GM": "#009E73", "WM": "#F0E442"}
    many = [f"r{number}" for number in range(12)]
    assert len(set(viewers.colours_of(many).values())) == 12
    data = np.ones((12, 12, 12), dtype=np.float32)
    for count in (1, 5):
        labels = (np.arange(12**3).reshape(12, 12, 12) % (count + 1)).astype(np.uint8)
        assert "<html" in viewers.viewer_page(data, labels, np.eye(4) * 2, many[:count])
