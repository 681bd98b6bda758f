"""Training images of any contrast, painted from label maps, as SynthSeg does (Billot et al. 2023, Med Image Anal 86, 102789).

Each structure gets an intensity and a texture at random. What has no label is divided into classes by the scan's own intensities,
each with an intensity of its own, so that the anatomy stays. The augmentation adds bias field, contrast, blur and thick slices.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage, special

from neurocohort.intensity_ranges import PERCENTILES, ZSCORE_LIMIT
from neurocohort.learning.constants import LARGEST_PAINTED_DEVIATION
from neurocohort.learning.data import LEVELS
from neurocohort.learning.noise import gaussian_noise
from neurocohort.learning.settings import Augmentation, Synthetic, TrainingSettings

PERCENTILE, ZSCORE = "percentile", "zscore"  # `preprocessing.intensity`
STREAM = 5  # added to (seed, epoch, sample); augmentation, patches and mixup have others
SMOOTHING_SD = 0.5  # voxels; before the scan is divided into classes, so that its noise isn't
MOST_STEPS = 100  # of the clustering, which takes some ten
STEPS_OF_QUANTILES = 2001
SMALLEST_DEVIATION = 1e-6
AUGMENTED = sorted(Synthetic.model_fields.keys() & Augmentation.model_fields.keys())


@dataclass(frozen=True)
class Regions:
    """What is painted in one colour each.

    Args:
        classes: (X, Y, Z) uint8: 0 outside the brain, then the structures' labels, then the classes of tissue without a label.
        counts: Voxels of each class, (classes,).
    """

    classes: torch.Tensor
    counts: np.ndarray

    def on(self, device: torch.device) -> "Regions":
        """The same in the memory of ``device``."""
        return Regions(self.classes.to(device, non_blocking=True), self.counts)


@dataclass(frozen=True)
class Contrast:
    """The random look of one image.

    Args:
        means: Mean intensity by channel and class, (C, classes).
        deviations: Standard deviation by channel and class, (C, classes).
        noise_seeds: One for each channel.
    """

    means: np.ndarray
    deviations: np.ndarray
    noise_seeds: tuple[int, ...]


@dataclass(frozen=True)
class Painter:
    """What all painted images of a training have in common.

    Args:
        synthetic: How they are painted. The fraction changes only which samples are painted, not how.
        training: The training, with the limits of its augmentation.
        mirrored_labels: By label, background included, its label in the mirror image. Left and right have the same intensity.
        channels: Number of channels; each has a contrast of its own.
    """

    synthetic: Synthetic
    training: TrainingSettings
    mirrored_labels: tuple[int, ...]
    channels: int

    @property
    def limits(self) -> Augmentation:
        """The limits of the augmentation of painted images."""
        own = {name: getattr(self.synthetic, name) for name in AUGMENTED}
        return self.training.augmentation.model_copy(update=own)

    def contrast(self, epoch: int, sample: int) -> Contrast | None:
        """The contrast of one sample in one epoch; None for a sample that is the scan itself."""
        generator = np.random.default_rng((self.training.seed, epoch, sample, STREAM))
        if generator.random() >= self.synthetic.fraction:
            return None
        labels = np.arange(len(self.mirrored_labels))
        classes = self.synthetic.tissue_classes
        different = generator.integers(1, classes + 1)  # classes next to each other share the other intensities
        tissues = len(labels) + np.arange(classes) * different // classes
        same = np.concatenate([np.minimum(labels, self.mirrored_labels), tissues])
        means = generator.uniform(0, 1, (self.channels, len(same)))
        deviations = generator.uniform(0, LARGEST_PAINTED_DEVIATION, (self.channels, len(same)))
        seeds = tuple(int(seed) for seed in generator.integers(2**63, size=self.channels))
        return Contrast(means[:, same], deviations[:, same], seeds)

    def regions(self, scan: tuple[torch.Tensor, torch.Tensor | None]) -> Regions:
        """The regions of a scan in the CPU's memory: its image (C, X, Y, Z) and its label map (X, Y, Z), uint8."""
        image, labels = scan
        if labels is None:
            raise ValueError("only a scan with a label map can be painted")
        structures = len(self.mirrored_labels) - 1
        return regions_of(image[0].numpy(), labels.numpy(), structures, self.synthetic.tissue_classes)

    def paint(self, regions: Regions, contrast: Contrast) -> torch.Tensor:
        """`paint` with the intensity scale of the study."""
        return paint(regions, contrast, self.training.intensity_scale or PERCENTILE)


def regions_of(image: np.ndarray, labels: np.ndarray, structures: int, tissue_classes: int) -> Regions:
    """The regions of a scan. They depend on no random number.

    Args:
        image: (X, Y, Z) uint8, 0 outside the brain. Voxels of 0 that the brain encloses are dark ones, and belong to it.
        labels: (X, Y, Z) uint8, from 0 (none) to ``structures``.
        structures: Number of structures.
        tissue_classes: Most classes for the voxels without a label.
    """
    brain = image > 0
    inside = ndimage.binary_fill_holes(brain)
    classes = np.where(inside, labels, 0).astype(np.uint8)
    unlabelled = inside & (labels == 0)
    levels, weight = (ndimage.gaussian_filter(of.astype(np.float32), SMOOTHING_SD) for of in (image, brain))
    smooth = np.rint(levels[unlabelled] / np.maximum(weight[unlabelled], SMALLEST_DEVIATION)).astype(np.uint8)
    clusters = _clusters(np.bincount(smooth, minlength=LEVELS), tissue_classes)
    classes[unlabelled] = structures + 1 + clusters[smooth]
    counts = np.bincount(classes.ravel(), minlength=1 + structures + tissue_classes)
    return Regions(torch.from_numpy(classes), counts)


def paint(regions: Regions, contrast: Contrast, scale: str) -> torch.Tensor:
    """The image of ``contrast``, on the device of the regions.

    Args:
        regions: Of the scan.
        contrast: As drawn.
        scale: How the study's images are scaled, ``percentile`` or ``zscore`` (`imaging.intensity.normalise`).

    Returns:
        (C, X, Y, Z) uint8: 0 outside the brain, and 1 to 255 in it.
    """
    index = regions.classes.flatten().int()
    device, shape = regions.classes.device, tuple(regions.classes.shape)
    brain = regions.classes > 0
    image = torch.empty((len(contrast.means), *shape), dtype=torch.uint8, device=device)
    for channel, seed in enumerate(contrast.noise_seeds):
        scaled = _scaled(contrast.means[channel], contrast.deviations[channel], regions.counts, scale)
        mean, deviation = (
            torch.from_numpy((values * (LEVELS - 1)).astype(np.float32)).to(device).index_select(0, index).view(shape)
            for values in scaled
        )
        levels = gaussian_noise(shape, seed, device).mul_(deviation).add_(mean)
        image[channel] = levels.round_().clamp_(1, LEVELS - 1).mul_(brain)
    return image


def _clusters(counts: np.ndarray, most: int) -> np.ndarray:
    """The cluster of each level, from 0, by k-means of levels that occur ``counts`` times; at most ``most`` clusters."""
    if not counts.any():
        return np.zeros(len(counts), dtype=np.uint8)
    levels = np.arange(len(counts))
    portions = np.cumsum(counts) / counts.sum()
    centres = np.unique(np.searchsorted(portions, (np.arange(most) + 0.5) / most)).astype(float)
    for _ in range(MOST_STEPS):
        found = np.searchsorted((centres[1:] + centres[:-1]) / 2, levels)
        sizes, sums = (np.bincount(found, weights, minlength=len(centres)) for weights in (counts, counts * levels))
        moved = np.where(sizes > 0, sums / np.maximum(sizes, 1), centres)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return found.astype(np.uint8)


def _scaled(means: np.ndarray, deviations: np.ndarray, counts: np.ndarray, scale: str) -> tuple[np.ndarray, np.ndarray]:
    """Means and deviations (classes,) after the scaling that a scan of these intensities would get in the preprocessing."""
    weights = counts * (np.arange(len(counts)) > 0) / max(counts[1:].sum(), 1)
    if scale == ZSCORE:
        mean = (weights * means).sum()
        deviation = np.sqrt((weights * (deviations**2 + (means - mean) ** 2)).sum())
        low, high = mean - ZSCORE_LIMIT * deviation, mean + ZSCORE_LIMIT * deviation
    else:
        low, high = _quantiles(means, deviations, weights)
    width = max(high - low, SMALLEST_DEVIATION)
    return (means - low) / width, deviations / width


def _quantiles(means: np.ndarray, deviations: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """The PERCENTILES of a mixture of Gaussians."""
    reach = 4 * deviations.max()
    values = np.linspace(means.min() - reach, means.max() + reach, STEPS_OF_QUANTILES)
    scores = (values[:, None] - means) / np.maximum(deviations, SMALLEST_DEVIATION)
    low, high = np.interp(np.array(PERCENTILES) / 100, special.ndtr(scores) @ weights, values)
    return float(low), float(high)
