"""The subcommands that judge and tell: baselines, metrics, the report, and the check of a configuration."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from neurocohort.commands.app import Files, command


@command
def baselines(
    samples: Path,
    results: Path,
    output: Path,
    task: str,
    target: str,
    modalities: str,
    classes: int,
    training_parts: Annotated[str, typer.Option(help="parts that the baselines are fitted on, separated by commas")],
    seed: int,
    spacing_mm: float,
) -> None:
    """Fit the baselines on the training part and apply them where the network is tested."""
    import numpy as np
    import pandas as pd

    from neurocohort.evaluation.baselines import atlas_labels, value_baselines
    from neurocohort.evaluation.segmentation_details import surface_values
    from neurocohort.files import read_table, write_table
    from neurocohort.learning.data import open_packed, packed_folders
    from neurocohort.learning.inference import PREDICTED_PARTS, baseline_rows, overlap_rows, reference_labels

    table = read_table(samples)
    training = table["part"].isin(training_parts.split(",")).to_numpy()
    tested = table["part"].isin(PREDICTED_PARTS).to_numpy()
    packed = open_packed(packed_folders(table, results), modalities.split(","))
    if task == "segmentation":
        atlas = atlas_labels(reference_labels(table[training], packed))
        each = (atlas for _ in range(tested.sum()))
        references = reference_labels(table[tested], packed)
        rows = overlap_rows(table[tested], each, references, spacing_mm, surface_values)
        rows.insert(0, "model", "atlas")
    else:
        qc = pd.concat([read_table(results / name / "qc.tsv") for name in table["cohort"].unique()], ignore_index=True)
        found = value_baselines(
            table,
            qc,
            task,
            training=training,
            target=target,
            images=lambda rows: np.asarray(packed.stack_images(rows)),
            seed=seed,
            classes=classes,
        )
        for name, reason in found.left_out.items():
            print(f"no baseline {name}: {reason}")
        rows = baseline_rows(table, found.predictions, tested)
        for name in found.predictions:
            lacking = set(table["cohort"][tested]) - set(rows["cohort"][rows["model"] == name])
            for cohort in sorted(lacking):
                print(f"no baseline {name} for {cohort}: its scans are in MNI space and have no volumes of their own.")
    write_table(output, rows)


@command
def evaluate(folder: Path, data: Path, task: str, resamples: int, seed: int) -> None:
    """Write the metrics of the network and of the baselines, each with its interval, and the tables beside them, into FOLDER,
    where the experiment's predictions lie."""
    from neurocohort.evaluation.tables import evaluation_tables
    from neurocohort.files import read_table, write_table

    names = ("predictions", "baselines", "members", "samples")
    tables = {name: read_table(folder / f"{name}.tsv") for name in names}
    cohorts = tables["samples"]["cohort"].unique()
    scans = {cohort: read_table(data / cohort / "scans.tsv") for cohort in cohorts}
    for name, table in evaluation_tables(**tables, scans=scans, kind=task, resamples=resamples, seed=seed):
        write_table(folder / f"{name}.tsv", table)


@command
def control(output: Path, task: str, metrics: Files) -> None:
    """Say whether the METRICS of an experiment's controls hold chance within their interval."""
    from neurocohort.evaluation.controls import chance_holds
    from neurocohort.files import read_table, write_json

    write_json(output, chance_holds([read_table(table) for table in metrics], task))


@command
def report(data: Path, results: Path, benchmarks: Path, lock: Path, output: Path, configuration: str) -> None:
    """Write the report. CONFIGURATION is the whole configuration as JSON; NEUROCOHORT_COMMAND holds the run's command."""
    from neurocohort.reporting.report import write_report

    config = json.loads(configuration)
    write_report(
        results=results,
        data=data,
        cohorts=list(config["cohorts"]),
        experiments=config["experiments"],
        study=config["study"],
        demo=config["demo_data"],
        configuration=config,
        command=os.environ.get("NEUROCOHORT_COMMAND", ""),
        lock=lock,
        benchmarks=benchmarks,
        output=output,
    )


@command
def check(configfiles: Files) -> None:
    """Check study files (merged in their order) and say what is wrong with them, with lines where that is known."""
    from neurocohort.configuration import read_checked

    read_checked(configfiles)
    print("The configuration is in order.")


@command
def headline(results: Path, configfiles: Files) -> None:
    """Print each experiment's headline with its interval, its verdict, and where the report lies."""
    from neurocohort.configuration import read_checked
    from neurocohort.reporting.headline import headline as run

    config = read_checked(configfiles)
    print()
    for record in run(results, config["experiments"]):
        print(f"{record['verdict'].upper():5} {record['sentence']}")
    if config["demo_data"]:
        print("\nDEMO DATA, NOT A SCIENTIFIC RESULT")
    print(f"\nThe report: {(results / 'report' / 'index.html').resolve()}")
