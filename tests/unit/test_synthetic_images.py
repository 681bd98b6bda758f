"""Images painted from label maps have random contrast and the scan's anatomy; all else of a training stays as it is."""

import itertools

import numpy as np
import pytest
import torch
from neurocohort.imaging.intensity import normalise
from neurocohort.learning.augmentation import AugmentationParameters
from neurocohort.learning.batches import Batch, BatchSource, TrainingBatches, evaluation_batches
from neurocohort.learning.data import Intensity, PackedImages, to_input
from neurocohort.learning.scan_order import epoch_order
from neurocohort.learning.settings import Augmentation, Synthetic, TrainingSettings
from neurocohort.learning.synthetic_images import Painter, Regions, regions_of
from neurocohort.learning.tasks import Segmentation
from neurocohort.learning.training import parts_of
from neurocohort.study.members import training_settings
from toy_training import CPU, toy_cohort, toy_settings

INTENSITY = Intensity([120.0], [50.0])
STILL = Augmentation(
    flip=False, rotation_degrees=0, shift=0, scale=0, log_gamma=0, bias_field=0, noise=0, blur_voxels=0
)
PLAIN = {"log_gamma": 0.0, "bias_field": 0.0, "blur_voxels": 0.0, "low_resolution": 0.0}
TASK = Segmentation(("core_left", "core_right"))
SHAPE = (24, 26, 28)


def brain() -> tuple[np.ndarray, np.ndarray]:
    """A ball with two kinds of tissue, noise, a dark voxel inside, and a structure on each side."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, side) for side in SHAPE], indexing="ij")
    ball = np.sqrt(x**2 + y**2 + z**2) < 0.9
    noise = np.random.default_rng(0).integers(0, 12, SHAPE)
    image = np.where(ball, np.where(z < 0, 60, 180) + noise, 0).astype(np.uint8)
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[5:9, 11:15, 12:16], labels[15:19, 11:15, 12:16] = 1, 2
    image[12, 13, 20] = 0
    return image, labels


def painter(channels: int = 1, scale: str = "percentile", seed: int = 1, **synthetic) -> Painter:
    settings = TrainingSettings(
        task="segmentation",
        network="unet",
        seed=seed,
        intensity_scale=scale,
        synthetic=Synthetic(**{"fraction": 1.0} | synthetic),
    )
    return Painter(settings.synthetic, settings, TASK.mirrored_labels, channels)


def regions(tissue_classes: int = 6) -> Regions:
    return regions_of(*brain(), structures=2, tissue_classes=tissue_classes)


def painted(of: Painter, sample: int = 0, epoch: int = 0) -> torch.Tensor:
    return of.paint(regions(of.synthetic.tissue_classes), of.contrast(epoch, sample))


def source(synthetic: dict | None = None, **changes) -> tuple:
    """The training part of the toy cohort, and the source of its batches."""
    own = {} if synthetic is None else {"synthetic": Synthetic(**synthetic)}
    settings = toy_settings("segmentation", **own, **changes)
    samples, packed = toy_cohort("segmentation")
    return samples, BatchSource(packed, Segmentation(("core", "shell")), settings, INTENSITY, CPU)


def batches(synthetic: dict | None = None, rank: int = 0, **changes) -> TrainingBatches:
    samples, made = source(synthetic, **changes)
    return TrainingBatches(parts_of(samples, 0)[0], made, rank)


def epoch(number: int = 0, first_step: int = 0, **options) -> list[Batch]:
    return list(batches(**options).epoch(number, first_step))


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(one.inputs, other.inputs) and torch.equal(one.targets, other.targets)
        for one, other in zip(first, second, strict=True)
    )


def replaced(found: list[Batch], usual: list[Batch]) -> np.ndarray:
    """Which samples of an epoch differ from those of the scans."""
    pairs = zip(found, usual, strict=True)
    return np.array(
        [not torch.equal(*images) for one, other in pairs for images in zip(one.inputs, other.inputs, strict=True)]
    )


def test_without_a_fraction_batches_have_the_bits_of_a_training_without_the_key():
    assert same(epoch(synthetic={"fraction": 0.0, "log_gamma": 2.0}), epoch())
    assert batches().painter is None and batches(synthetic={"fraction": 0.0}).painter is None


def test_settings_of_a_training_are_as_before_where_nothing_is_painted():
    given = {"task": "segmentation", "network": {"name": "unet"}, "modalities": ["T1w"], "sweep": None}
    without, with_it = (
        training_settings(given | {"training": training}, "seed-1", intensity="zscore").as_dict()
        for training in ({}, {"synthetic": {"fraction": 0.5}})
    )
    assert set(with_it) - set(without) == {"synthetic", "intensity_scale"} and with_it["intensity_scale"] == "zscore"


def test_regions_are_the_structures_and_the_tissue_between_by_its_intensity():
    (image, labels), found = brain(), regions(2)
    classes = found.classes.numpy()
    inside = image > 0
    inside[12, 13, 20] = True
    assert np.array_equal(classes > 0, inside), "an enclosed dark voxel is brain, and the outside stays outside"
    assert np.array_equal(np.where(classes < 3, classes, 0), labels)
    assert set(classes[:, :, 5][classes[:, :, 5] > 2]) == {3} and set(classes[:, :, 25][classes[:, :, 25] > 2]) == {4}
    assert found.counts.tolist() == np.bincount(classes.ravel(), minlength=5).tolist()


def test_tissue_of_one_intensity_and_scans_that_are_all_labelled_are_painted_too():
    flat = np.full(SHAPE, 90, dtype=np.uint8)
    for labels in (np.zeros(SHAPE, dtype=np.uint8), np.ones(SHAPE, dtype=np.uint8)):
        found = regions_of(flat, labels, 2, 6)
        assert len(np.unique(found.classes)) == 1
        image = painter().paint(found, painter().contrast(0, 0))
        assert image.min() >= 1 and image.float().std() > 0


def test_outside_is_0_and_the_brain_is_not():
    inside = regions().classes > 0
    for sample in range(20):
        image = painted(painter(channels=2), sample)
        assert image.dtype == torch.uint8 and image.shape == (2, *SHAPE)
        assert ((image > 0) == inside).all()


def test_contrast_is_random_and_independent_of_the_scan():
    (image, labels), of = brain(), painter(tissue_classes=2)
    dark, bright = (((image > low) & (image < high) & (labels == 0)) for low, high in ((0, 100), (100, 255)))
    steps, structure = [], []
    for sample in range(200):
        levels = painted(of, sample)[0].numpy().astype(float)
        steps.append(levels[bright].mean() - levels[dark].mean())
        structure.append(levels[labels == 1].mean() - levels[dark].mean())
        left, right = (levels[labels == side] for side in (1, 2))
        assert abs(left.mean() - right.mean()) < 1 + left.std(), "left and right have the same intensity"
    shared = np.mean(np.abs(steps) < 3)
    assert 0.35 < shared < 0.65, "half of the images don't distinguish the two classes of tissue"
    for differences in (np.array(steps)[np.abs(steps) >= 3], np.array(structure)):
        assert 0.38 < (differences > 0).mean() < 0.62 and differences.std() > 40
    assert abs(np.corrcoef(steps, structure)[0, 1]) < 0.8


def test_channels_have_contrasts_of_their_own():
    means = np.array([painter(channels=2).contrast(0, sample).means[:, :4] for sample in range(200)])
    assert abs(np.corrcoef(means[:, 0].ravel(), means[:, 1].ravel())[0, 1]) < 0.15


@pytest.mark.parametrize("scale", ["percentile", "zscore"])
def test_images_are_scaled_as_the_preprocessing_scales_scans(scale):
    inside = (regions().classes > 0).numpy()
    for sample in range(12):
        levels = painted(painter(scale=scale), sample)[0].numpy().astype(np.float32)
        again = normalise(levels, inside, scale, inside)
        assert np.abs(again * 255 - levels)[inside].mean() < 6, sample


def test_seed_epoch_and_sample_determine_the_image():
    first = painted(painter(), 3, 2)
    assert torch.equal(first, painted(painter(), 3, 2))
    others = [painted(painter(seed=2), 3, 2), painted(painter(), 3, 1), painted(painter(), 4, 2)]
    assert not any(torch.equal(first, other) for other in others)


def test_fraction_changes_only_how_many_samples_are_painted():
    usual, some, more = (epoch(synthetic=one) for one in (None, {"fraction": 0.4}, {"fraction": 0.8}))
    few, many = replaced(some, usual), replaced(more, usual)
    assert 0 < few.sum() < many.sum() < len(many) and not (few & ~many).any()
    drawn = [painter(fraction=0.4).contrast(0, sample) is not None for sample in range(1000)]
    assert abs(np.mean(drawn) - 0.4) < 0.05
    for one, other in zip(some, more, strict=True):
        for index in range(len(one.inputs)):
            if few[index]:
                assert torch.equal(one.inputs[index], other.inputs[index])
        few = few[len(one.inputs) :]


def test_labels_flips_and_movements_are_those_of_the_scans():
    moved = Augmentation(elastic=0.02)
    for number in range(3):
        usual, found = (epoch(number, synthetic=one, augmentation=moved) for one in (None, {"fraction": 1.0}))
        assert replaced(found, usual).all()
        assert all(torch.equal(one.targets, other.targets) for one, other in zip(found, usual, strict=True))


def test_patches_are_boxes_of_the_painted_image():
    of = {"synthetic": {"fraction": 1.0, **PLAIN}, "augmentation": STILL, "batch_size": 12}
    whole, patched = (batches(**of, **patch) for patch in ({}, {"patch": [8, 8, 8], "foreground_fraction": 0.5}))
    (images,), (boxes,) = whole.epoch(0), patched.epoch(0)
    order = epoch_order(12, None, whole.settings.seed, 0)
    for number, image, box in zip(order, images.inputs, boxes.inputs, strict=True):
        x, y, z = patched._patch_start(0, int(number), AugmentationParameters())
        assert torch.equal(box, image[:, x : x + 8, y : y + 8, z : z + 8])


def test_changes_of_painted_images_have_their_own_limits_and_others_the_training_s():
    limits = painter(log_gamma=1.5, low_resolution=7.0).limits
    assert limits.log_gamma == 1.5 and limits.low_resolution == 7.0 and limits.bias_field == Synthetic().bias_field
    assert limits.rotation_degrees == Augmentation().rotation_degrees and limits.noise == Augmentation().noise
    plain = epoch(synthetic={"fraction": 0.5, **PLAIN})
    wide = epoch(synthetic={"fraction": 0.5, **PLAIN, "log_gamma": 2.0})
    usual = epoch()
    assert replaced(wide, plain).any() and not (replaced(wide, plain) & ~replaced(plain, usual)).any()


def test_workers_memory_and_threads_change_no_bit_and_two_epochs_differ():
    of = {"synthetic": {"fraction": 0.6}}
    expected, before = epoch(1, **of), torch.get_num_threads()
    try:
        for workers, kept, threads in itertools.product((0, 2), ("resident", "streamed"), (1, 2)):
            torch.set_num_threads(threads)
            assert same(epoch(1, **of, workers=workers, memory=kept), expected), (workers, kept, threads)
    finally:
        torch.set_num_threads(before)
    assert not same(epoch(0, **of), expected) and not same(epoch(1, **of, seed=2), expected)


def test_epoch_taken_up_at_a_step_goes_on_with_the_same_images():
    of = {"synthetic": {"fraction": 0.6}}
    whole = epoch(**of)
    assert len(whole) == 3
    for first in range(4):
        assert same(epoch(0, first, **of, workers=1), whole[first:])


def test_two_processes_paint_what_one_does():
    of = {"synthetic": {"fraction": 0.6}}
    ranks = [epoch(**of, processes=2, rank=rank) for rank in range(2)]
    for batch, *parts in zip(epoch(**of), *ranks, strict=True):
        assert torch.equal(torch.cat([part.inputs for part in parts]), batch.inputs)


def test_validation_uses_scans():
    samples, made = source({"fraction": 1.0})
    validation = parts_of(samples, 0)[1]
    (batch,) = evaluation_batches(validation, made)
    assert torch.equal(batch.inputs, to_input(made.packed.stack_images(validation), INTENSITY))


def test_memory_counts_the_regions(monkeypatch):
    samples, packed = toy_cohort("segmentation")
    assert isinstance(packed, PackedImages)
    needed = len(parts_of(samples, 0)[0]) * 2 * 16**3
    monkeypatch.setattr("neurocohort.learning.batches.free_memory", lambda device: 2 * needed + 1)
    assert batches(memory="auto").memory == "resident"
    assert batches(synthetic={"fraction": 0.5}, memory="auto").memory == "streamed"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_paints_the_same_bits_from_its_own_memory_and_streamed():
    samples, made = source({"fraction": 0.6})
    training = parts_of(samples, 0)[0]

    def on_gpu(**changes) -> list[Batch]:
        settings = made.settings.model_copy(update=changes)
        of = BatchSource(made.packed, made.task, settings, INTENSITY, torch.device("cuda"))
        return list(TrainingBatches(training, of).epoch(0))

    expected = on_gpu()
    assert all(batch.inputs.is_cuda for batch in expected)
    for workers, kept in itertools.product((0, 2), ("resident", "streamed")):
        assert same(on_gpu(workers=workers, memory=kept), expected), (workers, kept)
