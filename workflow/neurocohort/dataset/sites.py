"""One site left out of the training, to be tested on whole: how far a network carries to a scanner that it never saw."""

import pandas as pd

from neurocohort.dataset.split import PARTS
from neurocohort.errors import InputError


def without_site(samples: pd.DataFrame, site: str) -> pd.DataFrame:
    """The rows of ``samples`` (`select_samples`) with every participant of ``site`` in the part ``external``.

    A participant with scans at several sites goes with all of them, so that nobody is on two sides. Raises InputError where
    no scan is of that site, or where what is left lacks a part that training needs.
    """
    sites = samples["site"].astype("string")
    here = sites == site
    if not here.any():
        known = ", ".join(sorted(sites.dropna().unique())) or "none"
        raise InputError(
            f"`leave_one_site_out` names the site {site!r}, which no sample of the experiment is of; expected one of its sites: "
            f"{known}."
        )
    people = pd.MultiIndex.from_frame(samples[["cohort", "participant_id"]])
    gone = people.isin(people[here.fillna(False)])
    left = samples.assign(
        part=samples["part"].where(~gone, "external"), fold=samples["fold"].where(~gone).astype("Int64")
    )
    for part in PARTS:
        if not (left["part"] == part).any():
            raise InputError(
                f"without the site {site!r} no sample is left in the part {part!r}; take the site out of `leave_one_site_out`, "
                "or give the experiment more cohorts."
            )
    return left
