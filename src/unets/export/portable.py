"""A net that other programs can open: of Keras's own layers and operations alone, from bytes to probabilities."""

from functools import partial
from pathlib import Path
from typing import Any

import keras
from keras import layers, ops

from unets.config import ExperimentConfig
from unets.export.programs import INPUT_NAME, OUTPUT_NAME
from unets.nets.blocks import DepthToSpace, ReflectPad, SpaceToDepth
from unets.nets.layers import BatchNorm, DepthwiseConv2D
from unets.nets.unet import take_logits
from unets.nets.weights import get_weights, set_weights
from unets.prediction.loading import load_net
from unets.prediction.sources import StoredWeights

Tensor = Any


def build_portable(
    weights: Path | StoredWeights,
    experiment: ExperimentConfig,
    num_classes: int,
    name: str,
    *,
    overlapping: bool = False,
    num_channels: int = 3,
) -> keras.Model:
    """Builds a trained net in float32, without our layers: a file of it needs nothing of this package.

    Args:
        weights: of one fold.
        experiment: its config.
        num_classes: number of foreground classes.
        name: of the model.
        overlapping: whether a pixel may be of several classes.
        num_channels: of the images.

    Returns:
        A model from uint8 images (batch, height, width, channels) of the experiment's size to the probabilities of the
        foreground classes, float32 (batch, height, width, classes), of the image without TTA.

    Raises:
        InputError: the weights are missing, damaged, or of another net.
    """
    size_hw = experiment.data.size_hw
    load = partial(load_net, overlapping=overlapping, num_channels=num_channels)
    net = take_logits(load(weights, experiment, size_hw, num_classes, "float32"))
    images = keras.Input((*size_hw, num_channels), dtype="uint8", name=INPUT_NAME)
    plain = keras.models.clone_model(
        net, input_tensors=images, clone_function=_copy, call_function=_call, recursive=True
    )
    probs = _to_probs(plain.outputs[0], is_independent=overlapping or num_classes == 1)
    portable = keras.Model(plain.inputs[0], probs, name=name)
    set_weights(portable, get_weights(net))
    return portable


def _copy(layer: Any) -> Any:
    """Copies a layer; ours become Keras's, or stay to be replaced as they are called."""
    if not isinstance(layer, layers.Layer) or isinstance(layer, ReflectPad | SpaceToDepth):
        return layer
    plain = {BatchNorm: layers.BatchNormalization, DepthwiseConv2D: layers.DepthwiseConv2D}
    return plain.get(type(layer), type(layer)).from_config(layer.get_config())


def _call(layer: Any, *inputs: Any, **options: Any) -> Any:
    """Calls a layer, or in place of one of ours the operations that it is made of."""
    if isinstance(layer, ReflectPad):
        padding = [(0, 0), layer.top_bottom, layer.left_right, (0, 0)]
        x = ops.cast(inputs[0], "float32")
        return ops.pad(x, padding, mode="reflect") if any(map(any, padding)) else x
    if isinstance(layer, DepthToSpace):
        return _depth_to_space(inputs[0], layer.block)
    if isinstance(layer, SpaceToDepth):
        return _space_to_depth(inputs[0], layer.block)
    return layer(*inputs, **options)


def _space_to_depth(x: Tensor, block: int) -> Tensor:
    """Does what `SpaceToDepth` does with no more than four axes: phones' kernels have no more."""
    _, height, width, channels = x.shape
    x = ops.reshape(x, (-1, block, width // block, block * channels))
    x = ops.transpose(x, (0, 2, 1, 3))
    return ops.reshape(x, (-1, height // block, width // block, block * block * channels))


def _depth_to_space(x: Tensor, block: int) -> Tensor:
    """Does what `DepthToSpace` does with no more than four axes."""
    _, rows, columns, depth = x.shape
    x = ops.reshape(x, (-1, columns, block, depth // block))
    x = ops.transpose(x, (0, 2, 1, 3))
    return ops.reshape(x, (-1, rows * block, columns * block, depth // block**2))


def _to_probs(logits: Tensor, *, is_independent: bool) -> Tensor:
    if is_independent:
        return layers.Activation("sigmoid", dtype="float32", name=OUTPUT_NAME)(logits)
    shares = layers.Softmax(dtype="float32", name=OUTPUT_NAME)(logits)
    return ops.split(shares, [1], axis=-1)[1]  # without the background's
