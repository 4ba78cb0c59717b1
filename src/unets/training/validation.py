"""Loss and Dice of the held-out photos, whole, by the weights that would predict."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from unets.data.batches import Batches
from unets.nets.backend import count_spread, prefers_xla, skip_first_look
from unets.nets.losses import to_probs
from unets.training.learner import Scored


class Validator:
    """Scores weights on the held-out photos.

    Args:
        net: takes whole photos; its weights are overwritten by `take_weights`.
        loss: of targets and logits, one value a photo.
        batches: every held-out photo once.
    """

    def __init__(self, net: keras.Model, loss: Callable[[Any, Any], Any], batches: Batches) -> None:
        self.net, self.batches = net, batches
        self._judge = Scored(net.inputs[0], net.outputs[0], loss, name="judge")  # full-size logits alone
        self._judge.compile(jit_compile=prefers_xla())
        skip_first_look(self._judge)

    def take_weights(self, weights: Sequence[npt.NDArray[Any]]) -> None:
        """Sets the weights that are scored, in the order of `net.weights`."""
        for variable, value in zip(self.net.weights, weights, strict=True):
            variable.assign(value)

    def score(self) -> dict[str, float]:
        """Returns `val_dice` and `val_loss`, that of the full-size logits, each the mean over photos."""
        sums: dict[str, float] = defaultdict(float)
        for batches, num_photos in deal_equally(self.batches, count_spread()):
            try:
                means = self._judge.evaluate(batches, verbose=0, return_dict=True)
            finally:
                self.batches.failure = batches.failure
            for key, mean in means.items():
                sums[f"val_{key}"] += float(mean) * num_photos
        return {key: value / len(self.batches.indices) for key, value in sums.items()}

    def predict(self, photos_nhwc: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Returns probabilities, float32 (batch, height, width, classes), of uint8 photos (batch, height, width, 3)."""
        logits = self._judge.predict_on_batch(photos_nhwc)[: len(photos_nhwc)]  # TensorFlow's devices each return all
        return np.asarray(ops.convert_to_numpy(to_probs(logits)))


def deal_equally(batches: Batches, num_devices: int) -> list[tuple[Batches, int]]:
    """Splits batches into those that can be dealt equally to devices, and photos that every device takes alike.

    A mean over devices is then the mean over photos: neither backend takes a batch of five on two devices.

    Args:
        batches: whole photos in order, unchanged.
        num_devices: at least 1.

    Returns:
        (batches, photos in them) whose means, weighted by the photos, are the mean over all.
    """
    if num_devices == 1:
        return [(batches, len(batches.indices))]
    num_equal = len(batches.indices) // num_devices * num_devices
    batch_size = max(batches.batch_size // num_devices, 1) * num_devices
    parts = [(batches.indices[:num_equal], num_equal, batch_size)]
    rest = batches.indices[num_equal:]
    parts.append((np.repeat(rest, num_devices), len(rest), num_devices))
    return [
        (Batches(batches.reader, indices.tolist(), batch_size=size, workers=batches.workers), num_photos)
        for indices, num_photos, size in parts
        if num_photos
    ]
