"""From probabilities to the final mask: the threshold, and the steps before and after it that may help.

Each step works on full-size pixels, class by class, and leaves its input as it was. A mask is uint8 (height, width) of
class indices, 0 for background; where classes overlap it is (height, width, classes) of 0 and 1.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from unets.config import Postprocessing, Threshold
from unets.data.objects import BoolMask, drop_small_objects, part_necks
from unets.ensemble.shape import trace_contours
from unets.metrics.pixels import pick_class

ClassMask = npt.NDArray[np.uint8]
Box = tuple[slice, slice]
# A box with all holes of a class, the label of each pixel in it, the area of each label; 0: no hole.
_Holes = tuple[Box, npt.NDArray[Any], npt.NDArray[Any]]


def pick_classes(probs_hwc: npt.NDArray[np.float32]) -> tuple[ClassMask, npt.NDArray[np.float32]]:
    """Finds the most probable class of each pixel, the earlier of equal ones, and sets it against background.

    Of float32 (height, width, classes), 0..1, where background has what they lack of 1, returns (class index from 1,
    uint8 (height, width); p / (p + p of background), float32 (height, width)). The latter is at least 0.5 where the
    class is as probable as background or more; of a single class it is p.
    """
    if probs_hwc.shape[-1] == 1:
        return np.ones(probs_hwc.shape[:2], dtype=np.uint8), probs_hwc[..., 0]
    best_hw = probs_hwc.max(axis=-1)
    background_hw = np.maximum(1 - probs_hwc.sum(axis=-1), 0)
    share_hw = best_hw / np.maximum(best_hw + background_hw, np.finfo(np.float32).tiny)
    return np.argmax(probs_hwc, axis=-1).astype(np.uint8) + np.uint8(1), share_hw.astype(np.float32)


def to_masks(probs_hwc: npt.NDArray[np.float32], threshold: Threshold, *, overlapping: bool = False) -> ClassMask:
    """Cuts probabilities at a threshold.

    A pixel belongs to its most probable class where that has at least `threshold` of what it and background have
    together: at 0.5 the most probable of background and classes wins, with one class it is p >= threshold, and at 0
    every pixel is of a class. Classes that overlap are cut each by itself. The threshold, of all classes or of each, is
    compared as float32, as the probabilities, float32 (height, width, classes), are. Equality is foreground.
    """
    thresholds = np.asarray(threshold, dtype=np.float32)
    if overlapping:
        return (probs_hwc >= thresholds).view(np.uint8)
    class_hw, share_hw = pick_classes(probs_hwc)
    return class_hw * (share_hw >= (thresholds[class_hw - 1] if thresholds.ndim else thresholds))


def blur(probs_hwc: npt.NDArray[np.float32], sigma_px: float) -> npt.NDArray[np.float32]:
    """Smooths each class of a map with a Gaussian, borders mirrored; a `sigma_px` of 0 gives `probs_hwc` itself."""
    if sigma_px == 0:
        return probs_hwc
    return np.asarray(cv2.GaussianBlur(probs_hwc, (0, 0), sigma_px), dtype=np.float32).reshape(probs_hwc.shape)


def clean_mask(mask: ClassMask, steps: Postprocessing) -> ClassMask:
    """Does what comes after the threshold: fills holes, keeps the largest components, empties classes that are too
    small, parts objects at their necks, drops the small ones.

    A hole of a class is a 4-connected part of what is not of that class, which does not reach the image's border; one
    that holds another class stays: a nucleus is no hole of its cell. A component is 8-connected; of two of one area the
    one that begins higher is the larger. Returns `mask` itself where nothing changes.
    """
    return clean_masks(mask, [steps])[0]


def clean_masks(mask: ClassMask, ways: Sequence[Postprocessing]) -> list[ClassMask]:
    """Does `clean_mask` in many ways, sharing what they have in common: equal masks are often one array."""
    num_classes = mask.shape[-1] if mask.ndim == 3 else int(mask.max(initial=0))
    layers = [pick_class(mask, index) for index in range(num_classes)]
    cleaned = [
        _clean_class(layer_hw, mask, [steps.of_class(index) for steps in ways]) for index, layer_hw in enumerate(layers)
    ]
    joined = {tuple(map(id, layers)): mask}
    for of_way in zip(*cleaned, strict=True):
        if (key := tuple(map(id, of_way))) not in joined:
            joined[key] = _join(of_way, overlapping=mask.ndim == 3)
    return [joined[tuple(map(id, of_way))] for of_way in zip(*cleaned, strict=True)] or [mask] * len(ways)


def find_box(is_there_hw: npt.NDArray[np.bool_]) -> Box | None:
    """Returns the least box with all that is there; None where nothing is."""
    left, top, width, height = cv2.boundingRect(is_there_hw.view(np.uint8))
    return (slice(top, top + height), slice(left, left + width)) if width else None


def _join(layers: Sequence[BoolMask], *, overlapping: bool) -> ClassMask:
    """Makes a mask of the layers of its classes."""
    first, *others = (layer_hw.view(np.uint8) for layer_hw in layers)
    if overlapping:
        return np.stack([first, *others], axis=-1)
    return sum((layer_hw * np.uint8(number) for number, layer_hw in enumerate(others, start=2)), start=first)


def _clean_class(layer_hw: BoolMask, mask: ClassMask, ways: Sequence[Any]) -> list[BoolMask]:
    """Cleans one class of a mask by `Postprocessing.of_class`; gives `layer_hw` itself where nothing changes."""
    if not layer_hw.any():
        return [layer_hw] * len(ways)
    fills = {steps.max_hole_px for steps in ways}
    holes = _find_holes(layer_hw, mask) if fills != {0} else None
    filled = {most: _fill_holes(layer_hw, holes, most) for most in fills}
    asked = {(steps.max_hole_px, steps.max_components) for steps in ways}
    kept = {(most, count): _keep_largest(filled[most], count) for most, count in asked}
    cleaned, empty_hw = [], np.zeros_like(layer_hw)
    for steps in ways:
        own_hw = kept[steps.max_hole_px, steps.max_components]
        own_hw = empty_hw if np.count_nonzero(own_hw) < steps.min_area_px else part_necks(own_hw, steps.neck_px)
        cleaned.append(drop_small_objects(own_hw, steps.min_object_px))
    return cleaned


def _find_holes(layer_hw: BoolMask, mask: ClassMask) -> _Holes | None:
    """Finds the holes of a class of a mask, in a box around them: labelling all of a mask costs the most."""
    _, contours = trace_contours(layer_hw)
    if not contours:
        return None
    lefts, tops, widths, heights = np.array(list(map(cv2.boundingRect, contours))).T
    box = slice(tops.min(), (tops + heights).max()), slice(lefts.min(), (lefts + widths).max())
    others_hw = ~layer_hw[box]
    _, labels_hw, stats, _ = cv2.connectedComponentsWithStats(others_hw.view(np.uint8), connectivity=4)
    lefts, tops, widths, heights, areas = stats.T
    # What is outside reaches the box; a hole with another class in it, as a cell with its nucleus, is none.
    is_inside = (lefts > 0) & (lefts + widths < others_hw.shape[1])
    is_inside &= (tops > 0) & (tops + heights < others_hw.shape[0])
    is_inside[0] = False  # the class itself
    if mask.ndim == 2:
        is_inside[np.unique(labels_hw[others_hw & (mask[box] != 0)])] = False
    return box, labels_hw, np.where(is_inside, areas, 0)


def _fill_holes(layer_hw: BoolMask, holes: _Holes | None, max_hole_px: int | None) -> BoolMask:
    """Fills holes up to an area (None: all); returns `layer_hw` itself where there is none."""
    if holes is None:
        return layer_hw
    box, labels_hw, areas = holes
    is_filled = (areas > 0) & (areas <= (np.inf if max_hole_px is None else max_hole_px))
    if not is_filled.any():
        return layer_hw
    filled_hw = layer_hw.copy()
    filled_hw[box] |= is_filled[labels_hw]
    return filled_hw


def _keep_largest(layer_hw: BoolMask, count: int | None) -> BoolMask:
    """Empties all but the largest components; returns `layer_hw` itself where there are no more."""
    if count is None or len(trace_contours(layer_hw)[0]) <= count:
        return layer_hw
    _, labels_hw, stats, _ = cv2.connectedComponentsWithStats(layer_hw.view(np.uint8), connectivity=8)
    lefts, tops, _, _, areas = stats[1:].T
    is_kept = np.zeros(len(stats), dtype=np.bool_)
    is_kept[1 + np.lexsort((lefts, tops, -areas))[:count]] = True
    return np.asarray(is_kept[labels_hw])
