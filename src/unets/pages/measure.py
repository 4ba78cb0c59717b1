"""What is measured of images: figures of each for the gallery, and totals of all for the charts of errors."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from unets.config import DatasetConfig
from unets.data.samples import IGNORE, Sample, count_object_pixels, read_full_size, read_mask
from unets.ensemble.mask_scores import blend_small, compare_members, count_thresholds
from unets.ensemble.postprocess import ClassMask
from unets.ensemble.recipe import MapU8, Recipe, average_maps, make_mask
from unets.ensemble.shape import measure_distances, measure_shape
from unets.evaluation.predictions import Prediction
from unets.metrics.masks import divide, find_metric
from unets.metrics.pixels import pick_class
from unets.workers.pool import run_tasks

Values = npt.NDArray[np.float64]
Totals = dict[str, npt.NDArray[Any]]
Chunk = tuple[Sequence[Sample], Sequence[Prediction]]  # some images, and the predictions of them
T = TypeVar("T")

# What is measured of an image, where a mask was predicted, of all classes together; `unets.pages.oddness.SCALES` says
# what each is. Those that compare members are NaN where there is a single one.
FIGURES = ("area", "parts", "holes", "loose", "contour", "band", "difference", "agreement")
UNCERTAIN = (0.1, 0.9)  # a probability between these is uncertain
THRESHOLDS = tuple(step / 20 for step in range(1, 20))
NUM_BINS = 10  # of the calibration curve
DISTANCES_PX = (1, 2, 4, 8, 16, 32, 64)  # upper edges; two more bins: farther, and where the class is not in the image
_CHUNK = 16  # images a task
_STEP = 4  # of a row's and a column's pixels, one in so many counts for the calibration curve


def run_chunks(
    function: Callable[[Chunk], T], samples: Sequence[Sample], predictions: Sequence[Prediction], *, what: str
) -> Iterator[T]:
    """Runs a function over images in workers, in their order; each task carries the way to its own probability maps."""

    def build(start: int) -> Chunk:
        part = samples[start : start + _CHUNK]
        return part, [prediction.select(sample.id for sample in part) for prediction in predictions]

    starts = range(0, len(samples), _CHUNK)
    return run_tasks(function, map(build, starts), what=what, total=len(starts), unit="chunk")


def measure_all(
    dataset: DatasetConfig, samples: Sequence[Sample], predictions: Sequence[Prediction], *, has_ground_truth: bool
) -> tuple[pd.DataFrame, Totals | None]:
    """Measures in workers the first prediction of each image that has a mask of it.

    Returns `FIGURES` of each image, NaN where nothing predicted it, the area that of the ground truth where that is
    there; and the sums of `count_errors` over the images that have both, None where there are none.
    """
    function = partial(_measure_chunk, dataset, has_ground_truth)
    chunks = list(run_chunks(function, samples, predictions, what="measure"))
    figures = pd.DataFrame([row for rows, _ in chunks for row in rows], columns=list(FIGURES), dtype=np.float64)
    return figures, _add([totals for _, totals in chunks if totals])


def _measure_chunk(
    dataset: DatasetConfig, has_ground_truth: bool, chunk: Chunk
) -> tuple[list[dict[str, float]], Totals | None]:
    samples, predictions = chunk
    rows, totals = list[dict[str, float]](), list[Totals]()
    for sample in samples:
        row, target = dict[str, float](), read_mask(sample) if has_ground_truth else None
        own = next((prediction for prediction in predictions if sample.id in prediction.recipes), None)
        if own is not None:
            recipe, maps = own.read(sample.id)
            mask = make_mask(recipe, maps, read_full_size(sample, dataset))
            row |= measure_image(mask, recipe, maps)
            if target is not None:
                totals.append(count_errors(target, mask, recipe, maps, dataset.metric))
        if target is not None:
            row["area"] = count_object_pixels(target) / (target.shape[0] * target.shape[1])
        rows.append(row)
    return rows, _add(totals)


def _add(totals: Sequence[Totals]) -> Totals | None:
    return {key: np.sum([one[key] for one in totals], axis=0) for key in totals[0]} if totals else None


def measure_image(mask: ClassMask, recipe: Recipe, maps: Sequence[MapU8]) -> dict[str, float]:
    """Measures `FIGURES`, which need no ground truth, of the final mask, at the image's own size.

    Maps of members, uint8 (height, width, classes), may differ in size: they are compared at that of the largest.
    """
    probs_hwc, num_pixels = blend_small(maps, recipe), mask.shape[0] * mask.shape[1]
    shapes = [measure_shape(pick_class(mask, index)) for index in range(probs_hwc.shape[-1])]
    area_px, contour_px = sum(shape.area_px for shape in shapes), sum(shape.contour_px for shape in shapes)
    difference, agreement = compare_members(maps, recipe, probs_hwc)
    return {
        "area": count_object_pixels(mask) / num_pixels,
        "parts": sum(shape.parts for shape in shapes),
        "holes": sum(shape.holes for shape in shapes),
        "loose": sum(shape.area_px - shape.largest_px for shape in shapes) / max(area_px, 1),
        "contour": contour_px / max(area_px, 1) ** 0.5,
        "band": float(find_uncertain(probs_hwc).mean()) * num_pixels / max(contour_px, 1),
        "difference": difference,
        "agreement": agreement,
    }


def find_uncertain(probs_hwc: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Finds the pixels where a class's probability lies between those of `UNCERTAIN`; bool (height, width)."""
    low, high = (np.float32(end) for end in UNCERTAIN)
    return np.asarray(((probs_hwc > low) & (probs_hwc < high)).any(axis=-1))


def count_errors(target: ClassMask, mask: ClassMask, recipe: Recipe, maps: Sequence[MapU8], metric: str) -> Totals:
    """Counts an image: its mask's errors, and what it would score at each of `THRESHOLDS` without post-processing.

    The target is of `read_mask`, of which ignored pixels count nowhere; the mean of the maps is thresholded, each class
    against all else; Dice stands in for a metric that needs more than pixel counts.

    Returns what can be added up over images: `fractions` (classes, thresholds, 2), of which `score_thresholds` makes
    scores; `pixels` (3, thresholds), true positives, predicted, true, of all classes; `calibration` (2, bins), pixels
    whose probability lies in a bin, and those that are object; `distances` (bins of `DISTANCES_PX`,), wrong pixels by
    their distance from the class's contour; `confusion` (classes + 1, classes + 1), pixels by ground truth and mask,
    (0, 0) where classes overlap.
    """
    counted = find_metric(metric).counted
    probs_hwc = average_maps(recipe, maps, (target.shape[0], target.shape[1]))
    num_classes, is_known = probs_hwc.shape[-1], target != IGNORE
    classes, fractions = list[Totals](), list[Values]()
    for index, probs_hw in enumerate(np.moveaxis(probs_hwc, -1, 0)):
        true_hw, is_known_hw = pick_class(target, index), is_known[..., index] if target.ndim == 3 else is_known
        some_hw = np.zeros_like(is_known_hw)
        some_hw[::_STEP, ::_STEP] = is_known_hw[::_STEP, ::_STEP]
        both, predicted = count_thresholds(true_hw, probs_hw, is_known_hw, THRESHOLDS)
        num_true = int(np.count_nonzero(true_hw))
        own_fractions = counted.count(both, num_true, predicted)
        if not counted.over_pixels:  # the score is the mean over images
            values = divide(own_fractions[:, 0], own_fractions[:, 1])
            own_fractions = np.stack([values, np.ones_like(values)], axis=-1)
        fractions.append(own_fractions)
        bins = np.minimum((probs_hw[some_hw] * NUM_BINS).astype(np.int64), NUM_BINS - 1)
        wrong_hw = (true_hw != pick_class(mask, index)) & is_known_hw
        # Infinitely far where the class is not in the image: the last bin.
        edges = np.array([*DISTANCES_PX, np.finfo(np.float32).max], dtype=np.float32)
        places = np.searchsorted(edges, measure_distances(true_hw)[wrong_hw])
        own = {
            "pixels": np.stack([both, predicted, np.full_like(both, num_true)]),
            "calibration": np.stack([np.bincount(some, minlength=NUM_BINS) for some in (bins, bins[true_hw[some_hw]])]),
            "distances": np.bincount(places, minlength=len(edges) + 1),
        }
        classes.append(own)
    confusion = np.zeros((0, 0), dtype=np.int64)
    if target.ndim == 2:
        pairs = target[is_known].astype(np.int64) * (num_classes + 1) + mask[is_known]
        confusion = np.bincount(pairs, minlength=(num_classes + 1) ** 2).reshape(num_classes + 1, -1)
    return {"fractions": np.stack(fractions), "confusion": confusion, **(_add(classes) or {})}


def score_thresholds(totals: Totals) -> Values:
    """Returns what the images of some totals score at each of `THRESHOLDS`, the mean over classes, float64."""
    return np.asarray(divide(totals["fractions"][..., 0], totals["fractions"][..., 1]).mean(axis=0))
