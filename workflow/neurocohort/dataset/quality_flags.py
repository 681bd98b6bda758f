"""Unusual quality numbers: their robust scores, and the side on which a fault of the scan would be."""

import numpy as np
import pandas as pd

MAD_TO_SD = 1.4826  # a normal distribution's standard deviation over its median absolute deviation
SMALLEST_SITE = 20  # scans; with 20, 0.3 % of normal values have a score above 3.5, with 5 scans 3 %
SMALLEST_COHORT = 10  # with fewer scans no score is computed

LOW, HIGH = "low", "high"
BAD_SIDES: dict[str, tuple[str, ...]] = {  # both for numbers that aren't here
    "foreground_ml": (LOW, HIGH),
    "foreground_cut": (HIGH,),
    **dict.fromkeys(
        ("voxel_min_mm", "voxel_max_mm", "foreground_fraction", "needed_x", "needed_y", "needed_z"), ()
    ),  # of a scanner, or a size
    "mask_ml": (LOW, HIGH),
    "mask_to_template": (LOW, HIGH),
    "mask_border_cm2": (HIGH,),
    "missing_brain": (HIGH,),
    "outside_template": (HIGH,),
    "template_shift_mm": (HIGH,),
    "template_dice": (LOW,),
    "mutual_information": (LOW,),
    "contrast_gm_csf": (LOW,),
    "contrast_wm_gm": (LOW,),
    "head_turn_degrees": (HIGH,),
    "head_stretch": (HIGH,),
    "registration_starts": (HIGH,),
    "bias_field_cv": (HIGH,),
    "inu_range": (HIGH,),
    "snr_gm": (LOW,),
    "snr_wm": (LOW,),
    "cnr": (LOW,),
    "cjv": (HIGH,),
    "efc": (HIGH,),
    "fber": (LOW,),
    "symmetry": (LOW,),
}


def bad_sides(name: str) -> tuple[str, ...]:
    """Return the sides (``low``, ``high``) on which a number indicates a fault of the scan.

    Volumes have none, because they are results: atrophy makes them unusual, and it would be the ill who are flagged or
    excluded. The size of the brain mask (`mask_ml`) shows a mask that is too small or too large.
    """
    return () if name.startswith("volume_") else BAD_SIDES.get(name, (LOW, HIGH))


def is_flag(name: str, score: float, limit: float) -> bool:
    """Return whether a number's robust score is at least ``limit`` on a side of a fault; False for NaN."""
    return abs(score) >= limit and (LOW if score < 0 else HIGH) in bad_sides(name)


def robust_z_by_site(values: pd.Series, site: pd.Series) -> pd.Series:
    """Return the distance from the site's median in robust standard deviations, rounded to 3 digits.

    A site with fewer than SMALLEST_SITE scans is compared with all sites together. The score is NaN in a cohort with fewer than
    SMALLEST_COHORT scans, and if the median absolute deviation is 0.

    Args:
        values: A quality number of each scan.
        site: The site of each scan.
    """
    result = pd.Series(np.nan, index=values.index)
    if values.notna().sum() < SMALLEST_COHORT:
        return result
    for _, group in values.groupby(site.fillna("unknown")):
        reference = (group if group.notna().sum() >= SMALLEST_SITE else values).dropna()
        spread = MAD_TO_SD * (reference - reference.median()).abs().median()
        if spread > 0:
            result[group.index] = ((group - reference.median()) / spread).round(3)
    return result
