"""Batches for training and validation, as `keras.utils.PyDataset`.

A sample depends on (seed, epoch, its index, how often it came before) alone, so neither the number of workers nor a
restart changes a batch.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import keras
import numpy as np
import numpy.typing as npt

from unets.config import AugmentConfig
from unets.data.augment import augment, crop_pair
from unets.data.cache import PairReader
from unets.data.geometry import SizeHW
from unets.data.mixing import copy_paste, cut_mix
from unets.errors import InputError

Batch = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Images, uint8 (batch, height, width, channels), and soft targets, uint8 (batch, height, width, layers) of 0..255.

    An epoch can be taken up at any batch (`start_epoch`): `len`, `[i]` and `find_indices` are then about what is left
    of it, and give the very batches that an epoch without a stop gives. Keras counts the batches when `fit` starts, so
    such an epoch needs a `fit` of its own.

    Args:
        reader: where images and soft targets come from.
        indices: which of the reader's samples.
        micro_batch: images a batch, which is what one step of training sees.
        steps_per_update: batches whose gradients are added up to one update of the weights. A shuffled epoch is cut to
            whole updates, so the images that an update sees do not depend on how it is split into steps.
        updates_per_epoch: length of an epoch, shuffled: all images come in one order, then in another, and so on, and
            an epoch goes on where the one before it ends. None: all images once.
        targets: "soft", or "hard": 255 from one half on.
        augment_config: random changes; None leaves images as they are.
        crop_hw: (height, width) of a random crop of each image; None: whole images.
        crop_objects: share of the crops that show an object, where the image has one; the others may.
        num_classes: layers of a target that hold objects, the first; None: all. Those of ignored pixels follow.
        overlapping: whether a pixel may be of several classes, for copy-paste.
        draw_weights: float64, one for each of `indices`: images are drawn with replacement in this proportion, and
            changed in another way each time. None: every image once.
        shuffle: a new order each epoch; the images that fill no update are then left to the next epoch's order.
        seed: of order and changes.
        workers: threads that prepare batches, two at least; cv2 and numpy work without the interpreter's lock.

    Raises:
        InputError: gradients are to be added up over more images than there are.
    """

    def __init__(
        self,
        reader: PairReader,
        indices: Sequence[int],
        *,
        micro_batch: int,
        steps_per_update: int = 1,
        updates_per_epoch: int | None = None,
        targets: Literal["soft", "hard"] = "soft",
        augment_config: AugmentConfig | None = None,
        crop_hw: SizeHW | None = None,
        crop_objects: float = 0.0,
        num_classes: int | None = None,
        overlapping: bool = False,
        draw_weights: npt.NDArray[np.float64] | None = None,
        shuffle: bool = False,
        seed: int = 0,
        workers: int = 1,
    ) -> None:
        # Two at least: with one, Keras leaves tf.data's autotuner on, whose thread sleeps ever longer; at the end
        # of each epoch TensorFlow waits until it wakes (17 to 58 s of 0 % CPU after epochs of one to three minutes).
        workers = max(2, workers)
        super().__init__(workers=workers, use_multiprocessing=False, max_queue_size=max(4, 2 * workers))
        self.reader, self.targets, self.augment_config, self.crop_hw = reader, targets, augment_config, crop_hw
        self.crop_objects, self.num_classes, self.overlapping = crop_objects, num_classes, overlapping
        self.micro_batch, self.steps_per_update = micro_batch, steps_per_update
        self.shuffle, self.seed, self.updates_per_epoch = shuffle, seed, updates_per_epoch
        self.indices, self.draw_weights = np.array(indices), draw_weights
        self.failure: Exception | None = None
        if draw_weights is not None and not (shuffle and draw_weights.shape == self.indices.shape):
            raise ValueError(
                f"`draw_weights` must be one for each of {len(self.indices)} shuffled indices. "
                f"Received: {draw_weights.shape}, shuffle={shuffle}"
            )
        batch_size = micro_batch * steps_per_update
        if updates_per_epoch is None and steps_per_update > 1 and len(self.indices) < batch_size:
            raise InputError(
                f"`batch_size` must be at most the {len(self.indices)} images trained on, as `--micro-batch` splits "
                f"it. Received: batch_size={batch_size}, micro_batch={micro_batch}"
            )
        self.start_epoch(0)

    def __len__(self) -> int:
        """Returns the number of batches that are left of the present epoch."""
        return self._count_batches() - self.first_batch

    def count_images(self) -> int:
        """Returns the number of images in a whole epoch."""
        seen = self._count_batches() * self.micro_batch
        return min(seen, len(self.indices)) if self.updates_per_epoch is None else seen

    def start_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """Draws the order of an epoch, from 0, and begins with one of its batches.

        Called by training before an epoch's first batch is asked for: Keras's own `on_epoch_end` also runs before the
        first epoch, and `on_epoch_begin` runs after its workers have begun.
        """
        if not 0 <= first_batch <= self._count_batches():
            raise ValueError(f"`first_batch` must be in 0..{self._count_batches()}. Received: {first_batch}")
        self.epoch, self.first_batch = epoch, first_batch
        if self.draw_weights is not None:
            size = len(self.indices) if self.updates_per_epoch is None else self.count_images()
            shares = self.draw_weights / self.draw_weights.sum()
            self.order = np.random.default_rng([self.seed, epoch]).choice(self.indices, size=size, p=shares)
        elif self.updates_per_epoch is not None:
            self.order = self._find_stream(epoch * self.count_images(), self.count_images())
        else:
            self.order = self._draw_order(epoch) if self.shuffle else self.indices
        seen, repeats = Counter[int](), list[int]()
        for index in self.order.tolist():
            repeats.append(seen[index])
            seen[index] += 1
        self._repeats = repeats  # how often each place's index stands before it

    def find_indices(self, batch_index: int) -> npt.NDArray[np.int64]:
        """Returns the reader's indices of a batch's samples in the present epoch; 0 is the first batch left of it."""
        return self.order[self._find_places(batch_index)]

    def __getitem__(self, batch_index: int) -> Batch:
        """Returns (images, targets) of a batch of the present epoch; 0 is the first batch left of it.

        Raises InputError where a file cannot be read. It is also kept in `failure`, as TensorFlow wraps what a
        generator raises into an error of its own.
        """
        places = self._find_places(batch_index)
        try:
            drawn = zip(self.order[places].tolist(), self._repeats[places], strict=True)
            pairs = [self._read(index, repeat) for index, repeat in drawn]
        except Exception as error:
            self.failure = error
            raise
        images, targets = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
        if self.targets == "hard":
            targets = np.where(targets >= 128, np.uint8(255), np.uint8(0))
        return images, targets

    def _draw_order(self, number: int) -> npt.NDArray[np.int64]:
        return np.random.default_rng([self.seed, number]).permutation(self.indices)

    def _find_stream(self, start: int, size: int) -> npt.NDArray[np.int64]:
        """Returns `size` indices from the place `start` on of all orders, one after the other."""
        first, last = start // len(self.indices), (start + size - 1) // len(self.indices)
        orders = np.concatenate([self._draw_order(number) for number in range(first, last + 1)])
        return orders[start - first * len(self.indices) :][:size]

    def _count_batches(self) -> int:
        """Returns the number of batches in a whole epoch."""
        if self.updates_per_epoch is not None:
            return self.updates_per_epoch * self.steps_per_update
        if self.shuffle and (updates := len(self.indices) // (self.micro_batch * self.steps_per_update)):
            return updates * self.steps_per_update
        return -(-len(self.indices) // self.micro_batch)

    def _find_places(self, batch_index: int) -> slice:
        start = (self.first_batch + batch_index) * self.micro_batch
        return slice(start, start + self.micro_batch)

    def _read(self, index: int, repeat: int) -> Batch:
        # An image's first place in an epoch has the generator of [seed, epoch, index]: NumPy fills up with zeros.
        pair = self._change(index, np.random.default_rng([self.seed, self.epoch, index, repeat]))
        config = self.augment_config
        if config is None or not config.mixes:
            return pair
        rng = np.random.default_rng([self.seed, self.epoch, index, repeat, 1])
        cuts, pastes = rng.random(2) < (config.cutmix, config.copy_paste)
        # Of all images, not of the batch: what an image becomes does not depend on how batches are split.
        if cuts:
            pair = cut_mix(pair, self._change(int(rng.choice(self.indices)), rng), rng)
        if pastes:
            other = self._change(int(rng.choice(self.indices)), rng)
            count = self.num_classes or pair[1].shape[-1]
            pair = copy_paste(pair, other, rng, num_classes=count, is_overlapping=self.overlapping)
        return pair

    def _change(self, index: int, rng: np.random.Generator) -> Batch:
        image, target = self.reader[index]
        if self.augment_config is not None:
            return augment(image, target, self.augment_config, rng, self.crop_hw, self.crop_objects, self.num_classes)
        if self.crop_hw is not None:
            return crop_pair(image, target, self.crop_hw, rng, self.crop_objects, self.num_classes)
        return image, target
