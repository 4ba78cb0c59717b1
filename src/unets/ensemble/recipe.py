"""The recipe: how members' maps become the final mask. Judging and submission both call it, so that they agree."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from unets.config import Config, Postprocessing, Share
from unets.data.geometry import SizeHW
from unets.ensemble.blend import blend
from unets.ensemble.postprocess import (
    Box,
    ClassMask,
    blur,
    blur_reach,
    clean_mask,
    clean_masks,
    find_box,
    pick_classes,
    to_masks,
)
from unets.ensemble.score import DEFAULT_THRESHOLD, FROM_COUNTS, Scores, score_cuts, score_mask

MapU8 = npt.NDArray[np.uint8]
_ROUNDING = 1e-4  # more than a mean of float32 probabilities can be off


class Recipe(Config):
    """What is averaged how, where it is cut, what is done before and after."""

    weights: tuple[float, ...]  # one a member, not all 0
    averaging: Literal["probability", "logit"] = "probability"
    threshold: Share = DEFAULT_THRESHOLD
    postprocessing: Postprocessing = Postprocessing()


@dataclass(frozen=True, kw_only=True, slots=True)
class Judges:
    """The recipes by which the photos of one fold were scored; none was fitted on the photos that it scored."""

    recipes: tuple[Recipe, ...]  # one for all, or one a part of the fold's groups
    part_of_group: dict[str, int] = field(default_factory=dict)  # empty where one recipe is for all

    def find(self, group: str) -> Recipe:
        """Returns the recipe by which a group's photos were scored."""
        return self.recipes[self.part_of_group[group] if self.part_of_group else 0]


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
        # What needs no more than counts does not ask for the background around all masks: two thirds of a car's photo.
        box = _find_box(truth_hw, probs_hwc, equal_blend) if metric in FROM_COUNTS else slice(None)
        for blur_px, equal_map in _group(equal_blend, lambda recipe: recipe.postprocessing.blur_px):
            score_of |= _score_cuts(truth_hw[box], blur(probs_hwc[box], blur_px), equal_map, metric)
    return np.array([score_of[recipe] for recipe in recipes], dtype=np.float64)


def _find_box(truth_hw: ClassMask, probs_hwc: npt.NDArray[np.float32], recipes: Sequence[Recipe]) -> Box:
    """Returns a box outside of which neither the true mask nor that of any of these recipes has a pixel.

    A smoothed pixel is a mean, and reaches no threshold that none of what it is the mean of reaches. Mirroring at the
    box's border changes the map as far as smoothing looks; that far again, there is still nothing.
    """
    lowest = min(recipe.threshold for recipe in recipes) - _ROUNDING
    box = find_box((truth_hw > 0) | (pick_classes(probs_hwc)[1] >= np.float32(lowest)))
    if box is None:
        return slice(0, 1), slice(0, 1)
    margin_px = 2 * blur_reach(max(recipe.postprocessing.blur_px for recipe in recipes))
    rows, columns = (slice(max(0, side.start - margin_px), side.stop + margin_px) for side in box)
    return rows, columns


def _score_cuts(
    truth_hw: ClassMask, probs_hwc: npt.NDArray[np.float32], recipes: Sequence[Recipe], metric: str
) -> dict[Recipe, float]:
    """Scores recipes of one smoothed map. Where only areas count, one pass serves all of them."""
    score_of: dict[Recipe, float] = {}
    for is_counted, alike in _group(recipes, _is_counted):
        if is_counted:
            cuts = [(recipe.threshold, recipe.postprocessing.min_area_px) for recipe in alike]
            score_of |= zip(alike, score_cuts(truth_hw, probs_hwc, cuts, metric=metric).tolist(), strict=True)
            continue
        for threshold, equal_cut in _group(alike, lambda recipe: recipe.threshold):
            masks = clean_masks(to_masks(probs_hwc, threshold), [recipe.postprocessing for recipe in equal_cut])
            # Most masks have no hole and one component: they come back as they were, and are scored once.
            distinct = {id(mask_hw): mask_hw for mask_hw in masks}
            scores = {
                key: score_mask(truth_hw, mask_hw, num_classes=probs_hwc.shape[-1], metric=metric)
                for key, mask_hw in distinct.items()
            }
            score_of |= {recipe: scores[id(mask_hw)] for recipe, mask_hw in zip(equal_cut, masks, strict=True)}
    return score_of


def _is_counted(recipe: Recipe) -> bool:
    """Tells whether areas alone decide what becomes of the mask after the cut."""
    steps = recipe.postprocessing
    return steps.max_hole_px == 0 and steps.max_components is None


def _group(recipes: Sequence[Recipe], key: Callable[[Recipe], Any]) -> list[tuple[Any, list[Recipe]]]:
    ordered = sorted(recipes, key=key)
    return [(value, list(group)) for value, group in groupby(ordered, key=key)]
