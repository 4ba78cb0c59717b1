"""The Dice coefficient as Keras watches it, equal to `unets.metrics.masks.dice` photo by photo."""

from typing import Any

import keras
from keras import ops

from unets.nets.losses import leave_out_void, to_probs

Tensor = Any


class MeanDice(keras.metrics.Metric):  # type: ignore[misc]
    """Mean over photos (and classes) of the Dice coefficient of both sides cut at 0.5, at the net's own resolution.

    The mean is over photos, not over batches: a last, smaller batch counts for its photos alone.
    """

    def __init__(self, name: str = "dice") -> None:
        super().__init__(name=name, dtype="float32")
        self.total = self.add_weight(name="total", initializer="zeros")
        self.count = self.add_weight(name="count", initializer="zeros")

    def update_state(self, targets_u8: Tensor, logits: Tensor, sample_weight: Tensor | None = None) -> None:
        """Adds a batch: targets (batch, height, width, classes) of 0..255, logits as the net returns them.

        With one more layer of targets, that is the share of what nobody labelled; see `leave_out_void`.
        """
        targets, logits = leave_out_void(ops.cast(targets_u8, "float32") / 255.0, ops.cast(logits, "float32"))
        truth = ops.cast(targets >= 0.5, "float32")
        predicted = ops.cast(to_probs(logits) >= 0.5, "float32")
        both = ops.sum(truth * predicted, axis=(1, 2))
        total = ops.sum(truth, axis=(1, 2)) + ops.sum(predicted, axis=(1, 2))
        scores = ops.where(total > 0, 2 * both / ops.maximum(total, 1), 1.0)
        self.total.assign_add(ops.sum(ops.mean(scores, axis=-1)))
        self.count.assign_add(ops.cast(ops.shape(scores)[0], "float32"))

    def result(self) -> Tensor:
        """Returns the mean so far; 0 before the first photo."""
        return ops.where(self.count > 0, self.total / ops.maximum(self.count, 1), 0.0)

    def reset_state(self) -> None:
        """Forgets all photos."""
        self.total.assign(0.0)
        self.count.assign(0.0)
