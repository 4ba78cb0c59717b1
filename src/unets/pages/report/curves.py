"""Training curves: loss and Dice of each epoch, from the history.csv of each run."""

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass

from unets.evaluation.runs import Run
from unets.store.paths import Project

SERIES = ("loss", "val_loss", "dice", "val_dice")


@dataclass(frozen=True, kw_only=True, slots=True)
class Curves:
    """One fold's run."""

    fold: int
    epochs: tuple[int, ...]
    values: dict[str, tuple[float | None, ...]]  # of `SERIES`; None where a cell holds no finite number
    best_epochs: tuple[int, ...]  # whose weights predict


def read_curves(project: Project, runs: Iterable[Run]) -> dict[str, list[Curves]]:
    """Reads the curves of runs, by experiment; a run that has no whole epoch yet is left out."""
    found: dict[str, list[Curves]] = {}
    for run in runs:
        rows = _read_rows(project, run)
        epochs = tuple(int(row["epoch"]) for row in rows)
        if not epochs:
            continue
        values = {name: tuple(_to_number(row.get(name)) for row in rows) for name in SERIES}
        curves = Curves(fold=run.fold, epochs=epochs, values=values, best_epochs=run.best_epochs)
        found.setdefault(run.experiment, []).append(curves)
    return found


def _read_rows(project: Project, run: Run) -> list[dict[str, str]]:
    """Reads the rows that have an epoch: a run of another version, or one that is damaged, may have none."""
    path = project.run_dir(run.experiment, run.fold) / "history.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [row for row in csv.DictReader(file) if (row.get("epoch") or "").isdecimal()]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def _to_number(cell: str | None) -> float | None:
    try:
        value = float(cell or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
