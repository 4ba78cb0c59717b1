"""What all scripts share: the same arguments, one way to log, to fail, and to be timed."""

import argparse
import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from unets.config import (
    DatasetConfig,
    EnsembleConfig,
    ExperimentConfig,
    list_experiments,
    load_dataset,
    load_ensemble,
    load_experiment,
)
from unets.errors import InputError
from unets.log import set_up_logging
from unets.store.paths import Project
from unets.store.runs import append_json_line, lock, name_program
from unets.workers.cluster import use_cluster

logger = logging.getLogger(__name__)

FAILED, INTERRUPTED = 1, 130
_BACKENDS = ("tensorflow", "jax")


@dataclass(frozen=True)
class Stage:
    """What a script is asked to work on: the competition's folders and configs, experiments and folds."""

    name: str
    project: Project
    args: argparse.Namespace

    @cached_property
    def dataset(self) -> DatasetConfig:
        """The competition's dataset."""
        list_experiments(self.project.configs_dir)  # tells which competitions there are, if this is none of them
        return load_dataset(self.project.configs_dir)

    @cached_property
    def ensemble(self) -> EnsembleConfig:
        """The config of ENSEMBLE=; with EXP= those experiments alone, equally weighted where given weights lack one."""
        config = load_ensemble(self.project.configs_dir, self.ensemble_name)
        if self.args.exp == "all":
            return config
        names = tuple(self._named_experiments())
        if isinstance(config.weights, str):
            return config.model_copy(update={"experiments": names})
        weight_of = dict(zip(config.experiments, config.weights, strict=True))
        keeps_weights = set(names) <= weight_of.keys() and any(weight_of[name] for name in names)
        weights = tuple(weight_of[name] for name in names) if keeps_weights else "equal"
        return config.model_copy(update={"experiments": names, "weights": weights})

    @property
    def ensemble_name(self) -> str:
        """The name of the ensemble's config and of its files: `ensemble`, with ENSEMBLE=x `ensemble_x`."""
        return f"ensemble_{self.args.ensemble}" if self.args.ensemble else "ensemble"

    @cached_property
    def experiments(self) -> dict[str, ExperimentConfig]:
        """Configs by name: those of EXP=, or all that the ensemble is made of."""
        names = self._named_experiments() if self.args.exp != "all" else list(self.ensemble.experiments)
        return {name: load_experiment(self.project.configs_dir, name) for name in names}

    def list_folds(self, experiment: ExperimentConfig) -> list[int]:
        """Returns the folds of FOLD=, or all that the experiment wants.

        Raises:
            InputError: a fold does not exist.
        """
        num_folds = self.dataset.num_folds
        if self.args.fold == "all":
            folds = list(range(num_folds)) if experiment.folds is None else list(experiment.folds)
        else:
            words = self.args.fold.split(",")
            if not all(word.isdecimal() for word in words):
                raise InputError(f"`FOLD` must be all or numbers with commas, as 0,2. Received: {self.args.fold}")
            folds = sorted({int(word) for word in words})
        if not folds or max(folds) >= num_folds:
            raise InputError(f"`FOLD` must be in 0..{num_folds - 1}. Received: {folds}")
        return folds

    def common_folds(self) -> list[int]:
        """Returns the folds that all experiments asked for have in common."""
        return sorted(set.intersection(*(set(self.list_folds(config)) for config in self.experiments.values())))

    def hold_models(self) -> AbstractContextManager[None]:
        """Returns a block in which no other stage that asks for this may write to the same models folder.

        For stages whose files all experiments share; folds and maps have locks of their own.

        Raises:
            InputError: one is at work, from here or from another host that shares the folder.
        """
        return lock(self.project.models_dir)

    def list_arguments(self) -> list[str]:
        """Returns this process's script and arguments so that they mean the same in any working folder."""
        project, root = self.project, self.args.root.absolute()
        folders = {"--root": root, "--input": project.input_dir, "--models": project.models_dir}
        given = [word for name, folder in folders.items() for word in (name, str(folder.absolute()))]
        return [str(Path(sys.argv[0]).absolute()), *sys.argv[1:], *given]

    def _named_experiments(self) -> list[str]:
        names: list[str] = list(dict.fromkeys(self.args.exp.split(",")))
        known = list_experiments(self.project.configs_dir)
        for name in names:
            if name not in known:
                raise InputError(f"`EXP` must be all or among {', '.join(known)}. Received: {name}")
        return names


def build_parser(description: str | None) -> argparse.ArgumentParser:
    """Builds the arguments that every script takes; `make` passes COMPETITION= as --competition, and so on."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--competition", default="carvana", help="a folder of configs/ (default: carvana)")
    parser.add_argument("--input", type=Path, help="the competition's files (default: input/<competition>)")
    parser.add_argument("--models", type=Path, help="runs, folds, caches, maps (default: models/<competition>)")
    parser.add_argument("--ensemble", help="x for that of ensemble_x.py (default: that of ensemble.py)")
    parser.add_argument("--exp", default="all", help="names of experiments with commas, or all of the ensemble")
    parser.add_argument("--fold", default="all", help="numbers of folds with commas, or all")
    parser.add_argument("--jobs", type=int, help="worker processes (default: one a core)")
    parser.add_argument("--cluster", help="address of a Dask scheduler whose workers take the tasks (default: none)")
    parser.add_argument("--root", type=Path, default=Path(), help="the folder of configs/, input/, ... (default: here)")
    parser.add_argument("--verbose", action="store_true", help="log more; show a traceback with every error")
    return parser


def run(main: Callable[[Stage], None], parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> NoReturn:
    """Runs a script's `main` and exits: 0, 1 with one line for what the user can mend, 130 at Ctrl-C.

    What a stage took is noted in the models folder, for the summary.
    """
    args = parser.parse_args(argv)
    set_up_logging(args.verbose)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow greets with a page of notes otherwise
    stage = Stage(name=name_program(), project=_build_project(args), args=args)
    began = time.monotonic()

    def work() -> None:
        with _choose_workers(stage):
            main(stage)

    guard(work, verbose=args.verbose, complete=lambda message: complete_commands(message, args))
    note_seconds(stage, time.monotonic() - began)
    sys.exit(0)


def guard(work: Callable[[], None], *, verbose: bool, complete: Callable[[str], str] = str) -> None:
    """Does some work; exits with 1 and one line for what the user can mend, with 130 at Ctrl-C.

    Args:
        work: called once.
        verbose: whether errors show their traceback.
        complete: adds to an error's message what only the command line knows.
    """
    try:
        work()
    except KeyboardInterrupt:
        _fail("stopped by Ctrl-C; what was finished is kept, the same command goes on", INTERRUPTED, verbose)
    except InputError as error:
        _fail(complete(str(error)), FAILED, verbose)
    except BrokenPipeError:  # `unets info MODEL | head`: who reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains of it as it ends
        sys.exit(FAILED)
    except OSError as error:
        # A full disk, a missing permission: the system's own words, with the file's name.
        _fail(f"{error}; what was finished is kept, the same command goes on", FAILED, verbose)


def complete_commands(message: str, args: argparse.Namespace) -> str:
    """Adds to each `make` command of a message the variables that the user works with.

    The package names the command that helps; only the command line knows in which competition and folders.
    """
    given = {"INPUT": args.input, "MODELS": args.models}
    defaults = {"INPUT": Path("input") / args.competition, "MODELS": Path("models") / args.competition}
    words = [] if args.competition == "carvana" else [f"COMPETITION={args.competition}"]
    words += [f"ENSEMBLE={args.ensemble}"] if args.ensemble else []
    words += [f"{name}={path}" for name, path in given.items() if path is not None and path != defaults[name]]
    return re.sub(r"`make ([^`]+)`", lambda match: f"`{' '.join(['make', match[1], *words])}`", message)


def load_backend() -> None:
    """Imports Keras and its backend and lets it find its devices, without the notes it writes to stderr meanwhile.

    TensorFlow's come from C++ before any log level can be set, so the file descriptor itself is turned away; should the
    import fail, they are shown.

    Raises:
        InputError: the backend is not installed.
    """
    _check_backend()
    with tempfile.TemporaryFile() as notes:
        stderr = os.dup(2)
        os.dup2(notes.fileno(), 2)
        try:
            from unets.nets.backend import describe_device

            describe_device()
        except Exception:
            notes.seek(0)
            os.write(stderr, notes.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def note_seconds(stage: Stage, seconds: float) -> None:
    """Appends what a stage took to `stages.jsonl`."""
    row = {"stage": stage.name, "exp": stage.args.exp, "fold": stage.args.fold, "seconds": round(seconds, 1)}
    append_json_line(stage.project.stages_path, row)


def _check_backend() -> None:
    """Checks that what Keras computes with is installed; it is no dependency of the package, as there are several."""
    wanted = os.environ.get("KERAS_BACKEND", "tensorflow")
    if find_spec(wanted) is None:
        other = next((name for name in _BACKENDS if find_spec(name) is not None), None)
        hint = f"KERAS_BACKEND={other} uses what is there" if other else f"pip install 'unets[{_BACKENDS[0]}]'"
        raise InputError(f"Keras must have a backend. Received: no {wanted} in {sys.prefix}. {hint}")


def _choose_workers(stage: Stage) -> AbstractContextManager[None]:
    """Returns the block in which tasks go to the cluster of CLUSTER=, if there is one."""
    if not stage.args.cluster:
        return nullcontext()
    folders = {"input_dir": stage.project.input_dir, "models_dir": stage.project.models_dir}
    return use_cluster(stage.args.cluster, **folders)


def _build_project(args: argparse.Namespace) -> Project:
    project = Project.below(args.root, args.competition, input_dir=args.input, models_dir=args.models)
    if not args.cluster:
        return project
    # Workers stand in folders of their own.
    folders = {"input_dir": project.input_dir.absolute(), "models_dir": project.models_dir.absolute()}
    return Project.below(args.root.absolute(), args.competition, **folders)


def _fail(message: str, code: int, verbose: bool) -> NoReturn:
    logger.error("error: %s", message, exc_info=verbose)
    sys.exit(code)
