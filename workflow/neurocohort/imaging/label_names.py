"""What the numbers of a tissue segmentation mean: in every cohort's labels, and in the maps that networks predict."""

import pandas as pd

from neurocohort.imaging.derivatives import SUFFIXES

# The columns are those of BIDS; ``mapping`` is the label in its own list of common tissues.
LABELS = pd.DataFrame(
    {
        "index": [0, 1, 2, 3],
        "name": ["Background", "Cerebrospinal Fluid", "Gray Matter", "White Matter"],
        "abbreviation": ["BG", *SUFFIXES.values()],
        "mapping": [0, 3, 1, 2],
    }
)
