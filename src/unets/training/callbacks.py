"""What happens around the steps of a training: order, progress, stopping, saving."""

import csv
import json
import logging
import math
import struct
import time
from dataclasses import asdict, dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import keras
import numpy as np
from tensorboardX import SummaryWriter
from tqdm import tqdm

from unets.data.batches import Batches
from unets.errors import InputError
from unets.runs import atomic_path, write_json, write_text

logger = logging.getLogger(__name__)

# What `numpy.load` and `Progress` raise over damaged bytes, according to which byte it is.
_DAMAGE = (BadZipFile, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError, struct.error)


@dataclass(kw_only=True, slots=True)
class Progress:
    """How far a run has come. It is saved with the weights, so that both always belong together."""

    history: list[dict[str, float]] = field(default_factory=list)  # one row an epoch
    best_dice: float = -1.0
    best_epoch: int = -1
    seconds: float = 0.0  # spent in training and validation, over all restarts
    photos: int = 0  # trained on, over all restarts
    starts: int = 0  # 1, and one more for each restart
    devices: list[str] = field(default_factory=list)

    @property
    def next_epoch(self) -> int:
        """The first epoch that is not finished, from 0."""
        return len(self.history)

    def is_finished(self, num_epochs: int, patience: int | None) -> bool:
        """Tells whether nothing is left to train: all epochs are done, or `patience` of them had no better Dice."""
        is_out_of_patience = patience is not None and self.next_epoch - 1 - self.best_epoch >= patience
        return is_out_of_patience or self.next_epoch >= num_epochs


class RunFiles:
    """The files of a run folder that change as the training goes on."""

    def __init__(self, run_dir: Path) -> None:
        self.best_path = run_dir / "best.weights.h5"
        self.last_path = run_dir / "last" / "state.npz"
        self.history_path = run_dir / "history.csv"
        self.metrics_path = run_dir / "metrics.json"
        self.events_dir = run_dir / "events"
        self.start_anew = f"`make clean-runs EXP={run_dir.parent.name} FOLD={run_dir.name.removeprefix('fold')}`"

    def save_last(self, model: keras.Model, progress: Progress) -> None:
        """Writes all that going on needs into one file, at once: variables of net and optimizer, and the progress."""
        arrays = {
            "progress": np.frombuffer(json.dumps(asdict(progress)).encode(), dtype=np.uint8),
            # `variables`, not `weights`: the random state of dropout is among the former only.
            **{f"model/{index:04d}": np.asarray(v.numpy()) for index, v in enumerate(model.variables)},
            **{f"optimizer/{index:04d}": np.asarray(v.numpy()) for index, v in enumerate(model.optimizer.variables)},
        }
        with atomic_path(self.last_path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def load_last(self, model: keras.Model) -> Progress:
        """Restores what `save_last` wrote; a new `Progress` where there is none.

        Raises:
            InputError: the file is damaged or belongs to another net.
        """
        if not self.last_path.exists():
            return Progress()
        try:
            with np.load(self.last_path) as arrays:
                progress = Progress(**json.loads(arrays["progress"].tobytes()))
                for kind, variables in (("model", model.variables), ("optimizer", model.optimizer.variables)):
                    for index, variable in enumerate(variables):
                        variable.assign(arrays[f"{kind}/{index:04d}"])
        except _DAMAGE as error:
            raise InputError(
                f"{self.last_path} must hold this net's state. Received: {error}. "
                f"{self.start_anew} deletes the run, so that training starts anew"
            ) from error
        return progress

    def save_best(self, model: keras.Model) -> None:
        """Writes the weights that predict."""
        with atomic_path(self.best_path) as temporary:
            model.save_weights(temporary)

    def write_history(self, progress: Progress) -> None:
        """Writes one csv row an epoch."""
        text = StringIO()
        writer = csv.DictWriter(text, fieldnames=list(progress.history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(progress.history)
        write_text(self.history_path, text.getvalue())

    def write_metrics(self, progress: Progress, *, is_finished: bool) -> None:
        """Writes what the run reached and what it cost so far."""
        metrics = {key: value for key, value in asdict(progress).items() if key != "history"}
        write_json(self.metrics_path, {"is_finished": is_finished, "epochs": progress.next_epoch, **metrics})


class DealEpoch(keras.callbacks.Callback):  # type: ignore[misc]
    """Deals the training photos' order anew as each epoch begins."""

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Runs before the epoch's first batch is asked for."""
        self.batches.start_epoch(epoch)


class StopOnNonFinite(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends the training at the first batch whose loss is not a number, and names its photos."""

    def __init__(self, batches: Batches, ids: list[str]) -> None:
        super().__init__()
        self.batches, self.ids = batches, ids

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Looks at the running mean of the loss, which a single such batch spoils.

        Raises:
            InputError: it is not finite.
        """
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            ids = ", ".join(self.ids[index] for index in self.batches.find_indices(batch))
            raise InputError(
                f"The loss must stay finite. Received: {loss} in epoch {self.batches.epoch + 1}, batch {batch + 1}, "
                f"photos {ids}. A lower `learning_rate` or `precision='float32'` usually helps"
            )


class ProgressBar(keras.callbacks.Callback):  # type: ignore[misc]
    """One bar an epoch on a terminal: loss, Dice, photos a second, time left; one log line an epoch everywhere."""

    def __init__(self, what: str, batches: Batches, num_epochs: int) -> None:
        super().__init__()
        self.what, self.batches, self.num_epochs = what, batches, num_epochs

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Opens the bar."""
        words = f"{self.what} epoch {epoch + 1}/{self.num_epochs}"
        total = self.batches.count_photos()
        self.bar = tqdm(total=total, desc=words, unit="photo", disable=None, dynamic_ncols=True, leave=False)
        self.began, self.seconds = time.monotonic(), 0.0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Moves the bar."""
        self.bar.set_postfix({key: f"{float(value):.4f}" for key, value in (logs or {}).items()}, refresh=False)
        self.bar.update(len(self.batches.find_indices(batch)))
        self.seconds = time.monotonic() - self.began  # of training alone: validation comes after the last batch

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Closes the bar and says how the epoch went."""
        self.bar.close()
        values = "  ".join(f"{key} {float(value):.4f}" for key, value in (logs or {}).items())
        rate = self.batches.count_photos() / max(self.seconds, 1e-9)
        logger.info("%s epoch %d/%d  %s  %.1f photos/s", self.what, epoch + 1, self.num_epochs, values, rate)


class Save(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps best and last weights, history and cost after every epoch; stops when patience runs out."""

    def __init__(
        self, files: RunFiles, progress: Progress, batches: Batches, *, patience: int | None, num_epochs: int
    ) -> None:
        super().__init__()
        self.files, self.progress, self.batches = files, progress, batches
        self.patience, self.num_epochs = patience, num_epochs
        # TensorBoard hides what was logged from this step on; the steps are epochs, from 1.
        self.events = SummaryWriter(str(files.events_dir), purge_step=progress.next_epoch + 1)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Starts the epoch's clock."""
        self.began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Saves. The best weights go first: a kill after them repeats the epoch, which gives the same ones again."""
        progress, values = self.progress, {key: float(value) for key, value in (logs or {}).items()}
        progress.history.append({"epoch": epoch + 1, **values})
        progress.seconds += time.monotonic() - self.began
        progress.photos += self.batches.count_photos()
        if values["val_dice"] > progress.best_dice:
            progress.best_dice, progress.best_epoch = values["val_dice"], epoch
            self.files.save_best(self.model)
        self.files.save_last(self.model, progress)
        self.files.write_history(progress)
        is_finished = progress.is_finished(self.num_epochs, self.patience)
        self.files.write_metrics(progress, is_finished=is_finished)
        for key, value in values.items():
            self.events.add_scalar(key, value, epoch + 1)
        self.events.flush()
        self.model.stop_training = is_finished

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Closes TensorBoard's file."""
        self.events.close()
