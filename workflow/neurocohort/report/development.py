"""The use of the participants outside the held-out part: for training or validation, or in the folds of a cross-validation. All
sections of the report take these counts and words from here."""

from dataclasses import dataclass

import pandas as pd

from neurocohort.dataset.folds import FOLDED_PARTS, with_fold

DEVELOPMENT = "development"  # the part of train and validation together, where folds divide them


@dataclass(frozen=True)
class Fold:
    """How many participants a fold's networks were trained and validated on."""

    number: int
    trained: int
    validated: int


def folds_of(settings: dict, configuration: dict) -> int:
    """How many folds the experiment's networks were trained in; 0 without cross-validation."""
    folded = (settings.get("training") or {}).get("cross_validation")
    return int((configuration.get("split") or {}).get("folds", 0)) if folded else 0


def members_in_words(settings: dict, folds: int) -> str:
    """What distinguishes the networks of an experiment: ``folds``, ``seeds`` or ``folds and seeds``."""
    seeds = len((settings.get("training") or {}).get("seeds") or ()) > 1
    return " and ".join(word for word, holds in (("folds", folds), ("seeds", seeds)) if holds)


def by_use(samples: pd.DataFrame, folds: int) -> pd.DataFrame:
    """The samples with the ``part`` that they were used in: with ``folds``, train and validation are one, `DEVELOPMENT`."""
    if not folds:
        return samples
    return samples.assign(part=samples["part"].mask(samples["part"].isin(FOLDED_PARTS), DEVELOPMENT))


def fitted_on(samples: pd.DataFrame, folds: int) -> pd.DataFrame:
    """The rows on which the weights of any network of the experiment were fitted."""
    return samples[samples["part"].isin(FOLDED_PARTS if folds else ("train",))]


def each_fold(samples: pd.DataFrame, folds: int) -> list[Fold]:
    """The participants of each fold; none where the samples have no folds."""
    if not folds or "fold" not in samples:
        return []
    found = []
    for number in range(1, folds + 1):
        table = with_fold(samples, number)
        counts = [_participants(table[table["part"] == part]) for part in FOLDED_PARTS]
        found.append(Fold(number, *counts))
    return found


def folds_sentence(samples: pd.DataFrame, folds: int) -> str:
    """A sentence on the folds of the development part; empty without cross-validation."""
    each = each_fold(samples, folds)
    if not each:
        return ""
    trained, validated = _range([fold.trained for fold in each]), _range([fold.validated for fold in each])
    return (
        f"Cross-validation in {folds} folds: each network was trained on {trained} of the development participants and validated "
        f"on the other {validated}."
    )


def _participants(rows: pd.DataFrame) -> int:
    return len(rows[["cohort", "participant_id"]].drop_duplicates())


def _range(counts: list[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"
