"""A net's graph, played through with shapes alone."""

import math
from dataclasses import dataclass
from typing import Any

import keras


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """A tensor of one image in the traced graph."""

    key: int
    elements: int
    element_bytes: int

    @property
    def bytes(self) -> int:
        """What it takes."""
        return self.elements * self.element_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One call of a layer or operation in the traced graph."""

    operation: Any
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    input_shapes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """All calls of a net in their order, those within nested models among them."""

    steps: tuple[Step, ...]
    outputs: tuple[Tensor, ...]  # what the net returns


def trace(net: keras.Model, float_bytes: int | None = None) -> Graph:
    """Plays a functional model through with the shapes of one image; nested models are opened.

    Args:
        net: as `build_unet` returns it, for images of one size.
        float_bytes: of an activation's number, 4 or 2, as if the net had been built in another precision; None: as it
            was built.
    """
    steps: list[Step] = []
    alive: list[Any] = []  # a tensor's key is its id: none may be freed while others are made

    def describe(tensors: Any) -> tuple[Tensor, ...]:
        found = [tensor for tensor in keras.tree.flatten(tensors) if isinstance(tensor, keras.KerasTensor)]
        alive.extend(found)
        return tuple(
            Tensor(key=id(t), elements=math.prod(t.shape), element_bytes=_count_bytes(t.dtype, float_bytes))
            for t in found
        )

    def list_shapes(tensors: Any) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(t.shape) for t in keras.tree.flatten(tensors) if isinstance(t, keras.KerasTensor))

    def call(operation: Any) -> Any:
        def record(*args: Any, **kwargs: Any) -> Any:
            if isinstance(operation, keras.Sequential):
                return run(operation._functional, args[0])
            if hasattr(operation, "_run_through_graph"):
                return run(operation, args[0])
            outputs = operation.compute_output_spec(*args, **kwargs)
            steps.append(
                Step(
                    operation=operation,
                    inputs=describe((args, kwargs)),
                    outputs=describe(outputs),
                    input_shapes=list_shapes((args, kwargs)),
                )
            )
            return outputs

        return record

    def run(model: Any, inputs: Any) -> Any:
        # The walk that every functional model makes when it is called; Keras has no public one.
        return model._run_through_graph(inputs, operation_fn=call)

    outputs = run(net, [keras.KerasTensor((1, *tensor.shape[1:]), dtype=tensor.dtype) for tensor in net.inputs])
    return Graph(steps=tuple(steps), outputs=describe(outputs))


def _count_bytes(dtype: str, float_bytes: int | None) -> int:
    if float_bytes is not None and "float" in dtype:
        return float_bytes
    return {"float64": 8, "int64": 8, "float16": 2, "bfloat16": 2, "uint8": 1, "int8": 1, "bool": 1}.get(dtype, 4)
