"""Trackers: tools that a run's curves also go to: TensorBoard, Weights & Biases, MLflow.

A tracker is called with the run's folder after each epoch and takes from there what training left: `config.json`,
`history.csv`, `metrics.json`, `panel/worst.jpg`. Nothing that is trained depends on it. Each tool is spoken to by its
own client, which its own variables set up, as `WANDB_MODE=offline` and `MLFLOW_TRACKING_URI`.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from PIL import Image

from unets.errors import InputError, suggest
from unets.evaluation.runs import read_history
from unets.store.fingerprint import read_metrics, read_snapshot
from unets.store.runs import read_json, write_json

PANEL, PANEL_NAME = "panel/worst.jpg", "worst_validation_images"
Values = Mapping[str, float]


class Tracker:
    """Hands each epoch of a run to a tool, once; call it with the run's folder.

    What the tool has stands in the run's folder, in a file of the tracker's name: the id by which it finds the run, the
    number of epochs, the time of the panel.
    """

    name: ClassVar[str]

    def __init__(self) -> None:
        self.runs: dict[Path, Any] = {}  # that are open, as the tool gave them

    def __call__(self, run_dir: Path) -> None:
        """Hands on the epochs that the tool does not have, and the panel, if there is a new one.

        Raises:
            InputError: the tool refuses, or cannot be reached.
        """
        try:
            self._hand_on(run_dir)
        except self._list_errors() as error:
            raise InputError(
                f"`--track {self.name}` must be able to log {run_dir}. Received: {error}. The run is kept: the same "
                f"command goes on, with `--track none` without a tracker"
            ) from error

    def _hand_on(self, run_dir: Path) -> None:
        path, panel = run_dir / f"{self.name}.json", run_dir / PANEL
        known: dict[str, Any] = {"id": None, "epochs": 0, "panel": None}
        if path.exists():
            known = read_json(path, id=str, epochs=int, panel=int | None)
        if run_dir not in self.runs:
            self.runs[run_dir], known["id"] = self._begin(run_dir, read_snapshot(run_dir), known["id"])
        epochs, series = read_history(run_dir).values()
        drawn = panel.stat().st_mtime_ns if panel.exists() else None
        for number, epoch in enumerate(epochs):
            if epoch > known["epochs"]:
                values = {name: one[number] for name, one in series.items() if one[number] is not None}
                is_new = epoch == epochs[-1] and drawn != known["panel"]
                self._log(self.runs[run_dir], epoch, values, panel if is_new else None)
        write_json(path, {"id": known["id"], "epochs": max(epochs, default=0), "panel": drawn})
        if read_metrics(run_dir)["is_finished"]:
            self._end(self.runs.pop(run_dir))

    def _list_errors(self) -> tuple[type[Exception], ...]:
        """Lists what the tool raises."""
        return ()

    def _begin(self, run_dir: Path, config: dict[str, Any], id_: str | None) -> tuple[Any, str]:
        """Opens a run, or that of an id once more; returns it with its id."""
        raise NotImplementedError

    def _log(self, run: Any, epoch: int, values: Values, panel: Path | None) -> None:
        raise NotImplementedError

    def _end(self, run: Any) -> None:
        """Closes a run that is finished."""


class TensorBoard(Tracker):
    """Writes `events/` in the run's folder; `tensorboard --logdir models/mine` shows it."""

    name = "tensorboard"

    def _begin(self, run_dir: Path, config: dict[str, Any], id_: str | None) -> tuple[Any, str]:
        return run_dir / "events", "events"

    def _log(self, run: Any, epoch: int, values: Values, panel: Path | None) -> None:
        from tensorboardX import SummaryWriter

        # A file an epoch, whole when it is closed: one that is kept open loses what a kill finds in its queue. It hides
        # what an earlier start wrote of this step and later ones.
        with SummaryWriter(str(run), purge_step=epoch, filename_suffix=f".{epoch:06}") as events:
            for name, value in values.items():
                events.add_scalar(name, value, epoch)
            if panel is not None:
                events.add_image(PANEL_NAME, np.asarray(Image.open(panel)), epoch, dataformats="HWC")


class WeightsAndBiases(Tracker):
    """Logs to a run of the project that has the competition's name."""

    name = "wandb"

    def __init__(self) -> None:
        super().__init__()
        self.client: Any = import_module("wandb")

    def _list_errors(self) -> tuple[type[Exception], ...]:
        return (self.client.Error,)

    def _begin(self, run_dir: Path, config: dict[str, Any], id_: str | None) -> tuple[Any, str]:
        run = self.client.init(
            project=run_dir.parents[1].name,
            group=run_dir.parent.name,
            name=f"{run_dir.parent.name} {run_dir.name}",
            id=id_,
            resume="allow" if id_ else None,
            reinit="create_new",
            dir=str(run_dir),
            config=config,
            settings=self.client.Settings(console="off"),
        )
        return run, run.id

    def _log(self, run: Any, epoch: int, values: Values, panel: Path | None) -> None:
        run.log({**values, **({PANEL_NAME: self.client.Image(str(panel))} if panel else {})}, step=epoch)

    def _end(self, run: Any) -> None:
        run.finish()


class MLflow(Tracker):
    """Logs to a run of the experiment that has the competition's name; the config's fields are its parameters."""

    name = "mlflow"

    def __init__(self) -> None:
        super().__init__()
        self.client: Any = import_module("mlflow").MlflowClient()

    def _list_errors(self) -> tuple[type[Exception], ...]:
        return (import_module("mlflow.exceptions").MlflowException,)

    def _begin(self, run_dir: Path, config: dict[str, Any], id_: str | None) -> tuple[Any, str]:
        if id_ is None:
            name = run_dir.parents[1].name
            experiment = self.client.get_experiment_by_name(name)
            number = experiment.experiment_id if experiment else self.client.create_experiment(name)
            id_ = str(self.client.create_run(number, run_name=f"{run_dir.parent.name} {run_dir.name}").info.run_id)
            for key, value in pd.json_normalize(config, sep=".").iloc[0].items():
                self.client.log_param(id_, str(key), value)
        return id_, id_

    def _log(self, run: Any, epoch: int, values: Values, panel: Path | None) -> None:
        for name, value in values.items():
            self.client.log_metric(run, name, value, step=epoch)
        if panel is not None:
            self.client.log_artifact(run, str(panel))

    def _end(self, run: Any) -> None:
        self.client.set_terminated(run)


TRACKERS: dict[str, type[Tracker]] = {one.name: one for one in (TensorBoard, WeightsAndBiases, MLflow)}


def build_trackers(names: str) -> list[Callable[[Path], None]]:
    """Builds the trackers of `--track`, names with commas; `none` is no tracker.

    Raises:
        InputError: there is none of a name, or its client is not installed.
    """
    chosen = dict.fromkeys(word for word in names.replace(" ", "").split(",") if word not in ("", "none"))
    for name in chosen:
        if name not in TRACKERS:
            hint = suggest(name, TRACKERS)
            raise InputError(f"`--track` must be among {', '.join(TRACKERS)}, none. Received: {name}{hint}")
        if name != TensorBoard.name and find_spec(name) is None:
            raise InputError(f"`--track {name}` needs `pip install 'unets[trackers]'`. Received: no module {name}")
    return [TRACKERS[name]() for name in chosen]
