"""Objects of one class in a mask: each is a connected component, neighbors across corners included.

So objects that touch are one, unless a line of background parts them.
"""

from collections import defaultdict
from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from unets.data.samples import IGNORE, count_object_pixels

BoolMask = npt.NDArray[np.bool_]


def label_objects(mask_hw: BoolMask) -> tuple[npt.NDArray[np.int32], int]:
    """Numbers the objects of a mask; returns (int32 (height, width) from 1, 0 for background; how many)."""
    labels_hw, count = ndimage.label(mask_hw, structure=np.ones((3, 3), dtype=np.bool_))
    return labels_hw.astype(np.int32, copy=False), int(count)


def measure_objects(masks: Iterable[npt.NDArray[np.uint8]]) -> tuple[float | None, float]:
    """Finds how large the smaller objects are, the side of a square of that area as a share of the image's side, None
    where there is no object; and the share of the masks that hold any.

    An image's side is the root of its area. Half of what a mask holds of a class is in objects up to its size, so that
    specks do not count; a quarter of the masks that hold the class have smaller ones; of the classes the smallest
    counts. `masks` are uint8 (height, width) of class indices, or (height, width, classes) of 0 and 1; 255 is ignored.
    """
    sides, num_masks, num_filled = defaultdict[int, list[float]](list), 0, 0
    for mask in masks:
        num_masks, num_filled = num_masks + 1, num_filled + bool(count_object_pixels(mask))
        layers = {index: mask[..., index] == 1 for index in range(mask.shape[-1])} if mask.ndim == 3 else None
        layers = layers or {index: mask == index for index in np.unique(mask).tolist() if index not in (0, IGNORE)}
        for index, layer_hw in layers.items():
            *_, stats, _ = cv2.connectedComponentsWithStats(layer_hw.astype(np.uint8))
            areas = np.sort(stats[1:, cv2.CC_STAT_AREA])
            if len(areas):
                middle = areas[np.searchsorted(areas.cumsum(), areas.sum() / 2)]
                sides[index].append(float(np.sqrt(middle / layer_hw.size)))
    side = min((float(np.quantile(of, 0.25)) for of in sides.values()), default=None)
    return side, num_filled / max(num_masks, 1)


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
