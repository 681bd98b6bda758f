"""The label values of tissue segmentations, for the cohorts' labels and the networks' predictions."""

import pandas as pd

from neurocohort.imaging.derivatives import SUFFIXES

# The columns of BIDS; ``mapping`` is the label in BIDS' list of common tissues.
LABELS = pd.DataFrame(
    {
        "index": [0, 1, 2, 3],
        "name": ["Background", "Cerebrospinal Fluid", "Gray Matter", "White Matter"],
        "abbreviation": ["BG", *SUFFIXES.values()],
        "mapping": [0, 3, 1, 2],
    }
)
