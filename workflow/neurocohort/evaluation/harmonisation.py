"""ComBat: takes the mean and the spread that belong to a site out of the inputs of a baseline.

The method is that of Johnson et al. (2007, Biostatistics 8, 118-127) with covariates (Fortin et al. 2018, NeuroImage 167,
104-120). It is fitted on training rows only, and applied to all rows. The package combatlearn does both.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from neurocohort.errors import InputError
from neurocohort.evaluation.baselines import SEX_NUMBERS
from neurocohort.evaluation.combat_package import combat_available
from neurocohort.evaluation.site_prediction import site_labels

COMBAT = "_combat"  # ends the name of a baseline with harmonised inputs
FEWEST_SCANS = 5  # of a site among the training rows
ONE_SITE = f"Fewer than two sites have {FEWEST_SCANS} training scans, so there is nothing to harmonise."


@dataclass(frozen=True)
class Harmonisation:
    """What ComBat knows about the rows of an experiment.

    Attributes:
        sites: Site of each row, (rows,), None if it isn't known.
        covariates: What the correction preserves, (rows, columns): age and sex as numbers; NaN where they are missing.
        mean_only: Whether only the mean of each site is corrected. So it is if the target is among the covariates, since the
            correction of the spread would use the covariates of the predicted rows.
    """

    sites: np.ndarray
    covariates: np.ndarray
    mean_only: bool

    @classmethod
    def of(cls, samples: pd.DataFrame, target: str) -> "Harmonisation":
        """The sites and covariates of an experiment's samples."""
        sexes = samples["sex"].map(SEX_NUMBERS)
        covariates = np.column_stack([samples["age"].to_numpy(dtype=float), sexes.to_numpy(dtype=float)])
        return cls(site_labels(samples).to_numpy(dtype=object), covariates, mean_only=target in ("age", "sex"))

    def known_sites(self, rows: np.ndarray) -> list[str]:
        """The sites with enough scans among ``rows``, (rows,) bool."""
        return known_sites(pd.Series(self.sites[rows]))

    def applied(self, values: np.ndarray, training: np.ndarray) -> np.ndarray:
        """The values corrected for sites, (rows, columns).

        Rows of a site with fewer than `FEWEST_SCANS` training rows, or without a site, are not corrected: they are returned
        as they are. So are rows with a missing value.

        Args:
            values: (rows, columns).
            training: The rows that ComBat is fitted on, (rows,) bool; at least two of their sites must have enough scans.
        """
        usable = np.isin(self.sites, self.known_sites(training & np.isfinite(values).all(axis=1)))
        usable &= np.isfinite(values).all(axis=1)
        fitted = training & usable
        model = _combat()(
            pd.Series(self.sites[usable].astype(str)),
            continuous_covariates=self._prepared_covariates(fitted, usable),
            method="fortin",
            mean_only=self.mean_only,
        )
        own = pd.DataFrame(values[usable])
        model.fit(own[fitted[usable]])
        found = values.astype(float)
        found[usable] = model.transform(own).to_numpy()
        return found

    def _prepared_covariates(self, fitted: np.ndarray, usable: np.ndarray) -> pd.DataFrame | None:
        """Of the ``usable`` rows those covariates that vary in the ``fitted`` rows, missing ones replaced by the mean of these;
        None if none varies."""
        found = pd.DataFrame(self.covariates)
        found = found.fillna(found[fitted].mean())
        found = found.loc[:, (found[fitted].nunique() > 1) & found.notna().all()]
        return None if found.empty else found[usable].reset_index(drop=True)


def known_sites(sites: pd.Series) -> list[str]:
    """The sites that ComBat corrects if it is fitted on these scans: those with `FEWEST_SCANS` or more."""
    counts = sites.value_counts()
    return sorted(counts.index[counts >= FEWEST_SCANS])


def _combat() -> type:
    if message := combat_available():
        raise InputError(message)
    from combatlearn import ComBat

    return ComBat
