"""From probabilities to the final mask: the threshold, and the steps before and after it that may help.

Each step works on full-size pixels, class by class, and leaves its input as it was. A mask is uint8 (height, width) of
class indices, 0 for background; where classes overlap it is (height, width, classes) of 0 and 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from unets.config import Postprocessing, Threshold
from unets.data.objects import drop_small_objects, part_necks

ClassMask = npt.NDArray[np.uint8]
Box = tuple[slice, slice]


def pick_classes(probs_hwc: npt.NDArray[np.float32]) -> tuple[ClassMask, npt.NDArray[np.float32]]:
    """Finds the most probable class of each pixel, the earlier of equal ones, and sets it against background.

    Args:
        probs_hwc: float32 (height, width, classes), 0..1; background has what they lack of 1.

    Returns:
        (class index from 1, uint8 (height, width); p / (p + p of background), float32 (height, width)). The latter is
        at least 0.5 where the class is as probable as background or more; of a single class it is p.
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
    every pixel is of a class. Classes that overlap are cut each by itself.

    Args:
        probs_hwc: float32 (height, width, classes), 0..1.
        threshold: 0..1, of all classes or of each; compared as float32, as the probabilities are. Equality is
            foreground.
        overlapping: whether a pixel may be of several classes.

    Returns:
        uint8 (height, width) class index, 0 for background; overlapping (height, width, classes) of 0 and 1.
    """
    thresholds = np.asarray(threshold, dtype=np.float32)
    if overlapping:
        return (probs_hwc >= thresholds).view(np.uint8)
    class_hw, share_hw = pick_classes(probs_hwc)
    return class_hw * (share_hw >= (thresholds[class_hw - 1] if thresholds.ndim else thresholds))


def blur(probs_hwc: npt.NDArray[np.float32], sigma_px: float) -> npt.NDArray[np.float32]:
    """Smooths each class of a map with a Gaussian, and so the contour that is cut from it; borders are mirrored.

    Args:
        probs_hwc: float32 (height, width, classes), 0..1.
        sigma_px: standard deviation in pixels; 0 gives `probs_hwc` itself.
    """
    if sigma_px == 0:
        return probs_hwc
    return np.asarray(cv2.GaussianBlur(probs_hwc, (0, 0), sigma_px), dtype=np.float32).reshape(probs_hwc.shape)


def clean_mask(mask: ClassMask, steps: Postprocessing) -> ClassMask:
    """Does what comes after the threshold: fills holes, keeps the largest components, empties classes that are too
    small, parts objects at their necks, drops the small ones.

    A hole of a class is a 4-connected part of what is not of that class, which does not reach the image's border; one
    that holds another class stays: a nucleus is no hole of its cell. A component is 8-connected; of two of one area the
    one that begins higher is the larger.

    Args:
        mask: uint8 (height, width) class index, or (height, width, classes) of 0 and 1.
        steps: which, and how far.

    Returns:
        A mask of the same shape; `mask` itself where nothing changes.
    """
    (cleaned,) = clean_masks(mask, [steps])
    return cleaned


def clean_masks(mask: ClassMask, ways: Sequence[Postprocessing]) -> list[ClassMask]:
    """Does `clean_mask` in many ways. Finding holes and components is what costs, and is done once for all of them."""
    if mask.ndim == 3:
        layers = [clean_masks(np.ascontiguousarray(layer_hw), ways) for layer_hw in np.moveaxis(mask, -1, 0)]
        return [np.stack(of_way, axis=-1) for of_way in zip(*layers, strict=True)]
    fills = {steps.max_hole_px for steps in ways}
    holes = _find_parts(mask, are_holes=True) if fills != {0} else []
    filled = {most: _repaint(mask, holes, partial(_pick_filled, most)) for most in fills}
    with_parts = {steps.max_hole_px for steps in ways if steps.max_components is not None}
    parts = {most: _find_parts(filled[most], are_holes=False) for most in with_parts}
    kept = (
        _repaint(filled[steps.max_hole_px], parts.get(steps.max_hole_px, []), partial(_pick_dropped, steps))
        for steps in ways
    )
    return [
        _tidy_objects(drop_small(kept_hw, steps.min_area_px), steps) for kept_hw, steps in zip(kept, ways, strict=True)
    ]


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


def _tidy_objects(mask_hw: ClassMask, steps: Postprocessing) -> ClassMask:
    """Parts objects at their necks and drops the small ones, a class at a time."""
    if steps.neck_px == 0 and steps.min_object_px <= 1:
        return mask_hw
    for index in range(1, int(mask_hw.max(initial=0)) + 1):
        class_hw = mask_hw == index
        kept_hw = drop_small_objects(part_necks(class_hw, steps.neck_px), steps.min_object_px)
        if kept_hw is not class_hw:
            mask_hw = np.where(class_hw & ~kept_hw, np.uint8(0), mask_hw)
    return mask_hw


def find_box(is_there_hw: npt.NDArray[np.bool_]) -> Box | None:
    """Returns the least box with all that is there; None where nothing is."""
    (rows,) = np.nonzero(is_there_hw.any(axis=1))
    if len(rows) == 0:
        return None
    (columns,) = np.nonzero(is_there_hw.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Parts:
    """Connected parts in the bounding box of a class: its holes, or its components."""

    index: int  # of the class
    box: Box  # labelling what lies outside would cost the most
    labels_hw: npt.NDArray[Any]  # of the part of each pixel in the box, int32
    labels: npt.NDArray[np.intp]  # of those that count, the largest first; of equal ones the one that begins higher
    areas: npt.NDArray[np.int32]  # their pixels


def _find_parts(mask_hw: ClassMask, *, are_holes: bool) -> list[_Parts]:
    """Finds the holes, or else the components, of each class."""
    found = []
    for index in range(1, int(mask_hw.max(initial=0)) + 1):
        if (box := find_box(mask_hw == index)) is None:
            continue
        class_hw = mask_hw[box]
        is_part_hw = np.not_equal(class_hw, index) if are_holes else np.equal(class_hw, index)
        num_labels, labels_hw, stats, _ = cv2.connectedComponentsWithStats(
            is_part_hw.view(np.uint8), connectivity=4 if are_holes else 8, ltype=cv2.CV_32S
        )
        lefts, tops, widths, heights, areas = stats.T
        counts = np.arange(num_labels) > 0
        if are_holes:
            # No hole reaches its class's bounding box, as what is outside does; none holds another class.
            counts &= (lefts > 0) & (lefts + widths < class_hw.shape[1])
            counts &= (tops > 0) & (tops + heights < class_hw.shape[0])
            counts &= np.bincount(labels_hw[(class_hw != 0) & is_part_hw], minlength=num_labels) == 0
        labels = np.flatnonzero(counts)
        labels = labels[np.lexsort((tops[labels], -areas[labels]))]
        if len(labels):
            found.append(_Parts(index=index, box=box, labels_hw=labels_hw, labels=labels, areas=areas[labels]))
    return found


def _pick_filled(max_hole_px: int | None, holes: _Parts) -> tuple[npt.NDArray[np.intp], int]:
    return holes.labels if max_hole_px is None else holes.labels[holes.areas <= max_hole_px], holes.index


def _pick_dropped(steps: Postprocessing, components: _Parts) -> tuple[npt.NDArray[np.intp], int]:
    return components.labels[len(components.labels) if steps.max_components is None else steps.max_components :], 0


def _repaint(
    mask_hw: ClassMask, found: Sequence[_Parts], pick: Callable[[_Parts], tuple[npt.NDArray[np.intp], int]]
) -> ClassMask:
    """Gives picked parts of each class a new value; returns `mask_hw` itself where none is picked."""
    painted_hw = mask_hw
    for parts in found:
        labels, value = pick(parts)
        if len(labels):
            painted_hw = mask_hw.copy() if painted_hw is mask_hw else painted_hw
            painted_hw[parts.box][np.isin(parts.labels_hw, labels)] = value
    return painted_hw
