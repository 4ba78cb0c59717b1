"""What a net costs, counted from its graph: parameters, multiply-adds, and bytes held while it trains and predicts.

Nothing is run. The bytes are an estimate for a plan; where it matters, a step is measured.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from unets.nets.graph import Step, trace

_FLOAT32_BYTES = 4
# Losses and metrics work on float32 copies of targets and logits: targets scaled, probabilities, products, thresholded
# ones, and the gradients of these.
_LOSS_COPIES = 10
_NORMALIZATIONS = (layers.BatchNormalization, layers.GroupNormalization, layers.LayerNormalization)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What a net costs; bytes and multiply-adds are of one image."""

    parameters: int  # all
    trainable_parameters: int
    multiply_adds: int  # of a forward pass
    training_bytes: int  # most that is held at once in a training step
    prediction_bytes: int  # most that is held at once in a forward pass alone


def measure_cost(net: keras.Model, *, float_bytes: int | None = None) -> Cost:
    """Counts what a net costs.

    Args:
        net: a functional model for images of one size, as `build_unet` returns it; models may be nested.
        float_bytes: of an activation's number, 4 or 2, as if the net had been built in another precision; None: as it
            was built.
    """
    steps = trace(net, float_bytes).steps
    return Cost(
        parameters=count_parameters(net.variables),
        trainable_parameters=count_parameters(net.trainable_variables),
        multiply_adds=sum(_count_step(step) for step in steps),
        training_bytes=_measure_training(steps),
        prediction_bytes=_measure_prediction(steps),
    )


def count_parameters(variables: Iterable[Any]) -> int:
    """Returns the number of floats in variables; the seeds of dropout are none."""
    return sum(math.prod(v.shape) for v in variables if "float" in str(v.dtype))


def count_multiply_adds(net: keras.Model) -> int:
    """Returns the multiply-adds of a forward pass of one image, in convolutions and dense layers."""
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


def _measure_prediction(steps: Sequence[Step]) -> int:
    """Returns the most bytes live at once: a tensor lives from the step that makes it to the last that reads it."""
    last_use = {tensor.key: index for index, step in enumerate(steps) for tensor in step.inputs}
    held: dict[int, int] = {}
    peak = 0
    for index, step in enumerate(steps):
        held.update((tensor.key, tensor.bytes) for tensor in (*step.inputs, *step.outputs))
        peak = max(peak, sum(held.values()) + _count_copies(step))
        held = {key: size for key, size in held.items() if last_use.get(key, -1) > index}
    # The logits, and their probabilities in float32.
    return max(peak, 2 * sum(tensor.bytes for tensor in steps[-1].outputs))


def _measure_training(steps: Sequence[Step]) -> int:
    """Returns the bytes as the backward pass begins: all that a gradient needs, the loss, and the largest step's work.

    What a layer with weights reads is kept, and what an activation or pooling makes.
    """
    kept: dict[int, int] = {}
    reached = set[int]()  # tensors that something before them is trained for
    most_work = 0
    for step in steps:
        layer, trains = step.operation, bool(getattr(step.operation, "trainable_variables", []))
        if not (trains or any(tensor.key in reached for tensor in step.inputs)):
            continue
        reached.update(tensor.key for tensor in step.outputs)
        if trains or isinstance(layer, (layers.MaxPooling2D, layers.Multiply)):
            kept.update((tensor.key, tensor.bytes) for tensor in step.inputs)
        is_active = getattr(layer, "activation", keras.activations.linear) is not keras.activations.linear
        if is_active or isinstance(layer, (layers.ReLU, layers.MaxPooling2D, layers.Dropout)):
            kept.update((tensor.key, tensor.bytes) for tensor in step.outputs)
        # Gradients of what goes in and comes out, and what a normalization computes in float32 on the way.
        work = sum(tensor.bytes for tensor in (*step.inputs, *step.outputs))
        work += 3 * _FLOAT32_BYTES * step.outputs[0].elements * isinstance(layer, _NORMALIZATIONS)
        most_work = max(most_work, work)
    read = {tensor.key for step in steps for tensor in step.inputs}
    logits = sum(tensor.elements for step in steps for tensor in step.outputs if tensor.key not in read)
    return sum(kept.values()) + _LOSS_COPIES * _FLOAT32_BYTES * logits + most_work


def _count_copies(step: Step) -> int:
    """Returns the bytes of a forward step's float32 copies: normalizations of half numbers compute in float32."""
    is_half = step.outputs[0].element_bytes < _FLOAT32_BYTES
    return _FLOAT32_BYTES * step.outputs[0].elements * (is_half and isinstance(step.operation, _NORMALIZATIONS))
