"""The live page of a training run: curves, rate, time left and the worst validation images; it reloads itself."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unets.errors import InputError, naming
from unets.evaluation.runs import Run
from unets.pages.page import render_page
from unets.store.fingerprint import read_metrics, read_snapshot
from unets.store.paths import Project
from unets.store.runs import write_text

PAGE, PANEL, HISTORY = "live.html", "panel/worst.jpg", "history.csv"
RELOAD_SECONDS = 20


def write_live(run_dir: Path) -> Path:
    """Writes the live page of a run from the files that training leaves after each epoch.

    It reads `history.csv`, `metrics.json` and `config.json`, and shows `panel/worst.jpg`, a sheet of the worst
    validation images, where that is there. The page opens from disk and reloads itself until the run is finished.

    Args:
        run_dir: the run's folder, `<experiment>/fold<k>`.

    Returns:
        Path of the page.

    Raises:
        InputError: `metrics.json` or `config.json` is missing or damaged.
    """
    name = f"{run_dir.parent.name}, fold {run_dir.name.removeprefix('fold')}"
    metrics, config = read_metrics(run_dir), read_snapshot(run_dir)
    training = {"experiment": name, "fold": "", "best": [], **read_history(run_dir)}
    epoch, num_epochs = metrics["epochs"], config["training"]["epochs"]
    is_finished = metrics["is_finished"]
    seconds = metrics["seconds"] / max(epoch, 1)
    page = render_page(
        "live.html",
        title=name,
        epoch=epoch,
        num_epochs=num_epochs,
        is_finished=is_finished,
        reload_seconds=RELOAD_SECONDS,
        best_dice=metrics["best_dice"],
        best_epoch=metrics["best_epoch"] + 1,
        seconds=metrics["seconds"],
        seconds_left=0.0 if is_finished else seconds * (num_epochs - epoch),
        images_per_second=metrics["images"] / max(metrics["seconds"], 1e-9),
        devices=metrics["devices"],
        panel=PANEL if (run_dir / PANEL).exists() else None,
        data={"training": [training]},
    )
    write_text(run_dir / PAGE, page)
    return run_dir / PAGE


def list_training(project: Project, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Returns the curves of runs for the page's script; those without a finished epoch are left out."""
    described = [
        {
            "experiment": run.experiment,
            "fold": run.fold,
            "best": run.best_epochs,
            **read_history(project.run_dir(run.experiment, run.fold)),
        }
        for run in runs
    ]
    return [training for training in described if training["epochs"]]


def read_history(run_dir: Path) -> dict[str, Any]:
    """Reads `history.csv`: `epochs`, and the `series` that it has, None where a cell holds no finite number.

    A file that is missing or damaged gives no epochs.
    """
    try:
        with naming(run_dir / HISTORY), (run_dir / HISTORY).open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if (row.get("epoch") or "").isdecimal()]
    except InputError:
        rows = []
    names = [name for name in (rows[0] if rows else ()) if name and name != "epoch"]
    return {
        "epochs": [int(row["epoch"]) for row in rows],
        "series": {name: [_to_number(row.get(name)) for row in rows] for name in names},
    }


def _to_number(cell: str | None) -> float | None:
    try:
        value = float(cell or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
