"""Training cohorts and sites against test cohorts and sites: what is left of a result where the scans come from elsewhere."""

import pandas as pd

from neurocohort.evaluation.measures import (
    FOUND,
    POOLED,
    SMALLEST_GROUP,
    VALIDATION,
    estimate,
    headline_metric,
    judged_parts,
    measures,
    with_baselines,
)

SHIFT_COLUMNS = ["model", "trained_on", "development_participants", "cohort", "site", "part", "seen", *FOUND]
EVERY_SITE = "all"
DEVELOPMENT = ("train", VALIDATION)


def shift_rows(
    predictions: pd.DataFrame, baselines: pd.DataFrame, samples: pd.DataFrame, kind: str, *, resamples: int, seed: int
) -> pd.DataFrame:
    """shift.tsv: the headline metric (mae, auc, auc_macro or dice) of each test cohort and site, with what it was trained on.

    Columns: model, trained_on, development_participants, cohort, site, part, seen, metric, value, ci_low, ci_high, interval, n.
    ``samples``: the experiment's samples.tsv, for its parts train and validation, which are both meant by training here (with
    cross-validation both are trained on). ``trained_on`` names the cohorts, with their sites in brackets where they are
    several. ``seen``: ``site`` where scans of each tested site were trained on, ``cohort`` where
    others of the cohort were (or its sites aren't known), ``new`` where none was. The held-out part of what was trained on
    and external cohorts both have rows; site ``all`` is a cohort's whole part. Sites of fewer than three participants are
    left out, their scans stay in the whole.
    """
    trained = training_sites(samples)
    people = samples.loc[samples["part"].isin(DEVELOPMENT), ["cohort", "participant_id"]].drop_duplicates()
    about_training = {"trained_on": _told(trained), "development_participants": len(people)}
    rows = []
    for about, table in judged_parts(with_baselines(predictions, baselines)):
        if about["cohort"] == POOLED:
            continue
        sites = sorted(table["site"].dropna().unique(), key=str)
        sites = sites if len(sites) > 1 else []  # an only site is the whole
        for site, chosen in [(EVERY_SITE, table), *((site, table[table["site"] == site]) for site in sites)]:
            if chosen["participant_id"].nunique() < SMALLEST_GROUP:
                continue
            name = headline_metric(chosen, kind)
            measure, participants = measures(chosen, kind)[name], chosen["participant_id"].to_numpy()
            figure = estimate(name, measure, participants, resamples=resamples, seed=seed)
            place = {"site": site, "seen": _seen(trained, about["cohort"], set(map(str, chosen["site"].dropna())))}
            rows.append(about | about_training | place | figure)
    return pd.DataFrame(rows, columns=SHIFT_COLUMNS)


def training_sites(samples: pd.DataFrame) -> dict[str, list[str]]:
    """By cohort that was trained or validated on, its sites in order; an empty list where none is known."""
    train = samples[samples["part"].isin(DEVELOPMENT)]
    return {
        cohort: sorted(map(str, table["site"].dropna().unique()))
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


def _seen(trained: dict[str, list[str]], cohort: str, tested: set[str]) -> str:
    if cohort not in trained:
        return "new"
    return "site" if tested and tested <= set(trained[cohort]) else "cohort"


def _told(trained: dict[str, list[str]]) -> str:
    return " + ".join(
        f"{cohort} ({', '.join(sites)})" if len(sites) > 1 else cohort for cohort, sites in trained.items()
    )
