"""The application: what its subcommands take, and how the package's messages name them."""

import os
import re
import shlex
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
    """Makes each `make` command of a message one that works here, in the user's competition and folders.

    The package names the command that helps, as `make train EXP=unet`; only the command line knows in which competition
    and folders, and whether it was called by `make` or as `unets`.
    """
    if os.environ.get(f"{PREFIX}MAKE"):
        return re.sub(r"`make ([^`]+)`", lambda match: f"`make {match[1]}{_list_variables(given)}`", message)
    message = re.sub(r"`make ([^`]+)`", lambda match: f"`{_translate(match[1], given)}`", message)
    names = {one.envvar.removeprefix(PREFIX): one for one in _list_all_parameters()}
    pattern = rf"\b({'|'.join(sorted(names, key=len, reverse=True))})(=1\b|=|(?=`))"

    def name_option(match: re.Match[str]) -> str:
        one = names[match[1]]
        word = match[1] if one.param_type_name == "argument" else one.opts[0]
        return f"{word} " if match[2] == "=" and not match.string[match.end() :].startswith((" ", ")")) else word

    return re.sub(pattern, name_option, message)


def _list_variables(given: Mapping[str, Any]) -> str:
    """Returns the variables of `make` for what the user works with, as they differ from the defaults."""
    competition = given.get("competition", "carvana")
    defaults = {"input": Path("input") / competition, "models": Path("models") / competition}
    words = [] if competition == "carvana" else [f"COMPETITION={competition}"]
    words += [f"ENSEMBLE={given['ensemble']}"] if given.get("ensemble") else []
    for name, path in defaults.items():
        if given.get(name) not in (None, path):
            words.append(f"{name.upper()}={shlex.quote(str(given[name]))}")
    return "".join(f" {word}" for word in words)


def _translate(command: str, given: Mapping[str, Any]) -> str:
    """Turns `train predict EXP=a` into `unets train mine --exp a && unets predict mine --exp a`."""
    words = command.split()
    settings = dict(word.split("=", 1) for word in words if "=" in word)
    places = {name: given.get(name) for name in ("competition", "input", "models", "ensemble")}
    lines = []
    for target in (word for word in words if "=" not in word):
        if not (parameters := find_parameters(target)):
            return f"make {command}"  # a target that is no subcommand, as setup
        named = {one.envvar.removeprefix(PREFIX): one for one in parameters if one.envvar}
        values = {named[name].name: text for name, text in settings.items() if name in named}
        flags = {name: True for name, text in values.items() if getattr(named[_upper(name, named)], "is_flag", False)}
        line = ["unets", *list_arguments(target, {**places, **values, **flags})]
        lines.append(" ".join(map(shlex.quote, line)))
    return " && ".join(lines)


def _upper(name: str, named: Mapping[str, Any]) -> str:
    return next(variable for variable, one in named.items() if one.name == name)


def _list_all_parameters() -> list[Any]:
    commands = typer.main.get_command(app).commands.values()  # type: ignore[attr-defined]
    return [one for found in commands for one in found.params if one.envvar]
