"""A linear mixed model of each input over time: the random intercept and slope of each participant (Laird and Ware 1982).

The best linear unbiased predictors of a participant follow from the fitted model and the participant's own sessions, so that a
participant who was not in the fit has them too.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from statsmodels.regression.mixed_linear_model import MixedLM

SMALLEST_RESIDUAL = 1e-6  # variance within participants around a common slope, as a fraction of the whole variance
SMALLEST_SCALE = 1e-12


@dataclass(frozen=True)
class MixedModel:
    """A fitted model of one column: fixed intercept and slope, and normal deviations of participants from both.

    Args:
        fixed: Intercept and change per year, (2,).
        covariance: Of the participants' deviations from both, (2, 2).
        variance: Of the residuals.
    """

    fixed: np.ndarray
    covariance: np.ndarray
    variance: float

    def predicted(self, values: np.ndarray, years: np.ndarray) -> np.ndarray:
        """A participant's intercept and slope: the fixed effects and the best linear unbiased predictors of the deviations, (2,).

        Args:
            values: Of the participant's sessions, (sessions,); NaN where one is missing.
            years: Since the first session, (sessions,).
        """
        known = np.isfinite(values)
        design = _design(years[known])
        within = design @ self.covariance @ design.T + self.variance * np.eye(len(design))
        found: np.ndarray = self.fixed + self.covariance @ design.T @ np.linalg.solve(
            within, values[known] - design @ self.fixed
        )
        return found


def fit_mixed_model(values: np.ndarray, years: np.ndarray, people: np.ndarray) -> MixedModel | None:
    """Fit by restricted maximum likelihood; None where that doesn't converge.

    Args:
        values: (sessions,), standardised; NaN where one is missing.
        years: Since the participant's first session, (sessions,).
        people: The participant of each session, (sessions,).
    """
    known = np.isfinite(values)
    design = _design(years[known])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a variance at its limit; `converged` decides
        try:
            found = MixedLM(values[known], design, people[known], exog_re=design).fit(
                reml=True, method=["lbfgs", "powell"]
            )
        except (np.linalg.LinAlgError, ValueError):
            return None
    covariance = np.asarray(found.cov_re, dtype=float)
    if not found.converged or found.scale <= SMALLEST_SCALE or not np.isfinite(covariance).all():
        return None
    return MixedModel(np.asarray(found.fe_params, dtype=float), covariance, float(found.scale))


def _design(years: np.ndarray) -> np.ndarray:
    """Columns of the intercept and the slope, (sessions, 2)."""
    return np.column_stack([np.ones(len(years)), years])


def follows_time(values: np.ndarray, years: np.ndarray, people: np.ndarray) -> bool:
    """Whether a column is the same for all sessions of a participant, or changes by the same amount per year in everybody, as
    sex and age are: there is nothing for a mixed model to estimate."""
    known = np.isfinite(values)
    own, time, person = values[known], years[known], np.unique(people[known], return_inverse=True)[1]
    counts = np.maximum(np.bincount(person), 1)
    value, year = (one - (np.bincount(person, one) / counts)[person] for one in (own, time))
    slope = (year @ value) / (year @ year) if year @ year > 0 else 0.0
    return bool(np.mean((value - slope * year) ** 2) <= SMALLEST_RESIDUAL * max(np.var(own), SMALLEST_SCALE))
