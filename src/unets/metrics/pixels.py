"""Dice and IoU of each class over the pixels of all images together, as papers on scenes report them."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from unets.data.samples import IGNORE
from unets.metrics.masks import divide, find_metric

# (classes, 3): pixels of ground truth and prediction both, of the ground truth, of the prediction
Counts = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.uint16]


def pick_class(mask: npt.NDArray[np.uint8], index: int) -> npt.NDArray[np.bool_]:
    """Returns where a mask is of a class, from 0 on, bool (height, width).

    A mask is uint8 (height, width) class index; or, where classes overlap, (height, width, classes) of 0 and 1.
    """
    return np.asarray(mask[..., index] == 1 if mask.ndim == 3 else mask == index + 1)


def number_class(target: npt.NDArray[np.uint8], objects: Numbers | None, index: int) -> npt.NDArray[Any]:
    """Returns the numbers of a class's objects, (height, width), of `read_objects`; bool where there are none."""
    is_class = pick_class(target, index)
    return is_class if objects is None else np.where(is_class, objects[..., index] if objects.ndim == 3 else objects, 0)


def pick_known(target: npt.NDArray[np.uint8], index: int) -> npt.NDArray[np.bool_] | None:
    """Returns where a ground truth says whether a pixel is of a class, bool (height, width); None: everywhere."""
    is_known = (target[..., index] if target.ndim == 3 else target) != IGNORE
    return None if is_known.all() else np.asarray(is_known)


def pair_masks(
    target: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8], num_classes: int
) -> list[tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]:
    """Returns (ground truth, predicted mask) of each class, bool (height, width), both without the ignored pixels."""
    pairs = []
    for index in range(num_classes):
        is_known, predicted = pick_known(target, index), pick_class(mask, index)
        pairs.append((pick_class(target, index), predicted if is_known is None else predicted & is_known))
    return pairs


def count_pixels_of(target: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8], num_classes: int) -> Counts:
    """Counts the pixels of one image; masks as `pick_class` takes them, ignored pixels are left out."""
    rows = [(true & predicted, true, predicted) for true, predicted in pair_masks(target, mask, num_classes)]
    return np.array([[np.count_nonzero(pixels) for pixels in row] for row in rows], dtype=np.int64)


def describe_pixels(counts: Counts, classes: Sequence[str]) -> dict[str, Any]:
    """Returns `mean_dice`, `mean_iou` and both of each class, as JSON can write them.

    A class that neither side has is left out of the means and None.
    """
    by_class: dict[str, dict[str, float] | None] = {}
    for name, row in zip(classes, counts.tolist(), strict=True):
        scores = {key: float(divide(*find_metric(key).count(*row))) for key in ("dice", "iou")}
        by_class[name] = scores if row[1] + row[2] else None
    known = [scores for scores in by_class.values() if scores is not None]
    means = {f"mean_{key}": float(np.mean([scores[key] for scores in known])) for key in ("dice", "iou") if known}
    return {**means, "classes": by_class}


def sum_counts(counts: Iterable[Counts]) -> Counts:
    """Adds the images up."""
    return np.asarray(np.sum(list(counts), axis=0), dtype=np.int64)
