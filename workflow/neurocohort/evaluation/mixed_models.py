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
        covariance: Of the participants' deviations, (effects, effects): intercept and slope, or the intercept alone.
        variance: Of the residuals.
    """

    fixed: np.ndarray
    covariance: np.ndarray
    variance: float

    @property
    def effects(self) -> int:
        """2 with a random slope, else 1."""
        return len(self.covariance)

    def deviations(self, values: np.ndarray, years: np.ndarray) -> np.ndarray:
        """The best linear unbiased predictors of a participant's deviations from both fixed effects, (2,).

        Args:
            values: Of the participant's sessions, (sessions,); NaN where one is missing.
            years: Since the first session, (sessions,).
        """
        known = np.isfinite(values)
        design = np.column_stack([np.ones(known.sum()), years[known]])
        random = design[:, : self.effects]
        within = random @ self.covariance @ random.T + self.variance * np.eye(len(random))
        residual = values[known] - design @ self.fixed
        found = np.zeros(2)
        found[: self.effects] = self.covariance @ random.T @ np.linalg.solve(within, residual)
        return found


def fit_mixed_model(values: np.ndarray, years: np.ndarray, people: np.ndarray) -> MixedModel | None:
    """Fit by restricted maximum likelihood; without a random slope where that doesn't converge, None where nothing does.

    Args:
        values: (sessions,), standardised; NaN where one is missing.
        years: Since the participant's first session, (sessions,).
        people: The participant of each session, (sessions,).
    """
    known = np.isfinite(values)
    design = np.column_stack([np.ones(known.sum()), years[known]])
    for effects in (2, 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a variance at its limit; `converged` decides
            try:
                model = MixedLM(values[known], design, people[known], exog_re=design[:, :effects])
                found = model.fit(reml=True, method=["lbfgs", "powell"])
            except (np.linalg.LinAlgError, ValueError):
                continue
        covariance = np.asarray(found.cov_re, dtype=float)
        if found.converged and found.scale > SMALLEST_SCALE and np.isfinite(covariance).all():
            return MixedModel(np.asarray(found.fe_params, dtype=float), covariance, float(found.scale))
    return None


def follows_time(values: np.ndarray, years: np.ndarray, people: np.ndarray) -> bool:
    """Whether a column is the same for all sessions of a participant, or changes by the same amount per year in everybody, as
    sex and age are: there is nothing for a mixed model to estimate."""
    known = np.isfinite(values)
    own, time, person = values[known], years[known], np.unique(people[known], return_inverse=True)[1]
    counts = np.maximum(np.bincount(person), 1)
    value, year = (one - (np.bincount(person, one) / counts)[person] for one in (own, time))
    slope = (year @ value) / (year @ year) if year @ year > 0 else 0.0
    return bool(np.mean((value - slope * year) ** 2) <= SMALLEST_RESIDUAL * max(np.var(own), SMALLEST_SCALE))
