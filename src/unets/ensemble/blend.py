"""Several maps of one image into one, at the image's full size."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from unets.data.geometry import SizeHW, enlarge
from unets.prediction.maps import from_u8

Averaging = Literal["probability", "logit"]
_EDGE = np.float32(1 / 510)  # 0 and 255 of 255 stand for half a step from 0 and 1: their logits are finite


def blend(
    maps: Sequence[npt.NDArray[np.uint8]],
    weights: Sequence[float],
    full_hw: SizeHW,
    averaging: Averaging = "probability",
) -> npt.NDArray[np.float32]:
    """Averages the maps of one image and enlarges them to its full size.

    Of `probability` the weighted mean is taken; of `logit` that of log(p / (1 - p)), which is then a probability again:
    a member that is sure counts for more. Probabilities are what is enlarged in both, so that the two differ in the
    averaging alone.

    Args:
        maps: one a member, uint8 (height, width, classes), 0..255; sizes may differ between members.
        weights: one a member, not all 0.
        full_hw: (height, width) of the image.
        averaging: `probability` or `logit`.

    Returns:
        float32 (height, width, classes), 0..1.
    """
    total = float(sum(weights))
    if len(maps) != len(weights) or total <= 0:
        raise ValueError(f"`weights` must hold one for each of {len(maps)} maps, not all 0. Received: {weights}")
    shares = [(probs_u8_hwc, w / total) for probs_u8_hwc, w in zip(maps, weights, strict=True) if w > 0]
    return _average_logits(shares, full_hw) if averaging == "logit" else _average_probs(shares, full_hw)


def enlarge_map(probs_hwc: npt.NDArray[np.float32], full_hw: SizeHW) -> npt.NDArray[np.float32]:
    """Enlarges each class of a map linearly to the image's full size; float32 (height, width, classes)."""
    if probs_hwc.shape[-1] == 1:  # without the copy that stacking makes
        return enlarge(probs_hwc[..., 0], full_hw)[..., None]
    return np.stack([enlarge(layer, full_hw) for layer in np.moveaxis(probs_hwc, -1, 0)], axis=-1)


def to_logits(probs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Returns log(p / (1 - p)) of float32 probabilities, at most that of half a step of 255 from 0 and 1."""
    clipped = np.clip(probs, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(clipped / (1 - clipped)), dtype=np.float32)


def _average_probs(shares: Sequence[tuple[npt.NDArray[np.uint8], float]], full_hw: SizeHW) -> npt.NDArray[np.float32]:
    """Maps of one size are averaged first: enlarging is linear, so the result is that of enlarging each, up to
    rounding, for one enlargement in place of one a member.
    """
    by_size: dict[tuple[int, ...], npt.NDArray[np.float32]] = {}
    for probs_u8_hwc, weight in shares:
        share, size = from_u8(probs_u8_hwc, weight), probs_u8_hwc.shape
        if size in by_size:
            by_size[size] += share
        else:
            by_size[size] = share
    enlarged = [enlarge_map(probs_hwc, full_hw) for probs_hwc in by_size.values()]
    return enlarged[0] if len(enlarged) == 1 else np.sum(enlarged, axis=0, dtype=np.float32)


def _average_logits(shares: Sequence[tuple[npt.NDArray[np.uint8], float]], full_hw: SizeHW) -> npt.NDArray[np.float32]:
    logits_hwc: npt.NDArray[np.float32] | None = None
    for probs_u8_hwc, weight in shares:
        share = to_logits(enlarge_map(from_u8(probs_u8_hwc), full_hw)) * np.float32(weight)
        logits_hwc = share if logits_hwc is None else logits_hwc + share
    return np.asarray(1 / (1 + np.exp(-np.asarray(logits_hwc))), dtype=np.float32)
