"""The command line: one subcommand a rule. Each reads its files, calls plain functions, and writes what they return.

Imports stand inside the subcommands: each starts as fast as its own work allows, and the content hash of a rule covers
the modules behind its own subcommand alone.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, get_origin

# Sums over threads change the last bits with their number. Parallelism is over jobs; training sets its own threads.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ[_name] = "1"

import typer  # noqa: E402

from neurocohort.errors import InputError  # noqa: E402

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__.split("\n")[0]
)
Files = Annotated[list[Path], typer.Argument()]
Names = Annotated[list[str], typer.Argument()]


def command(function: Callable) -> Callable:
    """Make ``function`` a subcommand whose parameters are named options, unless they say that they are positional."""
    for name, hint in function.__annotations__.items():
        if name != "return" and get_origin(hint) is not Annotated:
            function.__annotations__[name] = Annotated[hint, typer.Option()]
    return app.command()(function)


@command
def phantom(
    source: str, folder: Path, participants: int, seed: int, spacing_mm: float, modalities: str = "T1w"
) -> None:
    """Write the archives of a synthetic cohort in the layout of SOURCE (ixi or oasis1)."""
    from neurocohort.cohorts.phantom_archives import write_ixi_archives, write_oasis1_archives

    if source == "ixi":
        kinds = tuple(modalities.split(","))
        write_ixi_archives(folder, participants=participants, seed=seed, spacing_mm=spacing_mm, modalities=kinds)
    else:
        write_oasis1_archives(folder, participants=participants, seed=seed, spacing_mm=spacing_mm)


@command
def download(source_table: Path, key: str, destination: Path, base_url: str = "", stall_seconds: float = 60.0) -> None:
    """Bring the file KEY of a source to DESTINATION, resumed and checked; from BASE_URL instead of the published hosts."""
    from neurocohort.cohorts.download import download as fetch
    from neurocohort.cohorts.sources import read_source

    file = read_source(source_table).files[key]
    published = not base_url  # a copy of one's own may differ: its first sight is recorded instead
    fetch(
        list(file.addresses(base_url or None)),
        destination,
        size_bytes=file.size_bytes if published else None,
        md5=file.md5 if published else None,
        sha256=file.sha256,
        magic=file.magic,
        checksums_record=destination.parent / "checksums.tsv",
        stall_s=stall_seconds,
    )


@command
def ingest(
    source: str,
    folder: Path,
    table: Path | None = None,
    path: Path | None = None,
    pattern: str = "*_T1w.nii*",
    run: str = "first",
    modalities: str = "T1w",
    archives: Annotated[list[Path] | None, typer.Argument()] = None,
) -> None:
    """Turn a source into the raw BIDS layout under FOLDER: ARCHIVES with their TABLE, or what lies at PATH."""
    kinds = tuple(modalities.split(","))
    if source == "ixi":
        from neurocohort.cohorts.ixi import ingest_ixi

        ingest_ixi(archives or [], table, folder, modalities=kinds)
    elif source == "oasis1":
        from neurocohort.cohorts.oasis1 import ingest_oasis1

        ingest_oasis1(archives or [], table, folder)
    elif source == "bids":
        from neurocohort.cohorts.bids import ingest_bids

        ingest_bids(path, folder, pattern=pattern, run=run, modalities=kinds)
    else:
        from neurocohort.cohorts.table import ingest_table

        ingest_table(path, folder, modalities=kinds)


@command
def template(output: Path, spacing_mm: float, shape: tuple[int, int, int]) -> None:
    """Write the template for the study's grid."""
    from neurocohort.imaging.template import make_template

    make_template(output, spacing_mm, shape)


@command
def preprocess(
    scan: Path,
    scan_id: str,
    template: Path,
    folder: Path,
    brain_extraction: str,
    registration: str,
    intensity: str,
    min_template_dice: float,
    min_mutual_information: float,
    min_brain_ml: float,
    max_brain_ml: float,
    max_mask_border_cm2: float,
    seed: int,
    labels: Path | None = None,
    labels_reference: Path | None = None,
    further: Annotated[list[str] | None, typer.Option(help="MODALITY=FILE, such as T2w=scan_T2w.nii.gz")] = None,
    skull_stripped: bool = False,
    mni_space: bool = False,
    weights: Path | None = None,
    device: str = "cpu",
) -> None:
    """Preprocess one scan, and what else its session has, into FOLDER."""
    import torch

    from neurocohort.imaging.preprocess import Settings, preprocess_scan
    from neurocohort.imaging.template import read_template
    from neurocohort.learning.device import choose_device

    torch.set_num_threads(1)
    settings = Settings(
        intensity,
        min_template_dice,
        min_mutual_information,
        (min_brain_ml, max_brain_ml),
        seed,
        most_border_cm2=max_mask_border_cm2,
        registration=registration,
        brain_extraction=brain_extraction,
        weights=weights,
        device=choose_device(device).type,
        skull_stripped=skull_stripped,
        mni_space=mni_space,
    )
    record = preprocess_scan(
        scan,
        folder,
        scan_id,
        read_template(template),
        settings,
        labels_path=labels,
        labels_reference_path=labels_reference,
        further={name: Path(file) for name, _, file in (entry.partition("=") for entry in further or [])},
    )
    print(f"{scan_id}: {record['status']}" + (f" at {record['stage']}: {record['reason']}" if record["reason"] else ""))


@command
def quality(
    scans: Path, exclusions: Path, preproc: Path, qc_output: Path, exclusions_output: Path, max_outlier_z: float
) -> None:
    """Collect the quality records of a cohort's scans into its quality and exclusions tables."""
    from neurocohort.dataset.quality_table import read_preproc_tables
    from neurocohort.files import write_table

    qc, excluded = read_preproc_tables(scans, exclusions, preproc, max_outlier_z)
    write_table(qc_output, qc)
    write_table(exclusions_output, excluded)


@command
def split(
    scans: Path,
    output: Path,
    cohort: str,
    frozen: Path,
    validation: float,
    held_out: float,
    folds: int,
    seed: int,
    class_column: str,
    split_file: Path | None = None,
) -> None:
    """Split a cohort by participant, around those whose part the folder FROZEN records; or take it from SPLIT_FILE."""
    from neurocohort.dataset.frozen_split import freeze, frozen_path, load_frozen
    from neurocohort.dataset.split import split_participants
    from neurocohort.dataset.split_file import read_split_file
    from neurocohort.files import read_table, write_table

    table = read_table(scans, required=("participant_id", "session_id", "site"))
    settings = {"validation": validation, "held_out": held_out, "seed": seed}
    if split_file is not None:
        given = read_split_file(split_file, table, folds)  # its parts, and strata and folds where it has none
        write_table(output, split_participants(table, **settings, folds=folds, frozen=given, class_column=class_column))
        return
    record = frozen_path(frozen, cohort, **settings)
    earlier = load_frozen(record, folds)
    found = split_participants(table, **settings, folds=folds, frozen=earlier, class_column=class_column)
    freeze(record, found, folds)
    write_table(output, found)


@command
def pack(
    qc: Path, preproc: Path, images: Path, labels: Path, index: Path, channels: Path, modalities: str = "T1w"
) -> None:
    """Pack a cohort's usable scans into one array, and its label maps into another."""
    import pandas as pd

    from neurocohort.dataset.pack import pack_cohort
    from neurocohort.files import read_table, write_table

    kinds = tuple(modalities.split(","))
    table = read_table(qc, required=("scan_id", "status"))
    write_table(index, pack_cohort(table, preproc, images, labels, kinds))
    write_table(channels, pd.DataFrame({"channel": range(len(kinds)), "modality": kinds}))


@command
def select(
    data: Path,
    results: Path,
    samples: Path,
    flow: Path,
    task: str,
    target: str,
    cohorts: Names,
    query: str = "",
    external: Annotated[list[str] | None, typer.Option()] = None,
    classes: Annotated[list[str] | None, typer.Option(help="the negative class, then the positive one")] = None,
) -> None:
    """Select an experiment's samples from COHORTS and, tested but never trained on, the EXTERNAL ones."""
    from neurocohort.dataset.samples import SCAN_COLUMNS, select_samples
    from neurocohort.files import read_table, write_table

    external = external or []
    tables = {
        name: {
            "scans": read_table(data / name / "scans.tsv", SCAN_COLUMNS),
            "qc": read_table(results / name / "qc.tsv"),
            "split": read_table(results / name / "split.tsv", ("participant_id", "part", "fold")),
            "index": read_table(results / name / "packed" / "index.tsv", ("row", "scan_id", "has_labels")),
        }
        for name in [*cohorts, *external]
    }
    selected, steps = select_samples(tables, external, task=task, target=target, query=query, classes=classes)
    write_table(samples, selected)
    write_table(flow, steps)


@command
def train(
    samples: Path,
    results: Path,
    folder: Path,
    checkpoints: Path,
    task: str,
    modalities: str,
    network: str,
    channels: str,
    dropout: float,
    norm: str,
    soft_bins: bool,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    patience: int,
    seed: int,
    threads: int,
    device: str,
    code: str,
) -> None:
    """Train one network into FOLDER; go on from its checkpoint, if a run of the very same job left one."""
    import hashlib

    from neurocohort.dataset.leakage import check_no_leakage
    from neurocohort.files import read_table, sha256_of
    from neurocohort.learning.checkpoint import INTERRUPTED_EXIT_CODE
    from neurocohort.learning.data import open_packed
    from neurocohort.learning.device import choose_device
    from neurocohort.learning.model_files import write_model
    from neurocohort.learning.training import Interrupted, TrainingSettings
    from neurocohort.learning.training import train as run

    table = read_table(samples, required=("scan_id", "part", "target", "cohort", "row"))
    check_no_leakage(table)  # here too: the table may have been edited by hand
    folders = {name: results / name / "packed" for name in table["cohort"].unique()}
    widths = [int(width) for width in channels.split(",") if width]
    inputs = modalities.split(",")
    settings = TrainingSettings(
        inputs,
        network,
        widths or None,
        dropout,
        norm,
        soft_bins,
        epochs,
        batch_size,
        learning_rate,
        patience,
        seed,
        threads,
    )
    files = [samples, *(folders[name] / f"{kind}.npy" for name in sorted(folders) for kind in ("images", "labels"))]
    depends_on = [code, task, repr(settings), device, *(sha256_of(file) for file in files)]
    key = hashlib.sha256("\n".join(depends_on).encode()).hexdigest()[:20]
    checkpoint = checkpoints / f"{key}.pt"
    chosen = choose_device(device)
    try:
        trained = run(table, open_packed(folders, inputs), task, settings, device=chosen, checkpoint=checkpoint)
    except Interrupted as interrupted:
        print(interrupted, file=sys.stderr)
        raise typer.Exit(INTERRUPTED_EXIT_CODE) from interrupted
    write_model(folder, trained, settings, chosen)
    checkpoint.unlink(missing_ok=True)


@command
def predict(samples: Path, results: Path, model: Path, output: Path, voxel_ml: float, device: str) -> None:
    """Apply a trained model to the validation, held-out and external samples."""
    import numpy as np

    from neurocohort.dataset.leakage import check_no_leakage
    from neurocohort.files import read_table, write_table
    from neurocohort.learning.data import open_packed
    from neurocohort.learning.device import choose_device
    from neurocohort.learning.inference import PREDICTED_PARTS, overlap_rows, value_rows
    from neurocohort.learning.inference import predict as run
    from neurocohort.learning.model_files import read_model

    chosen = choose_device(device)
    network, task, settings = read_model(model, chosen)
    table = read_table(samples)
    check_no_leakage(table)
    table = table[table["part"].isin(PREDICTED_PARTS)].reset_index(drop=True)
    folders = {name: results / name / "packed" for name in table["cohort"].unique()}
    packed = open_packed(folders, settings["settings"]["modalities"])
    predictions = run(network, task, settings, table, packed, chosen)
    if task.kind == "segmentation":
        rows = overlap_rows(table, predictions, np.asarray(packed.stack_labels(table)), voxel_ml)
    else:
        rows = value_rows(table, predictions)
    write_table(output, rows)


@command
def ensemble(output: Path, members: Files) -> None:
    """Average the predictions of an experiment's members (its seeds)."""
    from neurocohort.files import read_table, write_table
    from neurocohort.learning.inference import average_members

    write_table(output, average_members([read_table(member) for member in members]))


@command
def baselines(samples: Path, results: Path, output: Path, task: str, voxel_ml: float) -> None:
    """Fit the baselines on the training part and apply them where the network is tested."""
    import numpy as np
    import pandas as pd

    from neurocohort.evaluation.baselines import atlas_labels, value_baselines
    from neurocohort.files import read_table, write_table
    from neurocohort.learning.data import open_packed
    from neurocohort.learning.inference import PREDICTED_PARTS, overlap_rows, value_rows

    table = read_table(samples)
    cohorts = list(table["cohort"].unique())
    tested = table["part"].isin(PREDICTED_PARTS).to_numpy()
    if task == "segmentation":
        packed = open_packed({name: results / name / "packed" for name in cohorts}, ["T1w"])
        atlas = atlas_labels(np.asarray(packed.stack_labels(table[table["part"] == "train"])))
        reference = np.asarray(packed.stack_labels(table[tested]))
        rows = overlap_rows(table[tested], np.broadcast_to(atlas, reference.shape), reference, voxel_ml)
        rows.insert(0, "model", "atlas")
    else:
        qc = pd.concat([read_table(results / name / "qc.tsv") for name in cohorts], ignore_index=True)
        found = value_baselines(table, qc, task)
        rows = pd.concat(
            [value_rows(table[tested], values[tested]).assign(model=name) for name, values in found.items()]
        )
        rows.insert(0, "model", rows.pop("model"))
    write_table(output, rows)


@command
def evaluate(predictions: Path, baselines: Path, output: Path, task: str, resamples: int, seed: int) -> None:
    """Write the metrics of the network and of the baselines, each with its interval."""
    from neurocohort.evaluation.evaluate import evaluate as run
    from neurocohort.files import read_table, write_table

    tables = read_table(predictions), read_table(baselines)
    write_table(output, run(*tables, task, resamples=resamples, seed=seed))


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


def main() -> None:
    """Run the command line; what the user can mend ends as one sentence, not as a traceback."""
    try:
        app()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        _show_where_snakemake_runs(f"error in {sys.argv[1]}: {error}\n")
        sys.exit(2)


def _show_where_snakemake_runs(message: str) -> None:
    """Write to the descriptor that the rules keep open for this, since their log has standard error."""
    descriptor = os.environ.get("NEUROCOHORT_MESSAGES", "")
    if descriptor:
        with contextlib.suppress(OSError, ValueError):
            os.write(int(descriptor), message.encode())
