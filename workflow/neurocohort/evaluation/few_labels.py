"""few_labels.tsv: a segmentation with and without scans that have no label map, on the same held-out participants."""

import pandas as pd

from neurocohort.evaluation.comparisons import difference, paired
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.measures import HELD_OUT, KEY, SEGMENTATION, estimate, measures, too_few
from neurocohort.evaluation.metrics import HIGHER_IS_BETTER
from neurocohort.evaluation.rows import FewLabelsRow, table_of

WITH_UNLABELLED, LABELS_ONLY = "with scans without labels", "labels only"
LEARNED_NOTHING = "The network {} learned nothing."


def few_labels(
    own: pd.DataFrame, labels_only: pd.DataFrame, learned: tuple[bool, bool], bootstrap: Bootstrap
) -> pd.DataFrame:
    """few_labels.tsv: model, metric, value, ci_low, ci_high, interval, n, and the difference of the two with a paired interval.

    The difference, the first network minus the second, has a paired bootstrap as in `comparisons.compare`; it is only in the
    rows of the first, and of metrics with a better direction. Without enough held-out participants the table has no rows.

    Args:
        own: Rows of predictions.tsv of the experiment.
        labels_only: The same of its labels-only network.
        learned: Whether each of the two learned something.
        bootstrap: Number of resamples and seed.
    """
    first, second = (table[table["part"] == HELD_OUT].reset_index(drop=True) for table in (own, labels_only))
    first, second = paired(first, second, [name for name in KEY if name in first])
    if too_few(first):
        return table_of([], FewLabelsRow)
    ours, theirs = (measures(table, SEGMENTATION) for table in (first, second))
    rows = []
    for model, found, success in zip((WITH_UNLABELLED, LABELS_ONLY), (ours, theirs), learned, strict=True):
        note = "" if success else LEARNED_NOTHING.format(model)
        for name, measure in found.items():
            row = FewLabelsRow(model, estimate(name, measure, bootstrap), note=note)
            if found is ours and name in HIGHER_IS_BETTER and name in theirs:
                value, interval = difference(measure, theirs[name], bootstrap)
                row = FewLabelsRow(model, row.estimate, value, interval.low, interval.high, note)
            rows.append(row)
    return table_of(rows, FewLabelsRow)
