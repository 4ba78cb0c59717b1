"""A net that other programs can open: of Keras's own layers and operations alone, from bytes to probabilities."""

from typing import Any

import keras
from keras import layers, ops

from unets.export.programs import INPUT_NAME, OUTPUT_NAME
from unets.nets.blocks import DepthToSpace, ReflectPad, SpaceToDepth
from unets.nets.layers import BatchNorm, DepthwiseConv2D
from unets.nets.unet import take_logits
from unets.nets.weights import get_weights, set_weights

Tensor = Any


def build_portable(net: keras.Model, name: str, *, overlapping: bool = False) -> keras.Model:
    """Builds a net of float32 again, without our layers: a file of it needs nothing of this package.

    Returns:
        A model of that name from uint8 images (batch, height, width, channels) of the net's size to the probabilities
        of the foreground classes, float32 (batch, height, width, classes), of the image without TTA.
    """
    net = take_logits(net)
    images = keras.Input(net.input_shape[1:], dtype="uint8", name=INPUT_NAME)
    plain = keras.models.clone_model(
        net, input_tensors=images, clone_function=_copy, call_function=_call, recursive=True
    )
    logits = plain.outputs[0]
    if overlapping or logits.shape[-1] == 1:
        probs = layers.Activation("sigmoid", dtype="float32", name=OUTPUT_NAME)(logits)
    else:
        shares = layers.Softmax(dtype="float32", name=OUTPUT_NAME)(logits)
        probs = ops.split(shares, [1], axis=-1)[1]  # without the background's
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
    # With no more than four axes: phones' kernels have no more.
    if isinstance(layer, DepthToSpace):
        _, rows, columns, depth = inputs[0].shape
        x = ops.reshape(inputs[0], (-1, columns, layer.block, depth // layer.block))
        x = ops.transpose(x, (0, 2, 1, 3))
        return ops.reshape(x, (-1, rows * layer.block, columns * layer.block, depth // layer.block**2))
    if isinstance(layer, SpaceToDepth):
        _, height, width, channels = inputs[0].shape
        x = ops.reshape(inputs[0], (-1, layer.block, width // layer.block, layer.block * channels))
        x = ops.transpose(x, (0, 2, 1, 3))
        return ops.reshape(x, (-1, height // layer.block, width // layer.block, layer.block**2 * channels))
    return layer(*inputs, **options)
