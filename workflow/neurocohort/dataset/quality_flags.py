"""What makes a quality number unusual: its robust score, and on which side of the others a fault of the scan would lie."""

import numpy as np
import pandas as pd

MAD_TO_SD = 1.4826  # a normal distribution's standard deviation over its median absolute deviation
SMALLEST_SITE = 20  # of normal values, 0.3 % have a score above 3.5 with 20 scans, and 3 % with 5
SMALLEST_COHORT = 10  # with fewer scans no score is computed

LOW, HIGH = "low", "high"
BAD_SIDES = {  # a number that is not here may be wrong on both sides
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
    """On which sides (``low``, ``high``) the number ``name`` points at a fault of the scan.

    Volumes do on none: they are results. Atrophy makes them unusual, and a flag or an exclusion for it would be about the ill.
    The size of the brain mask (`mask_ml`) is the number that shows a mask that cuts or leaks.
    """
    return () if name.startswith("volume_") else BAD_SIDES.get(name, (LOW, HIGH))


def is_flag(name: str, score: float, limit: float) -> bool:
    """Whether the robust ``score`` of the number ``name`` is ``limit`` or more on a side of a fault; False for NaN."""
    return abs(score) >= limit and (LOW if score < 0 else HIGH) in bad_sides(name)


def robust_z_by_site(values: pd.Series, site: pd.Series) -> pd.Series:
    """Distance from the median of the site in robust standard deviations (median absolute deviation), rounded to 3 digits.

    A site of fewer than SMALLEST_SITE scans is scored against the scans of all sites together. NaN for all in a cohort of fewer
    than SMALLEST_COHORT, and where the median absolute deviation is 0.
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
