"""Fewer participants to train on, for a learning curve: nested subsets of the development part."""

import numpy as np
import pandas as pd

from neurocohort.dataset.folds import FOLDED_PARTS
from neurocohort.dataset.trained_scans import TrainedScans
from neurocohort.errors import InputError
from neurocohort.settings.semi_supervised import LABELLED

STRATA = 4  # quarters of a target with many values
LEARNING_CURVE = "learning_curve"  # the other key that asks for fewer participants
REASONS = {LEARNING_CURVE: ", since the point with all of them is always there", LABELLED: ""}
STEPS = {LEARNING_CURVE: "drawn for the learning curve", LABELLED: "drawn whose label maps are used"}


def with_participants(
    samples: pd.DataFrame, flow: pd.DataFrame, number: int, seed: int, key: str = LEARNING_CURVE
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Keep some participants of the development part, with all of their scans. The other parts stay.

    The subsets of one seed are nested: each contains the smaller ones. Every subset divides into training and validation as
    the whole part does, with at least one participant in each, and has about the same fraction of each cohort and of each class
    (for many values, each quarter of them).

    Args:
        samples: The samples of `select_samples`.
        flow: Its steps.
        number: Participants to keep.
        seed: Of the draw.
        key: The key of the experiment that asks for them.

    Returns:
        The samples and the steps, with one more for each cohort.

    Raises:
        InputError: If there are not more participants than ``number``, or if training or validation gets nobody.
    """
    people = samples[samples["part"].isin(FOLDED_PARTS)].drop_duplicates(["cohort", "participant_id"])
    if number >= len(people):
        raise InputError(
            f"`{key}` has {number}, and the development part of the experiment has {len(people)} participants; expected "
            f"fewer than these{REASONS[key]}. Remove the number."
        )
    validation = people[people["part"] == "validation"]
    validating = max(1, round(number * len(validation) / len(people)))
    if not len(validation) or validating >= number:
        raise InputError(
            f"`{key}` has {number}, of whom {validating} would validate, and of {len(people)} participants "
            f"{len(validation)} do; expected somebody in training and in validation. Remove the number."
        )
    generator = np.random.default_rng(seed)
    chosen = [_in_order(validation, generator)[:validating]]
    chosen.append(_in_order(people[people["part"] == "train"], generator)[: number - validating])
    kept = pd.MultiIndex.from_frame(pd.concat(chosen)[["cohort", "participant_id"]])
    own = pd.MultiIndex.from_frame(samples[["cohort", "participant_id"]]).isin(kept)
    left = samples[own | ~samples["part"].isin(FOLDED_PARTS)].reset_index(drop=True)
    return left, _with_step(flow, left, number, key)


def of_record(
    samples: pd.DataFrame, flow: pd.DataFrame, number: int, record: TrainedScans, key: str = LEARNING_CURVE
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Keep the participants of the development part that a learning curve's networks were trained on; as `with_participants`."""
    trained = (samples["cohort"] + "/" + samples["scan_id"]).isin(list(record.samples))
    left = samples[trained | ~samples["part"].isin(FOLDED_PARTS)].reset_index(drop=True)
    return left, _with_step(flow, left, number, key)


def _in_order(people: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    """The people in an order of which every beginning has about the same fraction of each stratum.

    The k-th of n people of a stratum gets the place (k + u) / n, with k from 0 and u drawn from [0, 1): for strata of 2 and 4
    people, places such as 0.2 and 0.7, and 0.1, 0.35, 0.6 and 0.85.
    """
    people = people.sort_values(["cohort", "participant_id"]).reset_index(drop=True)
    target = people["target"]
    if pd.api.types.is_numeric_dtype(target) and target.nunique() > STRATA:
        target = (target.rank(method="first") * STRATA / (len(target) + 1)).astype(int)
    place = pd.Series(0.0, index=people.index)
    for _, rows in people.groupby([people["cohort"], target.astype(str)], sort=True):
        shuffled = generator.permutation(rows.index)
        place[shuffled] = (np.arange(len(rows)) + generator.random()) / len(rows)
    return people.loc[place.sort_values(kind="stable").index]


def _with_step(flow: pd.DataFrame, samples: pd.DataFrame, number: int, key: str) -> pd.DataFrame:
    own = samples[samples["part"].isin((*FOLDED_PARTS, "held-out"))]
    tables = []
    for cohort, steps in flow.groupby("cohort", sort=False):
        people = own.loc[own["cohort"] == cohort, "participant_id"]
        step = f"{number} participants {STEPS[key]}"
        row = {"cohort": cohort, "step": step, "scans": len(people), "participants": people.nunique()}
        tables.append(pd.concat([steps, pd.DataFrame([row])]))
    return pd.concat(tables, ignore_index=True)
