"""The metrics that competitions score masks with.

A metric measures a fraction of each class of each image. `dice` means the mean of these fractions over images and then
over classes; `global_dice` divides the sum over all images of what is above the line by that of what is below.

    dice, iou, f2, f0.5           2 |X and Y| / (|X| + |Y|); |X and Y| / |X or Y|; F-beta of precision and recall
    global_dice, global_iou, ...  the same over the pixels of all images together
    surface_dice_3px              of both contours, the share of pixels within 3 px of the other (Nikolov et al. 2018)
    boundary_f_3px                F1 of contour precision and recall within 3 px (Csurka et al. 2013)
    ap, ap_50                     of objects (connected components, unless they are numbered), TP / (TP + FP + FN): mean
                                  over the IoU thresholds 0.50 to 0.95 in steps of 0.05, as in the Data Science Bowl
                                  2018; or at IoU 0.50

Where neither mask has a pixel of a class, its fraction is 1. Keras counterparts, which training watches, are in
`unets.nets.metrics`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from unets.data.objects import BoolMask, label_objects
from unets.errors import InputError

Mask = npt.NDArray[np.generic]
Values = npt.NDArray[np.float64]
Fraction = tuple[Any, Any]  # above and below the line: numbers, or arrays of them
FromCounts = Callable[[Any, Any, Any], Fraction]

_COUNTED = re.compile(r"(global_)?(?:(dice)|(iou)|f(\d+(?:\.\d+)?))")
_CONTOUR = re.compile(r"(surface_dice|boundary_f)_(\d+(?:\.\d+)?)px")
_OBJECTS = re.compile(r"ap(?:_(\d\d))?")
_IOU_THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """How a mask is scored, a class at a time."""

    name: str
    # Of (target, predicted), bool of one shape; of `ap` they may be numbers of objects, 0 elsewhere.
    measure: Callable[[Mask, Mask], Fraction]
    # The same of pixels of (both, the ground truth, the prediction), numbers or arrays; None: counts do not suffice.
    from_counts: FromCounts | None = None
    over_pixels: bool = False  # fractions are added up over images before they are divided

    @property
    def counted(self) -> "Metric":
        """Itself, or Dice in its place where it needs more than pixel counts."""
        return self if self.from_counts is not None else find_metric("dice")

    def count(self, both: Any, true_px: Any, predicted_px: Any) -> Values:
        """Returns the fractions of pixel counts (numbers, or arrays of one shape), float64 (..., 2).

        Raises ValueError where the metric needs more than counts.
        """
        if self.from_counts is None:
            raise ValueError(f"`metric` must need pixel counts alone. Received: {self.name}")
        above, below = np.broadcast_arrays(*self.from_counts(both, true_px, predicted_px))
        return np.stack([above, below], axis=-1).astype(np.float64)

    def to_values(self, fractions: Values) -> Values:
        """Gives each image a value, such that the mean over images is the score: (images, ...) of (images, ..., 2).

        Without `over_pixels` it is the fraction itself. With it, for R = sum(a) / sum(b) over all images, it is
        R + (a - R b) / mean(b): what the image adds to R (the linearized ratio, by which R's variance is estimated).
        """
        above, below = fractions[..., 0], fractions[..., 1]
        if not self.over_pixels:
            return divide(above, below)
        ratio, mean = divide(above.sum(axis=0), below.sum(axis=0)), below.mean(axis=0)
        return np.asarray(ratio + (above - ratio * below) / np.where(mean == 0, 1, mean), dtype=np.float64)


@cache
def find_metric(name: str) -> Metric:
    """Returns the metric of that name; see the top of this module.

    Raises InputError where there is none.
    """
    if match := _COUNTED.fullmatch(name):
        over_pixels, _, iou, beta = match.groups()
        from_counts: FromCounts = _iou if iou else partial(_f_beta, beta=float(beta or 1))
        measure = partial(_measure_counts, from_counts)
        return Metric(name=name, measure=measure, from_counts=from_counts, over_pixels=bool(over_pixels))
    if match := _CONTOUR.fullmatch(name):
        contour = _surface_dice if match[1] == "surface_dice" else _boundary_f
        return Metric(name=name, measure=partial(contour, tolerance_px=float(match[2])))
    if match := _OBJECTS.fullmatch(name):
        thresholds = (int(match[1]) / 100,) if match[1] else _IOU_THRESHOLDS
        return Metric(name=name, measure=partial(_object_precision, thresholds=thresholds))
    raise InputError(
        f"`metric` must be dice, iou, f2 (any beta), global_ and one of these, surface_dice_3px, boundary_f_3px (any "
        f"tolerance), ap or ap_50 (any IoU in percent). Received: {name!r}"
    )


def dice(target: Mask, predicted: Mask) -> float:
    """Dice coefficient, 2 |X and Y| / (|X| + |Y|), of arrays of one shape, where non-zero is foreground.

    It is 1 when both are empty (Carvana's rule).
    """
    return measure("dice", target, predicted)


def iou(target: Mask, predicted: Mask) -> float:
    """Intersection over union (Jaccard index), |X and Y| / |X or Y|, of arrays of one shape; 1 when both are empty."""
    return measure("iou", target, predicted)


def measure(metric: str, target: Mask, predicted: Mask) -> float:
    """Scores one mask of one class by a metric's name; see the top of this module.

    Masks are (height, width), for metrics of pixel counts of any one shape; non-zero is foreground.
    """
    if target.shape != predicted.shape:
        raise ValueError(f"`predicted` must have the shape of `target`, {target.shape}. Received: {predicted.shape}")
    true, positive = (mask.astype(np.bool_, copy=False) for mask in (target, predicted))
    return float(divide(*find_metric(metric).measure(true, positive)))


def divide(above: Any, below: Any) -> Values:
    """Divides, 0 / 0 as 1: two empty masks agree."""
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    return np.asarray(np.where(below == 0, 1.0, above / np.where(below == 0, 1, below)), dtype=np.float64)


def _f_beta(both: Any, true_px: Any, predicted_px: Any, *, beta: float) -> Fraction:
    """(1 + b^2) TP / ((1 + b^2) TP + b^2 FN + FP), where FN = true - TP and FP = predicted - TP; Dice for b = 1."""
    return (1 + beta**2) * both, beta**2 * true_px + predicted_px


def _iou(both: Any, true_px: Any, predicted_px: Any) -> Fraction:
    return both, true_px + predicted_px - both


def _measure_counts(from_counts: FromCounts, target: BoolMask, predicted: BoolMask) -> Fraction:
    return from_counts(*(int(np.count_nonzero(pixels)) for pixels in (target & predicted, target, predicted)))


def _surface_dice(target: BoolMask, predicted: BoolMask, *, tolerance_px: float) -> Fraction:
    near_true, num_true, near_predicted, num_predicted = _count_near(target, predicted, tolerance_px)
    return near_true + near_predicted, num_true + num_predicted


def _boundary_f(target: BoolMask, predicted: BoolMask, *, tolerance_px: float) -> Fraction:
    """2 P R / (P + R) over 1; nothing over nothing where both are empty."""
    near_true, num_true, near_predicted, num_predicted = _count_near(target, predicted, tolerance_px)
    if num_true + num_predicted == 0:
        return 0, 0
    recall, precision = near_true / max(num_true, 1), near_predicted / max(num_predicted, 1)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0, 1


def _count_near(target: BoolMask, predicted: BoolMask, tolerance_px: float) -> list[int]:
    """Counts, for the true contour and the predicted one, pixels within the tolerance of the other, and all pixels.

    A contour is the pixels of a mask that have a side in common with the background, or with the image's border.
    """
    contours = [mask & ~ndimage.binary_erosion(mask) for mask in (target, predicted)]
    counts = []
    for own_hw, other_hw in (contours, contours[::-1]):
        is_near_hw = ndimage.distance_transform_edt(~other_hw) <= tolerance_px if other_hw.any() else other_hw
        counts += [int(np.count_nonzero(own_hw & is_near_hw)), int(np.count_nonzero(own_hw))]
    return counts


def _number(mask: Mask) -> tuple[npt.NDArray[np.int32], int]:
    """Numbers objects from 1 on: parts of a bool mask, or those that integers number, with gaps."""
    if mask.dtype == np.bool_:
        return label_objects(mask.astype(np.bool_, copy=False))
    found, places = np.unique(np.append(0, mask), return_inverse=True)
    return places[1:].reshape(mask.shape).astype(np.int32), len(found) - 1


def _object_precision(target: Mask, predicted: Mask, *, thresholds: tuple[float, ...]) -> Fraction:
    """The mean over thresholds of TP / (TP + FP + FN), where a pair of objects counts from that IoU on.

    From an IoU above 0.5 on no object has two partners; at 0.5 and below the larger IoU is taken first.
    """
    (true_labels, num_true), (labels, num_predicted) = map(_number, (target, predicted))
    if num_true + num_predicted == 0:
        return 0, 0
    shape = (num_true + 1, num_predicted + 1)
    pairs = np.bincount(true_labels.ravel() * shape[1] + labels.ravel(), minlength=shape[0] * shape[1]).reshape(shape)
    areas, true_areas = pairs.sum(axis=0), pairs.sum(axis=1)
    ious = (pairs / np.maximum(true_areas[:, None] + areas - pairs, 1))[1:, 1:]
    rows, columns = np.nonzero(ious >= min(thresholds))
    matched, used_rows, used_columns = list[float](), set[int](), set[int]()
    for place in np.argsort(-ious[rows, columns], kind="stable"):
        row, column = int(rows[place]), int(columns[place])
        if row not in used_rows and column not in used_columns:
            matched.append(float(ious[row, column]))
            used_rows.add(row)
            used_columns.add(column)
    hits = [sum(iou >= threshold for iou in matched) for threshold in thresholds]
    return float(np.mean([hit / (num_true + num_predicted - hit) for hit in hits])), 1
