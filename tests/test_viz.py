"""Contours in the colours asked for, captions above a picture."""

import numpy as np
import pytest

from unets.data.samples import VOID
from unets.viz import COLOURS_RGB, add_caption, draw_contours, find_borders, tint


def make_mask() -> np.ndarray:
    mask_hw = np.zeros((40, 60), dtype=np.uint8)
    mask_hw[10:30, 5:25], mask_hw[10:30, 35:55] = 1, 2
    return mask_hw


@pytest.mark.parametrize(
    ("colours", "expected"),
    [(COLOURS_RGB, COLOURS_RGB[:2]), ([(1, 2, 3)], [(1, 2, 3), (1, 2, 3)]), ([(9, 0, 0), (0, 9, 0)], None)],
)
def test_each_class_has_its_colour(colours: list[tuple[int, int, int]], expected: object) -> None:
    photo = np.full((40, 60, 3), 200, dtype=np.uint8)
    drawn = draw_contours(photo, make_mask(), thickness_px=3, colours_rgb=colours)
    assert [tuple(drawn[20, 5].tolist()), tuple(drawn[20, 35].tolist())] == list(expected or colours)
    assert (drawn[20, 15] == 200).all() and (drawn[20, 30] == 200).all()  # neither filled nor between
    assert (photo == 200).all()


def test_a_mask_of_another_size_is_fitted() -> None:
    photo = np.zeros((80, 120, 3), dtype=np.uint8)
    drawn = draw_contours(photo, make_mask(), thickness_px=3, colours_rgb=[(255, 0, 0)])
    assert drawn.shape == photo.shape
    assert drawn[40, 10, 0] == 255  # the left side of class 1, at twice the coordinates


def test_a_tint_mixes_its_colour_with_the_photo_s() -> None:
    photo = np.full((40, 60, 3), 200, dtype=np.uint8)
    tinted = tint(photo, make_mask()[::2, ::2] == 1, colour_rgb=(0, 100, 255), opacity=0.5)
    assert tinted[20, 15].tolist() == [100, 150, 228]  # half way; 227.5 to the even number
    assert (tinted[20, 30] == 200).all() and (photo == 200).all()


def test_a_caption_stands_above_the_picture() -> None:
    picture = np.full((20, 300, 3), 7, dtype=np.uint8)
    captioned = add_caption(picture, "0.9876  car")
    strip, below = captioned[:-20], captioned[-20:]
    assert (below == 7).all() and captioned.shape[1:] == (300, 3)
    assert (strip == 255).all(axis=-1).any() and (strip < 100).all(axis=-1).any()  # dark letters on white
    assert (strip[[0, -1]] == 255).all()  # which the strip holds whole
    assert not np.array_equal(captioned, add_caption(picture, "0.1234  car"))
    assert add_caption(picture, "long " * 100).shape == captioned.shape


def test_what_nobody_labelled_has_no_contour() -> None:
    image = np.zeros((20, 20, 3), dtype=np.uint8)
    mask_hw = np.zeros((20, 20), dtype=np.uint8)
    mask_hw[5:15, 5:15] = VOID
    np.testing.assert_array_equal(draw_contours(image, mask_hw), image)


def test_borders_lie_inside_a_class_and_not_at_the_photos_edge() -> None:
    mask_hw = np.zeros((7, 8), dtype=np.uint8)
    mask_hw[:, :4], mask_hw[2:5, 5:8] = 1, 2
    borders = find_borders(mask_hw, 1)
    # Column 3 beside the background; of the second class all but the middle of its right side, which is the edge.
    expected = np.zeros((7, 8), dtype=np.bool_)
    expected[:, 3] = True
    expected[2:5, 5:8] = True
    expected[3, 6:8] = False
    assert np.array_equal(borders, expected)
    assert not find_borders(np.ones((4, 4), dtype=np.uint8), 2).any()
