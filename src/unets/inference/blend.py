"""Several maps of one photo into one, at the photo's full size."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from unets.data.geometry import SizeHW, enlarge
from unets.inference.maps import from_u8


def blend(maps: Sequence[npt.NDArray[np.uint8]], weights: Sequence[float], full_hw: SizeHW) -> npt.NDArray[np.float32]:
    """Averages the maps of one photo and enlarges them to its full size.

    Maps of one size are averaged first: enlarging is linear, so the result is that of enlarging each, up to rounding,
    for one enlargement in place of one a member.

    Args:
        maps: one a member, uint8 (height, width, classes), 0..255; sizes may differ between members.
        weights: one a member, not all 0.
        full_hw: (height, width) of the photo.

    Returns:
        float32 (height, width, classes), 0..1.
    """
    total = float(sum(weights))
    if len(maps) != len(weights) or total <= 0:
        raise ValueError(f"`weights` must hold one for each of {len(maps)} maps, not all 0. Received: {weights}")
    by_size: dict[tuple[int, ...], npt.NDArray[np.float32]] = {}
    for probs_u8_hwc, weight in zip(maps, weights, strict=True):
        share, size = from_u8(probs_u8_hwc, weight / total), probs_u8_hwc.shape
        if size in by_size:
            by_size[size] += share
        else:
            by_size[size] = share
    enlarged = [enlarge_map(probs_hwc, full_hw) for probs_hwc in by_size.values()]
    return enlarged[0] if len(enlarged) == 1 else np.sum(enlarged, axis=0, dtype=np.float32)


def enlarge_map(probs_hwc: npt.NDArray[np.float32], full_hw: SizeHW) -> npt.NDArray[np.float32]:
    """Enlarges each class of a map linearly to the photo's full size; float32 (height, width, classes)."""
    if probs_hwc.shape[-1] == 1:  # without the copy that stacking makes
        return enlarge(probs_hwc[..., 0], full_hw)[..., None]
    return np.stack([enlarge(layer, full_hw) for layer in np.moveaxis(probs_hwc, -1, 0)], axis=-1)
