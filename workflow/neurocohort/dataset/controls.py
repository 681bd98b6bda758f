"""The control of permuted targets: what a training learns of them must not help on the truth."""

import numpy as np
import pandas as pd

SHUFFLED_PARTS = ("train", "validation")


def shuffle_targets(samples: pd.DataFrame, seed: int) -> pd.DataFrame:
    """``samples`` whose targets are permuted among the participants of ``train``, and among those of ``validation``.

    For values and classes, not for label maps. The targets of the other parts stay: the control is judged on the truth. A
    participant gets the targets of another one, scan by scan in the table's order (from the first again where the other has
    fewer scans), so that what is constant in a person stays so. The permutation is random and balanced: participants of like
    targets receive targets from the whole range alike, as in a Latin square. An unrestricted one agrees or disagrees a little
    with the truth by chance; a network finds that, and then ranks the held-out participants by the truth, or against it.
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


def _balanced_permutation(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The donor of each receiver: neighbours in size, block by block, draw one donor each from every stratum of sizes."""
    count = len(values)
    ranked = np.lexsort((generator.random(count), values))  # equal values in a random order
    block = max(round(count**0.5), 1)
    strata = np.concatenate([generator.permutation(block) for _ in range(0, count, block)] or [[]])[:count]
    donors = np.empty(count, dtype=int)
    donors[ranked[np.lexsort((generator.random(count), strata))]] = ranked
    return donors
