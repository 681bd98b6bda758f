"""What a bundle needs so that its predictions come with conformal intervals or sets: the errors of the calibration participants.

A scan that a bundle predicts is treated like one of an external cohort in intervals.tsv: without test folds with the calibration
that all tested scans have, else with the participants of all test folds, from their errors while they were held out.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from neurocohort.dataset.runs import run_name
from neurocohort.evaluation import conformal, conformal_rule, conformal_sets
from neurocohort.evaluation.conformal import FEWEST, NO_TEST_FOLD, Calibration
from neurocohort.evaluation.conformal_rule import DECIMALS, place_of_quantile
from neurocohort.evaluation.intervals import CONFIDENCE
from neurocohort.evaluation.measures import CLASSIFICATION, REGRESSION

EXCHANGEABLE = "It holds for participants like those of the training cohorts, and not for those who differ from them."


@dataclass(frozen=True)
class Conformal:
    """The conformal part of a bundle.

    Attributes:
        component: What makes the columns, in MONAI's configuration language; empty where nothing can.
        facts: The block ``conformal`` of metadata.json; empty for a segmentation.
    """

    component: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def conformal_of(
    kind: str, predictions: pd.DataFrame, by_member: pd.DataFrame, samples: pd.DataFrame, names: Iterable[str]
) -> Conformal:
    """The conformal part of the bundle of an experiment.

    Args:
        kind: The task.
        predictions: predictions.tsv.
        by_member: members.tsv.
        samples: samples.tsv.
        names: The networks in the bundle, in its order.
    """
    networks = list(names)
    own = by_member[by_member["member"].isin(networks)]
    if kind == REGRESSION:
        calibration = conformal.calibrations_of(predictions, own, samples)[NO_TEST_FOLD]
        return _of_regression(calibration, networks)
    if kind == CLASSIFICATION:
        return _of_classes(conformal_sets.set_calibrations_of(predictions, own, samples)[NO_TEST_FOLD], networks)
    return Conformal()


def _of_regression(calibration: Calibration, networks: list[str]) -> Conformal:
    count = len(calibration.residuals)
    shared = {"kind": "interval", "columns": ["interval_low", "interval_high"], "level": CONFIDENCE}
    facts = shared | {"participants": count, "half_width": None}
    if not calibration.enough:
        why = f"No intervals: {count} calibration participants, and a finite interval needs {FEWEST}."
        return Conformal(facts=facts | {"rule": why})
    if not calibration.folds.any():
        place = place_of_quantile(count, CONFIDENCE)
        facts["half_width"] = round(float(sorted(calibration.residuals)[place - 1]), DECIMALS)
        rule = f"The prediction minus and plus half_width, the absolute error at place {place} of {count} (split-conformal)."
    else:
        rule = f"CV+ (Barber et al. 2021) from the absolute errors of {count} participants by networks that didn't see them."
    component = {
        "errors": calibration.residuals.round(DECIMALS).tolist(),
        "folds": calibration.folds.tolist(),
    }
    return Conformal(
        _component(conformal_rule.Intervals, component, calibration, networks),
        facts | {"rule": f"{rule} {EXCHANGEABLE}"},
    )


def _of_classes(calibrations: list[Calibration], networks: list[str]) -> Conformal:
    counts = [len(one.residuals) for one in calibrations]
    facts = {"kind": "set", "columns": ["set"], "level": CONFIDENCE, "participants": counts}
    if not all(one.enough for one in calibrations):
        numbers = ", ".join(map(str, counts))
        why = f"No sets: the classes have {numbers} calibration participants, and a set needs {FEWEST} of each."
        return Conformal(facts=facts | {"rule": why})
    rule = (
        "A class is in the set where fewer than ceil(0.95 (n + 1)) of its n calibration participants have a smaller error (1 "
        "minus the probability of the class) than the scan would have."
    )
    component = {
        "errors": [one.residuals.round(DECIMALS).tolist() for one in calibrations],
        "folds": [one.folds.tolist() for one in calibrations],
    }
    return Conformal(
        _component(conformal_rule.Sets, component, calibrations[0], networks),
        facts | {"rule": f"{rule} {EXCHANGEABLE}"},
    )


def _component(made: type, component: dict, calibration: Calibration, networks: list[str]) -> dict[str, Any]:
    names = [run_name(name) for name in networks]
    folds = [name.test_fold if calibration.between_test_folds else name.fold for name in names]
    target = {"_target_": f"scripts.{made.__module__.rpartition('.')[2]}.{made.__name__}"}
    return target | component | {"member_folds": folds, "confidence": CONFIDENCE}
