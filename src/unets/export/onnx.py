"""ONNX files, which most other programs and languages run."""

import warnings
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from unets.errors import InputError
from unets.export.portable import INPUT_NAME
from unets.store.runs import atomic_path
from unets.workers.machine import count_cores

ImagesU8 = npt.NDArray[np.uint8]


def write_onnx(net: keras.Model, path: Path) -> None:
    """Writes a net for batches of one photo, and checks that the file is a valid one.

    Args:
        net: as `build_portable` gives it.
        path: ends in .onnx.

    Raises:
        InputError: the backend is not TensorFlow, by whose graph it is written.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"`KERAS_BACKEND` must be tensorflow to write ONNX. Received: {keras.backend.backend()}; a model that JAX "
            f"trained can be exported with TensorFlow"
        )
    import onnx

    signature = [keras.InputSpec(shape=(1, *net.input_shape[1:]), dtype="uint8", name=INPUT_NAME)]
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Keras asks numpy for `np.object`, to give it to tf2onnx
        net.export(temporary, format="onnx", input_signature=signature, verbose=False)
        onnx.checker.check_model(str(temporary), full_check=True)


def open_onnx(path: Path) -> Callable[[ImagesU8], npt.NDArray[np.float32]]:
    """Opens a file with onnxruntime, on the CPU.

    Returns:
        A function from a photo, uint8 RGB (height, width, 3), to probabilities, float32 (height, width, classes).
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = count_cores()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (photo,) = session.get_inputs()

    def predict(image_hwc: ImagesU8) -> npt.NDArray[np.float32]:
        (probs_nhwc,) = session.run(None, {photo.name: image_hwc[None]})
        return np.asarray(probs_nhwc[0], dtype=np.float32)

    return predict
