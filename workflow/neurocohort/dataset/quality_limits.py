"""The limits of the configuration (`quality`): which preprocessed scans are excluded, and with which words."""

from dataclasses import dataclass


@dataclass(frozen=True)
class QualityLimits:
    """As in the configuration; the defaults exclude nothing.

    In mL, nats, cm2 and degrees; Dice and missing brain are 0 to 1, contrast is -1 to 1, stretch is a ratio of 1 or more.
    """

    min_template_dice: float = 0.0
    min_mutual_information: float = 0.0
    min_brain_ml: float = 0.0
    max_brain_ml: float = float("inf")
    max_mask_border_cm2: float = float("inf")
    max_missing_brain: float = 1.0
    min_tissue_contrast: float = -1.0
    max_head_turn_degrees: float = 180.0
    max_head_stretch: float = float("inf")
    max_outlier_z: float = 0.0


def beyond_limits(metrics: dict[str, float], limits: QualityLimits, *, mni_space: bool) -> tuple[str, str] | None:
    """The stage and the reason for which a scan with these numbers is excluded; None where it is within all limits.

    ``metrics``: of the scan's record; limits on a number that isn't there do not apply. ``mni_space``: in MNI space
    `min_brain_ml` and `max_brain_ml`, which are about a head's own size, do not apply: the overlap with the template's mask
    bounds the size.
    """
    # The contrast comes before the match with the template, which is poor for another contrast, as it is for a wrong pose.
    return (
        _of_mask(metrics, limits)
        or _of_contrast(metrics, limits)
        or _of_pose(metrics, limits)
        or _of_registration(metrics, limits, mni_space)
    )


def _of_mask(metrics: dict[str, float], limits: QualityLimits) -> tuple[str, str] | None:
    stage = "brain_extraction"
    volume_ml, border_cm2 = metrics.get("mask_ml"), metrics.get("mask_border_cm2", 0.0)
    if volume_ml is not None and not limits.min_brain_ml <= volume_ml <= limits.max_brain_ml:
        expected = f"{limits.min_brain_ml:.0f} to {limits.max_brain_ml:.0f} mL"
        return stage, f"the brain mask has {volume_ml:.0f} mL, expected {expected}"
    if border_cm2 > limits.max_mask_border_cm2:
        return stage, (
            f"the brain is cut: {border_cm2:.0f} cm2 of its mask lie on the border of the field of view or end flat in a plain "
            f"background, expected at most {limits.max_mask_border_cm2:.0f} cm2"
        )
    missing = metrics.get("missing_brain")
    if missing is not None and missing > limits.max_missing_brain:
        return stage, (
            f"{missing:.1%} of the brain is missing: outside of the field of view, or exactly of the background's value; "
            f"expected at most {limits.max_missing_brain:.1%}"
        )
    return None


def _of_contrast(metrics: dict[str, float], limits: QualityLimits) -> tuple[str, str] | None:
    pairs = {"contrast_gm_csf": ("grey matter", "CSF"), "contrast_wm_gm": ("white matter", "grey matter")}
    for name, (brighter, darker) in pairs.items():
        contrast = metrics.get(name)
        if contrast is not None and contrast < limits.min_tissue_contrast:
            return "contrast", (
                f"the image doesn't look T1-weighted: {brighter} less {darker} is {contrast:.2f} of the brain's range of "
                f"intensities, expected at least {limits.min_tissue_contrast:.2f} (CSF < grey matter < white matter)"
            )
    return None


def _of_pose(metrics: dict[str, float], limits: QualityLimits) -> tuple[str, str] | None:
    turn, stretch = metrics.get("head_turn_degrees"), metrics.get("head_stretch")
    if turn is not None and turn > limits.max_head_turn_degrees:
        return "registration", (
            f"by its header the head is turned by {turn:.0f} degrees against the template, expected at most "
            f"{limits.max_head_turn_degrees:.0f}; check the orientation (sform and qform)"
        )
    if stretch is not None and stretch > limits.max_head_stretch:
        return "registration", (
            f"by its header the head is stretched {stretch:.2f} times as much along one direction as along another, expected at "
            f"most {limits.max_head_stretch:.2f} times; check the voxel spacing"
        )
    return None


def _of_registration(metrics: dict[str, float], limits: QualityLimits, mni_space: bool) -> tuple[str, str] | None:
    stage, after, mask = "registration", f"after {metrics.get('registration_starts')} starts", "registered brain mask"
    if mni_space:
        after, mask = "and its cohort has `mni_space: true`, so it was not registered", "brain mask"
    information, overlap = metrics.get("mutual_information"), metrics.get("template_dice")
    # In MNI space nothing maximised the information, and it falls with atrophy (OASIS-1, median: 0.53 without a rating, 0.45 at
    # CDR 1): a limit would exclude the ill. It is a number of the quality table there.
    if not mni_space and information is not None and information < limits.min_mutual_information:
        return stage, (
            f"the registered brain shares {information:.3f} nats of information with the template, expected at least "
            f"{limits.min_mutual_information:.2f}, {after}"
        )
    if overlap is not None and overlap < limits.min_template_dice:
        return stage, (
            f"the {mask} overlaps the template's with Dice {overlap:.3f}, expected at least {limits.min_template_dice:.2f}, "
            f"{after}"
        )
    return None
