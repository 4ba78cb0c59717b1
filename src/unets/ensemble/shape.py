"""The shape of a mask: its parts and holes, how long its contours are, how far from them a pixel is."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """The connected parts of a mask (by sides or corners) and their holes (by sides), a contour each."""

    contours: list[npt.NDArray[Any]]  # (points, 1, 2) x and y of each pixel on it, the topmost first
    parents: npt.NDArray[Any]  # of a hole the number of the part around it; -1 of a part
    areas: npt.NDArray[np.float64]  # of a part its pixels; 0 of a hole


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What one class of a mask looks like."""

    area_px: int
    parts: int  # connected by sides or corners
    holes: int  # background that it encloses, connected by sides
    largest_px: int  # area of the largest part
    contour_px: int  # pixels of the part that lie on a contour, of the outside or of a hole


def trace_parts(mask_hw: Mask) -> Parts:
    """Finds the parts of a mask, bool (height, width): labels would take fifty times as long as contours."""
    contours, hierarchy = cv2.findContours(mask_hw.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parents = np.zeros(0, dtype=np.int32) if hierarchy is None else hierarchy[0, :, 3]
    areas = np.zeros(len(contours))
    for number, (contour, parent) in enumerate(zip(contours, parents.tolist(), strict=True)):
        # Pick's theorem: a polygon of lattice points with n on it has area - n / 2 + 1 within.
        length = len(contour) if len(contour) > 1 else 0
        area = cv2.contourArea(contour) + 1
        areas[number if parent < 0 else parent] += area + length / 2 if parent < 0 else length / 2 - area
    return Parts(contours=list(contours), parents=parents, areas=areas)


def measure_shape(mask_hw: Mask) -> Shape:
    """Measures one class of a mask, bool (height, width)."""
    found = trace_parts(mask_hw)
    num_parts = int(np.count_nonzero(found.parents < 0))
    return Shape(
        area_px=int(np.count_nonzero(mask_hw)),
        parts=num_parts,
        holes=len(found.parents) - num_parts,
        largest_px=int(found.areas.max(initial=0)),
        contour_px=sum(len(contour) for contour in found.contours),
    )


def measure_distances(mask_hw: Mask) -> npt.NDArray[np.float32]:
    """Measures the distance of each pixel to the nearest one of the other side of the contour.

    It is float32 (height, width), 1 beside the contour, within 2 %; infinite where there is no contour.
    """
    binary_hw = mask_hw.view(np.uint8)
    if binary_hw.min() == binary_hw.max():
        return np.full(mask_hw.shape, np.inf, dtype=np.float32)
    sides = [cv2.distanceTransform(side_hw, cv2.DIST_L2, 5) for side_hw in (binary_hw, 1 - binary_hw)]
    return np.asarray(np.maximum(*sides), dtype=np.float32)
