"""The tables that an experiment's evaluation leaves, by name: what is judged, compared, drawn and told apart in them."""

from collections.abc import Iterator

import pandas as pd

from neurocohort.evaluation.classification_details import confusion_table
from neurocohort.evaluation.comparisons import compare
from neurocohort.evaluation.curves import CURVE_COLUMNS, curve_table
from neurocohort.evaluation.details import details
from neurocohort.evaluation.evaluate import evaluate
from neurocohort.evaluation.measures import CLASSIFICATION, with_baselines
from neurocohort.evaluation.operating_point import CONFUSION_COLUMNS
from neurocohort.evaluation.shift import shift_rows
from neurocohort.evaluation.spread import member_spread


def evaluation_tables(
    *,
    predictions: pd.DataFrame,
    baselines: pd.DataFrame,
    members: pd.DataFrame,
    samples: pd.DataFrame,
    scans: dict[str, pd.DataFrame],
    kind: str,
    resamples: int,
    seed: int,
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield metrics, comparisons, details, curves, confusion, shift and spread with their tables; a table that a ``kind`` of task
    doesn't have has its columns and no rows.

    ``scans``: scans.tsv by cohort; the other tables are those of the experiment's folder.
    """
    options = {"resamples": resamples, "seed": seed}
    everything = with_baselines(predictions, baselines)
    yield "metrics", evaluate(predictions, baselines, kind, **options)
    yield "comparisons", compare(predictions, baselines, kind, **options)
    traits = pd.concat([table.assign(cohort=cohort) for cohort, table in scans.items()], ignore_index=True)
    yield "details", details(predictions, baselines, samples, traits, kind, **options)
    classified = kind == CLASSIFICATION
    yield "curves", curve_table(everything, **options) if classified else pd.DataFrame(columns=CURVE_COLUMNS)
    yield "confusion", confusion_table(everything) if classified else pd.DataFrame(columns=CONFUSION_COLUMNS)
    yield "shift", shift_rows(predictions, baselines, samples, kind, **options)
    yield "spread", member_spread(members, kind)
