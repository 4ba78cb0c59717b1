"""Means of checkpoints, whose weights and scores can be worked by hand.

Photos are 0 and 2, the object where they are 2; logits are w x + b. Two nets that are poor in opposite ways have a mean
that is perfect: (w, b) of (3, 1) finds all to be object, of (-1, -3) nothing, of (1, -1) what is.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import ops

from unets.config import TrainingConfig
from unets.data.batches import Batches
from unets.data.cache import ArrayReader
from unets.errors import InputError
from unets.training.averages import average_checkpoints, choose_epochs, drop_checkpoints, keep_checkpoint
from unets.training.state import Progress, RunFiles
from unets.training.validation import Validator

from .conftest import Interruption, stop

pytestmark = pytest.mark.slow

CONFIG = TrainingConfig(epochs=5, average="last", average_epochs=2)
ALL_OBJECT, NOTHING, MEAN = (3.0, 1.0), (-1.0, -3.0), (1.0, -1.0)
ALL_DICE = 2 / 3  # half of the pixels are object, all are found: 2 x 1/2 / (1/2 + 1)


def set_weights(net: keras.Model, weights: tuple[float, float]) -> None:
    kernel, bias = net.weights
    kernel.assign(np.array([weights[0], 0, 0]).reshape(1, 1, 3, 1))
    bias.assign([weights[1]])


def read_best(files: RunFiles) -> tuple[float, float]:
    arrays: list[np.ndarray] = []
    with h5py.File(files.best_path) as file:
        file.visititems(lambda name, item: arrays.append(item[()]) if isinstance(item, h5py.Dataset) else None)
    kernel, bias = sorted(arrays, key=lambda array: -array.size)
    return float(kernel.ravel()[0]), float(bias[0])


@pytest.fixture(scope="module")
def validator() -> Validator:
    is_object = np.arange(4) >= 2
    photos = np.broadcast_to(np.where(is_object, 2, 0)[:, None], (2, 4, 4, 3)).astype(np.uint8)
    masks = np.broadcast_to(np.where(is_object, 255, 0)[:, None], (2, 4, 4, 1)).astype(np.uint8)
    inputs = keras.Input((4, 4, 3))
    net = keras.Model(inputs, keras.layers.Conv2D(1, 1)(inputs))
    batches = Batches(ArrayReader(photos, masks), [0, 1], batch_size=2)
    return Validator(net, lambda targets, logits: ops.mean(logits, axis=(1, 2, 3)), batches)


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    return RunFiles(tmp_path / "unet_a" / "fold1")


@pytest.fixture
def progress(files: RunFiles, validator: Validator) -> Progress:
    """Three epochs, of which the second is the best and the last two are averaged."""
    progress = Progress()
    for weights, dice in ((NOTHING, 0.0), (ALL_OBJECT, ALL_DICE), (NOTHING, 0.0)):
        set_weights(validator.net, weights)
        if progress.add_epoch({"val_dice": dice}, images=2):
            files.save_best(validator.net)
        keep_checkpoint(files, progress, validator.net, CONFIG)
        drop_checkpoints(files, keep=choose_epochs(progress.history, CONFIG))
    return progress


def list_checkpoints(files: RunFiles) -> list[str]:
    return sorted(path.name for path in files.checkpoints_dir.iterdir())


def test_a_mean_that_is_better_predicts(files: RunFiles, progress: Progress, validator: Validator) -> None:
    assert list_checkpoints(files) == ["epoch0002.weights.h5", "epoch0003.weights.h5"]
    assert read_best(files) == ALL_OBJECT
    average_checkpoints(files, progress, validator, CONFIG)
    assert read_best(files) == MEAN
    assert progress.average is not None and progress.average["is_used"] is True
    assert (progress.average["of"], progress.average["epochs"]) == ("last", [2, 3])
    assert progress.average["val_dice"] == pytest.approx(1.0)
    assert progress.average["val_loss"] == pytest.approx(0.0)  # logits -1 and 1, half of them each
    # The checkpoints stay until all is written.
    assert len(list_checkpoints(files)) == 2
    drop_checkpoints(files)
    assert not files.checkpoints_dir.exists()


def test_a_mean_that_is_no_better_is_left_out(files: RunFiles, progress: Progress, validator: Validator) -> None:
    before = files.best_path.read_bytes()
    progress.best_dice = 1.0  # equal is not better
    average_checkpoints(files, progress, validator, CONFIG)
    assert files.best_path.read_bytes() == before
    assert progress.average is not None and progress.average["is_used"] is False


@pytest.mark.parametrize("moment", ["take_weights", "score", "save_best", "after"])
def test_a_mean_that_was_cut_off_is_made_again(
    moment: str, files: RunFiles, progress: Progress, validator: Validator, monkeypatch: pytest.MonkeyPatch
) -> None:
    if moment == "after":  # the weights are written, the metrics are not
        average_checkpoints(files, progress, validator, CONFIG)
    else:
        with monkeypatch.context() as patch, pytest.raises(Interruption):
            patch.setattr(files if moment == "save_best" else validator, moment, stop)
            average_checkpoints(files, progress, validator, CONFIG)
        assert read_best(files) == ALL_OBJECT
    again = Progress(history=progress.history, best_dice=progress.best_dice, best_epoch=progress.best_epoch)
    average_checkpoints(files, again, validator, CONFIG)
    assert read_best(files) == MEAN
    assert again.average is not None and again.average["is_used"] is True


@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"torn"), lambda path: cut(path)]
)
def test_a_checkpoint_that_is_missing_or_torn_is_one_clear_error(
    damage: Callable[[Path], Any], files: RunFiles, progress: Progress, validator: Validator
) -> None:
    damage(files.checkpoints_dir / "epoch0003.weights.h5")
    with pytest.raises(InputError, match=r"epoch0003\.weights\.h5 must hold .*`unets clean --exp unet_a --fold 1`"):
        average_checkpoints(files, progress, validator, CONFIG)
    assert read_best(files) == ALL_OBJECT


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("dices", "average", "epochs"),
    [
        ([0.5, 0.9, 0.7], "none", []),
        ([0.5, 0.9, 0.7], "last", [2, 3]),
        ([0.5], "last", [1]),
        ([0.5, 0.9, 0.7], "best", [2, 3]),
        ([0.9, 0.5, 0.7], "best", [1, 3]),
        ([0.9, 0.7, 0.7], "best", [1, 2]),  # of equal ones the earlier
    ],
)
def test_epochs_that_are_kept(dices: list[float], average: str, epochs: list[int]) -> None:
    history = [{"epoch": number, "val_dice": dice} for number, dice in enumerate(dices, start=1)]
    config = TrainingConfig.model_validate({"epochs": 5, "average": average, "average_epochs": 2})
    assert choose_epochs(history, config) == epochs


def test_only_what_may_be_averaged_is_written(files: RunFiles, validator: Validator) -> None:
    """Of the best two: a third epoch that is worse than both is not kept, a fourth that is better takes a place."""
    best, progress = CONFIG.model_copy(update={"average": "best"}), Progress()
    kept = []
    for dice in (0.6, 0.5, 0.4, 0.7):
        progress.add_epoch({"val_dice": dice}, images=2)
        keep_checkpoint(files, progress, validator.net, best)
        drop_checkpoints(files, keep=choose_epochs(progress.history, best))
        kept.append([int(name[5:9]) for name in list_checkpoints(files)])
    assert kept == [[1], [1, 2], [1, 2], [1, 4]]
    shutil.rmtree(files.checkpoints_dir)
    drop_checkpoints(files)  # nothing to do
