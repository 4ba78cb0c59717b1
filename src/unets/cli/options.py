"""The options that subcommands share. Each has the name of its `make` variable too, read from the environment.

`make` passes INPUT= on as the variable UNETS_INPUT, never as words of a shell's command, so that any value arrives.
"""

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

PREFIX = "UNETS_"  # of the environment's variables
STEP = f"{PREFIX}STEP"  # set within a pipeline: 3/6


def option(help_: str, *names: str, env: str = "", panel: str | None = None, **more: Any) -> Any:
    """Describes an option.

    Args:
        help_: what it is.
        *names: as `--exp`, `-e`.
        env: its name as a variable of `make`, where that is not the option's own.
        panel: the part of the help that it stands in.
        **more: of `typer.Option`.
    """
    own = names[0].partition("/")[0].removeprefix("--").upper().replace("-", "_")
    return typer.Option(
        *names,
        help=help_,
        envvar=f"{PREFIX}{env or own}",
        show_envvar=False,
        rich_help_panel=panel,
        show_default=False,
        **more,
    )


def argument(help_: str, *, env: str | None = None, **more: Any) -> Any:
    """Describes a positional argument."""
    envvar = f"{PREFIX}{env}" if env else None
    return typer.Argument(help=help_, envvar=envvar, show_envvar=False, show_default=False, **more)


def _complete_competition(incomplete: str) -> list[str]:
    names = sorted(path.parent.name for path in Path("configs").glob("*/dataset.py"))
    return [name for name in names if name.startswith(incomplete)]


def _complete_experiment(ctx: typer.Context, incomplete: str) -> list[str]:
    given = [*ctx.args, ctx.params.get("competition") or "carvana"]  # words that are no option's value come first
    folder = Path("configs") / str(given[0])
    names = sorted(path.stem for path in folder.glob("*.py") if path.stem != "dataset")
    return [name for name in names if name.startswith(incomplete) and not name.startswith("ensemble")]


def _complete_setting(incomplete: str) -> list[str]:
    from unets.config import list_fields

    return [f"{name}=" for name in list_fields() if name.startswith(incomplete)]


_PLACE, _CHOICE = "Where and how", "Which runs"
Competition = Annotated[
    str, argument("a folder of configs/ (default: carvana)", env="COMPETITION", autocompletion=_complete_competition)
]
Studio = Annotated[str, argument("studio, the demo (default: studio)", env="COMPETITION")]
Input = Annotated[
    Path | None, option("the data (default: where `unets new` saw it, or input/COMPETITION)", "--input", panel=_PLACE)
]
Models = Annotated[
    Path | None, option("runs, folds, caches, maps (default: models/COMPETITION)", "--models", panel=_PLACE)
]
Jobs = Annotated[int | None, option("worker processes (default: one a core)", "--jobs", "-j", min=1, panel=_PLACE)]
Cluster = Annotated[
    str | None, option("address of a Dask scheduler whose workers take the tasks", "--cluster", panel=_PLACE)
]
Root = Annotated[Path, option("the folder of configs/, input/, models/ (default: here)", "--root", panel=_PLACE)]
Verbose = Annotated[bool, option("log more; a traceback with every error", "--verbose", "-v", panel=_PLACE)]
Exp = Annotated[
    str,
    option(
        "experiments, with commas (default: all of the ensemble)",
        "--exp",
        "-e",
        panel=_CHOICE,
        autocompletion=_complete_experiment,
    ),
]
Fold = Annotated[str, option("folds, with commas (default: all)", "--fold", "-f", panel=_CHOICE)]
Settings = Annotated[
    list[str] | None,
    option(
        "a field of the experiment, as training.epochs=3; makes it a run of its own",
        "--set",
        "-s",
        panel=_CHOICE,
        metavar="PATH=VALUE",
        autocompletion=_complete_setting,
    ),
]
EnsembleName = Annotated[
    str | None, option("x for the ensemble of ensemble_x.py (default: of ensemble.py)", "--ensemble", panel=_CHOICE)
]
Name = Annotated[str | None, option("its name (default: of what it is made)", "--name")]
Force = Annotated[bool, option("overwrite what is there", "--force")]
Out = Annotated[Path | None, option("where it goes", "--out")]
Count = Annotated[int, option("how many images it shows", "--count", min=1)]
Top = Annotated[int, option("how many images a gallery shows (default: 24)", "--top", min=1)]
Submission = Annotated[str | None, option("a csv, csv.gz or a name (default: the newest)", "--submission")]
MicroBatch = Annotated[
    int | None, option("images a step, a divisor of the batch: less memory, the same batch", "--micro-batch", min=1)
]
DataParallel = Annotated[bool, option("spread each step over all GPUs", "--data-parallel")]


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


VERBOSE = (_parameter("verbose", Verbose, False),)
_PLACES = (
    _parameter("input", Input, None),
    _parameter("models", Models, None),
    _parameter("jobs", Jobs, None),
    _parameter("cluster", Cluster, None),
    _parameter("root", Root, Path()),
    *VERBOSE,
)
_RUNS = (
    _parameter("exp", Exp, "all"),
    _parameter("fold", Fold, "all"),
    _parameter("settings", Settings, None),
    _parameter("ensemble", EnsembleName, None),
)
COMPETITION = (_parameter("competition", Competition, "carvana"), *_PLACES)
RUNS = (_parameter("competition", Competition, "carvana"), *_RUNS, *_PLACES)
STUDIO = (_parameter("competition", Studio, "studio"), *_PLACES)
STUDIO_RUNS = (_parameter("competition", Studio, "studio"), *_RUNS, *_PLACES)
NEW = (
    _parameter("input", Annotated[Path, argument("the folder of images and masks", env="INPUT", metavar="PATH")]),
    _parameter("competition", Annotated[str, option("the name of its config folder", "--name", env="COMPETITION")]),
    *_PLACES[1:],
)
# Where nothing may stand for all by accident.
NAMED_RUNS = tuple(one.replace(default=inspect.Parameter.empty) if one.name == "exp" else one for one in RUNS)
