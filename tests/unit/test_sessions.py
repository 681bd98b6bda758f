"""The sessions of a longitudinal analysis: their order, their target, and what is refused."""

import numpy as np
import pandas as pd
import pytest
from neurocohort.dataset.leakage import check_features_unseen
from neurocohort.dataset.sessions import select_sessions
from neurocohort.errors import InputError
from neurocohort.evaluation.session_inputs import principal_components, session_inputs
from session_cohort import made_tables, wanted


def changed(table: str, change) -> dict:
    """The cohort with one table changed."""
    tables = made_tables(24)
    return tables | {table: change(tables[table])}


def test_sessions_are_in_the_order_of_time_with_years_since_the_first_and_the_previous():
    tables = made_tables(24)
    tables["scans"] = tables["scans"].sample(frac=1, random_state=1)
    found = select_sessions({"mine": tables}, wanted()).table
    one = found[found["participant_id"] == "sub-001"]
    assert list(one["session_id"]) == ["ses-1", "ses-2", "ses-3"]
    assert one["years"].iloc[0] == one["gap_years"].iloc[0] == 0
    np.testing.assert_allclose(one["years"].to_numpy(), one["age"] - one["age"].iloc[0])
    np.testing.assert_allclose(one["gap_years"].iloc[1:].sum(), one["years"].iloc[-1])


@pytest.mark.parametrize(("unit", "factor"), [("months", 1 / 12), ("days", 1 / 365.25)])
def test_time_has_a_unit(unit, factor):
    tables = changed("scans", lambda scans: scans.assign(day=(scans["age"] - 60) / factor))
    found = select_sessions({"mine": tables}, wanted(time="day", time_unit=unit, outcome_time=None)).table
    own = found.groupby("participant_id")["age"]
    np.testing.assert_allclose(found["years"], found["age"] - own.transform("min"))


def test_sessions_at_or_after_the_outcome_are_no_inputs_and_participants_without_others_are_counted():
    def early(scans):
        first = scans.groupby("participant_id")["age"].transform("min")
        of_person = {"sub-000": first + 1, "sub-003": first}  # after the first session; at it
        ages = scans["conversion_age"]
        for name, age in of_person.items():
            ages = ages.where(scans["participant_id"] != name, age)
        return scans.assign(conversion_age=ages)

    tables = made_tables(24)
    tables["scans"] = early(tables["scans"])
    found = select_sessions({"mine": tables}, wanted())
    assert list(found.table.loc[found.table["participant_id"] == "sub-000", "session_id"]) == ["ses-1"]
    assert "sub-003" not in set(found.table["participant_id"])
    people = found.flow.set_index("step")["participants"]
    assert people["with a value of converted"] - people["before conversion_age"] == 1


def test_change_per_year_is_from_the_last_input_to_the_last_session_which_is_no_input():
    tables = made_tables(24)
    settings = wanted(task="regression", target="memory", change_per_year=True, outcome_time=None)
    found = select_sessions({"mine": tables}, settings).table
    scans = tables["scans"].set_index("scan_id")
    one = found[found["participant_id"] == "sub-001"]
    assert list(one["session_id"]) == ["ses-1", "ses-2"]
    before, last = scans.loc["sub-001_ses-2"], scans.loc["sub-001_ses-3"]
    change = (last["memory"] - before["memory"]) / (last["age"] - before["age"])
    np.testing.assert_allclose(one["target"], change)
    assert "sub-010" not in set(found["participant_id"])  # a single session


def test_participants_with_few_sessions_are_used_and_noted_or_left_out_and_counted():
    tables = made_tables(24)
    used = select_sessions({"mine": tables}, wanted())
    assert "3 of 24 participants have a single session" in used.notes[0]
    left = select_sessions({"mine": tables}, wanted(min_sessions=2))
    assert left.flow["participants"].iloc[-1] == 21
    assert left.flow["step"].iloc[-1] == "of participants with 2 sessions or more"


def test_unusable_scans_and_filtered_sessions_are_counted():
    tables = changed("qc", lambda qc: qc.assign(status=np.where(qc["scan_id"] == "sub-001_ses-2", "excluded", "ok")))
    flow = select_sessions({"mine": tables}, wanted(filter="session_id != 'ses-3'")).flow.set_index("step")["sessions"]
    assert flow["ingested"] - flow["preprocessed and of sufficient quality"] == 1
    assert flow["filter: session_id != 'ses-3'"] == 24 + 20


@pytest.mark.parametrize(
    ("change", "keys", "message"),
    [
        (lambda scans: scans.assign(age=scans["age"].where(scans.index != 4)), {}, "have no value of `age`"),
        (lambda scans: scans.assign(converted=scans.index % 2), {}, "several values of `converted`"),
        (lambda scans: scans.assign(conversion_age=scans["age"] + 1), {}, "several values of `conversion_age`"),
        (lambda scans: scans.assign(memory="good"), {"variables": ["memory"]}, "has good"),
        (lambda scans: scans.drop(columns="memory"), {"variables": ["memory"]}, "no column `memory`"),
        (lambda scans: scans.assign(converted=0), {}, "the same value of `converted`"),
        (lambda scans: scans, {"filter": "age > 100"}, "no session is left in the part 'train'"),
    ],
)
def test_what_cannot_be_right_is_refused_with_its_name(change, keys, message):
    with pytest.raises(InputError, match=message):
        select_sessions({"mine": changed("scans", change)}, wanted(**keys))


def test_a_conversion_without_dates_is_noted_as_no_forecast():
    without = select_sessions({"mine": made_tables(24)}, wanted(outcome_time=None))
    assert any("No `outcome_time` is given" in note for note in without.notes)
    partly = changed(
        "scans", lambda scans: scans.assign(conversion_age=scans["conversion_age"].where(scans["age"] > 70))
    )
    partly["scans"]["conversion_age"] = partly["scans"].groupby("participant_id")["conversion_age"].transform("min")
    notes = select_sessions({"mine": partly}, wanted()).notes
    assert any("of class 1 have no `conversion_age`" in note for note in notes)


def test_sessions_at_the_same_time_are_noted():
    notes = select_sessions(
        {"mine": changed("scans", lambda scans: scans.assign(age=scans["age"].round(-1)))}, wanted()
    ).notes
    assert any("have the time of the participant's previous session" in note for note in notes)


def test_features_of_a_network_that_learned_from_a_held_out_participant_are_refused():
    table = select_sessions({"mine": made_tables(24)}, wanted()).table
    learned = table[table["part"] == "train"]
    check_features_unseen(table, learned, "brain_age")
    with pytest.raises(InputError, match=r"brain_age, whose features are used, learned from .* held-out sessions"):
        check_features_unseen(table, table[table["part"] == "held-out"].head(1), "brain_age")


def test_nothing_of_the_held_out_part_enters_the_components():
    rng = np.random.default_rng(1)
    values, training = rng.normal(size=(40, 6)), np.arange(40) < 25
    first = principal_components(values, training, 3)
    changed_rows = np.where(training[:, None], values, 100 * values)
    np.testing.assert_array_equal(first[training], principal_components(changed_rows, training, 3)[training])
    assert first.shape == (40, 3)


def test_missing_features_are_noted_and_absent_volumes_refused():
    tables = made_tables(24)
    settings = wanted(components=2)
    table = select_sessions({"mine": tables}, settings).table
    qc = tables["qc"].assign(cohort="mine")
    features = np.random.default_rng(1).normal(size=(len(table), 5))
    features[0] = np.nan
    inputs, notes = session_inputs(table, qc, features, settings)
    assert {"years", "gap_years", "age", "feature_1", "feature_2"} <= set(inputs)
    assert any(note.startswith("1 of ") and "feature_1" in note for note in notes)
    assert isinstance(inputs, pd.DataFrame)
    with pytest.raises(InputError, match="volumes: false"):
        session_inputs(table, qc.assign(volume_brain_ml=np.nan), None, settings)
