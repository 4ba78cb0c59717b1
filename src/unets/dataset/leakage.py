"""Leakage: how alike images of one group are, and by how much a score flatters when folds split groups.

No net is trained. What a net would remember of a car it has seen, its paint, is in its images' colors; so colors
alone show the leak, in seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unets.metrics.masks import dice

Images = npt.NDArray[np.uint8]
Shares = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]

_PLACES = (8, 12)  # rows and columns of places that the table of `score_table` tells apart
_LEVELS = 32  # levels of red, green and blue that it tells apart
_PRIOR = 4.0  # pixels that a place's mean counts for, beside those of a color at that place


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbors:
    """The nearest other image of each image, within its group and among all others; -1 and infinity: there is none."""

    within: npt.NDArray[np.intp]
    within_distance: Values
    between: npt.NDArray[np.intp]
    between_distance: Values


def count_colors(images_nhwc: Images, levels: int = 8) -> Shares:
    """Counts how much of each image has which color.

    Args:
        images_nhwc: uint8 RGB (images, height, width, 3).
        levels: of red, green and blue that are told apart.

    Returns:
        float32 (images, levels ** 3), shares of the image that sum to 1.
    """
    num_pixels = images_nhwc.shape[1] * images_nhwc.shape[2]
    counts = [np.bincount(_code_colors(image, levels).ravel(), minlength=levels**3) for image in images_nhwc]
    return np.array(counts, dtype=np.float32) / np.float32(num_pixels)


def find_neighbors(shares: Shares, groups: Sequence[str]) -> Neighbors:
    """Finds the nearest image of each image.

    Args:
        shares: float32 (images, features), each image's sum to 1, as `count_colors` gives them.
        groups: of each image.

    Returns:
        Neighbors; a distance is the share of the image that differs, half the sum of |a - b|: 0 to 1.
    """
    names = np.asarray(groups)
    rows = []
    for index, own in enumerate(shares):
        distances = np.abs(shares - own).sum(axis=1, dtype=np.float64) / 2
        is_same = names == names[index]
        is_other = ~is_same
        is_same[index] = False
        rows.append([part for allowed in (is_same, is_other) for part in _find_least(distances, allowed)])
    within, within_distance, between, between_distance = (np.array(column) for column in zip(*rows, strict=True))
    return Neighbors(within=within, within_distance=within_distance, between=between, between_distance=between_distance)


def split_parts(names: Sequence[str], num_parts: int, seed: int = 0) -> npt.NDArray[np.intp]:
    """Splits images into parts at random, those of one name together; int (images,), 0 to num_parts - 1."""
    _, name_of = np.unique(np.asarray(names), return_inverse=True)
    num_names = int(name_of.max()) + 1
    part_of_name = np.random.default_rng(seed).permutation(np.arange(num_names) % num_parts)
    return np.asarray(part_of_name[name_of], dtype=np.intp)


def score_table(images_nhwc: Images, targets_nhw: Images, parts: npt.NDArray[np.intp]) -> Values:
    """Scores the simplest thing that can remember a car: a table of how often a color at a place was object.

    The images of each part are scored by a table counted on those of the others.

    Args:
        images_nhwc: uint8 RGB (images, height, width, 3).
        targets_nhw: uint8 (images, height, width), 0..255 for a share of object of 0..1.
        parts: of each image; one alone has nothing to be scored by.

    Returns:
        float64 (images,), Dice at that size, at a threshold of one half.
    """
    codes = _code_colors(images_nhwc, _LEVELS) * (_PLACES[0] * _PLACES[1]) + _code_places(images_nhwc.shape[1:3])
    num_codes = _LEVELS**3 * _PLACES[0] * _PLACES[1]
    objects = targets_nhw.astype(np.float32) / np.float32(255)
    scores = np.empty(len(images_nhwc))
    for part in np.unique(parts):
        seen = parts != part
        if not seen.any():
            raise ValueError(f"`parts` must be two or more. Received: part {part} alone")
        times = np.bincount(codes[seen].ravel(), minlength=num_codes)
        hits = np.bincount(codes[seen].ravel(), weights=objects[seen].ravel(), minlength=num_codes)
        mean_hw = objects[seen].mean(axis=0)
        for index in np.flatnonzero(~seen):
            code_hw = codes[index]
            probs_hw = (hits[code_hw] + _PRIOR * mean_hw) / (times[code_hw] + _PRIOR)
            scores[index] = dice(targets_nhw[index] >= 128, probs_hw >= 0.5)
    return scores


def _code_colors(images: Images, levels: int) -> npt.NDArray[np.int64]:
    """Numbers the colors of pixels; int64, the shape of `images` without its last axis."""
    red, green, blue = np.moveaxis(images.astype(np.int64) * levels // 256, -1, 0)
    return np.asarray((red * levels + green) * levels + blue)


def _code_places(size_hw: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Numbers the places of pixels; int64 (height, width)."""
    rows, columns = (np.arange(side) * places // side for side, places in zip(size_hw, _PLACES, strict=True))
    return np.asarray(rows[:, None] * _PLACES[1] + columns[None], dtype=np.int64)


def _find_least(distances: Values, allowed: npt.NDArray[np.bool_]) -> tuple[int, float]:
    if not allowed.any():
        return -1, float("inf")
    index = int(np.where(allowed, distances, np.inf).argmin())
    return index, float(distances[index])
