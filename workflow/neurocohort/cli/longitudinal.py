"""The subcommands of longitudinal analyses: fit and predict, and the metrics."""

import json
from pathlib import Path
from typing import Annotated

import typer

from neurocohort.cli.app import command


@command
def longitudinal(
    data: Path,
    results: Path,
    folder: Path,
    settings: Annotated[str, typer.Option(help="Longitudinal as JSON")],
    features: Annotated[list[Path] | None, typer.Option(help="features.npz of each member of an experiment")] = None,
    learned: Annotated[list[str] | None, typer.Option(help="NAME=PATH: samples that this network learned from")] = None,
) -> None:
    """Train the networks over sessions and fit their baselines, and predict the held-out participants into FOLDER.

    All files are written at the end: a job that was stopped starts again, with the same result.
    """
    import pandas as pd
    from safetensors.torch import save

    from neurocohort.dataset.leakage import check_features_unseen
    from neurocohort.dataset.samples import read_cohort_tables
    from neurocohort.dataset.sessions import select_sessions
    from neurocohort.evaluation.session_baselines import last_sessions, session_baselines
    from neurocohort.evaluation.session_inputs import session_inputs
    from neurocohort.evaluation.session_tables import held_out_predictions
    from neurocohort.files import read_table, write_table, written_aside
    from neurocohort.learning.feature_files import FEATURES, read_features
    from neurocohort.learning.network_table import first_used
    from neurocohort.learning.session_training import standardised, to_sequences, train_session_networks
    from neurocohort.notes import EVALUATION, Kind, Notes, write_notes
    from neurocohort.settings.longitudinal import Longitudinal

    wanted = Longitudinal.read(settings)
    tables = read_cohort_tables(data, results, wanted.cohorts)
    selected = select_sessions(tables, wanted)
    sessions = selected.table
    for name, _, path in (one.partition("=") for one in learned or []):
        check_features_unseen(sessions, read_table(path), name)
    of_network = None
    if features:  # those of two networks have nothing in common
        of_network = read_features(first_used(path.parent for path in features) / FEATURES).of_scans(sessions)
    qc = pd.concat([one["qc"].assign(cohort=name) for name, one in tables.items()], ignore_index=True)
    inputs, notes = session_inputs(sessions, qc, of_network, wanted)
    last = last_sessions(sessions)
    baselines = session_baselines(sessions, inputs, wanted.task)
    sequences = to_sequences(sessions, standardised(inputs, sessions["part"].to_numpy()))
    networks = train_session_networks(sequences, last, wanted)
    found = Notes(EVALUATION, logged=True)
    for sentence in [*selected.notes, *notes, *baselines.notes]:
        found.add(Kind.SESSIONS, sentence)
    write_table(
        folder / "sessions.tsv", pd.concat([sessions, inputs.drop(columns=[*sessions], errors="ignore")], axis=1)
    )
    write_table(folder / "flow.tsv", selected.flow)
    write_table(folder / "history.tsv", networks.history)
    write_notes(folder / "notes.tsv", found.notes)
    with written_aside(folder / "networks.safetensors") as aside:
        aside.write_bytes(save(networks.weights))
    write_table(folder / "predictions.tsv", held_out_predictions(last, networks.predictions | baselines.predictions))


@command
def longitudinal_metrics(
    folder: Path,
    results: Path,
    study: str,
    intervals: Annotated[str, typer.Option(help="the keys `evaluation` of the configuration as JSON")],
    settings: Annotated[str, typer.Option(help="Longitudinal as JSON")],
) -> None:
    """Write the metrics of a longitudinal analysis and the paired differences to its baselines into FOLDER, which is named after
    it. First record that its networks were evaluated."""
    from neurocohort.evaluation.intervals import Bootstrap
    from neurocohort.evaluation.record import FOLDER, evaluation_with, record_evaluation
    from neurocohort.evaluation.session_tables import session_comparisons, session_metrics
    from neurocohort.files import read_table, sha256_of, write_table
    from neurocohort.settings.evaluation import Evaluation

    wanted, analysis = Evaluation.read(intervals), json.loads(settings)
    predictions = read_table(folder / "predictions.tsv")
    splits = {name: sha256_of(results / name / "split.tsv") for name in analysis["cohorts"]}
    weights = {"networks": sha256_of(folder / "networks.safetensors")}
    evaluation = evaluation_with(study, folder.name, analysis, splits, weights)
    record_evaluation(results.parent / FOLDER, evaluation, predictions)
    bootstrap = Bootstrap(wanted.resamples, wanted.seed)
    write_table(folder / "metrics.tsv", session_metrics(predictions, analysis["task"], bootstrap))
    table = session_comparisons(predictions, analysis["models"], analysis["task"], bootstrap)
    write_table(folder / "comparisons.tsv", table)
