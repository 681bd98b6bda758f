"""Secondary results of a classification of two classes: at a threshold, calibration, by clinical dementia rating, and among
people of similar age.

AUC, average precision and Brier score are in metrics.tsv, also by site, sex and age band.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from neurocohort.evaluation.calibration import calibration_estimates
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.measures import (
    CLASSIFICATION,
    Measure,
    estimate,
    estimates,
    judged_parts,
    probability_columns,
    too_few,
)
from neurocohort.evaluation.metrics import metric, weighted_mean
from neurocohort.evaluation.operating_point import CONFUSION_COLUMNS, at_threshold, confusion, thresholds_of
from neurocohort.evaluation.rows import DetailRow, Estimate
from neurocohort.evaluation.traits import with_traits

CALIPER_YEARS = 3.0  # largest age difference of a matched pair
PLAIN, AT_THRESHOLD = "as predicted", "at threshold"


def classification_details(
    everything: pd.DataFrame, traits: pd.DataFrame | None, bootstrap: Bootstrap
) -> list[DetailRow]:
    """Rows of details.tsv for every model of a classification of two classes; none for more classes.

    - group ``all``, setting ``at threshold``: sensitivity, specificity, ppv, npv, balanced_accuracy at the model's threshold
      (`thresholds_of`).
    - group ``all``, setting ``as predicted``: calibration_intercept and calibration_slope.
    - groups ``cdr=0.5`` and so on, both settings: the cases with that rating against all controls.
    - group ``age-matched``, both settings: as many controls as cases, paired by age (`age_matched`).
    - groups ``all`` and ``age-matched``: age_difference, mean age of the cases minus that of the controls, in years.

    Parts with a single class have no rows.

    Args:
        everything: Predictions of all models (`with_baselines`), validation rows included.
        traits: scans.tsv of the cohorts with ``cohort``, for ``cdr``, or None.
        bootstrap: Number of resamples and seed.
    """
    if probability_columns(everything):
        return []
    thresholds, rows = thresholds_of(everything), list[DetailRow]()
    for part in judged_parts(everything):
        threshold, table = thresholds[part.model], with_traits(part.table, traits)
        if (table["target"] > 0).nunique() < 2 or too_few(table):
            continue
        for group, chosen, note in _groups(table):
            if group == "all":
                rows += part.details(group, PLAIN, note, calibration_estimates(chosen, bootstrap))
            else:
                rows += part.details(group, PLAIN, note, estimates(chosen, CLASSIFICATION, bootstrap))
            if "=" not in group:
                rows += part.details(group, PLAIN, note, _age_difference(chosen, bootstrap))
            both_notes = " ".join(filter(None, [note, threshold.note]))
            rows += part.details(
                group, AT_THRESHOLD, both_notes, at_threshold(chosen, threshold.of_rows(chosen), bootstrap)
            )
    return rows


def confusion_table(everything: pd.DataFrame) -> pd.DataFrame:
    """confusion.tsv: model, cohort, part, threshold, true, called, scans, participants; one row for each cell of each matrix.

    Two classes at the model's threshold (`thresholds_of`; with test folds the column has the mean of theirs); more by the most
    probable class, with ``threshold`` missing.
    """
    many = bool(probability_columns(everything))
    thresholds = {} if many else thresholds_of(everything)
    tables = []
    for part in judged_parts(everything):
        own = thresholds.get(part.model)
        about = {
            "model": part.model,
            "cohort": part.cohort,
            "part": part.part,
            "threshold": own.value if own else np.nan,
        }
        tables.append(confusion(part.table, own.of_rows(part.table) if own else None).assign(**about))
    return (
        pd.concat(tables, ignore_index=True)[CONFUSION_COLUMNS] if tables else pd.DataFrame(columns=CONFUSION_COLUMNS)
    )


def age_matched(table: pd.DataFrame, caliper_years: float = CALIPER_YEARS) -> pd.DataFrame:
    """Cases and controls in pairs of similar age, with one scan of each participant (the first by scan_id).

    Among all pairings with age differences of at most ``caliper_years``, the one with the most pairs and then the smallest sum
    of differences (optimal matching: Rosenbaum 1989, Journal of the American Statistical Association 84, 1024-1032). The result
    doesn't depend on the order of the rows.

    Args:
        table: participant_id, scan_id, age (years; rows without an age are left out), target and any other columns.
        caliper_years: Largest age difference of a pair.

    Returns:
        The columns of ``table`` and ``pair`` (0, 1, ...), in the order of the cases' scan_id; empty where there is no pair.
    """
    rows = table[table["age"].notna()].sort_values(["participant_id", "scan_id"]).drop_duplicates("participant_id")
    rows = rows.sort_values("scan_id", kind="stable")
    cases, controls = rows[rows["target"] > 0], rows[~(rows["target"] > 0)]
    apart = np.abs(cases["age"].to_numpy(dtype=float)[:, None] - controls["age"].to_numpy(dtype=float))
    far = caliper_years * (min(apart.shape) + 1)  # one pair beyond the caliper costs more than all pairs within it
    left, right = linear_sum_assignment(np.where(apart <= caliper_years, apart, far))
    near = apart[left, right] <= caliper_years
    paired = [
        side.iloc[chosen[near]].assign(pair=range(near.sum())) for side, chosen in ((cases, left), (controls, right))
    ]
    return pd.concat(paired).sort_values("pair", kind="stable").reset_index(drop=True)


def _groups(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, str]]:
    yield "all", table, ""
    case = table["target"] > 0
    if "cdr" in table:
        for rating in sorted(table.loc[case, "cdr"].dropna().unique()):
            own = table["cdr"] == rating
            yield f"cdr={rating:g}", table[~case | own], f"Cases of CDR {rating:g} against all controls."
    if "age" in table:
        matched = age_matched(table)
        if len(matched):
            note = f"{len(matched) // 2} pairs of a case and a control, at most {CALIPER_YEARS:g} years apart."
            yield "age-matched", matched, note


def _age_difference(table: pd.DataFrame, bootstrap: Bootstrap) -> list[Estimate]:
    if "age" not in table:
        return []
    rows = table[table["age"].notna()]
    codes = (rows["target"] > 0).to_numpy().astype(int)
    if len(np.unique(codes)) < 2:
        return []
    people = rows["participant_id"].to_numpy()
    measure = Measure(_difference, codes, rows["age"].to_numpy(dtype=float), people, stratified=True)
    return [estimate("age_difference", measure, bootstrap)]


@metric
def _difference(target: np.ndarray, age: np.ndarray, weights: np.ndarray) -> np.ndarray:
    cases, controls = (weighted_mean(age[target == code], weights[:, target == code]) for code in (1, 0))
    return cases - controls
