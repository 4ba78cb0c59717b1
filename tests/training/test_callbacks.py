import csv
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from unets.config import DatasetConfig, ExperimentConfig, TrainingConfig
from unets.data.batches import Batches
from unets.data.samples import Sample
from unets.dataset.manifest import Manifest
from unets.errors import InputError
from unets.log import Bar
from unets.training.callbacks import Watch
from unets.training.learner import Learner
from unets.training.optimizers import build_optimizer
from unets.training.state import Fold, Progress

ROWS = [{"epoch": 1, "loss": 0.5, "val_dice": 0.25}, {"epoch": 2, "loss": 0.25, "val_dice": 0.75}]


class NoPhotos:
    """A reader that is never asked."""

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        raise AssertionError("nothing is to be read")


def build_learner(*, filters: int = 2, seed: int = 0) -> Learner:
    """A net with all that a state has: weights, moving means, a seed generator, an optimizer's moments, their mean."""
    keras.utils.set_random_seed(seed)
    photos = keras.Input((4, 4, 3))
    x = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(photos))
    net = keras.Model(photos, keras.layers.Conv2D(filters, 1)(x))
    optimizer = build_optimizer(TrainingConfig(ema=0.9), updates_per_epoch=5)
    return Learner(net, lambda targets, logits: ops.mean((targets - logits) ** 2, axis=(1, 2, 3)), optimizer, ema=0.9)


def learn(learner: Learner) -> float:
    """Trains a step; returns its loss."""
    logs = learner.train_on_batch(np.ones((4, 4, 4, 3)), np.zeros((4, 4, 4, 1), "float32"), return_dict=True)
    return float(logs["loss"])


def list_values(learner: Learner) -> list[np.ndarray]:
    return [np.array(v.numpy()) for v in (*learner.variables, *learner.optimizer.variables)]


@pytest.fixture
def fold(tmp_path: Path) -> Fold:
    samples = tuple(Sample(id=id_, group=id_, view=None, image="none") for id_ in "abcde")
    return Fold(
        run_dir=tmp_path / "unet_a" / "fold1",
        manifest=Manifest(dataset=DatasetConfig(), train=samples, test=()),
        experiment=ExperimentConfig(training=TrainingConfig(epochs=9, patience=2)),
        number=0,
        fold_of={},
        folds_hash="",
    )


@pytest.fixture
def batches() -> Batches:
    return Batches(NoPhotos(), [3, 1, 4, 0, 2], micro_batch=2)


class Scores:
    """A validator that scores what it is told."""

    metric = "dice"

    def __init__(self, net: keras.Model, batches: Batches) -> None:
        self.net, self.batches, self.dice = net, batches, 0.0

    def predict(self, images: Any) -> Any:
        raise AssertionError("no panel is drawn")

    def score(self) -> dict[str, float]:
        return {"val_dice": self.dice}


@pytest.fixture
def watch(fold: Fold, batches: Batches) -> Watch:
    learner = build_learner(filters=1)
    validator: Any = Scores(learner.net, batches)
    watch = Watch(fold, Progress(), batches, validator, Bar("a fold", total=45), save_seconds=0.0)
    watch.panel.draw = lambda epoch: None  # type: ignore[method-assign]
    watch.set_model(learner)
    return watch


def finish_epochs(watch: Watch, *dices: float) -> None:
    for dice in dices:
        watch.validator.dice = dice  # type: ignore[attr-defined]
        epoch = watch.progress.next_epoch
        watch.on_epoch_begin(epoch)
        watch.on_epoch_end(epoch, {"loss": 0.5})


def test_a_state_is_restored_to_the_last_bit(fold: Fold) -> None:
    learner = build_learner(filters=1)
    learn(learner)
    progress = Progress(history=ROWS, best_dice=0.75, best_epoch=1, seconds=1.5, images=8, starts=2, devices=["cpu"])
    fold.save_last(learner, progress)
    other = build_learner(filters=1, seed=1)
    assert not all(map(np.array_equal, list_values(other), list_values(learner)))
    assert fold.load_last(other) == progress
    for restored, saved in zip(list_values(other), list_values(learner), strict=True):
        np.testing.assert_array_equal(restored, saved)
    # What comes next is the same too, dropout included.
    assert learn(other) == learn(learner)


def test_the_step_that_memory_chose_is_kept(fold: Fold) -> None:
    fold.save_last(build_learner(filters=1), Progress(micro_batches=[8, 4]))
    assert fold.load_last().micro_batches == [8, 4]
    fold.last_path.write_bytes(b"torn")
    with pytest.raises(InputError, match=r"state\.npz must hold this net's state"):
        fold.load_last()


@pytest.mark.parametrize(
    ("metric", "keep", "kept", "dice"), [("dice", "best", 0, 0.9), ("iou", "best", 1, 0.8), ("dice", "last", 3, 0.6)]
)
def test_the_epoch_that_predicts_follows_the_metric(metric: str, keep: str, kept: int, dice: float) -> None:
    progress = Progress()
    for values in (
        {"val_dice": 0.9, "val_iou": 0.5, "val_loss": 3.0},
        {"val_dice": 0.8, "val_iou": 0.6, "val_loss": 2.0},
        {"val_dice": 0.7, "val_iou": 0.6, "val_loss": 2.0},
        {"val_dice": 0.6, "val_iou": 0.5, "val_loss": 1.0},
    ):
        progress.add_epoch(values, 4, metric=metric, keep=keep)
    assert (progress.best_epoch, progress.best_dice) == (kept, dice)
    # patience counts from the best epoch: three without a better one by Dice, two by IoU, of which one only equals
    assert progress.is_finished(9, 3) == (kept == 0) and progress.is_finished(9, 2) == (kept < 2)


def test_of_equal_epochs_the_one_of_the_lower_loss_predicts() -> None:
    progress = Progress()  # no held-out image has an object, and a net that finds none is right from the start
    for loss in (0.5, 0.2, 0.3):
        progress.add_epoch({"val_dice": 1.0, "val_loss": loss}, 4)
    assert progress.best_epoch == 1


def test_no_flipped_byte_gives_anything_but_an_input_error(fold: Fold) -> None:
    learner = build_learner()
    fold.save_last(learner, Progress(history=ROWS))
    content = fold.last_path.read_bytes()
    for at in range(0, len(content), max(len(content) // 50, 1)):
        fold.last_path.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
        try:
            progress = fold.load_last(learner)
        except InputError:
            continue
        assert progress == Progress(history=ROWS)  # a byte that says nothing, as a file's time


def test_a_state_of_another_net_is_refused(fold: Fold) -> None:
    fold.save_last(build_learner(filters=3), Progress())
    with pytest.raises(InputError, match=r"state\.npz must hold this net's state"):
        fold.load_last(build_learner(filters=2))


def test_the_best_weights_are_kept_and_the_training_stops_when_patience_runs_out(watch: Watch, fold: Fold) -> None:
    finish_epochs(watch, 0.4, 0.6)
    best = fold.weights_path.read_bytes()
    watch.model.net.layers[-1].kernel.assign_add(np.ones((1, 1, 3, 1)))
    finish_epochs(watch, 0.6)
    assert not watch.model.stop_training
    finish_epochs(watch, 0.5)
    assert watch.model.stop_training
    assert fold.weights_path.read_bytes() == best
    metrics = json.loads((fold.run_dir / "metrics.json").read_text())
    # Not finished yet: the end of the training says so.
    assert (metrics["is_finished"], metrics["epochs"], metrics["best_dice"], metrics["best_epoch"]) == (
        False,
        4,
        0.6,
        1,
    )
    assert metrics["images"] == 4 * 5  # epochs x photos, the last smaller batch included
    with (fold.run_dir / "history.csv").open(newline="") as file:
        assert [row["val_dice"] for row in csv.DictReader(file)] == ["0.4", "0.6", "0.6", "0.5"]


def test_a_loss_that_is_not_finite_is_refused_with_the_images_of_its_batch(watch: Watch) -> None:
    watch.on_epoch_begin(0)
    watch.on_train_batch_end(0, {"loss": 1.0})
    # Batches of [3, 1, 4, 0, 2]: (3, 1), (4, 0), (2).
    with pytest.raises(InputError, match=r"batch 2, images e, a; the weights come from an update by d, b\. "):
        watch.on_train_batch_end(1, {"loss": float("nan")})
    with pytest.raises(InputError, match=r"Received: inf in epoch 1, batch 3, images c; "):
        watch.on_train_batch_end(2, {"loss": float("inf")})
