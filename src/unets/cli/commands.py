"""All subcommands, in the order of the flow, and the process that runs one."""

import sys
from importlib import import_module
from typing import Annotated, NoReturn

import typer

from unets import __version__
from unets.cli.app import app
from unets.errors import MISUSED

__all__ = ["app", "run"]

for _name in ("start", "data", "train", "evaluate", "submit", "use"):  # the order of their panels in the help
    import_module(f"unets.cli.{_name}")

_MISUSE: type[Exception] = typer.BadParameter.__mro__[2]  # of any misuse; Typer exports those below it alone


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"unets {__version__}")
        raise typer.Exit


@app.callback()
def _unets(
    version: Annotated[bool, typer.Option("--version", help="Show the version.", callback=_print_version)] = False,
) -> None: ...


def run(arguments: list[str]) -> NoReturn:
    """Runs a subcommand and exits."""
    try:
        code = app(arguments, prog_name="unets", standalone_mode=False)
    except _MISUSE as error:
        message = str(error.format_message())  # type: ignore[attr-defined]
        if message:  # none of `unets` alone, which prints its help
            near = (getattr(error, "possibilities", None) or [""])[0]
            message = message.partition(" (Possible")[0] + (f"; did you mean {near}?" if near else "")
            context = getattr(error, "ctx", None)
            path = context.command_path if context else "unets"
            sys.stderr.write(f"error: {message.removesuffix('.')}; `{path} --help` has more\n")
        sys.exit(MISUSED)
    sys.exit(code)
