"""The shape of a mask: its parts and holes, how long its contours are, how far from them a pixel is."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from unets.data.objects import BoolMask, label_objects


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What one class of a mask looks like."""

    area_px: int
    parts: int  # connected by sides or corners
    holes: int  # background that it encloses, connected by sides
    largest_px: int  # area of the largest part
    contour_px: int  # pixels of the part that lie on a contour, of the outside or of a hole


def trace_contours(mask_hw: BoolMask) -> tuple[list[npt.NDArray[Any]], list[npt.NDArray[Any]]]:
    """Returns the contours of a mask's parts (connected by sides or corners), and of their holes (by sides).

    Each is (points, 1, 2), x and y of the pixels on it.
    """
    contours, hierarchy = cv2.findContours(mask_hw.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    is_hole = [] if hierarchy is None else (hierarchy[0, :, 3] >= 0).tolist()
    parts, holes = ([c for c, hole in zip(contours, is_hole, strict=True) if hole == wanted] for wanted in (0, 1))
    return parts, holes


def measure_shape(mask_hw: BoolMask) -> Shape:
    """Measures one class of a mask, bool (height, width)."""
    (parts, holes), area_px = trace_contours(mask_hw), int(np.count_nonzero(mask_hw))
    largest_px = area_px
    if len(parts) > 1:
        largest_px = int(np.bincount(label_objects(mask_hw)[0][mask_hw]).max())
    contour_px = sum(map(len, (*parts, *holes)))
    return Shape(area_px=area_px, parts=len(parts), holes=len(holes), largest_px=largest_px, contour_px=contour_px)


def measure_distances(mask_hw: BoolMask) -> npt.NDArray[np.float32]:
    """Measures the distance of each pixel to the nearest one of the other side of the contour.

    It is float32 (height, width), 1 beside the contour, within 2 %; infinite where there is no contour.
    """
    binary_hw = mask_hw.view(np.uint8)
    if binary_hw.min() == binary_hw.max():
        return np.full(mask_hw.shape, np.inf, dtype=np.float32)
    sides = [cv2.distanceTransform(side_hw, cv2.DIST_L2, 5) for side_hw in (binary_hw, 1 - binary_hw)]
    return np.asarray(np.maximum(*sides), dtype=np.float32)
