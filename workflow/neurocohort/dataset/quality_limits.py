"""The limits of the configuration (`quality`): which preprocessed scans are excluded, and for which reason."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class QualityLimits:
    """The limits, named as in the configuration; the defaults exclude nothing.

    Units are mL, nats, cm2 and degrees. Dice, missing brain and cut foreground are 0 to 1, contrast is -1 to 1, stretch is a
    ratio of 1 or more.
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
    max_foreground_cut: float = 1.0
    max_outlier_z: float = 0.0


def beyond_limits(
    metrics: Mapping[str, float | None], limits: QualityLimits, *, mni_space: bool
) -> tuple[str, str] | None:
    """Check a scan's quality numbers.

    Args:
        metrics: The numbers of the scan's record. Limits of missing numbers don't apply.
        limits: The limits.
        mni_space: Whether the scan was in MNI space before. Then limits of a head's own size don't apply; the overlap with the
            template's mask limits the size.

    Returns:
        Stage and reason of the exclusion; None if the scan is within all limits.
    """
    return next(problems(metrics, limits, mni_space=mni_space), None)


def problems(
    metrics: Mapping[str, float | None], limits: QualityLimits, *, mni_space: bool
) -> Iterator[tuple[str, str]]:
    """Yield stage and reason of every limit that a scan is beyond; arguments as for `beyond_limits`."""
    found = {name: value for name, value in metrics.items() if value is not None}
    # The contrast comes before the match with the template, which is poor for another contrast as it is for a wrong pose.
    of_match = _of_template_mask if mni_space else _of_registration
    for check in (_of_mask, _of_contrast, _of_pose, of_match, _of_foreground):
        yield from check(found, limits)


def _of_mask(metrics: dict[str, float], limits: QualityLimits) -> Iterator[tuple[str, str]]:
    stage = "brain_extraction"
    volume_ml, border_cm2 = metrics.get("mask_ml"), metrics.get("mask_border_cm2", 0.0)
    if volume_ml is not None and not limits.min_brain_ml <= volume_ml <= limits.max_brain_ml:
        expected = f"{limits.min_brain_ml:.0f} to {limits.max_brain_ml:.0f} mL"
        yield stage, f"the brain mask has {volume_ml:.0f} mL, expected {expected}"
    if border_cm2 > limits.max_mask_border_cm2:
        yield (
            stage,
            f"the brain is cut: {border_cm2:.0f} cm2 of its mask lie on the border of the field of view or end flat in a plain "
            f"background, expected at most {limits.max_mask_border_cm2:.0f} cm2",
        )
    if (missing := metrics.get("missing_brain", 0.0)) > limits.max_missing_brain:
        yield (
            stage,
            f"{missing:.1%} of the brain is missing: outside of the field of view, or exactly of the background's value; "
            f"expected at most {limits.max_missing_brain:.1%}",
        )


def _of_contrast(metrics: dict[str, float], limits: QualityLimits) -> Iterator[tuple[str, str]]:
    pairs = {"contrast_gm_csf": ("grey matter", "CSF"), "contrast_wm_gm": ("white matter", "grey matter")}
    for name, (brighter, darker) in pairs.items():
        if (contrast := metrics.get(name, 1.0)) < limits.min_tissue_contrast:
            yield (
                "contrast",
                f"the image doesn't look T1-weighted: {brighter} less {darker} is {contrast:.2f} of the brain's range of "
                f"intensities, expected at least {limits.min_tissue_contrast:.2f} (CSF < grey matter < white matter)",
            )


def _of_pose(metrics: dict[str, float], limits: QualityLimits) -> Iterator[tuple[str, str]]:
    if (turn := metrics.get("head_turn_degrees", 0.0)) > limits.max_head_turn_degrees:
        yield (
            "registration",
            f"by its header the head is turned by {turn:.0f} degrees against the template, expected at most "
            f"{limits.max_head_turn_degrees:.0f}; check the orientation (sform and qform)",
        )
    if (stretch := metrics.get("head_stretch", 1.0)) > limits.max_head_stretch:
        yield (
            "registration",
            f"by its header the head is stretched {stretch:.2f} times as much along one direction as along another, expected at "
            f"most {limits.max_head_stretch:.2f} times; check the voxel spacing",
        )


def _of_registration(metrics: dict[str, float], limits: QualityLimits) -> Iterator[tuple[str, str]]:
    after = f"after {metrics.get('registration_starts')} starts"
    if (information := metrics.get("mutual_information", float("inf"))) < limits.min_mutual_information:
        yield (
            "registration",
            f"the registered brain shares {information:.3f} nats of information with the template, expected at least "
            f"{limits.min_mutual_information:.2f}, {after}",
        )
    yield from _of_overlap(metrics, limits, "registered brain mask", after)


def _of_template_mask(metrics: dict[str, float], limits: QualityLimits) -> Iterator[tuple[str, str]]:
    """In MNI space nothing is registered, and the mutual information has no limit.

    It falls with atrophy (OASIS-1, median: 0.53 without a rating, 0.45 at CDR 1), so a limit would exclude the ill.
    """
    after = "and its cohort has `mni_space: true`, so it was not registered"
    yield from _of_overlap(metrics, limits, "brain mask", after)


def _of_overlap(metrics: dict[str, float], limits: QualityLimits, mask: str, after: str) -> Iterator[tuple[str, str]]:
    if (overlap := metrics.get("template_dice", 1.0)) < limits.min_template_dice:
        yield (
            "registration",
            f"the {mask} overlaps the template's with Dice {overlap:.3f}, expected at least {limits.min_template_dice:.2f}, "
            f"{after}",
        )


def _of_foreground(metrics: dict[str, float], limits: QualityLimits) -> Iterator[tuple[str, str]]:
    """In native space; there the numbers of the other limits are missing."""
    if (outside := metrics.get("foreground_cut", 0.0)) > limits.max_foreground_cut:
        needed = [round(metrics[f"needed_{axis}"]) for axis in "xyz"]
        yield (
            "grid",
            f"{outside:.1%} of the foreground is outside of the study's grid, expected at most {limits.max_foreground_cut:.1%}; "
            f"a `preprocessing.shape` of at least {needed} would hold it",
        )
