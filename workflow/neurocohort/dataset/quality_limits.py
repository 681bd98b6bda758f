"""The limits of the configuration (`quality`): which preprocessed scans are excluded, and with which words."""

from dataclasses import dataclass


@dataclass(frozen=True)
class QualityLimits:
    """As in the configuration; the defaults exclude nothing. In mL, nats and cm2; Dice is 0 to 1."""

    min_template_dice: float = 0.0
    min_mutual_information: float = 0.0
    min_brain_ml: float = 0.0
    max_brain_ml: float = float("inf")
    max_mask_border_cm2: float = float("inf")
    max_outlier_z: float = 0.0


def beyond_limits(metrics: dict[str, float], limits: QualityLimits, *, mni_space: bool) -> tuple[str, str] | None:
    """The stage and the reason for which a scan with these numbers is excluded; None where it is within all limits.

    ``metrics``: of the scan's record; limits on a number that isn't there do not apply. ``mni_space``: in MNI space
    `min_brain_ml` and `max_brain_ml`, which are about a head's own size, do not apply: the overlap with the template's mask
    bounds the size.
    """
    return _of_mask(metrics, limits) or _of_registration(metrics, limits, mni_space)


def _of_mask(metrics: dict[str, float], limits: QualityLimits) -> tuple[str, str] | None:
    stage = "brain_extraction"
    volume_ml, border_cm2 = metrics.get("mask_ml"), metrics.get("mask_border_cm2", 0.0)
    if volume_ml is not None and not limits.min_brain_ml <= volume_ml <= limits.max_brain_ml:
        expected = f"{limits.min_brain_ml:.0f} to {limits.max_brain_ml:.0f} mL"
        return stage, f"the brain mask has {volume_ml:.0f} mL, expected {expected}"
    if border_cm2 > limits.max_mask_border_cm2:
        return stage, (
            f"the field of view cuts the brain: {border_cm2:.0f} cm2 of the mask lie on its border, expected at most "
            f"{limits.max_mask_border_cm2:.0f} cm2"
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
