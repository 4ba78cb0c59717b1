"""How far members agree on an image: needs no ground truth. Maps are compared at the size of the largest of them."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from unets.ensemble.postprocess import to_masks
from unets.ensemble.recipe import MapU8, Probs, Recipe, average_maps, enlarge_map
from unets.metrics.masks import divide
from unets.prediction.maps import from_u8


def blend_small(maps: Sequence[MapU8], recipe: Recipe) -> Probs:
    """Blends maps at the size of the largest of them; float32 (height, width, classes)."""
    size_hw = max(((probs.shape[0], probs.shape[1]) for probs in maps), key=lambda size: size[0] * size[1])
    return average_maps(recipe, maps, size_hw)


def compare_members(maps: Sequence[MapU8], recipe: Recipe, probs_hwc: Probs) -> tuple[float, float]:
    """Compares members with their blend, before any post-processing.

    Args:
        maps: one a member, uint8 (height, width, classes); sizes may differ.
        recipe: has the threshold.
        probs_hwc: their blend, from `blend_small`.

    Returns:
        (mean |p of a member - p of the blend| over members and pixels, lowest Dice of a member's mask with the
        blend's); NaN both where there is a single member.
    """
    if len(maps) == 1:
        return np.nan, np.nan
    cut = partial(to_masks, threshold=recipe.threshold, overlapping=recipe.overlapping)
    mask, differences, dices = cut(probs_hwc), [], []
    for probs_u8_hwc in maps:
        member_hwc = enlarge_map(from_u8(probs_u8_hwc), (probs_hwc.shape[0], probs_hwc.shape[1]))
        own = cut(member_hwc)
        both, total = np.count_nonzero((own == mask) & (own > 0)), np.count_nonzero(own) + np.count_nonzero(mask)
        differences.append(float(np.abs(member_hwc - probs_hwc).mean(dtype=np.float64)))
        dices.append(float(divide(2 * both, total)))  # over all classes together
    return float(np.mean(differences)), min(dices)
