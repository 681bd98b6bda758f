"""Augmentation changes what it says, by no more than its limits, and labels move with their scans."""

import dataclasses

import numpy as np
import pytest
import torch
from neurocohort.learning.augmentation import (
    AugmentationParameters,
    Box,
    ChannelParameters,
    Slices,
    augment,
    draw,
    remapped_levels,
    thick_slices,
)
from neurocohort.learning.data import Intensity, to_input
from neurocohort.learning.resampling import resample, resample_labels, source_box
from neurocohort.learning.settings import Augmentation
from scipy import ndimage
from scipy.spatial.transform import Rotation

SHAPE = (20, 24, 16)
NOTHING = Augmentation(
    flip=False, rotation_degrees=0, shift=0, scale=0, log_gamma=0, bias_field=0, noise=0, blur_voxels=0
)
EVERYTHING = Augmentation(bias_field=0.2, blur_voxels=0.8)
OPTIONAL = {"elastic": 0.03, "low_resolution": 4.0, "cutout": 0.4}
TURNED = {"angles": (0.1, -0.07, 0.12), "shift": (0.02, -0.03, 0.04), "scale": 1.03}


def head(shape=SHAPE, channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """A smooth ellipsoid (1, C, X, Y, Z), brighter to its middle, and its labels (1, X, Y, Z): 1, and 2 in the left half."""
    place = np.stack(np.meshgrid(*[np.linspace(-1, 1, side) for side in shape], indexing="ij"))
    distance = np.sqrt((place**2).sum(axis=0))
    image = np.where(distance < 0.8, 60 + 150 * np.clip(0.8 - distance, 0, None), 0).astype(np.uint8)
    labels = np.where(distance < 0.8, np.where(place[0] < 0, 2, 1), 0).astype(np.uint8)
    return torch.from_numpy(np.stack([image] * channels))[None], torch.from_numpy(labels)[None]


def apply(drawn: AugmentationParameters, image: torch.Tensor, labels=None, mean=None, deviation=None, **box):
    channels = image.shape[1]
    intensity = Intensity(mean or [0.0] * channels, deviation or [1.0] * channels)
    return augment(image, labels, [drawn], intensity, **box)


def looks(**changes) -> AugmentationParameters:
    return AugmentationParameters(channels=(ChannelParameters(**changes),))


def test_optional_changes_leave_the_others_as_they_are_and_keep_their_limits():
    plain, drawn = (
        [draw(limits, 5, 0, n) for n in range(400)] for limits in (Augmentation(), Augmentation(**OPTIONAL))
    )
    for one, other in zip(drawn, plain, strict=True):
        optional = {"bend": None, "slices": None, "box": None}
        np.testing.assert_equal(dataclasses.asdict(one) | optional, dataclasses.asdict(other))
    assert [one.bend is not None for one in drawn] == [one.moved for one in plain], "half of the scans keep their grid"
    for name, amounts in {
        "elastic": [np.abs(one.bend).max() for one in drawn if one.bend is not None],
        "low_resolution": [one.slices.thickness for one in drawn if one.slices],
        "cutout": [max(one.box.sides) for one in drawn if one.box],
    }.items():
        assert 0.42 < len(amounts) / len(drawn) < 0.58, name
        assert 0.95 * OPTIONAL[name] < max(amounts) <= OPTIONAL[name], name
    assert {one.slices.axis for one in drawn if one.slices} == {0, 1, 2}


def test_a_random_map_of_intensities_is_increasing_and_changes_nothing_else():
    plain, drawn = (
        [draw(limits, 5, 0, n, 2) for n in range(200)] for limits in (Augmentation(), Augmentation(histogram=0.7))
    )
    slopes = []
    for one, other in zip(drawn, plain, strict=True):
        slopes.append([channel.log_slopes for channel in one.channels])
        left = [dataclasses.replace(channel, log_slopes=None) for channel in one.channels]
        np.testing.assert_equal(
            dataclasses.asdict(dataclasses.replace(one, channels=tuple(left))), dataclasses.asdict(other)
        )
    used = [pair for pair in slopes if pair[0] is not None]
    assert 0.4 < len(used) / len(drawn) < 0.6 and all((first != second).any() for first, second in used)
    assert 0.65 < np.abs(used).max() <= 0.7
    levels = np.arange(256)
    for log_slopes in (np.zeros(6), *np.random.default_rng(1).uniform(-3, 3, (20, 6))):
        found = remapped_levels(levels, log_slopes)
        assert (np.diff(found) > 0).all() and found[0] == 0 and found[-1] == pytest.approx(255, abs=1e-3)
        np.testing.assert_allclose(found, levels, atol=1e-3) if not log_slopes.any() else None
    image, _ = head()
    found, _ = apply(looks(log_slopes=np.array([1.0, -1, 1, -1, 0, 0])), image)
    expected = remapped_levels(levels, np.array([1.0, -1, 1, -1, 0, 0]))[image.numpy()]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-3)
    assert (found[image == 0] == 0).all()


def test_bend_moves_scan_and_labels_by_its_displacement():
    """Displacements that are the same at all nodes are a shift."""
    image, labels = head()
    shift = np.array([0.1, -0.125, 0.0])  # 2, -3 and 0 voxels of 20, 24 and 16
    bent = AugmentationParameters(bend=np.broadcast_to(shift[:, None, None, None], (3, 5, 5, 5)).copy())
    shifted = AugmentationParameters(shift=tuple(shift))
    found, expected = apply(bent, image, labels), apply(shifted, image, labels)
    torch.testing.assert_close(found[0], expected[0], atol=2e-3, rtol=0)
    assert torch.equal(found[1], expected[1])
    patch = {"patch": (8, 8, 8), "starts": [(5, 6, 3)]}
    torch.testing.assert_close(
        apply(bent, image, labels, **patch)[0], found[0][:, :, 5:13, 6:14, 3:11], atol=2e-3, rtol=0
    )


def test_thick_slices_are_means_along_one_axis():
    image, _ = head((16, 16, 16))
    levels = torch.full((1, 16, 16, 16), 10.0)
    levels[:, :, 8:] = 30.0
    found = thick_slices(levels, Slices(1, 4.0))
    assert (
        torch.equal(found[:, :, :6], levels[:, :, :6]) and (found[0, :, 7] > 10).all() and (found[0, :, 8] < 30).all()
    )
    assert torch.equal(found[:, :1], found[:, 5:6]), "other axes stay"
    empty = image[0].float() == 0
    assert (thick_slices(image[0].float(), Slices(2, 3.0))[empty] == 0).all(), "the outside stays 0"


def test_box_is_cut_out_of_scan_and_patch_alike():
    image, _ = head()
    cut = AugmentationParameters(box=Box((0.5, 0.5, 0.5), (0.2, 0.25, 0.5)))
    whole = apply(cut, image)[0]
    assert (whole[0, 0, 8:12, 9:15, 4:12] == 0).all() and (whole != image).sum() == 4 * 6 * 8
    assert torch.equal(apply(cut, image, patch=(8, 8, 8), starts=[(5, 6, 3)])[0], whole[:, :, 5:13, 6:14, 3:11])


def test_flip_exchanges_left_and_right_voxel_by_voxel():
    image, labels = head()
    image[0, 0, :3, 5:9, 2:4] = 200
    flipped, flipped_labels = apply(AugmentationParameters(flip=True), image, labels)
    assert torch.equal(flipped, image.flip(2).float()), "the first array axis runs from left to right"
    assert torch.equal(flipped_labels, labels.flip(1))
    assert not torch.equal(flipped, image.float())


def test_sample_for_which_nothing_is_drawn_is_the_evaluation_input():
    image, labels = head(channels=2)
    drawn = draw(NOTHING, 1, 2, 3, channels=2)
    same, same_labels = apply(drawn, image, labels, [80.0, 90.0], [33.0, 7.0])
    assert torch.equal(same, to_input(image, Intensity([80.0, 90.0], [33.0, 7.0])))
    assert torch.equal(same_labels, labels)


def test_each_change_befalls_half_of_the_samples_within_its_limits():
    limits = EVERYTHING
    drawn = [draw(limits, 5, 0, sample) for sample in range(600)]
    looks_drawn = [one.channels[0] for one in drawn]
    amounts = {
        "flip": [one.flip for one in drawn],
        "movement": [max(map(abs, one.angles)) / np.deg2rad(limits.rotation_degrees) for one in drawn],
        "shift": [max(map(abs, one.shift)) / limits.shift for one in drawn],
        "scale": [abs(one.scale - 1) / limits.scale for one in drawn],
        "gamma": [abs(one.log_gamma) / limits.log_gamma for one in looks_drawn],
        "bias": [
            0 if one.bias_nodes is None else np.abs(one.bias_nodes).max() / limits.bias_field for one in looks_drawn
        ],
        "noise": [one.noise_sd / limits.noise for one in looks_drawn],
        "blur": [one.blur_sd / limits.blur_voxels for one in looks_drawn],
    }
    for name, values in amounts.items():
        assert 0.42 < np.mean(np.array(values) > 0) < 0.58, name
        assert 0.95 < max(values) <= 1 + 1e-9, name
    moved = np.array([one.moved for one in drawn])
    for name in ("flip", "gamma", "bias", "noise", "blur"):
        assert abs(np.corrcoef(moved, np.array(amounts[name]) > 0)[0, 1]) < 0.15, f"{name} is drawn by itself"


def test_draw_depends_on_seed_epoch_and_sample_and_a_limit_changes_only_its_own():
    first = draw(EVERYTHING, 1, 2, 3)
    assert first.channels[0].noise_seed == draw(EVERYTHING, 1, 2, 3).channels[0].noise_seed
    seeds = {draw(EVERYTHING, *key).channels[0].noise_seed for key in [(1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4)]}
    assert len(seeds) == 4
    for sample in range(10):
        whole, without = (draw(Augmentation(bias_field=bias), 1, 0, sample) for bias in (0.3, 0.0))
        assert without.channels[0].bias_nodes is None
        assert (whole.flip, whole.angles, whole.shift, whole.scale) == (
            without.flip,
            without.angles,
            without.shift,
            without.scale,
        )
        assert whole.channels[0].noise_seed == without.channels[0].noise_seed
        assert whole.channels[0].log_gamma == without.channels[0].log_gamma


def test_sample_is_the_same_to_the_bit_in_any_batch_at_any_precision_of_the_loop_and_with_any_threads():
    shape = (35, 37, 39)  # more voxels than torch gives to one thread, and no side a multiple of a vector
    images, labels = (torch.cat([part] * 4) for part in head(shape))
    drawn = [draw(EVERYTHING, 1, 2, sample) for sample in range(4)]
    assert any(one.moved for one in drawn) and any(one.channels[0].blur_sd for one in drawn)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(augment(images, labels, drawn, Intensity([100.0], [50.0])))
        with torch.autocast("cpu", torch.bfloat16):
            results.append(augment(images, labels, drawn, Intensity([100.0], [50.0])))
        alone = [
            augment(images[i : i + 1], labels[i : i + 1], [one], Intensity([100.0], [50.0]))
            for i, one in enumerate(drawn)
        ]
        results.append(tuple(torch.cat(parts) for parts in zip(*alone, strict=True)))
    finally:
        torch.set_num_threads(threads)
    for inputs, moved in results[1:]:
        assert torch.equal(inputs, results[0][0]) and torch.equal(moved, results[0][1])


def test_rotation_keeps_volume_on_a_grid_of_unequal_sides():
    image = torch.zeros((1, 1, 40, 48, 32), dtype=torch.uint8)
    image[0, 0, 12:28, 16:32, 8:24] = 255
    moved, _ = apply(AugmentationParameters(angles=(0.1, 0.2, 0.3)), image, deviation=[255.0])
    assert abs(float(moved.sum()) / 16**3 - 1) < 0.02


@pytest.mark.parametrize(("axis", "plane"), [(0, (1, 2)), (1, (0, 2)), (2, (0, 1))])
def test_quarter_turn_is_a_quarter_turn(axis, plane):
    rng = np.random.default_rng(axis)
    volume = rng.integers(0, 255, (9, 9, 9)).astype(np.uint8)
    angles = [0.0, 0.0, 0.0]
    angles[axis] = np.pi / 2
    labels = torch.from_numpy(volume)[None]
    moved, moved_labels = apply(AugmentationParameters(angles=tuple(angles)), labels[:, None], labels)
    turned = [np.rot90(volume, turns, plane) for turns in (1, 3)]
    errors = [np.abs(moved[0, 0].numpy() - one).max() for one in turned]
    assert min(errors) < 0.05 < max(errors)
    assert (moved_labels[0].numpy() == turned[int(np.argmin(errors))]).all()


def test_shift_by_whole_voxels_moves_whole_voxels():
    image, labels = (part + 1 for part in head())
    moved, moved_labels = apply(AugmentationParameters(shift=(2 / SHAPE[0], 0.0, -1 / SHAPE[2])), image, labels)
    np.testing.assert_allclose(moved[0, 0, :-2, :, 1:], image[0, 0, 2:, :, :-1], atol=1e-2)
    assert torch.equal(moved_labels[0, :-2, :, 1:], labels[0, 2:, :, :-1])
    for part in (moved[0, 0], moved_labels[0]):
        assert not part[-2:].any() and not part[:, :, 0].any(), "what comes from outside is 0"


@pytest.mark.parametrize("angles", [(0.1, -0.05, 0.08), (0.4, 0.3, -0.5), (1.2, 0.1, 0.3), (0.2, 2.0, -1.0)])
def test_movement_is_as_near_to_spline_interpolation_as_trilinear_is_and_labels_are_the_nearest(angles):
    volume = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=SHAPE), 1.5).astype(np.float32)
    labels = (volume > 0.02).astype(np.uint8) + (volume > 0.08)
    matrix = Rotation.from_euler("xyz", angles).as_matrix() * 1.02
    centre = (np.array(SHAPE) - 1) / 2
    offset = centre + np.array([0.7, -0.4, 0.2]) - matrix @ centre
    inside = ndimage.binary_erosion(ndimage.affine_transform(np.ones(SHAPE), matrix, offset, order=1) > 0.999)
    assert inside.mean() > 0.2
    found = resample(torch.from_numpy(volume)[None], matrix, offset, SHAPE)[0].numpy()
    trilinear, spline = (ndimage.affine_transform(volume, matrix, offset, order=order) for order in (1, 3))
    errors = [np.sqrt(((moved - spline)[inside] ** 2).mean()) for moved in (found, trilinear)]
    assert errors[0] < 1.3 * errors[1] < 0.2 * spline[inside].std()
    nearest = resample_labels(torch.from_numpy(labels), matrix, offset, SHAPE).numpy()
    assert (nearest == ndimage.affine_transform(labels, matrix, offset, order=0))[inside].mean() > 0.999


def test_labels_follow_their_scan():
    shape = (40, 40, 40)
    _, labels = head(shape)
    for sample in range(6):
        drawn = draw(
            Augmentation(noise=0, log_gamma=0, bias_field=0, blur_voxels=0, rotation_degrees=20, shift=0.1, scale=0.2),
            3,
            0,
            sample,
        )
        moved, moved_labels = apply(drawn, (labels * 100)[:, None], labels)
        clear = ((moved[0, 0] % 100) < 1e-2) | ((moved[0, 0] % 100) > 100 - 1e-2)
        assert clear.float().mean() > 0.6
        assert torch.equal((moved[0, 0][clear] / 100).round().to(torch.uint8), moved_labels[0][clear])


@pytest.mark.parametrize(
    "drawn",
    [
        AugmentationParameters(),
        AugmentationParameters(flip=True),
        AugmentationParameters(**TURNED),
        AugmentationParameters(flip=True, **TURNED),
        looks(blur_sd=0.9),
        looks(bias_nodes=np.random.default_rng(0).uniform(-0.3, 0.3, (4, 4, 4))),
        AugmentationParameters(
            flip=True,
            **TURNED,
            channels=(ChannelParameters(0.1, 0.8, np.random.default_rng(0).uniform(-0.3, 0.3, (4, 4, 4))),),
        ),
    ],
    ids=["nothing", "flip", "movement", "flip and movement", "blur", "bias", "all"],
)
@pytest.mark.parametrize("start", [(0, 0, 0), (7, 9, 3), (12, 14, 8)])
def test_patch_is_a_box_of_the_augmented_whole(drawn, start):
    image, labels = head()
    image += torch.randint(0, 40, image.shape, generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    whole, whole_labels = apply(drawn, image, labels, [90.0], [50.0])
    patch, patch_labels = apply(drawn, image, labels, [90.0], [50.0], patch=(8, 10, 8), starts=[start])
    box = tuple(slice(first, first + side) for first, side in zip(start, (8, 10, 8), strict=True))
    torch.testing.assert_close(patch, whole[(..., *box)], atol=1e-3, rtol=0)
    assert torch.equal(patch_labels, whole_labels[(..., *box)])


def test_box_of_the_source_holds_all_that_a_patch_depends_on():
    rng = np.random.default_rng(0)
    volume = torch.from_numpy(rng.normal(size=(1, *SHAPE)).astype(np.float32))
    matrix, offset = np.eye(3) + rng.normal(0, 0.1, (3, 3)), np.array([4.3, 2.2, -2.0])
    box = source_box(matrix, offset, (6, 5, 7), SHAPE)
    assert any(side.stop - side.start < whole for side, whole in zip(box, SHAPE, strict=True))
    moved = resample(volume, matrix, offset, (6, 5, 7))
    from_box = resample(volume[(slice(None), *box)], matrix, offset - [side.start for side in box], (6, 5, 7))
    torch.testing.assert_close(from_box, moved, atol=1e-4, rtol=0)


def test_gamma_bends_levels_between_outside_and_brightest():
    image = torch.arange(256, dtype=torch.uint8).view(1, 1, 8, 8, 4)
    bent, _ = apply(looks(log_gamma=0.3), image)
    np.testing.assert_allclose(bent.flatten(), 255 * (np.arange(256) / 255) ** np.exp(0.3), rtol=1e-4, atol=1e-4)


def test_bias_field_is_smooth_within_its_limit_and_leaves_the_outside():
    image, _ = head()
    nodes = np.random.default_rng(3).uniform(-0.3, 0.3, (4, 4, 4))
    biased, _ = apply(looks(bias_nodes=nodes), image)
    inside = image[0, 0].numpy() > 0
    field = np.log(biased[0, 0].numpy()[inside] / image[0, 0].numpy()[inside])
    assert np.abs(field).max() <= 0.3 and field.std() > 0.03
    assert not biased[0, 0].numpy()[~inside].any()
    flat, _ = apply(looks(bias_nodes=nodes), torch.full((1, 1, *SHAPE), 100, dtype=torch.uint8))
    steps = [np.abs(np.diff(np.log(flat[0, 0].numpy()), axis=axis)).max() for axis in range(3)]
    assert max(steps) < 0.6 / (min(SHAPE) - 1) * 3 + 1e-4, "no step is larger than the slope between two nodes"
    for corner in (0, -1):
        found = np.log(flat[0, 0, corner, corner, corner].item() / 100)
        assert abs(found - nodes[corner, corner, corner]) < 1e-4, "nodes lie on the corners"


def test_blur_is_a_gaussian_and_leaves_the_outside():
    image = torch.full((1, 1, 15, 15, 15), 1, dtype=torch.uint8)
    image[0, 0, 7, 7, 7] = 101
    blurred, _ = apply(looks(blur_sd=1.1), image)
    spread = blurred[0, 0].numpy() - apply(looks(blur_sd=1.1), torch.ones_like(image))[0][0, 0].numpy()
    assert abs(spread.sum() - 100) < 0.01
    for axis in range(3):
        profile = spread.sum(axis=tuple(other for other in range(3) if other != axis))
        assert abs((profile * (np.arange(15) - 7) ** 2).sum() / 100 - 1.1**2) < 0.05
    brain, _ = head()
    assert not apply(looks(blur_sd=1.5), brain)[0][brain == 0].any()


def test_noise_is_normal_inside_the_brain_alone_and_comes_from_its_seed():
    image, _ = head((48, 48, 48))
    clean, _ = apply(AugmentationParameters(), image, mean=[100.0], deviation=[50.0])
    noisy, again, other = (
        apply(looks(noise_sd=0.2, noise_seed=seed), image, mean=[100.0], deviation=[50.0])[0] for seed in (7, 7, 8)
    )
    assert torch.equal(noisy, again)
    inside = image > 0
    added, other_added = ((one - clean)[inside].numpy() for one in (noisy, other))
    assert abs(added.mean()) < 0.005 and abs(added.std() - 0.2) < 0.005
    assert abs(np.mean(np.abs(added) < 0.2) - 0.6827) < 0.01 and abs(np.mean(np.abs(added) < 0.4) - 0.9545) < 0.01
    assert abs(np.corrcoef(added, other_added)[0, 1]) < 0.02
    assert abs(np.corrcoef(added[1:], added[:-1])[0, 1]) < 0.02, "neighbours are independent"
    assert torch.equal(noisy[~inside], clean[~inside])


def test_modalities_move_as_one_head_and_look_each_their_own():
    image, _ = head(channels=2)
    limits = Augmentation(bias_field=0.2, blur_voxels=0.5)
    for sample in range(8):
        drawn = draw(limits, 4, 0, sample, channels=2)
        plain = AugmentationParameters(
            drawn.flip, drawn.angles, drawn.shift, drawn.scale, (ChannelParameters(), ChannelParameters())
        )
        moved, _ = apply(plain, image)
        assert torch.equal(moved[0, 0], moved[0, 1])
        if drawn.channels[0].noise_sd:
            seen, _ = apply(drawn, image)
            assert not torch.equal(seen[0, 0], seen[0, 1])
            assert drawn.channels[0].noise_seed != drawn.channels[1].noise_seed
