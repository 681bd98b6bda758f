"""The split of a cohort: by participant, stratified, seeded, so that no person stands on two sides."""

import numpy as np
import pandas as pd

PARTS = ("train", "validation", "held-out")
SHUFFLED_NEIGHBOURS = 5  # participants alike in class, site, sex and age change places at random within such blocks


def split_participants(scans: pd.DataFrame, *, validation: float, held_out: float, seed: int) -> pd.DataFrame:
    """Assign each participant of ``scans`` to train, validation or held-out; columns participant_id, part, stratum.

    ``validation`` and ``held_out`` are shares (0 to 1) of the participants. All sessions of a person share one part. People
    are put in order of class (where the cohort has a ``dementia`` column), site, sex and age at the first session; the parts
    are dealt along that order in their shares, so that each stratum is divided as far as its count allows.
    """
    first = scans.sort_values(["participant_id", "session_id"]).drop_duplicates("participant_id").copy()
    for name in ("dementia", "age", "sex"):
        if name not in first:
            first[name] = np.nan
    label = first["dementia"].map({0: "control", 1: "case"}).fillna("unrated")
    first["stratum"] = label + "|" + first["site"].fillna("?").astype(str) + "|" + first["sex"].fillna("?").astype(str)
    first = first.sort_values(["stratum", "age", "participant_id"], na_position="last").reset_index(drop=True)

    generator = np.random.default_rng(seed)
    order = np.arange(len(first))
    for start in range(0, len(order), SHUFFLED_NEIGHBOURS):
        generator.shuffle(order[start : start + SHUFFLED_NEIGHBOURS])
    shares = np.array([1.0 - validation - held_out, validation, held_out])
    counts = np.zeros(len(PARTS))
    parts = np.empty(len(first), dtype=object)
    for done, index in enumerate(order, start=1):
        chosen = int(np.argmax(shares * done - counts))  # the part that lags most behind its share
        counts[chosen] += 1
        parts[index] = PARTS[chosen]
    first["part"] = parts
    return first[["participant_id", "part", "stratum"]].sort_values("participant_id").reset_index(drop=True)
