"""The weights of a net as arrays by name, which any format can keep, and pretrained ones for other input channels."""

import errno
import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from unets.store.runs import atomic_path

logger = logging.getLogger(__name__)

_HDF5_BYTES = 8192  # around an array, at the most


def get_weights(net: keras.Model) -> dict[str, npt.NDArray[Any]]:
    """Returns a net's weights by `<layer>/<weight>`, in the net's order.

    Raises ValueError where two weights have one name.
    """
    return {name: np.asarray(variable) for name, variable in _name(net).items()}


def set_weights(net: keras.Model, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Gives a net the weights that `get_weights` took from its like; all or none.

    Raises ValueError where a weight is missing or unknown, or of another shape.
    """
    variables = _name(net)
    for name in [*variables, *arrays]:
        wanted = tuple(variables[name].shape) if name in variables else "none"
        found = arrays[name].shape if name in arrays else "none"
        if wanted != found:
            raise ValueError(f"{name} must have the shape {wanted}. Received: {found}")
    for name, variable in variables.items():
        variable.assign(arrays[name])


def save_weights(net: keras.Model, path: Path) -> None:
    """Writes a net's weights as HDF5, whole or not at all.

    The room is taken before: where a disk fills up within HDF5, its library ends the process. Raises OSError where the
    disk is full, or cannot be written to.
    """
    with atomic_path(path) as temporary:
        num_bytes = sum(4 * math.prod(variable.shape) + _HDF5_BYTES for variable in net.weights)
        with temporary.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, num_bytes + _HDF5_BYTES)
        try:
            net.save_weights(temporary)
        except RuntimeError as error:  # HDF5's own
            raise OSError(errno.ENOSPC, " ".join(str(error).split()), str(path)) from error


def widen_filters(layer: Any, values: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """Fits pretrained weights of the first convolution to a layer that reads another number of channels.

    Every channel gets the mean of the given filters, scaled so that an image of equal channels gives the same result.
    The values are a kernel of RGB (rows, columns, 3, filters) and whatever follows it; anything else is left as it is.
    """
    shape, kernel = tuple(layer.weights[0].shape), values[0]
    is_rgb = kernel.ndim == len(shape) == 4 and kernel.shape[2] == 3 != shape[2]
    if not is_rgb or (kernel.shape[:2], kernel.shape[3]) != (shape[:2], shape[3]):
        return list(values)
    logger.info("%s: pretrained filters of RGB, widened to %d channels by their mean", layer.name, shape[2])
    mean = kernel.mean(axis=2, keepdims=True) * (3 / shape[2])
    return [np.repeat(mean, shape[2], axis=2), *values[1:]]


def _name(net: keras.Model) -> dict[str, Any]:
    # Where a layer gives a weight no name (ConvNeXt's scales), Keras counts through the process.
    named = {re.sub(r"/variable_\d+$", "/variable", variable.path): variable for variable in net.weights}
    if len(named) < len(net.weights):
        raise ValueError(f"`net` must name each weight once. Received: {len(net.weights)} with {len(named)} names")
    return named
