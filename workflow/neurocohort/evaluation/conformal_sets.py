"""Conformal sets of a classification: for each scan the classes that can't be ruled out at a level of 95 %.

Each class has a calibration of its own (class-conditional or Mondrian conformal prediction: Vovk 2013, Machine Learning 92,
349-376), from the probabilities that the participants of the class got while no network was trained on them. So the set contains
the true class for 95 % of the new participants of every class, also of a rare one. A set with several classes says that the scan
doesn't tell them apart; an empty one, that it is unlike the calibration participants of any class. Calibration participants and
assumptions are those of the intervals of a regression, see `conformal`.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from neurocohort.evaluation.conformal import (
    ABROAD,
    FEWEST,
    Calibration,
    calibration_scans,
    means_by_fold,
    of_part,
    of_participants,
    test_folds_of,
)
from neurocohort.evaluation.conformal_rule import class_is_in_set, set_text
from neurocohort.evaluation.intervals import CONFIDENCE, wilson_interval
from neurocohort.evaluation.measures import EXTERNAL, NETWORK, VALIDATION, judged_parts, probability_columns, too_few
from neurocohort.evaluation.rows import NAN, DetailRow, Estimate

SETTING = "prediction set"
SET_COLUMNS = ["cohort", "part", "scan_id", "participant_id", "target", "prediction", "set"]
OF_CLASS = "class={}"  # the group of the participants of a class
Calibrations = dict[int, list[Calibration]]  # by test fold; one for each class


def set_calibrations_of(predictions: pd.DataFrame, members: pd.DataFrame, samples: pd.DataFrame) -> Calibrations:
    """The calibrations of a classification, by test fold and class; for keys and arguments see `calibration_scans`."""
    found = {}
    for number, one in calibration_scans(predictions, members, samples).items():
        rows = _with_probabilities(one.rows)
        target = _codes(rows)
        errors = [1 - rows[name].to_numpy(dtype=float) for name in probability_columns(rows)]
        found[number] = [
            Calibration(own[target == code], one.folds[target == code], one.between_test_folds)
            for code, own in enumerate(errors)
        ]
    return found


def prediction_sets(predictions: pd.DataFrame, members: pd.DataFrame, calibrations: Calibrations) -> pd.DataFrame:
    """intervals.tsv of a classification: SET_COLUMNS, one row for each tested scan.

    ``set`` has the codes of the classes, such as ``{0, 1}``, ``{1}`` or ``{}``; it is missing where a class has fewer than
    FEWEST calibration participants.

    Args:
        predictions: The network's rows.
        members: The rows of the single networks.
        calibrations: See `set_calibrations_of`.
    """
    tested = _with_probabilities(predictions[predictions["part"] != VALIDATION].reset_index(drop=True))
    members, numbers = _with_probabilities(members), test_folds_of(tested)
    sets = pd.Series(pd.NA, index=tested.index, dtype=object)
    for number, of_classes in calibrations.items():
        own = numbers == number
        if own.any() and _enough(of_classes):
            sets[own] = _sets(tested[own], members, of_classes, number)
    return tested.assign(set=sets)[SET_COLUMNS]


def set_details(sets: pd.DataFrame, calibrations: Calibrations) -> Iterator[DetailRow]:
    """Rows of details.tsv with the setting SETTING, of the scans with a set.

    ``coverage`` is the fraction of the scans whose set contains the true class, in the groups ``all`` and ``class=0`` and so on.
    ``one_class_sets``, ``several_class_sets`` and ``empty_sets`` are fractions of the sets. All are missing where there are too
    few calibration participants.
    """
    for part in judged_parts(sets.assign(model=NETWORK)):
        if too_few(part.table):
            continue
        external, codes = part.part == EXTERNAL, _codes(part.table)
        own = of_part(calibrations, external=external)
        note = _note(own) + (ABROAD if external else "")
        known = part.table["set"].notna().to_numpy()
        sizes = part.table.loc[known, "set"].map(lambda text: len(_classes(text)))
        fractions = {"one_class_sets": sizes == 1, "several_class_sets": sizes > 1, "empty_sets": sizes == 0}
        people = part.table.loc[known, "participant_id"].nunique()
        found = [_covered(part.table[known]), *(_fraction(name, one, people) for name, one in fractions.items())]
        yield from part.details("all", SETTING, note, found)
        for code in range(len(own[0])):
            of_class = part.table[known & (codes == code)]
            if not too_few(part.table[codes == code]):
                yield from part.details(OF_CLASS.format(code), SETTING, note, [_covered(of_class)])


def _sets(tested: pd.DataFrame, members: pd.DataFrame, calibrations: list[Calibration], number: int) -> list[str]:
    """The set of each tested scan as text."""
    inside = []
    for name, calibration in zip(probability_columns(tested), calibrations, strict=True):
        probabilities = of_participants(means_by_fold(tested, members, calibration, number, name), calibration)
        inside.append(class_is_in_set(probabilities, calibration.residuals, CONFIDENCE))
    return [set_text(np.flatnonzero(row).tolist()) for row in np.stack(inside, axis=1)]


def _with_probabilities(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a column for the probability of each class, also of two classes."""
    if probability_columns(table):
        return table
    return table.assign(probability_0=1 - table["prediction"], probability_1=table["prediction"])


def _codes(table: pd.DataFrame) -> np.ndarray:
    return table["target"].to_numpy(dtype=float).astype(int)


def _classes(text: str) -> list[int]:
    return [int(code) for code in text.strip("{}").split(",") if code]


def _covered(rows: pd.DataFrame) -> Estimate:
    inside = pd.Series([code in _classes(text) for code, text in zip(_codes(rows), rows["set"], strict=True)])
    return _fraction("coverage", inside, rows["participant_id"].nunique())


def _fraction(name: str, inside: pd.Series, people: int) -> Estimate:
    if not people:
        return Estimate(name, NAN)
    value = float(inside.mean())
    return Estimate(name, value, *wilson_interval(value, people), "wilson", people)


def _enough(calibrations: list[Calibration]) -> bool:
    return all(one.enough for one in calibrations)


def _note(calibrations: list[list[Calibration]]) -> str:
    """How the sets were made, from the calibrations of the test folds, or why there are none."""
    first = calibrations[0][0]
    each = f"For each of {len(calibrations)} test folds: " if len(calibrations) > 1 else ""
    kind = "held-out" if first.between_test_folds else "validation"
    counts = [[len(one.residuals) for one in of_class] for of_class in zip(*calibrations, strict=True)]
    words = ", ".join(
        f"{min(own)}{f' to {max(own)}' if max(own) > min(own) else ''} of class {code}"
        for code, own in enumerate(counts)
    )
    if not all(map(_enough, calibrations)):
        return (
            f"{each}No sets: {kind} participants {words}, and a set at the level of 95 % needs {FEWEST} of each class."
        )
    how = f"{each}95 % sets, calibrated by class"
    if first.between_test_folds:
        return f"{how} with the participants while held out: {words}. Of each class CV+ guarantees 90 %."
    if any(one.folds.any() for one in calibrations[0]):
        return f"{how} with the probabilities out of fold of participants: {words}. Of each class CV+ guarantees 90 %."
    return (
        f"{how} with validation participants: {words}. The epoch was chosen on them too: the coverage is approximate."
    )
