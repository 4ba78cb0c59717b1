"""The Dice coefficient as Keras watches it, equal to `unets.metrics.masks.dice` image by image."""

from typing import Any

import keras
from keras import ops

from unets.nets.losses import scale_batch, to_probs

Tensor = Any


class MeanDice(keras.metrics.Metric):  # type: ignore[misc]
    """Mean over images (and classes) of the Dice coefficient, at the net's own resolution.

    Of one class, and of classes that overlap, a pixel belongs to each of at least 0.5. Of classes that exclude each
    other it belongs to the greatest of them, unless background is greater. Both hold for targets and predictions. The
    mean is over images, not over batches: a last, smaller batch counts for its images alone.

    Args:
        overlapping: whether a pixel may be of several classes.
    """

    def __init__(self, *, overlapping: bool = False, name: str = "dice") -> None:
        super().__init__(name=name, dtype="float32")
        self.overlapping = overlapping
        self.total = self.add_weight(name="total", initializer="zeros")
        self.count = self.add_weight(name="count", initializer="zeros")

    def update_state(self, targets_u8: Tensor, logits: Tensor, sample_weight: Tensor | None = None) -> None:
        """Adds a batch: targets (batch, height, width, classes) of 0..255, logits as the net returns them.

        With one more layer of targets, that is the ignored share; see `scale_batch`.
        """
        targets, logits = scale_batch(targets_u8, logits, overlapping=self.overlapping)
        probs = to_probs(logits, overlapping=self.overlapping)
        wanted, found = (
            ops.cast(cut_shares(shares, overlapping=self.overlapping), "float32") for shares in (targets, probs)
        )
        both = ops.sum(wanted * found, axis=(1, 2))
        total = ops.sum(wanted, axis=(1, 2)) + ops.sum(found, axis=(1, 2))
        scores = ops.where(total > 0, 2 * both / ops.maximum(total, 1), 1.0)
        self.total.assign_add(ops.sum(ops.mean(scores, axis=-1)))
        self.count.assign_add(ops.cast(ops.shape(scores)[0], "float32"))

    def result(self) -> Tensor:
        """Returns the mean so far; 0 before the first image."""
        return ops.where(self.count > 0, self.total / ops.maximum(self.count, 1), 0.0)

    def reset_state(self) -> None:
        """Forgets all images."""
        self.total.assign(0.0)
        self.count.assign(0.0)


def cut_shares(shares: Tensor, *, overlapping: bool) -> Tensor:
    """Returns the masks of shares or probabilities (..., classes) of 0..1, as bools of the same shape.

    Equal classes are all of them the greatest; two halves of 8 bits, 128 of 255, are equal to no background.
    """
    if overlapping or shares.shape[-1] == 1:
        return shares >= 0.5
    background = 1 - ops.sum(shares, axis=-1, keepdims=True)
    return shares >= ops.maximum(ops.max(shares, axis=-1, keepdims=True), background)
