"""A segmentation with few label maps also learns from scans without them, by a teacher, and resumes to the bit."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from neurocohort.errors import InputError
from neurocohort.learning.batches import BatchSource, TrainingBatches
from neurocohort.learning.checkpoint import Interrupted
from neurocohort.learning.data import PackedImages, intensity_statistics
from neurocohort.learning.loop import TrainingFiles
from neurocohort.learning.semi_supervised import ramp, unlabelled_loss
from neurocohort.learning.settings import TrainingSettings
from neurocohort.learning.tasks import Segmentation
from neurocohort.learning.training import Trained, train
from neurocohort.learning.unlabelled import UnlabelledBatches, training_part
from neurocohort.settings.semi_supervised import SemiSupervised
from toy_training import CPU, SIDE, stopped_at_step, toy_cohort, toy_settings, weights_hash

METHODS = ("mean_teacher", "pseudo_labels")
LABELLED = ["s0", "s1", "s4", "s5"]


def few_labels() -> tuple[pd.DataFrame, pd.DataFrame, PackedImages]:
    """Two training scans and one of validation with labels, and the other ten training scans, whose labels are wrong."""
    samples, packed = toy_cohort("segmentation")
    rest = samples[(samples["part"] == "train") & ~samples["scan_id"].isin(LABELLED)].reset_index(drop=True)
    for pack, row in packed.places(rest):
        packed.labels[pack][row] = 200  # would be an error if it were read
    return samples[samples["scan_id"].isin(LABELLED)].reset_index(drop=True), rest, packed


def semi(method: str = "mean_teacher", **changes) -> TrainingSettings:
    wanted = SemiSupervised(method=method, **{"threshold": 0.4} if method == "pseudo_labels" else {})
    return toy_settings("segmentation", semi_supervised=wanted, batch_size=1, **changes)


def run(folder, settings: TrainingSettings, name: str = "one.pt") -> Trained:
    labelled, rest, packed = few_labels()
    files = TrainingFiles(folder / name)
    others = rest if settings.semi_supervised else None
    return train(labelled, packed, settings, CPU, files, lambda line: None, unlabelled=others)


@pytest.mark.parametrize("method", METHODS)
def test_scans_without_labels_change_the_network_and_their_label_maps_are_never_read(tmp_path, method):
    settings = semi(method)
    trained, alone = run(tmp_path, settings), run(tmp_path, settings.model_copy(update={"semi_supervised": None}), "2")
    assert weights_hash(trained.weights) != weights_hash(alone.weights)
    assert (trained.unlabelled.scans, trained.unlabelled.participants) == (10, 10)
    assert alone.unlabelled is None and math.isfinite(trained.validation_loss)


@pytest.mark.parametrize("keep", ["best", "ema"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_stopped_training_ends_with_the_same_weights(tmp_path, method, keep, stop_after):
    settings = semi(method, keep=keep, epochs=2, workers=stop_after % 2)
    whole = run(tmp_path, settings, "whole.pt")
    with stopped_at_step(stop_after), pytest.raises(Interrupted):
        run(tmp_path, settings, "cut.pt")
    resumed = run(tmp_path, settings, "cut.pt")
    assert weights_hash(resumed.weights) == weights_hash(whole.weights)
    assert resumed.history == whole.history


def test_patches_and_several_levels_of_the_decoder_work(tmp_path):
    settings = semi(
        network="dynunet", channels=[4, 8, 8], deep_supervision=True, patch=[8, 8, 8], epochs=1, foreground_fraction=0.5
    )
    assert math.isfinite(run(tmp_path, settings).validation_loss)


def batches(**changes) -> UnlabelledBatches:
    labelled, rest, packed = few_labels()
    settings = semi(**changes).model_copy(update={"batch_size": 4})
    intensity = intensity_statistics(packed.each_image(labelled))
    source = BatchSource(packed, Segmentation(("core", "rest")), settings, intensity, CPU)
    return UnlabelledBatches(rest, source, steps=2)


def test_both_views_have_the_same_geometry_and_only_the_students_another_intensity():
    views = next(batches().epoch(0))
    assert views.student.shape == views.teacher.shape == (4, 1, SIDE, SIDE, SIDE)
    assert (views.student != views.teacher).any()
    for student, teacher, counted in zip(views.student, views.teacher, views.counted, strict=True):
        outside = teacher[0] == teacher[0].min()
        assert (student[0][outside] == student[0].min()).all()  # the outside is the same
        assert not (counted & outside).any() and counted.any()


def test_every_scan_is_taken_once_before_one_is_taken_again():
    own = batches()
    taken = [own.sample(number) for number in range(30)]
    assert all(sorted(taken[start : start + 10]) == [*range(10)] for start in (0, 10, 20))
    assert taken[:10] != taken[10:20]


def test_labelled_batches_stay_those_of_a_training_without_other_scans():
    labelled, _, packed = few_labels()
    source = BatchSource(
        packed, Segmentation(("a", "b")), semi(), intensity_statistics(packed.each_image(labelled)), CPU
    )
    plain = BatchSource(packed, source.task, toy_settings("segmentation", batch_size=1), source.intensity, CPU)
    for one, other in zip(
        TrainingBatches(labelled, source).epoch(0), TrainingBatches(labelled, plain).epoch(0), strict=True
    ):
        assert torch.equal(one.inputs, other.inputs)


def test_the_weight_rises_to_one():
    values = [ramp(step, 100, 0.4) for step in (0, 20, 39, 40, 99)]
    assert values[0] == pytest.approx(math.exp(-5)) and values[3:] == [1, 1] and np.all(np.diff(values) >= 0)
    assert ramp(0, 100, 0) == 1


def test_the_losses_have_known_values():
    outputs = torch.zeros(1, 2, 1, 1, 4)  # probabilities 0.5 and 0.5
    taught = torch.tensor([[1.0, 0.9, 0.2, 0.5], [0.0, 0.1, 0.8, 0.5]])[None, :, None, None]
    counted = torch.tensor([True, True, True, False])[None, None, None]
    squares = unlabelled_loss(outputs, taught, counted, SemiSupervised())
    assert float(squares) == pytest.approx(2 * (0.25 + 0.16 + 0.09) / 3)
    sure = unlabelled_loss(outputs, taught, counted, SemiSupervised(method="pseudo_labels", threshold=0.85))
    assert float(sure) == pytest.approx(2 * math.log(2) / 3)  # the third voxel isn't sure, the fourth is outside


def test_who_validates_is_never_learned_from_without_labels():
    labelled, rest, _ = few_labels()
    assert len(training_part(rest, labelled, 0)) == 10
    folded = training_part(rest, labelled.assign(part="train"), 1)
    assert len(folded) < 10 and 1 not in set(folded["fold"])
    second_session = rest.assign(participant_id=["p4", *rest["participant_id"][1:]])
    with pytest.raises(InputError, match="of participants who validate: s2; expected none"):
        training_part(second_session, labelled, 0)
    with pytest.raises(InputError, match=r"no scan without a label map.*`semi_supervised.labelled`"):
        training_part(rest.assign(part="validation"), labelled, 0)
