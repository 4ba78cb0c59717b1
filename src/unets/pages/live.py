"""The live page of a training run: curves, rate, time left and the worst validation images; it reloads itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from unets.evaluation.runs import Run, read_history
from unets.evaluation.trackers import PANEL
from unets.pages.page import render_page
from unets.store.fingerprint import read_metrics, read_snapshot
from unets.store.paths import Project
from unets.store.runs import write_text
from unets.workers.machine import find_free_memory

PAGE = "live.html"
RELOAD_SECONDS = 20


def write_live(run_dir: Path) -> Path:
    """Writes the live page of a run from the files that training leaves after each epoch.

    It reads `history.csv`, `metrics.json` and `config.json`, and shows `panel/worst.jpg`, a sheet of the worst
    validation images, where that is there; the memory is that of the process that calls it. The page opens from disk
    and reloads itself until the run is finished.

    Args:
        run_dir: the run's folder, `<experiment>/fold<k>`.

    Returns:
        Path of the page.

    Raises:
        InputError: `metrics.json` or `config.json` is missing or damaged.
    """
    name = f"{run_dir.parent.name}, fold {run_dir.name.removeprefix('fold')}"
    metrics, config = read_metrics(run_dir), read_snapshot(run_dir)
    page = render_page(
        "live.html",
        title=name,
        metrics=metrics,
        num_epochs=config["training"]["epochs"],
        reload_seconds=RELOAD_SECONDS,
        memory_gb=psutil.Process().memory_info().rss / 1e9,
        free_gb=find_free_memory() / 1e9,
        panel=PANEL if (run_dir / PANEL).exists() else None,
        data={"training": [{"experiment": name, "fold": "", "best": [], **read_history(run_dir)}]},
    )
    write_text(run_dir / PAGE, page)
    return run_dir / PAGE


def list_training(project: Project, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Returns the curves of runs for the page's script; those without a finished epoch are left out."""
    found = [(run, read_history(project.run_dir(run.experiment, run.fold))) for run in runs]
    return [
        {"experiment": run.experiment, "fold": run.fold, "best": run.best_epochs, **history}
        for run, history in found
        if history["epochs"]
    ]
