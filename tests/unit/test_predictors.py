"""Predictions that another tool made: one more model in every table, on the same participants; nothing of its table is lost
silently."""

from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest
from evaluation_samples import QUICK, aged, model, rated
from neurocohort.cli.app import app
from neurocohort.errors import InputError
from neurocohort.evaluation.predictors import notes_on, read_given
from neurocohort.evaluation.record import evaluation_with
from neurocohort.evaluation.tables import evaluation_tables, with_given
from neurocohort.files import read_table, write_table
from neurocohort.notes import read_notes
from neurocohort.report.headline import headline
from neurocohort.report.methods import methods
from neurocohort.report.part import Part
from neurocohort.report.results import part_results
from neurocohort.report.tables import Table
from neurocohort.settings.predictors import Predictor, PredictorSettings
from neurocohort.study.members import all_experiments
from neurocohort.study.predictors import predictor_faults
from report_fixture import EXPERIMENTS, make_study, study_of
from typer.testing import CliRunner

SCANS = pd.DataFrame(
    {
        "scan_id": ["sub-01_ses-1", "sub-02_ses-1", "sub-03_ses-1", "sub-03_ses-2"],
        "participant_id": ["sub-01", "sub-02", "sub-03", "sub-03"],
        "part": "held-out",
        "target": [31.0, 42.0, 53.0, 54.5],
    }
)


def given(folder: Path, text: str, task: str = "regression", **column: str):
    path = folder / "tool.csv"
    path.write_text(text)
    return read_given(Predictor(file=str(path), **column), SCANS, task)


@pytest.mark.parametrize(
    "text",
    [
        "scan_id,age\nsub-01_ses-1,30\nsub-03_ses-2,50\n",
        "scan_id;age\n01_ses-1;30,0\nsub-03_ses-2;50\n",
        "participant_id\tsession_id\tpredicted\n01\t1\t30\nsub-03\tses-2\t50\n",
        "participant_id,session_id,tool,predicted\n0_1,1,a,30\nsub-03,2,b,50\nsub-02,1,a,n/a\n",
    ],
)
def test_scans_are_found_by_each_way_of_writing_their_names(tmp_path, text):
    assert given(tmp_path, text).values == {"sub-01_ses-1": 30.0, "sub-03_ses-2": 50.0}


def test_a_workbook_is_read_and_a_participant_with_one_scan_needs_no_session(tmp_path):
    book = openpyxl.Workbook()
    for row in (["participant_id", "age"], ["02", 41.5], ["sub-01", 30]):
        book.active.append(row)
    book.save(tmp_path / "tool.xlsx")
    found = read_given(Predictor(file=str(tmp_path / "tool.xlsx")), SCANS, "regression")
    assert found.values == {"sub-02_ses-1": 41.5, "sub-01_ses-1": 30.0} and found.column == "age"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("person,age\n01,30\n", "expected `scan_id`, or `participant_id`"),
        ("scan_id,age\nsub-01_ses-1,30\nsub-01_ses-1,31\n", "rows 2 and 3, column 'age' have 30 and 31"),
        ("scan_id,age\nsub-01_ses-1,young\n", "row 2, column 'age' holds 'young' where a number is expected"),
        ("scan_id,age,sd\nsub-01_ses-1,30,2\n", "several columns of numbers (age, sd)"),
        ("scan_id,tool,site\nsub-01_ses-1,a,b\n", "no column of numbers"),
        ("scan_id,age\nsub-09_ses-1,30\n", "its rows are of sub-09_ses-1; the experiment's scans are sub-01_ses-1"),
        ("scan_id,age\nsub-01_ses-1,n/a\n", "it has no values"),
        ("participant_id,age\nsub-03,50\n", "who has 2 scans in this experiment"),
        ("scan_id,age\n,30\n", "row 2, column 'scan_id' is empty"),
        ("scan_id,age,age\nsub-01_ses-1,30,30\n", "column(s) age twice"),
    ],
)
def test_a_wrong_table_is_refused_with_its_file_and_what_to_do(tmp_path, text, words):
    with pytest.raises(InputError) as error:
        given(tmp_path, text)
    assert words in str(error.value) and "tool.csv" in str(error.value)


def test_column_is_taken_by_name_and_a_wrong_name_is_refused(tmp_path):
    text = "scan_id,age,sd\nsub-01_ses-1,30,2\n"
    assert given(tmp_path, text, column="sd").values == {"sub-01_ses-1": 2.0}
    with pytest.raises(InputError, match="no column 'years' with predictions; it has age, sd"):
        given(tmp_path, text, column="years")


def test_same_value_twice_is_one_value(tmp_path):
    assert given(tmp_path, "scan_id,age\nsub-01_ses-1,30\nsub-01_ses-1,30.0\n").values == {"sub-01_ses-1": 30.0}


def test_probability_beyond_one_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds 55, and 0 to 1 is expected"):
        given(tmp_path, "scan_id,p\nsub-01_ses-1,55\n", task="classification")


def notes_of(folder: Path, text: str, samples: pd.DataFrame = SCANS) -> str:
    return "\n".join(notes_on("tool", given(folder, text), samples, "regression"))


def test_lacking_and_unknown_scans_are_counted_and_named(tmp_path):
    text = "scan_id,age\nsub-01_ses-1,30\nsub-02_ses-1,44\nsub-03_ses-1,n/a\nsub-77_ses-1,20\n"
    notes = notes_of(tmp_path, text)
    assert "has no value for 2 of 4 tested scans: sub-03_ses-1, sub-03_ses-2" in notes
    assert "1 row of no scan of this experiment, which are not used: sub-77_ses-1" in notes
    validation = SCANS.assign(part=["held-out", "held-out", "validation", "validation"])
    assert "no value for 2 of 2 validation scans" in notes_of(tmp_path, text, validation)


@pytest.mark.parametrize(("factor", "doubted"), [(1, False), (1.3, False), (12, True), (365.25, True), (1 / 12, True)])
def test_values_in_another_unit_are_doubted(tmp_path, factor, doubted):
    rows = [f"{scan},{factor * age:.4f}" for scan, age in zip(SCANS["scan_id"], SCANS["target"], strict=True)]
    notes = notes_of(tmp_path, "\n".join(["scan_id,age", *rows]) + "\n")
    assert ("months instead of years" in notes) == doubted
    assert not doubted or "tool.csv, column age" in notes


def tables_of(predictions: pd.DataFrame, baselines: pd.DataFrame, kind: str = "regression") -> dict[str, pd.DataFrame]:
    found = evaluation_tables(
        predictions=predictions,
        baselines=baselines,
        members=predictions.assign(member="seed-1"),
        samples=predictions.assign(part=predictions["part"].replace("validation", "train")),
        scans={"a": predictions[["scan_id"]]},
        kind=kind,
        bootstrap=QUICK,
    )
    return dict(found)


def test_good_and_bad_tables_are_judged_like_baselines_and_never_the_best_baseline():
    predictions = pd.concat([aged(20, "validation", seed=3), aged(40)])
    noise = np.random.default_rng(5).normal(0, 1, len(predictions))
    good = predictions.assign(prediction=predictions["target"] + noise)
    bad = predictions.assign(prediction=20.0 + 30 * noise)
    own = model(predictions.assign(prediction=predictions["target"].mean()), "mean")
    both = pd.concat([model(good, "given:good"), model(bad, "given:bad")])
    found = tables_of(predictions, with_given(own, both))
    metrics = found["metrics"].query("group == 'all' and part == 'held-out'").set_index(["model", "metric"])
    held_out = good[good["part"] == "held-out"]
    error = (held_out["prediction"] - held_out["target"]).abs().mean()
    assert metrics.loc[("given:good", "mae"), "value"] == pytest.approx(error, abs=1e-6)
    assert abs(metrics.loc[("given:good", "bias_slope"), "value"]) < 0.1
    assert metrics.loc[("given:bad", "bias_slope"), "value"] == pytest.approx(-1, abs=0.5)
    compared = found["comparisons"].query("metric == 'mae'").set_index("baseline")
    assert compared.loc["given:good", "in_favour_of"] == "baseline"
    assert compared.loc["given:bad", "in_favour_of"] == "network"
    assert compared["best"].to_dict() == {"mean": "yes", "given:good": "no", "given:bad": "no"}
    assert "given:good" in set(found["details"]["model"]) and "given:good" in set(found["shift"]["model"])
    plain = tables_of(predictions, own)
    for name, table in plain.items():
        first = table.columns[0]
        rest = found[name][~found[name][first].astype(str).str.startswith("given:")].reset_index(drop=True)
        pd.testing.assert_frame_equal(rest, table, obj=name)


def test_comparison_is_of_the_participants_that_both_have_and_metrics_of_the_own():
    predictions = aged(40)
    half = predictions[:25].assign(prediction=lambda rows: rows["target"] + 1.0)
    found = tables_of(predictions, model(half, "given:half"))
    own = found["metrics"].query("model == 'given:half' and metric == 'mae' and group == 'all'").iloc[0]
    compared = found["comparisons"].query("metric == 'mae'").iloc[0]
    assert (own["n"], own["value"]) == (25, 1.0)
    errors = (predictions["prediction"] - predictions["target"]).abs()
    assert compared["n"] == 25 and compared["network_value"] == pytest.approx(errors[:25].mean(), abs=1e-6)


def test_probabilities_of_a_classification_are_judged_with_threshold_and_calibration():
    predictions = pd.concat([rated(30, "validation", seed=4), rated(60)])
    found = tables_of(predictions, model(rated(60, apart=4), "given:tool"), "classification")
    own = found["metrics"].query("model == 'given:tool' and metric == 'auc' and group == 'all'")
    assert len(own) == 1 and "given:tool" in set(found["curves"]["model"])
    assert {"sensitivity", "calibration_slope"} <= set(found["details"].query("model == 'given:tool'")["metric"])


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> dict:
    """The study of the report's tests, with a good and a bad table of ages, read and evaluated as the rules do it."""
    tmp_path = tmp_path_factory.mktemp("study")
    arguments = make_study(tmp_path, participants=20)
    folder = arguments["results"] / "experiments" / "brain_age"
    samples = read_table(folder / "samples.tsv")
    tested = samples[samples["part"] != "train"]
    noise = np.random.default_rng(1).normal(0, 1, len(tested))
    for name, values in {"good": tested["target"] + noise, "bad": 12 * tested["target"]}.items():
        table = tested[["scan_id"]].assign(predicted_age=values.round(3))
        lacking = tested.index[tested["part"] == "held-out"][:2]
        table.drop(lacking).to_csv(tmp_path / f"{name}.csv", index=False)
    given = {name: {"file": str(tmp_path / f"{name}.csv")} for name in ("good", "bad")}
    settings = PredictorSettings(task="regression", target="age", folds=0, predictors=given).as_json()
    options = {"samples": folder / "samples.tsv", "output": folder / "predictors.tsv", "notes": folder / "notes.tsv"}
    command = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    outcome = CliRunner().invoke(app, ["predictors", *command, "--settings", settings])
    assert outcome.exit_code == 0, outcome.output
    found = evaluation_tables(
        predictions=read_table(folder / "predictions.tsv"),
        baselines=with_given(read_table(folder / "baselines.tsv"), read_table(folder / "predictors.tsv")),
        members=read_table(folder / "predictions.tsv").assign(member="seed-1"),
        samples=samples,
        scans={cohort: read_table(arguments["data"] / cohort / "scans.tsv") for cohort in ("ixi", "oasis1")},
        kind="regression",
        bootstrap=QUICK,
    )
    for name, table in found:
        write_table(folder / f"{name}.tsv", table)
    experiments = {"brain_age": EXPERIMENTS["brain_age"] | {"predictors": given}}
    arguments["configuration"] |= {"experiments": experiments}
    return arguments


def test_report_shows_both_tables_where_they_came_from_and_what_is_not_known(study):
    known = study_of(**study)
    experiment = known.experiments["brain_age"]
    part = part_results(Part(experiment, study["results"].parent / "page"))
    assert not known.sources.missing
    for item in part.tables + [table for table in part.details if isinstance(table, Table)]:
        heads = [row.head for row in item.rows]
        if item.columns[0].label in ("Model", "Baseline"):
            assert {"good (given)", "bad (given)"} <= set(heads), item.caption
    text = " ".join(part.sentences)
    assert "good.csv" in text and "It is not known whether that tool was trained on these participants" in text
    assert "months instead of years" in text and "tested scans" in text
    assert "from" in methods(known).markdown and "training data of these tools is not known" in methods(known).markdown
    notes = [note.note for note in read_notes(experiment.folder / "notes.tsv")]
    assert sum("tested scan" in note for note in notes) == 2 and any(
        "bad" in note and "months" in note for note in notes
    )


def test_verdict_stays_over_the_own_baselines(study):
    (verdict,) = headline([study_of(**study).experiments["brain_age"]])
    assert verdict.best_name == "volumes" and "given" not in verdict.sentence


def test_report_without_the_table_has_a_red_box(study):
    table = study["results"] / "experiments" / "brain_age" / "predictors.tsv"
    kept = table.rename(table.with_name("kept.tsv"))
    known = study_of(**study)
    part_results(Part(known.experiments["brain_age"], study["results"].parent / "page"))
    kept.rename(table)
    assert any(item.file.endswith("predictors.tsv") for item in known.sources.missing)


def test_configuration_refuses_what_cannot_be_evaluated(tmp_path):
    (tmp_path / "a.csv").write_text("scan_id,p\n")
    there, absent = {"file": str(tmp_path / "a.csv")}, {"file": str(tmp_path / "b.csv")}
    regression = {"task": "regression", "predictors": {"tool": there}}
    assert list(predictor_faults("e", regression)) == []
    (fault,) = predictor_faults("e", regression | {"predictors": {"tool": absent}})
    assert fault.startswith("`e.predictors.tool.file` is") and "isn't a file" in fault
    (fault,) = predictor_faults("e", regression | {"task": "classification", "classes": [0, 1, 2]})
    assert "has 3 classes" in fault
    (fault,) = predictor_faults("e", regression | {"task": "segmentation"})
    assert "is a segmentation" in fault


def test_tables_of_other_tools_are_no_other_model_on_record_and_no_part_of_controls():
    plain = {"task": "regression", "target": "age", "cohorts": ["a"], "control": "shuffled_target", "training": {}}
    plain["training"] = {"seeds": [1], "cross_validation": False}
    both = [plain, plain | {"predictors": {"tool": {"file": "a.csv"}}}]
    keys = {evaluation_with("s", "e", all_experiments({"e": one})["e"], {}, {}).key for one in both}
    assert len(keys) == 1
    of_controls = [all_experiments({"e": one})["e_shuffled-target-1"] for one in both]
    assert of_controls[0] == of_controls[1] and "predictors" not in of_controls[0]
