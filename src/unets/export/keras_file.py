"""Keras's own files: one `.keras` a net, which any Keras 3 opens without this package or code from the file."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from unets.store.runs import atomic_path

ImagesU8 = npt.NDArray[np.uint8]


def write_keras(net: keras.Model, path: Path) -> None:
    """Writes a portable net (see `build_portable`); `path` ends in .keras."""
    with atomic_path(path) as temporary:
        net.save(temporary)


def open_keras(path: Path) -> Callable[[ImagesU8], npt.NDArray[np.float32]]:
    """Opens a file in Keras's safe mode.

    Returns:
        A function from a photo, uint8 RGB (height, width, 3), to probabilities, float32 (height, width, classes).
    """
    net = keras.models.load_model(path, compile=False, safe_mode=True)

    def predict(image_hwc: ImagesU8) -> npt.NDArray[np.float32]:
        return np.asarray(net.predict_on_batch(image_hwc[None])[0], dtype=np.float32)

    return predict
