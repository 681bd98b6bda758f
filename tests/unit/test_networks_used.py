"""A network that learned nothing is trained again, and is left out of what an experiment reports if it still hasn't."""

import json
import signal

import numpy as np
import pandas as pd
import pytest
from neurocohort.cli.learning import ensemble, predict_samples
from neurocohort.cli.models import bundle
from neurocohort.errors import InputError
from neurocohort.files import read_json, read_table, write_json, write_table
from neurocohort.learning import training
from neurocohort.learning.checkpoint import Interrupted, attempt_file, remove_checkpoint
from neurocohort.learning.ensembles import average_values, ensemble_scans, mean_probabilities, member_rows
from neurocohort.learning.inference import read_probabilities, write_no_predictions
from neurocohort.learning.judgement import LEAST_SPREAD, Judgement, prediction_spread
from neurocohort.learning.model_files import write_model
from neurocohort.learning.network_table import COLUMNS, first_used, network_table, starting_weights, used_members
from neurocohort.learning.prediction_tables import overlap_rows
from neurocohort.learning.sweeps import choose
from neurocohort.learning.tasks import Classification, Regression, Segmentation
from neurocohort.learning.training import attempt_seed
from toy_training import CPU, run, stopped_at_step, toy_settings, weights_hash

REGRESSION = Regression(False, 20.0, 80.0, 50.0, 10.0)
# A learning rate at which nothing moves: the network stays as untrained as it is at first.
IDLE = {"learning_rate": 1e-12, "warm_up": 0.0, "epochs": 2, "soft_bins": False, "fold": 1}


def judged_as(monkeypatch, *verdicts: Judgement) -> None:
    """The next networks are judged so, one after the other."""
    given = iter(verdicts)
    monkeypatch.setattr(training, "judge", lambda loop, batches: next(given))


def judgement(learned: bool | None, spread: float | None = 0.01) -> Judgement:
    return Judgement(learned, "" if learned else "too alike", spread, 0.1, "")


# --- the judgement -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        ("regression", {"epochs": 25, "learning_rate": 0.02, "soft_bins": False}),
        ("classification", {"epochs": 25, "learning_rate": 0.02}),
        ("segmentation", {"epochs": 10, "batch_size": 2}),
    ],
)
def test_trained_network_passes_by_far(tmp_path, task, changes):
    trained = run(tmp_path, toy_settings(task, dropout=0.0, fold=1, **changes))
    assert trained.judgement.learned is True and trained.judgement.reason == ""
    assert trained.judgement.spread > 1.9 * LEAST_SPREAD[task]
    assert len(trained.attempts) == 1


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_untrained_network_has_learned_nothing(tmp_path, task):
    lines = []
    settings = toy_settings(task, **IDLE)
    trained = run(tmp_path, settings, report=lines.append)
    assert trained.judgement.learned is False and trained.judgement.spread < LEAST_SPREAD[task]
    assert f"below {LEAST_SPREAD[task]:g}" in trained.judgement.reason
    (warning,) = [line for line in lines if line.startswith("warning: this network")]
    assert "learned nothing" in warning and "left out of the experiment's average" in warning
    write_model(tmp_path / "model", trained, settings, CPU)
    record = read_json(tmp_path / "model" / "run.json")["learning"]
    assert list(record) == ["learned", "reason", "spread", "least_spread", "edge", "attempts"]
    assert record["learned"] is False and list(record["attempts"][0]) == [
        "seed", "best_epoch", "criterion", "spread", "learned"
    ]  # fmt: skip


def test_segmentation_that_gave_up_on_the_tissues_has_learned_nothing(tmp_path):
    assert run(tmp_path, toy_settings("segmentation", **IDLE)).judgement.least_spread == 0.5
    found = np.array([[True, False, False], [True, False, False]])
    assert prediction_spread(Segmentation(), found, np.ones((2, 3), dtype=bool)) == pytest.approx(1 / 3)
    assert prediction_spread(
        Segmentation(), found, np.array([[True, True, False], [True, False, False]])
    ) == pytest.approx(2 / 3)


def test_spread_is_that_of_the_task():
    targets = np.array([20.0, 40.0, 60.0])
    assert prediction_spread(REGRESSION, 50 + 0.3 * targets, targets) == pytest.approx(0.3)
    assert prediction_spread(Classification(), np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1])) == 1
    three = np.array([[0.5, 0.5, 0.0], [0.5, 0.3, 0.2], [0.5, 0.4, 0.1]])
    assert prediction_spread(Classification(3), three, np.array([0, 1, 2])) == pytest.approx(three[:, 1].std() / 0.5)


def test_diverged_training_has_learned_nothing(tmp_path):
    settings = toy_settings(epochs=9, learning_rate=1e30, gradient_clip=0.0, warm_up=0.0, soft_bins=False)
    for keep in ("best", "last", "averaged", "ema"):
        trained = run(tmp_path, settings.model_copy(update={"keep": keep}), f"{keep}.pt")
        assert trained.judgement.learned is False and trained.best_epoch == 0 and trained.criterion is None
        assert "without a finite validation loss" in trained.judgement.reason


def test_control_is_neither_judged_nor_trained_again(tmp_path):
    trained = run(tmp_path, toy_settings(**IDLE, judged=False, retrain=3))
    assert trained.judgement.learned is None and len(trained.attempts) == 1
    assert trained.judgement.spread < 0.1, "it is noted all the same"


def test_validation_scans_of_one_class_leave_a_network_unjudged(tmp_path, monkeypatch):
    import toy_training

    samples, packed = toy_training.toy_cohort("classification")
    samples.loc[samples["part"] == "validation", "target"] = 0
    monkeypatch.setattr(toy_training, "toy_cohort", lambda task: (samples, packed))
    trained = run(tmp_path, toy_settings("classification", **(IDLE | {"fold": 0})))
    assert trained.judgement.learned is None and "one class" in trained.judgement.reason


def test_validation_scans_with_nearly_the_same_target_leave_a_network_unjudged(tmp_path):
    """Those of the toy cohort's split are 68.8, 69.0 and 71.8 years old, in a cohort of 20 to 80."""
    trained = run(tmp_path, toy_settings(**(IDLE | {"fold": 0})))
    assert trained.judgement.learned is None
    assert "standard deviation of 1.38, less than 0.25 times that of the training scans" in trained.judgement.reason


# --- other seeds -------------------------------------------------------------------------------------------------------


def test_network_that_learned_nothing_is_trained_again_with_another_seed(tmp_path, monkeypatch):
    judged_as(monkeypatch, judgement(False), judgement(True, 0.8))
    lines, settings = [], toy_settings(epochs=2, retrain=2)
    trained = run(tmp_path, settings, report=lines.append)
    seed = attempt_seed(1, 2)
    assert trained.seed == seed != 1 and trained.judgement.learned
    assert [(one.seed, one.learned) for one in trained.attempts] == [(1, False), (seed, True)]
    warning = f"attempt 1 of 3, seed 1) learned nothing: too alike; it is trained again with seed {seed}"
    assert any(warning in line for line in lines)
    judged_as(monkeypatch, judgement(True))
    alone = run(tmp_path, toy_settings(epochs=2, seed=seed), "alone.pt")
    assert weights_hash(alone.weights) == weights_hash(trained.weights), "it is the training of that seed"
    write_model(tmp_path / "model", trained, settings, CPU)
    assert read_json(tmp_path / "model" / "run.json")["seed"] == seed


def test_of_attempts_that_all_failed_the_widest_spread_is_kept(tmp_path, monkeypatch):
    judged_as(monkeypatch, judgement(False, None), judgement(False, 0.04), judgement(False, 0.02))
    trained = run(tmp_path, toy_settings(epochs=1, retrain=2))
    assert trained.seed == attempt_seed(1, 2) and trained.judgement.spread == 0.04 and len(trained.attempts) == 3


def test_no_second_attempt_where_none_is_wanted(tmp_path):
    trained = run(tmp_path, toy_settings(**IDLE))
    assert trained.seed == 1 and len(trained.attempts) == 1
    assert not (tmp_path / "checkpoint.pt").exists(), "nothing that would have to be kept"


@pytest.mark.parametrize("stop_after", [7, 10])
def test_interrupted_second_attempt_goes_on_and_the_first_is_not_trained_again(tmp_path, stop_after):
    settings = toy_settings(**IDLE, retrain=1)  # six steps an attempt
    whole = run(tmp_path, settings, "whole.pt")
    with stopped_at_step(stop_after), pytest.raises(Interrupted):
        run(tmp_path, settings, "cut.pt")
    first, second = (attempt_file(tmp_path / "cut.pt", number) for number in (1, 2))
    assert first.is_file() and second.is_file()
    lines = []
    with stopped_at_step(12 - stop_after + 1):  # would stop if more than the missing steps were taken
        resumed = run(tmp_path, settings, "cut.pt", report=lines.append)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert weights_hash(resumed.weights) == weights_hash(whole.weights) and resumed.attempts == whole.attempts
    assert not any(
        line.startswith("epoch") for line in lines[: [line.startswith("warning") for line in lines].index(True)]
    )
    remove_checkpoint(tmp_path / "cut.pt", 2)
    assert not first.exists() and not second.exists()
    assert lines[0].endswith("cut.pt: all epochs are done")


# --- which networks are used --------------------------------------------------------------------------------------------


def record(fold: int = 0, learned: bool | None = True, best_epoch: int | None = 7, **changes) -> dict:
    """What is read of a run.json."""
    learning = {
        "learned": learned,
        "reason": "" if learned else "too alike",
        "spread": 0.02,
        "least_spread": 0.1,
        "edge": "",
    }
    learning["attempts"] = [{}, {}] if learned is False else [{}]
    criterion = None if best_epoch is None else 0.5
    found = {"settings": {"fold": fold}, "seed": 5, "epochs_run": 9, "best_epoch": best_epoch, "criterion": criterion}
    return found | {"validation_loss": criterion, "learning": learning} | changes


def test_networks_that_learned_nothing_are_left_out_of_the_mean():
    runs = {"seed-1": record(), "seed-2": record(learned=False), "seed-3": record(learned=None)}
    assert used_members(runs) == ["seed-1", "seed-3"]
    table = network_table(runs)
    assert table.columns.tolist() == COLUMNS
    assert table["learned"].tolist() == ["yes", "no", "not judged"] and table["used"].tolist() == ["yes", "no", "yes"]
    assert table["attempts"].tolist() == [1, 2, 1] and table["reason"].tolist() == ["", "too alike", "too alike"]


def test_where_no_network_learned_anything_all_are_used_and_the_table_says_so():
    runs = {
        "seed-1": record(learned=False),
        "seed-2": record(learned=False),
        "seed-3": record(learned=False, best_epoch=None),
    }
    table = network_table(runs)
    assert table["learned"].tolist() == ["no"] * 3 and table["used"].tolist() == ["yes", "yes", "no"]
    assert table["reason"].str.contains("no network of the experiment learned anything").tolist() == [True, True, False]
    assert pd.isna(table["best_epoch"].iloc[2]) and table["best_epoch"].iloc[0] == 7


def test_experiment_without_any_model_ends_in_a_sentence():
    with pytest.raises(InputError, match=r"every training of the experiment \(seed-1, seed-2\) ended without a finite"):
        used_members({name: record(learned=False, best_epoch=None) for name in ("seed-1", "seed-2")})


def test_fold_without_a_network_that_learned_has_no_out_of_fold_predictions():
    runs = {
        "fold-1_seed-1": record(1),
        "fold-2_seed-1": record(2, learned=False),
        "fold-2_seed-2": record(2, learned=False, best_epoch=None),
        "fold-3_seed-1": record(3, learned=False),
        "fold-3_seed-2": record(3),
    }
    reasons = network_table(runs).set_index("member")["reason"]
    sentence = "no other network validates fold 2, so that its validation scans have no out-of-fold prediction"
    assert [sentence in reasons[name] for name in runs] == [False, True, True, False, False]
    assert "no other network" not in reasons["fold-3_seed-1"]


def rows(validating: dict[str, float], held_out: float) -> pd.DataFrame:
    predictions = validating | {"sub-9": held_out}
    table = pd.DataFrame({"scan_id": list(predictions), "prediction": list(predictions.values())})
    table = table.assign(cohort="toy", participant_id=table["scan_id"], site="A", age=1.0, sex="F", target=1.0)
    return table.assign(part=["validation" if scan in validating else "held-out" for scan in table["scan_id"]])


def test_ensemble_copes_with_a_fold_that_nobody_validates(tmp_path):
    members = {"fold-1_seed-1": rows({"sub-1": 4.0}, 50.0), "fold-2_seed-1": rows({"sub-2": 8.0}, 60.0)}
    found = average_values({"fold-1_seed-1": members["fold-1_seed-1"]})
    assert found["scan_id"].tolist() == ["sub-1", "sub-9"] and found["prediction"].tolist() == [4.0, 50.0]
    write_no_predictions(tmp_path / "predictions.tsv")
    empty = pd.read_csv(tmp_path / "predictions.tsv", sep="\t")
    assert member_rows(members | {"fold-3_seed-1": empty})["member"].unique().tolist() == list(members)


def test_segmentation_without_a_model_leaves_files_that_can_be_read(tmp_path):
    write_no_predictions(tmp_path / "predictions.tsv", tmp_path / "probabilities.npy")
    assert len(read_probabilities(tmp_path / "probabilities.npy")) == 0
    labels = [np.ones((2, 2, 2), dtype=np.uint8)]
    scans = pd.DataFrame({"scan_id": ["sub-1"], "cohort": "toy", "part": "held-out", "participant_id": "1"})
    scans = scans.assign(site="A", age=1.0, sex="F")
    tables = {"seed-1": overlap_rows(scans, labels, labels, 1.0)}
    samples = scans.assign(pack="held-out", row=0)
    np.save(tmp_path / "seed-1.npy", np.full((1, 4, 2, 2, 2), 255, dtype=np.uint8))
    found = ensemble_scans(tables, samples)
    means = list(mean_probabilities(found, tables, {"seed-1": tmp_path / "seed-1.npy"}))
    assert len(means) == 1 and (means[0] == 1).all()


def folders_of(tmp_path, **runs) -> list:
    for name, own in runs.items():
        write_json(tmp_path / name / "run.json", own)
    return [tmp_path / name for name in runs]


def test_first_network_that_learned_something_stands_for_the_experiment(tmp_path):
    folders = folders_of(
        tmp_path, a=record(learned=False, best_epoch=None), b=record(learned=False), c=record(), d=record()
    )
    assert first_used(folders) == tmp_path / "c"
    assert first_used(folders[:2]) == tmp_path / "b", "the first with a model, where none learned anything"
    weights, warning = starting_weights([folder / "model.safetensors" for folder in folders])
    assert weights == tmp_path / "c" / "model.safetensors" and warning == ""
    weights, warning = starting_weights([folder / "model.safetensors" for folder in folders[:2]])
    assert weights == tmp_path / "b" / "model.safetensors"
    assert "which this training starts from, learned nothing: too alike" in warning


def test_draw_is_chosen_by_what_chose_the_epochs(tmp_path):
    """The plain loss of the first draw is smaller, as that of a less sure network may be."""
    criteria = {"sweep/draw-01": (0.4, 0.6), "sweep/draw-02": (0.9, 0.5), "sweep/draw-03": (None, None)}
    for draw, (loss, criterion) in criteria.items():
        own = record(best_epoch=None) if loss is None else record(validation_loss=loss, criterion=criterion)
        write_json(tmp_path / draw / "seed-1" / "run.json", own)
    table = choose(tmp_path, {"draws": 0, "values": {"network.dropout": [0.1, 0.2, 0.3]}}, ["seed-1"])
    assert table.columns.tolist() == ["draw", "network.dropout", "validation_loss", "criterion", "chosen"]
    assert table["chosen"].tolist() == [0, 1, 0] and np.isnan(table["criterion"].iloc[2])


# --- the subcommands ------------------------------------------------------------------------------------------------------


def test_ensemble_leaves_three_tables(tmp_path):
    experiment = tmp_path / "age"
    for name, own, table in (
        ("seed-1", record(), rows({"sub-1": 4.0}, 50.0)),
        ("seed-2", record(learned=False), rows({"sub-1": 40.0}, 90.0)),
        ("seed-3", record(learned=False, best_epoch=None), None),
    ):
        write_json(experiment / name / "run.json", own)
        if table is None:
            predict_samples(tmp_path, tmp_path, experiment / name, experiment / name / "predictions.tsv", "cpu")
        else:
            write_table(experiment / name / "predictions.tsv", table)
    members = [experiment / f"seed-{number}" / "predictions.tsv" for number in (1, 2, 3)]
    ensemble(experiment, members)
    predictions, kept, networks = (
        read_table(experiment / f"{name}.tsv") for name in ("predictions", "members", "networks")
    )
    assert predictions["prediction"].tolist() == [4.0, 50.0]
    assert kept["member"].tolist() == ["seed-1"] * 2 + ["seed-2"] * 2, "the third has no model to predict with"
    assert networks[["member", "learned", "used"]].to_numpy().tolist() == [
        ["seed-1", "yes", "yes"], ["seed-2", "no", "no"], ["seed-3", "no", "no"]
    ]  # fmt: skip


def test_bundle_holds_the_networks_of_the_mean_alone(tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(
        "neurocohort.export.bundle.write_bundle",
        lambda folder, experiment, members, *more: given.update(members) or folder.mkdir(exist_ok=True),
    )
    folders = folders_of(tmp_path, a=record(learned=False), b=record(), c=record())
    write_table(tmp_path / "table.tsv", pd.DataFrame({"metric": ["mae"]}))
    tables = [tmp_path / "table.tsv"] * 4
    monkeypatch.setattr("neurocohort.export.raw_scans.read_parts", lambda *given: None)
    study = json.dumps({"experiments": {"age": {}}})
    members = [folder / "model.safetensors" for folder in folders]
    bundle("age", *tables, tmp_path, tmp_path / "template.npz", tmp_path / "bundle", study, members)
    assert given == {"b": tmp_path / "b", "c": tmp_path / "c"}
