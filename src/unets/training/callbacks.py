"""What happens around the steps of a training: order, progress, scores, stopping, saving."""

import logging
import math
import time

import keras

from unets.data.batches import Batches
from unets.errors import InputError
from unets.log import Bar, format_number, has_bars
from unets.nets.backend import find_gpu_peak
from unets.nets.weights import save_weights
from unets.training.panel import WorstPanel
from unets.training.state import Fold, Progress
from unets.training.validation import Validator

logger = logging.getLogger(__name__)
Logs = dict[str, float]


class Watch(keras.callbacks.Callback):  # type: ignore[misc]
    """Begins each epoch where the run stopped, shows how far it is, scores it, keeps what it reached, and ends it.

    `progress` is brought up to date as the training on `batches` goes on. The validator's net has the weights that
    predict, the bar counts the images of all epochs; within an epoch the state is saved every `save_seconds`.
    """

    def __init__(
        self, fold: Fold, progress: Progress, batches: Batches, validator: Validator, bar: Bar, save_seconds: float
    ) -> None:
        super().__init__()
        self.fold, self.config, self.progress = fold, fold.experiment.training, progress
        self.batches, self.validator, self.bar, self.save_seconds = batches, validator, bar, save_seconds
        self.panel = WorstPanel(fold, validator)
        self.scores = Logs()  # of the last validation

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Draws the order of the images before the first batch is asked for, after Keras has set the scores to zero."""
        self.batches.start_epoch(epoch, self.progress.updates * self.batches.steps_per_update)
        if self.progress.updates:
            self.model.restore_metrics()
        self.num_images, self.rate = 0, 0.0
        self.began = self.noted = self.saved = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Moves the bar; saves between two updates, if the last time is long ago.

        Raises InputError where the loss is not finite; the message names the images that can be the cause.
        """
        logs, steps = logs or {}, self.batches.first_batch + batch + 1
        if not math.isfinite(loss := float(logs.get("loss", 0.0))):  # a running mean, which a single batch spoils
            raise InputError(self._explain(batch, loss))
        num_images = len(self.batches.find_indices(batch))
        self.num_images += num_images
        self.rate = self.num_images / max(time.monotonic() - self.began, 1e-9)
        shown = {key: value for key, value in logs.items() if key == "loss" or not self.scores}
        self.bar.update(num_images, self._describe(self.batches.epoch, shown | self.scores))
        is_between = steps % self.batches.steps_per_update == 0 and batch + 1 < len(self.batches)  # two updates
        if is_between and time.monotonic() - self.saved >= self.save_seconds:
            self.progress.updates = steps // self.batches.steps_per_update
            self._save()
            self.saved = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Scores and saves. The state goes after the weights: a kill before it repeats them, which gives them again."""
        progress, values = self.progress, {key: float(value) for key, value in (logs or {}).items()}
        if self.validator.net is not self.model.net:
            self.validator.take_weights(self.model.read_weights())
        values |= self.validator.score() | {"learning_rate": float(self.model.optimizer.learning_rate)}
        self.scores = {key: value for key, value in values.items() if key.startswith("val_") and key != "val_loss"}
        level = logging.DEBUG if has_bars() else logging.INFO
        logger.log(level, "%s epoch %s", self.bar.what, self.bar.describe(self._describe(epoch, values)))
        progress.gpu_bytes = max(progress.gpu_bytes, find_gpu_peak())
        self.panel.draw(epoch)  # before the state is saved: an epoch that is saved has its panel
        images = self.batches.count_images()
        if progress.add_epoch(values, images, metric=self.validator.metric, keep=self.config.keep):
            save_weights(self.validator.net, self.fold.weights_path)  # those that predict
        self._save()
        self.model.stop_training = progress.is_finished(self.config.epochs, self.config.patience)
        self.fold.write_scores(progress)

    def _save(self) -> None:
        now = time.monotonic()
        self.progress.seconds += now - self.noted
        self.noted = now
        self.fold.save_last(self.model, self.progress)

    def _explain(self, batch: int, loss: float) -> str:
        """Says whose loss is not finite, or if weights were not, which update made them so."""

        def name(batch: int) -> str:
            return ", ".join(self.fold.samples[index].id for index in self.batches.find_indices(batch))

        # The loss is found before the weights are updated by it.
        first, per_update = self.batches.first_batch, self.batches.steps_per_update
        begun = (first + batch) // per_update * per_update - first  # the update's first batch, of those left
        before = ", ".join(map(name, range(max(begun - per_update, 0), begun))) or "an earlier epoch"
        return (
            f"The loss must stay finite. Received: {loss} in epoch {self.batches.epoch + 1}, batch "
            f"{first + batch + 1}, images {name(batch)}; the weights come from an update by {before}. "
            f"A lower `learning_rate` or `precision='float32'` usually helps"
        )

    def _describe(self, epoch: int, values_of: Logs) -> str:
        """Writes epoch, losses, scores and images a second."""
        values = [f"{key} {float(value):.4f}" for key, value in values_of.items() if key != "learning_rate"]
        return "  ".join([f"{epoch + 1}/{self.config.epochs}", *values, f"{format_number(self.rate)} img/s"])
