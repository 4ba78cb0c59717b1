"""Weights of an ensemble's members by forward selection, from the pixels that they decide.

Whatever the weights, a pixel that all members give the same class keeps it. The others (some thousandths of an image,
along the contour) are drawn into a sample; of the rest, counts suffice. So each weighting's score by the competition's
metric is known, image by image, without looking at the maps again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

from unets.ensemble.postprocess import ClassMask
from unets.ensemble.recipe import MapU8, Recipe, enlarge_map
from unets.metrics.masks import Metric
from unets.metrics.pixels import pick_class, pick_known
from unets.prediction.maps import from_u8

SAMPLE_SIZE = 2**20  # pixels of all images together: 25 MB of five members
_MAX_IMAGE = 4096  # pixels of one image
_ROUNDS = 25  # of forward selection


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelSample:
    """Pixels that the members of an ensemble give different classes, and the counts of all others."""

    probs: npt.NDArray[np.float32]  # (pixels, members, classes), 0..1, at full size
    is_true: npt.NDArray[np.bool_]  # (pixels, classes)
    is_known: npt.NDArray[np.bool_]  # (pixels, classes) not ignored
    num_drawn: npt.NDArray[np.int64]  # (images,) pixels, one image's behind those of the image before
    stands_for: npt.NDArray[np.float64]  # (images,) how many pixels one that was drawn counts for
    agreed: npt.NDArray[np.int64]  # (images, classes, 2): pixels of ground truth and prediction both, of the prediction
    true_px: npt.NDArray[np.int64]  # (images, classes), all of them

    @classmethod
    def join(cls, samples: Sequence[Self]) -> Self:
        """Joins the samples of several images."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: np.concatenate([getattr(sample, name) for sample in samples]) for name in names})

    def score(self, probs: npt.NDArray[np.float32], recipe: Recipe, metric: Metric) -> float:
        """Returns the score of all images where the pixels have these probabilities, float32 (pixels, classes)."""
        num_classes = probs.shape[-1]
        mask = recipe.cut(probs[:, None])
        is_class = np.stack([pick_class(mask, index)[:, 0] for index in range(num_classes)], axis=-1) & self.is_known
        counts, image_of = self.agreed.astype(np.float64), np.repeat(np.arange(len(self.num_drawn)), self.num_drawn)
        for index in range(num_classes):
            for place, pixels in enumerate((is_class & self.is_true, is_class)):
                found = np.bincount(image_of[pixels[:, index]], minlength=len(counts))
                counts[:, index, place] += self.stands_for * found
        fractions = metric.counted.count(counts[..., 0], self.true_px, counts[..., 1])
        return float(metric.counted.to_values(fractions).mean())


def count_pixels(num_images: int) -> int:
    """Returns how many pixels of one image to draw, so that all images' fit into the memory."""
    return max(1, min(_MAX_IMAGE, SAMPLE_SIZE // num_images))


def draw_pixels(target: ClassMask, maps: Sequence[MapU8], max_pixels: int, recipe: Recipe) -> PixelSample:
    """Draws the pixels of an image that the weights decide: every n-th of them, so that no seed is needed."""
    probs = [enlarge_map(from_u8(probs_u8_hwc), (target.shape[0], target.shape[1])) for probs_u8_hwc in maps]
    masks = [recipe.cut(probs_hwc) for probs_hwc in probs]
    num_classes = probs[0].shape[-1]
    differs = np.logical_or.reduce([mask != masks[0] for mask in masks[1:]])
    differs_hw = differs.any(axis=-1) if differs.ndim == 3 else differs
    (pixels,) = np.nonzero(differs_hw.ravel())
    num_drawn = min(len(pixels), max_pixels)
    # From the middle of equal stretches: of 9 the 3 at 1, 4, 7.
    drawn = pixels[((np.arange(num_drawn) + 0.5) * (len(pixels) / max(num_drawn, 1))).astype(np.intp)]
    true, known, agreed = [], [], []
    for index in range(num_classes):
        known_hw = pick_known(target, index)
        known.append(np.ones_like(differs_hw) if known_hw is None else known_hw)
        true.append(pick_class(target, index))
        agreed_hw = pick_class(masks[0], index) & ~differs_hw & known[index]
        agreed.append([np.count_nonzero(agreed_hw & true[index]), np.count_nonzero(agreed_hw)])
    return PixelSample(
        probs=np.stack([probs_hwc.reshape(-1, num_classes)[drawn] for probs_hwc in probs], axis=1),
        is_true=np.stack([layer_hw.ravel()[drawn] for layer_hw in true], axis=-1),
        is_known=np.stack([layer_hw.ravel()[drawn] for layer_hw in known], axis=-1),
        num_drawn=np.array([num_drawn], dtype=np.int64),
        stands_for=np.array([len(pixels) / max(num_drawn, 1)]),
        agreed=np.array([agreed], dtype=np.int64),
        true_px=np.array([[np.count_nonzero(layer_hw) for layer_hw in true]], dtype=np.int64),
    )


def select_members(sample: PixelSample, recipe: Recipe, metric: Metric) -> tuple[float, ...]:
    """Chooses members one after the other, with replacement (Caruana et al. 2004, Ensemble Selection from Libraries of
    Models, ICML); a weight is how often its member was chosen.

    Each round adds the member with which the mean scores best; of equal ones the first. The rounds up to the best of
    all are kept, the fewest that reach it. Pixels were drawn at the recipe's threshold; its weights do not count. Dice
    stands in for a metric that needs more than pixel counts.
    """
    members = [np.ascontiguousarray(sample.probs[:, index]) for index in range(sample.probs.shape[1])]
    total = np.zeros_like(members[0])
    chosen, scores = list[int](), list[float]()
    for size in range(1, _ROUNDS + 1):
        means = ((total + member) / np.float32(size) for member in members)
        tried = [sample.score(mean, recipe, metric) for mean in means]
        chosen.append(int(np.argmax(tried)))
        scores.append(tried[chosen[-1]])
        total += members[chosen[-1]]
    kept = chosen[: int(np.argmax(scores)) + 1]
    return tuple((np.bincount(kept, minlength=len(members)) / len(kept)).tolist())
