"""Resizing: the pixel-center rule by hand, and no drift by property."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unets.data.geometry import cover, resize

SIZES = st.tuples(st.integers(1, 20), st.integers(1, 20))
MASKS = st.tuples(st.integers(2, 12), st.integers(2, 12)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 4))
)
IMAGES = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(lambda shape: arrays(np.uint8, shape))


def measure_center(values_hw: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Returns the center of mass (y, x) as a share of the sides."""
    weights = values_hw.astype(np.float64)
    rows, columns = ((np.arange(side) + 0.5) / side for side in weights.shape)
    return np.array([rows @ weights.sum(axis=1), columns @ weights.sum(axis=0)]) / weights.sum()


def test_shrinking_is_the_mean_of_blocks() -> None:
    image = np.array([[0, 4, 8, 8], [8, 4, 8, 9], [255, 255, 0, 0], [255, 255, 0, 100]], dtype=np.uint8)
    # (0 + 4 + 8 + 4) / 4 = 4, (8 + 8 + 8 + 9) / 4 = 8.25, 4 * 255 / 4 = 255, 100 / 4 = 25
    np.testing.assert_array_equal(resize(image, (2, 2)), [[4, 8], [255, 25]])


def test_enlarging_interpolates_between_pixel_centers() -> None:
    # Centres of 2 pixels: 1/4, 3/4 of the side; of 4 pixels: 1/8, 3/8, 5/8, 7/8. The inner two lie 1/4 and 3/4 of the
    # way from the first to the second, the outer two beyond the last centers.
    wanted = np.array([[0, 0.25, 0.75, 1]])
    row = np.array([[0, 1]], dtype=np.float32)
    np.testing.assert_allclose(resize(row, (1, 4)), wanted, atol=1e-6)
    np.testing.assert_allclose(resize(np.ascontiguousarray(row.T), (4, 1)), wanted.T, atol=1e-6)
    # a product of both: [0, 1] x [0, 1]
    np.testing.assert_allclose(resize(row.T @ row, (4, 4)), wanted.T @ wanted, atol=1e-6)
    assert resize(row, (1, 4)).dtype == np.float32


def test_each_side_by_its_own_rule_where_one_shrinks_and_one_grows() -> None:
    # down a column (0 + 2) / 2 = 1 and (4 + 6) / 2 = 5, along a row as above: 1 + .25 * 8 = 3 and 1 + .75 * 8 = 7
    values = np.array([[0, 8], [2, 10], [4, 12], [6, 14]])
    wanted = [[1, 3, 7, 9], [5, 7, 11, 13]]
    np.testing.assert_array_equal(resize(values.astype(np.uint8), (2, 4)), wanted)
    np.testing.assert_allclose(resize(values.astype(np.float32), (2, 4)), wanted, atol=1e-5)


@pytest.mark.parametrize("small_hw", [(40, 60), (32, 48), (17, 29), (31, 45), (8, 12)])
def test_shrunk_and_enlarged_a_picture_does_not_drift(small_hw: tuple[int, int]) -> None:
    full_hw = (80, 120)
    rows, columns = np.mgrid[:80, :120]
    ramp = rows + columns
    blob = 255 * np.exp(-(((rows - 30) / 9) ** 2) - ((columns - 75) / 12) ** 2)
    for picture, tolerance in ((ramp, 0.03), (blob, 0.02)):
        back = resize(resize(picture.astype(np.uint8), small_hw).astype(np.float32), full_hw)
        # in small pixels; half a pixel of drift moves the blob by 0.5 and the ramp by about 0.17
        drift = (measure_center(back) - measure_center(picture.astype(np.uint8))) * small_hw
        assert abs(drift).max() < tolerance


def test_cover_of_several_classes() -> None:
    mask_hw = np.array([[1, 1, 2, 2], [2, 2, 3, 0], [3, 3, 1, 2], [3, 3, 3, 0]], dtype=np.uint8)
    # by block, classes 1, 2, 3 in pixels of 4: (2, 2, 0), (0, 2, 1), (0, 0, 4), (1, 1, 1).
    # 2 of 4 is 127.5, rounded to 128: twice that is 256, so the later class gets 127.
    wanted = [[[128, 127, 0], [0, 128, 64]], [[0, 0, 255], [64, 64, 64]]]
    np.testing.assert_array_equal(cover(mask_hw, 3, (2, 2)), wanted)


@given(MASKS, SIZES)
def test_cover_sums_to_one_pixel_at_most(mask_hw: npt.NDArray[np.uint8], size_hw: tuple[int, int]) -> None:
    shares = cover(mask_hw, 4, size_hw)
    assert shares.shape == (*size_hw, 4) and shares.dtype == np.uint8
    total = shares.astype(int).sum(axis=-1)
    assert total.max() <= 255
    # Each of 4 classes is rounded by half a level; linear enlarging in 8 bits rounds a little more.
    filled = cover(np.maximum(mask_hw, 1), 4, size_hw).astype(int).sum(axis=-1)
    assert filled.min() >= 255 - 4
