"""Dementia ratings from scans.tsv, joined to predictions."""

import numpy as np
import pandas as pd

TRAITS = ("cdr", "dementia")  # where a cohort has them


def with_traits(table: pd.DataFrame, traits: pd.DataFrame | None) -> pd.DataFrame:
    """``table`` with the columns of TRAITS that ``traits`` has, joined by cohort and scan_id; unchanged without ``traits``.

    Values that aren't numbers are missing: in another cohort the same name may mean something else.
    """
    if traits is None:
        return table
    columns = [name for name in TRAITS if name in traits and name not in table]
    numbers = traits[["cohort", "scan_id"]].join(traits[columns].apply(pd.to_numeric, errors="coerce"))
    return table.merge(numbers, on=["cohort", "scan_id"], how="left", validate="m:1")


def healthy(table: pd.DataFrame) -> np.ndarray | None:
    """The rows, (rows,) bool, of participants without a rating above 0 in any row; None where no row has a rating.

    Participants without any rating are included: OASIS-1 didn't rate young people. A participant with a rating above 0 at one
    session is excluded at all sessions.
    """
    names = [name for name in TRAITS if name in table]
    ratings = table[names].to_numpy(dtype=float)
    if not np.isfinite(ratings).any():
        return None
    impaired = pd.Series((ratings > 0).any(axis=1), index=table.index)
    return ~impaired.groupby([table["cohort"], table["participant_id"]]).transform("any").to_numpy()
