from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from unets.ensemble.shape import Shape, measure_shape

SIDES = ((0, 1), (1, 0), (0, -1), (-1, 0))
CORNERS = ((1, 1), (1, -1), (-1, 1), (-1, -1))


def draw(*lines: str) -> npt.NDArray[np.bool_]:
    return np.array([[letter == "#" for letter in line] for line in lines])


def fill(mask_hw: npt.NDArray[np.bool_], steps: tuple[tuple[int, int], ...]) -> Iterator[set[tuple[int, int]]]:
    """Yields the connected regions, found pixel by pixel."""
    left = {(int(row), int(column)) for row, column in np.argwhere(mask_hw)}
    while left:
        region, border = set[tuple[int, int]](), {left.pop()}
        while border:
            region |= border
            border = {(row + down, column + right) for row, column in border for down, right in steps} & left
            left -= border
        yield region


def test_parts_and_holes_are_what_filling_finds() -> None:
    """A hole's background is connected by sides, as the object is by sides and corners; padding is outside."""
    for number in range(0, 2**12, 3):  # a third of all masks of 3 x 4 pixels
        mask_hw = np.array([number >> bit & 1 for bit in range(12)], dtype=bool).reshape(3, 4)
        shape = measure_shape(mask_hw)
        parts = list(fill(mask_hw, SIDES + CORNERS))
        assert (shape.parts, shape.area_px) == (len(parts), mask_hw.sum())
        assert shape.largest_px == max(map(len, parts), default=0)
        assert shape.holes == len(list(fill(~np.pad(mask_hw, 1), SIDES))) - 1


def test_a_square_a_ring_and_nothing() -> None:
    square = draw("......", ".####.", ".####.", ".####.", ".####.", "......")
    # 16 pixels, of which the 4 inside lie on no contour
    assert measure_shape(square) == Shape(area_px=16, parts=1, holes=0, largest_px=16, contour_px=12)
    ring = draw(".....", ".###.", ".#.#.", ".###.", "....#")
    shape = measure_shape(ring)
    assert (shape.area_px, shape.parts, shape.holes, shape.largest_px) == (9, 1, 1, 9)
    assert measure_shape(np.zeros((4, 5), dtype=bool)) == Shape(area_px=0, parts=0, holes=0, largest_px=0, contour_px=0)
