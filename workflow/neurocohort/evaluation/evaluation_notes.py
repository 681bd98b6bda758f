"""evaluation_notes.tsv: what a person should know about an evaluation at the end of a run. The report has the same in details."""

import pandas as pd

from neurocohort.evaluation.conformal import Calibration, few_participants
from neurocohort.evaluation.harmonisation import FEWEST_SCANS
from neurocohort.evaluation.harmonisation_details import uncorrected_scans, with_counts
from neurocohort.evaluation.measures import POOLED
from neurocohort.notes import EVALUATION, Kind, Notes, note_table


def evaluation_notes(
    everything: pd.DataFrame,
    samples: pd.DataFrame,
    calibrations: dict[int, Calibration],
) -> pd.DataFrame:
    """The notes on scans that ComBat doesn't correct, and on prediction intervals from few participants, as a table.

    Args:
        everything: Predictions of all models (`with_baselines`).
        samples: samples.tsv.
        calibrations: Of the intervals of a regression; empty for other tasks.
    """
    notes = Notes(EVALUATION, logged=True)
    uncorrected = (
        f"{with_counts(others)} of {part.cohort}, {part.part}, not corrected by ComBat: fewer than {FEWEST_SCANS} training scans "
        "of the site."
        for part, _, others in uncorrected_scans(everything, samples)
        if len(others) and part.cohort != POOLED
    )
    for sentence in dict.fromkeys(uncorrected):  # the models have the same scans
        notes.add(Kind.SCANS, sentence)
    if few := few_participants(calibrations):
        notes.add(Kind.INTERVALS, few)
    return note_table(notes.notes)


def notes_of_applied(applied: pd.DataFrame) -> pd.DataFrame:
    """The notes on scans to which the networks are only applied, as a table; ``applied``: applied_samples.tsv."""
    notes = Notes(EVALUATION, logged=True)
    for reason, count in applied["reason"].value_counts(sort=False).items():
        notes.add(Kind.VALUES, f"{count} scan(s) are in no metric, and no network was trained on them: {reason}.")
    return note_table(notes.notes)
