"""The metrics that competitions score masks with, in numpy.

`METRICS` is the one place to add another: a function of two uint8 or bool masks of equal shape that returns a float.
The Keras counterparts, which training watches, are in `unets.nets.metrics`.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.generic]
Metric = Callable[[Mask, Mask], float]


def dice(truth: Mask, predicted: Mask) -> float:
    """Dice coefficient, 2 |X and Y| / (|X| + |Y|); 1 when both are empty (Carvana's rule).

    Args:
        truth: any shape; non-zero is foreground.
        predicted: the same shape.
    """
    both, true_px, predicted_px = _count(truth, predicted)
    return 1.0 if true_px + predicted_px == 0 else 2.0 * both / (true_px + predicted_px)


def iou(truth: Mask, predicted: Mask) -> float:
    """Intersection over union (Jaccard index), |X and Y| / |X or Y|; 1 when both are empty.

    Args:
        truth: any shape; non-zero is foreground.
        predicted: the same shape.
    """
    both, true_px, predicted_px = _count(truth, predicted)
    union = true_px + predicted_px - both
    return 1.0 if union == 0 else both / union


def _count(truth: Mask, predicted: Mask) -> tuple[int, int, int]:
    """Returns (pixels of both, of `truth`, of `predicted`)."""
    if truth.shape != predicted.shape:
        raise ValueError(f"`predicted` must have the shape of `truth`, {truth.shape}. Received: {predicted.shape}")
    is_true, is_predicted = truth.astype(np.bool_, copy=False), predicted.astype(np.bool_, copy=False)
    return (
        int(np.count_nonzero(is_true & is_predicted)),
        int(np.count_nonzero(is_true)),
        int(np.count_nonzero(is_predicted)),
    )


METRICS: dict[str, Metric] = {"dice": dice, "iou": iou}
