"""`tracking: mlflow`: its figures are those of TensorBoard, and the results those of metrics.tsv."""

import pandas as pd
import pytest
from configurations import changed, refusal
from neurocohort.evaluation.rows import Estimate, MetricRow, table_of
from neurocohort.files import read_table, write_table
from neurocohort.learning.events import SCALARS
from neurocohort.learning.loop import TrainingFiles
from neurocohort.learning.model_files import write_model
from neurocohort.learning.tracking import TEST, write_mlflow
from neurocohort.learning.training import train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy_training import CPU, toy_cohort, toy_settings

pytest.importorskip("mlflow")


def test_a_training_has_the_figures_of_tensorboard_and_its_experiment_the_metrics(tmp_path):
    from mlflow.tracking import MlflowClient

    results, events = tmp_path / "results", tmp_path / "events"
    folder = results / "experiments" / "age"
    settings = toy_settings(epochs=3)
    trained = train(
        *toy_cohort("regression"), settings, CPU, TrainingFiles(tmp_path / "checkpoint.pt", events), lambda line: None
    )
    write_model(folder / "sweep/draw-01/seed-1", trained, settings, CPU)
    estimate = Estimate("mae", 4.0, 3.0, 5.0, "bootstrap", 9)
    rows = [MetricRow(model, "ixi", "held-out", "all", estimate) for model in ("network", "mean")]
    write_table(folder / "metrics.tsv", table_of(rows, MetricRow))
    write_mlflow(results / "mlflow.db", "mine", results, [folder / "sweep/draw-01/seed-1/run.json"])

    client = MlflowClient(tracking_uri=f"sqlite:///{results / 'mlflow.db'}")
    found = client.get_experiment_by_name("mine/age")
    runs = {run.info.run_name: run for run in client.search_runs([found.experiment_id])}
    assert set(runs) == {"sweep/draw-01/seed-1", TEST}
    training = runs["sweep/draw-01/seed-1"]
    assert float(training.data.params["learning_rate"]) == settings.learning_rate
    assert "augmentation.noise" in training.data.params
    board = EventAccumulator(str(events))
    board.Reload()
    history = read_table(folder / "sweep/draw-01/seed-1/history.tsv")
    for column, tag in SCALARS.items():
        ours = [(one.step, one.value) for one in client.get_metric_history(training.info.run_id, tag)]
        theirs = [(one.step, one.value) for one in board.Scalars(tag)]
        assert [step for step, _ in ours] == [step for step, _ in theirs] == [1, 2, 3]
        assert [value for _, value in ours] == pytest.approx([value for _, value in theirs], rel=1e-6)
        assert pd.Series(value for _, value in ours).tolist() == history[column].tolist()
    metrics = runs[TEST].data.metrics
    assert metrics == {"held-out/ixi/mae": 4.0, "held-out/ixi/mae_low": 3.0, "held-out/ixi/mae_high": 5.0}


def test_another_tracking_is_refused(demo_study):
    assert "tracking" in refusal(changed(demo_study, "tracking", "wandb"))
