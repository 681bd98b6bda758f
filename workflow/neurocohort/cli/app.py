"""The command-line application. Each module of subcommands adds its own to it."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, get_origin

import typer

from neurocohort import __version__

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="The command line: one subcommand for each rule. It reads files, calls plain functions, and writes the results.",
)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"neurocohort {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


Files = Annotated[list[Path], typer.Argument()]
Names = Annotated[list[str], typer.Argument()]


def command(function: Callable) -> Callable:
    """Make ``function`` a subcommand. Its parameters are options, unless they are annotated as arguments."""
    for name, hint in function.__annotations__.items():
        if name != "return" and get_origin(hint) is not Annotated:
            function.__annotations__[name] = Annotated[hint, typer.Option()]
    return app.command()(function)
