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
    """Which rows (rows,) are of participants whom no row of ``table`` rates above 0; None where no row has a rating.

    Participants without any rating are among them: OASIS-1 didn't rate its young. Whether they are healthy, nobody examined.
    A participant who is rated above 0 at one session is not among them at another one that has no rating.
    """
    names = [name for name in TRAITS if name in table]
    ratings = table[names].to_numpy(dtype=float)
    if not np.isfinite(ratings).any():
        return None
    impaired = pd.Series((ratings > 0).any(axis=1), index=table.index)
    return ~impaired.groupby([table["cohort"], table["participant_id"]]).transform("any").to_numpy()
