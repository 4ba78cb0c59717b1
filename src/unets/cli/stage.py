"""A subcommand: what it is asked to work on, how a function becomes one, and how one is run, timed, and ended."""

import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from inspect import Signature, cleandoc, signature
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, NoReturn

from unets.cli.app import STEP, app, complete_commands, describe_option
from unets.config import (
    DatasetConfig,
    EnsembleConfig,
    ExperimentConfig,
    check_name,
    list_experiments,
    list_seeds,
    load_dataset,
    load_ensemble,
    load_experiment,
    name_experiment,
    split_name,
)
from unets.errors import FAILED, INTERRUPTED, InputError, is_out_of_memory, suggest
from unets.log import format_count, set_up_logging
from unets.store.paths import Project
from unets.store.runs import append_json_line, hash_file, lock, write_text
from unets.workers.devices import is_followed

if TYPE_CHECKING:
    from unets.dataset.manifest import Manifest
    from unets.ensemble.ensemble import Ensemble

logger = logging.getLogger(__name__)

Work = Callable[..., None]
_RUNS = ("exp", "fold", "settings", "seeds", "ensemble")
_PLACES = ("input", "models", "jobs", "cluster", "root", "verbose")
_INPUT_NOTE = ".input"  # beside a competition's configs: where its data lies on this machine


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a subcommand works on."""

    name: str  # of the subcommand
    project: Project  # the competition's folders
    given: Mapping[str, Any]  # all options by name, as they were given

    @property
    def root(self) -> Path:
        """The folder of configs/, results/, notebooks/, ..."""
        return self.project.configs_dir.parents[1]

    @cached_property
    def dataset(self) -> DatasetConfig:
        """The competition's dataset."""
        check_name(self.project.competition, "`COMPETITION`")
        list_experiments(self.project.configs_dir)  # tells which competitions there are, if this is none of them
        return load_dataset(self.project.configs_dir)

    @cached_property
    def manifest(self) -> "Manifest":
        """All images of the data set, imported first where the data changed."""
        from unets.dataset.manifest import read_manifest

        return read_manifest(self.project, self.dataset)

    @cached_property
    def fold_of(self) -> dict[str, int]:
        """The fold of each training id."""
        from unets.dataset.folds import read_folds

        return read_folds(self.project.folds_path, self.manifest)

    @property
    def has_all(self) -> bool:
        """Whether no experiment was chosen, and so all of the ensemble are meant."""
        return str(self.given.get("exp", "all")) == "all"

    @cached_property
    def ensemble(self) -> EnsembleConfig:
        """The ensemble's config; with --exp those experiments alone, equally weighted where given weights lack one."""
        config = load_ensemble(self.project.configs_dir, self.ensemble_name)
        weights = config.weights
        if self.has_all:
            names = tuple(self._name_runs(config.experiments))
            weights = weights if len(names) == len(config.experiments) or isinstance(weights, str) else "equal"
            return config.model_copy(update={"experiments": names, "weights": weights})
        names = tuple(self._list_named())
        if not isinstance(weights, str):
            weight_of = dict(zip(config.experiments, weights, strict=True))
            found = tuple(weight_of[name] for name in names if name in weight_of)
            weights = found if len(found) == len(names) and any(found) else "equal"
        return config.model_copy(update={"experiments": names, "weights": weights})

    @property
    def ensemble_name(self) -> str:
        """The name of the ensemble's config and of its files: `ensemble`, with --ensemble x `ensemble_x`."""
        return f"ensemble_{self.given['ensemble']}" if self.given.get("ensemble") else "ensemble"

    @cached_property
    def experiments(self) -> dict[str, ExperimentConfig]:
        """Configs by name: those of --exp, or all that the ensemble is made of; names hold the overrides of --set."""
        names = list(self.ensemble.experiments) if self.has_all else self._list_named()
        return {name: load_experiment(self.project.configs_dir, name) for name in names}

    def list_folds(self, experiment: ExperimentConfig) -> list[int]:
        """Returns the folds of --fold, or all that the experiment wants; InputError where one does not exist."""
        num_folds, given = self.dataset.num_folds, self.given["fold"]
        if given == "all":
            folds = list(range(num_folds)) if experiment.folds is None else list(experiment.folds)
        else:
            words = given.split(",")
            if not all(word.isdecimal() for word in words):
                raise InputError(f"`--fold` must be all or numbers with commas, as 0,2. Received: {given}")
            folds = sorted({int(word) for word in words})
        if not folds or max(folds) >= num_folds:
            raise InputError(f"`--fold` must be in 0..{num_folds - 1}. Received: {folds}")
        return folds

    @property
    def chosen_folds(self) -> dict[str, list[int]]:
        """The folds asked for of each experiment."""
        return {name: self.list_folds(experiment) for name, experiment in self.experiments.items()}

    @property
    def common_folds(self) -> list[int]:
        """The folds that all experiments asked for have in common."""
        return sorted(set.intersection(*map(set, self.chosen_folds.values())))

    @property
    def experiments_to_train(self) -> tuple[dict[str, ExperimentConfig], dict[str, list[int]]]:
        """The experiments asked for, those that they start from where these are not trained, and the folds of each."""
        from unets.store.run_folder import is_trained

        experiments, folds = dict(self.experiments), self.chosen_folds
        for name in (queue := list(experiments)):
            source = experiments[name].training.start_from
            if source is None:
                continue
            missing = {fold for fold in folds[name] if not is_trained(self.project.run_dir(source, fold))}
            if not missing <= set(folds.get(source, ())):
                experiments.setdefault(source, load_experiment(self.project.configs_dir, source))
                folds[source] = sorted(missing.union(folds.get(source, ())))
                queue.append(source)
        return experiments, folds

    def check_runs(self, experiments: Mapping[str, ExperimentConfig], folds: Mapping[str, Iterable[int]]) -> None:
        """Refuses runs of another config, or of files that changed since, before a backend is loaded, which takes
        seconds.

        Raises as `check_snapshot`.
        """
        from unets.store.run_folder import check_snapshot, take_snapshot

        hashes, folds_hash = self.manifest.train_hashes, hash_file(self.project.folds_path)
        for name, experiment in experiments.items():
            for fold in folds[name]:
                snapshot = take_snapshot(experiment, self.dataset, fold, folds_hash, hashes)
                check_snapshot(self.project.run_dir(name, fold), snapshot, hashes)

    def read_ensemble(self) -> "Ensemble":
        """Reads the fitted ensemble, and says where masks changed since it was fitted.

        Raises InputError where there is none, or it was made of other experiments, folds or settings than those asked
        for.
        """
        from unets.dataset.manifest import has_other_masks
        from unets.ensemble.ensemble import check_ensemble, read_ensemble

        ensemble = read_ensemble(self.project, self.ensemble_name)
        check_ensemble(ensemble, self.dataset, self.ensemble, self.common_folds)
        if has_other_masks(self.project, ensemble.ground_truth):
            logger.warning(
                "masks of training images changed since the ensemble was fitted: its nets, its threshold and its score "
                "are of the former ones"
            )
        return ensemble

    def lock_models(self) -> AbstractContextManager[None]:
        """Returns a block in which no other stage that asks for this may write to the same models folder; see `lock`.

        Raises InputError where there is no such competition: it gets no folder.
        """
        _ = self.dataset
        return lock(self.project.models_dir)

    @contextmanager
    def use_workers(self) -> Iterator[None]:
        """The block in which tasks go to the cluster of --cluster, those of this machine to --jobs workers."""
        from unets.workers.pool import use_jobs

        project, address = self.project, self.given["cluster"]
        # Of a training they are folds at a time, each of which reads with all the cores that it has.
        with use_jobs(None if self.name == "train" else self.given["jobs"]):
            if not address:
                yield
                return
            from unets.workers.cluster import use_cluster

            with use_cluster(address, input_dir=project.input_dir, models_dir=project.models_dir):
                yield

    def describe(self) -> str:
        """Says which stage is at work on what: `3/6 train · studio · 3 experiments x 2 folds`."""
        parts = [f"{os.environ.get(STEP, '')} {self.name}".strip(), self.project.competition]
        if "exp" in self.given:
            numbers = [len(folds) for folds in self.chosen_folds.values()]
            is_even = len(set(numbers)) == 1
            counts = {"experiment": len(numbers), "fold": numbers[0] if is_even else sum(numbers)}
            words = [format_count(count, what) for what, count in counts.items()]
            parts.append((" x " if is_even else ", ").join(words))
        return " · ".join(parts)

    def note_seconds(self, seconds: float) -> None:
        """Appends what the stage took to `stages.jsonl`, for the summary."""
        choice = {name: self.given.get(name, "all") for name in ("exp", "fold")}
        try:
            append_json_line(self.project.stages_path, {"stage": self.name, **choice, "seconds": round(seconds, 1)})
        except OSError as error:  # a folder that is only read, as an archive, or a full disk: the stage's work is done
            logger.warning("what the stage took is not noted: %s", error)

    def finish(self, made: str, following: str) -> None:
        """Says what was made, with its path, and the next subcommand, where no pipeline goes on with it."""
        if made:
            print(made)
        if not os.environ.get(STEP):
            is_changed = self.given.get("settings") or self.given.get("seeds", 1) > 1
            words = [f"--exp {quote(','.join(self.experiments))}"] if not self.has_all or is_changed else []
            words += [f"--fold {self.given['fold']}"] if self.given.get("fold", "all") != "all" else []
            line = f"`unets {' '.join([following, *words])}`"
            print(f"next: {complete_commands(line, self.given)}")

    def _list_named(self) -> list[str]:
        known = list_experiments(self.project.configs_dir)
        words = self.given["exp"].split(",")
        for word in words:
            if (base := split_name(word)) not in known:
                hint = suggest(base, known)
                raise InputError(f"`--exp` must be all or among {', '.join(known)}. Received: {base}{hint}")
        return self._name_runs(words)

    def _name_runs(self, words: Iterable[str]) -> list[str]:
        """Returns the names of experiments with the overrides of --set, each followed by those of its further seeds."""
        settings = self.given.get("settings") or ()
        named = dict.fromkeys(name_experiment(word, settings) for word in words)
        count, folder = self.given.get("seeds", 1), self.project.configs_dir
        return list(dict.fromkeys(run for name in named for run in list_seeds(folder, name, count)))


def open_project(given: Mapping[str, Any]) -> Project:
    """Names a competition's folders: those given, else where `unets new` saw its data, else those of the repository."""
    root, noted = given["root"], given["root"] / "configs" / given["competition"] / _INPUT_NOTE
    folders = {"input_dir": given["input"], "models_dir": given["models"]}
    if folders["input_dir"] is None and noted.is_file():
        folders["input_dir"] = Path(noted.read_text(encoding="utf-8").removesuffix("\n"))
    if given.get("cluster"):  # workers stand in folders of their own
        root, folders = root.absolute(), {name: folder and folder.absolute() for name, folder in folders.items()}
    return Project.below(root, given["competition"], **folders)


def remember_input(project: Project) -> None:
    """Notes where a competition's data lies, for stages without --input, in a file that git ignores."""
    write_text(project.configs_dir / _INPUT_NOTE, f"{project.input_dir.absolute()}\n")


def command(*examples: str, runs: bool = False, rule: bool = True, locks: bool = False) -> Callable[[Work], Work]:
    """Makes a function a subcommand of its name; its docstring is the help, `app` says what its options are.

    The module's name is the part of the flow that it belongs to. Where the function's first parameter is a `Stage`, it
    takes a competition and its folders, too; with `runs` a choice of experiments and folds. With `rule` it begins with
    a line that says what is at work on what. One whose files all experiments share `locks` the models folder; folds and
    maps have locks of their own. Examples are command lines.
    """

    def decorate(work: Work) -> Work:
        name, panel = work.__name__.strip("_").replace("_", "-"), work.__module__.rpartition(".")[2]
        parameters = signature(work, eval_str=True).parameters
        own = {key: one for key, one in parameters.items() if key != "stage"}
        described = [describe_option(name, key, one) for key, one in own.items()]
        if "stage" in parameters:
            described.insert(0, describe_option(name, "competition"))
            described += [describe_option(name, key) for key in (*(_RUNS if runs else ()), *_PLACES)]
        else:
            described.append(describe_option(name, "verbose"))

        def call(**given: Any) -> None:
            chosen = {key: given[key] for key in own}
            with _ending_in_words(given):
                if "stage" not in parameters:
                    work(**chosen)
                    return
                stage, began = Stage(name=name, project=open_project(given), given=given), time.monotonic()
                # A fold's process is silent: who waits for it has said so.
                if (rule or os.environ.get(STEP)) and not is_followed():
                    sys.stderr.write(f"== {stage.describe()} ==\n")
                    sys.stderr.flush()
                with stage.use_workers(), stage.lock_models() if locks else nullcontext():
                    work(stage, **chosen)
                if (stage.project.configs_dir / "dataset.py").is_file():
                    stage.note_seconds(time.monotonic() - began)

        call.__signature__ = Signature(described)  # type: ignore[attr-defined]
        paragraphs = cleandoc(work.__doc__ or "").split("\n\n")
        call.__doc__ = "\n\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs)
        app.command(name, rich_help_panel=panel, epilog="\n".join(["Examples:", *examples]))(call)
        return work

    return decorate


@contextmanager
def _ending_in_words(given: Mapping[str, Any]) -> Iterator[None]:
    """Ends the process with 1 and one line for what the user can mend, with 130 at Ctrl-C."""
    set_up_logging(given["verbose"])
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # what it meets in a damaged image, our errors say
    warnings.filterwarnings("ignore", module="PIL")  # of notes in images that are not as they should be

    def fail(message: str, code: int = FAILED) -> NoReturn:
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
    except OSError as error:  # a full disk, a missing permission: the system's own words, with the file's name
        fail(f"{error}; {kept}")
    except Exception as error:
        if (said := _find_lack_of_memory(error)) is None:
            raise
        fail(
            f"memory must suffice. Received: {said or 'too little'}. Fewer --jobs, --micro-batch, or a smaller "
            f"`prediction.batch_size` take less"
        )


def _find_lack_of_memory(error: BaseException) -> str | None:
    """Returns what Python, a backend, or a library that was not loaded says of it; None of other errors."""
    if is_out_of_memory(error):
        return str(error).partition("\n")[0]
    cause: BaseException | None = error if isinstance(error, ImportError) else None
    while cause is not None and not re.search("failed to map segment|annot allocate memory", str(cause)):
        cause = cause.__cause__ or cause.__context__
    return None if cause is None else str(cause)
