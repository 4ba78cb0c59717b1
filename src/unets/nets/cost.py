"""What a net costs, counted from its graph: parameters, multiply-adds, and bytes held while it trains and predicts.

Nothing is run. The bytes are an estimate for a plan; where it matters, a step is measured.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from unets.nets.graph import Call, Tensor, trace

Count = Callable[[Iterable[Tensor]], dict[int, int]]  # the bytes of tensors by their id

_FLOAT32_BYTES = 4
_BYTES_OF = {"float64": 8, "int64": 8, "float16": 2, "bfloat16": 2, "uint8": 1, "int8": 1, "bool": 1}  # else 4
# Losses and metrics work on float32 copies of targets and logits: targets scaled, probabilities, products, thresholded
# ones, and the gradients of these.
_LOSS_COPIES = 10
_NORMALIZATIONS = (layers.BatchNormalization, layers.GroupNormalization, layers.LayerNormalization)
_KEPT = (layers.ReLU, layers.MaxPooling2D, layers.Dropout)  # whose own outputs their gradients need


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What a net costs; bytes and multiply-adds are of one image."""

    parameters: int  # all
    trainable_parameters: int
    multiply_adds: int  # of a forward pass, in convolutions and dense layers
    training_bytes: int  # most that is held at once in a training step
    prediction_bytes: int  # most that is held at once in a forward pass alone


def measure_cost(net: keras.Model, *, float_bytes: int | None = None) -> Cost:
    """Counts what a functional model for images of one size costs, as `build_unet` returns it; models may be nested.

    `float_bytes` are those of an activation's number, 4 or 2, as if the net had been built in another precision.
    """

    def count(tensors: Iterable[Tensor]) -> dict[int, int]:
        sizes = {}
        for tensor in tensors:
            own = _BYTES_OF.get(tensor.dtype, 4)
            number = own if float_bytes is None or "float" not in tensor.dtype else float_bytes
            sizes[id(tensor)] = math.prod(tensor.shape) * number
        return sizes

    calls, _ = trace(net)
    return Cost(
        parameters=count_parameters(net.variables),
        trainable_parameters=count_parameters(net.trainable_variables),
        multiply_adds=sum(map(_count_multiply_adds, calls)),
        training_bytes=_measure_training(calls, count),
        prediction_bytes=_measure_prediction(calls, count),
    )


def count_parameters(variables: Iterable[Any]) -> int:
    """Returns the number of floats in variables; the seeds of dropout are none."""
    return sum(math.prod(v.shape) for v in variables if "float" in str(v.dtype))


def _count_multiply_adds(call: Call) -> int:
    """Returns a call's multiply-adds: its kernels for each output pixel, or input pixel where it is transposed."""
    layer = call.operation
    seen = call.inputs if isinstance(layer, layers.Conv2DTranspose) else call.outputs
    kernels = sum(math.prod(weight.shape) for weight in getattr(layer, "weights", ()) if len(weight.shape) > 1)
    return math.prod(seen[0].shape[:-1]) * kernels if kernels else 0


def _measure_prediction(calls: Sequence[Call], count: Count) -> int:
    """Returns the most bytes live at once: a tensor lives from the call that makes it to the last that reads it."""
    last_use = {id(tensor): index for index, call in enumerate(calls) for tensor in call.inputs}
    held: dict[int, int] = {}
    peak = 0
    for index, call in enumerate(calls):
        held |= count((*call.inputs, *call.outputs))
        peak = max(peak, sum(held.values()))
        held = {key: size for key, size in held.items() if last_use.get(key, -1) > index}
    return max(peak, 2 * sum(count(calls[-1].outputs).values()))  # the logits, and their probabilities in float32


def _measure_training(calls: Sequence[Call], count: Count) -> int:
    """Returns the bytes as the backward pass begins: all that a gradient needs, the loss, and the largest step's work.

    What a layer with weights reads is kept, and what an activation or pooling makes.
    """
    kept, most_work = dict[int, int](), 0
    reached = set[int]()  # tensors that something before them is trained for
    for layer, inputs, outputs in calls:
        trains = bool(getattr(layer, "trainable_variables", []))
        if not trains and reached.isdisjoint(map(id, inputs)):
            continue
        reached.update(map(id, outputs))
        if trains or isinstance(layer, (layers.MaxPooling2D, layers.Multiply)):
            kept |= count(inputs)
        is_active = getattr(layer, "activation", keras.activations.linear) is not keras.activations.linear
        if is_active or isinstance(layer, _KEPT):
            kept |= count(outputs)
        # Gradients of what goes in and comes out, and what a normalization computes in float32 on the way.
        work = sum(count((*inputs, *outputs)).values())
        work += 3 * _FLOAT32_BYTES * math.prod(outputs[0].shape) * isinstance(layer, _NORMALIZATIONS)
        most_work = max(most_work, work)
    read = {id(tensor) for call in calls for tensor in call.inputs}
    logits = sum(int(math.prod(tensor.shape)) for call in calls for tensor in call.outputs if id(tensor) not in read)
    return sum(kept.values()) + _LOSS_COPIES * _FLOAT32_BYTES * logits + most_work
