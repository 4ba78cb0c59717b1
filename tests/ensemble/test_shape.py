import numpy as np
import numpy.typing as npt
from scipy import ndimage

from unets.ensemble.shape import Shape, measure_shape


def draw(*lines: str) -> npt.NDArray[np.bool_]:
    return np.array([[letter == "#" for letter in line] for line in lines])


def test_parts_and_holes_are_what_labeling_finds() -> None:
    """A hole's background is connected by sides, as the object is by sides and corners; padding is outside."""
    for number in range(0, 2**12, 3):  # a third of all masks of 3 x 4 pixels
        mask_hw = np.array([number >> bit & 1 for bit in range(12)], dtype=bool).reshape(3, 4)
        shape = measure_shape(mask_hw)
        labels, num_parts = ndimage.label(mask_hw, np.ones((3, 3)))
        assert (shape.parts, shape.area_px) == (num_parts, mask_hw.sum())
        assert shape.largest_px == np.bincount(labels[labels > 0], minlength=1).max()
        assert shape.holes == ndimage.label(~np.pad(mask_hw, 1))[1] - 1


def test_a_square_a_ring_and_nothing() -> None:
    square = draw("......", ".####.", ".####.", ".####.", ".####.", "......")
    # 16 pixels, of which the 4 inside lie on no contour
    assert measure_shape(square) == Shape(area_px=16, parts=1, holes=0, largest_px=16, contour_px=12)
    ring = draw(".....", ".###.", ".#.#.", ".###.", "....#")
    shape = measure_shape(ring)
    assert (shape.area_px, shape.parts, shape.holes, shape.largest_px) == (9, 1, 1, 9)
    assert measure_shape(np.zeros((4, 5), dtype=bool)) == Shape(area_px=0, parts=0, holes=0, largest_px=0, contour_px=0)
