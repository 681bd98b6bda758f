"""The command-line application to which each module of subcommands adds its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, get_origin

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="The command line: one subcommand a rule. Each reads its files, calls plain functions, and writes what they return.",
)
Files = Annotated[list[Path], typer.Argument()]
Names = Annotated[list[str], typer.Argument()]


def command(function: Callable) -> Callable:
    """Make ``function`` a subcommand whose parameters are named options, unless they say that they are positional."""
    for name, hint in function.__annotations__.items():
        if name != "return" and get_origin(hint) is not Annotated:
            function.__annotations__[name] = Annotated[hint, typer.Option()]
    return app.command()(function)
