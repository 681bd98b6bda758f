"""How well the site of a scan can be predicted: from the errors of each model, the inputs of the baselines, and the features of a
network.

The site can't be predicted from the errors of a model without site effects. Its inputs and features may still differ between
sites, because scanners or participants do.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from neurocohort.evaluation.baseline_inputs import COMPONENTS, INPUTS, of_scans
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.measures import (
    GIVEN,
    HELD_OUT,
    NETWORK,
    SEGMENTATION,
    JudgedPart,
    Measure,
    estimate,
    judged_parts,
    probability_columns,
)
from neurocohort.evaluation.metrics import CLASSES_METRICS
from neurocohort.evaluation.rows import DetailRow, Estimate
from neurocohort.evaluation.shift import site_names

FROM_RESIDUALS, FROM_INPUTS, FROM_FEATURES = "site from residuals", "site from inputs", "site from features"
ACCURACY, CHANCE = "site_balanced_accuracy", "site_chance"
FEWEST_PARTICIPANTS = 5  # of a site
FOLDS = 5


@dataclass(frozen=True)
class Sites:
    """The scans whose site is predicted.

    Attributes:
        rows: Which of the scans these are, (scans,) bool: those of the sites with enough participants.
        codes: The site of each of these rows, an index of ``names``, (rows,).
        people: Their participants, (rows,).
        names: The sites, with the number of participants of each.
        small: The other sites, with theirs.
    """

    rows: np.ndarray
    codes: np.ndarray
    people: np.ndarray
    names: dict[str, int]
    small: dict[str, int]

    @property
    def note(self) -> str:
        """The sites with their participants, and those that are left out."""
        found = f"Sites (participants): {_counts(self.names)}."
        left_out = f" Left out, with fewer than {FEWEST_PARTICIPANTS} participants: {_counts(self.small)}."
        return found + (left_out if self.small else "")


def site_details(
    everything: pd.DataFrame, samples: pd.DataFrame, kind: str, bootstrap: Bootstrap
) -> Iterator[DetailRow]:
    """Yield rows of details.tsv on site prediction, part ``held-out``, group ``all``, metrics `ACCURACY` and `CHANCE`.

    - setting ``site from residuals``: from predicted minus true of each model. In a classification, true is 1 for the class of
      the scan and 0 for others. The residuals of the constant show what the target alone tells about the site.
    - setting ``site from inputs``: from the inputs of the baseline ``model``, for the scans that the network predicts.
    - setting ``site from features``: from the features of one network, for the held-out scans that it predicts. With several
      networks it is the first of the average: the features of two have nothing in common.

    A part has rows if at least two of its sites have 5 participants; smaller sites are left out, and the note names them. A
    segmentation has no rows.

    Args:
        everything: Predictions of all models (`with_baselines`).
        samples: samples.tsv, with the columns of `baseline_inputs` and `feature_inputs` where these are known.
        kind: The task.
        bootstrap: Number of resamples and seed.
    """
    for part in judged_parts(everything) if kind != SEGMENTATION else ():
        if part.part != HELD_OUT or part.model.startswith(GIVEN) or "site" not in part.table:
            continue
        yield from _rows(part, part.model, FROM_RESIDUALS, residuals(part.table), bootstrap)
        for model in (*INPUTS, NETWORK) if part.model == NETWORK else ():
            values = of_scans(model, part.table, samples)
            if values is not None:
                yield from _rows(part, model, FROM_FEATURES if model == NETWORK else FROM_INPUTS, values, bootstrap)


def residuals(table: pd.DataFrame) -> np.ndarray:
    """Predicted minus true of each row, (rows, 1), or (rows, K) with the probabilities of K > 2 classes."""
    target = table["target"].to_numpy(dtype=float)
    if classes := probability_columns(table):
        found: np.ndarray = table[classes].to_numpy(dtype=float) - (target[:, None] == np.arange(len(classes)))
        return found
    return (table["prediction"].to_numpy(dtype=float) - target)[:, None]


def sites_of(table: pd.DataFrame, usable: np.ndarray) -> Sites:
    """The sites of the ``usable`` rows, (rows,) bool, by their `site_labels`."""
    names = site_labels(table)
    people = (table["cohort"] + " " + table["participant_id"].astype(str)).to_numpy()
    counts = pd.Series(people[usable]).groupby(names[usable].to_numpy()).nunique()
    large = {str(name): int(count) for name, count in counts.items() if count >= FEWEST_PARTICIPANTS}
    small = {str(name): int(count) for name, count in counts.items() if count < FEWEST_PARTICIPANTS}
    rows = usable & names.isin(large).to_numpy()
    codes = pd.Categorical(names[rows], categories=list(large)).codes.astype(int)
    return Sites(rows, codes, people[rows], large, small)


def site_labels(table: pd.DataFrame) -> pd.Series:
    """The site of each row, after the name of its cohort; missing where it isn't known.

    A cohort in which no scan has a site is a site.
    """
    own = site_names(table["site"])
    nowhere = own.isna().groupby(table["cohort"]).transform("all")
    return (table["cohort"] + " " + own).where(~nowhere, table["cohort"])


def predicted_sites(values: np.ndarray, sites: Sites, seed: int) -> np.ndarray:
    """The probabilities of the sites, (rows, sites), by logistic regressions that are not fitted on the row's participant.

    Sites count equally. The scans of a participant are in one of `FOLDS` folds. Of more than `COMPONENTS` columns, the leading
    principal components of the standardised values are used, which are computed without the row's participant too.

    Args:
        values: What the site is predicted from, (rows, columns), rows as in ``sites``.
        sites: See `sites_of`.
        seed: Of the assignment to folds.
    """
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    found = np.zeros((len(values), len(sites.names)))
    for fitted, left_out in folds.split(values, sites.codes, sites.people):
        model = _model(rows=len(fitted), columns=values.shape[1])
        model.fit(values[fitted], sites.codes[fitted])
        found[np.ix_(left_out, model.classes_)] = model.predict_proba(values[left_out])
    return found


def _model(rows: int, columns: int) -> Pipeline:
    """The regression of sites on this many rows and columns."""
    fewer = [PCA(min(COMPONENTS, rows - 1), svd_solver="full")] if columns > COMPONENTS else []
    return make_pipeline(StandardScaler(), *fewer, LogisticRegression(max_iter=1000, class_weight="balanced"))


def _rows(part: JudgedPart, model: str, setting: str, values: np.ndarray, bootstrap: Bootstrap) -> list[DetailRow]:
    sites = sites_of(part.table, np.isfinite(values).all(axis=1))
    if len(sites.names) < 2:
        return []
    probabilities = predicted_sites(values[sites.rows], sites, bootstrap.seed)
    balanced = CLASSES_METRICS["balanced_accuracy"]
    measure = Measure(balanced, sites.codes, probabilities, sites.people, stratified=True)
    found = estimate(ACCURACY, measure, bootstrap)
    chance = Estimate(CHANCE, 1 / len(sites.names), n=found.n)
    own = JudgedPart(model, part.cohort, part.part, part.table)
    return own.details("all", setting, sites.note, [found, chance])


def _counts(sites: dict[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in sites.items())
