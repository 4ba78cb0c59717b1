"""Subcommands to start with: a config for a folder of images, the demo, the whole pipeline."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from unets import cli
from unets.cli.app import STEP, complete_commands, list_arguments
from unets.cli.stage import Stage, command, remember_input
from unets.errors import InputError
from unets.log import to_plain
from unets.store.runs import lock

logger = logging.getLogger(__name__)

_MOST_MINUTES = 100_000  # ten weeks
PIPELINE = ("check", "split", "train", "predict", "ensemble", "submission")


@command("unets new ~/fundus --name fundus", rule=False)
def new(stage: Stage, classes: Path | None = None, minutes: float | None = None, force: bool = False) -> None:
    """Looks at a folder of images and masks and writes configs/NAME/ for it; says what it guessed and what it asks.

    --force keeps a dataset.py that is there, and writes experiments of the same names and ensemble.py again.
    """
    from unets.dataset.scaffold import render_scaffold, write_scaffold

    def time_step(*experiment: Any) -> Any:
        cli.load_backend()  # after the look at the files: what is wrong with them is said at once
        from unets.training.speed import time_step

        return time_step(*experiment)

    def ask_gpu() -> bool:
        logger.info("the files are read; now a step of training is timed on this machine: half a minute or more")
        cli.load_backend()
        from unets.nets.backend import has_gpu

        return has_gpu()

    if minutes is not None and not 0 < minutes < _MOST_MINUTES:
        raise InputError(f"`--minutes` must be above 0 and below {_MOST_MINUTES:,}. Received: {minutes}")
    scaffold = write_scaffold(
        stage.project, classes_path=classes, minutes=minutes, timer=time_step, force=force, ask_gpu=ask_gpu
    )
    remember_input(stage.project)
    given = {**stage.given, "input": None}  # it is remembered
    print(to_plain(complete_commands(render_scaffold(scaffold, stage.project.competition), given)))


@command("unets render", "unets render --train-cars 4 --test-cars 1", rule=False)
def render(stage: Stage, train_cars: int = 18, test_cars: int = 6, seed: int = 0, height: int = 1280) -> None:
    """Renders the demo's images into input/studio, or into --input."""
    from unets.studio.competition import write_competition

    if (name := stage.project.competition) != "studio":
        raise InputError(f"`COMPETITION` must be studio. Received: {name}")
    size_hw = (height, round(height * 1918 / 1280))  # as Carvana's
    with lock(stage.project.models_dir):
        write_competition(stage.project.input_dir.absolute(), train_cars, test_cars, seed, size_hw)


@command("unets pipeline mine", "unets pipeline mine -e unet --fold 0", runs=True, rule=False)
def pipeline(stage: Stage) -> None:
    """Runs everything from import, where the data changed, to submission; goes on where it was stopped."""
    run_stages(PIPELINE, stage.given)
    stage.finish("", "report")


@command("unets demo", "unets demo --train-cars 4 --test-cars 1 -e unet_128x192", runs=True, rule=False)
def demo(stage: Stage, train_cars: int = 18, test_cars: int = 6, top: int = 6) -> None:
    """Renders images, trains, writes a submission and scores it: the whole pipeline in minutes."""
    stages = ("render", *PIPELINE, "score", "show", "summary", "report")
    run_stages(stages, stage.given)
    print("next: `unets --help` lists all commands; README.md says how to bring your own images")


def run_stages(names: Sequence[str], given: Any) -> None:
    """Runs subcommands one after the other, each in a process of its own with those of the options that it takes.

    SystemExit with the code of the one that failed.
    """
    for index, name in enumerate(names, start=1):
        environment = {**os.environ, STEP: f"{index}/{len(names)}"}
        words = [sys.executable, "-m", "unets", *list_arguments(name, given)]
        with subprocess.Popen(words, env=environment) as process:

            def end(number: int, frame: FrameType | None, child: "subprocess.Popen[bytes]" = process) -> None:
                # A terminal's Ctrl-C has reached the child too, which ends with a word.
                if number == signal.SIGTERM:
                    child.terminate()

            before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
            code = process.wait()
            for number, handler in before.items():
                signal.signal(number, handler)
        if code:
            sys.exit(code if code > 0 else 128 - code)
