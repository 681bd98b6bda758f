"""Training cohorts and sites against test cohorts and sites: how a result changes where the scans come from elsewhere."""

import pandas as pd

from neurocohort.dataset.folds import FOLDED_PARTS, test_fold_numbers, with_test_fold
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.measures import (
    NETWORK,
    POOLED,
    estimate,
    headline_metric,
    judged_parts,
    measures,
    too_few,
    with_baselines,
)
from neurocohort.evaluation.rows import ShiftRow, table_of

EVERY_SITE = "all"
SEEN_SITE, NEW_SITE, PARTLY_NEW, NEW_COHORT, UNKNOWN = "site", "new site", "partly new", "new cohort", "unknown"


def shift_rows(
    predictions: pd.DataFrame, baselines: pd.DataFrame, samples: pd.DataFrame, kind: str, bootstrap: Bootstrap
) -> pd.DataFrame:
    """shift.tsv: the headline metric (mae, auc, auc_macro or dice) of each test cohort and site, and the training cohorts.

    Columns: model, trained_on, development_participants, cohort, site, part, seen (`seen_in_training`), metric, value, ci_low,
    ci_high, interval, n (participants). Training means the parts train and validation of ``samples`` (samples.tsv), since
    cross-validation trains on both. ``trained_on`` names the cohorts, with their sites in brackets where there are several.
    Both the held-out part of trained cohorts and external cohorts have rows; site ``all`` is the whole part of a cohort. Sites
    of fewer than three participants have no row; their scans count in the whole. With test folds, training means that of all
    test folds together, so that everybody is among the development participants; a site counts as trained on if it was trained
    on in every test fold, by the networks that leave the test fold out.
    """
    development = samples[samples["part"].isin(FOLDED_PARTS)]
    trained = training_sites(samples)
    unnamed = set(development.loc[development["site"].isna(), "cohort"])
    people = development[["cohort", "participant_id"]].drop_duplicates()
    rows = []
    for part in judged_parts(with_baselines(predictions, baselines)):
        if part.cohort == POOLED:
            continue
        table = part.table.assign(site=site_names(part.table["site"]))
        sites = sorted(table["site"].dropna().unique())
        sites = sites if len(sites) > 1 or table["site"].isna().any() else []  # a single site is the whole
        for site, chosen in [(EVERY_SITE, table), *((site, table[table["site"] == site]) for site in sites)]:
            if too_few(chosen):
                continue
            seen = seen_in_training(chosen["site"], trained.get(part.cohort), complete=part.cohort not in unnamed)
            name = headline_metric(chosen, kind)
            found = estimate(name, measures(chosen, kind)[name], bootstrap)
            about_training = _cohorts_and_sites(trained), len(people)
            rows.append(ShiftRow(part.model, *about_training, part.cohort, site, part.part, seen, found))
    return table_of(rows, ShiftRow)


def seen_in_training(sites: pd.Series, trained: list[str] | None, *, complete: bool) -> str:
    """Whether the sites of some scans occurred in training.

    Args:
        sites: Sites of the scans (`site_names`).
        trained: Known sites of the cohort's training scans; None where it has no training scans.
        complete: Whether all training scans of the cohort have a site.

    Returns:
        - ``site``: all of their sites were trained on.
        - ``new site``: the cohort was trained on, but none of their sites.
        - ``partly new``: some scans are from a site that was not trained on; others from one that was, or from an unknown site.
        - ``new cohort``: no scan of the cohort was trained on.
        - ``unknown``: the cohort was trained on, but missing sites leave open which of the above is true: sites of the scans
          themselves or, where a site is not among the known ones, of the training scans.
    """
    if trained is None:
        return NEW_COHORT
    known = set(sites.dropna())
    if known <= set(trained):
        return SEEN_SITE if known and sites.notna().all() else UNKNOWN
    if not complete:
        return UNKNOWN
    return NEW_SITE if not known & set(trained) and sites.notna().all() else PARTLY_NEW


def site_names(sites: pd.Series) -> pd.Series:
    """The sites as text, missing where they are missing. 3 and 3.0 (a column of numbers with a gap) are the same site."""

    def name(site: object) -> str:
        return str(int(site)) if isinstance(site, float) and site.is_integer() else str(site)

    return sites.map(name, na_action="ignore").astype(object)


def training_sites(samples: pd.DataFrame) -> dict[str, list[str]]:
    """The sorted known sites of each cohort with training or validation scans; an empty list where none is known.

    With test folds, only cohorts and sites that the networks of every test fold were trained on.
    """
    first, *others = (_training_sites(with_test_fold(samples, number)) for number in test_fold_numbers(samples))
    return {
        cohort: [site for site in sites if all(site in other[cohort] for other in others)]
        for cohort, sites in first.items()
        if all(cohort in other for other in others)
    }


def _training_sites(samples: pd.DataFrame) -> dict[str, list[str]]:
    train = samples[samples["part"].isin(FOLDED_PARTS)]
    return {
        cohort: sorted(site_names(table["site"]).dropna().unique())
        for cohort, table in train.groupby("cohort", sort=True)
    }


def shift_matrix(tables: dict[str, pd.DataFrame], model: str = NETWORK) -> pd.DataFrame:
    """The metric's value for each experiment (rows) and each tested cohort and site (columns); missing where not tested.

    ``tables`` are those of `shift_rows` by experiment, all with the same task and target. The index has experiment and
    trained_on, the columns have cohort and site, the whole cohort before its sites.
    """
    found = pd.concat([table.assign(experiment=name) for name, table in tables.items()], ignore_index=True)
    found = found[found["model"] == model]
    wide = found.pivot_table(
        index=["experiment", "trained_on"], columns=["cohort", "site"], values="value", sort=False, aggfunc="first"
    )
    ordered = sorted(wide.columns, key=lambda place: (place[0], place[1] != EVERY_SITE, place[1]))
    return wide[ordered]


def _cohorts_and_sites(trained: dict[str, list[str]]) -> str:
    return " + ".join(
        f"{cohort} ({', '.join(sites)})" if len(sites) > 1 else cohort for cohort, sites in trained.items()
    )
