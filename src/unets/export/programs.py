"""Files of a net for other programs: Keras, ONNX, OpenVINO and LiteRT; how each is written, and opened to check it."""

import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from unets.data.image import ImageU8
from unets.errors import InputError, suggest
from unets.store.runs import atomic_path
from unets.workers.machine import count_cores

if TYPE_CHECKING:
    import keras

Predict = Callable[[ImageU8], npt.NDArray[np.float32]]
"""From a batch of one image, uint8 RGB (1, height, width, 3), to probabilities, float32 (1, height, width, classes)."""

# What each is written and checked with, beyond what the package needs anyway.
FORMATS: Mapping[str, tuple[str, ...]] = {
    "model": (),
    "keras": (),
    "onnx": ("onnx", "tf2onnx", "onnxruntime"),
    "openvino": ("openvino",),
    "litert": ("ai_edge_litert",),
}
INPUT_NAME, OUTPUT_NAME = "images", "probs"


def check_formats(given: str) -> tuple[str, ...]:
    """Reads names of formats with commas between; `all` is every one.

    Raises InputError where one is unknown, or what it takes is not installed.
    """
    formats = tuple(FORMATS) if given == "all" else tuple(dict.fromkeys(given.split(",")))
    for name in formats:
        if name not in FORMATS:
            hint = suggest(name, FORMATS)
            raise InputError(f"`--formats` must be all or among {', '.join(FORMATS)}. Received: {name}{hint}")
    missing = [package for name in formats for package in FORMATS[name] if find_spec(package) is None]
    if missing:
        raise InputError(
            f"`--formats`={','.join(formats)} must have {', '.join(missing)} installed. Received: none of it. "
            f"pip install '.[export]'"
        )
    return formats


def write_program_files(
    net: "keras.Model", stem: Path, formats: Sequence[str], calibration: Sequence[ImageU8] = ()
) -> dict[str, Path]:
    """Writes a net of `build_portable` in formats, for batches of one image; endings are added to the stem.

    LiteRT in int8 needs images that show which values occur, uint8 RGB (height, width, 3) of the net's size; without
    there is no such file. The files are returned by what they are, as `LiteRT float16`. Raises InputError where the
    backend is not TensorFlow, through which all but Keras's own are written.
    """
    import keras

    if keras.backend.backend() != "tensorflow" and not set(formats) <= {"keras"}:
        raise InputError(
            f"`KERAS_BACKEND` must be tensorflow to write {', '.join(formats)}. Received: {keras.backend.backend()}. A "
            f"model that JAX trained can be exported with TensorFlow"
        )
    signature = [keras.InputSpec(shape=(1, *net.input_shape[1:]), dtype="uint8", name=INPUT_NAME)]
    files = {}
    for format_, kind, ending, write in _PROGRAMS:
        if format_ in formats and (kind != "LiteRT int8" or len(calibration)):
            files[kind] = stem.with_name(stem.name + ending)
            with atomic_path(files[kind]) as temporary:
                write(net, temporary, signature, calibration)
    return files


def open_program_file(path: Path) -> Predict:
    """Opens a file that `write_program_files` wrote, with the program that it is for, on the CPU."""
    if path.suffix == ".keras":
        import keras

        net: Any = keras.models.load_model(path, compile=False, safe_mode=True)
        return lambda image_nhwc: np.asarray(net.predict_on_batch(image_nhwc))
    if path.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = count_cores()
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda image_nhwc: session.run(None, {INPUT_NAME: image_nhwc})[0]
    if path.suffix == ".xml":
        import openvino

        compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return lambda image_nhwc: np.array(compiled(image_nhwc)[0])
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(model_path=str(path), num_threads=count_cores())
    interpreter.allocate_tensors()
    (image,), (probs,) = interpreter.get_input_details(), interpreter.get_output_details()

    def predict(image_nhwc: ImageU8) -> npt.NDArray[np.float32]:
        interpreter.set_tensor(image["index"], image_nhwc)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(probs["index"]), dtype=np.float32)

    return predict


def _write_onnx(net: "keras.Model", path: Path, signature: Any, _: Any) -> None:
    import onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Keras asks numpy for `np.object`, to give it to tf2onnx
        net.export(path, format="onnx", input_signature=signature, verbose=False)
    onnx.checker.check_model(str(path), full_check=True)


def _write_openvino(net: "keras.Model", path: Path, signature: Any, _: Any) -> None:
    """Writes the graph, `.xml`, and beside it the weights, `.bin`, which are read by the graph's name."""
    net.export(str(path), format="openvino", input_signature=signature, verbose=False)
    weights = path.with_suffix(".bin")
    weights.replace(weights.with_name(weights.name.removeprefix(".part-")))


def _write_litert(variant: str, net: "keras.Model", path: Path, signature: Any, calibration: Sequence[ImageU8]) -> None:
    """Writes LiteRT: `float16` halves the file and computes as before; `int8` quarters it and computes in integers."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        net.export(folder, format="tf_saved_model", input_signature=signature, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if variant != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if variant == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if variant == "int8":
            converter.representative_dataset = lambda: ([image_hwc[None]] for image_hwc in calibration)
            # The first scaling of the image and the last step to probabilities stay in float32.
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
        path.write_bytes(converter.convert())


# (format, what a file is, the ending of its name, what writes it)
_PROGRAMS: tuple[tuple[str, str, str, Callable[["keras.Model", Path, Any, Sequence[ImageU8]], None]], ...] = (
    ("keras", "Keras", ".keras", lambda net, path, *_: net.save(path)),
    ("onnx", "ONNX", ".onnx", _write_onnx),
    ("openvino", "OpenVINO", ".xml", _write_openvino),
    ("litert", "LiteRT float32", ".tflite", partial(_write_litert, "float32")),
    ("litert", "LiteRT float16", "_float16.tflite", partial(_write_litert, "float16")),
    ("litert", "LiteRT int8", "_int8.tflite", partial(_write_litert, "int8")),
)
