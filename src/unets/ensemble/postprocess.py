"""From probabilities to the final mask: the threshold, and the steps before and after it that may help.

Each step works on full-size pixels, class by class, and leaves its input as it was. A mask is uint8 (height, width) of
class indices, 0 for background; where classes overlap it is (height, width, classes) of 0 and 1.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from unets.config import Postprocessing, Threshold
from unets.data.objects import BoolMask, drop_small_objects, label_objects, part_necks
from unets.metrics.pixels import pick_class

ClassMask = npt.NDArray[np.uint8]
Box = tuple[slice, slice]
# Does a step on a class by each of some values; gives the class itself where nothing changes.
Step = Callable[[BoolMask, Sequence[Any]], Sequence[BoolMask]]
_NOTHING = dict(Postprocessing())  # the value of a step that does nothing


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


def _clean_class(layer_hw: BoolMask, mask: ClassMask, ways: Sequence[Postprocessing]) -> list[BoolMask]:
    """Cleans one class of a mask by `Postprocessing.of_class`; gives `layer_hw` itself where nothing changes."""
    steps: dict[str, Step] = {
        "max_hole_px": partial(_fill_holes, mask),
        "max_components": _keep_largest,
        "min_area_px": _empty_small,
        "neck_px": part_necks,
        "min_object_px": drop_small_objects,
    }
    cleaned = [layer_hw] * len(ways)
    for name, step in steps.items():
        values = [getattr(one, name) for one in ways]
        done: dict[tuple[int, Any], BoolMask] = {}
        for key, own_hw in {id(own_hw): own_hw for own_hw in cleaned}.items():  # what is asked of one mask shares work
            asked = {value for one, value in zip(cleaned, values, strict=True) if one is own_hw} - {_NOTHING[name]}
            made = step(own_hw, list(asked)) if asked else ()
            done |= {(key, value): one for value, one in zip(asked, made, strict=True)}
        cleaned = [done.get((id(one), value), one) for one, value in zip(cleaned, values, strict=True)]
    return cleaned


def _fill_holes(mask: ClassMask, layer_hw: BoolMask, limits: Sequence[int | None]) -> list[BoolMask]:
    """Fills holes of a class of a mask up to an area (None: all)."""
    # Outside a frame around the image all is filled: what is left is holes.
    framed_hw = np.pad(~layer_hw, 1, constant_values=True)
    cv2.floodFill(framed_hw.view(np.uint8), None, (0, 0), 0)
    is_hole_hw = framed_hw[1:-1, 1:-1]
    if not is_hole_hw.any():
        return [layer_hw] * len(limits)
    hole_of = label_objects(is_hole_hw, connectivity=4)[0][is_hole_hw]
    areas = np.bincount(hole_of).astype(np.float64)
    if mask.ndim == 2:  # a hole with another class in it, as a cell with its nucleus, is none
        areas[hole_of[mask[is_hole_hw] != 0]] = np.nan
    areas, filled = areas[hole_of], []
    for most in limits:
        is_filled = areas <= (np.inf if most is None else most)
        filled.append(layer_hw.copy() if is_filled.any() else layer_hw)
        if is_filled.any():
            filled[-1][is_hole_hw] = is_filled
    return filled


def _keep_largest(layer_hw: BoolMask, counts: Sequence[int]) -> list[BoolMask]:
    """Empties all but the largest components."""
    labels_hw, num_found = label_objects(layer_hw)
    if num_found <= min(counts):
        return [layer_hw] * len(counts)
    areas = np.bincount(labels_hw[layer_hw])
    ranks = np.empty_like(areas)
    ranks[np.argsort(-areas, kind="stable")] = np.arange(len(areas))  # the background, 0 here, is last
    return [layer_hw if num_found <= count else (ranks < count).take(labels_hw) for count in counts]


def _empty_small(layer_hw: BoolMask, least: Sequence[int]) -> list[BoolMask]:
    """Empties a class that has fewer pixels."""
    area_px = np.count_nonzero(layer_hw)
    return [np.zeros_like(layer_hw) if 0 < area_px < min_px else layer_hw for min_px in least]
