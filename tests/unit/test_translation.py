"""Translation of one kind of image into another: what networks get, what they learn from, and trainings that are resumed."""

import numpy as np
import pytest
import torch
from neurocohort.errors import InputError
from neurocohort.learning.batches import BatchSource, TrainingBatches, evaluation_batches
from neurocohort.learning.checkpoint import Interrupted
from neurocohort.learning.data import Intensity, PackedImages, intensity_statistics
from neurocohort.learning.loop import TrainingFiles
from neurocohort.learning.model_files import read_model, write_model
from neurocohort.learning.networks import build_network, weights_of
from neurocohort.learning.settings import TrainingSettings, read_settings
from neurocohort.learning.tasks import Translation, fit_task, task_from, task_values
from neurocohort.learning.training import Trained, train
from neurocohort.learning.translated import translated
from neurocohort.learning.translation import with_discriminators
from neurocohort.learning.translation_inputs import partners_of
from neurocohort.settings.translation import Translation as Wanted
from toy_training import CPU, SIDE, stopped_at_step, toy_cohort, weights_hash

METHODS = {
    "paired": Wanted(),
    "adversarial": Wanted(adversarial=0.1),
    "unpaired": Wanted(method="unpaired"),
}
INTENSITY = Intensity([100.0, 120.0], [40.0, 50.0])


def two_contrasts() -> tuple:
    """The balls of `toy_cohort`, whose second channel has the core bright and the rest dark."""
    samples, packed = toy_cohort("regression")
    images = {}
    for pack, scans in packed.images.items():
        second = np.where(scans > 0, 240 - scans, 0).astype(np.uint8)
        images[pack] = np.concatenate([scans, second], axis=1)
    both = PackedImages(images, packed.labels, {pack: [0, 1] for pack in images})
    return samples.assign(target="T2w"), both


def settings_of(method: str = "paired", **changes) -> TrainingSettings:
    values = {"task": "translation", "network": "unet", "channels": [4, 8], "translation": METHODS[method]}
    values |= {"target_channel": "T2w", "judged": False, "keep": "last" if method == "unpaired" else "best"}
    usual = TrainingSettings(**values, epochs=3, batch_size=4, learning_rate=0.01, workers=0, retrain=0)
    return usual.model_copy(update=changes)


def run(folder, method: str = "paired", name: str = "one.pt", **changes) -> Trained:
    samples, packed = two_contrasts()
    return train(samples, packed, settings_of(method, **changes), CPU, TrainingFiles(folder / name), lambda line: None)


def first_batch(method: str, **changes) -> tuple:
    samples, packed = two_contrasts()
    settings = settings_of(method, **changes)
    source = BatchSource(packed, fit_task(settings, None), settings, INTENSITY, CPU)
    rows = samples[samples["part"] == "train"].reset_index(drop=True)
    return rows, source, next(TrainingBatches(rows, source).epoch(0))


def test_a_network_never_gets_the_image_that_it_predicts():
    _, source, batch = first_batch("paired")
    assert batch.inputs.shape == (4, 1, SIDE, SIDE, SIDE) and batch.targets.shape == (4, 2, SIDE, SIDE, SIDE)
    samples, _ = two_contrasts()
    for one in evaluation_batches(samples[samples["part"] == "validation"], source):
        assert one.inputs.shape[1] == 1 and set(one.targets[:, 1].unique().tolist()) == {0, 1}


def test_intensities_of_the_target_are_not_augmented_and_its_geometry_is_that_of_the_source():
    still = {"rotation_degrees": 0, "shift": 0, "scale": 0, "flip": True}
    limits = settings_of().augmentation.model_copy(update=still | {"noise": 1.0, "log_gamma": 1.0})
    rows, source, batch = first_batch("paired", augmentation=limits)
    plain = [image[1] for image in source.packed.each_image(rows)]
    for image, target in zip(batch.inputs, batch.targets, strict=True):
        levels = target[0] * INTENSITY.deviation[1] + INTENSITY.mean[1]
        found = [torch.allclose(levels, torch.from_numpy(p).float(), atol=0.01) for p in plain]
        found += [torch.allclose(levels.flip(0), torch.from_numpy(p).float(), atol=0.01) for p in plain]
        assert sum(found) == 1
        assert ((image[0] > image[0].min()) <= (target[1] > 0)).all()


def test_the_two_images_of_an_unpaired_training_are_of_different_people():
    samples, _ = two_contrasts()
    twice = samples.assign(participant_id=[f"p{number // 2}" for number in range(len(samples))])
    partners = partners_of(twice, settings_of("unpaired"))
    people = twice["participant_id"].to_numpy()
    pairs = [(people[number % len(people)], people[partners.of(3, number)]) for number in range(200)]
    assert all(one != other for one, other in pairs) and len({other for _, other in pairs}) == 9
    assert partners.of(3, 5) == partners.of(3, 5) and partners_of(twice, settings_of("paired")) is None
    with pytest.raises(InputError, match="the training part has one participant; expected at least 2"):
        partners_of(samples.assign(participant_id="p"), settings_of("unpaired"))


def test_an_unpaired_batch_has_images_and_masks_of_two_people():
    _, _, batch = first_batch("unpaired")
    assert batch.inputs.shape == (4, 4, SIDE, SIDE, SIDE)
    source, target, inside_source, inside_target = batch.inputs.split(1, dim=1)
    limits = [(0.5 - mean) / deviation for mean, deviation in zip(INTENSITY.mean, INTENSITY.deviation, strict=True)]
    assert ((source > limits[0]) == (inside_source > 0)).all() and ((target > limits[1]) == (inside_target > 0)).all()


def test_a_generator_learns_nothing_from_the_discriminators_loss_and_the_reverse():
    task = Translation(adversarial=1.0)
    settings = settings_of("adversarial", translation=Wanted(adversarial=1.0))
    network = with_discriminators(build_network("unet", [4, 8], 1), settings, task, INTENSITY)
    inputs = first_batch("adversarial")[2].inputs
    gradients = {}
    for weight in (1.0, 2.0):
        network.task = Translation(adversarial=weight)
        network.zero_grad()
        network(inputs).mean().backward()
        gradients[weight] = {name: one.grad.clone() for name, one in network.named_parameters()}
    changed = {
        name
        for name, one in gradients[1.0].items()
        if not torch.allclose(one, gradients[2.0][name], rtol=1e-3, atol=1e-6)
    }
    assert changed and all(name.startswith("generator.") for name in changed)  # the weight concerns the generator alone
    assert all(
        one.abs().max() > 0 for name, one in gradients[1.0].items() if name == "discriminator.final_conv.conv.weight"
    )


def test_only_errors_inside_the_brain_count():
    task = Translation()
    true, counted = torch.zeros(2, 1, 2, 2, 2), torch.zeros(2, 1, 2, 2, 2)
    counted[:, :, 0] = 1
    outputs = torch.ones(2, 1, 2, 2, 2) * torch.tensor([1.0, 3.0])[:, None, None, None, None]
    outputs[:, :, 1] = 100
    assert task.loss(outputs, torch.cat([true, counted], dim=1)).item() == pytest.approx(2)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stop_after", [1, 4])
def test_a_stopped_training_ends_with_the_same_weights(tmp_path, method, stop_after):
    whole = run(tmp_path, method, "whole.pt", epochs=2, workers=stop_after % 2)
    with stopped_at_step(stop_after), pytest.raises(Interrupted):
        run(tmp_path, method, "cut.pt", epochs=2, workers=stop_after % 2)
    resumed = run(tmp_path, method, "cut.pt", epochs=2, workers=stop_after % 2)
    assert weights_hash(resumed.weights) == weights_hash(whole.weights) and resumed.history == whole.history


@pytest.mark.parametrize("method", METHODS)
def test_the_model_is_the_generator_alone(tmp_path, method):
    settings = settings_of(method, epochs=1)
    trained = run(tmp_path, method, epochs=1)
    assert set(trained.weights) == set(weights_of(build_network("unet", [4, 8], 1)))
    assert trained.parameters == sum(one.numel() for one in trained.weights.values())
    write_model(tmp_path, trained, settings, CPU)
    model = read_model(tmp_path, CPU)
    assert model.task == task_from(task_values(trained.task)) and model.settings == read_settings(settings.as_json())
    _, packed = two_contrasts()
    scan = packed.image(("toy", "held-out"), 0)
    found = translated([model, model], scan[:1])
    assert found.shape == (SIDE, SIDE, SIDE) and found.dtype == np.float32
    assert (found[scan[0] == 0] == 0).all() and found.min() >= 0 and found.max() <= 1
    assert (found == translated([model], scan[:1])).all()


def test_a_paired_training_learns_the_other_contrast(tmp_path):
    trained = run(tmp_path, epochs=12)
    losses = [row.validation_loss for row in trained.history]
    assert losses[-1] < 0.9 * losses[0] and trained.judgement.learned is None
    assert "baselines" in trained.judgement.reason
    assert len(trained.intensity.mean) == 2
    samples, packed = two_contrasts()
    train_rows = samples[samples["part"] == "train"]
    assert trained.intensity == intensity_statistics(packed.each_image(train_rows))
