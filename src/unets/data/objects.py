"""Objects of one class in a mask: each is a connected component, neighbors across corners included.

So objects that touch are one, unless a line of background parts them.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

BoolMask = npt.NDArray[np.bool_]


def label_objects(mask_hw: BoolMask) -> tuple[npt.NDArray[np.int32], int]:
    """Numbers the objects of a mask; returns (int32 (height, width) from 1, 0 for background; how many)."""
    labels_hw, count = ndimage.label(mask_hw, structure=np.ones((3, 3), dtype=np.bool_))
    return labels_hw.astype(np.int32, copy=False), int(count)


def part_labels(labels_hw: npt.NDArray[np.int32]) -> BoolMask:
    """Makes a mask of numbered objects (0 is background) in which the lower of two that touch draws back by a pixel."""
    return np.asarray((labels_hw > 0) & (ndimage.maximum_filter(labels_hw, size=3) == labels_hw))


def part_necks(mask_hw: BoolMask, neck_px: float) -> BoolMask:
    """Parts objects that are joined by a neck: each component is cut, by a line of background, where it is narrow.

    The parts of a component that hold a disk wider than `neck_px`, the widest neck that is cut, are its objects; a
    pixel belongs to the nearest. Returns `mask_hw` itself where nothing is cut.
    """
    if neck_px <= 0:
        return mask_hw
    cores_hw = ndimage.distance_transform_edt(np.pad(mask_hw, 1))[1:-1, 1:-1] > neck_px / 2
    labels_hw, _ = label_objects(mask_hw)
    parted_hw = mask_hw
    for label, box in enumerate(ndimage.find_objects(labels_hw), start=1):
        object_hw = labels_hw[box] == label
        seeds_hw, count = label_objects(cores_hw[box] & object_hw)
        if count < 2:
            continue
        rows, columns = ndimage.distance_transform_edt(seeds_hw == 0, return_distances=False, return_indices=True)
        nearest_hw = np.where(object_hw, seeds_hw[rows, columns], 0)
        parted_hw = mask_hw.copy() if parted_hw is mask_hw else parted_hw
        parted_hw[box][object_hw] = part_labels(nearest_hw)[object_hw]
    return parted_hw


def drop_small_objects(mask_hw: BoolMask, min_px: int) -> BoolMask:
    """Drops the objects of fewer than `min_px` pixels; returns `mask_hw` itself where there is none."""
    if min_px <= 1:
        return mask_hw
    labels_hw, _ = label_objects(mask_hw)
    is_small = np.bincount(labels_hw.ravel()) < min_px
    is_small[0] = False
    return mask_hw & ~is_small[labels_hw] if is_small.any() else mask_hw
