"""Repeated sessions of participants: known values of the measures, and a section of the report only where there are any."""

import numpy as np
import pandas as pd
import pytest
from evaluation_samples import NO_BASELINE, QUICK, aged, model
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.measures import with_baselines
from neurocohort.evaluation.repeatability import icc_agreement, repeatability, repeated_sessions
from neurocohort.files import read_table, write_table
from neurocohort.report.methods import methods
from neurocohort.report.part import Part
from neurocohort.report.results import part_results
from neurocohort.report.tables import Table
from report_fixture import EXPERIMENTS, make_study, study_of

JUDGES = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float)


def visits(people: int, sd: float = 3.0, years: float = 0.0, slope: float = 1.0, sessions: int = 2) -> pd.DataFrame:
    """Participants with several sessions, ``years`` apart, whose predictions vary by ``sd`` between them."""
    rng = np.random.default_rng(8)
    first = aged(people).assign(prediction=lambda rows: rows["target"] + rng.normal(0, 5, people))
    tables = []
    for number in range(sessions):
        later = first.assign(scan_id=first["scan_id"] + f"_ses-{number + 1}", age=first["age"] + years * number)
        change = slope * years * number + rng.normal(0, sd, people)
        tables.append(later.assign(target=later["age"], prediction=first["prediction"] + change))
    return pd.concat(tables, ignore_index=True)


def rows_of(table: pd.DataFrame, bootstrap: Bootstrap = QUICK) -> pd.DataFrame:
    return repeatability(with_baselines(table, NO_BASELINE), "regression", bootstrap).set_index("metric")


def test_icc_is_the_published_one_of_six_targets_and_four_judges():
    assert icc_agreement(JUDGES) == pytest.approx(0.29, abs=0.005)
    twice = icc_agreement(JUDGES, np.array([np.ones(6), [2, 0, 1, 1, 1, 1]]))
    assert twice[0] == icc_agreement(JUDGES)
    assert twice[1] == pytest.approx(icc_agreement(JUDGES[[0, 0, 2, 3, 4, 5]]))


def test_icc_of_equal_values_is_not_defined():
    assert np.isnan(icc_agreement(np.full((5, 2), 4.0)))


def test_known_spread_between_sessions_is_found():
    found = rows_of(visits(400))
    assert list(found.index) == ["retest_sd", "icc", "icc_error"]
    assert found.loc["retest_sd", "value"] == pytest.approx(3, abs=0.3)
    assert found.loc["retest_sd", "ci_low"] < 3 < found.loc["retest_sd", "ci_high"]
    assert found.loc["icc_error", "value"] == pytest.approx(25 / (25 + 9), abs=0.06)
    assert set(found["n"]) == {400} and set(found["scans"]) == {800} and set(found["gap_years"]) == {0.0}


def test_change_per_year_is_that_within_participants():
    found = rows_of(visits(200, sd=0.5, years=2.0, slope=0.6, sessions=3))
    change = found.loc["change_per_year"]
    assert change["value"] == pytest.approx(0.6, abs=0.05) and change["ci_low"] < 0.6 < change["ci_high"]
    assert (change["scans"], change["gap_years"]) == (600, 4.0)
    assert found.loc["icc", "scans"] == 400, "the first two sessions"


def test_participants_with_one_session_do_not_count_and_order_of_rows_does_not_matter():
    table = visits(30, years=1.0)
    alone = aged(20, seed=4).assign(participant_id=lambda rows: "x" + rows["participant_id"])
    more = pd.concat([table, alone], ignore_index=True).sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(rows_of(more), rows_of(table))
    assert repeated_sessions(more)["session"].tolist() == [0, 1] * 30


def test_each_model_has_rows_and_too_few_participants_or_other_tasks_have_none():
    table = visits(12)
    everything = with_baselines(table, model(table.assign(prediction=50.0), "mean"))
    found = repeatability(everything, "regression", QUICK).set_index(["model", "metric"])
    assert np.isnan(found.loc[("mean", "icc"), "value"]) and found.loc[("mean", "icc"), "interval"] == "none"
    assert rows_of(visits(2)).empty and rows_of(aged(40)).empty
    empty = repeatability(everything, "classification", QUICK)
    assert empty.empty and list(empty.columns[:6]) == ["model", "cohort", "part", "scans", "gap_years", "metric"]


def test_report_has_a_section_only_with_repeated_sessions(tmp_path):
    arguments = make_study(tmp_path, participants=20)
    arguments["configuration"] |= {"experiments": {"brain_age": EXPERIMENTS["brain_age"]}}
    folder = arguments["results"] / "experiments" / "brain_age"

    def shown() -> tuple[str, str]:
        known = study_of(**arguments)
        part = part_results(Part(known.experiments["brain_age"], tmp_path / "page"))
        assert not [item for item in known.sources.missing if item.file.endswith(".tsv")]
        tables = [f"{item.summary} {item.caption}" for item in part.details if isinstance(item, Table)]
        return " ".join(tables), methods(known).markdown

    tables, text = shown()
    assert "Repeat" not in tables and "intraclass" not in text
    once = read_table(folder / "predictions.tsv")
    later = once.assign(
        scan_id=once["scan_id"].str.replace("ses-1", "ses-2"), age=once["age"] + 1, target=once["target"] + 1
    )
    table = pd.concat([once, later.assign(prediction=once["prediction"] + 1.5)], ignore_index=True)
    write_table(folder / "predictions.tsv", table)
    write_table(folder / "repeatability.tsv", repeatability(with_baselines(table, NO_BASELINE), "regression", QUICK))
    tables, text = shown()
    assert "Repeated sessions of 7 participants: retest SD of the network 0.35 years" in tables
    assert "per year between sessions they rise by 1.50 [1.50, 1.50]" in tables
    assert "Predictions at each session of 7 participants" in tables and "1.00 years apart" in tables
    assert "the intraclass correlation ICC(2,1)" in text and "the change of the prediction per year" in text
