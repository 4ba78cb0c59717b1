"""Batches for training and validation, as `keras.utils.PyDataset`.

A sample depends on (seed, epoch, its index) alone, so neither the number of workers nor a restart changes a batch.
"""

from collections.abc import Sequence
from typing import Literal

import keras
import numpy as np
import numpy.typing as npt

from unets.config import AugmentConfig
from unets.data.augment import augment
from unets.data.cache import PairReader

Batch = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Photos, uint8 RGB (batch, height, width, 3), and targets, uint8 (batch, height, width, classes) of 0..255.

    Args:
        reader: where photos and coverage come from.
        indices: which of the reader's samples.
        batch_size: photos a batch.
        targets: "coverage", or "threshold" to cut it at one half.
        augment_config: random changes; None leaves photos as they are.
        shuffle: a new order each epoch; the photos that fill no batch are then left to the next epoch's order.
        seed: of order and changes.
        workers: threads that prepare batches; cv2 and numpy work without the interpreter's lock.
    """

    def __init__(
        self,
        reader: PairReader,
        indices: Sequence[int],
        *,
        batch_size: int,
        targets: Literal["coverage", "threshold"] = "coverage",
        augment_config: AugmentConfig | None = None,
        shuffle: bool = False,
        seed: int = 0,
        workers: int = 1,
    ) -> None:
        super().__init__(workers=workers, use_multiprocessing=False, max_queue_size=max(4, 2 * workers))
        self.reader, self.batch_size, self.targets = reader, batch_size, targets
        self.augment_config, self.shuffle, self.seed = augment_config, shuffle, seed
        self.indices = np.array(indices)
        self.failure: Exception | None = None
        self.start_epoch(0)

    def __len__(self) -> int:
        """Returns the number of batches."""
        whole, rest = divmod(len(self.indices), self.batch_size)
        return whole if self.shuffle and whole else whole + (rest > 0)

    def count_photos(self) -> int:
        """Returns the number of photos in an epoch."""
        return min(len(self) * self.batch_size, len(self.indices))

    def start_epoch(self, epoch: int) -> None:
        """Deals the order of an epoch.

        Called by training before an epoch's first batch is asked for: Keras's own `on_epoch_end` also runs before the
        first epoch, and `on_epoch_begin` runs after its workers have begun.
        """
        self.epoch = epoch
        rng = np.random.default_rng([self.seed, epoch])
        self.order = rng.permutation(self.indices) if self.shuffle else self.indices

    def find_indices(self, batch_index: int) -> npt.NDArray[np.int64]:
        """Returns the reader's indices of a batch's samples in the present epoch."""
        return self.order[batch_index * self.batch_size : (batch_index + 1) * self.batch_size]

    def __getitem__(self, batch_index: int) -> Batch:
        """Returns (photos, targets) of a batch of the present epoch.

        Raises:
            InputError: a file cannot be read. It is also kept in `failure`, as TensorFlow wraps what a generator raises
                into an error of its own.
        """
        try:
            pairs = [self._read(int(index)) for index in self.find_indices(batch_index)]
        except Exception as error:
            self.failure = error
            raise
        photos, targets = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
        if self.targets == "threshold":
            targets = np.where(targets >= 128, np.uint8(255), np.uint8(0))
        return photos, targets

    def _read(self, index: int) -> Batch:
        photo, coverage = self.reader[index]
        if self.augment_config is None:
            return photo, coverage
        rng = np.random.default_rng([self.seed, self.epoch, index])
        return augment(photo, coverage, self.augment_config, rng)
