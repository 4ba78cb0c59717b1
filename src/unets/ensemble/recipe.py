"""The recipe: how members' probability maps become the final mask. Evaluation and submission both call it."""

from collections.abc import Sequence
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from unets.config import Config, DatasetConfig, Postprocessing, Threshold
from unets.data.geometry import SizeHW, resize
from unets.ensemble.postprocess import Box, ClassMask, blur, clean_mask, to_masks
from unets.prediction.maps import from_u8

MapU8 = npt.NDArray[np.uint8]
Probs = npt.NDArray[np.float32]
DEFAULT_THRESHOLD = 0.5  # unless another is shown to be better


class Recipe(Config):
    """The weights of the members, the threshold, what is done before and after it."""

    weights: tuple[Annotated[float, Field(ge=0)], ...]  # one a member, not all 0
    threshold: Threshold = DEFAULT_THRESHOLD  # see `to_masks`
    postprocessing: Postprocessing = Postprocessing()
    overlapping: bool = False  # whether a pixel may be of several classes

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not any(self.weights):
            raise ValueError(f"`weights` must not all be 0. Received: {self.weights}")
        return self

    def find(self, what: str) -> Any:
        """Returns a field, or one of the post-processing."""
        return getattr(self.postprocessing if what in Postprocessing.model_fields else self, what)

    def change(self, **fields: Any) -> "Recipe":
        """Returns a recipe with some fields changed, its own or those of the post-processing."""
        own = {name: value for name, value in fields.items() if name in Recipe.model_fields}
        if steps := {name: value for name, value in fields.items() if name not in own}:
            own["postprocessing"] = self.postprocessing.model_copy(update=steps)
        return self.model_copy(update=own)

    def cut(self, probs_hwc: Probs) -> ClassMask:
        """Cuts probabilities at the threshold; see `to_masks`."""
        return to_masks(probs_hwc, self.threshold, overlapping=self.overlapping)


def describe_threshold(threshold: Threshold, classes: Sequence[str] = ()) -> str:
    """Writes a threshold, or that of each class: `0.5`, `0.42 0.5`, with the names of classes `0.42 cat, 0.5 dog`."""
    if not isinstance(threshold, tuple):
        return f"{threshold:g}"
    if len(classes) == len(threshold):  # which no card of a file is held to
        return ", ".join(f"{one:g} {name}" for one, name in zip(threshold, classes, strict=True))
    return " ".join(f"{one:g}" for one in threshold)


def default_recipe(dataset: DatasetConfig, num_members: int = 1) -> Recipe:
    """Returns the recipe before anything is fitted: equal weights, 0.5 (0 where every pixel is of a class)."""
    threshold = DEFAULT_THRESHOLD if dataset.has_background else 0.0
    return Recipe(weights=(1 / num_members,) * num_members, threshold=threshold, overlapping=dataset.overlapping)


def make_mask(recipe: Recipe, maps: Sequence[MapU8], full_hw: SizeHW) -> ClassMask:
    """Makes the final mask of an image, of size `full_hw`, from its members' maps; see `average_maps`, `cut_map`.

    It is uint8 (height, width) class index, 0 for background; overlapping (height, width, classes) of 0 and 1.
    """
    return cut_map(recipe, average_maps(recipe, maps, full_hw))


def average_maps(recipe: Recipe, maps: Sequence[MapU8], full_hw: SizeHW, box: Box | None = None) -> Probs:
    """Averages the maps of one image by weight and enlarges them to its full size: the first part of `make_mask`.

    Maps are one a member, uint8 (height, width, classes), 0..255; sizes may differ between members. What is returned is
    float32 (height, width, classes), 0..1, of the image or of a box in it.
    """
    box = box or (slice(None), slice(None))
    total = float(sum(recipe.weights))
    shares = [(one, weight / total) for one, weight in zip(maps, recipe.weights, strict=True) if weight > 0]
    # Maps of one size are averaged first: enlarging is linear, so the result is that of enlarging each, up to rounding,
    # for one enlargement in place of one a member.
    by_size: dict[tuple[int, ...], Probs] = {}
    for one, share in shares:
        probs_hwc = from_u8(one, share)
        by_size[one.shape] = by_size[one.shape] + probs_hwc if one.shape in by_size else probs_hwc
    enlarged = [enlarge_map(probs_hwc, full_hw)[box] for probs_hwc in by_size.values()]
    return sum(enlarged[1:], start=enlarged[0])


def cut_map(recipe: Recipe, probs_hwc: Probs) -> ClassMask:
    """Does the second part of `make_mask`: smooths, applies the threshold, cleans."""
    steps = recipe.postprocessing
    return clean_mask(recipe.cut(blur(probs_hwc, steps.blur_px)), steps)


def enlarge_map(probs_hwc: Probs, full_hw: SizeHW) -> Probs:
    """Enlarges each class of a map linearly to the image's full size; float32 (height, width, classes)."""
    if probs_hwc.shape[-1] == 1:  # without the copy that stacking makes
        return resize(probs_hwc[..., 0], full_hw)[..., None]
    return np.stack([resize(layer, full_hw) for layer in np.moveaxis(probs_hwc, -1, 0)], axis=-1)
