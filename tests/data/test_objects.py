"""Objects of a mask: what touches is one, until a line of background parts it."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from unets.data.objects import drop_small_objects, label_objects, part_necks

MASKS = hnp.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def draw_disks(*disks: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """Draws disks of (row, column, radius) into 60 x 100 pixels."""
    rows, columns = np.mgrid[:60, :100]
    return np.any([np.hypot(rows - y, columns - x) < radius for y, x, radius in disks], axis=0)


def test_corners_touch() -> None:
    assert label_objects(np.eye(3, dtype=np.bool_))[1] == 1
    assert label_objects(np.zeros((2, 2), np.bool_))[1] == 0


def test_disks_that_overlap_are_parted_at_their_neck() -> None:
    # Radius 20, centers 34 apart: the neck is 2 sqrt(20^2 - 17^2) = 21 px wide.
    mask = draw_disks((30, 30, 20), (30, 64, 20))
    assert label_objects(mask)[1] == 1
    as_it_is, parted = part_necks(mask, [16, 24])
    assert as_it_is is mask
    labels, count = label_objects(parted)
    assert count == 2 and set(labels[:, 47]) == {0} and not (parted & ~mask).any()
    assert (mask & ~parted).sum() <= 25  # a line
    assert part_necks(draw_disks((30, 30, 20)), [24])[0].sum() == draw_disks((30, 30, 20)).sum()


def test_a_disk_at_the_border_is_whole() -> None:
    mask = draw_disks((0, 50, 20))
    assert part_necks(mask, [12])[0] is mask


def test_small_objects_are_dropped() -> None:
    mask = np.array([[1, 0, 1, 1], [0, 0, 1, 0]], dtype=np.bool_)
    as_it_is, without_one, empty = drop_small_objects(mask, [1, 2, 4])
    assert as_it_is is mask and without_one.tolist() == [[0, 0, 1, 1], [0, 0, 1, 0]] and not empty.any()


@given(mask=MASKS)
def test_objects_are_numbered_as_scipy_numbers_them(mask: npt.NDArray[np.bool_]) -> None:
    """In the order of their first pixels: of two that touch, the lower number draws back."""
    for connectivity, structure in ((8, np.ones((3, 3))), (4, None)):
        labels, count = label_objects(mask, connectivity)
        expected, expected_count = ndimage.label(mask, structure)
        assert (labels == expected).all() and count == expected_count


@pytest.mark.parametrize("neck_px", [2.0, 5.0])
@given(mask=MASKS)
def test_parting_adds_no_pixel_and_loses_no_object(mask: npt.NDArray[np.bool_], neck_px: float) -> None:
    (parted,) = part_necks(mask, [neck_px])
    assert not (parted & ~mask).any()
    assert set(np.unique(label_objects(mask)[0][parted])) == set(np.unique(label_objects(mask)[0][mask]))
