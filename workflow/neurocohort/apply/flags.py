"""In which respects a scan differs from the training scans, in words."""

from collections.abc import Iterator, Mapping

from neurocohort.apply.bundles import RawScanBundle
from neurocohort.apply.outcomes import Cell, Flag
from neurocohort.apply.scans import RawScan
from neurocohort.dataset.quality_limits import problems
from neurocohort.export.reference import FEATURES, Spread, kind_of
from neurocohort.imaging.doubts import doubts
from neurocohort.imaging.scan_results import PreprocessedScan
from neurocohort.learning.tasks import REGRESSION
from neurocohort.report import labels
from neurocohort.text import listed

AGE, SEX, SITE, PREDICTION = "age", "sex", "site", "prediction"
FIELD_OF_VIEW = "field of view"
CUT_NUMBERS = (
    "mask_border_cm2",
    "missing_brain",
    "foreground_cut",
    "foreground_fraction",
    "needed_x",
    "needed_y",
    "needed_z",
)


def person_flags(scan: RawScan, bundle: RawScanBundle) -> Iterator[Flag]:
    """Yield how age, sex and site differ from those of the training scans."""
    known = bundle.reference
    if scan.age is not None and known.age and not known.age[0] <= scan.age <= known.age[1]:
        yield Flag(
            AGE, f"The age, {scan.age:g} years, is outside the range of the model's scans, {_span(known.age)} years."
        )
    if scan.sex and known.sexes and scan.sex not in known.sexes:
        yield Flag(SEX, f"The sex, {scan.sex}, is not among the training scans, which have {listed(known.sexes)}.")
    if scan.site and known.sites and scan.site not in known.sites:
        yield Flag(SITE, f"The site, {scan.site}, is not among the training scans' sites: {listed(known.sites)}.")


def not_compared(scan: RawScan, bundle: RawScanBundle) -> list[str]:
    """Which of age, sex and site aren't known of the scan, and therefore not compared."""
    known = bundle.reference
    values = ((AGE, scan.age, known.age), (SEX, scan.sex, known.sexes), (SITE, scan.site, known.sites))
    return [name for name, own, reference in values if own is None and reference]


def image_flags(result: PreprocessedScan, scores: Mapping[str, float], bundle: RawScanBundle) -> Iterator[Flag]:
    """Yield how the image differs: beyond the study's limits, cut, or far from the training scans' quality numbers."""
    beyond = list(problems(result.metrics, bundle.limits, mni_space=result.mni_space))
    for stage, reason in beyond:
        yield Flag(stage.replace("_", " "), f"{reason[:1].upper()}{reason[1:]}.")
    if not beyond:
        cuts = {name: value for name, value in result.metrics.items() if name in CUT_NUMBERS}
        yield from (Flag(FIELD_OF_VIEW, sentence) for sentence in doubts(cuts))
    far = {name: score for name, score in scores.items() if abs(score) > bundle.reference.limits[kind_of(name)]}
    for name, score in sorted(far.items(), key=lambda entry: -abs(entry[1])):
        value = result.metrics[name] or 0.0  # it has a score, and so a value
        yield Flag(kind_of(name), _far(name, value, bundle.reference.numbers[name], score, bundle))


def feature_flags(distance: float, score: float, bundle: RawScanBundle) -> Iterator[Flag]:
    """Yield whether the networks' features are far from those of the training scans; ``distance``: Mahalanobis."""
    spread = bundle.reference.distance
    if spread and score > (limit := bundle.reference.limits[FEATURES]):
        yield Flag(
            FEATURES,
            f"The networks' features are far from those of the training scans: distance {distance:.4g}, where 90 % of the scans "
            f"that were not trained on are below {spread.high:.4g}; score {score:.1f}, limit {limit:.1f}.",
        )


def prediction_flags(prediction: Mapping[str, Cell], bundle: RawScanBundle) -> Iterator[Flag]:
    """Yield whether the prediction of a regression is outside the range of the training targets."""
    span = bundle.reference.target
    if bundle.task == REGRESSION and span and not span[0] <= float(prediction["prediction"]) <= span[1]:
        yield Flag(
            PREDICTION,
            f"The predicted {labels.target(bundle.target)}, {float(prediction['prediction']):.1f}, is outside the range of the "
            f"model's scans, {_span(span)}.",
        )


def _far(name: str, value: float, spread: Spread, score: float, bundle: RawScanBundle) -> str:
    side = "above" if score > 0 else "below"
    return (
        f"{labels.quality(name)} (`{name}`) is {value:.4g}, {abs(score):.1f} standard deviations {side} the median of the "
        f"training scans, {spread.median:.4g} (limit {bundle.reference.limits[kind_of(name)]:.1f})."
    )


def _span(limits: tuple[float, float]) -> str:
    return f"{limits[0]:.1f} to {limits[1]:.1f}"
