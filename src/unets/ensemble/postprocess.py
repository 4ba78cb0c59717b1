"""From probabilities to the final mask: the threshold, and the steps before and after it that may help.

Each step works on full-size pixels, class by class, and leaves its input as it was. A mask is uint8 (height, width) of
class indices, 0 for background; where classes overlap it is (height, width, classes) of 0 and 1.
"""

from collections.abc import Sequence
from typing import TypeAlias, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from unets.config import Postprocessing, Threshold
from unets.data.objects import drop_small_objects, part_necks
from unets.ensemble.shape import trace_contours

ClassMask = npt.NDArray[np.uint8]
Box = tuple[slice, slice]
_T = TypeVar("_T")
PerClass: TypeAlias = _T | tuple[_T, ...]  # of all classes, or of each
# Of a class: its index, a box with all its holes, the label of each pixel in it, the area of each label; 0: no hole.
_Holes = tuple[int, Box, npt.NDArray[np.int32], npt.NDArray[np.int32]]


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
    """Does `clean_mask` in many ways, sharing what they have in common."""
    if mask.ndim == 3:
        layers = [
            clean_masks(np.ascontiguousarray(layer_hw), [steps.of_class(index) for steps in ways])
            for index, layer_hw in enumerate(np.moveaxis(mask, -1, 0))
        ]
        return [np.stack(of_way, axis=-1) for of_way in zip(*layers, strict=True)]
    fills = {steps.max_hole_px for steps in ways}
    holes = _find_holes(mask) if fills != {0} else []
    filled = {most: _fill_holes(mask, holes, most) for most in fills}
    asked = {(steps.max_hole_px, steps.max_components) for steps in ways}
    kept = {(most, count): _keep_largest(filled[most], count) for most, count in asked}
    return [
        _tidy_objects(drop_small(kept[steps.max_hole_px, steps.max_components], steps.min_area_px), steps)
        for steps in ways
    ]


def pick(value: PerClass[_T], index: int) -> _T:
    """Returns the value of a class, counted from 1, of one of all classes or one of each."""
    return value[index - 1] if isinstance(value, tuple) else value


def drop_small(mask_hw: ClassMask, min_area_px: PerClass[int]) -> ClassMask:
    """Empties each class that has fewer than `min_area_px` pixels; `mask_hw` itself where nothing is dropped."""
    if np.max(min_area_px) <= 1:
        return mask_hw
    areas = np.bincount(mask_hw.ravel(), minlength=1)
    limits = np.array([0, *(pick(min_area_px, index) for index in range(1, len(areas)))])
    is_small = (areas > 0) & (areas < limits)
    return np.where(is_small, 0, np.arange(len(areas))).astype(np.uint8)[mask_hw] if is_small.any() else mask_hw


def _tidy_objects(mask_hw: ClassMask, steps: Postprocessing) -> ClassMask:
    """Parts objects at their necks and drops the small ones, a class at a time."""
    if np.max(steps.neck_px) == 0 and np.max(steps.min_object_px) <= 1:
        return mask_hw
    for index in range(1, int(mask_hw.max(initial=0)) + 1):
        class_hw = mask_hw == index
        parted_hw = part_necks(class_hw, pick(steps.neck_px, index))
        kept_hw = drop_small_objects(parted_hw, pick(steps.min_object_px, index))
        if kept_hw is not class_hw:
            mask_hw = np.where(class_hw & ~kept_hw, np.uint8(0), mask_hw)
    return mask_hw


def find_box(is_there_hw: npt.NDArray[np.bool_]) -> Box | None:
    """Returns the least box with all that is there; None where nothing is."""
    left, top, width, height = cv2.boundingRect(is_there_hw.view(np.uint8))
    return (slice(top, top + height), slice(left, left + width)) if width else None


def _find_holes(mask_hw: ClassMask) -> list[_Holes]:
    """Finds the holes of each class that has some, in a box around them: labelling all of a mask costs the most."""
    found = []
    for index in range(1, int(mask_hw.max(initial=0)) + 1):
        _, contours = trace_contours(mask_hw == index)
        if not contours:
            continue
        lefts, tops, widths, heights = np.array(list(map(cv2.boundingRect, contours))).T
        box = slice(tops.min(), (tops + heights).max()), slice(lefts.min(), (lefts + widths).max())
        others_hw = mask_hw[box] != index
        _, labels_hw, stats, _ = cv2.connectedComponentsWithStats(others_hw.view(np.uint8), connectivity=4)
        lefts, tops, widths, heights, areas = stats.T
        # What is outside reaches the box; a hole with another class in it, as a cell with its nucleus, is none.
        is_inside = (lefts > 0) & (lefts + widths < others_hw.shape[1])
        is_inside &= (tops > 0) & (tops + heights < others_hw.shape[0])
        with_others = np.unique(labels_hw[others_hw & (mask_hw[box] != 0)])
        areas = np.where(is_inside, areas, 0)
        areas[[0, *with_others]] = 0
        found.append((index, box, labels_hw, areas))
    return found


def _fill_holes(mask_hw: ClassMask, holes: Sequence[_Holes], max_hole_px: PerClass[int | None]) -> ClassMask:
    """Fills holes up to an area (None: all); returns `mask_hw` itself where there is none."""
    filled_hw = mask_hw
    for index, box, labels_hw, areas in holes:
        most_px = pick(max_hole_px, index)
        is_filled = (areas > 0) & (areas <= (np.inf if most_px is None else most_px))
        if is_filled.any():
            filled_hw = mask_hw.copy() if filled_hw is mask_hw else filled_hw
            filled_hw[box][is_filled[labels_hw]] = index
    return filled_hw


def _keep_largest(mask_hw: ClassMask, counts: PerClass[int | None]) -> ClassMask:
    """Empties all but the largest components of each class; returns `mask_hw` itself where there are no more."""
    kept_hw = mask_hw
    for index in range(1, int(mask_hw.max(initial=0)) + 1 if counts is not None else 1):
        if (count := pick(counts, index)) is None:
            continue
        class_hw = mask_hw == index
        if len(trace_contours(class_hw)[0]) > count:
            _, labels_hw, stats, _ = cv2.connectedComponentsWithStats(class_hw.view(np.uint8), connectivity=8)
            lefts, tops, _, _, areas = stats[1:].T
            is_left_out = np.zeros(len(stats), dtype=np.bool_)
            is_left_out[1 + np.lexsort((lefts, tops, -areas))[count:]] = True
            kept_hw = np.where(is_left_out[labels_hw], np.uint8(0), kept_hw)
    return kept_hw
