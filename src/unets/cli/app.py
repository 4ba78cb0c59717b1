"""The application: what its subcommands take, and how the package's messages name them."""

import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from unets.cli.options import PREFIX

app = typer.Typer(
    name="unets",
    help="From a folder of images to a validated segmentation submission. `unets COMMAND --help` has examples.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def find_parameters(name: str) -> list[Any]:
    """Returns the options and arguments of a subcommand; none of one that does not exist."""
    found = typer.main.get_command(app).commands.get(name)  # type: ignore[attr-defined]
    return found.params if found else []


def list_arguments(name: str, given: Mapping[str, Any]) -> list[str]:
    """Returns the command line of a subcommand with those of some options that it takes."""
    arguments, options = list[str](), list[str]()
    for one in find_parameters(name):
        value = given.get(one.name)
        if value is None or value is False or value == one.default:
            continue
        if one.param_type_name == "argument":
            arguments.append(str(value))
            continue
        for each in value if isinstance(value, list | tuple) else [value]:
            options += [one.opts[0]] if each is True else [one.opts[0], str(each)]
    return [name, *arguments, *options]


def complete_commands(message: str, given: Mapping[str, Any]) -> str:
    """Adds the user's competition and folders to each command of a message, which names it as `unets train --exp a`."""
    places = {name: given.get(name) for name in ("competition", "input", "models", "ensemble")}
    is_make = f"{PREFIX}MAKE" in os.environ
    program = os.path.relpath(Path(sys.executable).with_name("unets")) if is_make else "unets"

    def complete(command: re.Match[str]) -> str:
        return shlex.join([program, *list_arguments(command[1], places)])

    return re.sub(r"`unets [^`]+`", lambda span: re.sub(r"\bunets ([a-z-]+)", complete, span[0]), message)
