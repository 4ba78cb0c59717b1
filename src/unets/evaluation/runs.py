"""What runs a competition has: how far each is, what it reached, what it cost.

Read from the run folders alone, which may be of an older version, damaged, or written at this very moment: what one of
them lacks stays empty, and nothing here locks or writes.
"""

import csv
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from unets.config import DatasetConfig, ExperimentConfig, load_experiment, split_name
from unets.dataset.folds import hash_folds
from unets.errors import InputError, suggest
from unets.metrics.intervals import Interval, bootstrap_mean
from unets.store.fingerprint import SNAPSHOT, check_snapshot, take_snapshot
from unets.store.paths import Project
from unets.store.runs import find_lock_owner, hash_file, read_json
from unets.tables import Table, render_table

State = Literal["finished", "running", "stopped", "broken"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One fold of one experiment."""

    experiment: str
    fold: int
    state: State
    remark: str = ""  # why it is broken, or foreign to the present config
    epoch: int = 0  # finished ones
    num_epochs: int | None = None  # those wanted; None: not known
    best_dice: float | None = None  # of validation, at the net's own resolution, by the weights that predict
    best_epochs: tuple[int, ...] = ()  # they are of, from 1; several where their mean predicts
    seconds: float = 0.0
    photos: int = 0  # trained on
    devices: tuple[str, ...] = ()
    commits: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What an experiment reached out-of-fold, at full size."""

    experiment: str
    folds: tuple[int, ...] = ()
    num_photos: int = 0
    num_groups: int = 0
    score: Interval | None = None  # None: its csv cannot be read
    remark: str = ""  # where it cannot be read, or is older than the runs


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotoScore:
    """A row of a csv of out-of-fold scores."""

    id: str
    group: str
    fold: int
    score: float


def list_runs(project: Project, dataset: DatasetConfig) -> list[Run]:
    """Lists all runs of a competition, by experiment and fold."""
    folds_hash = hash_folds(project.folds_path) if project.folds_path.exists() else ""
    runs = []
    for experiment_dir in _list_folders(project.models_dir):
        folds = sorted(int(match[1]) for path in _list_folders(experiment_dir) if (match := _match_fold(path.name)))
        config = _find_config(project, experiment_dir.name) if folds else ""
        for fold in folds:
            runs.append(_describe_run(project, dataset, config, experiment_dir.name, fold, folds_hash))
    return runs


def list_evaluations(project: Project, dataset: DatasetConfig) -> list[Evaluation]:
    """Lists what the experiments that were predicted reached, by name."""
    return [_evaluate(project, dataset.metric, name) for name in list_evaluated(project)]


def list_evaluated(project: Project) -> list[str]:
    """Returns the names of the experiments that were predicted and scored out-of-fold, sorted."""
    names = [folder.name for folder in _list_folders(project.models_dir)]
    return [name for name in names if project.oof_scores_path(name).exists()]


def read_scores(path: Path, metric: str) -> list[PhotoScore]:
    """Reads a csv of out-of-fold scores, `id,group,fold,<metric>` and maybe more.

    Raises:
        InputError: it is missing or empty, or something else stands in it.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            cells = list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise InputError(f"{path} must exist. Received: no such file") from error
    expected = f"{path} must hold at least one row of id,group,fold,{metric}"
    if not cells:
        raise InputError(f"{expected}. Received: none")
    try:
        rows = [PhotoScore(id=c["id"], group=c["group"], fold=int(c["fold"]), score=float(c[metric])) for c in cells]
    except (KeyError, TypeError, ValueError) as error:  # a column, a cell or a figure that is not there
        raise InputError(f"{expected}. Received: {type(error).__name__}: {error}") from error
    if not all(np.isfinite(row.score) for row in rows) or len({row.id for row in rows}) < len(rows):
        raise InputError(f"{expected}, each id once, with a score. Received: an id twice, or no score")
    return rows


def is_outdated(project: Project, experiment: str) -> bool:
    """Tells whether the weights of an experiment are others than those that its out-of-fold scores are of."""
    path = project.oof_pixels_path(experiment)
    recorded = read_json(path).get("weights", {}) if path.exists() else {}
    weights = {fold: project.run_dir(experiment, int(fold)) / "best.weights.h5" for fold in recorded}
    return any(path.exists() and hash_file(path) != recorded[fold] for fold, path in weights.items())


def sum_cost(metrics: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Adds up what runs cost, from their metrics.json: `training_hours`, `photos`, `runs`, `devices`."""
    runs = list(metrics)
    return {
        "training_hours": round(sum(run["seconds"] for run in runs) / 3600, 4),
        "photos": sum(run["photos"] for run in runs),
        "runs": len(runs),
        "devices": sorted({device for run in runs for device in run["devices"]}),
    }


def find_cost(project: Project, experiments: Iterable[str], folds: Iterable[int]) -> dict[str, Any] | None:
    """Adds up what folds of experiments cost, see `sum_cost`, with the runs whose weights they started from.

    Returns:
        None where a run lacks its metrics.json.
    """
    numbers = tuple(folds)
    runs = dict.fromkeys(run for name in experiments for fold in numbers for run in _list_chain(project, name, fold))
    paths = [run_dir / "metrics.json" for run_dir in runs]
    return sum_cost(map(read_json, paths)) if all(path.exists() for path in paths) else None


def _list_chain(project: Project, experiment: str, fold: int) -> list[Path]:
    """Returns the folders of a run, of the run whose weights it started from, and so on."""
    chain, name = list[Path](), experiment
    while name and (run_dir := project.run_dir(name, fold)) not in chain:
        chain.append(run_dir)
        snapshot = run_dir / SNAPSHOT
        name = read_json(snapshot).get("training", {}).get("start_from") if snapshot.exists() else ""
    return chain


def select_inventory(
    runs: Sequence[Run],
    evaluations: Sequence[Evaluation],
    *,
    experiments: Collection[str] | None = None,
    folds: Collection[int] | None = None,
) -> tuple[list[Run], list[Evaluation]]:
    """Returns the runs and evaluations of some experiments and folds; None is all.

    Raises:
        InputError: an experiment has neither.
    """
    known = {run.experiment for run in runs} | {row.experiment for row in evaluations}
    if unknown := sorted(set(experiments or ()) - known):
        words, hint = ", ".join(sorted(known)) or "(none)", suggest(unknown[0], known)
        raise InputError(f"`--exp` must be all or have runs, as {words}. Received: {unknown[0]}{hint}")
    names = known if experiments is None else experiments
    return (
        [run for run in runs if run.experiment in names and (folds is None or run.fold in folds)],
        [
            row
            for row in evaluations
            if row.experiment in names and (folds is None or not row.folds or set(row.folds) & set(folds))
        ],
    )


def render_inventory(competition: str, runs: Iterable[Run], evaluations: Iterable[Evaluation]) -> str:
    """Renders runs and evaluations as two tables; says what to do where there is nothing yet."""
    run_table = tabulate_runs(runs)
    evaluation_rows = [_render_evaluation(evaluation) for evaluation in evaluations]
    if not run_table.rows and not evaluation_rows:
        return f"{competition} has no runs yet: `unets train` makes one"
    parts = [str(run_table)] if run_table.rows else []
    if evaluation_rows:
        header = ["out-of-fold, full size", "score (95 %)", "folds", "photos", "groups", ""]
        parts.append(render_table(header, evaluation_rows, right={"photos", "groups"}))
    else:
        parts.append("No experiment was predicted yet: `unets predict` scores one at full size")
    return "\n\n".join(parts)


def tabulate_runs(runs: Iterable[Run]) -> Table:
    """Returns a row a run."""
    header = ("experiment", "fold", "state", "epoch", "best Dice", "in epoch", "hours", "photos", "commit", "device")
    right = frozenset({"fold", "epoch", "best Dice", "in epoch", "hours", "photos"})
    return Table(header=header, rows=tuple(map(_render_run, runs)), right=right)


def _list_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_dir() and not path.name.startswith("."))


def _match_fold(name: str) -> re.Match[str] | None:
    return re.fullmatch(r"fold(\d+)", name)


def _find_config(project: Project, experiment: str) -> ExperimentConfig | str:
    """Returns the present config of an experiment, or why there is none."""
    try:
        return load_experiment(project.configs_dir, experiment)
    except InputError:
        exists = (project.configs_dir / f"{split_name(experiment)}.py").exists()
        return "config file is faulty" if exists else "no config file"


def _describe_run(
    project: Project,
    dataset: DatasetConfig,
    config: ExperimentConfig | str,
    experiment: str,
    fold: int,
    folds_hash: str,
) -> Run:
    run_dir = project.run_dir(experiment, fold)
    is_held = find_lock_owner(run_dir) is not None
    build = partial(Run, experiment=experiment, fold=fold)
    try:
        snapshot, metrics = _read_object(run_dir / SNAPSHOT), _read_object(run_dir / "metrics.json")
    except InputError as error:
        return build(state="running" if is_held else "broken", remark=str(error).partition(". Received")[0])
    if not snapshot:  # a run writes it first of all
        return build(state="running" if is_held else "broken", remark="" if is_held else f"no {SNAPSHOT}")
    remark = ""
    state: State = "finished" if metrics.get("is_finished") else "stopped"
    if isinstance(config, str):
        remark = config
    elif not _is_own(run_dir, take_snapshot(config, dataset, fold, folds_hash)):
        remark = "of another config"
    if is_held:
        state = "running"
    elif metrics and not (run_dir / "best.weights.h5").exists():
        state, remark = "broken", "no best.weights.h5"
    best_dice, best_epochs = _find_best(metrics)
    return build(
        state=state,
        remark=remark,
        epoch=metrics.get("epochs", 0),
        num_epochs=snapshot.get("training", {}).get("epochs"),
        best_dice=best_dice,
        best_epochs=best_epochs,
        seconds=metrics.get("seconds", 0.0),
        photos=metrics.get("photos", 0),
        devices=tuple(metrics.get("devices", ())),
        commits=tuple(metrics.get("commits", ())),
    )


def _evaluate(project: Project, metric: str, experiment: str) -> Evaluation:
    path = project.oof_scores_path(experiment)
    try:
        rows = read_scores(path, metric)
    except InputError as error:
        return Evaluation(experiment=experiment, remark=str(error))
    groups = [row.group for row in rows]
    return Evaluation(
        experiment=experiment,
        folds=tuple(sorted({row.fold for row in rows})),
        num_photos=len(rows),
        num_groups=len(set(groups)),
        score=bootstrap_mean(np.array([row.score for row in rows]), groups),
        remark="of other weights than the present" if is_outdated(project, experiment) else "",
    )


def _find_best(metrics: Mapping[str, Any]) -> tuple[float | None, tuple[int, ...]]:
    average = metrics.get("average") or {}
    if average.get("is_used"):
        return average.get("val_dice"), tuple(average.get("epochs", ()))
    if metrics.get("best_epoch", -1) < 0:
        return None, ()
    return metrics.get("best_dice"), (metrics["best_epoch"] + 1,)


def _read_object(path: Path) -> dict[str, Any]:
    """Reads a JSON object; an empty one where there is no file, or none any more."""
    try:
        return read_json(path)
    except InputError:
        if path.exists():
            raise
        return {}


def _is_own(run_dir: Path, snapshot: dict[str, Any]) -> bool:
    try:
        check_snapshot(run_dir, snapshot)
    except InputError:
        return False
    return True


def _render_run(run: Run) -> tuple[str, ...]:
    return (
        run.experiment,
        str(run.fold),
        f"{run.state}{f' ({run.remark})' if run.remark else ''}",
        f"{run.epoch}/{'?' if run.num_epochs is None else run.num_epochs}",
        "" if run.best_dice is None else f"{run.best_dice:.5f}",
        ",".join(map(str, run.best_epochs)),
        f"{run.seconds / 3600:.2f}",
        str(run.photos),
        ", ".join(run.commits),
        ", ".join(run.devices),
    )


def _render_evaluation(evaluation: Evaluation) -> list[str]:
    return [
        evaluation.experiment,
        "" if evaluation.score is None else str(evaluation.score),
        ",".join(map(str, evaluation.folds)),
        str(evaluation.num_photos),
        str(evaluation.num_groups),
        evaluation.remark,
    ]
