"""What tests of nets share: weights that hide no fault, and noise to look at."""

import keras
import numpy as np
import numpy.typing as npt


def stir(net: keras.Model, by: float = 0.2, seed: int = 0) -> None:
    """Moves biases and the statistics of normalizations a little: at their zeros and ones they would hide faults."""
    rng = np.random.default_rng(seed)
    for weight in net.weights:
        weight.assign(weight + rng.uniform(-by, by, weight.shape) * (len(weight.shape) == 1))


def draw_images(
    size_hw: tuple[int, int], num_images: int = 2, channels: int = 3, seed: int = 0
) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (num_images, *size_hw, channels), dtype=np.uint8)
