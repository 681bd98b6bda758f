"""The subcommands from a source to samples: archives, raw BIDS, preprocessing, split, packs."""

from pathlib import Path
from typing import Annotated

import typer

from neurocohort.cli.app import command


@command
def synthetic(
    source: str,
    folder: Path,
    participants: int,
    seed: int,
    spacing_mm: float,
    modalities: str = "T1w",
    discs: int = 2,
    grey: float = 0.68,
) -> None:
    """Write the archives of a synthetic cohort in the layout of SOURCE (ixi or oasis1)."""
    from neurocohort.synthetic.archives import write_ixi_archives, write_oasis1_archives

    if source == "ixi":
        kinds = tuple(modalities.split(","))
        write_ixi_archives(folder, participants=participants, seed=seed, spacing_mm=spacing_mm, modalities=kinds)
    else:
        write_oasis1_archives(
            folder, participants=participants, seed=seed, spacing_mm=spacing_mm, discs=discs, grey=grey
        )


@command
def download(source: str, key: str, destination: Path, base_url: str = "", stall_seconds: float = 60.0) -> None:
    """Download the file KEY of SOURCE (a name, or a table's path) to DESTINATION, from BASE_URL if given."""
    from neurocohort.sources.download import download as fetch
    from neurocohort.sources.sources import read_source, source_table

    fetch(read_source(source_table(source)).files[key], destination, base=base_url or None, stall_s=stall_seconds)


@command
def ingest(
    folder: Path,
    settings: Annotated[str, typer.Option(help="IngestSettings as JSON")],
    table: Path | None = None,
    archives: Annotated[list[Path] | None, typer.Argument()] = None,
) -> None:
    """Convert a source to the raw BIDS layout in FOLDER: ARCHIVES with their TABLE, or the path in SETTINGS."""
    from neurocohort.settings.ingest import IngestSettings
    from neurocohort.sources.fingerprints import note_sources
    from neurocohort.sources.scan_batches import write_batches

    wanted = IngestSettings.read(settings)
    kinds, place = tuple(wanted.modalities), Path(wanted.path or table or "")
    structures = {one.name: one.values for one in wanted.structures or []}
    if wanted.source == "ixi":
        from neurocohort.sources.ixi import ingest_ixi

        done = ingest_ixi(archives or [], place, folder, modalities=kinds)
    elif wanted.source == "oasis1":
        from neurocohort.sources.oasis1 import ingest_oasis1

        done = ingest_oasis1(archives or [], place, folder)
    elif wanted.source == "bids":
        from neurocohort.sources.bids import ingest_bids

        done = ingest_bids(
            place,
            folder,
            pattern=wanted.pattern,
            run=wanted.run,
            modalities=kinds,
            structures=structures,
            masks=wanted.masks,
        )
    elif wanted.source == "caps":
        from neurocohort.sources.caps import ingest_caps

        labels = wanted.participants_tsv
        done = ingest_caps(place, folder, participants_tsv=labels, run=wanted.run, modalities=kinds)
    else:
        from neurocohort.sources.table import ingest_table

        done = ingest_table(place, folder, modalities=kinds, structures=structures, masks=wanted.masks)
    if wanted.path:
        note_sources(wanted.as_dict(), folder, done.originals)
    write_batches(folder / "batches.tsv", done.contents, wanted.batch_size)


@command
def template(output: Path, spacing_mm: float, shape: tuple[int, int, int], space: str = "template") -> None:
    """Write the template for the study's grid; with SPACE native, the grid alone."""
    from neurocohort.imaging.template import make_native_grid, make_template
    from neurocohort.settings.scan import NATIVE

    make = make_native_grid if space == NATIVE else make_template
    make(output, spacing_mm, shape)


@command
def preprocess_batch(
    data: Path,
    results: Path,
    batch: str,
    template: Path,
    settings: Annotated[str, typer.Option(help="BatchSettings as JSON; another `code` computes every scan again")],
    machine: Annotated[str, typer.Option(help="memory_mb, workers, attempt and attempts of the job, as JSON")],
    weights: Path | None = None,
    registration_network: Path | None = None,
) -> None:
    """Preprocess the scans of one BATCH of the cohort in DATA into RESULTS, except those that are done already."""
    import json

    from neurocohort.imaging.batch import Batch, Machine
    from neurocohort.imaging.batch import preprocess_batch as run
    from neurocohort.settings.preprocessing import BatchSettings

    wanted = BatchSettings.read(settings).as_dict()
    code, output = wanted.pop("code"), results / "preproc_batches" / f"{batch}.tsv"
    given = Batch(data, batch, results / "preproc", output, template, weights, wanted, code, registration_network)
    run(given, Machine(**json.loads(machine)))


@command
def quality(
    data: Path,
    results: Path,
    limits: Annotated[str, typer.Option(help="the keys `quality` of the configuration as JSON")],
) -> None:
    """Collect the records of a cohort's scans in RESULTS into tables of quality, exclusions and notes, exclude scans beyond the
    LIMITS, and describe the dataset of preprocessed scans."""
    from neurocohort.dataset.derivative import write_dataset_files
    from neurocohort.dataset.quality_limits import QualityLimits
    from neurocohort.dataset.quality_table import read_preproc_tables
    from neurocohort.files import write_table
    from neurocohort.imaging.derivatives import FOREGROUND_MASK, MODULATED_GM, SUFFIXES, channel_output, qc_path
    from neurocohort.imaging.scan_record import read_record
    from neurocohort.notes import write_notes
    from neurocohort.settings.quality import Quality

    wanted = QualityLimits(**Quality.read(limits).as_dict())
    qc, excluded, notes = read_preproc_tables(data, results, wanted)
    usable = qc.loc[qc["status"] == "ok", "scan_id"].head(1)  # all scans have tissue maps on the grid, or none has
    records = [read_record(qc_path(results / "preproc", scan)) for scan in usable]
    outputs = {name for record in records for name in record.outputs}
    write_dataset_files(
        results / "preproc",
        data,
        has_labels=bool((qc["has_labels"] == "yes").any()),
        has_tissue_maps=channel_output(SUFFIXES["gm"]) in outputs,
        has_modulated_gm=channel_output(MODULATED_GM) in outputs,
        native=FOREGROUND_MASK in outputs,
    )
    write_table(results / "qc.tsv", qc)
    write_table(results / "exclusions.tsv", excluded)
    write_notes(results / "notes.tsv", notes)


@command
def split(
    scans: Path,
    output: Path,
    cohort: str,
    frozen: Path,
    settings: Annotated[str, typer.Option(help="SplitSettings as JSON")],
    split_file: Path | None = None,
) -> None:
    """Split a cohort by participant, and keep the parts that the folder FROZEN records; or take the parts from SPLIT_FILE."""
    from neurocohort.dataset.frozen_split import freeze, frozen_path, load_frozen
    from neurocohort.dataset.split import split_participants
    from neurocohort.dataset.split_file import read_split_file
    from neurocohort.files import read_table, write_table
    from neurocohort.settings.split import SplitSettings

    table = read_table(scans, required=("participant_id", "session_id", "site"))
    wanted = SplitSettings.read(settings)
    if split_file is not None:
        given = read_split_file(split_file, table, wanted.folds, wanted.test_folds)  # strata and folds if it has none
        write_table(output, split_participants(table, **wanted.as_dict(), frozen=given))
        return
    numbers = wanted.folds, wanted.test_folds
    record = frozen_path(
        frozen,
        cohort,
        validation=wanted.validation,
        held_out=wanted.held_out,
        seed=wanted.seed,
        test_folds=wanted.test_folds,
    )
    found = split_participants(table, **wanted.as_dict(), frozen=load_frozen(record, *numbers))
    freeze(record, found, *numbers)
    write_table(output, found)


@command
def pack(qc: Path, split: Path, pack: str, preproc: Path, folder: Path, channels: str = "T1w") -> None:
    """Pack a cohort's usable scans of one PACK (development or held-out, or a test fold) and their label maps into FOLDER."""
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
    kinds = tuple(channels.split(","))
    write_table(folder / "index.tsv", pack_scans(chosen, preproc, folder / "images.npy", folder / "labels.npy", kinds))
    write_table(folder / "channels.tsv", pd.DataFrame({"channel": range(len(kinds)), "modality": kinds}))


@command
def select(
    data: Path,
    results: Path,
    samples: Path,
    flow: Path,
    settings: Annotated[str, typer.Option(help="SelectionSettings as JSON")],
    conditions: str = "",
    split_files: Annotated[str, typer.Option(help="the files of `split_file` of each cohort, as JSON")] = "{}",
    known: Annotated[Path | None, typer.Option(help="where to write what is known of the scans to train on")] = None,
    trained: Annotated[
        Path | None, typer.Option(help="what was known when the networks that stay were trained")
    ] = None,
    applied: Annotated[Path | None, typer.Option(help="where to write the scans that only get predictions")] = None,
    pretrained: Annotated[
        list[str] | None, typer.Option(help="a pretraining that the experiment starts from: NAME=its training samples")
    ] = None,
    unlabelled: Annotated[
        Path | None, typer.Option(help="scans that the experiment learns from without labels")
    ] = None,
) -> None:
    """Select an experiment's samples from its cohorts and, tested but never trained on, its external ones. With TRAINED, scans
    that were added since are not trained on. Nobody who is tested may be in the samples of PRETRAINED, or in UNLABELLED."""
    import json

    import pandas as pd

    from neurocohort.dataset.auxiliary import with_auxiliary
    from neurocohort.dataset.class_values import listed_classes
    from neurocohort.dataset.controls import shuffled_by_test_fold
    from neurocohort.dataset.leakage import check_no_leakage, check_unlabelled, check_unseen
    from neurocohort.dataset.runs import test_fold_of
    from neurocohort.dataset.samples import development_samples, read_cohort_tables, samples_without_value
    from neurocohort.dataset.samples import select_samples as run
    from neurocohort.dataset.sites import without_site
    from neurocohort.dataset.subsets import LEARNING_CURVE, of_record, with_participants
    from neurocohort.dataset.trained_scans import (
        known_scans,
        read_record,
        record_of,
        without_added,
        write_record,
    )
    from neurocohort.files import read_table, write_table
    from neurocohort.settings.selection import SelectionSettings

    wanted = SelectionSettings.read(settings)
    tables = read_cohort_tables(data, results, [*wanted.cohorts, *wanted.external])
    groups = [[str(value).strip() for value in values] for values in listed_classes(wanted.classes or [])]
    query = {"task": wanted.task, "target": wanted.target, "query": wanted.filter}
    selected, steps = run(tables, wanted.external, **query, classes=groups, test_folds=wanted.test_folds)
    if wanted.left_out_site:
        selected = without_site(selected, wanted.left_out_site)
    only_predicted = samples_without_value(tables, wanted.external, **query, classes=groups)
    if trained:
        record = read_record(trained)
        if number := wanted.own_participants:  # the scans of others aren't added ones
            selected, steps = of_record(selected, steps, number, record, wanted.drawn_for or LEARNING_CURVE)
        selected, steps, added = without_added(selected, steps, record)
        only_predicted = pd.concat([added, only_predicted], ignore_index=True)
    else:
        if number := wanted.own_participants:
            key = wanted.drawn_for or LEARNING_CURVE
            selected, steps = with_participants(selected, steps, number, wanted.participants_seed, key)
        now = known_scans(data, wanted.cohorts, json.loads(split_files))
        record = record_of(selected, now, conditions)
    for name, _, path in (one.partition("=") for one in pretrained or ()):
        learned = read_table(Path(path), ("participant_id", "voxels_sha256"))
        check_unseen(selected, learned, name, test_fold_of(Path(path).parent.name))
    if unlabelled:
        check_unlabelled(selected, read_table(unlabelled, ("participant_id", "voxels_sha256")))
    if wanted.shuffle_seed is not None:
        selected = shuffled_by_test_fold(selected, wanted.shuffle_seed)
    if wanted.development:
        selected = development_samples(selected, wanted.test_fold)
    if wanted.auxiliary:
        selected = with_auxiliary(selected, {name: table["scans"] for name, table in tables.items()}, wanted.auxiliary)
    if applied:
        check_no_leakage(pd.concat([selected, only_predicted.drop(columns="reason")], ignore_index=True))
        write_table(applied, only_predicted)
    if known:
        write_record(known, record)
    write_table(samples, selected)
    write_table(flow, steps)
