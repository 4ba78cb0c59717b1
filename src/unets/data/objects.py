"""Objects of one class in a mask: each is a connected component, neighbors across corners included.

So objects that touch are one, unless a line of background parts them.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

BoolMask = npt.NDArray[np.bool_]


def label_objects(mask_hw: BoolMask, connectivity: int = 8) -> tuple[npt.NDArray[np.int32], int]:
    """Numbers the objects of a mask; returns (int32 (height, width) from 1, 0 for background; how many).

    They are numbered in the order of their first pixels, row by row. With a `connectivity` of 4 corners do not touch.
    """
    import cv2  # here, as `from unets import dice` needs numpy alone

    binary_hw = mask_hw.view(np.uint8)
    # Of cv2's algorithms that one numbers so; it takes a third of the time of scipy's.
    count, labels_hw = cv2.connectedComponentsWithAlgorithm(binary_hw, connectivity, cv2.CV_32S, cv2.CCL_WU)
    return np.asarray(labels_hw, dtype=np.int32), count - 1


def measure_contour(mask_hw: BoolMask) -> float:
    """Returns the length of the contour in pixels, where it does not run along the image's edge.

    pi / 4 of the sides between pixels that differ: exact on average over directions (Cauchy-Crofton), 0.79 to 1.11
    times the length of a straight line.
    """
    sides = np.count_nonzero(mask_hw[1:] != mask_hw[:-1]) + np.count_nonzero(mask_hw[:, 1:] != mask_hw[:, :-1])
    return float(np.pi / 4 * sides)


def part_labels(labels_hw: npt.NDArray[np.int32]) -> BoolMask:
    """Makes a mask of numbered objects (0 is background) in which the lower of two that touch draws back by a pixel."""
    return np.asarray((labels_hw > 0) & (ndimage.maximum_filter(labels_hw, size=3) == labels_hw))


def part_necks(mask_hw: BoolMask, widths: Sequence[float]) -> list[BoolMask]:
    """Parts objects that are joined by a neck: each component is cut, by a line of background, where it is narrow.

    The parts of a component that hold a disk wider than the widest neck that is cut, in pixels, are its objects; a
    pixel belongs to the nearest. Returns a mask for each of the widths; `mask_hw` itself where nothing is cut.
    """
    import cv2

    padded_hw = np.pad(mask_hw, 1).view(np.uint8)
    distances_hw = cv2.distanceTransform(padded_hw, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    labels_hw, count = label_objects(mask_hw)
    boxes, parted = ndimage.find_objects(labels_hw), []
    for neck_px in widths:
        cores_hw = distances_hw > neck_px / 2
        cores_labels_hw, num_cores = label_objects(cores_hw)
        object_of = np.zeros(num_cores + 1, dtype=np.intp)
        object_of[cores_labels_hw[cores_hw]] = labels_hw[cores_hw]
        joined = np.flatnonzero(np.bincount(object_of[1:], minlength=count + 1) > 1)
        parted_hw = mask_hw.copy() if joined.size else mask_hw
        for label in joined:
            box = boxes[label - 1]
            object_hw = labels_hw[box] == label
            seeds_hw = np.where(object_hw, cores_labels_hw[box], 0)
            rows, columns = ndimage.distance_transform_edt(seeds_hw == 0, return_distances=False, return_indices=True)
            nearest_hw = np.where(object_hw, seeds_hw[rows, columns], 0)
            parted_hw[box][object_hw] = part_labels(nearest_hw)[object_hw]
        parted.append(parted_hw)
    return parted


def drop_small_objects(mask_hw: BoolMask, sizes: Sequence[int]) -> list[BoolMask]:
    """Drops objects of fewer pixels than each of the sizes; gives `mask_hw` itself where there is none."""
    labels_hw, count = label_objects(mask_hw)
    areas = np.bincount(labels_hw[mask_hw], minlength=count + 1)
    least = areas[1:].min(initial=max(sizes))
    return [mask_hw if least >= min_px else (areas >= max(min_px, 1)).take(labels_hw) for min_px in sizes]
