"""The weights of a net as arrays by name, which any format can keep."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt


def get_weights(net: keras.Model) -> dict[str, npt.NDArray[Any]]:
    """Returns a net's weights by `<layer>/<weight>`, in the net's order.

    Raises:
        ValueError: two weights have one name.
    """
    return {name: np.asarray(variable) for name, variable in _name(net).items()}


def set_weights(net: keras.Model, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Gives a net the weights that `get_weights` took from its like; all or none.

    Raises:
        ValueError: a weight is missing or unknown, or of another shape.
    """
    variables = _name(net)
    for name in [*variables, *arrays]:
        wanted = tuple(variables[name].shape) if name in variables else "none"
        found = arrays[name].shape if name in arrays else "none"
        if wanted != found:
            raise ValueError(f"{name} must have the shape {wanted}. Received: {found}")
    for name, variable in variables.items():
        variable.assign(arrays[name])


def _name(net: keras.Model) -> dict[str, Any]:
    named = {variable.path: variable for variable in net.weights}
    if len(named) < len(net.weights):
        raise ValueError(f"`net` must name each weight once. Received: {len(net.weights)} with {len(named)} names")
    return named
