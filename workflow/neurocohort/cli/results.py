"""The subcommands for results: baselines, metrics, the report; and the check of a configuration."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from neurocohort.cli.app import Files, Names, command


@command
def baselines(
    samples: Path,
    results: Path,
    output: Path,
    inputs: Path,
    settings: Annotated[str, typer.Option(help="BaselineSettings as JSON")],
) -> None:
    """Fit the baselines where the network is trained, once more for each fold, and apply them where the network is applied.

    INPUTS gets what the baselines on volumes and on tissue maps are fitted on."""
    import pandas as pd

    from neurocohort.evaluation.baseline_inputs import baseline_inputs
    from neurocohort.evaluation.tissue_baselines import CHANNELS
    from neurocohort.files import read_table, write_table
    from neurocohort.learning.data import open_packed, packed_folders
    from neurocohort.settings.evaluation import BaselineSettings
    from neurocohort.study.baseline_tables import atlas_table, tissue_features, value_table

    wanted = BaselineSettings.read(settings)
    table = read_table(samples)
    folders = packed_folders(table, results)
    packed = open_packed(folders, wanted.modalities)
    if wanted.task == "segmentation":
        write_table(inputs, baseline_inputs(table, None, {}))
        write_table(output, atlas_table(table, packed, wanted))
        return
    tables = [read_table(results / name / "qc.tsv").assign(cohort=name) for name in table["cohort"].unique()]
    qc = pd.concat(tables, ignore_index=True)
    features = tissue_features(table, open_packed(folders, list(CHANNELS)), wanted) if wanted.tissue_maps else {}
    write_table(inputs, baseline_inputs(table, qc, features))
    write_table(output, value_table(table, qc, packed, wanted, features))


@command
def predictors(
    samples: Path,
    output: Path,
    notes: Path,
    settings: Annotated[str, typer.Option(help="PredictorSettings as JSON")],
) -> None:
    """Write the predictions that other tools made of an experiment's scans as rows like the baselines', and notes on them."""
    from neurocohort.dataset.folds import rows_to_predict
    from neurocohort.evaluation.measures import GIVEN
    from neurocohort.evaluation.predictors import notes_on, read_given
    from neurocohort.files import read_table, write_table
    from neurocohort.learning.prediction_tables import baseline_rows
    from neurocohort.notes import EVALUATION, Kind, Notes, write_notes
    from neurocohort.settings.predictors import PredictorSettings

    wanted, table = PredictorSettings.read(settings), read_table(samples)
    rows = rows_to_predict(table, wanted.folds)
    each = rows.drop_duplicates(["scan_id", "part"])  # with test folds, a scan validates in several of them
    given = {name: read_given(predictor, table, wanted.task) for name, predictor in wanted.predictors.items()}
    values = {f"{GIVEN}{name}": rows["scan_id"].map(one.values).to_numpy(dtype=float) for name, one in given.items()}
    found = Notes(EVALUATION, logged=True)
    for name, one in given.items():
        for sentence in notes_on(name, one, each, wanted.task):
            found.add(Kind.TABLES, sentence)
    write_notes(notes, found.notes)
    write_table(output, baseline_rows(rows, values))


@command
def evaluate(
    folder: Path,
    data: Path,
    results: Path,
    study: str,
    intervals: Annotated[str, typer.Option(help="the keys `evaluation` of the configuration as JSON")],
    settings: Annotated[str, typer.Option(help="the experiment's configuration as JSON")],
    members: Names,
) -> None:
    """Write the metrics of the network and the baselines, each with its interval, and the secondary tables into FOLDER, which is
    named after the experiment and has its predictions. First record that the networks of the MEMBERS were evaluated."""
    import pandas as pd

    from neurocohort.dataset.folds import HELD_OUT
    from neurocohort.evaluation.auxiliary import MemberFeatures, auxiliary_details
    from neurocohort.evaluation.baseline_inputs import feature_inputs, with_inputs
    from neurocohort.evaluation.evaluation_notes import notes_of_applied
    from neurocohort.evaluation.intervals import Bootstrap
    from neurocohort.evaluation.record import FOLDER, evaluation_of, record_evaluation
    from neurocohort.evaluation.rows import DetailRow, table_of
    from neurocohort.evaluation.tables import evaluation_tables, with_given
    from neurocohort.files import read_table, write_table
    from neurocohort.learning.feature_files import FEATURES, read_features
    from neurocohort.learning.model_files import read_run
    from neurocohort.learning.outcomes import YES
    from neurocohort.settings.evaluation import Evaluation

    wanted, experiment = Evaluation.read(intervals), json.loads(settings)
    names = ("predictions", "baselines", "members", "samples", "networks")
    tables = {name: read_table(folder / f"{name}.tsv") for name in names}
    networks = tables.pop("networks")
    tables["samples"] = with_inputs(tables["samples"], read_table(folder / "baseline_inputs.tsv"))
    if experiment.get("predictors"):
        tables["baselines"] = with_given(tables["baselines"], read_table(folder / "predictors.tsv"))
    used = set(networks.loc[networks["used"] == YES, "member"])
    in_average = [one for one in members if one in used]
    if experiment["task"] != "segmentation" and in_average:
        features = read_features(folder / in_average[0] / FEATURES).of_part(HELD_OUT)
        tables["samples"] = with_inputs(tables["samples"], feature_inputs(features.scans, features.values))
    in_mean = tables["members"]["member"].isin(used)  # the spread is of the networks in the mean
    tables["members"] = tables["members"][in_mean]
    # Recorded before any metric can be read: a run that is killed in between leaves its record.
    evaluation = evaluation_of(results, study, folder.name, experiment, in_average)
    record_evaluation(results.parent / FOLDER, evaluation, tables["predictions"])
    cohorts = tables["samples"]["cohort"].unique()
    scans = {cohort: read_table(data / cohort / "scans.tsv") for cohort in cohorts}
    bootstrap = Bootstrap(wanted.resamples, wanted.seed)
    more: list[DetailRow] = []
    if (names := experiment.get("auxiliary")) and in_average:
        learned = []
        for one in in_average:
            found, heads = read_features(folder / one / FEATURES), read_run(folder / one).get("auxiliary", [])
            learned.append(MemberFeatures(found.scans, found.values, {head["variable"]: head for head in heads}))
        more = list(auxiliary_details(learned, tables["samples"], names, bootstrap))
    applied = notes_of_applied(read_table(folder / "applied_samples.tsv"))
    for name, table in evaluation_tables(**tables, scans=scans, kind=experiment["task"], bootstrap=bootstrap):
        if name == "details" and more:
            table = pd.concat([table, table_of(more, DetailRow)], ignore_index=True)
        if name == "evaluation_notes":
            table = pd.concat([table, applied], ignore_index=True)
        write_table(folder / f"{name}.tsv", table)


@command
def control(output: Path, task: str, metrics: Files) -> None:
    """Write whether the intervals of the METRICS of an experiment's controls include chance."""
    from dataclasses import asdict

    from neurocohort.evaluation.controls import chance_holds
    from neurocohort.files import read_table, write_json

    write_json(output, asdict(chance_holds([read_table(table) for table in metrics], task)))


@command
def learning_curve(
    output: Path,
    results: Path,
    task: str,
    intervals: Annotated[str, typer.Option(help="the keys `evaluation` of the configuration as JSON")],
    points: Annotated[str, typer.Option(help="the points as JSON: experiment, start and participants of each")],
    applied: Annotated[str, typer.Option(help="the experiment whose networks were applied without training")] = "",
    reason: Annotated[str, typer.Option(help="why none were")] = "",
) -> None:
    """Compare networks that are applied, fine-tuned and trained from random weights on the same held-out participants."""
    from neurocohort.dataset.folds import FOLDED_PARTS
    from neurocohort.evaluation.intervals import Bootstrap
    from neurocohort.evaluation.learning_curve import APPLIED, Start
    from neurocohort.evaluation.learning_curve import learning_curve as run
    from neurocohort.files import read_table, write_table
    from neurocohort.learning.outcomes import NO
    from neurocohort.settings.evaluation import Evaluation

    wanted, folder, starts = Evaluation.read(intervals), results / "experiments", []
    for point in json.loads(points):
        own = folder / point["experiment"]
        samples, networks = read_table(own / "samples.tsv"), read_table(own / "networks.tsv")
        people = samples[samples["part"].isin(FOLDED_PARTS)].drop_duplicates(["cohort", "participant_id"])
        learned = bool((networks["learned"] != NO).any())
        starts.append(Start(point["start"], len(people), read_table(own / "predictions.tsv"), learned))
    first = Start(APPLIED, 0, read_table(folder / applied / "predictions.tsv")) if applied else None
    write_table(output, run(starts, first, reason, task, Bootstrap(wanted.resamples, wanted.seed)))


@command
def adaptation(
    output: Path,
    results: Path,
    task: str,
    intervals: Annotated[str, typer.Option(help="the keys `evaluation` of the configuration as JSON")],
    sites: Annotated[str, typer.Option(help="the new sites as JSON: site, cohorts and experiments of each")],
    batch_norm: Annotated[bool, typer.Option(help="whether the first experiment has predictions of `adapt`")] = False,
) -> None:
    """Compare ways to adapt networks to sites that they weren't trained on, each with its reference on the same scans."""
    from neurocohort.evaluation.adaptation import adaptation as run
    from neurocohort.evaluation.intervals import Bootstrap
    from neurocohort.files import write_table
    from neurocohort.settings.evaluation import Evaluation
    from neurocohort.study.adaptation_methods import methods_of

    wanted = Evaluation.read(intervals)
    combat = wanted.harmonisation == "combat"
    methods = methods_of(results / "experiments", json.loads(sites), batch_norm=batch_norm, combat=combat)
    write_table(output, run(methods, task, Bootstrap(wanted.resamples, wanted.seed)))


@command
def report(data: Path, results: Path, benchmarks: Path, lock: Path, output: Path, configuration: str) -> None:
    """Write the report. CONFIGURATION is the whole configuration as JSON; NEUROCOHORT_COMMAND is the run's command."""
    from neurocohort.report.report import write_report
    from neurocohort.report.study import Folders, read_study

    folders = Folders(results, data, benchmarks, lock)
    command_line = os.environ.get("NEUROCOHORT_COMMAND", "")
    write_report(read_study(folders, json.loads(configuration), command_line), output)


@command
def check(configfiles: Files) -> None:
    """Check study files (merged in their order): their errors, and what ingest will do with cohorts of your own."""
    from neurocohort.study.configuration import read_checked
    from neurocohort.study.preview import preview
    from neurocohort.study.published import published_notes

    config = read_checked(configfiles)
    for line in preview(config["cohorts"], Path("data")):
        print(line)
    for note in published_notes(config):
        print(f"note: {note}")
    print("The configuration is in order.")


@command
def headline(results: Path, configfiles: Files) -> None:
    """Print each experiment's main result with its interval and its verdict, and where the report is."""
    from neurocohort.report.headline import headline as verdicts_of
    from neurocohort.report.study import Folders, read_study
    from neurocohort.study.configuration import read_checked

    config = read_checked(configfiles)
    print()
    for verdict in verdicts_of(read_study(Folders(results), config).experiments.values()):
        print(f"{verdict.state.upper():5} {verdict.sentence}")
    if config["demo_data"]:
        print("\nDEMO DATA, NOT A SCIENTIFIC RESULT")
    print(f"\nThe report: {(results / 'report' / 'index.html').resolve()}")
