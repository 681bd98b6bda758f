"""Scans that are in MNI space already: their brain mask, and how well they fit the template.

In MNI space the brain's place and size are known. So residual skull, eyes and neck are removed from the mask instead of
excluding the scan, and the mask's size is compared with the template's. Volumes in mL there aren't those of the head.
"""

import numpy as np
from scipy import ndimage

from neurocohort.errors import ScanExcluded
from neurocohort.imaging.brain_extraction import one_component
from neurocohort.imaging.registration import Registration, compare_in_place, remaining_shift_mm
from neurocohort.imaging.template import Template
from neurocohort.imaging.volume import Volume, grid_of, sample

# Of 296 skull-stripped OASIS-1 scans in MNI space, 98 % had less than 1.4 mL of brain beyond this margin above the skull base.
# Below it, up to 280 mL of eyes, fat and bone had not been stripped.
MARGIN_MM = 8.0
# Of the same scans, 294 had at most 5 mm (median 2.3); one was tilted (6.4), one was upside down (10.5).
MAX_SHIFT_MM = 6.0


def within_template(scan: Volume, mask: np.ndarray, template: Template) -> tuple[np.ndarray, dict[str, float]]:
    """Limit a brain mask to MARGIN_MM around the template's brain.

    Args:
        scan: A scan in MNI space.
        mask: Its brain mask, bool, same shape.
        template: The template.

    Returns:
        The mask's largest connected part within the margin, and two quality numbers: ``outside_template``, the removed fraction
        of the mask, 0 to 1; and ``mask_to_template``, the volume of the result divided by that of the template's brain.

    Raises:
        ScanExcluded: If nothing is left.
    """
    near = ndimage.distance_transform_edt(~template.fit_mask, sampling=template.fit.spacing_mm) <= MARGIN_MM
    kept = mask & (sample(Volume(near, template.fit.affine), grid_of(scan)).data > 0.5)
    if not kept.any():
        raise ScanExcluded(
            "registration",
            f"no part of its brain is within {MARGIN_MM:g} mm of the template's, and its cohort has `mni_space: true`; "
            "expected a scan in MNI space: fix its affine, or remove `mni_space` to have the scans registered",
        )
    kept = one_component(kept)
    template_ml = np.count_nonzero(template.fit_mask) * template.fit.voxel_ml
    return kept, {
        "outside_template": round(1 - float(np.count_nonzero(kept) / np.count_nonzero(mask)), 5),
        "mask_to_template": round(float(np.count_nonzero(kept) * scan.voxel_ml / template_ml), 5),
    }


def fit_in_place(brain: Volume, mask: np.ndarray, template: Template, seed: int) -> tuple[Registration, float]:
    """Compare a brain in MNI space with the template.

    Args:
        brain: Bias-corrected.
        mask: bool, same shape.
        template: The template.
        seed: Seed of the registration that measures the shift.

    Returns:
        The identity as registration, and the shift in mm that a registration would still apply.
    """
    grid = grid_of(template.fit)
    moving_mask = sample(Volume(mask, brain.affine), grid, smooth=True).data > 0.5
    moving = Volume(sample(brain, grid, smooth=True).data * moving_mask, grid.affine)
    found = compare_in_place(template.fit, template.fit_mask, moving, moving_mask)
    return found, remaining_shift_mm(template.fit, template.fit_mask, moving, seed=seed)


def check_shift(shift_mm: float) -> None:
    """Raise ScanExcluded if a brain in MNI space is shifted or tilted too much."""
    if shift_mm > MAX_SHIFT_MM:
        raise ScanExcluded(
            "registration",
            f"a registration would still move the brain by {shift_mm:.1f} mm on average, expected at most {MAX_SHIFT_MM:g} mm of "
            "a scan whose cohort has `mni_space: true`",
        )
