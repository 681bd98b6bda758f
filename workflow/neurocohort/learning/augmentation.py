"""Augmentation on the device: flip, movement, gamma, histogram, blur, thick slices, bias field, a box cut out, noise.

Parameters are drawn in one function and applied in another. They depend only on (seed, epoch, sample), so that workers, memory
and resuming don't change them. Each sample is computed separately, with the same bits in any batch.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional

from neurocohort.learning.data import LEVELS, Intensity, standardise_
from neurocohort.learning.noise import gaussian_noise
from neurocohort.learning.resampling import resample, resample_bent, resample_labels, source_box
from neurocohort.learning.settings import Augmentation

# Half of the samples keep their grid: interpolation blurs, and a network trained only on blurred edges fails on sharp ones.
PROBABILITY_OF_EACH = 0.5
BIAS_NODES = 4  # on each side: receive fields vary slowly over the head
BEND_NODES = 5  # on each side: some 4 cm apart, so that the largest `elastic` doesn't fold
BLUR_REACH = 3.0  # standard deviations
HISTOGRAM_PIECES = 6  # of the map of intensities: grey and white matter are about one apart
STREAM = 1  # added to (seed, epoch, sample): for numpy (seed, epoch, 0) is (seed, epoch), which draws the order


@dataclass(frozen=True)
class ChannelParameters:
    """The augmentation of one channel.

    Modalities are separate acquisitions: each has its own contrast, sharpness, remaining bias field and noise.

    Args:
        log_gamma: Logarithm of the exponent.
        blur_sd: Standard deviation of a Gaussian, voxels.
        bias_nodes: Logarithm of the bias field at (4, 4, 4) nodes over the volume, or None.
        noise_sd: Standard deviation of the noise, in standardised intensity.
        noise_seed: Seed of the noise.
        log_slopes: Logarithm of the slope of each piece of an increasing map of the intensities, (6,), or None. The map is scaled
            so that the largest intensity stays.
    """

    log_gamma: float = 0.0
    blur_sd: float = 0.0
    bias_nodes: np.ndarray | None = None
    noise_sd: float = 0.0
    noise_seed: int = 0
    log_slopes: np.ndarray | None = None


@dataclass(frozen=True)
class Slices:
    """Thick slices: ``thickness`` voxels, above 1, along ``axis`` (0 to 2)."""

    axis: int
    thickness: float


@dataclass(frozen=True)
class Box:
    """A box whose voxels are set to 0: ``centre`` and ``sides``, fractions of the field of view."""

    centre: tuple[float, ...]
    sides: tuple[float, ...]


@dataclass(frozen=True)
class AugmentationParameters:
    """The augmentation of one sample; by default, none. The movement of the head is common to all channels.

    Args:
        flip: Whether left and right are exchanged.
        angles: About the three axes, radians.
        shift: Fractions of the field of view.
        scale: Output to input.
        channels: Parameters of each channel.
        bend: Displacements (3, 5, 5, 5) at nodes over the volume, fractions of the field of view, or None.
        slices: Thick slices of all channels, or None.
        box: What is cut out of all channels, or None.
    """

    flip: bool = False
    angles: tuple[float, ...] = (0.0, 0.0, 0.0)
    shift: tuple[float, ...] = (0.0, 0.0, 0.0)
    scale: float = 1.0
    channels: tuple[ChannelParameters, ...] = (ChannelParameters(),)
    bend: np.ndarray | None = None
    slices: Slices | None = None
    box: Box | None = None

    @property
    def moved(self) -> bool:
        """Whether its voxels must be interpolated; not for a flip alone."""
        return any(self.angles) or any(self.shift) or self.scale != 1 or self.bend is not None


def draw(limits: Augmentation, seed: int, epoch: int, sample: int, channels: int = 1) -> AugmentationParameters:
    """The random parameters of one sample in one epoch.

    The same random numbers are drawn for any limits, so that changing one limit changes nothing else.
    """
    generator = np.random.default_rng((seed, epoch, sample, STREAM))
    mirrored, moved, recoloured, biased, noisy, blurred = generator.random(6) < PROBABILITY_OF_EACH
    angles, shift, scale = generator.uniform(-1, 1, 3), generator.uniform(-1, 1, 3), generator.uniform(-1, 1)
    of_channels = []
    for _ in range(channels):
        nodes = generator.uniform(-1, 1, (BIAS_NODES,) * 3)
        gamma, blur, noise = generator.uniform(-1, 1), generator.random(), generator.random()
        of_channels.append(
            ChannelParameters(
                log_gamma=recoloured * limits.log_gamma * gamma,
                blur_sd=blurred * limits.blur_voxels * blur,
                bias_nodes=limits.bias_field * nodes if biased and limits.bias_field else None,
                noise_sd=noisy * limits.noise * noise,
                noise_seed=int(generator.integers(2**63)),
            )
        )
    # Drawn last, because the numbers above must stay those of studies without these changes.
    thick, cut = generator.random(2) < PROBABILITY_OF_EACH
    bend, axis, thickness = generator.uniform(-1, 1, (3, *(BEND_NODES,) * 3)), generator.integers(3), generator.random()
    centre, sides = generator.random(3), generator.random(3)
    thickness = 1 + (limits.low_resolution - 1) * thickness
    remapped, slopes = generator.random() < PROBABILITY_OF_EACH, generator.uniform(-1, 1, (channels, HISTOGRAM_PIECES))
    if remapped and limits.histogram:
        of_channels = [
            replace(one, log_slopes=limits.histogram * own) for one, own in zip(of_channels, slopes, strict=True)
        ]
    return AugmentationParameters(
        flip=bool(limits.flip and mirrored),
        angles=tuple(moved * np.deg2rad(limits.rotation_degrees) * angles),
        shift=tuple(moved * limits.shift * shift),
        scale=float(1 + moved * limits.scale * scale),
        channels=tuple(of_channels),
        bend=limits.elastic * bend if moved and limits.elastic else None,
        slices=Slices(int(axis), float(thickness)) if thick and thickness > 1 else None,
        box=Box(tuple(centre.tolist()), tuple((limits.cutout * sides).tolist())) if cut and limits.cutout else None,
    )


def movement(parameters: AugmentationParameters, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Matrix (3 x 3) and offset (3,) from voxel indices of the moved volume to those of the volume of ``shape``.

    The rotation is about the volume's centre; voxels are isotropic. The first array axis is left to right.
    """
    from scipy.spatial.transform import Rotation

    matrix = Rotation.from_euler("xyz", parameters.angles).as_matrix() * parameters.scale
    if parameters.flip:
        matrix = matrix @ np.diag([-1.0, 1.0, 1.0])
    centre = (np.array(shape) - 1) / 2
    return matrix, centre + np.array(parameters.shift) * shape - matrix @ centre


@torch.no_grad()
def augment(
    images: torch.Tensor | list[torch.Tensor],
    labels: torch.Tensor | list[torch.Tensor] | None,
    drawn: list[AugmentationParameters],
    intensity: Intensity,
    *,
    patch: tuple[int, ...] | None = None,
    starts: list[tuple[int, ...]] | None = None,
    mirrored_labels: tuple[int, ...] | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Apply the parameters ``drawn`` to a batch.

    Patches are boxes of the moved whole volumes, so that a patch has no border effects of its own. Augmentations that weren't
    drawn aren't computed, and a sample that isn't moved keeps its voxels. CPU and GPU generate different noise from one seed.

    Args:
        images: N times (C, X, Y, Z) uint8.
        labels: N times (X, Y, Z) uint8, or None.
        drawn: One entry for each sample.
        intensity: Of the training part.
        patch: Sides of a patch in voxels; None for whole volumes.
        starts: First voxel of each sample's patch.
        mirrored_labels: By label, its label in a mirror image, such as that of the right structure for a left one; None where all
            labels stay.

    Returns:
        The network's input (N, C, X, Y, Z) float32 and the labels, moved by the same geometry (nearest neighbour), on the
        device of the images.
    """
    size = tuple(patch or images[0].shape[-3:])
    device = images[0].device
    inputs = torch.empty((len(drawn), images[0].shape[0], *size), dtype=torch.float32, device=device)
    moved_labels = torch.empty((len(drawn), *size), dtype=torch.uint8, device=device) if labels is not None else None
    for index, parameters in enumerate(drawn):
        start = starts[index] if starts else (0, 0, 0)
        levels = _augmented_levels(images[index], parameters, start, size)
        inputs[index] = levels
        standardise_(inputs[index], intensity)
        for place, channel in enumerate(parameters.channels):
            if channel.noise_sd:
                noise = gaussian_noise(size, channel.noise_seed, device).mul_(channel.noise_sd)
                inputs[index, place].add_(noise.mul_(levels[place] > 0))
        if labels is not None and moved_labels is not None:
            moved = _moved_labels(labels[index], parameters, start, size)
            moved_labels[index] = _exchanged(moved, mirrored_labels) if parameters.flip and mirrored_labels else moved
    return inputs, moved_labels


def _augmented_levels(
    image: torch.Tensor, drawn: AugmentationParameters, start: tuple[int, ...], size: tuple[int, ...]
) -> torch.Tensor:
    """The box of the augmented ``image`` that begins at ``start``, (C, *size) float32 in levels, without noise."""
    shape = tuple(image.shape[1:])
    reach = max(_reach(channel.blur_sd) for channel in drawn.channels)
    # A blurred patch needs its surroundings, within the whole volume.
    first = tuple(max(at - reach, 0) for at in start)
    last = tuple(min(at + side + reach, whole) for at, side, whole in zip(start, size, shape, strict=True))
    levels = _moved_levels(image, drawn, first, tuple(np.subtract(last, first).tolist()))
    for channel, level in zip(drawn.channels, levels, strict=True):
        if channel.blur_sd:
            level.copy_(_blurred(level, channel.blur_sd).mul_(level > 0))  # the outside of the brain stays 0
    if drawn.slices:
        levels = thick_slices(levels, drawn.slices)
    levels = levels[_box(np.subtract(start, first).tolist(), size)]
    for channel, level in zip(drawn.channels, levels, strict=True):
        if channel.bias_nodes is not None:
            level.mul_(_field(channel.bias_nodes, start, size, shape, image.device).exp_())
    if drawn.box:
        levels[_cut_out(drawn.box, start, size, shape)] = 0
    return levels


def _moved_levels(
    image: torch.Tensor, drawn: AugmentationParameters, start: tuple[int, ...], size: tuple[int, ...]
) -> torch.Tensor:
    """The box of the moved image after the changes of contrast, (C, *size) float32 in levels from 0 to 255."""
    if not drawn.moved:
        return _contrasted(_flipped(image, drawn)[_box(start, size)], drawn)
    matrix, offset = movement(drawn, tuple(image.shape[1:]))
    offset = offset + matrix @ np.array(start)
    if drawn.bend is not None:
        bend = _bend(drawn.bend, start, size, tuple(image.shape[1:]), image.device)
        return resample_bent(_contrasted(image, drawn), matrix, offset, bend)
    needed = source_box(matrix, offset, size, tuple(image.shape[1:]))
    levels = _contrasted(image[(slice(None), *needed)], drawn)
    return resample(levels, matrix, offset - [side.start for side in needed], size)


def _moved_labels(
    labels: torch.Tensor, drawn: AugmentationParameters, start: tuple[int, ...], size: tuple[int, ...]
) -> torch.Tensor:
    if not drawn.moved:
        return _flipped(labels, drawn)[_box(start, size)]
    matrix, offset = movement(drawn, tuple(labels.shape))
    offset = offset + matrix @ np.array(start)
    if drawn.bend is not None:
        bend = _bend(drawn.bend, start, size, tuple(labels.shape), labels.device)
        return resample_bent(labels[None], matrix, offset, bend, nearest=True)[0]
    return resample_labels(labels, matrix, offset, size)


def _exchanged(labels: torch.Tensor, mirrored_labels: tuple[int, ...]) -> torch.Tensor:
    """``labels`` with those of left and right exchanged."""
    table = torch.tensor(mirrored_labels, dtype=torch.uint8, device=labels.device)
    return table.index_select(0, labels.flatten().int()).view(labels.shape)


def _box(start: tuple[int, ...] | list[int], size: tuple[int, ...]) -> tuple:
    return (..., *(slice(first, first + side) for first, side in zip(start, size, strict=True)))


def _flipped(volume: torch.Tensor, drawn: AugmentationParameters) -> torch.Tensor:
    return volume.flip(-3) if drawn.flip else volume


def _contrasted(image: torch.Tensor, drawn: AugmentationParameters) -> torch.Tensor:
    """Float32 levels after each channel's gamma and map of intensities, from a table of 256 entries: a power for each voxel is
    slow."""
    levels = image.float()
    for index, channel in enumerate(drawn.channels):
        if channel.log_gamma or channel.log_slopes is not None:
            where = image.device if channel.log_slopes is None else torch.device("cpu")
            table = torch.arange(LEVELS, dtype=torch.float32, device=where) / (LEVELS - 1)
            table = table.pow_(math.exp(channel.log_gamma)).mul_(LEVELS - 1)
            if channel.log_slopes is not None:
                mapped = torch.from_numpy(remapped_levels(table.numpy(), channel.log_slopes))
                table = mapped.to(image.device, non_blocking=True)
            levels[index] = table.index_select(0, image[index].flatten().int()).view(image.shape[1:])
    return levels


def remapped_levels(levels: np.ndarray, log_slopes: np.ndarray) -> np.ndarray:
    """``levels`` after the increasing map with these slopes, float32; 0 and the largest level stay.

    Args:
        levels: From 0 to 255.
        log_slopes: Logarithm of the slope of each piece, relative to the others; the pieces are of equal width.
    """
    heights = np.concatenate([[0.0], np.cumsum(np.exp(log_slopes))])
    places = np.linspace(0, LEVELS - 1, len(heights))
    mapped: np.ndarray = np.interp(levels, places, heights / heights[-1] * (LEVELS - 1)).astype(np.float32)
    return mapped


def _reach(blur_sd: float) -> int:
    return math.ceil(BLUR_REACH * blur_sd)


def _blurred(volume: torch.Tensor, blur_sd: float) -> torch.Tensor:
    """``volume`` (X, Y, Z) convolved with a Gaussian, axis by axis, as a sum of shifted copies; 0 beyond its border."""
    weights = np.exp(-0.5 * (np.arange(_reach(blur_sd) + 1) / blur_sd) ** 2)
    weights /= weights[0] + 2 * weights[1:].sum()
    for axis in range(3):
        result = volume * float(weights[0])
        for step, weight in enumerate(weights[1:].tolist(), start=1):
            kept = volume.shape[axis] - step
            if kept > 0:
                result.narrow(axis, step, kept).add_(volume.narrow(axis, 0, kept), alpha=weight)
                result.narrow(axis, 0, kept).add_(volume.narrow(axis, step, kept), alpha=weight)
        volume = result
    return volume


def thick_slices(levels: torch.Tensor, slices: Slices) -> torch.Tensor:
    """``levels`` (C, X, Y, Z) as seen in thicker slices: means along an axis, linear in between; the outside stays 0."""
    side = levels.shape[1 + slices.axis]
    lines = levels.movedim(1 + slices.axis, -1)
    rows = lines.reshape(1, -1, side)
    coarse = functional.interpolate(rows, size=max(round(side / slices.thickness), 1), mode="area")
    fine = functional.interpolate(coarse, size=side, mode="linear").view(lines.shape).movedim(-1, 1 + slices.axis)
    return fine.mul(levels > 0)


def _cut_out(box: Box, start: tuple[int, ...], size: tuple[int, ...], shape: tuple[int, ...]) -> tuple:
    """The part of a patch that a box of the whole volume covers."""
    parts = []
    for centre, side, first, length, whole in zip(box.centre, box.sides, start, size, shape, strict=True):
        low, high = (round((centre + half * side) * whole) - first for half in (-0.5, 0.5))
        parts.append(slice(min(max(low, 0), length), min(max(high, 0), length)))
    return (slice(None), *parts)


def _bend(
    nodes: np.ndarray, start: tuple[int, ...], size: tuple[int, ...], shape: tuple[int, ...], device: torch.device
) -> torch.Tensor:
    """Displacements (3, *size) in voxels of the box of ``size`` at ``start``."""
    fields = [_field(one, start, size, shape, device).mul_(side) for one, side in zip(nodes, shape, strict=True)]
    return torch.stack(fields)


def _field(
    nodes: np.ndarray, start: tuple[int, ...], size: tuple[int, ...], shape: tuple[int, ...], device: torch.device
) -> torch.Tensor:
    """``nodes``, spread evenly over a volume of ``shape`` and linear in between, in the box of ``size`` at ``start``."""
    field = torch.from_numpy(nodes.astype(np.float32)).to(device, non_blocking=True)
    for axis in (2, 1, 0):
        place = torch.arange(size[axis], dtype=torch.float32, device=device).add_(float(start[axis]))
        place.mul_((len(nodes) - 1) / max(shape[axis] - 1, 1))
        below = place.floor().clamp_(0, len(nodes) - 2)
        weight = (place - below).view([-1 if other == axis else 1 for other in range(3)])
        below = below.int()
        field = torch.lerp(field.index_select(axis, below), field.index_select(axis, below + 1), weight)
    return field
