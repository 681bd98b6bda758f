"""The control experiment with permuted targets: a network that learns them must not predict the true ones."""

import numpy as np
import pandas as pd

from neurocohort.dataset.folds import SHUFFLED, test_fold_numbers, with_test_fold

SHUFFLED_PARTS = ("train", "validation")


def shuffle_targets(samples: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Permute the targets among the participants of ``train``, and among those of ``validation``.

    The other parts keep their targets: the control is evaluated on the truth. A participant gets the targets of another one,
    scan by scan in the table's order (repeated if that one has fewer scans), so that a constant of a person stays constant.

    The permutation is random and balanced: participants with similar targets get targets from the whole range, as in a Latin
    square. Without this restriction a permutation correlates a little with the truth by chance, a network finds that, and its
    predictions for the held-out participants correlate with the truth too.

    Args:
        samples: Samples of a regression or classification.
        seed: Seed of the permutation.
    """
    targets, parts, people = (samples[name].to_numpy() for name in ("target", "part", "participant_id"))
    shuffled = targets.copy()
    for number, part in enumerate(SHUFFLED_PARTS):
        inside = np.flatnonzero(parts == part)
        scans_of = [inside[people[inside] == person] for person in np.unique(people[inside])]
        firsts = np.array([targets[scans[0]] for scans in scans_of], dtype=float)
        donors = _balanced_permutation(firsts, np.random.default_rng((seed, number)))
        for scans, donor in zip(scans_of, donors, strict=True):
            shuffled[scans] = np.resize(targets[scans_of[donor]], len(scans))
    return samples.assign(target=shuffled)


def shuffled_by_test_fold(samples: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Permute the targets for the networks of each test fold (`shuffle_targets`), without those of its held-out participants.

    Without test folds the column target is permuted. With them it keeps the true targets, since everybody is held out once, and
    each test fold has a column of permuted ones, which `with_test_fold` takes.
    """
    numbers = test_fold_numbers(samples)
    if numbers == [0]:
        return shuffle_targets(samples, seed)
    columns = {SHUFFLED.format(one): shuffle_targets(with_test_fold(samples, one), seed)["target"] for one in numbers}
    return samples.assign(**columns)


def _balanced_permutation(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return each participant's donor: within a block of similar values, one donor comes from each stratum of values."""
    count = len(values)
    ranked = np.lexsort((generator.random(count), values))  # equal values in a random order
    block = max(round(count**0.5), 1)
    strata = np.concatenate([generator.permutation(block) for _ in range(0, count, block)] or [np.empty(0)])[:count]
    donors = np.empty(count, dtype=int)
    donors[ranked[np.lexsort((generator.random(count), strata))]] = ranked
    return donors
