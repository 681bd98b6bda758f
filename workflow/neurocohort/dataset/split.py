"""The split of a cohort: by participant, stratified, seeded, so that no person stands on two sides."""

import numpy as np
import pandas as pd

PARTS = ("train", "validation", "held-out")
PEOPLE_PER_AGE_BAND = 6
MOST_AGE_BANDS = 8


def split_participants(scans: pd.DataFrame, *, validation: float, held_out: float, seed: int) -> pd.DataFrame:
    """Assign each participant of ``scans`` to train, validation or held-out; columns participant_id, part, stratum.

    ``validation`` and ``held_out`` are shares (0 to 1) of the participants. All sessions of a person share one part. People
    are put in order of class (where the cohort has a ``dementia`` column), age band, site and sex, those alike in all four at
    random; the parts are dealt along that order in their shares, from a random start. So each class and age band is divided
    as evenly as its count allows, and sites and sexes within it.
    """
    first = scans.sort_values(["participant_id", "session_id"]).drop_duplicates("participant_id").copy()
    for name in ("dementia", "age", "sex"):
        if name not in first:
            first[name] = np.nan
    generator = np.random.default_rng(seed)
    first["class"] = first["dementia"].map({0: "control", 1: "case"}).fillna("unrated")
    first["band"] = first.groupby("class")["age"].transform(_age_bands)
    first[["site", "sex"]] = first[["site", "sex"]].astype(object).fillna("?")
    first["chance"] = generator.random(len(first))
    first = first.sort_values(["class", "band", "site", "sex", "chance"]).reset_index(drop=True)

    shares = np.array([1.0 - validation - held_out, validation, held_out])
    dealt = generator.uniform(-0.5, 0.5, len(PARTS)) * (shares > 0)
    parts = []
    for done in range(1, len(first) + 1):
        chosen = int(
            np.argmax(np.where(shares > 0, shares * done - dealt, -np.inf))
        )  # the part furthest behind its share
        dealt[chosen] += 1
        parts.append(PARTS[chosen])
    band = first["band"].map("age {}".format)
    first = first.assign(part=parts, stratum=first["class"] + "|" + band + "|" + first["site"] + "|" + first["sex"])
    return first[["participant_id", "part", "stratum"]].sort_values("participant_id").reset_index(drop=True)


def _age_bands(age: pd.Series) -> pd.Series:
    """Bands of about equal counts by their number, as text; people without an age share one, after the others."""
    bands = int(np.clip(age.notna().sum() // PEOPLE_PER_AGE_BAND, 1, MOST_AGE_BANDS))
    rank = age.rank(method="first", pct=True)
    return np.ceil(rank * bands).map(lambda band: "missing" if np.isnan(band) else f"band {band:.0f} of {bands}")
