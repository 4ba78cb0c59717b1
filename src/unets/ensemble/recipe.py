"""The recipe: how members' probability maps become the final mask. Evaluation and submission both call it."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from unets.config import Config, DatasetConfig, Postprocessing, Share
from unets.data.geometry import SizeHW
from unets.ensemble.blend import blend
from unets.ensemble.postprocess import ClassMask, blur, clean_mask, to_masks

MapU8 = npt.NDArray[np.uint8]
DEFAULT_THRESHOLD = 0.5  # unless another is shown to be better


class Recipe(Config):
    """What is averaged how, the threshold, what is done before and after it."""

    weights: tuple[float, ...]  # one a member, not all 0
    averaging: Literal["probability", "logit"] = "probability"
    threshold: Share = DEFAULT_THRESHOLD  # see `to_masks`
    postprocessing: Postprocessing = Postprocessing()
    overlapping: bool = False  # whether a pixel may be of several classes

    def change(self, **fields: Any) -> "Recipe":
        """Returns a recipe with some fields changed."""
        return self.model_copy(update=fields)


def default_recipe(dataset: DatasetConfig, num_members: int = 1) -> Recipe:
    """Returns the recipe before anything is fitted: equal weights, 0.5 (0 where every pixel is of a class)."""
    threshold = DEFAULT_THRESHOLD if dataset.has_background else 0.0
    return Recipe(weights=(1 / num_members,) * num_members, threshold=threshold, overlapping=dataset.overlapping)


def make_mask(recipe: Recipe, maps: Sequence[MapU8], full_hw: SizeHW) -> ClassMask:
    """Makes the final mask of an image from its members' maps.

    Args:
        recipe: how.
        maps: one a member, uint8 (height, width, classes), 0..255; sizes may differ between members.
        full_hw: (height, width) of the image.

    Returns:
        uint8 (height, width) class index, 0 for background; overlapping (height, width, classes) of 0 and 1.
    """
    return cut_map(recipe, average_maps(recipe, maps, full_hw))


def average_maps(recipe: Recipe, maps: Sequence[MapU8], full_hw: SizeHW) -> npt.NDArray[np.float32]:
    """Does the first part of `make_mask`: the members' mean at full size, float32 (height, width, classes), 0..1."""
    return blend(maps, recipe.weights, full_hw, recipe.averaging)


def cut_map(recipe: Recipe, probs_hwc: npt.NDArray[np.float32]) -> ClassMask:
    """Does the second part of `make_mask`: smooths, applies the threshold, cleans."""
    steps = recipe.postprocessing
    return clean_mask(to_masks(blur(probs_hwc, steps.blur_px), recipe.threshold, overlapping=recipe.overlapping), steps)
