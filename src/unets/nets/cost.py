"""What a net costs, counted from its graph: parameters, multiply-adds, and bytes held while it trains and predicts.

Nothing is run. Memory is that of a graph played through tensor by tensor: what a step reads and writes is held while it
works, a skip from where it is made to where it is joined, and in training everything that a gradient needs from the
forward pass until that gradient is made. What each layer keeps was read off the gradients of TensorFlow and JAX.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from unets.nets.graph import Step, Tensor, trace
from unets.nets.normalization import BatchNorm

_FLOAT32_BYTES = 4
# Losses and metrics work on float32 copies of targets and logits: targets scaled, probabilities, products, thresholded
# ones, and the gradients of these.
_LOSS_COPIES = 10
_CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.Conv2DTranspose, layers.SeparableConv2D)
_NORMALIZATIONS = (layers.BatchNormalization, layers.GroupNormalization, layers.LayerNormalization)
# Their gradients need shapes alone.
_KEEP_NOTHING = (
    layers.Concatenate,
    layers.Add,
    layers.Subtract,
    layers.ZeroPadding2D,
    layers.Cropping2D,
    layers.Rescaling,
    layers.Reshape,
    layers.Flatten,
    layers.Permute,
    layers.AveragePooling2D,
    layers.GlobalAveragePooling2D,
    layers.SpatialDropout2D,
    layers.Identity,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """A net's price; bytes and multiply-adds are of one photo."""

    parameters: int  # all
    trainable_parameters: int
    multiply_adds: int  # of a forward pass
    kept_bytes: int  # of activations between forward and backward pass
    training_bytes: int  # most that is held at once in a training step: the above, gradients and scratch
    prediction_bytes: int  # most that is held at once in a forward pass alone


def measure_cost(net: keras.Model, *, fuses: bool, float_bytes: int | None = None) -> Cost:
    """Counts a net's price.

    Args:
        net: a functional model for photos of one size, as `build_unet` returns it; models may be nested.
        fuses: whether element-wise work is fused, as XLA does: without, normalizations hold float32 copies.
        float_bytes: of an activation's number, 4 or 2, as if the net had been built in another precision; None: as it
            was built.
    """
    steps = trace(net, float_bytes).steps
    kept_bytes, training_bytes = _play_training(steps, fuses)
    return Cost(
        parameters=count_parameters(net.variables),
        trainable_parameters=count_parameters(net.trainable_variables),
        multiply_adds=sum(_count_step(step) for step in steps),
        kept_bytes=kept_bytes,
        training_bytes=training_bytes,
        prediction_bytes=_play_prediction(steps, fuses),
    )


def count_parameters(variables: Iterable[Any]) -> int:
    """Returns the number of floats in variables; the seeds of dropout are none."""
    return sum(math.prod(v.shape) for v in variables if "float" in str(v.dtype))


def count_multiply_adds(net: keras.Model) -> int:
    """Returns the multiply-adds of a forward pass of one photo, in convolutions and dense layers."""
    return sum(_count_step(step) for step in trace(net).steps)


def _count_step(step: Step) -> int:
    """Returns the multiply-adds of a step: a kernel for each output pixel, or input pixel where it is transposed."""
    layer = step.operation
    if isinstance(layer, layers.SeparableConv2D):
        out_pixels = step.outputs[0].elements // layer.filters
        depthwise, pointwise = layer.depthwise_kernel.shape, layer.pointwise_kernel.shape
        return int(out_pixels * (math.prod(depthwise) + math.prod(pointwise)))
    if isinstance(layer, layers.Conv2DTranspose):
        return int(step.inputs[0].elements // step.input_shapes[0][-1] * math.prod(layer.kernel.shape))
    if isinstance(layer, layers.DepthwiseConv2D):
        return int(step.outputs[0].elements * math.prod(layer.kernel_size))
    if isinstance(layer, (layers.Conv2D, layers.Dense)):
        kernel = layer.kernel.shape
        return int(step.outputs[0].elements // kernel[-1] * math.prod(kernel))
    return 0


def _play_prediction(steps: Sequence[Step], fuses: bool) -> int:
    """Returns the most bytes live at once: a tensor lives from the step that makes it to the last that reads it."""
    last_use = {tensor.key: index for index, step in enumerate(steps) for tensor in step.inputs}
    held: dict[int, int] = {}
    peak = 0
    for index, step in enumerate(steps):
        held.update((tensor.key, tensor.bytes) for tensor in (*step.inputs, *step.outputs))
        scratch = 0 if fuses else _find_scratch(step, is_training=False)
        peak = max(peak, sum(held.values()) + scratch)
        held = {key: size for key, size in held.items() if last_use.get(key, -1) > index}
    # The logits, and their probabilities in float32.
    return max(peak, 2 * sum(tensor.bytes for tensor in steps[-1].outputs))


def _play_training(steps: Sequence[Step], fuses: bool) -> tuple[int, int]:
    """Returns the bytes kept for the backward pass, and the most held at once in a step."""
    has_gradient = _find_gradients(steps)
    keeps = [_find_kept(step, has_gradient, fuses) for step in steps]
    uses = Counter(key for kept in keeps for key in kept)  # gradients still to be made that need it
    kept = {key: size for step_kept in keeps for key, size in step_kept.items()}
    kept_bytes = sum(kept.values())
    peak = _play_forward(steps, keeps, fuses)
    # Backwards: gradients live from the first consumer's step to the producer's.
    outputs = _find_outputs(steps)
    gradients = {tensor.key: tensor.bytes for tensor in outputs}
    loss_bytes = _LOSS_COPIES * sum(tensor.elements * _FLOAT32_BYTES for tensor in outputs)
    for step, step_kept in zip(reversed(steps), reversed(keeps), strict=True):
        if any(has_gradient.get(tensor.key, False) for tensor in step.outputs):
            gradients.update((t.key, t.bytes) for t in step.inputs if has_gradient.get(t.key, False))
            scratch = 0 if fuses else _find_scratch(step, is_training=True)
            peak = max(peak, loss_bytes + sum(kept.values()) + sum(gradients.values()) + scratch)
        for tensor in step.outputs:
            gradients.pop(tensor.key, None)
        for key in step_kept:
            uses[key] -= 1
            if uses[key] == 0:
                kept.pop(key)
    return kept_bytes, peak


def _play_forward(steps: Sequence[Step], keeps: Sequence[dict[int, int]], fuses: bool) -> int:
    """Returns the most bytes held in the forward half of a training step."""
    last_use = {tensor.key: index for index, step in enumerate(steps) for tensor in step.inputs}
    always = {key for kept in keeps for key in kept}
    held: dict[int, int] = {}
    peak = 0
    for index, (step, kept) in enumerate(zip(steps, keeps, strict=True)):
        held.update((tensor.key, tensor.bytes) for tensor in (*step.inputs, *step.outputs))
        held.update(kept)
        scratch = 0 if fuses else _find_scratch(step, is_training=False)
        peak = max(peak, sum(held.values()) + scratch)
        held = {key: size for key, size in held.items() if key in always or last_use.get(key, -1) > index}
    return peak


def _find_outputs(steps: Sequence[Step]) -> list[Tensor]:
    read = {tensor.key for step in steps for tensor in step.inputs}
    return [tensor for step in steps for tensor in step.outputs if tensor.key not in read]


def _find_gradients(steps: Sequence[Step]) -> dict[int, bool]:
    """Tells for each tensor whether a gradient flows into it: something before it is trained."""
    has_gradient: dict[int, bool] = {}
    for step in steps:
        trains = bool(getattr(step.operation, "trainable_variables", []))
        reached = trains or any(has_gradient.get(tensor.key, False) for tensor in step.inputs)
        has_gradient.update((tensor.key, reached) for tensor in step.outputs)
    return has_gradient


def _find_kept(step: Step, has_gradient: dict[int, bool], fuses: bool) -> dict[int, int]:
    """Returns key and bytes of what a step's gradient needs; copies of its own have negative keys."""
    layer = step.operation
    if not step.inputs or not any(has_gradient.get(tensor.key, False) for tensor in step.outputs):
        return {}
    source, result = step.inputs[0], step.outputs[0]
    kept: dict[int, int] = {}
    if isinstance(layer, (*_CONVOLUTIONS, layers.Dense)):
        if layer.trainable_variables:
            kept[source.key] = source.bytes
        if isinstance(layer, layers.SeparableConv2D):
            channels = layer.depthwise_kernel.shape[2] * layer.depthwise_kernel.shape[3]
            kept[-result.key] = result.elements // layer.filters * channels * source.element_bytes
        kept.update(_keep_activation(layer.activation, source, result))
    elif isinstance(layer, _NORMALIZATIONS):
        if layer.trainable_variables and (fuses or _is_one_pass(layer) or source.element_bytes == _FLOAT32_BYTES):
            kept[source.key] = source.bytes
        elif layer.trainable_variables:
            # Normalizations compute in float32, and the gradient needs what they computed from.
            kept[-result.key] = source.elements * _FLOAT32_BYTES
    elif isinstance(layer, (layers.Activation, layers.ReLU)):
        kept.update(_keep_activation(getattr(layer, "activation", keras.activations.relu), source, result))
    elif isinstance(layer, layers.UpSampling2D):
        if layer.interpolation != "nearest":
            kept[source.key] = source.bytes  # TensorFlow's gradient takes the photo's size from the photo itself
    elif isinstance(layer, layers.Dropout):
        kept[-result.key] = result.bytes
    elif isinstance(layer, layers.Multiply):
        kept.update((tensor.key, tensor.bytes) for tensor in step.inputs)
    elif isinstance(layer, layers.MaxPooling2D):
        kept.update({source.key: source.bytes, result.key: result.bytes})
    elif not isinstance(layer, _KEEP_NOTHING) and type(layer).__module__.split(".")[0] == "keras":
        kept.update((tensor.key, tensor.bytes) for tensor in (*step.inputs, *step.outputs))
    return kept


def _is_one_pass(layer: Any) -> bool:
    """Tells whether a normalization reads its input in the input's own type and writes nothing between."""
    return isinstance(layer, BatchNorm) and not layer.synchronized


def _keep_activation(activation: Any, source: Tensor, result: Tensor) -> dict[int, int]:
    """A ReLU's gradient needs its output, of others with a closed form (SiLU, GELU) the input."""
    if activation is keras.activations.linear:
        return {}
    if activation in (keras.activations.relu, keras.activations.relu6, keras.activations.sigmoid):
        return {result.key: result.bytes}
    return {source.key: source.bytes}


def _find_scratch(step: Step, *, is_training: bool) -> int:
    """Returns the bytes of a step's float32 copies beside its inputs and outputs."""
    elements = sum(tensor.elements for tensor in step.outputs)
    if isinstance(step.operation, _NORMALIZATIONS) and _is_one_pass(step.operation):
        # The CPU's kernel computes in float32: backward, on copies of values and gradient, into a third.
        is_half = step.inputs[0].element_bytes < _FLOAT32_BYTES
        return (3 if is_training else 1) * elements * _FLOAT32_BYTES * is_half
    if isinstance(step.operation, _NORMALIZATIONS):
        # Forward: the scaled values before they are cast. Backward: the gradient cast, its parts through values,
        # mean and variance, and their sum.
        return (4 if is_training else 1) * elements * _FLOAT32_BYTES
    if isinstance(step.operation, _CONVOLUTIONS) and is_training:
        # The CPU's kernel wants half numbers in pairs: values and gradient are copied into that order.
        is_half = step.inputs[0].element_bytes < _FLOAT32_BYTES
        return sum(tensor.bytes for tensor in (step.inputs[0], *step.outputs)) * is_half
    if isinstance(step.operation, layers.UpSampling2D):
        return elements * _FLOAT32_BYTES  # TensorFlow interpolates to float32
    return 0
