"""LiteRT (TensorFlow Lite) files, for phones: plain, with weights of 16 bits, and in whole numbers of 8 bits."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt

from unets.errors import InputError
from unets.export.portable import INPUT_NAME
from unets.store.runs import atomic_path
from unets.workers.machine import count_cores

ImagesU8 = npt.NDArray[np.uint8]
Variant = Literal["float32", "float16", "int8"]


def write_litert(net: keras.Model, path: Path, variant: Variant, samples: Sequence[ImagesU8] = ()) -> None:
    """Writes a net for batches of one photo.

    Args:
        net: as `build_portable` gives it.
        path: ends in .tflite.
        variant: `float16` halves the file and computes as before; `int8` quarters it and computes in whole numbers, but
            for the first scaling of the photo and the last step to probabilities.
        samples: for `int8`, photos that show which values occur, uint8 RGB (height, width, 3) of the net's size.

    Raises:
        InputError: the backend is not TensorFlow, whose converter this is.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"`KERAS_BACKEND` must be tensorflow to write LiteRT. Received: {keras.backend.backend()}; a model that "
            f"JAX trained can be exported with TensorFlow"
        )
    import tensorflow as tf

    signature = [keras.InputSpec(shape=(1, *net.input_shape[1:]), dtype="uint8", name=INPUT_NAME)]
    with tempfile.TemporaryDirectory() as folder:
        net.export(folder, format="tf_saved_model", input_signature=signature, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if variant != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if variant == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if variant == "int8":
            converter.representative_dataset = lambda: _feed(samples)
            converter.target_spec.supported_ops = [
                tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
                tf.lite.OpsSet.TFLITE_BUILTINS,
            ]
        content = converter.convert()
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def open_litert(path: Path) -> Callable[[ImagesU8], npt.NDArray[np.float32]]:
    """Opens a file with LiteRT's interpreter.

    Returns:
        A function from a photo, uint8 RGB (height, width, 3), to probabilities, float32 (height, width, classes).
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(model_path=str(path), num_threads=count_cores())
    interpreter.allocate_tensors()
    (photo,), (probs,) = interpreter.get_input_details(), interpreter.get_output_details()

    def predict(image_hwc: ImagesU8) -> npt.NDArray[np.float32]:
        interpreter.set_tensor(photo["index"], image_hwc[None])
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(probs["index"])[0], dtype=np.float32)

    return predict


def _feed(samples: Sequence[ImagesU8]) -> Iterator[list[ImagesU8]]:
    for image_hwc in samples:
        yield [image_hwc[None]]
