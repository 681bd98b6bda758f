"""All trainings of a study in one database of MLflow: the figures of each epoch, the settings, and the test results.

The database is written at the end, from the files of the trainings, so that no training waits for it, and jobs on several
machines don't write to one file. TensorBoard has the same figures while a training runs (`learning.events`).
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from neurocohort.files import read_json, read_table, written_aside
from neurocohort.learning.events import SCALARS

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

TEST = "test results"  # the name of the run with an experiment's metrics
AT_ONCE = 1000  # metrics that MLflow takes in one call
FACTS = ("best_epoch", "epochs_run", "parameters", "training_seconds")


def write_mlflow(path: Path, study: str, results: Path, runs: Iterable[Path]) -> None:
    """Write the database of MLflow.

    Each experiment of the study is one of MLflow's, ``<study>/<experiment>``, with a run for each network (also of the draws of a
    sweep), and one for the metrics of the held-out and external parts, if there are any.

    Args:
        path: The database (SQLite).
        study: The study's name.
        results: The folder of results, with the experiments under ``experiments``.
        runs: run.json of each training; history.tsv is beside it.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing leaves the cluster
    from mlflow.tracking import MlflowClient  # slow to import

    # Without a place of its own, MLflow would make a folder in the working directory.
    place = (path.parent / "mlflow_artifacts").resolve().as_uri()
    with written_aside(path) as aside:
        client = MlflowClient(tracking_uri=f"sqlite:///{aside.resolve()}")
        for name, names in _by_experiment(results / "experiments", runs).items():
            folder = results / "experiments" / name
            number = client.create_experiment(f"{study}/{name}", artifact_location=place)
            for run in names:
                _add_training(client, number, folder / run, run)
            if (folder / "metrics.tsv").is_file():
                _add_results(client, number, folder / "metrics.tsv")


def _by_experiment(folder: Path, runs: Iterable[Path]) -> dict[str, list[str]]:
    """The names of the runs by experiment."""
    found: dict[str, list[str]] = {}
    for run in runs:
        experiment, *name = run.parent.relative_to(folder).parts
        found.setdefault(experiment, []).append("/".join(name))
    return found


def _add_training(client: "MlflowClient", experiment: str, folder: Path, name: str) -> None:
    """Add the run of a training: settings, the figures of each epoch, and what run.json records."""
    run, history = read_json(folder / "run.json"), read_table(folder / "history.tsv", required=("epoch", *SCALARS))
    ended = int((folder / "history.tsv").stat().st_mtime * 1000)
    started = ended - int(1000 * (run.get("training_seconds") or 0))
    own = client.create_run(experiment, start_time=started, run_name=name).info.run_id
    for key, value in _flat(run["settings"]):
        client.log_param(own, key, value)
    epochs = [(tag, row[column], row["epoch"]) for row in history.to_dict("records") for column, tag in SCALARS.items()]
    facts = [(key, run[key], 0) for key in FACTS if run.get(key) is not None]
    _log(client, own, ended, [*epochs, *facts])
    client.set_tag(own, "device", run.get("device", ""))
    client.set_terminated(own, end_time=ended)


def _add_results(client: "MlflowClient", experiment: str, path: Path) -> None:
    """Add the run with the metrics of the experiment's networks on tested parts, with the ends of their intervals."""
    table = read_table(path, required=("model", "cohort", "part", "group", "metric", "value", "ci_low", "ci_high"))
    ended = int(path.stat().st_mtime * 1000)
    own = client.create_run(experiment, start_time=ended, run_name=TEST).info.run_id
    rows = table[(table["model"] == "network") & (table["group"] == "all")]
    found = [
        (f"{row['part']}/{row['cohort']}/{row['metric']}{end}", row[column], 0)
        for row in rows.to_dict("records")
        for end, column in (("", "value"), ("_low", "ci_low"), ("_high", "ci_high"))
    ]
    _log(client, own, ended, found)
    client.set_terminated(own, end_time=ended)


def _log(client: "MlflowClient", run: str, time: int, values: Iterable[tuple[str, Any, int]]) -> None:
    """Log name, value and step; values that aren't numbers are left out."""
    from mlflow.entities import Metric

    metrics = [Metric(name, float(value), time, int(step)) for name, value, step in values if pd.notna(value)]
    for start in range(0, len(metrics), AT_ONCE):
        client.log_batch(run, metrics[start : start + AT_ONCE])


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
