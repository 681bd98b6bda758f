"""Auxiliary variables: what a network learns besides its target. Their values are columns of samples.tsv."""

from collections.abc import Iterable, Mapping

import pandas as pd

from neurocohort.dataset.targets import SEX_CLASSES
from neurocohort.errors import InputError

PREFIX = "auxiliary_"


def with_auxiliary(samples: pd.DataFrame, scans: Mapping[str, pd.DataFrame], names: Iterable[str]) -> pd.DataFrame:
    """Add a column ``auxiliary_<name>`` for each variable to the samples; it is missing where a scan has no value.

    Args:
        samples: The experiment's scans, with cohort and scan_id.
        scans: By cohort, its scans.tsv.
        names: Variables that are numbers, 0 and 1 for two classes; or ``sex``, which becomes F = 0 and M = 1.

    Raises:
        InputError: If a variable has texts, or no value among the samples.
    """
    added = {}
    for name in names:
        by_scan = {
            (cohort, scan): value
            for cohort, table in scans.items()
            for scan, value in zip(table["scan_id"], _numbers(name, table, cohort), strict=True)
        }
        values = [by_scan[key] for key in zip(samples["cohort"], samples["scan_id"], strict=True)]
        added[f"{PREFIX}{name}"] = pd.Series(values, index=samples.index, dtype=float)
        if added[f"{PREFIX}{name}"].isna().all():
            raise InputError(f"`auxiliary` names {name}, of which no scan of the experiment has a value; leave it out.")
    return samples.assign(**added)


def _numbers(name: str, table: pd.DataFrame, cohort: str) -> pd.Series:
    if name not in table:
        return pd.Series(float("nan"), index=table.index)
    values = table[name].map(SEX_CLASSES) if name == "sex" else table[name]
    try:
        return values.astype(float)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"`auxiliary` names {name}, which has texts in {cohort} ({error}); expected numbers, or 0 and 1 for two classes."
        ) from error
