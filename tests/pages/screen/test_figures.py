import math

import numpy as np
import numpy.typing as npt
import pytest

from unets.config import Postprocessing
from unets.ensemble.recipe import Recipe
from unets.pages.screen.figures import find_uncertain, measure_photo

MapU8 = npt.NDArray[np.uint8]


def build(*weights: float, min_area_px: int = 0, threshold: float = 0.5) -> Recipe:
    return Recipe(weights=weights, threshold=threshold, postprocessing=Postprocessing(min_area_px=min_area_px))


def draw(*boxes: tuple[int, int, int, int], size: int = 8, value: int = 255) -> MapU8:
    """Draws boxes of (top, left, height, width)."""
    probs_u8_hwc = np.zeros((size, size, 1), dtype=np.uint8)
    for top, left, height, width in boxes:
        probs_u8_hwc[top : top + height, left : left + width] = value
    return probs_u8_hwc


def test_two_members_that_differ_by_a_column() -> None:
    maps = [draw((2, 2, 4, 4)), draw((2, 3, 4, 4))]
    figures = measure_photo(maps, build(1, 1), (8, 8))
    # Blended: 3 columns of 1 between 2 of 0.5, which is foreground: 4 x 5 pixels, 14 of them on the contour.
    assert figures.area == 20 / 64
    assert (figures.parts, figures.holes, figures.loose) == (1, 0, 0)
    assert figures.contour == pytest.approx(14 / math.sqrt(20))
    assert figures.band == pytest.approx(8 / 14)  # 2 columns of 4 pixels at 0.5
    assert figures.difference == pytest.approx(8 * 0.5 / 64)  # each member, at those 8 pixels
    assert figures.agreement == pytest.approx(2 * 16 / (16 + 20))


def test_the_lowest_agreement_counts_and_weights_decide_the_mask() -> None:
    maps = [draw((2, 2, 4, 4)), draw((2, 4, 4, 4))]
    figures = measure_photo(maps, build(3, 1), (8, 8))
    # The mask is the first's; the second shares 8 of 16 pixels with it.
    assert figures.area == 16 / 64
    assert figures.agreement == pytest.approx(2 * 8 / (16 + 16))
    # 8 pixels at 0.75 and 8 at 0.25: |1 - 0.75| and |0 - 0.25| of the first, 0.75 of the second
    assert figures.difference == pytest.approx((16 * 0.25 + 16 * 0.75) / 2 / 64)


def test_a_single_member_has_nothing_to_disagree_with() -> None:
    figures = measure_photo([draw((2, 2, 4, 4), (0, 0, 1, 1))], build(1), (8, 8))
    assert math.isnan(figures.difference) and math.isnan(figures.agreement)
    assert (figures.parts, figures.loose) == (2, 1 / 17)
    assert figures.band == 0


def test_a_mask_of_nothing() -> None:
    figures = measure_photo([draw((2, 2, 4, 4), value=100)] * 2, build(1, 1), (8, 8))
    assert (figures.area, figures.parts, figures.contour, figures.loose) == (0, 0, 0, 0)
    assert figures.band == 16  # all of it is uncertain, and there is no contour
    assert figures.agreement == 1


@pytest.mark.parametrize(("min_area_px", "area"), [(16, 16 / 64), (17, 0)])
def test_a_mask_that_is_too_small_for_the_submission_is_none(min_area_px: int, area: float) -> None:
    assert measure_photo([draw((2, 2, 4, 4))], build(1, min_area_px=min_area_px), (8, 8)).area == area


def test_masks_are_of_the_photo_s_size_and_the_band_of_its_pixels() -> None:
    maps = [draw((0, 0, 8, 4), (0, 4, 8, 1))]
    maps[0][:, 4] = 128  # a column of 8 that is uncertain, a little above the threshold
    figures = measure_photo(maps, build(1), (32, 32))
    # At 4 times the size, linearly between pixel centres: 0.5 is left a little right of the column's centre, at 18.
    assert figures.area == 18 / 32
    assert (figures.parts, figures.contour) == (1, (2 * 18 + 2 * 32 - 4) / math.sqrt(18 * 32))
    assert figures.band == (8 / 64 * 32 * 32) / (2 * 18 + 2 * 32 - 4)


def test_members_of_two_sizes_are_measured_at_the_larger() -> None:
    figures = measure_photo([draw((2, 2, 4, 4)), draw((4, 4, 8, 8), size=16)], build(1, 1), (32, 32))
    assert figures.area == pytest.approx(0.25, abs=0.03)
    assert figures.agreement > 0.9


def test_classes_count_together() -> None:
    probs = np.concatenate([draw((0, 0, 2, 2)), draw((4, 4, 3, 3), (0, 6, 1, 1))], axis=-1)
    figures = measure_photo([probs], build(1), (8, 8))
    assert (figures.area, figures.parts, figures.loose) == (14 / 64, 3, 1 / 14)


def test_uncertain_lies_between() -> None:
    probs = np.array([[[0.05], [0.11], [0.5], [0.89], [0.95]]], dtype=np.float32)
    assert find_uncertain(probs).tolist() == [[False, True, True, True, False]]
