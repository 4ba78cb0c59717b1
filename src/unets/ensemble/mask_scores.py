"""Scores of one image's mask under many recipes, a fraction a class (see `unets.metrics.masks`)."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from unets.config import DatasetConfig
from unets.ensemble.postprocess import ClassMask, blur, clean_masks, pick_classes, to_masks
from unets.ensemble.recipe import MapU8, Recipe, average_maps, default_recipe
from unets.metrics.masks import Metric, find_metric
from unets.metrics.pixels import pair_masks, pick_class, pick_known

Fractions = npt.NDArray[np.float64]  # (..., classes, 2), above and below the line
Scores = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


def score_mask(target: ClassMask, mask: ClassMask, num_classes: int, metric: Metric) -> Fractions:
    """Scores a mask, float64 (classes, 2); ignored pixels of the ground truth are left out of both."""
    fractions = [metric.measure(*pair) for pair in pair_masks(target, mask, num_classes)]
    return np.array(fractions, dtype=np.float64)


def score_map(target: ClassMask, probs_u8_hwc: MapU8, dataset: DatasetConfig) -> float:
    """Scores one map under the default recipe: the data set's metric, of this image alone, mean over the classes."""
    metric = find_metric(dataset.metric)
    fractions = score_recipes(target, [probs_u8_hwc], [default_recipe(dataset)], metric)
    return float(metric.to_values(fractions)[0].mean())


def score_recipes(target: ClassMask, maps: Sequence[MapU8], recipes: Sequence[Recipe], metric: Metric) -> Fractions:
    """Scores an image's mask under many recipes: `score_mask` of `make_mask`, sharing what they have in common.

    Args:
        target: as `pick_class` takes it.
        maps: one a member.
        recipes: any; none twice.
        metric: of one image.

    Returns:
        float64 (recipes, classes, 2).
    """
    fractions_of: dict[Recipe, Fractions] = {}
    for _, equal_blend in _group(recipes, lambda recipe: (recipe.averaging, recipe.weights)):
        probs_hwc = average_maps(equal_blend[0], maps, (target.shape[0], target.shape[1]))
        for blur_px, equal_map in _group(equal_blend, lambda recipe: recipe.postprocessing.blur_px):
            smooth_hwc = blur(probs_hwc, blur_px)
            for is_counted, alike in _group(equal_map, lambda recipe: _is_counted(recipe, metric)):
                score = _score_counts if is_counted else _score_masks
                fractions_of |= score(target, smooth_hwc, alike, metric)
    return np.stack([fractions_of[recipe] for recipe in recipes])


def count_thresholds(
    target_hw: npt.NDArray[np.bool_],
    probs_hw: npt.NDArray[np.float32],
    candidates_hw: npt.NDArray[np.bool_] | None,
    thresholds: Sequence[float],
) -> tuple[Counts, Counts]:
    """Counts the pixels that reach each threshold.

    Args:
        target_hw: (height, width), whether a pixel is foreground.
        probs_hw: float32 (height, width).
        candidates_hw: (height, width), which pixels count at all; None: all.
        thresholds: ascending.

    Returns:
        (those of them that are true, all of them), int64 (thresholds,) each.
    """
    # Compared as float32, as `to_masks` does: 0.42 as float64 is above 0.42 as float32.
    edges = np.asarray(thresholds, dtype=np.float32)
    if len(edges) == 0 or (np.diff(edges) <= 0).any():
        raise ValueError(f"`thresholds` must ascend. Received: {thresholds}")
    # Of a car's map all but some 2 % of the pixels lie below all thresholds or above; only the others are sorted.
    reaches_all, reaches_any = probs_hw >= edges[-1], probs_hw >= edges[0]
    if candidates_hw is not None:
        reaches_all, reaches_any = reaches_all & candidates_hw, reaches_any & candidates_hw
    unsure = reaches_any & ~reaches_all
    num_reached = np.searchsorted(edges, probs_hw[unsure], side="right")
    is_true = target_hw[unsure]
    return (
        _count_reached(num_reached[is_true], len(edges)) + np.count_nonzero(reaches_all & target_hw),
        _count_reached(num_reached, len(edges)) + np.count_nonzero(reaches_all),
    )


def _count_reached(num_reached: npt.NDArray[np.intp], num_thresholds: int) -> Counts:
    """Counts, for threshold j, the pixels that reach more than j thresholds."""
    counts = np.bincount(num_reached, minlength=num_thresholds + 1)
    return counts[::-1].cumsum()[::-1][1:].astype(np.int64)


def _score_counts(
    target: ClassMask, probs_hwc: npt.NDArray[np.float32], recipes: Sequence[Recipe], metric: Metric
) -> dict[Recipe, Fractions]:
    """Scores recipes of one smoothed map of which pixel counts decide: one pass serves all thresholds."""
    min_areas_px = np.array([recipe.postprocessing.min_area_px for recipe in recipes])
    overlapping = recipes[0].overlapping
    class_hw, share_hw = (None, None) if overlapping else pick_classes(probs_hwc)
    by_class = []
    for index in range(probs_hwc.shape[-1]):
        target_hw, known_hw = pick_class(target, index), pick_known(target, index)
        reached_hw = probs_hwc[..., index] if share_hw is None else share_hw
        candidates_hw = None if class_hw is None or probs_hwc.shape[-1] == 1 else class_hw == index + 1
        own = [one[index] if isinstance(one, tuple) else one for one in (recipe.threshold for recipe in recipes)]
        thresholds = sorted(set(own))
        place_of = [thresholds.index(threshold) for threshold in own]
        both, areas_px = (
            counts[place_of] for counts in count_thresholds(target_hw, reached_hw, candidates_hw, thresholds)
        )
        predicted_px = areas_px
        if known_hw is not None:
            candidates_hw = known_hw if candidates_hw is None else candidates_hw & known_hw
            predicted_px = count_thresholds(target_hw, reached_hw, candidates_hw, thresholds)[1][place_of]
        is_dropped = areas_px < min_areas_px  # by the area in the mask that is sent, ignored pixels and all
        both, predicted_px = np.where(is_dropped, 0, both), np.where(is_dropped, 0, predicted_px)
        by_class.append(metric.count(both, np.count_nonzero(target_hw), predicted_px))
    return dict(zip(recipes, np.stack(by_class, axis=1), strict=True))


def _score_masks(
    target: ClassMask, probs_hwc: npt.NDArray[np.float32], recipes: Sequence[Recipe], metric: Metric
) -> dict[Recipe, Fractions]:
    """Scores recipes of one smoothed map by making each mask."""
    fractions_of: dict[Recipe, Fractions] = {}
    for _, alike in _group(recipes, lambda recipe: str(recipe.threshold)):
        mask = to_masks(probs_hwc, alike[0].threshold, overlapping=alike[0].overlapping)
        masks = clean_masks(mask, [recipe.postprocessing for recipe in alike])
        # Most masks have no hole and one component: they come back as they were, and are scored once.
        distinct = {id(cleaned): cleaned for cleaned in masks}
        scored = {key: score_mask(target, cleaned, probs_hwc.shape[-1], metric) for key, cleaned in distinct.items()}
        fractions_of |= {recipe: scored[id(cleaned)] for recipe, cleaned in zip(alike, masks, strict=True)}
    return fractions_of


def _is_counted(recipe: Recipe, metric: Metric) -> bool:
    """Tells whether pixel counts alone decide a recipe's score."""
    steps = recipe.postprocessing
    keeps_area = steps.max_hole_px == steps.neck_px == steps.min_object_px == 0 and steps.max_components is None
    return metric.from_counts is not None and keeps_area


def _group(recipes: Sequence[Recipe], key: Callable[[Recipe], Any]) -> list[tuple[Any, list[Recipe]]]:
    ordered = sorted(recipes, key=key)
    return [(value, list(group)) for value, group in groupby(ordered, key=key)]
