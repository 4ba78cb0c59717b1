"""Dice and IoU of each class over the pixels of all photos together, as papers on scenes of many classes report them.

A mean over photos asks how good a mask is; a class that most photos lack is then mostly 1 for nothing. Here a class is
as good as its pixels, wherever they are.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from unets.data.samples import IGNORE

Counts = npt.NDArray[np.int64]  # (classes, 3): pixels of truth and prediction both, of the truth, of the prediction


def count_pixels_of(truth_hw: npt.NDArray[np.uint8], mask_hw: npt.NDArray[np.uint8], num_classes: int) -> Counts:
    """Counts the pixels of one photo.

    Args:
        truth_hw: uint8 (height, width) class index; 0 is background, IGNORE is left out.
        mask_hw: the same, without IGNORE.
        num_classes: number of foreground classes.
    """
    is_void = truth_hw == IGNORE
    if is_void.any():
        mask_hw = np.where(is_void, np.uint8(0), mask_hw)
    rows = []
    for index in range(1, num_classes + 1):  # a tenth of bincount's time for few classes, which wants 64 bits a pixel
        is_true, is_predicted = truth_hw == index, mask_hw == index
        rows.append([np.count_nonzero(pixels) for pixels in (is_true & is_predicted, is_true, is_predicted)])
    return np.array(rows, dtype=np.int64)


def describe_pixels(counts: Counts, classes: Sequence[str]) -> dict[str, Any]:
    """Returns `mean_dice`, `mean_iou` and both of each class, as JSON can write them.

    A class that neither side has is left out of the means and None.
    """
    by_class = {name: _score(*row) for name, row in zip(classes, counts.tolist(), strict=True)}
    known = [scores for scores in by_class.values() if scores is not None]
    means = {f"mean_{key}": float(np.mean([scores[key] for scores in known])) for key in ("dice", "iou") if known}
    return {**means, "classes": by_class}


def sum_counts(counts: Iterable[Counts]) -> Counts:
    """Adds the photos up."""
    return np.asarray(np.sum(list(counts), axis=0), dtype=np.int64)


def _score(both: int, true_px: int, predicted_px: int) -> dict[str, float] | None:
    total = true_px + predicted_px
    return {"dice": 2 * both / total, "iou": both / (total - both)} if total else None
