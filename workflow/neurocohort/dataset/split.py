"""The split of a cohort: by participant, so that all scans of a person are in one part, stratified, and seeded.

Participants are ordered by class, age band, site and sex, and randomly where these are equal. The parts are dealt in their
fractions along that order, from a random start. So each class and age band is divided as evenly as its count allows, and sites
and sexes within it. The folds are dealt along the same order, each participant to the smallest fold, and among equal ones to
the fold with the fewest of the same part, class, age band, site and sex.

With test folds, which are each held out once, nobody has the part held-out: everybody is in train or validation, and in a test
fold, and a participant's part and fold hold wherever another test fold is held out. Test folds are dealt like folds, and then
the folds evenly within them.

Existing assignments never change. A new participant gets the part, and the fold, with the largest shortfall in the whole; among
those less than one person apart, with the largest in the participant's own class, age band, site and sex. Age bands are those
of the cohort when a participant is added.
"""

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd

from neurocohort.dataset.class_values import value_text
from neurocohort.dataset.folds import FOLDED_PARTS

logger = logging.getLogger(__name__)

PARTS = ("train", "validation", "held-out")
EXCLUDED = "excluded"  # a part in a user's split file: its participants are used nowhere
PEOPLE_PER_AGE_BAND = 6
MOST_AGE_BANDS = 8
# New participants and folds are balanced in these groups: everybody, each class, each class by one variable, and all of them.
LEVELS = ((), ("class",), ("class", "band"), ("class", "site"), ("class", "sex"), ("class", "band", "site", "sex"))


def split_participants(
    scans: pd.DataFrame,
    *,
    validation: float,
    held_out: float,
    seed: int,
    folds: int = 0,
    test_folds: int = 0,
    frozen: pd.DataFrame | None = None,
    class_column: str = "dementia",
) -> pd.DataFrame:
    """Assign each participant to train, validation or held-out, and those of the first two to a fold.

    If there are fewer participants than folds, some folds are empty; this is logged.

    Args:
        scans: The cohort's scans.tsv; the order of its rows doesn't matter.
        validation: Fraction of the participants, 0 to 1.
        held_out: Fraction of the participants, 0 to 1; not used with test folds.
        seed: Seed of the random order.
        folds: Number of folds, 2 or more; 0 for none.
        test_folds: Number of test folds, 2 or more; 0 for none.
        frozen: An earlier split, with the columns of the result, which is kept; folds may be missing.
        class_column: The variable for the class, if the cohort has it.

    Returns:
        participant_id, part, stratum and fold (1 to ``folds``, missing for the held-out part), ordered by participant_id. With
        test folds also test_fold, 1 to ``test_folds``.
    """
    generator = np.random.default_rng(seed)
    people = _in_order(scans, class_column, generator)
    held_out = 0.0 if test_folds else held_out
    fractions = np.array([1.0 - validation - held_out, validation, held_out])
    if frozen is None or not people["participant_id"].isin(frozen["participant_id"]).any():
        people["part"] = _deal_in_order(len(people), fractions, generator)
        people["fold"] = people["test_fold"] = pd.array([pd.NA] * len(people), dtype="Int64")
    else:
        kept = frozen.set_index("participant_id").reindex(people["participant_id"]).reset_index(drop=True)
        people["part"] = kept["part"]
        people["stratum"] = kept["stratum"].where(kept["stratum"].notna(), people["stratum"])
        for name in ("fold", "test_fold"):
            people[name] = (
                kept[name].astype("Int64").array if name in kept else pd.array([pd.NA] * len(people), "Int64")
            )
        if people["part"].isna().any():
            noise = np.random.default_rng([seed, 1])
            people["part"] = _deal_by_shortfall(people, "part", PARTS, fractions, LEVELS, noise)
    by_part = [*LEVELS, ("part",), ("class", "part")]
    if test_folds:
        people["test_fold"] = _with_folds(people, "test_fold", test_folds, by_part, np.random.default_rng([seed, 3]))
        by_part += [("test_fold",), ("class", "test_fold")]
    if folds:
        people["fold"] = _with_folds(people, "fold", folds, by_part, np.random.default_rng([seed, 2]))
    columns = ["participant_id", "part", "stratum", "fold", "test_fold"]
    return people[columns if test_folds else columns[:-1]].sort_values("participant_id").reset_index(drop=True)


def _in_order(scans: pd.DataFrame, class_column: str, generator: np.random.Generator) -> pd.DataFrame:
    """A row per participant, from their first session, in the order in which parts are dealt."""
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
    """Values as text, because sites and classes may be numbers in a user's table; ``?`` if missing."""
    return values.astype(object).map(lambda value: "?" if pd.isna(value) else value_text(value))


def _age_bands(age: pd.Series) -> pd.Series:
    """Bands of about equal counts, as text; people without an age are in one of their own, after the others."""
    bands = int(np.clip(age.notna().sum() // PEOPLE_PER_AGE_BAND, 1, MOST_AGE_BANDS))
    rank = age.rank(method="first", pct=True)
    return np.ceil(rank * bands).map(lambda band: "missing" if np.isnan(band) else f"band {band:.0f} of {bands}")


def _deal_in_order(count: int, fractions: np.ndarray, generator: np.random.Generator) -> list[str]:
    """Parts for ``count`` people in their order: each gets the part with the largest shortfall."""
    dealt = generator.uniform(-0.5, 0.5, len(PARTS)) * (fractions > 0)
    parts = []
    for done in range(1, count + 1):
        chosen = int(np.argmax(np.where(fractions > 0, fractions * done - dealt, -np.inf)))
        dealt[chosen] += 1
        parts.append(PARTS[chosen])
    return parts


def _deal_by_shortfall(
    people: pd.DataFrame,
    column: str,
    values: Sequence,
    fractions: np.ndarray,
    levels: Sequence[tuple[str, ...]],
    noise: np.random.Generator,
) -> list:
    """Fill the missing fields of ``column`` from ``values``, after Pocock and Simon's minimisation.

    Each person in turn gets the value with the largest shortfall, summed over the person's group at each of ``levels``, among
    those less than one person behind the largest shortfall in the whole. So the fractions are correct to within a person or two
    for any groups, and folds differ by one person at most. ``noise`` breaks ties.
    """
    given = pd.Categorical(people[column], categories=list(values)).codes  # -1: missing, or not in ``values``
    groups = [np.zeros(len(people), int)]
    groups += [people.groupby(list(level), sort=False).ngroup().to_numpy() for level in levels if level]
    # ``dealt`` counts each value in each group: a row per group, the levels one after the other.
    starts = np.cumsum([0, *(int(group.max()) + 1 for group in groups)])
    rows = np.stack(groups, axis=1) + starts[:-1]
    dealt = np.zeros((starts[-1], len(values)))
    for value in range(len(values)):
        np.add.at(dealt[:, value], rows[given == value].ravel(), 1)
    ties = noise.random((len(people), len(values))) * 1e-6
    result = people[column].tolist()
    for person in np.flatnonzero(people[column].isna().to_numpy()):
        own = dealt[rows[person]]
        short = fractions * (own.sum(axis=1, keepdims=True) + 1) - own
        whole = np.where(fractions > 0, short[0], -np.inf)
        score = np.where(whole > whole.max() - 1 + 1e-9, short.sum(axis=0) + ties[person], -np.inf)
        chosen = int(np.argmax(score))
        dealt[rows[person], chosen] += 1
        result[person] = values[chosen]
    return result


def _with_folds(
    people: pd.DataFrame, column: str, folds: int, levels: Sequence[tuple[str, ...]], noise: np.random.Generator
) -> pd.Series:
    """The folds or test folds, in ``column``, of everybody in train and validation; existing ones don't change."""
    folded = people["part"].isin(FOLDED_PARTS)
    if folds > folded.sum():
        words = column.replace("_", " ")
        logger.warning(
            "There are %d %ss and %d participants for them: some folds are empty.", folds, words, folded.sum()
        )
    fractions = np.full(folds, 1 / folds)
    inside = people[folded].reset_index(drop=True)
    dealt = _deal_by_shortfall(inside, column, range(1, folds + 1), fractions, levels, noise)
    result = pd.Series(pd.NA, index=people.index, dtype="Int64")
    result[folded] = pd.array(dealt, dtype="Int64")
    return result
