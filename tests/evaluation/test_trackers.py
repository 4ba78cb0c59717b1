"""Each tool has every epoch once, over a restart; the curves of a run go where they were asked to go."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from tests.trained_competition import write_metrics
from unets.config import DatasetConfig, ExperimentConfig, TrainingConfig
from unets.data.io import write_image
from unets.errors import InputError
from unets.evaluation.trackers import PANEL, PANEL_NAME, build_trackers
from unets.store.run_folder import take_snapshot, write_snapshot

DICES = [0.4, 0.6, 0.7]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "mine" / "unet" / "fold1"


def follow(run_dir: Path, tracker: Callable[[Path], None], epochs: range) -> None:
    """Leaves what training leaves after each epoch, and calls the tracker."""
    experiment = ExperimentConfig(training=TrainingConfig(epochs=3))
    write_snapshot(run_dir, take_snapshot(experiment, DatasetConfig(), 1, "ab12"))
    for epoch in epochs:
        rows = "".join(f"{number},{dice},nan\n" for number, dice in enumerate(DICES[:epoch], start=1))
        (run_dir / "history.csv").write_text(f"epoch,val_dice,loss\n{rows}")
        write_metrics(run_dir, is_finished=epoch == len(DICES))
        if epoch == 2:
            write_image(run_dir / PANEL, np.zeros((8, 12, 3), dtype=np.uint8))
        tracker(run_dir)


def follow_with_restart(run_dir: Path, name: str) -> None:
    for epochs in range(1, 3), range(3, 4):
        (tracker,) = build_trackers(name)
        follow(run_dir, tracker, epochs)


def test_tensorboard_shows_every_epoch_once_over_a_restart(run_dir: Path) -> None:
    follow_with_restart(run_dir, "tensorboard")
    shown: dict[tuple[str, int], float] = {}
    pictures = []
    for path in sorted((run_dir / "events").iterdir()):
        content = path.read_bytes()
        while content:  # records of (length, its CRC, bytes, their CRC)
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            if event.HasField("session_log"):  # TensorBoard then forgets this step and all after it
                shown = {key: value for key, value in shown.items() if key[1] < event.step}
            for value in event.summary.value:
                if value.tag == PANEL_NAME:
                    pictures.append((event.step, value.image.width))
                else:
                    shown[value.tag, event.step] = value.simple_value
            content = content[16 + length :]
    assert shown == pytest.approx({("val_dice", number): dice for number, dice in enumerate(DICES, start=1)})
    assert pictures == [(2, 12)]


@pytest.mark.slow
def test_mlflow_has_one_run_with_every_epoch_and_the_config(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs `pip install mlflow-skinny`")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (run_dir.parents[2] / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    follow_with_restart(run_dir, "mlflow")
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "unet fold1")
    assert (run.data.params["fold"], run.data.params["training.epochs"]) == ("1", "3")
    assert [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, "val_dice")] == [
        (number, dice) for number, dice in enumerate(DICES, start=1)
    ]
    assert [one.path for one in client.list_artifacts(run.info.run_id)] == ["worst.jpg"]


@pytest.mark.slow
def test_epochs_are_not_logged_again_where_the_history_was_lost_for_a_while(run_dir: Path) -> None:
    (tracker,) = build_trackers("tensorboard")
    follow(run_dir, tracker, range(1, 3))
    (run_dir / "history.csv").unlink()
    tracker(run_dir)
    assert json.loads((run_dir / "tensorboard.json").read_text())["epochs"] == 2


def test_a_tracker_that_cannot_be_reached_is_named(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="needs `pip install mlflow-skinny`")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tracker,) = build_trackers("mlflow")
    with pytest.raises(InputError, match=r"`--track mlflow` must be able to log .*goes on, with `--track none`"):
        follow(run_dir, tracker, range(1, 2))


@pytest.mark.slow
def test_weights_and_biases_offline(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb", reason="needs `pip install wandb`")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    (tracker,) = build_trackers("wandb")
    follow(run_dir, tracker, range(1, 3))
    wandb.teardown()  # as at the end of a process
    (tracker,) = build_trackers("wandb")
    follow(run_dir, tracker, range(3, 4))
    known = json.loads((run_dir / "wandb.json").read_text())
    folders = list((run_dir / "wandb").glob("offline-run-*"))
    assert known["epochs"] == 3 and len(folders) == 2 and all(path.name.endswith(known["id"]) for path in folders)
    assert len(list((run_dir / "wandb").rglob("worst_validation_images*.jpg"))) == 1


def test_trackers_are_chosen_by_name() -> None:
    assert build_trackers("none") == build_trackers("") == []
    with pytest.raises(InputError, match=r"`--track` must be among tensorboard, wandb, mlflow, none.*mean wandb"):
        build_trackers("tensorboard,wanbd")
