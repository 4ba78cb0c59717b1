"""The recipe: how members' maps become the final mask. Judging and submission both call it, so that they agree."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from unets.config import Config, Postprocessing, Share
from unets.data.geometry import SizeHW
from unets.inference.blend import blend
from unets.inference.postprocess import ClassMask, blur, clean_mask, to_masks
from unets.inference.score import DEFAULT_THRESHOLD, Scores, score_mask, score_thresholds

MapU8 = npt.NDArray[np.uint8]


class Recipe(Config):
    """What is averaged how, where it is cut, what is done before and after."""

    weights: tuple[float, ...]  # one a member, not all 0
    averaging: Literal["probability", "logit"] = "probability"
    threshold: Share = DEFAULT_THRESHOLD
    postprocessing: Postprocessing = Postprocessing()


def make_mask(recipe: Recipe, maps: Sequence[MapU8], full_hw: SizeHW) -> ClassMask:
    """Makes the final mask of a photo from its members' maps.

    Args:
        recipe: how.
        maps: one a member, uint8 (height, width, classes), 0..255; sizes may differ between members.
        full_hw: (height, width) of the photo.

    Returns:
        uint8 (height, width) class index; 0 is background.
    """
    return cut_map(recipe, average_maps(recipe, maps, full_hw))


def average_maps(recipe: Recipe, maps: Sequence[MapU8], full_hw: SizeHW) -> npt.NDArray[np.float32]:
    """Does the first part of `make_mask`: the members' mean at full size, float32 (height, width, classes), 0..1."""
    return blend(maps, recipe.weights, full_hw, recipe.averaging)


def cut_map(recipe: Recipe, probs_hwc: npt.NDArray[np.float32]) -> ClassMask:
    """Does the second part of `make_mask`: smooths, cuts, cleans."""
    steps = recipe.postprocessing
    return clean_mask(to_masks(blur(probs_hwc, steps.blur_px), recipe.threshold), steps)


def score_recipes(truth_hw: ClassMask, maps: Sequence[MapU8], recipes: Sequence[Recipe], *, metric: str) -> Scores:
    """Scores a photo's mask under many recipes: `score_mask` of `make_mask`, sharing what they have in common.

    Args:
        truth_hw: uint8 (height, width) class index; 0 is background.
        maps: one a member.
        recipes: any; none twice.
        metric: a name in `METRICS`.

    Returns:
        float64 (recipes,).
    """
    height, width = truth_hw.shape
    score_of: dict[Recipe, float] = {}
    for _, equal_blend in _group(recipes, lambda recipe: (recipe.averaging, recipe.weights)):
        probs_hwc = average_maps(equal_blend[0], maps, (height, width))
        for blur_px, equal_map in _group(equal_blend, lambda recipe: recipe.postprocessing.blur_px):
            score_of |= _score_cuts(truth_hw, blur(probs_hwc, blur_px), equal_map, metric)
    return np.array([score_of[recipe] for recipe in recipes], dtype=np.float64)


def _score_cuts(
    truth_hw: ClassMask, probs_hwc: npt.NDArray[np.float32], recipes: Sequence[Recipe], metric: str
) -> dict[Recipe, float]:
    """Scores recipes of one smoothed map. Where only areas count, one pass serves all thresholds."""
    score_of: dict[Recipe, float] = {}
    for (is_counted, min_area_px), alike in _group(recipes, _describe_cut):
        if is_counted:
            thresholds = sorted({recipe.threshold for recipe in alike})
            scores = score_thresholds(truth_hw, probs_hwc, thresholds, metric=metric, min_area_px=min_area_px)
            score_of |= {recipe: float(scores[thresholds.index(recipe.threshold)]) for recipe in alike}
            continue
        for threshold, equal_cut in _group(alike, lambda recipe: recipe.threshold):
            mask_hw = to_masks(probs_hwc, threshold)
            for recipe in equal_cut:
                cleaned_hw = clean_mask(mask_hw, recipe.postprocessing)
                score_of[recipe] = score_mask(truth_hw, cleaned_hw, num_classes=probs_hwc.shape[-1], metric=metric)
    return score_of


def _describe_cut(recipe: Recipe) -> tuple[bool, int]:
    """Returns (whether areas alone decide, the least area)."""
    steps = recipe.postprocessing
    is_counted = steps.max_hole_px == 0 and steps.max_components is None
    return is_counted, steps.min_area_px if is_counted else 0


def _group(recipes: Sequence[Recipe], key: Callable[[Recipe], Any]) -> list[tuple[Any, list[Recipe]]]:
    ordered = sorted(recipes, key=key)
    return [(value, list(group)) for value, group in groupby(ordered, key=key)]
