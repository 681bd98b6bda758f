"""Whether probabilities are calibrated: the reliability curve, and intercept and slope of a logistic recalibration."""

import numpy as np
import pandas as pd

from neurocohort.evaluation.intervals import Bootstrap, wilson_interval
from neurocohort.evaluation.measures import Measure, estimate, too_few
from neurocohort.evaluation.metrics import once
from neurocohort.evaluation.rows import Estimate

SMALLEST_PROBABILITY = 1e-6  # predictions are stored with six decimals; the logit of 0 is not finite
MOST_BINS, SCANS_A_BIN = 10, 10
STEPS, LONGEST_STEP, CLOSE, CONVERGED = 50, 5.0, 1e-9, 1e-6
STEEPEST = 50.0  # a larger coefficient means that the classes are separated, and the fit diverges


def calibration_slope(
    target: np.ndarray, prediction: np.ndarray, weights: np.ndarray | None = None
) -> float | np.ndarray:
    """b of logit P(case) = a + b logit(prediction), fitted by maximum likelihood (Cox 1958): 1 is ideal; below 1 the
    probabilities are too extreme.

    NaN for one class, one probability, or a perfect separation, whose slope is infinite. Resamples that separate the classes
    get 50 or -50: without them the interval would be too short on that side. The arrays are those of `metrics`.
    """
    slope, separated = _logistic(target, _logit(prediction), weights, with_slope=True)[1:]
    return float(slope[0]) if weights is None else np.where(np.isnan(slope), separated, slope)


def calibration_intercept(
    target: np.ndarray, prediction: np.ndarray, weights: np.ndarray | None = None
) -> float | np.ndarray:
    """a of logit P(case) = a + logit(prediction), calibration in the large (Van Calster et al. 2019, BMC Medicine 17, 230):
    0 is ideal; above 0 the probabilities are too low.
    """
    intercept = _logistic(target, _logit(prediction), weights, with_slope=False)[0]
    return float(intercept[0]) if weights is None else intercept


def calibration_estimates(table: pd.DataFrame, bootstrap: Bootstrap) -> list[Estimate]:
    """calibration_intercept and calibration_slope with their intervals; none for fewer than three participants."""
    if too_few(table):
        return []
    codes, prediction = (table["target"] > 0).to_numpy().astype(int), table["prediction"].to_numpy(dtype=float)
    people = table["participant_id"].to_numpy()
    return [
        estimate(metric.__name__, Measure(metric, codes, prediction, people, stratified=True), bootstrap)
        for metric in (calibration_intercept, calibration_slope)
    ]


def reliability(table: pd.DataFrame) -> pd.DataFrame:
    """The reliability curve: x (mean prediction), y (fraction of cases), low, high and n (participants) of each bin.

    Bins have equal numbers of scans, sorted by prediction: at most ten bins of at least ten scans; equal predictions are in one
    bin. The interval is Wilson's, with the number of participants as the number of trials.
    """
    prediction, case = table["prediction"].to_numpy(dtype=float), (table["target"] > 0).to_numpy()
    bins = int(np.clip(len(table) // SCANS_A_BIN, 1, MOST_BINS))
    edges = np.quantile(prediction, np.linspace(0, 1, bins + 1)[1:-1])
    number = np.searchsorted(edges, prediction, side="right")
    rows = []
    for value in np.unique(number):
        own = number == value
        people, fraction = table.loc[own, "participant_id"].nunique(), float(case[own].mean())
        rows.append((prediction[own].mean(), fraction, *wilson_interval(fraction, people), people))
    return pd.DataFrame(rows, columns=["x", "y", "low", "high", "n"])


def _logit(prediction: np.ndarray) -> np.ndarray:
    inside = np.clip(prediction, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    return np.log(inside) - np.log1p(-inside)


def _logistic(
    target: np.ndarray, logit: np.ndarray, weights: np.ndarray | None, *, with_slope: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Intercept and slope (1 without ``with_slope``) of all draws at once by Newton's method; NaN where there is none.

    The third array is STEEPEST with the slope's sign where the classes are separated, else NaN.
    """
    drawn = once(target) if weights is None else weights
    case = (target > 0).astype(float)
    cases, total = (drawn * case).sum(axis=-1), drawn.sum(axis=-1)
    intercept = np.zeros(len(drawn))
    slope = np.zeros(len(drawn)) if with_slope else np.ones(len(drawn))
    with np.errstate(all="ignore"):  # a separated draw overflows
        for _ in range(STEPS):
            probability = 1 / (1 + np.exp(-(intercept[:, None] + slope[:, None] * logit)))
            gradient, curvature = drawn * (case - probability), drawn * probability * (1 - probability)
            g0, h00 = gradient.sum(axis=-1), curvature.sum(axis=-1)
            if with_slope:
                g1, h01 = (gradient * logit).sum(axis=-1), (curvature * logit).sum(axis=-1)
                h11 = (curvature * logit**2).sum(axis=-1)
                determinant = h00 * h11 - h01**2
                by_intercept, by_slope = (h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant
            else:
                by_intercept, by_slope = g0 / h00, np.zeros(len(drawn))
            step = np.maximum(np.abs(by_intercept), np.abs(by_slope))
            going = np.isfinite(step)
            # A full step from a distant start can pass the maximum and diverge.
            shortened = np.where(going, np.minimum(1, LONGEST_STEP / step), 0)
            intercept, slope = (
                np.where(going, start + shortened * by, start)
                for start, by in ((intercept, by_intercept), (slope, by_slope))
            )
            if not (step > CLOSE).any():
                break
    both = (cases > 0) & (cases < total)
    fitted = both & (step <= CONVERGED) & (np.abs(slope) < STEEPEST)
    separated = both & ~fitted & (slope != 0) & (np.ptp(logit) > 0)
    intercept, fitted_slope = np.where(fitted, intercept, np.nan), np.where(fitted, slope, np.nan)
    return intercept, fitted_slope, np.where(separated, np.sign(slope) * STEEPEST, np.nan)
