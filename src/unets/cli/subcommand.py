"""How a function becomes a subcommand, and how one is run, timed, and ended."""

import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from inspect import Signature, signature
from typing import Any, NoReturn

from unets.cli.app import STEP, app, complete_commands, describe_option
from unets.cli.stage import Stage, open_project
from unets.errors import FAILED, INTERRUPTED, InputError
from unets.log import set_up_logging
from unets.workers.devices import is_followed

logger = logging.getLogger(__name__)

Work = Callable[..., None]
_RUNS = ("exp", "fold", "settings", "ensemble")
_PLACES = ("input", "models", "jobs", "cluster", "root", "verbose")


def command(panel: str, *examples: str, runs: bool = False, rule: bool = True) -> Callable[[Work], Work]:
    """Makes a function a subcommand of its name; its docstring is the help, `app` says what its options are.

    Where its first parameter is a `Stage`, it takes a competition and its folders, too.

    Args:
        panel: the part of the flow that it belongs to.
        *examples: command lines.
        runs: whether it takes a choice of experiments and folds.
        rule: whether it begins with a line that says what is at work on what.
    """

    def decorate(work: Work) -> Work:
        name = work.__name__.strip("_").replace("_", "-")
        parameters = signature(work, eval_str=True).parameters
        own = {key: one for key, one in parameters.items() if key != "stage"}

        def call(**given: Any) -> None:
            chosen = {key: given[key] for key in own}
            with _ending_in_words(given):
                if "stage" in parameters:
                    _run_stage(name, work, chosen, given, rule=rule)
                else:
                    work(**chosen)

        described = [describe_option(name, key, one) for key, one in own.items()]
        if "stage" in parameters:
            shared = (*(_RUNS if runs else ()), *_PLACES)
            described.insert(0, describe_option(name, "competition"))
            described += [describe_option(name, key) for key in shared]
        else:
            described.append(describe_option(name, "verbose"))
        call.__signature__ = Signature(described)  # type: ignore[attr-defined]
        call.__doc__ = work.__doc__
        app.command(name, rich_help_panel=panel, epilog="\n\n".join(["Examples:", *examples]))(call)
        return work

    return decorate


def _run_stage(name: str, work: Work, chosen: Mapping[str, Any], given: Mapping[str, Any], *, rule: bool) -> None:
    stage = Stage(name=name, project=open_project(given), given=given)
    began = time.monotonic()
    if (rule or os.environ.get(STEP)) and not is_followed():  # a fold's process: who waits for it has said so
        sys.stderr.write(f"== {stage.describe()} ==\n")
        sys.stderr.flush()
    with stage.use_workers():
        work(stage, **chosen)
    if (stage.project.configs_dir / "dataset.py").is_file():
        stage.note_seconds(time.monotonic() - began)


@contextmanager
def _ending_in_words(given: Mapping[str, Any]) -> Iterator[None]:
    """Ends the process with 1 and one line for what the user can mend, with 130 at Ctrl-C."""
    set_up_logging(given["verbose"])
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # what it meets in a damaged image, our errors say
    warnings.filterwarnings("ignore", module="PIL")  # of notes in images that are not as they should be

    def fail(message: str, code: int = FAILED) -> NoReturn:
        # Names and bytes of files may hold what a terminal obeys.
        message = "".join(letter for letter in message if letter.isprintable() or letter == "\n")
        logger.error("error: %s", message, exc_info=given["verbose"])
        sys.exit(code)

    kept = "what was finished is kept, the same command goes on"
    try:
        yield
    except KeyboardInterrupt:
        fail(f"stopped by Ctrl-C; {kept}", INTERRUPTED)
    except InputError as error:
        fail(complete_commands(str(error), given))
    except BrokenPipeError:  # `unets info MODEL | head`: who reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains of it as it ends
        sys.exit(FAILED)
    except MemoryError as error:
        fail(f"memory must suffice. Received: {error or 'too little'}. Fewer --jobs, or --micro-batch, take less")
    except OSError as error:  # a full disk, a missing permission: the system's own words, with the file's name
        fail(f"{error}; {kept}")
