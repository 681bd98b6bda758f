"""The predictions that adaptation.tsv compares: of experiments, with recomputed batch statistics, and of harmonised baselines."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from neurocohort.evaluation.adaptation import BASELINE, BATCH_NORM, EXPERIMENT, PLAIN, Method, Place
from neurocohort.evaluation.baseline_inputs import VOLUMES
from neurocohort.evaluation.harmonisation import COMBAT
from neurocohort.evaluation.measures import EXTERNAL
from neurocohort.evaluation.shift import site_names
from neurocohort.files import read_table
from neurocohort.learning.outcomes import NO

UNKNOWN_SITE = "site not known"


def methods_of(
    folder: Path, sites: Iterable[Mapping[str, Any]], *, batch_norm: bool, combat: bool = False
) -> list[Method]:
    """The methods with their predictions, references first.

    Args:
        folder: The results of all experiments.
        sites: Of each new site ``site``, ``cohorts`` and ``experiments``: by compared experiment, the one whose networks predict
            its scans; the first is the reference.
        batch_norm: Whether the reference has predictions with recomputed batch statistics (adapted.tsv).
        combat: Whether the study harmonises baselines. Where none could be, the method is there without predictions.
    """
    networks: dict[str, Method] = {}
    adapted: dict[Place, pd.DataFrame] = {}
    baselines: dict[Place, pd.DataFrame] = {}
    for one in sites:
        reference = next(iter(one["experiments"]))
        for name, place in one["experiments"].items():
            kind, compared_with = (PLAIN, "") if name == reference else (EXPERIMENT, reference)
            method = networks.setdefault(name, Method(kind, name, compared_with, {}))
            own = _of_new_sites(read_table(folder / place / "predictions.tsv"), one)
            method.tables.update(own)
            if (read_table(folder / place / "networks.tsv")["learned"] == NO).all():
                method.learned_nothing.update(own)
            if name == reference:
                baselines |= _of_new_sites(read_table(folder / place / "baselines.tsv"), one)
                adapted |= _of_new_sites(read_table(folder / place / "adapted.tsv"), one) if batch_norm else {}
    first = next(iter(networks))
    recomputed = [Method(BATCH_NORM, first, first, adapted, networks[first].learned_nothing)] if batch_norm else []
    harmonised = _baseline_methods(baselines)
    if combat and not harmonised:
        harmonised = [Method(BASELINE, f"{VOLUMES}{COMBAT}", VOLUMES, {})]
    return [*networks.values(), *recomputed, *harmonised]


def _of_new_sites(predictions: pd.DataFrame, new: Mapping[str, Any]) -> dict[Place, pd.DataFrame]:
    """The predictions of external scans by cohort and site; ``new``: one of the sites of `methods_of`."""
    own = predictions[(predictions["part"] == EXTERNAL) & predictions["cohort"].isin(list(new["cohorts"]))]
    sites = site_names(own["site"]).fillna(UNKNOWN_SITE).astype(str)
    if site := new["site"]:
        own, sites = own[sites == site], sites[sites == site]
    return {
        (str(cohort), str(name)): table.reset_index(drop=True)
        for (cohort, name), table in own.groupby([own["cohort"], sites], sort=True)
    }


def _baseline_methods(baselines: Mapping[Place, pd.DataFrame]) -> list[Method]:
    """The baselines that ComBat has harmonised, each after the same without ComBat. ``baselines``: rows of baselines.tsv."""
    models = dict.fromkeys(name for table in baselines.values() for name in table["model"])
    found = []
    for name in (name for name in models if name.endswith(COMBAT)):
        for one, reference in ((plain := name.removesuffix(COMBAT), ""), (name, plain)):
            tables = {place: table[table["model"] == one] for place, table in baselines.items()}
            tables = {place: table.reset_index(drop=True) for place, table in tables.items() if len(table)}
            found.append(Method(BASELINE, one, reference, tables))
    return found
