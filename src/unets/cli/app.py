"""The application: what its subcommands take, and how the package's messages name them.

Each option has the name of its `make` variable too, read from the environment: `make` passes INPUT= on as the variable
UNETS_INPUT, never as words of a shell's command, so that any value arrives.
"""

import os
import re
import shlex
import sys
from collections.abc import Mapping
from importlib import import_module
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from unets import __version__
from unets.errors import MISUSED

PREFIX = "UNETS_"  # of the environment's variables
STEP = f"{PREFIX}STEP"  # set within a pipeline: 3/6
_PANELS = ("start", "data", "train", "evaluate", "submit", "use")  # modules, in the order of the flow
_MISUSE: type[Exception] = typer.BadParameter.__mro__[2]  # of any misuse; Typer exports those below it alone

app = typer.Typer(
    name="unets",
    help="From a folder of labeled images to masks of new ones, and to a checked submission.\n\n"
    "First steps: `unets mask demo examples/`, `unets new FOLDER --name mine`, `unets pipeline mine`. "
    "`unets COMMAND --help` has examples.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _complete_competition(incomplete: str) -> list[str]:
    names = sorted(path.parent.name for path in Path("configs").glob("*/dataset.py"))
    return [name for name in names if name.startswith(incomplete)]


def _complete_experiment(ctx: typer.Context, incomplete: str) -> list[str]:
    given = [*ctx.args, ctx.params.get("competition") or "carvana"]  # words that are no option's value come first
    names = sorted(path.stem for path in (Path("configs") / str(given[0])).glob("*.py") if path.stem != "dataset")
    return [name for name in names if name.startswith(incomplete) and not name.startswith("ensemble")]


def _complete_setting(incomplete: str) -> list[str]:
    from unets.config import list_fields

    return [f"{name}=" for name in list_fields() if name.startswith(incomplete)]


def _say(words: str, *flags: str, **more: Any) -> dict[str, Any]:
    return {"help": words, "flags": flags, **more}


_HERE, _CHOICE = {"rich_help_panel": "Where and how"}, {"rich_help_panel": "Which runs"}
_VALUES = {"int": "N", "float": "NUMBER", "Path": "PATH", "str": "TEXT"}  # what stands for a value, by its type
_RUN = "an experiment, `ensemble`, `ensemble_x`, or one of another models folder, as models/cpu/unet_cpu"
_MODEL = "a model file, a run's or an experiment's folder, an ensemble's json, or demo"
_STUDIO = _say("studio, the demo", is_argument=True, default="studio")
# What is said of each option, by its name or, where commands differ, as `command.name`. Types and defaults are those of
# the function, but for the options that stages share.
_OPTIONS: dict[str, dict[str, Any]] = {
    "competition": _say(
        "a folder of configs/", is_argument=True, default="carvana", autocompletion=_complete_competition
    ),
    **dict.fromkeys(("render.competition", "demo.competition", "notebooks.competition"), _STUDIO),
    "new.competition": _say("the name of its config folder", "--name", default=Parameter.empty),
    "new.input": _say(
        "the folder of images and masks", is_argument=True, type=Path, default=Parameter.empty, metavar="PATH"
    ),
    "exp": _say(
        "experiments, with commas (default: all of the ensemble)",
        *("--exp", "-e"),
        default="all",
        autocompletion=_complete_experiment,
        **_CHOICE,
    ),
    "clean.exp": _say("experiments, with commas", "--exp", "-e", default=Parameter.empty, **_CHOICE),
    "fold": _say("folds, with commas", "--fold", "-f", default="all", **_CHOICE),
    "settings": _say(
        "a field of the experiment, as training.epochs=3; makes it a run of its own",
        *("--set", "-s"),
        env="SET",
        type=list[str] | None,
        metavar="PATH=VALUE",
        autocompletion=_complete_setting,
        **_CHOICE,
    ),
    "seeds": _say("runs of each experiment, with the next seeds (default: 1)", type=int, default=1, min=1, **_CHOICE),
    "compare.seeds": _say("compare the means over so many runs of each, with the next seeds", min=1),
    "ensemble": _say("x for the ensemble of ensemble_x.py (default: of ensemble.py)", **_CHOICE),
    "input": _say("the data (default: where `unets new` saw it, or input/COMPETITION)", type=Path | None, **_HERE),
    "models": _say("runs, folds, caches, maps (default: models/COMPETITION)", type=Path | None, **_HERE),
    "jobs": _say("worker processes (default: one a core)", "--jobs", "-j", type=int | None, min=1, **_HERE),
    "cluster": _say("address of a Dask scheduler whose workers take the tasks", **_HERE),
    "root": _say("the folder of configs/, input/, models/ (default: here)", type=Path, default=Path(), **_HERE),
    "verbose": _say("log more; a traceback with every error", "--verbose", "-v", type=bool, default=False, **_HERE),
    "unpack": _say("unpack the zips (default: they are read as they are)"),
    "sheet": _say("draw training images with their masks into this file"),
    "dump": _say("write classes, a table and masks as PNG into this folder", env="OUT"),
    "count": _say("how many images it shows", min=1),
    "classes": _say("csv, txt or json that names the classes' values or colors"),
    "minutes": _say("for training a fold on this machine (default: 15, with a GPU 60)"),
    "force": _say("overwrite what is there"),
    "train_cars": _say("cars to train on, 16 images each", min=1),
    "test_cars": _say("cars to test on, 16 images each", min=0),
    "seed": _say("decides every car, image and id (default: 0)", min=0),
    "height": _say("of the images, in pixels", min=64),
    "top": _say("how many images a gallery shows", min=1),
    "screen.top": _say("images that are shown at full size", min=1),
    "micro_batch": _say("images per step, a divisor of the batch: less memory, the same batch", min=1),
    "data_parallel": _say("spread each step over all GPUs (KERAS_BACKEND=jax)"),
    "probe": _say("time a step on this machine (without: no hours)", "--probe/--no-probe"),
    "track": _say("who gets the curves, with commas: tensorboard, wandb, mlflow"),
    "name": _say("its name (default: of what it is made)"),
    "pseudo-labels.name": _say("of the labels"),
    "confidence": _say("least expected Dice of an image that is kept"),
    "a": _say(_RUN, is_argument=True, metavar="A"),
    "b": _say("another", is_argument=True, metavar="B"),
    "json": _say("print JSON"),
    "info.json": _say("the whole card as JSON"),
    "mask.json": _say("print a line of JSON an image: area, confidence, files"),
    "only": _say("numbers of notebooks, with commas (default: all)"),
    "out": _say("where it goes"),
    "picture": _say("an image that the model's card shows with its mask (default: none)"),
    "info.out": _say("write the card's picture into this file (jpg)"),
    "mask.out": _say("a folder, or of one image a file; - is stdout (default: masks, of - stdout)"),
    "labels.out": _say("a folder that is empty or not there"),
    "submission": _say("a csv, csv.gz or a name (default: the newest)"),
    "ground_truth": _say("csv of run lengths or folder of masks (default: INPUT/truth)"),
    "message": _say("what Kaggle shows beside it", "--message", "-m"),
    "again": _say("send bytes that Kaggle scored before"),
    "wait": _say("longest wait for the score, in minutes"),
    "owner": _say("the account at Kaggle (default: the signed in one)"),
    "slug": _say("its name there (default: unets-COMPETITION)"),
    "upload": _say("upload it: a new dataset, or its next version"),
    "model": _say(_MODEL, is_argument=True, env=None, metavar="MODEL"),
    "images": _say("images, and folders with some", is_argument=True, env=None, metavar="IMAGE..."),
    "cutout": _say("also the object alone, all else transparent (png)"),
    "overlay": _say("also the image with the mask's contours (jpg)"),
    "background": _say("also the object on another background (jpg): white, blur or #rrggbb"),
    "format": _say("beside png: coco, labelme, yolo or rle (default: png alone)"),
    "labels.format": _say("labelme or coco"),
    "as_stored": _say("do not turn images as their orientation tag says (training does not)"),
    "overwrite": _say("replace files that another model made"),
    "port": _say("where the page is", min=0, max=65535),
    "formats": _say("all, or with commas of model, keras, onnx, openvino, litert"),
    "num_images": _say("out-of-fold images to compare each file on"),
}


def describe_option(command: str, name: str, own: Parameter | None = None) -> Parameter:
    """Returns an option of a subcommand as Typer wants it.

    Its type and default are those of the function's `own` parameter; an option that stages share has none.
    """
    key = name.strip("_")
    more = dict(_OPTIONS.get(f"{command}.{key}") or _OPTIONS[key])
    kind, default = (own.annotation, own.default) if own else (more.pop("type", None), more.pop("default", None))
    kind = kind or (str if default is not None else str | None)
    flags = more.pop("flags") or (f"--{key.replace('_', '-')}",)
    env, is_argument = more.pop("env", key.upper()), more.pop("is_argument", False)
    is_told = kind is bool or "(default" in more["help"]
    if kind is not bool and not is_argument:
        more.setdefault("metavar", next(word for one, word in _VALUES.items() if one in str(kind)))
    if default and isinstance(default, int | float | str | Path) and not is_told:
        more["help"] += f" (default: {default})"
    more |= {"envvar": env and f"{PREFIX}{env}", "show_envvar": False, "show_default": False}
    made: Any = typer.Argument(**more) if is_argument else typer.Option(*flags, **more)
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, made])


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"unets {__version__}")
        raise typer.Exit


@app.callback()
def _unets(
    version: Annotated[bool, typer.Option("--version", help="Show the version.", callback=_print_version)] = False,
) -> None: ...


def load_app() -> typer.Typer:
    """Returns the application with all its subcommands."""
    for name in _PANELS:
        import_module(f"unets.cli.{name}")
    return app


def run(arguments: list[str]) -> NoReturn:
    """Runs a subcommand, which `load_app` has loaded, and exits."""
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
