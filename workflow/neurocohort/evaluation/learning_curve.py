"""learning_curve.tsv: networks applied, fine-tuned and trained from random weights, on the same held-out participants."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import pandas as pd

from neurocohort.evaluation.comparisons import difference, paired
from neurocohort.evaluation.intervals import NO_INTERVAL, Bootstrap, Interval
from neurocohort.evaluation.measures import EXTERNAL, HELD_OUT, KEY, Measure, estimate, measures, too_few
from neurocohort.evaluation.metrics import HIGHER_IS_BETTER
from neurocohort.evaluation.rows import NAN, Estimate, LearningCurveRow, table_of

APPLIED, FINE_TUNED, RANDOM = "applied", "fine-tuned", "random"
LEARNED_NOTHING = "The network learned nothing."
LEFT_OUT = "Only the held-out scans to which the networks of the start were applied too: {} of {}."


@dataclass(frozen=True)
class Start:
    """The predictions of one point of a learning curve.

    Attributes:
        name: ``applied``, ``fine-tuned`` or ``random``.
        participants: Number of own participants that training and validation had; 0 for ``applied``.
        predictions: Rows of predictions.tsv.
        learned: Whether one of the networks learned something.
    """

    name: str
    participants: int
    predictions: pd.DataFrame
    learned: bool = True


def learning_curve(
    trained: Sequence[Start], applied: Start | None, reason: str, kind: str, bootstrap: Bootstrap
) -> pd.DataFrame:
    """learning_curve.tsv: start, participants, metric, value, ci_low, ci_high, interval, n, and two differences, with a note.

    All values are of the held-out scans that all points have. The differences ``minus_applied`` and ``minus_random``, the latter
    to the network from random weights with the same participants, have a paired interval each, as in `comparisons.compare`;
    they are empty for metrics without a better direction.

    Args:
        trained: The points of the curve.
        applied: The networks of the start, applied without training to the same participants; None where there is none.
        reason: Why there is none.
        kind: The task.
        bootstrap: Number of resamples and seed.
    """
    parts = [HELD_OUT, EXTERNAL]
    points = [applied, *trained] if applied else list(trained)
    tables = [
        one.predictions[one.predictions["part"].isin(parts if one is applied else [HELD_OUT])].reset_index(drop=True)
        for one in points
    ]
    key = [name for name in KEY if name in tables[-1]]
    common = reduce(lambda rows, other: paired(rows, other, key)[0], tables[1:], tables[0])
    tables = [paired(common, table, key)[1] for table in tables]
    if too_few(common):
        return table_of([], LearningCurveRow)
    found = [measures(table, kind) for table in tables]
    whole = int((trained[0].predictions["part"] == HELD_OUT).sum())
    note = LEFT_OUT.format(len(common), whole) if len(common) < whole else ""
    first = found[0] if applied else {}
    of_random = {one.participants: own for one, own in zip(points, found, strict=True) if one.name == RANDOM}
    rows = [] if applied else [LearningCurveRow(APPLIED, 0, Estimate(name, NAN), note=reason) for name in found[0]]
    for one, own in zip(points, found, strict=True):
        notes = " ".join(filter(None, [note, "" if one.learned else LEARNED_NOTHING]))
        references = (
            {} if one.name == APPLIED else first,
            of_random.get(one.participants, {}) if one.name == FINE_TUNED else {},
        )
        for name, measure in own.items():
            differences = [_difference(name, measure, others.get(name), bootstrap) for others in references]
            (to_applied, by_applied), (to_random, by_random) = differences
            rows.append(
                LearningCurveRow(
                    one.name,
                    one.participants,
                    estimate(name, measure, bootstrap),
                    *(to_applied, by_applied.low, by_applied.high),
                    *(to_random, by_random.low, by_random.high),
                    note=notes,
                )
            )
    return table_of(rows, LearningCurveRow)


def _difference(name: str, own: Measure, other: Measure | None, bootstrap: Bootstrap) -> tuple[float, Interval]:
    if other is None or name not in HIGHER_IS_BETTER:
        return NAN, NO_INTERVAL
    return difference(own, other, bootstrap)
