"""Resizing, with one pixel-center rule.

Pixel i of n covers the interval [i, i + 1] / n of the side. Shrinking takes the mean over what a pixel covers;
enlarging interpolates between pixel centers. Both are what cv2 does, so a map made small and enlarged again does not
drift.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

SizeHW = tuple[int, int]


def resize(values: npt.NDArray[Any], size_hw: SizeHW) -> npt.NDArray[Any]:
    """Resizes uint8 or float32 (height, width[, channels]): by area along a side that shrinks, else linearly."""
    return in_fours(partial(_resize, size_hw=size_hw), values)


def in_fours(function: Callable[[npt.NDArray[Any]], npt.NDArray[Any]], image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Applies a function of cv2's, which takes at most four channels, to (height, width[, channels]).

    A last axis of one channel may be missing from what the function returns.
    """
    if image.ndim == 2 or image.shape[-1] <= 4:
        return function(image)
    parts = [np.ascontiguousarray(image[..., start : start + 4]) for start in range(0, image.shape[-1], 4)]
    return np.concatenate([np.atleast_3d(function(part)) for part in parts], axis=-1)


def cover(mask_hw: npt.NDArray[np.uint8], num_classes: int, size_hw: SizeHW) -> npt.NDArray[np.uint8]:
    """Measures how much of each small pixel each class covers, of uint8 (height, width) class index, 0 background.

    Returns uint8 (height, width, classes), 0..255 for a share of 0..1; the classes of a pixel sum to at most 255.
    """
    layers, left_hw = [], np.full(size_hw, 255, dtype=np.uint8)
    for class_index in range(1, num_classes + 1):
        # compare gives 0 or 255, in one pass without a temporary
        whole = np.asarray(cv2.compare(mask_hw, class_index, cv2.CMP_EQ), dtype=np.uint8)  # type: ignore[call-overload]
        # Two classes that share a pixel are both rounded up, 127.5 to 128: the later gets what is left.
        layers.append(np.minimum(resize(whole, size_hw), left_hw))
        left_hw -= layers[-1]
    return np.stack(layers, axis=-1)


def _resize(values: npt.NDArray[Any], size_hw: SizeHW) -> npt.NDArray[Any]:
    smaller_hw = (min(values.shape[0], size_hw[0]), min(values.shape[1], size_hw[1]))
    # Area, not linear: linear reads 4 of every n x n pixels at an n-fold reduction, and the contour jumps. One after
    # the other, as cv2 takes neither area nor centers where one side shrinks and the other grows.
    for (height, width), interpolation in ((smaller_hw, cv2.INTER_AREA), (size_hw, cv2.INTER_LINEAR)):
        if values.shape[:2] != (height, width):
            values = cv2.resize(values, (width, height), interpolation=interpolation)
    return values
