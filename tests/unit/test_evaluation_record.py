"""The record of evaluations: every model that was tested on a held-out part counts once, and nothing that is no record counts."""

import json
import multiprocessing
from pathlib import Path

import pandas as pd
import pytest
from neurocohort.cli import app
from neurocohort.evaluation import record
from neurocohort.evaluation.record import (
    Evaluation,
    evaluation_of,
    evaluation_with,
    hashed_ids,
    read_record,
    record_evaluation,
)
from neurocohort.files import read_json, write_table
from neurocohort.learning.feature_files import FEATURES, write_no_features
from neurocohort.study.members import all_experiments
from typer.testing import CliRunner

SETTINGS = {
    "task": "regression",
    "target": "age",
    "cohorts": ["a"],
    "external": [],
    "permutation": 0,
    "left_out_site": "",
}


def people(*names: str, cohort: str = "a", part: str = "held-out") -> pd.DataFrame:
    return pd.DataFrame({"cohort": cohort, "part": part, "participant_id": names})


HELD_OUT = people("p1", "p2")


def evaluation(weights: str = "w1", experiment: str = "age", split: str = "s1", **settings) -> Evaluation:
    return evaluation_with("study", experiment, SETTINGS | settings, {"a": split}, {"seed-1": weights, "seed-2": "w"})


def test_each_model_that_was_tested_on_these_participants_counts_once(tmp_path):
    own = evaluation("w3")
    for one in (
        evaluation("w1"),
        evaluation("w2"),
        evaluation("w2"),
        own,
        evaluation("w3", target="sex", experiment="sex"),
    ):
        record_evaluation(tmp_path, one, HELD_OUT)
    record_evaluation(tmp_path, evaluation("w4"), people("p8", "p9"))
    found = read_record(tmp_path, HELD_OUT, "age", own.key)
    assert (found.models, found.controls, found.without_site, found.own, found.problems) == (3, 0, 0, True, ())
    assert found.experiments == ("study/age",), "a model of another target says nothing about this one"
    assert read_record(tmp_path, people("p2", "p9"), "age", own.key).models == 4, "one participant in common is enough"
    assert read_record(tmp_path, people("p7"), "age", own.key) == record.Record()
    assert not read_record(tmp_path, HELD_OUT, "age", evaluation("w5").key).own


def test_controls_and_left_out_sites_are_counted_apart(tmp_path):
    for one in (
        evaluation(),
        evaluation("c1", permutation=1),
        evaluation("c2", permutation=2),
        evaluation("s", left_out_site="HH"),
        evaluation("g", generation={"epochs": 3}),
    ):
        record_evaluation(tmp_path, one, HELD_OUT)
    found = read_record(tmp_path, HELD_OUT, "age")
    assert (found.models, found.controls, found.without_site, found.experiments) == (1, 2, 1, ("study/age",))
    assert found.from_generated == 1


def test_model_that_used_these_participants_as_an_external_cohort_counts(tmp_path):
    record_evaluation(tmp_path, evaluation(), pd.concat([people("x", cohort="b"), HELD_OUT.assign(part="external")]))
    record_evaluation(tmp_path, evaluation("w2"), HELD_OUT.assign(part="validation"))
    assert read_record(tmp_path, HELD_OUT, "age").models == 1


def test_repetition_is_the_same_record_with_the_time_of_the_first(tmp_path, monkeypatch):
    path = record_evaluation(tmp_path, evaluation(), HELD_OUT)
    before = path.read_bytes()
    assert read_json(path)["first_evaluated"].startswith("20")
    later = type("Later", (), {"now": staticmethod(lambda zone: pd.Timestamp("2100-01-01", tz=zone))})
    monkeypatch.setattr(record, "datetime", later)
    shuffled = evaluation_with(
        "copy", "renamed", dict(reversed(SETTINGS.items())), {"a": "s1"}, {"seed-2": "w1", "seed-1": "w"}
    )
    assert record_evaluation(tmp_path, shuffled, HELD_OUT.iloc[::-1]) == path
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("change", [{"weights": "other"}, {"split": "other"}, {"target": "sex"}])
def test_other_weights_split_or_configuration_is_another_evaluation(change):
    assert evaluation(**change).key != evaluation().key


def test_record_names_nobody_and_says_what_was_evaluated(tmp_path):
    path = record_evaluation(tmp_path, evaluation(), people("sub-OAS10001", "sub-OAS10002"))
    assert "OAS1" not in path.read_text()
    found = read_json(path)
    assert path.stem == found["key"] and len(found["key"]) == 64
    assert set(found["held_out"]) == hashed_ids(people("sub-OAS10001", "sub-OAS10002")) and found["external"] == []
    assert all(len(name) == 12 for name in found["held_out"])
    assert found["weights"] == {"seed-1": "w1", "seed-2": "w"} and found["splits"] == {"a": "s1"}
    assert (found["kind"], found["task"], found["target"], found["cohorts"]) == (
        "experiment",
        "regression",
        "age",
        ["a"],
    )


def edited(path: Path, **changes) -> None:
    path.write_text(json.dumps(read_json(path) | changes))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_text("{"), "can't be read as JSON"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "can't be read as JSON"),
        (lambda path: path.write_text("[1]"), "no JSON object"),
        (lambda path: path.write_text("{}"), "no usable key, study"),
        (lambda path: edited(path, held_out=[1]), "no usable held_out"),
        (lambda path: edited(path, kind="trial"), "its kind is 'trial'"),
        (lambda path: edited(path, weights={"seed-1": "forged"}), "don't belong together"),
        (lambda path: path.rename(path.with_name("renamed.json")), "don't belong together"),
    ],
)
def test_file_that_is_no_record_is_reported_and_not_counted(tmp_path, damage, words, capsys):
    record_evaluation(tmp_path, evaluation("good"), HELD_OUT)
    path = record_evaluation(tmp_path, evaluation("bad"), HELD_OUT)
    damage(path)
    (tmp_path / f".host.1.{path.name}").write_text("{")  # being written by another job
    found = read_record(tmp_path, HELD_OUT, "age")
    assert found.models == 1 and len(found.problems) == 1
    assert (
        words in found.problems[0] and str(tmp_path) in found.problems[0] and "move it elsewhere" in found.problems[0]
    )
    record_evaluation(tmp_path, evaluation("bad"), HELD_OUT)
    assert read_record(tmp_path, HELD_OUT, "age").models == 2
    replaced = not (tmp_path / "renamed.json").exists()
    assert ("It is replaced." in capsys.readouterr().err) == replaced


def test_note_or_folder_among_the_records_is_reported(tmp_path):
    record_evaluation(tmp_path, evaluation(), HELD_OUT)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "old").mkdir()
    found = read_record(tmp_path, HELD_OUT, "age")
    assert found.models == 1 and len(found.problems) == 2


def test_without_a_folder_nothing_is_on_record(tmp_path):
    assert read_record(tmp_path / "evaluations", HELD_OUT, "age", "key") == record.Record()


def test_jobs_at_the_same_time_leave_whole_records(tmp_path):
    wanted = [evaluation(f"w{number % 4}") for number in range(40)]
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.starmap(record_evaluation, [(tmp_path, one, HELD_OUT) for one in wanted], chunksize=1)
    found = read_record(tmp_path, HELD_OUT, "age", wanted[0].key)
    assert (found.models, found.own, found.problems) == (4, True, ()) and len(list(tmp_path.iterdir())) == 4


def study_of(root: Path, weights: bytes = b"weights") -> list[str]:
    """Results of an experiment with two seeds, and the command that evaluates them."""
    folder = root / "results" / "experiments" / "age"
    names = [f"p{number}" for number in range(12)]
    ages = [20.0 + 3 * number for number in range(12)]
    table = pd.DataFrame(
        {"scan_id": names, "participant_id": names, "cohort": "a", "site": "x", "age": ages, "sex": "F"}
    )
    table = table.assign(part=["train"] * 3 + ["validation"] * 3 + ["held-out"] * 6, target=ages, fold=1)
    tested = table[table["part"] != "train"].assign(prediction=lambda rows: rows["target"] + 1.0).drop(columns="fold")
    write_table(folder / "samples.tsv", table)
    write_table(folder / "predictions.tsv", tested)
    write_table(folder / "applied_samples.tsv", table.head(2)[["scan_id"]].assign(reason="added after the training"))
    write_table(folder / "baselines.tsv", tested.assign(model="mean", prediction=40.0))
    write_table(folder / "baseline_inputs.tsv", table[["cohort", "scan_id"]])
    write_table(folder / "members.tsv", tested.assign(member="seed-1"))
    write_table(folder / "networks.tsv", pd.DataFrame({"member": ["seed-1", "seed-2"], "used": "yes"}))
    write_table(root / "data" / "a" / "scans.tsv", table[["scan_id"]])
    write_table(root / "results" / "a" / "split.tsv", table[["participant_id", "part"]])
    for member in ("seed-1", "seed-2"):
        (folder / member).mkdir(exist_ok=True)
        (folder / member / "model.safetensors").write_bytes(weights + member.encode())
        write_no_features(folder / member / FEATURES)
    options = {
        "folder": folder,
        "data": root / "data",
        "results": root / "results",
        "study": "my study",
        "intervals": json.dumps({"resamples": 100, "seed": 1}),
        "settings": json.dumps(SETTINGS),
    }
    return ["evaluate", *(f"--{name}={value}" for name, value in options.items()), "seed-1", "seed-2"]


def test_evaluating_leaves_a_record_of_it_and_evaluating_again_none(tmp_path):
    own = lambda: evaluation_of(tmp_path / "results", "my study", "age", SETTINGS, ["seed-1", "seed-2"]).key  # noqa: E731
    held_out = people(*(f"p{number}" for number in range(6, 12)))
    for weights, models in ((b"first", 1), (b"first", 1), (b"second", 2)):
        outcome = CliRunner().invoke(app, study_of(tmp_path, weights))
        assert outcome.exit_code == 0, outcome.output
        found = read_record(tmp_path / "evaluations", held_out, "age", own())
        assert (found.models, found.own, found.experiments) == (models, True, ("my study/age",))
    assert len(list((tmp_path / "evaluations").iterdir())) == 2
    folder = tmp_path / "results" / "experiments" / "age"
    assert (folder / "metrics.tsv").is_file()
    assert "2 scan(s) are in no metric" in (folder / "evaluation_notes.tsv").read_text(), "the end of a run prints it"


def test_evaluation_that_is_killed_before_its_first_figure_is_on_record(tmp_path, monkeypatch):
    from neurocohort.evaluation import tables

    def killed(**_):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(tables, "evaluation_tables", killed)
    assert CliRunner().invoke(app, study_of(tmp_path)).exit_code != 0
    assert not (tmp_path / "results" / "experiments" / "age" / "metrics.tsv").exists()
    assert read_record(tmp_path / "evaluations", people("p11"), "age").models == 1


POINTS = ("participants-10", "random-start_participants-10", "random-start")


def test_kind_follows_from_the_experiment_that_the_configuration_makes():
    experiment = {
        "training": {"seeds": [1], "cross_validation": False},
        "control": "shuffled_target",
        "leave_one_site_out": ["x"],
        "transfer": {"weights": "other"},
        "learning_curve": [10],
    }
    found = all_experiments({"age": SETTINGS | experiment})
    kinds = {name: evaluation_with("study", name, settings, {}, {}).kind for name, settings in found.items()}
    assert kinds == {
        "age": "experiment",
        "age_shuffled-target-1": "control",
        "age_shuffled-target-2": "control",
        "age_shuffled-target-3": "control",
        "age_without-x": "without_site",
        **dict.fromkeys((f"age_{end}" for end in POINTS), "learning_curve"),
    }
