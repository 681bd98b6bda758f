"""Images of other modalities of a session: rigid registration to the T1-weighted scan, and bias correction."""

from dataclasses import dataclass

import numpy as np

from neurocohort.errors import ScanExcluded
from neurocohort.imaging.bias_field import CorrectedBrain, correct_bias
from neurocohort.imaging.rigid import register_rigid
from neurocohort.imaging.volume import Volume, grid_of, sample, world_grid

MIN_SPACING_MM = 1.5  # of the scan's copy that is registered
MIN_COVERAGE = 0.9


@dataclass(frozen=True)
class ExtraImage:
    """An image that is registered to the scan of its session.

    Attributes:
        image: The image as it was read.
        mask: bool, the scan's brain mask on its grid.
        scan_to_image: 4 x 4, world points (RAS mm) of the scan to those of the image.
        coverage: Fraction of the brain within the image's field of view, 0 to 1.
    """

    image: Volume
    mask: np.ndarray
    scan_to_image: np.ndarray
    coverage: float


def register_extra(image: Volume, modality: str, brain: CorrectedBrain, *, seed: int) -> ExtraImage:
    """Register an image of another modality to the scan's ``brain``.

    Raises:
        ScanExcluded: If the image can't be registered.
    """
    grid = world_grid(brain.image, brain.mask, max(MIN_SPACING_MM, float(brain.image.spacing_mm.max())))
    fixed = sample(brain.image, grid, smooth=True)
    fixed_mask = sample(brain.mask_volume, grid, smooth=True).data > 0.5
    scan_to_image = register_rigid(fixed, fixed_mask, image, modality, seed=seed)
    mask = sample(brain.mask_volume, grid_of(image), np.linalg.inv(scan_to_image)).data > 0.5
    coverage = np.count_nonzero(mask) * image.voxel_ml / (np.count_nonzero(brain.mask) * brain.image.voxel_ml)
    return ExtraImage(image, mask, scan_to_image, float(coverage))


def check_coverage(extra: ExtraImage, modality: str) -> None:
    """Raise ScanExcluded if the image lacks too much of the brain."""
    if extra.coverage < MIN_COVERAGE:
        raise ScanExcluded(
            "registration",
            f"the {modality} image covers {extra.coverage:.0%} of the brain, expected at least {MIN_COVERAGE:.0%}",
        )


def corrected_image(extra: ExtraImage) -> Volume:
    """Return the part of the image around the brain, bias-corrected."""
    return correct_bias(extra.image, extra.mask).image
