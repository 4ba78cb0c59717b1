"""Loss and Dice of the held-out photos, whole, by the weights that would predict."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from unets.data.batches import Batches
from unets.nets.backend import prefers_xla, skip_first_look
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
        values = self._judge.evaluate(self.batches, verbose=0, return_dict=True)
        return {f"val_{key}": float(value) for key, value in values.items()}

    def predict(self, photos_nhwc: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Returns probabilities, float32 (batch, height, width, classes), of uint8 photos (batch, height, width, 3)."""
        return np.asarray(ops.convert_to_numpy(to_probs(self._judge.predict_on_batch(photos_nhwc))))
