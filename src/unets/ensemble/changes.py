"""What an ensemble's fit tries, in its order: averaging, weights, threshold, steps of post-processing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from unets.config import EnsembleConfig, Postprocessing
from unets.ensemble.blend import Averaging
from unets.ensemble.evidence import Change, PartOf
from unets.ensemble.recipe import Recipe
from unets.ensemble.weights import PixelSample, fit_weights, select_members

FitWeights = Callable[[PixelSample, Averaging, float], tuple[float, ...]]

THRESHOLDS = tuple(percent / 100 for percent in range(30, 72, 2))  # tried by `threshold="fit"`, and the default
# Tried by `postprocessing="fit"`, field by field in this order, in full-size pixels.
STEPS: dict[str, tuple[Any, ...]] = {
    "blur_px": (1.0, 2.0, 4.0),
    "max_hole_px": (10, 100, 1000, None),
    "max_components": (1, 2, 3),
    "min_area_px": (10, 100, 1000, 10_000),
}
MIN_TO_SELECT = 3  # members from which on forward selection is tried, too: it can leave poor ones out altogether


@dataclass(frozen=True, kw_only=True, slots=True)
class Pixels:
    """The pixels that weights are fitted to, and the photo of each."""

    sample: PixelSample
    photo_of: PartOf

    def leave_out(self, part_of: PartOf, part: int) -> PixelSample:
        """Returns the pixels of the photos of all other parts."""
        return self.sample.select(part_of[self.photo_of] != part)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reweigh:
    """Proposes the weights that are best for a recipe's own averaging and threshold.

    The threshold is that of the start, at which the pixels were drawn: no other is tried before the weights.
    """

    fit: FitWeights
    pixels: Pixels
    part_of: PartOf
    # A change that is kept makes those after it be proposed anew: a fit takes seconds, and does not ask for weights.
    fitted: dict[tuple[int, Averaging, float], tuple[float, ...]] = field(default_factory=dict)

    def __call__(self, recipe: Recipe, part: int) -> list[Recipe]:
        key = (part, recipe.averaging, recipe.threshold)
        if key not in self.fitted:
            sample = self.pixels.leave_out(self.part_of, part)
            self.fitted[key] = self.fit(sample, recipe.averaging, recipe.threshold)
        return [change(recipe, weights=self.fitted[key])]


def list_changes(config: EnsembleConfig, start: Recipe, pixels: Pixels | None, part_of: PartOf) -> list[Change]:
    """Lists what is to be tried, in its order; without pixels, weights are not."""
    changes, num_members = [], len(config.experiments)
    if config.averaging == "fit" and num_members > 1:
        changes.append(
            Change(
                what="averaging",
                propose=lambda recipe, _: [change(recipe, averaging="logit")],
                describe=lambda recipe: recipe.averaging,
            )
        )
    if pixels is not None:
        fits: dict[str, FitWeights] = {"weights": fit_weights, "selection": select_members}
        for what in list(fits)[: 1 if num_members < MIN_TO_SELECT else 2]:
            reweigh = _Reweigh(fit=fits[what], pixels=pixels, part_of=part_of)
            changes.append(Change(what=what, propose=reweigh, describe=_describe_weights))
    if config.threshold == "fit":
        # The default first: of equal scores the first is taken.
        thresholds = tuple(dict.fromkeys((start.threshold, *THRESHOLDS)))
        changes.append(
            Change(
                what="threshold",
                propose=lambda recipe, _: [change(recipe, threshold=threshold) for threshold in thresholds],
                describe=lambda recipe: f"{recipe.threshold:.2f}",
            )
        )
    if config.postprocessing == "fit":
        for field, values in STEPS.items():
            changes.append(
                Change(
                    what=field, propose=partial(_postprocess, field, values), describe=partial(_describe_step, field)
                )
            )
    return changes


def change(recipe: Recipe, **fields: Any) -> Recipe:
    """Returns a recipe with some fields changed."""
    return recipe.model_copy(update=fields)


def _postprocess(field: str, values: Sequence[Any], recipe: Recipe, _: int) -> list[Recipe]:
    steps = recipe.postprocessing
    changed = (steps.model_copy(update={field: value}) for value in values)
    return [recipe, *(change(recipe, postprocessing=postprocessing) for postprocessing in changed)]


def _describe_weights(recipe: Recipe) -> str:
    return " ".join(f"{weight:.3f}" for weight in recipe.weights)


def _describe_step(field: str, recipe: Recipe) -> str:
    value = getattr(recipe.postprocessing, field)
    if value == getattr(Postprocessing(), field):
        return "none"
    return "all" if value is None else f"{value:g}"
