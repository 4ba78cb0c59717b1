"""Contours in the colors asked for, captions above a picture, windows and differences by hand."""

import numpy as np
import pytest

from unets.data.drawing import (
    COLORS_RGB,
    DIFFERENCES_RGB,
    add_caption,
    draw_contours,
    draw_differences,
    find_differences,
    find_window,
)
from unets.data.samples import IGNORE


def make_mask() -> np.ndarray:
    mask_hw = np.zeros((40, 60), dtype=np.uint8)
    mask_hw[10:30, 5:25], mask_hw[10:30, 35:55] = 1, 2
    return mask_hw


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize(
    ("colors", "expected"), [([*COLORS_RGB.values()], [*COLORS_RGB.values()][:2]), ([(1, 2, 3)], [(1, 2, 3)] * 2)]
)
def test_each_class_has_its_color_and_a_mask_of_another_size_is_fitted(
    colors: list[tuple[int, int, int]], expected: list[tuple[int, int, int]], scale: int
) -> None:
    image = np.full((40 * scale, 60 * scale, 3), 200, dtype=np.uint8)
    drawn = draw_contours(image, make_mask(), thickness_px=3, colors_rgb=colors)
    assert [tuple(drawn[20 * scale, x * scale].tolist()) for x in (5, 35)] == list(expected)
    assert (drawn[20 * scale, [15 * scale, 30 * scale]] == 200).all()  # neither filled nor between
    assert (image == 200).all()


def test_a_caption_stands_above_the_picture() -> None:
    picture = np.full((20, 300, 3), 7, dtype=np.uint8)
    captioned = add_caption(picture, "0.9876  car")
    strip, below = captioned[:-20], captioned[-20:]
    assert (below == 7).all() and captioned.shape[1:] == (300, 3)
    assert (strip < 100).all(axis=-1).any() and (strip[[0, -1]] == 255).all()  # dark letters, whole, on white
    assert add_caption(picture, "long " * 100).shape == captioned.shape


def test_ignored_pixels_have_no_contour_and_are_neither_right_nor_wrong() -> None:
    image, mask_hw = np.zeros((20, 20, 3), dtype=np.uint8), np.zeros((20, 20), dtype=np.uint8)
    mask_hw[5:15, 5:15] = IGNORE
    np.testing.assert_array_equal(draw_contours(image, mask_hw), image)
    target_hw, mask_hw = np.array([[IGNORE, IGNORE, 1, 0]], dtype=np.uint8), np.array([[1, 0, 0, 1]], dtype=np.uint8)
    kinds = [pixels_hw.tolist()[0] for pixels_hw in find_differences(target_hw, mask_hw).values()]
    assert kinds == [[False, False, True, False], [False, False, False, True], [False] * 4]


def test_differences_show_what_is_missed_and_what_is_too_much() -> None:
    image = np.full((40, 60, 3), 100, dtype=np.uint8)
    target_hw, mask_hw = (np.zeros((40, 60), dtype=np.uint8) for _ in range(2))
    target_hw[:20, :30], mask_hw[10:30, :30], mask_hw[:5, :5] = 1, 1, 2
    kinds = find_differences(target_hw, mask_hw)
    # Missed: ten rows of 30, less the 25 pixels taken for class 2; too much: ten rows of 30.
    assert {kind: int(pixels_hw.sum()) for kind, pixels_hw in kinds.items()} == {
        "missed": 275,
        "too much": 300,
        "wrong class": 25,
    }
    drawn = draw_differences(image, target_hw, mask_hw)
    assert drawn[7, 15].tolist() == list(DIFFERENCES_RGB["missed"])
    assert drawn[25, 15].tolist() == list(DIFFERENCES_RGB["too much"])
    assert drawn[2, 2].tolist() == list(DIFFERENCES_RGB["wrong class"])
    assert drawn[15, 15].tolist() == drawn[35, 45].tolist() == [33, 33, 33]  # right: the image, a third as bright
    assert (image == 100).all()


def test_the_window_is_where_most_pixels_are() -> None:
    pixels_hw = np.zeros((10, 12), dtype=np.bool_)
    pixels_hw[2, 3] = pixels_hw[7, 8] = pixels_hw[8, 9] = True
    rows, columns = find_window(pixels_hw, (3, 4))
    assert pixels_hw[rows, columns].sum() == 2
    assert (rows, columns) == (slice(6, 9), slice(6, 10))  # the first that holds both
    assert find_window(pixels_hw, (10, 99)) == (slice(0, 10), slice(0, 12))  # cut to the picture
    assert find_window(np.zeros((4, 4), dtype=np.bool_), (2, 2)) == (slice(0, 2), slice(0, 2))
