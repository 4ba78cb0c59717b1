"""Trackers: tools that a run's curves also go to: TensorBoard, Weights & Biases, MLflow.

A tracker is called with the run's folder after each epoch and takes from there what training left: `config.json`,
`history.csv`, `metrics.json`, `panel/worst.jpg`. Nothing that is trained depends on it. Each tool is spoken to by its
own client, which its own variables set up, as `WANDB_MODE=offline` and `MLFLOW_TRACKING_URI`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from unets.errors import InputError, suggest
from unets.evaluation.runs import read_history
from unets.store.run_folder import read_metrics, read_snapshot
from unets.store.runs import read_json, write_json

PANEL, PANEL_NAME = "panel/worst.jpg", "worst_validation_images"


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenRun:
    """A run in a tool: its id, by which it is opened once more, what logs an epoch, and what closes it."""

    id: str
    log: Callable[[int, dict[str, float], Path | None], object]  # epoch, values, the panel if there is a new one
    close: Callable[[], object] = lambda: None


def open_tensorboard(run_dir: Path, config: dict[str, Any], id_: str | None) -> OpenRun:
    """Opens `events/` in the run's folder; `tensorboard --logdir models/mine` shows it."""

    def log(epoch: int, values: dict[str, float], panel: Path | None) -> None:
        writer = import_module("tensorboardX").SummaryWriter
        # A file an epoch, whole when it is closed: one that is kept open loses what a kill finds in its queue. It hides
        # what an earlier start wrote of this step and later ones.
        with writer(str(run_dir / "events"), purge_step=epoch, filename_suffix=f".{epoch:06}") as events:
            for name, value in values.items():
                events.add_scalar(name, value, epoch)
            if panel is not None:
                events.add_image(PANEL_NAME, np.asarray(Image.open(panel)), epoch, dataformats="HWC")

    return OpenRun(id="events", log=log)


def open_wandb(run_dir: Path, config: dict[str, Any], id_: str | None) -> OpenRun:
    """Opens a run of the project that has the competition's name."""
    wandb: Any = import_module("wandb")
    run = wandb.init(
        project=run_dir.parents[1].name,
        group=run_dir.parent.name,
        name=f"{run_dir.parent.name} {run_dir.name}",
        id=id_,
        resume="allow" if id_ else None,
        reinit="create_new",
        dir=str(run_dir),
        config=config,
        settings=wandb.Settings(console="off"),
    )

    def log(epoch: int, values: dict[str, float], panel: Path | None) -> None:
        run.log({**values, **({PANEL_NAME: wandb.Image(str(panel))} if panel else {})}, step=epoch)

    return OpenRun(id=run.id, log=log, close=run.finish)


def open_mlflow(run_dir: Path, config: dict[str, Any], id_: str | None) -> OpenRun:
    """Opens a run of the experiment that has the competition's name; the config's fields are its parameters."""
    client, name = import_module("mlflow").MlflowClient(), run_dir.parents[1].name
    if id_ is None:
        experiment = client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else client.create_experiment(name)
        id_ = str(client.create_run(number, run_name=f"{run_dir.parent.name} {run_dir.name}").info.run_id)
        for key, value in pd.json_normalize(config, sep=".").iloc[0].items():
            client.log_param(id_, str(key), value)

    def log(epoch: int, values: dict[str, float], panel: Path | None) -> None:
        for name, value in values.items():
            client.log_metric(id_, name, value, step=epoch)
        if panel is not None:
            client.log_artifact(id_, str(panel))

    return OpenRun(id=id_, log=log, close=partial(client.set_terminated, id_))


Begin = Callable[[Path, dict[str, Any], str | None], OpenRun]
# What opens a run, and what the tool raises.
TRACKERS: dict[str, tuple[Begin, Callable[[], tuple[type[Exception], ...]]]] = {
    "tensorboard": (open_tensorboard, lambda: ()),
    "wandb": (open_wandb, lambda: (import_module("wandb").Error,)),
    "mlflow": (open_mlflow, lambda: (import_module("mlflow.exceptions").MlflowException,)),
}


class Tracker:
    """Hands each epoch of a run to a tool, once; call it with the run's folder.

    What the tool has stands in the run's folder, in a file of the tracker's name: the id by which it finds the run, the
    number of epochs, the time of the panel.
    """

    def __init__(self, name: str) -> None:
        self.name, self.runs = name, dict[Path, OpenRun]()

    def __call__(self, run_dir: Path) -> None:
        """Hands on the epochs that the tool does not have, and the panel, if there is a new one.

        Raises InputError where the tool refuses, or cannot be reached.
        """
        begin, list_errors = TRACKERS[self.name]
        path, panel = run_dir / f"{self.name}.json", run_dir / PANEL
        known: dict[str, Any] = {"id": None, "epochs": 0, "panel": None}
        if path.exists():
            known = read_json(path, id=str, epochs=int, panel=int | None)
        epochs, series = read_history(run_dir).values()
        drawn = panel.stat().st_mtime_ns if panel.exists() else None
        try:
            if run_dir not in self.runs:
                self.runs[run_dir] = begin(run_dir, read_snapshot(run_dir), known["id"])
            for number, epoch in enumerate(epochs):
                if epoch > known["epochs"]:
                    values = {name: one[number] for name, one in series.items() if one[number] is not None}
                    is_new = epoch == epochs[-1] and drawn != known["panel"]
                    self.runs[run_dir].log(epoch, values, panel if is_new else None)
            write_json(
                path, {"id": self.runs[run_dir].id, "epochs": max(epochs, default=known["epochs"]), "panel": drawn}
            )
            if read_metrics(run_dir)["is_finished"]:
                self.runs.pop(run_dir).close()
        except list_errors() as error:
            raise InputError(
                f"`--track {self.name}` must be able to log {run_dir}. Received: {error}. The run is kept: the same "
                f"command goes on, with `--track none` without a tracker"
            ) from error


def build_trackers(names: str) -> list[Tracker]:
    """Builds the trackers of `--track`, names with commas; `none` is no tracker.

    Raises InputError where there is none of a name, or its client is not installed.
    """
    chosen = dict.fromkeys(word for word in names.replace(" ", "").split(",") if word not in ("", "none"))
    for name in chosen:
        if name not in TRACKERS:
            hint = suggest(name, TRACKERS)
            raise InputError(f"`--track` must be among {', '.join(TRACKERS)}, none. Received: {name}{hint}")
        if name != "tensorboard" and find_spec(name) is None:
            raise InputError(f"`--track {name}` needs `pip install '.[trackers]'`. Received: no module {name}")
    return [Tracker(name) for name in chosen]
