"""From probabilities to the final mask."""

import numpy as np
import numpy.typing as npt

ClassMask = npt.NDArray[np.uint8]


def pick_classes(probs_hwc: npt.NDArray[np.float32]) -> tuple[ClassMask, npt.NDArray[np.float32]]:
    """Finds the most probable foreground class of each pixel; the earlier one where two are equal.

    Args:
        probs_hwc: float32 (height, width, classes), 0..1.

    Returns:
        (class index from 1, uint8 (height, width); its probability, float32 (height, width)).
    """
    if probs_hwc.shape[-1] == 1:
        return np.ones(probs_hwc.shape[:2], dtype=np.uint8), probs_hwc[..., 0]
    return np.argmax(probs_hwc, axis=-1).astype(np.uint8) + np.uint8(1), probs_hwc.max(axis=-1)


def to_masks(probs_hwc: npt.NDArray[np.float32], threshold: float) -> ClassMask:
    """Cuts probabilities at a threshold.

    A pixel belongs to its most probable class where that class's probability is at least `threshold`: equality is
    foreground. This does not ask that the classes' probabilities sum to one, and with one class it is p >= threshold.

    Args:
        probs_hwc: float32 (height, width, classes), 0..1.
        threshold: 0..1; compared as float32, as the probabilities are.

    Returns:
        uint8 (height, width) class index; 0 is background.
    """
    if probs_hwc.shape[-1] == 1:  # the general way, without a picture of ones to multiply with
        return (probs_hwc[..., 0] >= np.float32(threshold)).view(np.uint8)
    class_hw, best_hw = pick_classes(probs_hwc)
    return class_hw * (best_hw >= np.float32(threshold))


def drop_small(mask_hw: ClassMask, min_area_px: int) -> ClassMask:
    """Empties each class that has fewer than `min_area_px` pixels.

    Args:
        mask_hw: uint8 (height, width) class index.
        min_area_px: smallest area that is kept; 0 and 1 keep every mask.

    Returns:
        uint8 (height, width); `mask_hw` itself where nothing is dropped.
    """
    if min_area_px <= 1:
        return mask_hw
    areas = np.bincount(mask_hw.ravel(), minlength=1)
    is_small = areas < min_area_px
    is_small[0] = False
    if not (is_small & (areas > 0)).any():
        return mask_hw
    return np.where(is_small, 0, np.arange(len(areas))).astype(np.uint8)[mask_hw]
