"""How a function becomes a subcommand, and how one is run, timed, and ended."""

import inspect
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any, NoReturn

from unets.cli.app import app, complete_commands
from unets.cli.options import COMPETITION, STEP
from unets.errors import FAILED, INTERRUPTED, InputError
from unets.log import set_up_logging

logger = logging.getLogger(__name__)

Work = Callable[..., None]


def command(
    panel: str, *examples: str, takes: Sequence[inspect.Parameter] = COMPETITION, rule: bool = True
) -> Callable[[Work], Work]:
    """Makes a function a subcommand of its name; its docstring is the help.

    Args:
        panel: the part of the flow that it belongs to.
        *examples: command lines.
        takes: the shared options, before and after the function's own. Where they name a competition, the function's
            first argument is a `Stage`.
        rule: whether it begins with a line that says what is at work on what.
    """
    names = [one.name for one in takes]

    def decorate(work: Work) -> Work:
        with_stage = "competition" in names
        own = [one.replace(kind=one.KEYWORD_ONLY) for one in signature(work, eval_str=True).parameters.values()]
        own = own[1:] if with_stage else own

        def call(**given: Any) -> None:
            chosen = {one.name: given[one.name] for one in own}
            _run(work, chosen, given, with_stage=with_stage, rule=rule)

        shared = [*takes[:1], *own, *takes[1:]] if with_stage else [*own, *takes]
        call.__signature__ = inspect.Signature(shared)  # type: ignore[attr-defined]
        call.__doc__ = work.__doc__
        epilog = "\n\n".join(["Examples:", *examples])
        app.command(name_command(work), rich_help_panel=panel, epilog=epilog)(call)
        return work

    return decorate


def name_command(work: Work) -> str:
    """Returns what a function is called as a subcommand."""
    return work.__name__.strip("_").replace("_", "-")


def _run(work: Work, chosen: Mapping[str, Any], given: Mapping[str, Any], *, with_stage: bool, rule: bool) -> None:
    """Runs a subcommand; exits with 1 and one line for what the user can mend, with 130 at Ctrl-C."""
    set_up_logging(given["verbose"])
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # what it meets in a damaged image, our errors say
    warnings.filterwarnings("ignore", module="PIL")  # of notes in images that are not as they should be

    def fail(message: str, code: int) -> NoReturn:
        # Names and bytes of files may hold what a terminal obeys.
        message = "".join(letter for letter in message if letter.isprintable() or letter == "\n")
        logger.error("error: %s", message, exc_info=given["verbose"])
        sys.exit(code)

    try:
        if not with_stage:
            work(**chosen)
            return
        from unets.cli.stage import Stage, open_project

        stage = Stage(name=name_command(work), project=open_project(given), given=given)
        began = time.monotonic()
        if rule or os.environ.get(STEP):
            _print_rule(stage)
        with stage.use_workers():
            work(stage, **chosen)
        if (stage.project.configs_dir / "dataset.py").is_file():
            stage.note_seconds(time.monotonic() - began)
    except KeyboardInterrupt:
        fail("stopped by Ctrl-C; what was finished is kept, the same command goes on", INTERRUPTED)
    except InputError as error:
        fail(complete_commands(str(error), given), FAILED)
    except BrokenPipeError:  # `unets info MODEL | head`: who reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains of it as it ends
        sys.exit(FAILED)
    except MemoryError as error:
        fail(
            f"memory must suffice. Received: {error or 'too little'}. Fewer --jobs, or --micro-batch, take less", FAILED
        )
    except OSError as error:
        # A full disk, a missing permission: the system's own words, with the file's name.
        fail(f"{error}; what was finished is kept, the same command goes on", FAILED)


def _print_rule(stage: Any) -> None:
    """Says which stage is at work on what: `== 3/6 train · studio · 3 experiments x 2 folds ==`."""
    from unets.workers.devices import is_followed

    if is_followed():  # a fold's process: the one that waits for it has said so
        return
    parts = [f"{os.environ.get(STEP, '')} {stage.name}".strip(), stage.project.competition]
    if "exp" in stage.given:
        folds_of = stage.folds_of
        counts = {len(folds) for folds in folds_of.values()}
        num_folds = counts.pop() if len(counts) == 1 else sum(map(len, folds_of.values()))
        joint = " x " if not counts else ", "
        parts.append(f"{_count(len(folds_of), 'experiment')}{joint}{_count(num_folds, 'fold')}")
    sys.stderr.write(f"== {' · '.join(parts)} ==\n")
    sys.stderr.flush()


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
