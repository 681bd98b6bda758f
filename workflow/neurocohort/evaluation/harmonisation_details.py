"""Which scans the harmonised baselines don't correct: rows of details.tsv."""

import pandas as pd

from neurocohort.dataset.folds import FOLDED_PARTS, test_fold_numbers, with_test_fold
from neurocohort.evaluation.harmonisation import COMBAT, known_sites
from neurocohort.evaluation.measures import cross_validated, judged_parts
from neurocohort.evaluation.rows import DetailRow, Estimate
from neurocohort.evaluation.site_prediction import site_labels

SETTING, UNCORRECTED = "harmonisation", "uncorrected_scans"


def harmonisation_details(everything: pd.DataFrame, samples: pd.DataFrame) -> list[DetailRow]:
    """Rows of details.tsv, setting ``harmonisation``, group ``all``: of each tested part of a harmonised baseline the number of
    scans that are not corrected; the note names their sites.

    Args:
        everything: Predictions of all models (`with_baselines`).
        samples: samples.tsv.
    """
    harmonised = everything[everything["model"].astype(str).str.endswith(COMBAT)]
    if harmonised.empty:
        return []
    known = _sites_of_every_fit(samples, cross_validated(everything, samples))
    rows: list[DetailRow] = []
    for part in judged_parts(harmonised):
        names = site_labels(part.table).fillna("site not known")
        others = names[~names.isin(known)].value_counts(sort=False)
        note = f"ComBat corrects scans of {', '.join(known) or 'no site'}."
        if len(others):
            listed = ", ".join(f"{name} ({count})" for name, count in others.items())
            note += f" Scans of other sites are used as they are: {listed}."
        people = part.table["participant_id"].nunique()
        rows += part.details("all", SETTING, note, [Estimate(UNCORRECTED, float(others.sum()), n=people)])
    return rows


def _sites_of_every_fit(samples: pd.DataFrame, folds: bool) -> list[str]:
    """The sites that are corrected in the fits for the tested parts of all test folds.

    ``folds``: whether the baselines are fitted on train and validation scans together.
    """
    names = site_labels(samples)
    parts = FOLDED_PARTS if folds else ("train",)
    each = [
        set(known_sites(names[with_test_fold(samples, number)["part"].isin(parts)]))
        for number in test_fold_numbers(samples)
    ]
    return sorted(set.intersection(*each))
