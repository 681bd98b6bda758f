"""Training cohorts and sites against test cohorts and sites: what is left of a result where the scans come from elsewhere."""

import pandas as pd

from neurocohort.dataset.folds import FOLDED_PARTS
from neurocohort.evaluation.measures import (
    FOUND,
    POOLED,
    SMALLEST_GROUP,
    estimate,
    headline_metric,
    judged_parts,
    measures,
    with_baselines,
)

SHIFT_COLUMNS = ["model", "trained_on", "development_participants", "cohort", "site", "part", "seen", *FOUND]
EVERY_SITE = "all"
SEEN_SITE, NEW_SITE, PARTLY_NEW, NEW_COHORT, UNKNOWN = "site", "new site", "partly new", "new cohort", "unknown"


def shift_rows(
    predictions: pd.DataFrame, baselines: pd.DataFrame, samples: pd.DataFrame, kind: str, *, resamples: int, seed: int
) -> pd.DataFrame:
    """shift.tsv: the headline metric (mae, auc, auc_macro or dice) of each test cohort and site, with what it was trained on.

    Columns: model, trained_on, development_participants, cohort, site, part, seen (`seen_in_training`), metric, value, ci_low,
    ci_high, interval, n (participants). ``samples``: the experiment's samples.tsv, for its parts train and validation, which
    are both meant by training here (with cross-validation both are trained on). ``trained_on`` names the cohorts, with their
    sites in brackets where they are several. The held-out part of what was trained on and external cohorts both have rows;
    site ``all`` is a cohort's whole part. Sites of fewer than three participants are left out, their scans stay in the whole.
    """
    development = samples[samples["part"].isin(FOLDED_PARTS)]
    trained = training_sites(samples)
    unnamed = set(development.loc[development["site"].isna(), "cohort"])
    people = development[["cohort", "participant_id"]].drop_duplicates()
    about_training = {"trained_on": _told(trained), "development_participants": len(people)}
    rows = []
    for about, table in judged_parts(with_baselines(predictions, baselines)):
        if about["cohort"] == POOLED:
            continue
        table = table.assign(site=site_names(table["site"]))
        sites = sorted(table["site"].dropna().unique())
        sites = sites if len(sites) > 1 or table["site"].isna().any() else []  # an only site is the whole
        for site, chosen in [(EVERY_SITE, table), *((site, table[table["site"] == site]) for site in sites)]:
            if chosen["participant_id"].nunique() < SMALLEST_GROUP:
                continue
            name = headline_metric(chosen, kind)
            measure, participants = measures(chosen, kind)[name], chosen["participant_id"].to_numpy()
            figure = estimate(name, measure, participants, resamples=resamples, seed=seed)
            seen = seen_in_training(
                chosen["site"], trained.get(about["cohort"]), complete=about["cohort"] not in unnamed
            )
            rows.append(about | about_training | {"site": site, "seen": seen} | figure)
    return pd.DataFrame(rows, columns=SHIFT_COLUMNS)


def seen_in_training(sites: pd.Series, trained: list[str] | None, *, complete: bool) -> str:
    """What training saw of the place that scans are from.

    - ``site``: scans of each of their sites were trained on.
    - ``new site``: others of the cohort were trained on, and none of any of their sites.
    - ``partly new``: some of the scans are of a site that was not trained on; others are of one that was, or of no known site.
    - ``new cohort``: no scan of the cohort was trained on.
    - ``unknown``: the cohort was trained on, and which of the above holds can't be told, as some sites are missing: of the scans
      themselves or, where a site is none of the known ones, of the scans that were trained on.

    ``sites``: of the scans (`site_names`); ``trained``: the known sites of the cohort's training scans, None where it has none;
    ``complete``: whether all of these scans have a site.
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
    """The sites as text, missing where they are: 3 and 3.0, as a column of numbers with a gap is read, are one site."""

    def name(site: object) -> str:
        return str(int(site)) if isinstance(site, float) and site.is_integer() else str(site)

    return sites.map(name, na_action="ignore").astype(object)


def training_sites(samples: pd.DataFrame) -> dict[str, list[str]]:
    """By cohort that was trained or validated on, its known sites in order; an empty list where none is known."""
    train = samples[samples["part"].isin(FOLDED_PARTS)]
    return {
        cohort: sorted(site_names(table["site"]).dropna().unique())
        for cohort, table in train.groupby("cohort", sort=True)
    }


def shift_matrix(tables: dict[str, pd.DataFrame], model: str = "network") -> pd.DataFrame:
    """One row an experiment and one column a tested cohort and site, holding the metric's value; missing where not tested.

    ``tables``: `shift_rows` by experiment, all of one task and target. The index has experiment and trained_on, the columns
    cohort and site, the whole cohort before its sites.
    """
    found = pd.concat([table.assign(experiment=name) for name, table in tables.items()], ignore_index=True)
    found = found[found["model"] == model]
    wide = found.pivot_table(
        index=["experiment", "trained_on"], columns=["cohort", "site"], values="value", sort=False, aggfunc="first"
    )
    ordered = sorted(wide.columns, key=lambda place: (place[0], place[1] != EVERY_SITE, place[1]))
    return wide[ordered]


def _told(trained: dict[str, list[str]]) -> str:
    return " + ".join(
        f"{cohort} ({', '.join(sites)})" if len(sites) > 1 else cohort for cohort, sites in trained.items()
    )
