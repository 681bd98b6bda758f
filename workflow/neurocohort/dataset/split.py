"""The split of a cohort: by participant, stratified, seeded, so that no person stands on two sides.

Who has a part keeps it: participants that come in later are dealt around those who are there.
"""

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd

from neurocohort.dataset.folds import FOLDED_PARTS

logger = logging.getLogger(__name__)

PARTS = ("train", "validation", "held-out")
EXCLUDED = "excluded"  # a part of a user's split file alone: its participants are used nowhere
PEOPLE_PER_AGE_BAND = 6
MOST_AGE_BANDS = 8
# What later participants and folds are balanced over: everybody together, each class, what divides it, and all at once.
LEVELS = ((), ("class",), ("class", "band"), ("class", "site"), ("class", "sex"), ("class", "band", "site", "sex"))


def split_participants(
    scans: pd.DataFrame,
    *,
    validation: float,
    held_out: float,
    seed: int,
    folds: int = 0,
    frozen: pd.DataFrame | None = None,
    class_column: str = "dementia",
) -> pd.DataFrame:
    """Assign each participant of ``scans`` to train, validation or held-out, and those of the first two to a fold.

    ``validation`` and ``held_out`` are shares (0 to 1) of the participants; ``folds`` is 2 or more, or 0 for none. All
    sessions of a person share one part. Returns the columns participant_id, part, stratum, fold (1 to ``folds``, missing
    for the held-out part), in the order of participant_id; the order of ``scans``' rows doesn't matter.

    People are put in order of class (``class_column``, where the cohort has it), age band, site and sex, those alike in all
    four at random; the parts are dealt along that order in their shares, from a random start. So each class and age band is
    divided as evenly as its count allows, and sites and sexes within it. The folds are dealt along the same order, each to
    the smallest fold, and among equals to the one that has fewest of the same part, class, age band, site and sex.

    ``frozen`` is an earlier split (the same columns; ``fold`` may be missing or absent). Everybody named there keeps part,
    stratum and fold, those of another part than the three (excluded) too; those who are gone from ``scans`` are left out. New
    participants go to the part, and the fold, that is furthest behind its share in the whole and, among those less than a
    person apart, in the participant's own class, age band, site and sex. Age bands are those of the cohort as it is when a
    participant comes in. Where there are fewer people than folds, some folds stay empty, and the log says so.
    """
    generator = np.random.default_rng(seed)
    people = _in_order(scans, class_column, generator)
    shares = np.array([1.0 - validation - held_out, validation, held_out])
    if frozen is None or not people["participant_id"].isin(frozen["participant_id"]).any():
        people["part"] = _deal_in_order(len(people), shares, generator)
        people["fold"] = pd.array([pd.NA] * len(people), dtype="Int64")
    else:
        kept = frozen.set_index("participant_id").reindex(people["participant_id"]).reset_index(drop=True)
        people["part"] = kept["part"]
        people["stratum"] = kept["stratum"].where(kept["stratum"].notna(), people["stratum"])
        people["fold"] = (
            kept["fold"].astype("Int64").array if "fold" in kept else pd.array([pd.NA] * len(people), "Int64")
        )
        if people["part"].isna().any():
            noise = np.random.default_rng([seed, 1])
            people["part"] = _deal_to_furthest_behind(people, "part", PARTS, shares, LEVELS, noise)
    if folds:
        people["fold"] = _with_folds(people, folds, np.random.default_rng([seed, 2]))
    columns = ["participant_id", "part", "stratum", "fold"]
    return people[columns].sort_values("participant_id").reset_index(drop=True)


def _in_order(scans: pd.DataFrame, class_column: str, generator: np.random.Generator) -> pd.DataFrame:
    """One row a participant, from their first session, in the order in which parts are dealt."""
    first = scans.sort_values(["participant_id", "session_id"]).drop_duplicates("participant_id").copy()
    for name in (class_column, "age", "sex"):
        if name not in first:
            first[name] = np.nan
    rated = first[class_column].notna()
    names = {"0": "control", "1": "case"} if class_column == "dementia" else {}
    first["class"] = _text(first[class_column]).replace(names).where(rated, "unrated")
    first["band"] = first.groupby("class")["age"].transform(_age_bands)
    first["site"], first["sex"] = _text(first["site"]), _text(first["sex"])
    first["chance"] = generator.random(len(first))
    first = first.sort_values(["class", "band", "site", "sex", "chance"]).reset_index(drop=True)
    band = first["band"].map("age {}".format)
    return first.assign(stratum=first["class"] + "|" + band + "|" + first["site"] + "|" + first["sex"])


def _text(values: pd.Series) -> pd.Series:
    """Values as text: sites and classes may be numbers in a table of one's own. ``?`` for missing."""

    def one(value: object) -> str:
        if pd.isna(value):
            return "?"
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

    return values.astype(object).map(one)


def _age_bands(age: pd.Series) -> pd.Series:
    """Bands of about equal counts by their number, as text; people without an age share one, after the others."""
    bands = int(np.clip(age.notna().sum() // PEOPLE_PER_AGE_BAND, 1, MOST_AGE_BANDS))
    rank = age.rank(method="first", pct=True)
    return np.ceil(rank * bands).map(lambda band: "missing" if np.isnan(band) else f"band {band:.0f} of {bands}")


def _deal_in_order(count: int, shares: np.ndarray, generator: np.random.Generator) -> list[str]:
    """Parts for ``count`` people in their order: each gets the part that is furthest behind its share."""
    dealt = generator.uniform(-0.5, 0.5, len(PARTS)) * (shares > 0)
    parts = []
    for done in range(1, count + 1):
        chosen = int(np.argmax(np.where(shares > 0, shares * done - dealt, -np.inf)))
        dealt[chosen] += 1
        parts.append(PARTS[chosen])
    return parts


def _deal_to_furthest_behind(
    people: pd.DataFrame,
    column: str,
    values: Sequence,
    shares: np.ndarray,
    levels: Sequence[tuple[str, ...]],
    noise: np.random.Generator,
) -> list:
    """``column`` with its missing fields dealt from ``values``, given the others; after Pocock and Simon's minimisation.

    Each person in turn gets the value whose shortfall, summed over the person's group at each of ``levels``, is largest,
    among those less than one person short of the largest shortfall in the whole: so shares hold to within a person or two
    whatever the groups are, and folds of equal shares differ by one at most. ``noise`` breaks ties.
    """
    given = pd.Categorical(
        people[column], categories=list(values)
    ).codes  # -1: to be dealt, or of no value in ``values``
    groups = [np.zeros(len(people), int)]
    groups += [people.groupby(list(level), sort=False).ngroup().to_numpy() for level in levels if level]
    # A row a group of each level, the levels one after the other; what is dealt to each value there.
    starts = np.cumsum([0, *(int(group.max()) + 1 for group in groups)])
    rows = np.stack(groups, axis=1) + starts[:-1]
    dealt = np.zeros((starts[-1], len(values)))
    for value in range(len(values)):
        np.add.at(dealt[:, value], rows[given == value].ravel(), 1)
    ties = noise.random((len(people), len(values))) * 1e-6
    result = people[column].tolist()
    for person in np.flatnonzero(people[column].isna().to_numpy()):
        own = dealt[rows[person]]
        short = shares * (own.sum(axis=1, keepdims=True) + 1) - own
        whole = np.where(shares > 0, short[0], -np.inf)
        score = np.where(whole > whole.max() - 1 + 1e-9, short.sum(axis=0) + ties[person], -np.inf)
        chosen = int(np.argmax(score))
        dealt[rows[person], chosen] += 1
        result[person] = values[chosen]
    return result


def _with_folds(people: pd.DataFrame, folds: int, noise: np.random.Generator) -> pd.Series:
    """The folds of everybody in train and validation; those who have one keep it."""
    folded = people["part"].isin(FOLDED_PARTS)
    if folds > folded.sum():
        logger.warning("There are %d folds and %d participants for them: some folds are empty.", folds, folded.sum())
    shares = np.full(folds, 1 / folds)
    inside = people[folded].reset_index(drop=True)
    levels = [*LEVELS, ("part",), ("class", "part")]
    dealt = _deal_to_furthest_behind(inside, "fold", range(1, folds + 1), shares, levels, noise)
    result = pd.Series(pd.NA, index=people.index, dtype="Int64")
    result[folded] = pd.array(dealt, dtype="Int64")
    return result
