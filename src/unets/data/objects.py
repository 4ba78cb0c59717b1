"""Objects of one class in a mask: each is a connected component, neighbors across corners included.

So objects that touch are one, unless a line of background parts them.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

BoolMask = npt.NDArray[np.bool_]
_EIGHT = np.ones((3, 3), dtype=np.bool_)


def label_objects(mask_hw: BoolMask) -> tuple[npt.NDArray[np.int32], int]:
    """Numbers the objects of a mask; returns (int32 (height, width) from 1, 0 for background; how many)."""
    labels_hw, count = ndimage.label(mask_hw, structure=_EIGHT)
    return labels_hw.astype(np.int32, copy=False), int(count)


def part_labels(labels_hw: npt.NDArray[np.int32]) -> BoolMask:
    """Makes a mask in which objects of different numbers do not touch: the lower one draws back by a pixel.

    Args:
        labels_hw: int32 (height, width), the number of each pixel's object, 0 for background.
    """
    highest_hw = ndimage.maximum_filter(labels_hw, size=3)
    return np.asarray((labels_hw > 0) & (highest_hw == labels_hw))


def part_necks(mask_hw: BoolMask, neck_px: float) -> BoolMask:
    """Parts objects that are joined by a neck: each component is cut, by a line of background, where it is narrow.

    The parts of a component that hold a disk wider than `neck_px` are its objects; a pixel belongs to the nearest.

    Args:
        mask_hw: bool (height, width).
        neck_px: width of the widest neck that is cut; 0 cuts none.

    Returns:
        bool (height, width); `mask_hw` itself where nothing is cut.
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
    is_large = np.bincount(labels_hw.ravel()) >= min_px
    is_large[0] = False
    kept_hw = is_large[labels_hw]
    return mask_hw if kept_hw.sum() == mask_hw.sum() else kept_hw
