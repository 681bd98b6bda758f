"""The command of the BIDS App: trained models applied to a BIDS dataset, with the arguments of the BIDS Apps' convention."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperCommand

from neurocohort.cli.app import app

if TYPE_CHECKING:
    from neurocohort.apply.bids_app.participants import Request
    from neurocohort.apply.bids_app.scans import Dataset
    from neurocohort.apply.one_scan import Options

PARTICIPANT, GROUP = "participant", "group"
ARGUMENTS = 3  # positional
LISTS = ("--model", "--participant-label", "--participant_label", "--session-label", "--session_label")


class WithLists(TyperCommand):
    """A command some of whose options take several values, as in other BIDS Apps: ``--participant-label 01 02``."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Repeat the option for each of its values, which click expects."""
        flags = {name for one in self.params if getattr(one, "is_flag", False) for name in one.opts}
        return super().parse_args(ctx, repeated(args, flags))


def repeated(args: Sequence[str], flags: Container[str]) -> list[str]:
    """``--participant-label 01 02`` as ``--participant-label 01 --participant-label 02``.

    Only after all positional arguments, since an option before them would take them as its values. ``flags``: options without
    a value.
    """
    made: list[str] = []
    option, has_value, arguments = "", True, 0
    for word in args:
        if word.startswith("-"):
            option, equals, _ = word.partition("=")
            has_value = bool(equals) or option in flags
        elif not has_value:
            has_value = True
        elif option in LISTS and arguments >= ARGUMENTS:
            made.append(option)
        else:
            arguments += 1
        made.append(word)
    return made


@app.command(cls=WithLists)
def bids(
    bids_dir: Annotated[Path, typer.Argument(help="the BIDS dataset")],
    output_dir: Annotated[Path, typer.Argument(help="the folder of the derivative dataset")],
    analysis_level: Annotated[str, typer.Argument(help="participant, or group after all participants")],
    model: Annotated[
        list[Path] | None, typer.Option(help="a bundle, such as results/models/brain_age; or several")
    ] = None,
    participant_label: Annotated[
        list[str] | None,
        typer.Option("--participant-label", "--participant_label", help="participants, with or without sub-"),
    ] = None,
    session_label: Annotated[
        list[str] | None,
        typer.Option("--session-label", "--session_label", help="sessions, with or without ses-"),
    ] = None,
    run: Annotated[str, typer.Option(help="of several images of a session: first, last or all")] = "first",
    skip_bids_validation: Annotated[
        bool,
        typer.Option(
            "--skip-bids-validation", "--skip_bids_validation", "--skip_bids_validator", help="don't run the validator"
        ),
    ] = False,
    work_dir: Annotated[
        Path | None, typer.Option("-w", "--work-dir", "--work_dir", help="the folder for temporary files")
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, or cuda, which also finds the brain mask on the GPU")
    ] = "auto",
    strict: Annotated[bool, typer.Option("--strict", help="give flagged scans no prediction")] = False,
    synthstrip_weights: Annotated[
        Path | None, typer.Option(help="SynthStrip's weights, for models whose study used it")
    ] = None,
) -> None:
    """Apply trained models to a BIDS dataset, as a BIDS App.

    After the arguments, --model and the options for labels take several values. Without --model, all
    bundles in the folder of the environment variable NEUROCOHORT_MODELS are used. Exits with 1 if no scan has a prediction.
    """
    from neurocohort.apply.bids_app.participants import Request
    from neurocohort.apply.bids_app.scans import Selection
    from neurocohort.apply.bids_app.validation import validate
    from neurocohort.apply.one_scan import Options
    from neurocohort.errors import InputError

    for name, value, accepted in (
        ("analysis_level", analysis_level, (PARTICIPANT, GROUP)),
        ("--device", device, ("auto", "cpu", "cuda")),
        ("--run", run, ("first", "last", "all")),
    ):
        if value not in accepted:
            raise InputError(f"{name} is {value!r}; expected {' or '.join(accepted)}.")
    selection = Selection(participant_label or (), session_label or ())
    request = Request(bids_dir, output_dir, model or _models_of_environment(), selection, run)
    if work_dir:
        work_dir.mkdir(parents=True, exist_ok=True)
        tempfile.tempdir = str(work_dir.resolve())
    if not skip_bids_validation:
        print(validate(bids_dir), flush=True)
    options = Options(strict=strict, weights=synthstrip_weights)
    finished = _collect(request, options, device) if analysis_level == GROUP else _apply(request, options, device)
    if not finished:
        raise typer.Exit(1)


def _models_of_environment() -> list[Path]:
    """The bundles in the folder NEUROCOHORT_MODELS, which a container has."""
    folder = os.environ.get("NEUROCOHORT_MODELS", "")
    return sorted(path for path in Path(folder).glob("*/") if path.is_dir()) if folder else []


def _apply(request: Request, options: Options, device: str) -> bool:
    from neurocohort.apply.bids_app.participants import apply_models
    from neurocohort.apply.results import line

    shown: set[str] = set()

    def found(dataset: Dataset) -> None:
        places = ["_".join(filter(None, (one.participant_id, one.session_id))) for one in dataset.left_out]
        lines = [f"{place}: left out: {one.reason}" for place, one in zip(places, dataset.left_out, strict=True)]
        for text in [*lines, *(f"note: {note.shown}" for note in dataset.notes)]:
            if text not in shown:  # every model has the same
                print(text)
            shown.add(text)

    predicted = apply_models(request, options, device, lambda outcome: print(line(outcome), flush=True), found)
    print(f"{predicted} predictions are in {request.output}.")
    return predicted > 0


def _collect(request: Request, options: Options, device: str) -> bool:
    from neurocohort.apply.bids_app.group import LEFT_OUT, MISSING, collect
    from neurocohort.apply.bids_app.layout import GROUP_TABLE, REPORTS
    from neurocohort.apply.bids_app.participants import open_models
    from neurocohort.apply.outcomes import PREDICTED
    from neurocohort.text import counted, few

    models = open_models(request.models, options, device) if request.models else []
    groups = collect(request, models)
    for group in groups:
        print(f"{group.model['experiment']}: {counted(len(group.rows_of(PREDICTED)), 'scan')} with a prediction.")
        for status in (MISSING, LEFT_OUT):
            rows = group.rows_of(status)
            names = rows["participant_id"] + ("_" + rows["session_id"]).fillna("")
            if len(rows):
                print(f"  {status}: {few(names, 20)}")
        print(f"  {request.output / REPORTS / group.model['label'] / 'index.html'}")
    print(request.output / GROUP_TABLE)
    return any(len(group.rows_of(PREDICTED)) for group in groups)
