"""What the report says about made-up longitudinal analyses."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from neurocohort.dataset.sessions import PERSON, select_sessions
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.session_baselines import last_sessions, participant_effects
from neurocohort.evaluation.session_inputs import session_inputs
from neurocohort.evaluation.session_tables import held_out_predictions, session_comparisons, session_metrics
from neurocohort.files import write_table
from neurocohort.notes import EVALUATION, Kind, Notes, write_notes
from neurocohort.report.longitudinal import features_sentence, gain_sentences, people_sentences, visits_sentences
from session_cohort import made_tables, wanted
from statement_study import Scenario

CHANGE = {"task": "regression", "target": "memory", "change_per_year": True, "outcome_time": None}
EXPERIMENTS = {"brain_age": {"transfer": None}, "dementia": {"transfer": {"weights": "own.safetensors"}}}


def sequences(scenario: Scenario) -> str:
    """A study with an analysis."""
    _add(scenario)
    return scenario.page()


def sequences_of_changes(scenario: Scenario) -> None:
    """The change of a score, with one seed and features, and classes with neither volumes nor variables."""
    changes = wanted(**CHANGE, features="brain_age").as_dict()
    scenario.config["longitudinal"] = {"memory": changes}


def sequences_of_classes(scenario: Scenario) -> None:
    """Conversion from the times alone, with several seeds."""
    bare = wanted(variables=[], volumes=False, seeds=[1, 2]).as_dict()
    scenario.config["longitudinal"] = {"conversion": bare}


def _add(scenario: Scenario) -> None:
    settings = wanted()
    scenario.config["longitudinal"] = {"conversion": settings.as_dict()}
    folder = scenario.results / "longitudinal" / "conversion"
    folder.mkdir(parents=True)
    selected = select_sessions({"mine": made_tables(24)}, settings)
    last = last_sessions(selected.table)
    metrics, comparisons = _results(last, "classification", {"gru": 0.5, "last_session": 0.5})
    for name, table in (("sessions", selected.table), ("metrics", metrics), ("comparisons", comparisons)):
        write_table(folder / f"{name}.tsv", table)
    found = Notes(EVALUATION)
    for note in selected.notes:
        found.add(Kind.SESSIONS, note)
    write_notes(folder / "notes.tsv", found.notes)


def _results(last: pd.DataFrame, task: str, noise: dict[str, float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Metrics and comparisons of models that err by ``noise``."""
    rng, target = np.random.default_rng(1), last["target"].to_numpy()
    errors = {name: rng.normal(size=len(last)) * size for name, size in noise.items()}
    predictions = held_out_predictions(last, {name: target + error for name, error in errors.items()})
    bootstrap = Bootstrap(100, 1)
    return session_metrics(predictions, task, bootstrap), session_comparisons(predictions, ["gru"], task, bootstrap)


def gains(first: float, second: float, **keys: object) -> list[str]:
    """What is said of a GRU that errs by ``first`` and a mixed model that errs by ``second``."""
    settings = wanted(**(CHANGE | keys))
    selected = select_sessions({"mine": made_tables(72)}, settings)
    last = last_sessions(selected.table)
    metrics, comparisons = _results(last, "regression", {"gru": first, "mixed_model": second, "visits": second})
    own = settings.as_dict()
    said = [*people_sentences(selected.table, own), *gain_sentences(comparisons, own)]
    return [*said, *visits_sentences(metrics, "regression"), *selected.notes, *selected.flow["step"]]


def undecided() -> list[str]:
    """Held-out participants of one class."""
    settings = wanted()
    table = select_sessions({"mine": made_tables(36)}, settings).table
    last = last_sessions(table[(table["part"] != "held-out") | (table["target"] == 0)])
    return gain_sentences(_results(last, "classification", {"gru": 1.0, "last_session": 1.0})[1], settings.as_dict())


def features() -> list[str]:
    return [features_sentence(EXPERIMENTS, {"features": name}) for name in ("brain_age",)]


def features_of_strangers() -> list[str]:
    return [features_sentence(EXPERIMENTS, {"features": "dementia"})]


def notes_on_sessions() -> list[str]:
    """Sessions at the same time, missing values, and conversions without dates."""
    tables = made_tables(24)
    scans = tables["scans"]
    rounded = scans.assign(age=scans["age"].round(-1), memory=scans["memory"].where(scans.index > 0))
    one = scans["participant_id"].isin(("sub-000", "sub-006"))
    undated = rounded.assign(conversion_age=rounded["conversion_age"].where(~one, np.nan))
    settings = wanted(variables=["age", "memory"])
    partly = select_sessions({"mine": tables | {"scans": undated}}, settings)
    without = select_sessions({"mine": tables | {"scans": undated}}, wanted(outcome_time=None))
    _, missing = session_inputs(partly.table, tables["qc"].assign(cohort="mine"), None, settings)
    excluded = tables["split"].assign(part=tables["split"]["part"].mask(tables["split"].index == 1, "excluded"))
    several = select_sessions({"mine": tables | {"split": excluded}}, wanted(min_sessions=2))
    return [*partly.notes, *without.notes, *missing, *several.flow["step"]]


def notes_on_mixed_models() -> list[str]:
    """An input that no mixed model fits: participants with two sessions each, and lines without noise."""
    rows = pd.DataFrame({"cohort": "mine", "participant_id": ["a", "a", "b", "b"], "scan_id": list("1234")})
    rows = rows.assign(part="train", years=[0.0, 1.0, 0.0, 1.0])
    assert rows.groupby(PERSON).ngroups == 2
    return participant_effects(rows, pd.DataFrame({"score": [0.0, 1.0, 0.0, -1.0]}))[1]


LONGITUDINAL_PAGES: tuple[Callable[[Scenario], str], ...] = (sequences,)
LONGITUDINAL_OPTIONS: dict[str, Callable[[Scenario], None]] = {
    "sequences of changes": sequences_of_changes,
    "sequences of classes": sequences_of_classes,
}
LONGITUDINAL_PIECES: dict[str, Callable[[], list[str]]] = {
    "longitudinal_gain": lambda: gains(0.01, 2.0),
    "longitudinal_loss": lambda: gains(2.0, 0.01),
    "longitudinal_neither": lambda: gains(0.1, 0.1, min_sessions=2),
    "longitudinal_undecided": undecided,
    "longitudinal_features": features,
    "longitudinal_strangers": features_of_strangers,
    "longitudinal_sessions": notes_on_sessions,
    "longitudinal_mixed": notes_on_mixed_models,
}
