"""What happens around the steps of a training: order, progress, scores, stopping, saving."""

import logging
import math
import time
from typing import Any

import keras
from tensorboardX import SummaryWriter

from unets.config import TrainingConfig
from unets.data.batches import Batches
from unets.errors import InputError
from unets.log import Bar, format_duration
from unets.training.averages import choose_epochs, drop_checkpoints, keep_checkpoint
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
    """One bar an epoch on a terminal: loss, Dice, images a second, time left; one log line an epoch everywhere."""

    def __init__(self, what: str, batches: Batches, num_epochs: int) -> None:
        super().__init__()
        self.what, self.batches, self.num_epochs = what, batches, num_epochs
        self.scoring_seconds = 0.0  # of the last epoch's validation and saving

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Opens the bar."""
        words = f"{self.what} epoch {epoch + 1}/{self.num_epochs}"
        self.before = self.batches.count_images_before()
        total = self.batches.count_images()
        self.bar = Bar(words, total=total, unit="image", initial=self.before, leave=False)
        self.done, self.num_first = 0, 0
        self.began = self.warm = self.ended = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Moves the bar."""
        num_images = len(self.batches.find_indices(batch))
        self.done += num_images
        self.ended = time.monotonic()  # validation comes after the last batch
        if batch == 0:
            self.warm, self.num_first = self.ended, num_images  # the first step is compiled
        values = {key: f"{float(value):.4f}" for key, value in (logs or {}).items()}
        self.bar.update(num_images, **values, fold=self._describe_rest(self.batches.epoch))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Closes the bar and says how the epoch went; comes after validation."""
        self.bar.close()
        self.scoring_seconds = time.monotonic() - self.ended
        values = "  ".join(f"{key} {float(value):.4f}" for key, value in (logs or {}).items())
        rate = self.done / max(self.ended - self.began, 1e-9)
        rest = self._describe_rest(epoch) if epoch + 1 < self.num_epochs else "done"
        logger.info("%s epoch %d/%d  %s  %.1f images/s  %s", self.what, epoch + 1, self.num_epochs, values, rate, rest)

    def _describe_rest(self, epoch: int) -> str:
        """Says how long the fold takes from here, if all epochs are trained."""
        timed = self.done - self.num_first
        if timed <= 0:
            return "? left"
        total, epochs_left = self.batches.count_images(), self.num_epochs - epoch - 1
        images_left = total - self.before - self.done + epochs_left * total
        is_scored = self.before + self.done == total and epochs_left == 0
        scorings = 0 if is_scored else epochs_left + 1
        seconds = images_left * (self.ended - self.warm) / timed + scorings * self.scoring_seconds
        return f"{format_duration(seconds)} left"


class Validate(keras.callbacks.Callback):  # type: ignore[misc]
    """Scores each epoch on the held-out images. Keras hands one dict to all callbacks: those after see the scores."""

    def __init__(self, validator: Validator) -> None:
        super().__init__()
        self.validator = validator

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Adds `val_loss` and `val_dice`."""
        if logs is not None:
            if self.validator.net is not self.model.net:
                self.validator.take_weights(self.model.read_weights())
            logs.update(self.validator.score())


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
        # TensorBoard hides what earlier starts logged; all of it is written again.
        self.events = SummaryWriter(str(files.events_dir), purge_step=1)
        for row in progress.history:
            self._write_events(row)

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
        if progress.add_epoch(values, self.batches.count_images()):
            self.files.save_best(self.validator.net)
        keep_checkpoint(self.files, progress, self.validator.net, self.config)
        self.files.save_last(self.model, progress)
        drop_checkpoints(self.files, keep=choose_epochs(progress.history, self.config))
        self.files.write_history(progress)
        self.files.write_metrics(progress, is_finished=False)
        self._write_events(progress.history[-1])
        self.model.stop_training = progress.is_finished(self.config.epochs, self.config.patience)

    def close(self) -> None:
        """Closes TensorBoard's file."""
        self.events.close()

    def _note_seconds(self) -> None:
        now = time.monotonic()
        self.progress.seconds += now - self.noted
        self.noted = now

    def _write_events(self, row: dict[str, Any]) -> None:
        for key, value in row.items():
            if key != "epoch":
                self.events.add_scalar(key, value, int(row["epoch"]))
        self.events.flush()
