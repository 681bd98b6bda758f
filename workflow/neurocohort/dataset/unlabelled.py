"""The scans of the development part that a segmentation learns from without a label map."""

from collections.abc import Mapping

import pandas as pd

from neurocohort.dataset.folds import FOLDED_PARTS
from neurocohort.dataset.leakage import check_no_leakage
from neurocohort.dataset.samples import CohortTables, select_samples
from neurocohort.dataset.sites import without_site
from neurocohort.settings.pretraining import PRETRAINING


def unlabelled_samples(
    cohorts: Mapping[str, CohortTables], labelled: pd.DataFrame, *, query: str = "", left_out_site: str = ""
) -> pd.DataFrame:
    """Select the usable scans of the development part that aren't among the ``labelled`` ones.

    Their parts are those of the split, so that a training leaves out those of its validation part (`learning.unlabelled`). A scan
    of a participant with another, labelled scan is among them.

    Args:
        cohorts: The tables of the cohorts that the experiment trains on.
        labelled: The samples of its trainings, of the parts train and validation.
        query: The experiment's filter.
        left_out_site: The site that it leaves out; empty for none.

    Returns:
        The columns of samples.tsv, without a target; may be empty.

    Raises:
        InputError: If something leaks (`check_no_leakage`), labelled scans included.
    """
    every, _ = select_samples(cohorts, [], task=PRETRAINING, target="", query=query)
    if left_out_site:
        every = without_site(every, left_out_site)
    known = pd.MultiIndex.from_frame(labelled[["cohort", "scan_id"]])
    left = every[every["part"].isin(FOLDED_PARTS) & ~pd.MultiIndex.from_frame(every[["cohort", "scan_id"]]).isin(known)]
    check_no_leakage(pd.concat([left, labelled], ignore_index=True))
    return left.reset_index(drop=True)
