"""Edges: whether masks lie where their images have edges."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unets.data.pixels import read_header, read_values, turn


def read_grey(path: Path, *, upright: bool = False) -> npt.NDArray[np.float32]:
    """Reads an image as brightness, float32 (height, width); `upright` follows EXIF's orientation."""
    values = read_values(path, colors=True)
    grey = values[..., :3].mean(axis=-1) if values.ndim == 3 else values
    grey = np.asarray(grey, dtype=np.float32)
    return turn(grey, read_header(path).orientation) if upright else grey


def find_border(mask_hw: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Returns the pixels whose right or lower neighbor differs; bool (height, width)."""
    border = np.zeros(mask_hw.shape, dtype=np.bool_)
    border[:-1] |= mask_hw[:-1] != mask_hw[1:]
    border[:, :-1] |= mask_hw[:, :-1] != mask_hw[:, 1:]
    return border


def measure_fit(mask_hw: npt.NDArray[Any], grey_hw: npt.NDArray[np.float32]) -> float:
    """Returns how much stronger an image's edges are along a mask's border than elsewhere; 1: no stronger.

    0 where sizes differ or the mask has no border.
    """
    if mask_hw.shape != grey_hw.shape:
        return 0.0
    border = find_border(mask_hw)
    if not border.any():
        return 0.0
    padded = np.pad(grey_hw, ((0, 2), (0, 2)), mode="edge")
    strength = np.abs(padded[2:, :-2] - grey_hw) + np.abs(padded[:-2, 2:] - grey_hw)
    return float(strength[border].mean() / max(float(strength.mean()), 1e-6))
