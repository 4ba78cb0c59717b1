"""What runs a competition has: how far each is, what it reached, what it cost.

Read from the run folders alone, which may be of an older version, damaged, or written at this very moment: what one of
them lacks stays empty, and nothing here locks or writes.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from unets.config import Config, DatasetConfig, load_experiment, split_name
from unets.errors import InputError, naming
from unets.store.paths import Project
from unets.store.run_folder import (
    METRICS,
    SNAPSHOT,
    WEIGHTS,
    check_snapshot,
    read_metrics,
    read_snapshot,
    take_snapshot,
)
from unets.store.runs import find_lock_owner, hash_file
from unets.tables import Table

State = Literal["finished", "running", "stopped", "broken"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One fold of one experiment."""

    experiment: str
    fold: int
    state: State
    remark: str = ""  # why it is broken, or foreign to the present config
    num_epochs: int | None = None  # those wanted; None: not known
    metrics: dict[str, Any] = field(default_factory=dict)  # see `read_metrics`; empty before the first epoch's end

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights predict, from 1; 0: none yet."""
        return int(self.metrics.get("best_epoch", -1)) + 1

    @property
    def seconds(self) -> float:
        """What its training took so far."""
        return float(self.metrics.get("seconds", 0))

    @property
    def devices(self) -> list[str]:
        """What it was trained on."""
        return list(self.metrics.get("devices", ()))


class Cost(Config):
    """What runs cost together."""

    training_hours: float
    images: int  # trained on, each as often as it was
    runs: int
    devices: tuple[str, ...]


def list_runs(project: Project, dataset: DatasetConfig) -> list[Run]:
    """Lists all runs of a competition, by experiment and fold."""
    folds_hash = hash_file(project.folds_path) if project.folds_path.exists() else ""
    runs = []
    for experiment_dir in list_folders(project.models_dir):
        matches = [re.fullmatch(r"fold(\d+)", path.name) for path in list_folders(experiment_dir)]
        folds = sorted(int(match[1]) for match in matches if match)
        runs += [_describe_run(project, dataset, experiment_dir.name, fold, folds_hash) for fold in folds]
    return runs


def find_cost(project: Project, experiments: Iterable[str], folds: Collection[int]) -> Cost | None:
    """Adds up what folds of experiments cost, with the runs whose weights they started from; None: metrics are lost."""
    runs = dict[Path, None]()
    for name, fold in ((name, fold) for name in experiments for fold in folds):
        start = name
        while start and (run_dir := project.run_dir(start, fold)) not in runs:
            runs[run_dir] = None
            start = read_snapshot(run_dir)["training"].get("start_from") if (run_dir / SNAPSHOT).exists() else ""
    if not all((run_dir / METRICS).exists() for run_dir in runs):
        return None
    metrics = [read_metrics(run_dir) for run_dir in runs]
    return Cost(
        training_hours=round(sum(run["seconds"] for run in metrics) / 3600, 4),
        images=sum(run["images"] for run in metrics),
        runs=len(metrics),
        devices=tuple(sorted({device for run in metrics for device in run["devices"]})),
    )


def render_inventory(competition: str, runs: Sequence[Run], scores: Table) -> str:
    """Renders runs and `tabulate_scores` as two tables; says what to do where there is nothing yet."""
    if not runs and not scores.rows:
        return f"{competition} has no runs yet: `unets train` makes one"
    shown = str(scores) if scores.rows else "No experiment was predicted yet: `unets predict` scores one at full size"
    return f"{tabulate_runs(runs)}\n\n{shown}" if runs else shown


def tabulate_runs(runs: Iterable[Run]) -> Table:
    """Returns a row a run."""
    header = ("experiment", "fold", "state", "epoch", "best Dice", "in epoch", "hours", "images", "commit", "device")
    rows = [
        (
            run.experiment,
            str(run.fold),
            f"{run.state}{f' ({run.remark})' if run.remark else ''}",
            f"{run.metrics.get('epochs', 0)}/{run.num_epochs or '?'}",
            f"{run.metrics['best_dice']:.5f}" if run.best_epoch else "",
            str(run.best_epoch or ""),
            f"{run.seconds / 3600:.2f}",
            str(run.metrics.get("images", 0)),
            ", ".join(run.metrics.get("commits", ())),
            ", ".join(run.devices),
        )
        for run in runs
    ]
    right = frozenset({"fold", "epoch", "best Dice", "in epoch", "hours", "images"})
    return Table(header=header, rows=tuple(rows), right=right, once=frozenset({"commit", "device"}))


def list_folders(folder: Path) -> list[Path]:
    """Lists the folders in a folder, sorted; hidden ones are left out."""
    return sorted(path for path in folder.glob("*") if path.is_dir() and not path.name.startswith("."))


def read_history(run_dir: Path) -> dict[str, Any]:
    """Reads `history.csv`: `epochs`, and the `series` that it has, None where a cell holds no finite number.

    A file that is missing or damaged gives no epochs.
    """
    try:
        with naming(run_dir / "history.csv"):
            table = pd.read_csv(run_dir / "history.csv", dtype=str, keep_default_na=False)
            table = table[table["epoch"].str.isdecimal()].set_index("epoch")
    except InputError:
        return {"epochs": [], "series": {}}
    series = {}
    for name, column in table.items():
        values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
        series[str(name)] = [float(value) if np.isfinite(value) else None for value in values]
    return {"epochs": [int(epoch) for epoch in table.index], "series": series}


def _describe_run(project: Project, dataset: DatasetConfig, experiment: str, fold: int, folds_hash: str) -> Run:
    run_dir = project.run_dir(experiment, fold)
    is_locked = find_lock_owner(run_dir) is not None
    try:
        if not (run_dir / SNAPSHOT).exists():  # a run writes it first of all
            raise InputError(f"no {SNAPSHOT}")
        snapshot = read_snapshot(run_dir)
        metrics = read_metrics(run_dir) if (run_dir / METRICS).exists() else {}
    except InputError as error:
        remark = "" if is_locked else str(error).partition(". Received")[0]
        return Run(experiment=experiment, fold=fold, state="running" if is_locked else "broken", remark=remark)
    state: State = "running" if is_locked else "finished" if metrics.get("is_finished") else "stopped"
    remark = _compare_config(project, dataset, experiment, fold, folds_hash)
    if metrics and not is_locked and not (run_dir / WEIGHTS).exists():
        state, remark = "broken", f"no {WEIGHTS}"
    about = {"num_epochs": snapshot["training"].get("epochs"), "metrics": metrics}
    return Run(experiment=experiment, fold=fold, state=state, remark=remark, **about)


def _compare_config(project: Project, dataset: DatasetConfig, experiment: str, fold: int, folds_hash: str) -> str:
    """Says what keeps a run from being of the present config; empty where nothing does."""
    if not (project.configs_dir / f"{split_name(experiment)}.py").exists():
        return "no config file"
    try:
        config = load_experiment(project.configs_dir, experiment)
    except InputError:
        return "config file is faulty"
    try:
        check_snapshot(project.run_dir(experiment, fold), take_snapshot(config, dataset, fold, folds_hash))
    except InputError:
        return "of another config"
    return ""
