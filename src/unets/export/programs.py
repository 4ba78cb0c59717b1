"""Files of a net for other programs: Keras, ONNX and LiteRT, and how each is opened."""

import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt

from unets.errors import InputError
from unets.export.portable import INPUT_NAME
from unets.store.runs import atomic_path
from unets.workers.machine import count_cores

ImageU8 = npt.NDArray[np.uint8]
Predict = Callable[[ImageU8], npt.NDArray[np.float32]]
"""From an image, uint8 RGB (height, width, 3), to probabilities, float32 (height, width, classes)."""
Variant = Literal["float32", "float16", "int8"]


def write_program_files(
    net: keras.Model, stem: Path, formats: Sequence[str], calibration: Sequence[ImageU8] = ()
) -> dict[str, Path]:
    """Writes a net in formats, for batches of one image.

    Args:
        net: as `build_portable` gives it.
        stem: of the files' paths, to which endings are added.
        formats: of `--formats`.
        calibration: for LiteRT in int8, images that show which values occur, uint8 RGB (height, width, 3) of the net's
            size; none: there is no such file.

    Returns:
        The files by what they are, as `LiteRT float16`.

    Raises:
        InputError: the backend is not TensorFlow, through which ONNX and LiteRT are written.
    """
    writers: dict[str, tuple[str, Callable[[Path], None]]] = {}
    if "keras" in formats:
        writers["Keras"] = ".keras", net.save
    if "onnx" in formats:
        writers["ONNX"] = ".onnx", partial(_write_onnx, net)
    if "litert" in formats:
        writers["LiteRT float32"] = ".tflite", partial(_write_litert, net, "float32", ())
        writers["LiteRT float16"] = "_float16.tflite", partial(_write_litert, net, "float16", ())
        if len(calibration):
            writers["LiteRT int8"] = "_int8.tflite", partial(_write_litert, net, "int8", calibration)
    if keras.backend.backend() != "tensorflow" and not writers.keys() <= {"Keras"}:
        raise InputError(
            f"`KERAS_BACKEND` must be tensorflow to write ONNX and LiteRT. Received: {keras.backend.backend()}. A "
            f"model that JAX trained can be exported with TensorFlow"
        )
    files = {}
    for kind, (ending, write) in writers.items():
        files[kind] = stem.with_name(stem.name + ending)
        with atomic_path(files[kind]) as temporary:
            write(temporary)
    return files


def open_program_file(path: Path) -> Predict:
    """Opens a file that `write_program_files` wrote, with the program that it is for, on the CPU."""
    openers = {".keras": _open_keras, ".onnx": _open_onnx, ".tflite": _open_litert}
    return openers[path.suffix](path)


def _describe_input(net: keras.Model) -> list[keras.InputSpec]:
    return [keras.InputSpec(shape=(1, *net.input_shape[1:]), dtype="uint8", name=INPUT_NAME)]


def _write_onnx(net: keras.Model, path: Path) -> None:
    import onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Keras asks numpy for `np.object`, to give it to tf2onnx
        net.export(path, format="onnx", input_signature=_describe_input(net), verbose=False)
    onnx.checker.check_model(str(path), full_check=True)


def _write_litert(net: keras.Model, variant: Variant, calibration: Sequence[ImageU8], path: Path) -> None:
    """Writes LiteRT: `float16` halves the file and computes as before; `int8` quarters it and computes in integers."""
    import tensorflow as tf

    def feed() -> Iterator[list[ImageU8]]:
        for image_hwc in calibration:
            yield [image_hwc[None]]

    with tempfile.TemporaryDirectory() as folder:
        net.export(folder, format="tf_saved_model", input_signature=_describe_input(net), verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if variant != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if variant == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if variant == "int8":
            converter.representative_dataset = feed
            # The first scaling of the image and the last step to probabilities stay in float32.
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
        path.write_bytes(converter.convert())


def _open_keras(path: Path) -> Predict:
    net = keras.models.load_model(path, compile=False, safe_mode=True)
    return lambda image_hwc: np.asarray(net.predict_on_batch(image_hwc[None])[0], dtype=np.float32)


def _open_onnx(path: Path) -> Predict:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = count_cores()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda image_hwc: np.asarray(session.run(None, {INPUT_NAME: image_hwc[None]})[0][0], dtype=np.float32)


def _open_litert(path: Path) -> Predict:
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(model_path=str(path), num_threads=count_cores())
    interpreter.allocate_tensors()
    (image,), (probs,) = interpreter.get_input_details(), interpreter.get_output_details()

    def predict(image_hwc: ImageU8) -> npt.NDArray[np.float32]:
        interpreter.set_tensor(image["index"], image_hwc[None])
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(probs["index"])[0], dtype=np.float32)

    return predict
