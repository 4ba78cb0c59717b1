"""Resizing, with one pixel-centre rule.

Pixel i of n covers the interval [i, i + 1] / n of the side. Shrinking takes the mean over what a pixel covers;
enlarging interpolates between pixel centres. Both are what cv2 does, so a map made small and enlarged again does not
drift.
"""

import cv2
import numpy as np
import numpy.typing as npt

SizeHW = tuple[int, int]


def shrink(image: npt.NDArray[np.uint8], size_hw: SizeHW) -> npt.NDArray[np.uint8]:
    """Resizes a photo or mask by area, or linearly where a side grows.

    Args:
        image: uint8 (height, width) or (height, width, channels).
        size_hw: (height, width) wanted.
    """
    height, width = size_hw
    if image.shape[:2] == (height, width):
        return image
    shrinks = image.shape[0] >= height and image.shape[1] >= width
    # Area, not linear: linear reads 4 of every n x n pixels at an n-fold reduction, and the contour jumps.
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), dtype=np.uint8)


def enlarge(probs_hw: npt.NDArray[np.float32], size_hw: SizeHW) -> npt.NDArray[np.float32]:
    """Resizes a map linearly between pixel centres (by area where it shrinks).

    Args:
        probs_hw: float32 (height, width).
        size_hw: (height, width) wanted.
    """
    height, width = size_hw
    if probs_hw.shape == (height, width):
        return probs_hw
    grows = probs_hw.shape[0] <= height and probs_hw.shape[1] <= width
    interpolation = cv2.INTER_LINEAR if grows else cv2.INTER_AREA
    return np.asarray(cv2.resize(probs_hw, (width, height), interpolation=interpolation), dtype=np.float32)


def cover(mask_hw: npt.NDArray[np.uint8], num_classes: int, size_hw: SizeHW) -> npt.NDArray[np.uint8]:
    """Measures how much of each small pixel each class covers.

    Args:
        mask_hw: uint8 (height, width) class index; 0 is background.
        num_classes: number of foreground classes.
        size_hw: (height, width) wanted.

    Returns:
        uint8 (height, width, classes), 0..255 for a share of 0..1.
    """
    layers = []
    for class_index in range(1, num_classes + 1):
        # compare gives 0 or 255, in one pass without a temporary
        whole = np.asarray(cv2.compare(mask_hw, class_index, cv2.CMP_EQ), dtype=np.uint8)  # type: ignore[call-overload]
        layers.append(shrink(whole, size_hw))
    return np.stack(layers, axis=-1)
