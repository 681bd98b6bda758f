"""The use of the participants: for training or validation, in the folds of a cross-validation, or held out once in the test
folds. All sections of the report take these counts and words from here."""

from dataclasses import dataclass

import pandas as pd

from neurocohort.dataset.folds import FOLDED_PARTS, HELD_OUT, test_fold_numbers, with_fold, with_test_fold
from neurocohort.report.formats import Run
from neurocohort.text import counted, listed

DEVELOPMENT = "development"  # the part of train and validation together, where folds divide them
TESTED_ONCE = "tested-once"  # the part of everybody who isn't external, with test folds


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


def members_in_words(settings: dict, folds: int, test_folds: int = 0) -> str:
    """What distinguishes the networks of an experiment: ``folds``, ``seeds`` or ``test folds, folds and seeds``."""
    seeds = len((settings.get("training") or {}).get("seeds") or ()) > 1
    words = (("test folds", test_folds), ("folds", folds), ("seeds", seeds))
    return listed([word for word, holds in words if holds])


def tested_once(samples: pd.DataFrame) -> bool:
    """Whether everybody was held out once, in test folds."""
    return "test_fold" in samples


def held_out(samples: pd.DataFrame) -> pd.DataFrame:
    """The rows that were held out; with test folds all that aren't external."""
    if tested_once(samples):
        return samples[samples["part"].isin((*FOLDED_PARTS, HELD_OUT))]
    return samples[samples["part"] == HELD_OUT]


def sides(samples: pd.DataFrame) -> pd.Series:
    """The side of the split of each row: its part, with test folds together with its test fold."""
    if not tested_once(samples):
        return samples["part"]
    folds = pd.to_numeric(samples["test_fold"], errors="coerce").astype(float)
    return samples["part"].astype(str) + folds.map(lambda fold: f" {fold:.0f}")


def by_use(samples: pd.DataFrame, folds: int) -> pd.DataFrame:
    """The samples with the ``part`` that they were used in: with ``folds``, train and validation are one, `DEVELOPMENT`; with
    test folds all that aren't external are one, `TESTED_ONCE`."""
    if tested_once(samples):
        return samples.assign(part=samples["part"].mask(samples["part"].isin(FOLDED_PARTS), TESTED_ONCE))
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
    """A sentence on the folds of the development part; empty without cross-validation. With test folds, one on these."""
    if tested_once(samples):
        return _test_folds_sentence(samples, folds)
    each = each_fold(samples, folds)
    if not each:
        return ""
    trained, validated = _range([fold.trained for fold in each]), _range([fold.validated for fold in each])
    return (
        f"Cross-validation in {folds} folds: each network was trained on {trained} of the development participants and validated "
        f"on the other {validated}."
    )


def unlabelled_sentence(runs: list[Run]) -> list[str]:
    """How many scans without a label map the networks learned from. Those of several folds may differ."""
    found = [run.unlabelled for run in runs if run.unlabelled]
    if not found:
        return []
    most = max(found, key=lambda one: one.scans)
    least = min(one.scans for one in found)
    scans = counted(most.scans, "scan") if least == most.scans else f"{least} to {most.scans} scans"
    return [
        f"The network also learned from {scans} of the training part without label maps, of "
        f"{counted(most.participants, 'participant')}. None of them is held out."
    ]


def _test_folds_sentence(samples: pd.DataFrame, folds: int) -> str:
    numbers = test_fold_numbers(samples)
    counts: dict[str, list[int]] = {part: [] for part in (*FOLDED_PARTS, HELD_OUT)}
    for number in numbers:
        own = with_test_fold(samples, number)
        for part, found in counts.items():
            found.append(_participants(own[own["part"] == part]))
    trained, validated, tested = (_range(found) for found in counts.values())
    sentence = (
        f"Every participant was held out once, in one of {len(numbers)} test folds: in each, {tested} participants were held "
        "out, and "
    )
    if folds:
        development = _range([sum(pair) for pair in zip(counts["train"], counts["validation"], strict=True)])
        return f"{sentence}the networks were trained on the other {development} in a cross-validation of {folds} folds."
    return f"{sentence}the networks were trained on {trained} and validated on {validated} of the others."


def _participants(rows: pd.DataFrame) -> int:
    return len(rows[["cohort", "participant_id"]].drop_duplicates())


def _range(counts: list[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"
