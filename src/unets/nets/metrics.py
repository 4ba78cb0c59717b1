"""Scores of masks as Keras watches them, equal to those of `unets.metrics.masks`, at the net's own resolution."""

from typing import Any

import keras
from keras import ops

from unets.metrics.masks import find_metric
from unets.nets.losses import scale_batch, to_probs

Tensor = Any


class MeanScore(keras.metrics.Metric):  # type: ignore[misc]
    """A metric that needs pixel counts alone (`Metric.counted`), the mean over classes.

    Of one class, and of classes that overlap, a pixel belongs to each of at least 0.5. Of classes that exclude each
    other it belongs to the greatest of them, unless background is greater. Both hold for targets and predictions. A
    mean over images is not one over batches: a last, smaller batch counts for its images alone.
    """

    def __init__(self, metric: str = "dice", num_classes: int = 1, *, overlapping: bool = False) -> None:
        super().__init__(name=metric, dtype="float32")
        found = find_metric(metric)
        self.from_counts: Any = found.from_counts
        self.over_pixels, self.overlapping = found.over_pixels, overlapping
        # Of each class, fractions and images; or what is above and below the line of all images together.
        self.above = self.add_weight(shape=(num_classes,), name="above", initializer="zeros")
        self.below = self.add_weight(shape=(num_classes,), name="below", initializer="zeros")

    def update_state(self, targets_u8: Tensor, logits: Tensor, sample_weight: Tensor | None = None) -> None:
        """Adds a batch: targets (batch, height, width, classes) of 0..255, logits as the net returns them.

        With more layers of targets than classes, those are ignored shares; see `scale_batch`.
        """
        targets, logits = scale_batch(targets_u8, logits, overlapping=self.overlapping)
        probs = to_probs(logits, overlapping=self.overlapping)
        wanted, found = (
            ops.cast(cut_shares(shares, overlapping=self.overlapping), "float32") for shares in (targets, probs)
        )
        above, below = self.from_counts(*(ops.sum(pixels, axis=(1, 2)) for pixels in (wanted * found, wanted, found)))
        if not self.over_pixels:
            above, below = ops.where(below > 0, above / ops.maximum(below, 1e-6), 1.0), ops.ones_like(below)
        self.above.assign_add(ops.sum(above, axis=0))
        self.below.assign_add(ops.sum(below, axis=0))

    def result(self) -> Tensor:
        """Returns the score so far; of a mean over images 0 before the first one."""
        empty = float(self.over_pixels)
        return ops.mean(ops.where(self.below > 0, self.above / ops.maximum(self.below, 1e-6), empty))


def cut_shares(shares: Tensor, *, overlapping: bool) -> Tensor:
    """Returns the masks of shares or probabilities (..., classes) of 0..1, as bools of the same shape.

    Of equal classes the first counts, and background last, as in the masks that are sent.
    """
    if overlapping or shares.shape[-1] == 1:
        return shares >= 0.5
    num_classes = shares.shape[-1]
    everything = ops.concatenate([shares, 1 - ops.sum(shares, axis=-1, keepdims=True)], axis=-1)
    return ops.equal(ops.argmax(everything, axis=-1)[..., None], ops.arange(num_classes))
