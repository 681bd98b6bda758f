"""The baselines of a longitudinal analysis: a constant, the visits alone, the last session alone, and a linear mixed model.

All are fitted on the training and validation parts together, from which a network learns and chooses its epoch, and get the same
participants and inputs as the networks.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from neurocohort.dataset.folds import FOLDED_PARTS
from neurocohort.dataset.sessions import CLASSIFICATION, PERSON
from neurocohort.evaluation.baselines import linear_predictions
from neurocohort.evaluation.mixed_models import fit_mixed_model, follows_time
from neurocohort.evaluation.session_inputs import TIMES
from neurocohort.text import listed

LAST_SESSION, MIXED_MODEL, VISITS = "last_session", "mixed_model", "visits"
CONSTANT = {CLASSIFICATION: "majority", "regression": "mean"}


@dataclass(frozen=True)
class SessionBaselines:
    """The predictions of each baseline, (participants,), in the order of `last_sessions`, and notes, as sentences."""

    predictions: dict[str, np.ndarray]
    notes: list[str]


def last_sessions(sessions: pd.DataFrame) -> pd.DataFrame:
    """The last session of each participant with the number of sessions: one row for each, in the order of ``sessions``."""
    count = sessions.groupby(PERSON)["scan_id"].transform("size")
    last: pd.DataFrame = sessions.assign(sessions=count)[~sessions.duplicated(PERSON, keep="last")]
    return last


def session_baselines(sessions: pd.DataFrame, inputs: pd.DataFrame, task: str) -> SessionBaselines:
    """Fit the baselines and predict all participants.

    - ``mean`` or ``majority``: the mean of the targets, or the fraction of class 1.
    - ``visits``: ridge or logistic regression on the number of sessions and the years between the first and the last. If it
      predicts anything, the target depends on how somebody was followed, and models may use that instead of the brain.
    - ``last_session``: ridge or logistic regression on the inputs of the last session.
    - ``mixed_model``: in two steps (Tsiatis et al. 1995): a linear mixed model of each input over time, then ridge or logistic
      regression on the intercepts and slopes that it predicts for each participant. Inputs that only follow time, such as age,
      enter by their value at the last session.

    Args:
        sessions: The table of `select_sessions`.
        inputs: `session_inputs`, rows as in ``sessions``.
        task: classification or regression.
    """
    last = last_sessions(sessions)
    own = inputs.loc[last.index]
    fitted = last["part"].isin(FOLDED_PARTS).to_numpy()
    target = last["target"].to_numpy(dtype=float)
    effects, notes = participant_effects(sessions, inputs)
    columns = {
        VISITS: last[["sessions", "years"]].to_numpy(dtype=float),
        LAST_SESSION: own.to_numpy(dtype=float),
        MIXED_MODEL: effects.to_numpy(dtype=float),
    }
    classes = 2 if task == CLASSIFICATION else 0
    found = {CONSTANT[task]: np.full(len(last), target[fitted].mean())}
    for name, values in columns.items():
        found[name] = linear_predictions(values, target, fitted, classes)
    return SessionBaselines(found, notes)


def participant_effects(sessions: pd.DataFrame, inputs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The intercept and the slope of each input of each participant, rows as in `last_sessions`, and notes.

    The mixed models are fitted on the training and validation parts; those of held-out participants follow from their own
    inputs and these models.
    """
    fitted = sessions["part"].isin(FOLDED_PARTS).to_numpy()
    people = sessions.groupby(PERSON, sort=False).ngroup().to_numpy()
    years = sessions["years"].to_numpy(dtype=float)
    last = last_sessions(sessions).index
    columns: dict[str, np.ndarray] = {}
    failed = []
    for name, raw in inputs.items():
        values = raw.to_numpy(dtype=float)
        if name in TIMES or follows_time(values[fitted], years[fitted], people[fitted]):
            columns[str(name)] = values[last]
            continue
        centre, spread = np.nanmean(values[fitted]), np.nanstd(values[fitted])
        scaled = (values - centre) / spread
        model = fit_mixed_model(scaled[fitted], years[fitted], people[fitted])
        if model is None:
            failed.append(str(name))
            columns[str(name)] = values[last]
            continue
        rows = (np.flatnonzero(people == person) for person in people[last])
        effects = np.array([model.predicted(scaled[own], years[own]) for own in rows])
        columns[f"{name}:intercept"], columns[f"{name}:slope"] = effects.T
    notes = []
    if failed:
        notes.append(
            f"The linear mixed model of {listed(failed)} didn't converge; in the second step the value of the last session takes "
            "its place."
        )
    return pd.DataFrame(columns), notes
