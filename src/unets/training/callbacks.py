"""What happens around the steps of a training: order, progress, scores, stopping, saving."""

import logging
import math
import time

import keras

from unets.config import TrainingConfig
from unets.data.batches import Batches
from unets.errors import InputError
from unets.log import Bar, has_bars
from unets.training.state import Progress, RunFiles
from unets.training.validation import Validator

logger = logging.getLogger(__name__)


class StartEpoch(keras.callbacks.Callback):  # type: ignore[misc]
    """Draws the order of the training images as an epoch begins; one that was begun before goes on where it stopped."""

    def __init__(self, batches: Batches, progress: Progress) -> None:
        super().__init__()
        self.batches, self.progress = batches, progress

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Runs before the epoch's first batch is asked for, and after Keras has set loss and Dice to zero."""
        self.batches.start_epoch(epoch, self.progress.updates * self.batches.steps_per_update)
        if self.progress.updates:
            self.model.restore_metrics()


class StopOnNonFinite(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends the training at the first batch whose loss is not a number, and names the images that can be the cause.

    A loss is found before the weights are updated by it. So it is not finite because of its own images, or, if weights
    are not finite, because of those of the update before.
    """

    def __init__(self, batches: Batches, ids: list[str]) -> None:
        super().__init__()
        self.batches, self.ids = batches, ids

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Looks at the running mean of the loss, which a single such batch spoils.

        Raises:
            InputError: it is not finite.
        """
        loss = float((logs or {}).get("loss", 0.0))
        if math.isfinite(loss):
            return
        at, per_update = self.batches.first_batch + batch + 1, self.batches.steps_per_update
        begun = (
            at - 1
        ) // per_update * per_update - self.batches.first_batch  # the update's first batch, of those left
        before = [self._name(step) for step in range(max(begun - per_update, 0), begun)]
        raise InputError(
            f"The loss must stay finite. Received: {loss} in epoch {self.batches.epoch + 1}, batch {at}, images "
            f"{self._name(batch)}; the weights come from an update by {', '.join(before) or 'an earlier epoch'}. "
            f"A lower `learning_rate` or `precision='float32'` usually helps"
        )

    def _name(self, batch: int) -> str:
        return ", ".join(self.ids[index] for index in self.batches.find_indices(batch))


class ProgressBar(keras.callbacks.Callback):  # type: ignore[misc]
    """Shows how far a fold is: epoch, loss, Dice, images a second, time left; one log line an epoch where no bar is.

    Args:
        bar: of the fold, which counts images of all epochs.
        batches: of training.
        num_epochs: of the training.
    """

    def __init__(self, bar: Bar, batches: Batches, num_epochs: int) -> None:
        super().__init__()
        self.bar, self.batches, self.num_epochs = bar, batches, num_epochs
        self.scores: dict[str, float] = {}  # of the last validation

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Starts the clock."""
        self.num_images, self.rate, self.began = 0, 0.0, time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Moves the bar."""
        num_images = len(self.batches.find_indices(batch))
        self.num_images += num_images
        self.rate = self.num_images / max(time.monotonic() - self.began, 1e-9)
        shown = {key: value for key, value in (logs or {}).items() if key == "loss" or not self.scores}
        self.bar.update(num_images, self._describe(self.batches.epoch, shown | self.scores))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Says how the epoch went; comes after validation."""
        validated = {key: value for key, value in (logs or {}).items() if key.startswith("val_")}
        self.scores = {key: value for key, value in validated.items() if key != "val_loss"}
        level = logging.DEBUG if has_bars() else logging.INFO
        logger.log(level, "%s epoch %s", self.bar.what, self.bar.describe(self._describe(epoch, logs)))

    def _describe(self, epoch: int, values_of: dict[str, float] | None) -> str:
        values = [f"{key} {float(value):.4f}" for key, value in (values_of or {}).items() if key != "learning_rate"]
        return "  ".join([f"{epoch + 1}/{self.num_epochs}", *values, f"{self.rate:.3g} img/s"])


class Validate(keras.callbacks.Callback):  # type: ignore[misc]
    """Scores each epoch on the held-out images. Keras hands one dict to all callbacks: those after see the scores."""

    def __init__(self, validator: Validator) -> None:
        super().__init__()
        self.validator = validator

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Adds `val_loss`, `val_dice`, the score that chooses the best epoch, and the learning rate at its end."""
        if logs is not None:
            if self.validator.net is not self.model.net:
                self.validator.take_weights(self.model.read_weights())
            logs.update(self.validator.score(), learning_rate=float(self.model.optimizer.learning_rate))


class Save(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps best and last weights, history and cost; stops when patience runs out.

    Args:
        files: of the run.
        progress: brought up to date as the training goes on.
        batches: of training.
        validator: whose net has the weights that predict.
        config: of the training.
        save_seconds: how often the state is saved within an epoch.
    """

    def __init__(
        self,
        files: RunFiles,
        progress: Progress,
        batches: Batches,
        validator: Validator,
        config: TrainingConfig,
        save_seconds: float,
    ) -> None:
        super().__init__()
        self.files, self.progress, self.batches, self.validator = files, progress, batches, validator
        self.config, self.save_seconds = config, save_seconds

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Starts the clocks."""
        self.noted = self.saved = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Saves between two updates, if the last time is long ago."""
        steps = self.batches.first_batch + batch + 1
        is_last = batch + 1 == len(self.batches)
        if steps % self.batches.steps_per_update or is_last or time.monotonic() - self.saved < self.save_seconds:
            return
        self.progress.updates = steps // self.batches.steps_per_update
        self._note_seconds()
        self.files.save_last(self.model, self.progress)
        self.saved = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Saves. The state goes after the weights: a kill before it repeats them, which gives the same ones again."""
        progress, values = self.progress, {key: float(value) for key, value in (logs or {}).items()}
        self._note_seconds()
        images = self.batches.count_images()
        if progress.add_epoch(values, images, metric=self.validator.metric, keep=self.config.keep):
            self.files.save_best(self.validator.net)
        self.files.save_last(self.model, progress)
        self.files.write_history(progress)
        self.files.write_metrics(progress, is_finished=False)
        self.model.stop_training = progress.is_finished(self.config.epochs, self.config.patience)

    def _note_seconds(self) -> None:
        now = time.monotonic()
        self.progress.seconds += now - self.noted
        self.noted = now
