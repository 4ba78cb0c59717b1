"""Edges: whether masks lie where their images have edges."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unets.data.pixels import read_header, read_values, turn


def read_colors(path: Path, *, upright: bool = False) -> npt.NDArray[np.float32]:
    """Reads an image's colors, float32 (height, width, 1 to 3); `upright` follows EXIF's orientation."""
    values = read_values(path, colors=True)
    colors = np.asarray(values[..., :3] if values.ndim == 3 else values[..., None], dtype=np.float32)
    return turn(colors, read_header(path).orientation) if upright else colors


def find_border(mask_hw: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Returns the pixels whose right or lower neighbor differs; bool (height, width)."""
    border = np.zeros(mask_hw.shape, dtype=np.bool_)
    border[:-1] |= mask_hw[:-1] != mask_hw[1:]
    border[:, :-1] |= mask_hw[:, :-1] != mask_hw[:, 1:]
    return border


def measure_fit(mask_hw: npt.NDArray[Any], colors_hwc: npt.NDArray[np.float32]) -> float:
    """Returns how much stronger an image's edges are along a mask's border than elsewhere; 1: no stronger.

    An edge is a step of any channel: red and green may be of one brightness. 0 where sizes differ or the mask has no
    border.
    """
    if mask_hw.shape != colors_hwc.shape[:2]:
        return 0.0
    border = find_border(mask_hw)
    if not border.any():
        return 0.0
    padded = np.pad(colors_hwc, ((0, 2), (0, 2), (0, 0)), mode="edge")
    steps = np.abs(padded[2:, :-2] - colors_hwc) + np.abs(padded[:-2, 2:] - colors_hwc)
    strength = steps.sum(axis=-1)
    return float(strength[border].mean() / max(float(strength.mean()), 1e-6))
