"""The label values of segmentations, for the cohorts' labels and the networks' predictions."""

from collections.abc import Sequence

import pandas as pd

from neurocohort.imaging.derivatives import SUFFIXES
from neurocohort.structures import TISSUES

# The columns of BIDS; ``mapping`` is the label in BIDS' list of common tissues.
LABELS = pd.DataFrame(
    {
        "index": [0, 1, 2, 3],
        "name": ["Background", "Cerebrospinal Fluid", "Gray Matter", "White Matter"],
        "abbreviation": ["BG", *SUFFIXES.values()],
        "mapping": [0, 3, 1, 2],
    }
)


def label_table(structures: Sequence[str]) -> pd.DataFrame:
    """The content of ``dseg.tsv`` for label maps with these structures, label 1 first."""
    if tuple(structures) == TISSUES:
        return LABELS
    return pd.DataFrame({"index": range(len(structures) + 1), "name": ["Background", *structures]})
