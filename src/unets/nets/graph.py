"""A net's graph: its calls, played through with shapes alone, and the net without its batch normalizations."""

from collections import Counter, defaultdict
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

Tensor = Any  # a keras.KerasTensor; keras carries no types


class Call(NamedTuple):
    """One call of a layer or operation."""

    operation: Any
    inputs: list[Tensor]
    outputs: list[Tensor]


def trace(net: keras.Model) -> tuple[list[Call], list[Tensor]]:
    """Plays a functional model through with the shapes of one image; nested models are opened.

    Returns (all calls in their order, what the net returns).
    """
    calls: list[Call] = []

    def enter(operation: Any) -> Any:
        if isinstance(operation, keras.Sequential):
            operation = operation._functional
        if hasattr(operation, "_run_through_graph"):
            return lambda inputs, **_: run(operation, inputs)

        def record(*args: Any, **kwargs: Any) -> Any:
            outputs = operation.compute_output_spec(*args, **kwargs)
            calls.append(Call(operation, _list_tensors((args, kwargs)), _list_tensors(outputs)))
            return outputs

        return record

    def run(model: Any, inputs: Any) -> Any:
        # The walk that every functional model makes when it is called; Keras has no public one.
        return model._run_through_graph(inputs, operation_fn=enter)

    outputs = run(net, [keras.KerasTensor((1, *tensor.shape[1:]), dtype=tensor.dtype) for tensor in net.inputs])
    return calls, _list_tensors(outputs)


def fuse_batch_norm(net: keras.Model) -> keras.Model:
    """Returns a net that predicts what `net` does, without the batch normalizations that follow a convolution.

    Outside training such a layer is one factor and one shift a channel, gamma / sqrt(variance + epsilon) and
    beta - mean * factor (Ioffe and Szegedy 2015, arXiv 1502.03167, algorithm 2), which the kernel and bias before it
    can hold; a pass over the memory less for each. On two cores the compact net takes 97 ms in place of 124 for an
    image of 640 x 959 with its mirror image, in bfloat16 (docs/log).

    A normalization is fused where it alone reads a convolution, or depthwise one, that has no activation of its own;
    nested functional models are opened. The result is a new model with weights of its own, which those that `net` is
    given later do not reach; `net` itself where there is nothing to fuse, or it is a `Sequential`.
    """
    return net if isinstance(net, keras.Sequential) else _copy_fused(net, _find_norms(net))


def _find_norms(net: keras.Model) -> dict[int, Any]:
    """Returns the batch normalization that can be fused into each convolution, by the latter's id."""
    calls, returned = trace(net)
    times = Counter(id(call.operation) for call in calls)
    readers = defaultdict[int, list[Any]](list)
    for call in calls:
        for tensor in call.inputs:
            readers[id(tensor)].append(call.operation)
    for tensor in returned:
        readers[id(tensor)].append(None)  # whoever calls the net
    found = {}
    for layer, _, (made, *_) in calls:
        norm, *others = readers[id(made)] or [None]
        if (
            isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D))
            and layer.activation is keras.activations.linear
            and isinstance(norm, layers.BatchNormalization)
            and not others
            and norm.axis in (-1, 3)
            and layer.data_format == "channels_last"
            and times[id(layer)] == times[id(norm)] == 1
        ):
            found[id(layer)] = norm
    return found


def _copy_fused(net: keras.Model, norm_of_id: dict[int, Any]) -> keras.Model:
    """Returns a copy of a model without the normalizations of its convolutions; the model itself where it has none."""
    ours = {id(layer) for layer in net.layers}
    norm_of = {
        layer.name: norm for layer in net.layers if (norm := norm_of_id.get(id(layer))) is not None and id(norm) in ours
    }
    functional = [layer for layer in net.layers if isinstance(layer, keras.Model) and hasattr(layer, "operations")]
    copies = {layer.name: (layer, _copy_fused(layer, norm_of_id)) for layer in functional}
    changed = {name: copied for name, (layer, copied) in copies.items() if copied is not layer}
    if not norm_of and not changed:
        return net
    fused = {norm.name for norm in norm_of.values()}

    def copy(layer: Any) -> Any:
        if layer.name in changed:
            return changed[layer.name]
        fields = layer.get_config()
        return type(layer).from_config(fields | {"use_bias": True} if layer.name in norm_of else fields)

    def call(layer: Any, *inputs: Any, **options: Any) -> Any:
        return inputs[0] if layer.name in fused else layer(*inputs, **options)

    copied = keras.models.clone_model(net, clone_function=copy, call_function=call)
    for layer in copied.layers:
        if layer.weights and layer.name not in changed:
            source, norm = net.get_layer(layer.name), norm_of.get(layer.name)
            layer.set_weights(source.get_weights() if norm is None else _fuse(source, norm))
    return copied


def _fuse(convolution: Any, norm: Any) -> list[npt.NDArray[np.float32]]:
    """Returns the [kernel, bias] that give what the normalization gives."""
    kernel, *bias = (np.asarray(value, dtype=np.float64) for value in convolution.get_weights())
    mean, variance, gamma, beta = (
        np.float64(default) if weight is None else np.asarray(keras.ops.convert_to_numpy(weight), dtype=np.float64)
        for weight, default in ((norm.moving_mean, 0), (norm.moving_variance, 1), (norm.gamma, 1), (norm.beta, 0))
    )
    factor = gamma / np.sqrt(variance + norm.epsilon)
    shift = beta + ((bias[0] if bias else 0) - mean) * factor
    # The filters are the last axis, of a depthwise kernel the last two: (rows, columns, channels, outputs of each).
    is_depthwise = isinstance(convolution, layers.DepthwiseConv2D)
    kernel = kernel * (factor.reshape(kernel.shape[2:]) if is_depthwise else factor)
    return [kernel.astype(np.float32), shift.astype(np.float32)]


def _list_tensors(nested: Any) -> list[Tensor]:
    return [tensor for tensor in keras.tree.flatten(nested) if isinstance(tensor, keras.KerasTensor)]
