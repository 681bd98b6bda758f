"""The volumes that the baselines are fitted on are those of each scan's own cohort."""

import numpy as np
import pandas as pd
from neurocohort.evaluation.baselines import VOLUME_COLUMNS, volume_inputs


def test_two_cohorts_may_have_scans_of_one_name():
    rows = pd.DataFrame({"cohort": ["a", "b"], "scan_id": ["sub-01_ses-1"] * 2})
    quality = rows.assign(volume_brain_ml=[1000.0, 1400.0], **dict.fromkeys(VOLUME_COLUMNS, 100.0))
    found = volume_inputs(rows.iloc[::-1], quality)
    np.testing.assert_array_equal(found[:, -1], [1400, 1000])
