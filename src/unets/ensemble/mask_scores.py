"""Scores of one image's mask under many recipes, a fraction a class (see `unets.metrics.masks`); members compared."""

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from unets.config import DatasetConfig
from unets.ensemble.postprocess import Box, ClassMask, blur, clean_masks, find_box, pick_classes
from unets.ensemble.recipe import MapU8, Probs, Recipe, average_maps, default_recipe, enlarge_map
from unets.metrics.masks import Metric, divide, find_metric
from unets.metrics.pixels import Numbers, number_class, pick_class, pick_known
from unets.prediction.maps import from_u8

Fractions = npt.NDArray[np.float64]  # (..., classes, 2), above and below the line
Reached = npt.NDArray[np.int64]  # (thresholds,), pixels that reach each


class _Target(NamedTuple):
    """The ground truth of a class, in the box that is looked at."""

    true_hw: npt.NDArray[Any]  # bool, or numbers of objects
    known_hw: npt.NDArray[np.bool_] | None  # which pixels are not ignored; None: all
    num_true: int  # pixels of the class, beside the box, too


def score_map(target: ClassMask, probs_u8_hwc: MapU8, dataset: DatasetConfig, objects: Numbers | None = None) -> float:
    """Scores one map under the default recipe: the data set's metric, of this image alone, mean over the classes."""
    metric = find_metric(dataset.metric)
    fractions = score_recipes(target, [probs_u8_hwc], [default_recipe(dataset)], metric, objects)
    return float(metric.to_values(fractions)[0].mean())


def expect_dice(probs_hwc: Probs, mask: ClassMask) -> float:
    """Estimates the Dice that a mask has with the ground truth, 0..1, from the probabilities that it was made from.

    2 sum(p m) / (sum(p) + sum(m)) over pixels and classes, p the probabilities and m the mask: if the probabilities are
    right, these are the expected overlap and areas. (The ratio of expectations stands for the expectation of the ratio,
    as in Nowozin 2014, Optimal Decisions from Probabilistic Models, CVPR.) An empty mask is right with a probability of
    1 - max p at most, which is what it gets.
    """
    if not mask.any():
        return float(1 - probs_hwc.max(initial=0))
    layers = [pick_class(mask, index) for index in range(probs_hwc.shape[-1])]
    both = sum(float(probs_hwc[..., k].sum(where=layer, dtype=np.float64)) for k, layer in enumerate(layers))
    return 2 * both / (float(probs_hwc.sum(dtype=np.float64)) + sum(map(np.count_nonzero, layers)))


def score_recipes(
    target: ClassMask, maps: Sequence[MapU8], recipes: Sequence[Recipe], metric: Metric, objects: Numbers | None = None
) -> Fractions:
    """Scores an image's mask, from `make_mask`, under many recipes, sharing what they have in common.

    Ignored pixels of the ground truth are left out of both. The target is as `pick_class` takes it, maps are one a
    member, no recipe comes twice; `objects` are of `read_objects`. Returns float64 (recipes, classes, 2).
    """
    box = _find_reach(maps, target.shape, recipes) if metric.from_counts else (slice(None), slice(None))
    targets = []
    for index in range(maps[0].shape[-1]):
        true_hw = number_class(target, objects, index)
        targets.append(_Target(true_hw[box], pick_known(target[box], index), int(np.count_nonzero(true_hw))))
    fractions_of: dict[Recipe, Fractions] = {}
    for _, equal_blend in _group(recipes, lambda recipe: recipe.weights):
        probs_hwc = average_maps(equal_blend[0], maps, (target.shape[0], target.shape[1]), box)
        for blur_px, equal_map in _group(equal_blend, lambda recipe: recipe.postprocessing.blur_px):
            smooth_hwc = blur(probs_hwc, blur_px)
            for is_counted, alike in _group(equal_map, lambda recipe: _is_counted(recipe, metric)):
                score = _score_counts if is_counted else _score_masks
                fractions_of |= score(targets, smooth_hwc, alike, metric)
    return np.stack([fractions_of[recipe] for recipe in recipes])


def _find_reach(maps: Sequence[MapU8], shape: tuple[int, ...], recipes: Sequence[Recipe]) -> Box:
    """Returns a box outside which no recipe marks a pixel: there, all classes together stay below every threshold.

    It is wider by a pixel of a map, which enlarging reaches, and by what blurring does, twice: from what is inside, and
    from the box's own mirrored border.
    """
    lowest = 255 * min(np.min(recipe.threshold) for recipe in recipes) / maps[0].shape[-1] - 0.5
    blurred_px = 2 * math.ceil(4 * max(recipe.postprocessing.blur_px for recipe in recipes) + 1)
    reached = []
    for probs_u8_hwc in maps:
        if found := find_box((probs_u8_hwc >= lowest).any(axis=-1)):
            scale_hw = np.divide(shape[:2], probs_u8_hwc.shape[:2])
            first_hw, last_hw = np.array([(side.start - 1, side.stop + 1) for side in found]).T * scale_hw
            reached.append((np.floor(first_hw) - blurred_px, np.ceil(last_hw) + blurred_px))
    if not reached:
        return slice(0, 1), slice(0, 1)
    firsts, lasts = (np.array(side).astype(int) for side in zip(*reached, strict=True))
    (top, left), (bottom, right) = firsts.min(axis=0).clip(0).tolist(), lasts.max(axis=0).tolist()
    return slice(top, bottom), slice(left, right)


def blend_small(maps: Sequence[MapU8], recipe: Recipe) -> Probs:
    """Blends maps at the size of the largest of them; float32 (height, width, classes)."""
    height, width, _ = max((probs.shape for probs in maps), key=lambda shape: shape[0] * shape[1])
    return average_maps(recipe, maps, (height, width))


def compare_members(maps: Sequence[MapU8], recipe: Recipe, probs_hwc: Probs) -> tuple[float, float]:
    """Compares members with their blend, before any post-processing; needs no ground truth.

    Returns (mean |p of a member - p of the blend| over members and pixels, lowest Dice of a member's mask with that of
    the blend, which is `blend_small`'s, over all classes together); NaN both where there is a single member.
    """
    if len(maps) == 1:
        return np.nan, np.nan
    mask, differences, dices = recipe.cut(probs_hwc), [], []
    for probs_u8_hwc in maps:
        member_hwc = enlarge_map(from_u8(probs_u8_hwc), (probs_hwc.shape[0], probs_hwc.shape[1]))
        own = recipe.cut(member_hwc)
        both, total = np.count_nonzero((own == mask) & (own > 0)), np.count_nonzero(own) + np.count_nonzero(mask)
        differences.append(float(np.abs(member_hwc - probs_hwc).mean(dtype=np.float64)))
        dices.append(float(divide(2 * both, total)))
    return float(np.mean(differences)), min(dices)


def count_thresholds(
    target_hw: npt.NDArray[np.bool_],
    probs_hw: Probs,
    candidates_hw: npt.NDArray[np.bool_] | None,
    thresholds: Sequence[float] | npt.NDArray[np.float64],
) -> tuple[Reached, Reached]:
    """Counts the pixels, of those that count at all (None: all), that reach each threshold; these ascend.

    Returns (those that the target has as foreground, all of them).
    """
    edges = np.asarray(thresholds, dtype=np.float32)  # as `to_masks` does: 0.42 as float64 is above it
    # Of a car's map all but some 2 % of the pixels lie below all thresholds or above; only the others are sorted.
    reaches_all, reaches_any = probs_hw >= edges[-1], probs_hw >= edges[0]
    if candidates_hw is not None:
        reaches_all, reaches_any = reaches_all & candidates_hw, reaches_any & candidates_hw
    unsure = reaches_any & ~reaches_all
    num_reached = np.searchsorted(edges, probs_hw[unsure], side="right")

    def count(num_reached: npt.NDArray[np.intp], num_all: int) -> Reached:
        """Counts, for threshold j, the pixels that reach more than j thresholds."""
        counts = np.bincount(num_reached, minlength=len(edges) + 1)
        return counts[::-1].cumsum()[::-1][1:].astype(np.int64) + num_all

    both = count(num_reached[target_hw[unsure]], int(np.count_nonzero(reaches_all & target_hw)))
    return both, count(num_reached, int(np.count_nonzero(reaches_all)))


def _score_counts(
    targets: Sequence[_Target], probs_hwc: Probs, recipes: Sequence[Recipe], metric: Metric
) -> dict[Recipe, Fractions]:
    """Scores recipes of one smoothed map of which pixel counts decide: one pass serves all thresholds."""
    class_hw, share_hw = (None, None) if recipes[0].overlapping else pick_classes(probs_hwc)
    by_class = []
    for index, target in enumerate(targets):
        reached_hw = probs_hwc[..., index] if share_hw is None else share_hw
        candidates_hw = None if class_hw is None or len(targets) == 1 else class_hw == index + 1
        own = [one[index] if isinstance(one, tuple) else one for one in (recipe.threshold for recipe in recipes)]
        thresholds, place_of = np.unique(own, return_inverse=True)
        both, areas_px = count_thresholds(target.true_hw, reached_hw, candidates_hw, thresholds)
        predicted_px = areas_px
        if target.known_hw is not None:
            candidates_hw = target.known_hw if candidates_hw is None else candidates_hw & target.known_hw
            predicted_px = count_thresholds(target.true_hw, reached_hw, candidates_hw, thresholds)[1]
        least_px = np.array([recipe.postprocessing.of_class(index).min_area_px for recipe in recipes])
        is_kept = areas_px[place_of] >= least_px  # by the area in the mask that is sent, ignored pixels and all
        by_class.append(metric.count(both[place_of] * is_kept, target.num_true, predicted_px[place_of] * is_kept))
    return dict(zip(recipes, np.stack(by_class, axis=1), strict=True))


def _score_masks(
    targets: Sequence[_Target], probs_hwc: Probs, recipes: Sequence[Recipe], metric: Metric
) -> dict[Recipe, Fractions]:
    """Scores recipes of one smoothed map by making each mask."""
    fractions_of: dict[Recipe, Fractions] = {}
    for _, alike in _group(recipes, lambda recipe: str(recipe.threshold)):
        masks = clean_masks(alike[0].cut(probs_hwc), [recipe.postprocessing for recipe in alike])
        # Most masks have no hole and one component: they come back as they were, and are scored once.
        distinct = {id(cleaned): cleaned for cleaned in masks}
        scored = {key: _score_mask(targets, cleaned, metric) for key, cleaned in distinct.items()}
        fractions_of |= {recipe: scored[id(cleaned)] for recipe, cleaned in zip(alike, masks, strict=True)}
    return fractions_of


def _score_mask(targets: Sequence[_Target], mask: ClassMask, metric: Metric) -> Fractions:
    rows = []
    for index, (true_hw, known_hw, num_true) in enumerate(targets):
        mask_hw = pick_class(mask, index) if known_hw is None else pick_class(mask, index) & known_hw
        if metric.from_counts is None:
            rows.append(metric.measure(true_hw, mask_hw))
        else:
            rows.append(metric.from_counts(np.count_nonzero(true_hw & mask_hw), num_true, np.count_nonzero(mask_hw)))
    return np.array(rows, dtype=np.float64)


def _is_counted(recipe: Recipe, metric: Metric) -> bool:
    """Tells whether pixel counts alone decide a recipe's score."""
    steps = recipe.postprocessing
    keeps_area = steps.max_hole_px == steps.neck_px == steps.min_object_px == 0 and steps.max_components is None
    return metric.from_counts is not None and keeps_area


def _group(recipes: Sequence[Recipe], key: Callable[[Recipe], Any]) -> list[tuple[Any, list[Recipe]]]:
    ordered = sorted(recipes, key=key)
    return [(value, list(group)) for value, group in groupby(ordered, key=key)]
