"""The commands that people type to apply a trained model to their own scans."""

from pathlib import Path
from typing import Annotated

import typer

from neurocohort.cli.app import Names, command

DEVICES = ("auto", "cpu", "cuda")


@command
def predict(
    scans: Annotated[
        list[Path] | None, typer.Argument(help="T1-weighted images: .nii.gz, .nii, or Analyze pairs")
    ] = None,
    model: Annotated[Path, typer.Option(help="a bundle, such as results/models/brain_age")] = ...,  # type: ignore[assignment]
    output: Annotated[Path, typer.Option(help="the folder for tables, pages and images")] = ...,  # type: ignore[assignment]
    table: Annotated[
        Path | None,
        typer.Option(help="instead of SCANS: a TSV file with the column path, and where known age, sex, site"),
    ] = None,
    age: Annotated[float | None, typer.Option(help="age in years, of one scan")] = None,
    sex: Annotated[str | None, typer.Option(help="sex as the training cohorts have it (F, M), of one scan")] = None,
    site: Annotated[str | None, typer.Option(help="site of the scans")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="give flagged scans no prediction")] = False,
    device: Annotated[
        str, typer.Option(help="auto, cpu, or cuda, which also finds the brain mask on the GPU")
    ] = "auto",
    orientation: Annotated[
        str, typer.Option(help="of images that don't state it: where their axes lead to, such as RAS")
    ] = "",
    skull_stripped: Annotated[bool, typer.Option("--skull-stripped", help="the scans have no skull")] = False,
    mni_space: Annotated[bool, typer.Option("--mni-space", help="the scans are in MNI space already")] = False,
    synthstrip_weights: Annotated[
        Path | None, typer.Option(help="SynthStrip's weights, for models whose study used it")
    ] = None,
) -> None:
    """Apply a trained model to your own scans: a prediction with its interval, quality numbers, a picture and a page for each.

    A scan that differs from the training scans is flagged, with the reason in words. Exits with 1 if no scan has a prediction.
    """
    from neurocohort.apply.images import check_orientation
    from neurocohort.apply.one_scan import Options
    from neurocohort.apply.outcomes import Outcome
    from neurocohort.apply.predict import predict_scans
    from neurocohort.apply.results import line
    from neurocohort.apply.scans import scans_from_paths, scans_from_table
    from neurocohort.errors import InputError

    if device not in DEVICES:
        raise InputError(f"--device is {device!r}; expected auto, cpu or cuda.")
    if table and (scans or age is not None or sex or site):
        raise InputError(
            "--table has the scans with their age, sex and site: give no SCANS, --age, --sex or --site with it."
        )
    chosen = scans_from_table(table) if table else scans_from_paths(scans or [], age=age, sex=sex, site=site)
    options = Options(
        strict, check_orientation(orientation) if orientation else "", skull_stripped, mni_space, synthstrip_weights
    )

    def shown(outcome: Outcome) -> None:
        print(line(outcome), flush=True)

    outcomes = predict_scans(model, chosen, output, options, device, shown)
    print(f"{output / 'index.html'}")
    if not any(outcome.predicted for outcome in outcomes):
        raise typer.Exit(1)


@command
def serve(
    model: Annotated[Path, typer.Option(help="a bundle, such as results/models/brain_age")] = ...,  # type: ignore[assignment]
    port: Annotated[int, typer.Option(help="the port; 0 for any free one")] = 7860,
    host: Annotated[
        str, typer.Option(help="the address to listen on; any but the default lets other machines in")
    ] = "127.0.0.1",
    max_mb: Annotated[float, typer.Option(help="the largest file and its largest unpacked size, in MB")] = 500,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto")] = "cpu",
    synthstrip_weights: Annotated[
        Path | None, typer.Option(help="SynthStrip's weights, for models whose study used it")
    ] = None,
) -> None:
    """Open a local page that applies a trained model to one uploaded scan at a time. Uploads are deleted.

    Needs the packages starlette and uvicorn. For research only, not a medical device.
    """
    from neurocohort.errors import InputError
    from neurocohort.serving.server import serve as serve_page
    from neurocohort.serving.worker import Given

    if device not in DEVICES:
        raise InputError(f"--device is {device!r}; expected auto, cpu or cuda.")
    serve_page(Given(model, device, synthstrip_weights, Path()), host, port, max_mb)


@command
def apply_model(
    bundle: Path,
    data: Path,
    results: Path,
    template: Path,
    folder: Path,
    settings: Annotated[str, typer.Option(help="ApplySettings as JSON")],
    device: str,
    cohorts: Names,
) -> None:
    """Apply the BUNDLE of another study to the preprocessed scans of the COHORTS: write predictions.tsv with flags, metrics.tsv,
    notes.tsv and model.json, which describes the model, into FOLDER."""
    from neurocohort.apply.bundles import open_bundle
    from neurocohort.apply.cohorts import CohortScans, check_template, metrics_of, notes_of, predictions_of
    from neurocohort.apply.results import model_record
    from neurocohort.device import choose_device
    from neurocohort.evaluation.intervals import Bootstrap
    from neurocohort.files import read_table, sha256_of, write_json, write_table
    from neurocohort.notes import write_notes
    from neurocohort.settings.models import ApplySettings
    from neurocohort.study.applied_models import bundle_files

    wanted, opened = ApplySettings.read(settings), open_bundle(bundle, choose_device(device))
    check_template(opened, template)
    target = wanted.target or opened.target
    tables = {
        name: CohortScans(
            read_table(data / name / "scans.tsv"), read_table(results / name / "qc.tsv"), results / name / "preproc"
        )
        for name in cohorts
    }
    predictions = predictions_of(opened, tables, target)
    hashes = {str(Path(path).relative_to(bundle)): sha256_of(Path(path)) for path in bundle_files(bundle)}
    write_json(folder / "model.json", model_record(opened) | {"true_values": target, "sha256": hashes})
    write_table(folder / "predictions.tsv", predictions)
    write_table(folder / "metrics.tsv", metrics_of(opened, predictions, Bootstrap(wanted.resamples, wanted.seed)))
    write_notes(folder / "notes.tsv", notes_of(opened, predictions, target))
