"""What scans.tsv says of people beyond age and sex, beside their predictions."""

import numpy as np
import pandas as pd

TRAITS = ("cdr", "dementia")  # where a cohort has them


def with_traits(table: pd.DataFrame, traits: pd.DataFrame | None) -> pd.DataFrame:
    """``table`` with those columns of TRAITS that ``traits`` has, by cohort and scan_id; without ``traits`` as it is.

    A value that isn't a number is missing: a cohort of one's own may mean something else by the name.
    """
    columns = [] if traits is None else [name for name in TRAITS if name in traits and name not in table]
    if not columns:
        return table
    numbers = traits[["cohort", "scan_id"]].join(traits[columns].apply(pd.to_numeric, errors="coerce"))
    return table.merge(numbers, on=["cohort", "scan_id"], how="left", validate="m:1")


def healthy(table: pd.DataFrame) -> np.ndarray | None:
    """Which rows (rows,) are of participants without a sign of dementia; None where no row has a rating that could tell.

    Without a sign is a clinical dementia rating of 0, and none at all: OASIS-1 didn't rate its young.
    """
    ratings = [table[name].to_numpy(dtype=float) for name in TRAITS if name in table]
    if not np.isfinite(ratings).any():
        return None
    return ~np.any([rating > 0 for rating in ratings], axis=0)
