"""The order in which an epoch draws the training scans; it depends only on the seed and the epoch.

An entry of the order is the number of a draw: scan ``number % scans``, drawn for the ``number // scans``-th time before. So each
time that a scan is drawn in an epoch, it has augmentation of its own.
"""

import numpy as np
import pandas as pd

NO_SITE = ""


def site_groups(samples: pd.DataFrame) -> np.ndarray:
    """The cohort and site of each row of ``samples``, (rows,) str; the scans of a cohort whose site isn't known are a site."""
    site = samples["site"].map(_name).astype(str)
    found: np.ndarray = (samples["cohort"].astype(str) + " " + site).str.strip().to_numpy(dtype=np.str_)
    return found


def epoch_order(scans: int, groups: np.ndarray | None, seed: int, epoch: int) -> np.ndarray:
    """The draws of an epoch, (scans,) int.

    Args:
        scans: Number of training scans.
        groups: The site of each scan, (scans,); all sites are then drawn equally often, up to one draw. A site with few scans
            goes through them several times, each time in another order; of one with many, some are left out of the epoch. None
            to draw each scan once.
        seed: Of the training.
        epoch: From 0.
    """
    rng = np.random.default_rng((seed, epoch))
    if groups is None:
        return rng.permutation(scans)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    # The sites take turns at having one draw more than the others.
    sizes = np.array([len(part) for part in np.array_split(np.arange(scans), len(members))])[
        rng.permutation(len(members))
    ]
    draws = [_draws(own, int(size), scans, rng) for own, size in zip(members, sizes, strict=True)]
    return rng.permutation(np.concatenate(draws))


def balance_line(groups: np.ndarray) -> str:
    """A line for the log of a training whose sites are balanced."""
    names, counts = np.unique(groups, return_counts=True)
    found = ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
    if len(names) == 1:
        return f"note: `balance_sites` changes nothing, as all training scans are from one site: {found}"
    each = f"each of {len(names)} gives {len(groups) / len(names):.4g} of the {len(groups)} scans of an epoch"
    return f"sites balanced: {each}; they have {found}"


def _draws(own: np.ndarray, size: int, scans: int, rng: np.random.Generator) -> np.ndarray:
    """``size`` draws of the scans ``own``: whole rounds, and a part of another one."""
    rounds = -(-size // len(own))
    return np.concatenate([turn * scans + rng.permutation(own) for turn in range(rounds)])[:size]


def _name(site: object) -> str:
    """3 and 3.0 (a column of numbers with a gap) are the same site."""
    if pd.isna(site):  # type: ignore[call-overload]
        return NO_SITE
    return str(int(site)) if isinstance(site, float) and site.is_integer() else str(site)
