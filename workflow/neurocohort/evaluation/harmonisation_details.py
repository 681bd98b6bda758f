"""Which scans the harmonised baselines don't correct: rows of details.tsv."""

from collections.abc import Iterator

import pandas as pd

from neurocohort.dataset.folds import FOLDED_PARTS, test_fold_numbers, with_test_fold
from neurocohort.evaluation.harmonisation import COMBAT, known_sites
from neurocohort.evaluation.measures import JudgedPart, cross_validated, judged_parts
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
    rows: list[DetailRow] = []
    for part, known, others in uncorrected_scans(everything, samples):
        note = f"ComBat corrects scans of {', '.join(known) or 'no site'}."
        if len(others):
            note += f" Scans of other sites are used as they are: {with_counts(others)}."
        people = part.table["participant_id"].nunique()
        rows += part.details("all", SETTING, note, [Estimate(UNCORRECTED, float(others.sum()), n=people)])
    return rows


def uncorrected_scans(
    everything: pd.DataFrame, samples: pd.DataFrame
) -> Iterator[tuple[JudgedPart, list[str], pd.Series]]:
    """Yield each tested part of a harmonised baseline, the sites that are corrected, and the number of scans of each other site.

    Args:
        everything: Predictions of all models (`with_baselines`).
        samples: samples.tsv.
    """
    harmonised = everything[everything["model"].astype(str).str.endswith(COMBAT)]
    if harmonised.empty:
        return
    known = _sites_of_every_fit(samples, cross_validated(everything, samples))
    for part in judged_parts(harmonised):
        names = site_labels(part.table).fillna("site not known")
        yield part, known, names[~names.isin(known)].value_counts(sort=False)


def with_counts(counts: pd.Series) -> str:
    """Names with their numbers, such as ``HH (12), IOP (3)``."""
    return ", ".join(f"{name} ({count})" for name, count in counts.items())


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
