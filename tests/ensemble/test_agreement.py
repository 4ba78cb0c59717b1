"""How far members agree, by hand."""

import math

import numpy as np
import pytest

from unets.ensemble.mask_scores import blend_small, compare_members
from unets.ensemble.recipe import Recipe


def draw(columns: slice, size: int = 4) -> np.ndarray:
    probs_u8_hwc = np.zeros((size, size, 1), dtype=np.uint8)
    probs_u8_hwc[:, columns] = 255
    return probs_u8_hwc


def test_the_blend_is_of_the_largest_maps_size() -> None:
    recipe = Recipe(weights=(0.5, 0.5))
    assert blend_small([draw(slice(0, 2)), draw(slice(0, 4), size=8)], recipe).shape == (8, 8, 1)


def test_a_column_of_two_that_one_member_lacks() -> None:
    maps, recipe = [draw(slice(0, 2)), draw(slice(0, 1))], Recipe(weights=(0.5, 0.5))
    difference, agreement = compare_members(maps, recipe, blend_small(maps, recipe))
    # The blend is 1, 0.5, 0, 0: it has two columns at 0.5. The second member shares one: 2 x 4 / (4 + 8).
    assert agreement == pytest.approx(2 / 3)
    assert difference == pytest.approx(0.5 / 4)


def test_alone_there_is_nothing_to_compare() -> None:
    maps, recipe = [draw(slice(0, 2))], Recipe(weights=(1.0,))
    assert all(math.isnan(value) for value in compare_members(maps, recipe, blend_small(maps, recipe)))
