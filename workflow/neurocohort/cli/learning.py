"""The subcommands of learning: train, choose the settings of a sweep, predict, and average several networks."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from neurocohort.cli.app import Files, Names, command


@command
def train(
    samples: Path,
    results: Path,
    folder: Path,
    settings: Annotated[str, typer.Option(help="TrainingSettings as JSON")],
    device: str,
    code: str,
    start: Annotated[list[Path] | None, typer.Option(help="models to start from, the preferred first")] = None,
    known: Annotated[Path | None, typer.Option(help="what is known of the scans to train on")] = None,
    values: Annotated[Path | None, typer.Option(help="the values of a round of a sweep, by draw, as JSON")] = None,
    draw: Annotated[str, typer.Option(help="the draw of VALUES that replaces settings")] = "",
    unlabelled: Annotated[Path | None, typer.Option(help="scans to learn from without labels")] = None,
) -> None:
    """Train one network into FOLDER. Continue from its checkpoint, if an interrupted run of the same job left one. Start from the
    first of the START networks that learned something; each is in a folder with its run.json. Keep KNOWN next to the network."""
    import pandas as pd

    from neurocohort.dataset.leakage import check_no_leakage, check_not_held_out
    from neurocohort.dataset.trained_scans import RECORD, read_record, write_record
    from neurocohort.device import choose_device
    from neurocohort.files import read_json, read_table
    from neurocohort.learning import checkpoint as checkpoints
    from neurocohort.learning.data import open_packed, packed_folders
    from neurocohort.learning.distributed import is_main_process
    from neurocohort.learning.loop import TrainingFiles
    from neurocohort.learning.model_files import write_model
    from neurocohort.learning.network_table import starting_weights
    from neurocohort.learning.settings import read_settings, with_values
    from neurocohort.learning.training import attempts_of
    from neurocohort.learning.training import train as run

    wanted = read_settings(settings)
    given = [code, settings, device]
    if values:
        wanted = with_values(wanted, read_json(values)[draw])
        given[1] = wanted.as_json()
    if start:
        weights, warning = starting_weights(start)
        wanted = wanted.model_copy(update={"weights": str(weights)})
        if warning and is_main_process():
            print(warning, flush=True)
    table = read_table(samples, required=("scan_id", "part", "fold", "target", "cohort", "pack", "row"))
    check_no_leakage(table)  # here too: the table may have been edited by hand
    check_not_held_out(table, wanted.test_fold)
    others = read_table(unlabelled, ("scan_id", "part", "fold", "cohort", "pack", "row")) if unlabelled else None
    if others is not None:
        check_not_held_out(others, wanted.test_fold)
    folders = packed_folders(table if others is None else pd.concat([table, others]), results)
    files = [
        samples,
        *([unlabelled] if unlabelled else []),
        *(folders[key] / f"{kind}.npy" for key in sorted(folders) for kind in ("images", "labels")),
    ]
    files += [Path(wanted.weights)] if wanted.weights else []
    checkpoint = checkpoints.checkpoint_path(results.parent / "checkpoints", given, files)
    events = results.parent / "tensorboard" / folder.relative_to(results / "experiments")
    chosen = choose_device(device)
    packed = open_packed(folders, wanted.read_channels)
    places = TrainingFiles(checkpoint, events, checkpoints.checkpoint_seconds())
    try:
        trained = run(table, packed, wanted, chosen, places, unlabelled=others)
    except checkpoints.Interrupted as interrupted:
        print(interrupted, file=sys.stderr)
        raise typer.Exit(checkpoints.INTERRUPTED_EXIT_CODE) from interrupted
    if is_main_process():  # of several processes one writes
        write_model(folder, trained, wanted, chosen)
        if known:
            write_record(folder / RECORD, read_record(known))
        checkpoints.remove_checkpoint(checkpoint, attempts_of(wanted))


@command
def registration_network(
    template: Path,
    folder: Path,
    settings: Annotated[str, typer.Option(help="`preprocessing.learned` as JSON")],
    device: str,
    code: str,
    checkpoints: Annotated[Path, typer.Option(help="folder of the checkpoint")] = Path("checkpoints"),
) -> None:
    """Train the network of `registration: learned` on pairs painted from TEMPLATE, and write it and its losses into FOLDER.
    Continue from its checkpoint, if an interrupted run of the same job left one."""
    from neurocohort.device import choose_device
    from neurocohort.files import write_table
    from neurocohort.imaging.learned_constants import NETWORK
    from neurocohort.imaging.registration_network import write_network
    from neurocohort.imaging.template import read_brain_template
    from neurocohort.learning import checkpoint as saved
    from neurocohort.learning.registration_training import train_registration
    from neurocohort.settings.scan import LearnedRegistration

    wanted = LearnedRegistration.read(settings)
    path = saved.checkpoint_path(checkpoints, [code, settings, device], [template])
    try:
        trained = train_registration(
            read_brain_template(template), wanted, choose_device(device), path, saved.checkpoint_seconds()
        )
    except saved.Interrupted as interrupted:
        print(interrupted, file=sys.stderr)
        raise typer.Exit(saved.INTERRUPTED_EXIT_CODE) from interrupted
    write_network(folder / NETWORK, trained.network)
    write_table(folder / "losses.tsv", trained.losses)
    saved.remove_checkpoint(path)


@command
def suggest(
    folder: Path,
    sweep: Annotated[str, typer.Option(help="its keys, as JSON")],
    number: Annotated[int, typer.Option(help="of the round")],
    output: Path,
    members: Names,
) -> None:
    """Write the values of the draws of a round of a sweep. They follow from the earlier rounds under FOLDER, by the criterion
    of their MEMBERS, which all leave out the same test fold."""
    import json

    from neurocohort.files import write_json
    from neurocohort.learning.searches import suggest as run
    from neurocohort.learning.sweeps import tried_rounds

    wanted = json.loads(sweep)
    write_json(output, run(wanted, number, tried_rounds(folder, wanted, members, number)))


@command
def choose(
    folder: Path, sweep: Annotated[str, typer.Option(help="its keys, as JSON")], output: Path, members: Names
) -> None:
    """Write the table of a sweep: the values, loss and criterion of each draw (means over MEMBERS), and which one is chosen; with
    test folds, for each of them."""
    import json

    from neurocohort.files import write_table
    from neurocohort.learning.sweeps import choose as run

    write_table(output, run(folder, json.loads(sweep), members))


@command
def adopt(sweep: Path, folder: Path, member: str) -> None:
    """Copy a MEMBER of the chosen draw of SWEEP to the experiment's FOLDER."""
    from neurocohort.learning.sweeps import adopt as run

    run(sweep, folder, member)


@command
def tracking(results: Path, study: str, output: Path, runs: Files) -> None:
    """Write a database of MLflow with the trainings of RUNS, their run.json, and the test results of their experiments under
    RESULTS."""
    from neurocohort.learning.tracking import write_mlflow

    write_mlflow(output, study, results, runs)


@command
def predict_samples(
    samples: Path,
    results: Path,
    model: Path,
    output: Path,
    device: str,
    features: Path | None = None,
    probabilities: Path | None = None,
    spacing_mm: float = 0.0,
    applied_samples: Annotated[Path | None, typer.Option(help="samples that only get predictions")] = None,
    applied: Annotated[Path | None, typer.Option(help="where to write these predictions")] = None,
) -> None:
    """Apply a trained model to the validation, held-out and external samples, and to APPLIED_SAMPLES; of a segmentation, keep
    PROBABILITIES, of the others FEATURES, those of the training samples too.

    Of a training that left no model, the tables are empty: the experiment's other networks are averaged without it.
    """
    import pandas as pd

    from neurocohort.dataset.leakage import check_no_leakage
    from neurocohort.device import choose_device
    from neurocohort.files import read_json, read_table, write_table
    from neurocohort.learning.data import open_packed, packed_folders
    from neurocohort.learning.feature_files import write_features, write_no_features
    from neurocohort.learning.features import predict_with_features
    from neurocohort.learning.inference import predict as run
    from neurocohort.learning.inference import predicted_samples, trained_samples, write_no_predictions
    from neurocohort.learning.model_files import RUN, read_model
    from neurocohort.learning.prediction_tables import (
        applied_rows,
        label_map,
        overlap_rows,
        reference_labels,
        value_rows,
    )
    from neurocohort.learning.tasks import structures_of_task

    if read_json(model / RUN)["best_epoch"] is None:
        print(
            f"the training in {model} left no model: nothing is predicted, and it is left out of the experiment's average."
        )
        write_no_predictions(output, probabilities)
        if features:
            write_no_features(features)
        if applied:
            write_no_predictions(applied)
        return
    chosen = choose_device(device)
    trained = read_model(model, chosen)
    every = read_table(samples)
    check_no_leakage(every)
    folds = trained.settings.fold, trained.settings.test_fold
    table = predicted_samples(every, *folds)
    passed = pd.concat([table, trained_samples(every, *folds)], ignore_index=True) if features else table
    packed = open_packed(packed_folders(passed, results), trained.settings.modalities)
    if probabilities:
        predictions = run(trained, table, packed, probabilities)
        names = structures_of_task(trained.task)
        references = reference_labels(table, packed)
        rows = overlap_rows(table, map(label_map, predictions), references, spacing_mm, structures=names)
    elif features:
        predictions, found = predict_with_features(trained, passed, packed)
        write_features(features, passed, found)
        rows = value_rows(table, predictions[: len(table)])
    else:
        rows = value_rows(table, run(trained, table, packed))
    write_table(output, rows)
    if applied_samples and applied:
        others = read_table(applied_samples)
        if others.empty:
            write_no_predictions(applied)
        else:
            packed = open_packed(packed_folders(others, results), trained.settings.modalities)
            write_table(applied, applied_rows(others, run(trained, others, packed)))


@command
def adapt(
    samples: Path,
    results: Path,
    output: Path,
    device: str,
    members: Files,
    cohort: Annotated[list[str], typer.Option(help="a cohort whose external scans are predicted")],
) -> None:
    """Predict the external scans of some cohorts with batch statistics that are recomputed from the scans of each site, without
    labels, and average over the MEMBERS (weights, each next to its run.json) that learned something."""
    from neurocohort.dataset.folds import EXTERNAL
    from neurocohort.dataset.leakage import check_no_leakage
    from neurocohort.device import choose_device
    from neurocohort.files import read_table, write_table
    from neurocohort.learning.adaptive_batch_norm import adapted_predictions
    from neurocohort.learning.data import open_packed, packed_folders
    from neurocohort.learning.ensembles import average_values
    from neurocohort.learning.model_files import read_model
    from neurocohort.learning.network_table import read_runs, used_members

    every = read_table(samples)
    check_no_leakage(every)
    wanted = every[(every["part"] == EXTERNAL) & every["cohort"].isin(cohort)].reset_index(drop=True)
    folders = packed_folders(wanted, results)
    tables = {}
    for name in used_members(read_runs(member.parent for member in members)):
        model = read_model(next(one.parent for one in members if one.parent.name == name), choose_device(device))
        tables[name] = adapted_predictions(model, wanted, open_packed(folders, model.settings.modalities))
    write_table(output, average_values(tables))


@command
def ensemble(
    folder: Path,
    members: Files,
    applied: Annotated[Path | None, typer.Option(help="where to write the mean of the members' applied.tsv")] = None,
) -> None:
    """Average the predictions of an experiment's members that learned something into FOLDER, with the predictions of each member
    and the table of the networks; and into APPLIED those of scans that only get predictions. MEMBERS: the members' predictions,
    each in a folder with its run.json and, for APPLIED, its applied.tsv."""
    from neurocohort.files import read_table, write_table
    from neurocohort.learning.ensembles import average_applied, average_values, member_rows
    from neurocohort.learning.network_table import network_table, read_runs, used_members

    runs = read_runs(member.parent for member in members)
    tables = {member.parent.name: read_table(member) for member in members}
    used = used_members(runs)
    write_table(folder / "predictions.tsv", average_values({name: tables[name] for name in used}))
    if applied:
        write_table(applied, average_applied({name: read_table(folder / name / "applied.tsv") for name in used}))
    write_table(folder / "members.tsv", member_rows(tables))
    write_table(folder / "networks.tsv", network_table(runs))


@command
def ensemble_segmentation(
    folder: Path,
    results: Path,
    spacing_mm: float,
    members: Files,
    lesions: Annotated[list[str] | None, typer.Option(help="a structure whose connected parts are lesions")] = None,
) -> None:
    """Average the probabilities of a segmentation's members that learned something into label maps in FOLDER, on the study's grid
    and each scan's own, and write the same tables as `ensemble`. MEMBERS: the members' predictions, each in a folder with its
    run.json."""
    from functools import partial

    from neurocohort.evaluation.segmentation_details import structure_values
    from neurocohort.files import read_table, write_table
    from neurocohort.learning.data import open_packed, packed_folders
    from neurocohort.learning.ensembles import ensemble_scans, mean_probabilities, member_rows, tested_once
    from neurocohort.learning.label_maps import write_label_maps
    from neurocohort.learning.network_table import network_table, read_runs, used_members
    from neurocohort.learning.prediction_tables import label_map, overlap_rows, reference_labels
    from neurocohort.learning.tasks import structures_of_task, task_from

    runs = read_runs(member.parent for member in members)
    every = {member.parent.name: read_table(member) for member in members}
    tables = {name: every[name] for name in used_members(runs)}
    probabilities = {member.parent.name: member.parent / "probabilities.npy" for member in members}
    tested = {name: tested_once(table) for name, table in tables.items()}
    scans = ensemble_scans(tested, read_table(folder / "samples.tsv"))
    packed = open_packed(packed_folders(scans, results), ["T1w"])
    predicted = map(label_map, mean_probabilities(scans, tables, probabilities))
    names = structures_of_task(task_from(next(runs[name]["task"] for name in tables)))
    surfaces = partial(structure_values, structures=names, lesions=lesions or ())
    rows = overlap_rows(scans, predicted, reference_labels(scans, packed), spacing_mm, surfaces, names)
    averaged = mean_probabilities(scans, tables, probabilities)
    volumes = write_label_maps(scans, averaged, results, folder / "label_maps", names)
    write_table(folder / "label_maps" / "volumes.tsv", volumes)
    write_table(folder / "members.tsv", member_rows(every))
    write_table(folder / "networks.tsv", network_table(runs))
    write_table(folder / "predictions.tsv", rows)
