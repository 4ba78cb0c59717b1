"""The mean of a run's last or best checkpoints, which predicts where it validates better than any of them.

Averaging of checkpoints along a training: Polyak and Juditsky 1992; Izmailov et al. 2018 (arXiv 1803.05407).
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from unets.config import TrainingConfig
from unets.errors import InputError
from unets.nets.weights import save_weights
from unets.training.state import Progress, RunFiles
from unets.training.validation import Validator

logger = logging.getLogger(__name__)


def choose_epochs(history: Sequence[Mapping[str, float]], config: TrainingConfig) -> list[int]:
    """Returns the epochs, from 1, whose weights are kept: the last, or those of the best Dice; none if not asked for.

    Of equal ones the earlier is better, as for the best weights.
    """
    if config.average == "none":
        return []
    epochs = [int(row["epoch"]) for row in history]
    if config.average == "best":
        dice_of = {int(row["epoch"]): row["val_dice"] for row in history}
        epochs.sort(key=lambda epoch: (-dice_of[epoch], epoch))
        return sorted(epochs[: config.average_epochs])
    return epochs[-config.average_epochs :]


def keep_checkpoint(files: RunFiles, progress: Progress, net: keras.Model, config: TrainingConfig) -> None:
    """Writes the weights of the last epoch, if they are among those that are kept so far."""
    if progress.next_epoch in choose_epochs(progress.history, config):
        save_weights(net, _name(files, progress.next_epoch))


def drop_checkpoints(files: RunFiles, keep: Sequence[int] = ()) -> None:
    """Deletes the checkpoints of all epochs but `keep`, and their folder with the last one."""
    if not files.checkpoints_dir.exists():
        return
    kept = {_name(files, epoch) for epoch in keep}
    for path in files.checkpoints_dir.iterdir():
        if path not in kept:
            path.unlink()
    if not kept:
        files.checkpoints_dir.rmdir()


def average_checkpoints(files: RunFiles, progress: Progress, validator: Validator, config: TrainingConfig) -> None:
    """Scores the mean of the checkpoints, and lets it predict if its Dice is better than that of the best epoch.

    It may be cut off anywhere and called again: the checkpoints stay until `drop_checkpoints`.

    Raises:
        InputError: a checkpoint is missing or damaged.
    """
    epochs = choose_epochs(progress.history, config)
    sums = [np.zeros(weight.shape, np.float64) for weight in validator.net.weights]
    for epoch in epochs:
        path = _name(files, epoch)
        _load(path, validator.net, files)
        for total, weight in zip(sums, validator.net.weights, strict=True):
            total += np.asarray(weight.numpy())
    validator.take_weights([(total / len(epochs)).astype(np.float32) for total in sums])
    scores = validator.score()
    is_used = scores["val_dice"] > progress.best_dice
    if is_used:
        files.save_best(validator.net)
    progress.average = {"of": config.average, "epochs": epochs, **scores, "is_used": is_used}
    words = "better: it predicts" if is_used else "no better: left out"
    logger.info("mean of epochs %s: Dice %.5f, %s", ", ".join(map(str, epochs)), scores["val_dice"], words)


def _name(files: RunFiles, epoch: int) -> Path:
    return files.checkpoints_dir / f"epoch{epoch:04d}.weights.h5"


def _load(path: Path, net: keras.Model, files: RunFiles) -> None:
    try:
        net.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} must hold the weights of its epoch. Received: {error}. "
            f"{files.start_again} deletes the run, so that training starts again"
        ) from error
