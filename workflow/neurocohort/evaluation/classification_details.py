"""A classification of two classes beyond its AUC: at a threshold chosen on validation, calibrated or not, by clinical dementia
rating, and among people of like age.

The AUC, the average precision and the Brier score, by site, sex and age band too, are in metrics.tsv.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from neurocohort.evaluation.calibration import calibration_rows
from neurocohort.evaluation.evaluate import figures
from neurocohort.evaluation.measures import (
    CLASSIFICATION,
    SMALLEST_GROUP,
    Measure,
    estimate,
    judged_parts,
    probability_columns,
)
from neurocohort.evaluation.metrics import weighted_mean
from neurocohort.evaluation.operating_point import CONFUSION_COLUMNS, at_threshold, confusion, thresholds_of
from neurocohort.evaluation.traits import with_traits

CALIPER_YEARS = 3.0  # between the two of a matched pair
PLAIN, AT_THRESHOLD = "as predicted", "at threshold"


def classification_details(
    everything: pd.DataFrame, traits: pd.DataFrame | None, *, resamples: int, seed: int
) -> list[dict]:
    """Rows of details.tsv (`details`) for every model of ``everything`` (`with_baselines`), validation rows included.

    - group ``all``, setting ``at threshold``: sensitivity, specificity, ppv, npv, balanced_accuracy at the model's threshold,
      Youden's on its own validation rows (0.5 where those don't serve; the note says which).
    - group ``all``, setting ``as predicted``: calibration_intercept and calibration_slope.
    - group ``cdr=0.5`` and so on, both settings: the cases of that rating against all controls; only where ``traits``
      (scans.tsv of the cohorts, with ``cohort``) has ``cdr``.
    - group ``age-matched``, both settings: as many controls as cases, paired by age (`age_matched`).
    - groups ``all`` and ``age-matched``: age_difference, mean age of the cases minus that of the controls, in years.

    Of more than two classes nothing of this is defined, and there are no rows. Parts of one class have no rows either.
    """
    if probability_columns(everything):
        return []
    thresholds, rows = thresholds_of(everything), []
    for about, table in judged_parts(everything):
        threshold = thresholds[about["model"]]
        table = with_traits(table, traits)
        if (table["target"] > 0).nunique() < 2 or table["participant_id"].nunique() < SMALLEST_GROUP:
            continue
        for group, chosen, note in _groups(table):
            plain = {"group": group, "setting": PLAIN, "note": note}
            at = {"group": group, "setting": AT_THRESHOLD, "note": " ".join(filter(None, [note, threshold.note]))}
            if group == "all":
                rows += [about | plain | figure for figure in calibration_rows(chosen, resamples=resamples, seed=seed)]
            else:
                rows += [about | plain | figure for figure in figures(chosen, CLASSIFICATION, resamples, seed)]
            if "=" not in group:
                rows += [about | plain | figure for figure in _age_difference(chosen, resamples, seed)]
            found = at_threshold(chosen, threshold.value, resamples=resamples, seed=seed)
            rows += [about | at | figure for figure in found]
    return rows


def confusion_table(everything: pd.DataFrame) -> pd.DataFrame:
    """confusion.tsv: model, cohort, part, threshold, true, called, scans, participants; a row a cell of each matrix.

    Two classes at the model's threshold (`thresholds_of`), more by the most probable class, and ``threshold`` is missing.
    """
    many = bool(probability_columns(everything))
    thresholds = {} if many else {model: threshold.value for model, threshold in thresholds_of(everything).items()}
    tables = [
        confusion(table, thresholds.get(about["model"])).assign(
            **about, threshold=thresholds.get(about["model"], np.nan)
        )
        for about, table in judged_parts(everything)
    ]
    return (
        pd.concat(tables, ignore_index=True)[CONFUSION_COLUMNS] if tables else pd.DataFrame(columns=CONFUSION_COLUMNS)
    )


def age_matched(table: pd.DataFrame, caliper_years: float = CALIPER_YEARS) -> pd.DataFrame:
    """The rows of cases and controls that pair up by age: one scan a participant (the first by scan_id), each used once.

    Of all ways to pair whose ages differ by ``caliper_years`` at most, the one with the most pairs and, among those, the
    smallest sum of differences (optimal matching: Rosenbaum 1989, Journal of the American Statistical Association 84,
    1024-1032), which greedy nearest neighbours come near. The result doesn't depend on the order of the rows. Columns as
    ``table``'s, with ``pair`` (0, 1, ...), in the order of the cases' scan_id; no row where nobody pairs.

    ``table``: participant_id, scan_id, age (years; rows without are left out) and target.
    """
    rows = table[table["age"].notna()].sort_values(["participant_id", "scan_id"]).drop_duplicates("participant_id")
    rows = rows.sort_values("scan_id", kind="stable")
    cases, controls = rows[rows["target"] > 0], rows[~(rows["target"] > 0)]
    apart = np.abs(cases["age"].to_numpy(dtype=float)[:, None] - controls["age"].to_numpy(dtype=float))
    far = caliper_years * (min(apart.shape, default=0) + 1)  # one pair too far costs more than all that are near
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


def _age_difference(table: pd.DataFrame, resamples: int, seed: int) -> list[dict]:
    if "age" not in table:
        return []
    rows = table[table["age"].notna()]
    codes = (rows["target"] > 0).to_numpy().astype(int)
    if len(np.unique(codes)) < 2:
        return []

    def difference(target: np.ndarray, age: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
        of_cases, of_controls = (
            weighted_mean(age[target == code], None if weights is None else weights[:, target == code])
            for code in (1, 0)
        )
        return of_cases - of_controls

    measure = Measure(difference, codes, rows["age"].to_numpy(dtype=float), np.ones(len(rows), dtype=bool), codes)
    return [estimate("age_difference", measure, rows["participant_id"].to_numpy(), resamples=resamples, seed=seed)]
