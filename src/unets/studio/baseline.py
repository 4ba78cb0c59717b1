"""The difference baseline: what can be had without learning, by subtracting the empty studio.

A photo's difference is the largest over the channels of |photo - empty|; its mask is where that exceeds a
threshold. One threshold serves all photos, and the best one is chosen with the truth at hand, so that the
figure is an upper bound. A demo on which this scored like a net would show nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unets.studio.camera import NUM_VIEWS
from unets.studio.cars import build_car
from unets.studio.render import FULL_SIZE_HW, render_empty, render_photo
from unets.workers.pool import run_tasks

NUM_LEVELS = 256

Image = NDArray[np.uint8]
Dices = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """The best global threshold and what it scores."""

    threshold: int  # a pixel is car where its difference is greater
    dice: float  # mean over the photos, at that threshold
    shares: tuple[float, ...]  # the car's share of each photo
    dices: tuple[float, ...]  # of each photo, at that threshold


def difference_baseline(pairs: Iterable[tuple[Image, Image]], empty_hwc: Image) -> Baseline:
    """Finds the threshold on the difference from the empty studio with the highest mean Dice.

    Args:
        pairs: photos, uint8 RGB (H, W, 3), with their masks, uint8 {0, 1} (H, W).
        empty_hwc: the studio without a car, uint8 RGB (H, W, 3).
    """
    scored = [(dice_by_threshold(image, mask, empty_hwc), float(mask.mean())) for image, mask in pairs]
    return _choose_threshold(scored)


def measure_baseline(
    seed: int, num_cars: int, *, jobs: int | None = None, size_hw: tuple[int, int] = FULL_SIZE_HW
) -> Baseline:
    """Renders the photos of the first cars of a fleet and returns the difference baseline on them."""
    tasks = [(seed, index, size_hw) for index in range(num_cars)]
    results = run_tasks(_score_car, tasks, jobs=jobs, what="baseline", unit="car")
    return _choose_threshold([scored for car in results for scored in car])


def dice_by_threshold(image_hwc: Image, mask_hw: Image, empty_hwc: Image) -> Dices:
    """Returns the Dice, 2 |A and B| / (|A| + |B|), of `difference > t` for t = 0..255, float64 (256,)."""
    difference = np.maximum(image_hwc, empty_hwc) - np.minimum(image_hwc, empty_hwc)
    levels = difference.max(axis=2)
    everywhere = np.bincount(levels.ravel(), minlength=NUM_LEVELS)
    on_car = np.bincount(levels[mask_hw > 0], minlength=NUM_LEVELS)
    # Counts of pixels above each level: all those that come after it.
    above, hits = (counts.sum() - np.cumsum(counts) for counts in (everywhere, on_car))
    return np.asarray(2.0 * hits / np.maximum(above + on_car.sum(), 1))


def _choose_threshold(scored: list[tuple[Dices, float]]) -> Baseline:
    dices = np.stack([dice for dice, _ in scored])
    threshold = int(np.argmax(dices.mean(axis=0)))
    chosen = dices[:, threshold]
    return Baseline(
        threshold=threshold,
        dice=float(chosen.mean()),
        shares=tuple(share for _, share in scored),
        dices=tuple(chosen.tolist()),
    )


def _score_car(task: tuple[int, int, tuple[int, int]]) -> list[tuple[Dices, float]]:
    seed, index, size_hw = task
    empty = render_empty(seed, size_hw)
    return list(_score_views(seed, index, size_hw, empty))


def _score_views(seed: int, index: int, size_hw: tuple[int, int], empty: Image) -> Iterator[tuple[Dices, float]]:
    car = build_car(seed, index)
    for view in range(1, NUM_VIEWS + 1):
        image, mask = render_photo(car, view, seed, size_hw)
        yield dice_by_threshold(image, mask, empty), float(mask.mean())
