"""The subcommands that take a cohort from its source to samples: archives, raw BIDS, preprocessing, split, packs."""

from pathlib import Path
from typing import Annotated

import typer

from neurocohort.cli.app import Names, command


@command
def synthetic(
    source: str, folder: Path, participants: int, seed: int, spacing_mm: float, modalities: str = "T1w", discs: int = 2
) -> None:
    """Write the archives of a synthetic cohort in the layout of SOURCE (ixi or oasis1)."""
    from neurocohort.synthetic.archives import write_ixi_archives, write_oasis1_archives

    if source == "ixi":
        kinds = tuple(modalities.split(","))
        write_ixi_archives(folder, participants=participants, seed=seed, spacing_mm=spacing_mm, modalities=kinds)
    else:
        write_oasis1_archives(folder, participants=participants, seed=seed, spacing_mm=spacing_mm, discs=discs)


@command
def download(source: str, key: str, destination: Path, base_url: str = "", stall_seconds: float = 60.0) -> None:
    """Bring the file KEY of SOURCE (a name, or a table's path) to DESTINATION, resumed and checked; from BASE_URL if given."""
    from neurocohort.sources.download import download as fetch
    from neurocohort.sources.sources import read_source, source_table

    fetch(read_source(source_table(source)).files[key], destination, base=base_url or None, stall_s=stall_seconds)


@command
def ingest(
    source: str,
    folder: Path,
    batch_size: int,
    table: Path | None = None,
    path: Path | None = None,
    pattern: str = "*_T1w.nii*",
    run: str = "first",
    modalities: str = "T1w",
    archives: Annotated[list[Path] | None, typer.Argument()] = None,
) -> None:
    """Turn a source into the raw BIDS layout under FOLDER: ARCHIVES with their TABLE, or what lies at PATH."""
    from neurocohort.sources.fingerprints import note_sources
    from neurocohort.sources.scan_batches import write_batches

    kinds = tuple(modalities.split(","))
    if source == "ixi":
        from neurocohort.sources.ixi import ingest_ixi

        done = ingest_ixi(archives or [], table, folder, modalities=kinds)
    elif source == "oasis1":
        from neurocohort.sources.oasis1 import ingest_oasis1

        done = ingest_oasis1(archives or [], table, folder)
    elif source == "bids":
        from neurocohort.sources.bids import ingest_bids

        done = ingest_bids(path, folder, pattern=pattern, run=run, modalities=kinds)
    else:
        from neurocohort.sources.table import ingest_table

        done = ingest_table(path, folder, modalities=kinds)
    if path is not None:
        note_sources(path, folder, done.originals)
    write_batches(folder / "batches.tsv", done.contents, batch_size)


@command
def template(output: Path, spacing_mm: float, shape: tuple[int, int, int]) -> None:
    """Write the template for the study's grid."""
    from neurocohort.imaging.template import make_template

    make_template(output, spacing_mm, shape)


@command
def preprocess_batch(
    data: Path,
    batch: str,
    preproc: Path,
    output: Path,
    template: Path,
    settings: Annotated[
        str, typer.Option(help="JSON: brain_extraction, registration, intensity, seed, device and so on")
    ],
    code: Annotated[
        str,
        typer.Option(help="hash of the code behind a scan; a new one computes all again"),
    ],
    memory_mb: int,
    weights: Path | None = None,
    workers: Annotated[int, typer.Option(help="scans that are preprocessed at a time")] = 1,
    attempt: int = 1,
    attempts: int = 1,
) -> None:
    """Preprocess the scans of one BATCH of the cohort at DATA into PREPROC, but for those that are done already."""
    import json

    from neurocohort.imaging.batch import Batch, Machine
    from neurocohort.imaging.batch import preprocess_batch as run

    given = Batch(data, batch, preproc, output, template, weights, json.loads(settings), code)
    run(given, Machine(memory_mb, workers, attempt, attempts))


@command
def quality(
    data: Path,
    results: Path,
    qc_output: Path,
    exclusions_output: Path,
    notes_output: Path,
    limits: Annotated[str, typer.Option(help="JSON: the block `quality` of the configuration")],
) -> None:
    """Collect the records of a cohort's scans into its tables of quality, exclusions and notes, exclude those beyond the LIMITS,
    and describe the dataset of the preprocessed scans."""
    import json

    from neurocohort.dataset.derivative import write_dataset_files
    from neurocohort.dataset.quality_limits import QualityLimits
    from neurocohort.dataset.quality_table import read_preproc_tables
    from neurocohort.files import write_table
    from neurocohort.notes import write_notes

    qc, excluded, notes = read_preproc_tables(data, results, QualityLimits(**json.loads(limits)))
    write_dataset_files(results / "preproc", data, has_labels=bool((qc["has_labels"] == "yes").any()))
    write_table(qc_output, qc)
    write_table(exclusions_output, excluded)
    write_notes(notes_output, notes)


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
def pack(qc: Path, split: Path, pack: str, preproc: Path, folder: Path, modalities: str = "T1w") -> None:
    """Pack a cohort's usable scans of one PACK (development or held-out) and their label maps into FOLDER."""
    import pandas as pd

    from neurocohort.dataset.pack import pack_scans
    from neurocohort.dataset.packs import packed_scans
    from neurocohort.errors import InputError
    from neurocohort.files import read_table, write_table

    table = read_table(qc, required=("scan_id", "participant_id", "status"))
    if not (table["status"] == "ok").any():
        raise InputError(
            f"no scan under {preproc} passed preprocessing: see the reasons in {qc.parent / 'exclusions.tsv'}."
        )
    packed = packed_scans(table, read_table(split, required=("participant_id", "part")))
    chosen = packed.loc[packed["pack"] == pack, "scan_id"].tolist()
    kinds = tuple(modalities.split(","))
    write_table(folder / "index.tsv", pack_scans(chosen, preproc, folder / "images.npy", folder / "labels.npy", kinds))
    write_table(folder / "channels.tsv", pd.DataFrame({"channel": range(len(kinds)), "modality": kinds}))


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
    classes: Annotated[list[str] | None, typer.Option(help="a class, its values joined by |; negative first")] = None,
    shuffle_seed: Annotated[int | None, typer.Option(help="permute the targets trained on: a control")] = None,
    leave_out_site: Annotated[str, typer.Option(help="test on this site's participants, and train on none")] = "",
    development: Annotated[bool, typer.Option(help="write the rows that training may see, and no other")] = False,
) -> None:
    """Select an experiment's samples from COHORTS and, tested but never trained on, the EXTERNAL ones."""
    from neurocohort.dataset.controls import shuffle_targets
    from neurocohort.dataset.packs import DEVELOPMENT
    from neurocohort.dataset.samples import SCAN_COLUMNS, select_samples
    from neurocohort.dataset.sites import without_site
    from neurocohort.dataset.targets import read_classes
    from neurocohort.files import read_table, write_table

    external = external or []
    tables = {
        name: {
            "scans": read_table(data / name / "scans.tsv", SCAN_COLUMNS),
            "qc": read_table(results / name / "qc.tsv", ("scan_id", "participant_id", "status", "has_labels")),
            "split": read_table(results / name / "split.tsv", ("participant_id", "part", "fold")),
        }
        for name in [*cohorts, *external]
    }
    groups = read_classes(classes or [])
    selected, steps = select_samples(tables, external, task=task, target=target, query=query, classes=groups)
    if leave_out_site:
        selected = without_site(selected, leave_out_site)
    if shuffle_seed is not None:
        selected = shuffle_targets(selected, shuffle_seed)
    if development:
        selected = selected[(selected["pack"] == DEVELOPMENT) & (selected["part"] != "external")]
    write_table(samples, selected)
    write_table(flow, steps)
