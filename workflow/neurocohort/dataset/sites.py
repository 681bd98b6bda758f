"""Leave one site out of the training and test on it: does a network generalise to a new scanner?"""

import pandas as pd

from neurocohort.dataset.folds import EXTERNAL, test_fold_numbers
from neurocohort.dataset.samples import empty_parts
from neurocohort.errors import InputError


def without_site(samples: pd.DataFrame, site: str) -> pd.DataFrame:
    """Put all participants of a site into the part ``external``, also their scans at other sites.

    Args:
        samples: The samples of `select_samples`.
        site: The site.

    Raises:
        InputError: If no scan is from that site, or if a part that training needs is then empty.
    """
    sites = samples["site"].astype("string")
    here = sites == site
    if not here.any():
        known = ", ".join(sorted(sites.dropna().unique())) or "none"
        raise InputError(
            f"`leave_one_site_out` names the site {site!r}, which no sample of the experiment has; expected one of its sites: "
            f"{known}."
        )
    people = pd.MultiIndex.from_frame(samples[["cohort", "participant_id"]])
    gone = people.isin(people[here.fillna(False)])
    folds = [name for name in ("fold", "test_fold") if name in samples]
    left = samples.assign(
        part=samples["part"].where(~gone, EXTERNAL),
        **{name: samples[name].where(~gone).astype("Int64") for name in folds},
    )
    for part, place in empty_parts(left, test_fold_numbers(samples)):
        raise InputError(
            f"without the site {site!r} no sample is left in the part {part!r}{place}; remove the site from "
            "`leave_one_site_out`, or give the experiment more cohorts."
        )
    return left
