"""The shape of a mask: how many parts and holes it has, how long its contours are, how far from them a pixel is."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What one class of a mask looks like."""

    area_px: int
    parts: int  # connected by sides or corners
    holes: int  # background that it encloses, connected by sides
    largest_px: int  # area of the largest part
    contour_px: int  # pixels of the part that lie on a contour, of the outside or of a hole


def measure_shape(mask_hw: npt.NDArray[np.bool_]) -> Shape:
    """Measures one class of a mask.

    Args:
        mask_hw: bool (height, width).
    """
    binary_hw = mask_hw.view(np.uint8)
    area_px = int(np.count_nonzero(binary_hw))
    contours, hierarchy = cv2.findContours(binary_hw, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    # In two levels: a contour without a parent is a part's outside, the others are holes.
    num_holes = 0 if hierarchy is None else int(np.count_nonzero(hierarchy.reshape(-1, 4)[:, 3] >= 0))
    num_parts = len(contours) - num_holes
    return Shape(
        area_px=area_px,
        parts=num_parts,
        holes=num_holes,
        largest_px=area_px if num_parts < 2 else _measure_largest(binary_hw),
        contour_px=sum(len(contour) for contour in contours),
    )


def measure_distances(mask_hw: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Measures how far each pixel is from the contour: the distance to the nearest pixel of the other side.

    Args:
        mask_hw: bool (height, width).

    Returns:
        float32 (height, width), 1 beside the contour, within 2 %; infinite where there is no contour.
    """
    binary_hw = mask_hw.view(np.uint8)
    if binary_hw.min() == binary_hw.max():
        return np.full(mask_hw.shape, np.inf, dtype=np.float32)
    sides = [cv2.distanceTransform(side_hw, cv2.DIST_L2, 5) for side_hw in (binary_hw, 1 - binary_hw)]
    return np.asarray(np.maximum(*sides), dtype=np.float32)


def _measure_largest(binary_hw: npt.NDArray[np.uint8]) -> int:
    # Labels take fifty times as long as contours, 4.0 ms against 0.08 at 640 x 959, and most masks are of one part.
    stats = cv2.connectedComponentsWithStats(binary_hw, connectivity=8)[2]
    return int(stats[1:, cv2.CC_STAT_AREA].max())
