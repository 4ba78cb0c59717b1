import numpy as np
import pytest

from unets.inference.postprocess import drop_small, pick_classes, to_masks


def test_equality_is_foreground() -> None:
    probs = np.array([[[0.41], [0.42], [0.43]]], dtype=np.float32)
    # float32(0.42) = 0.419999987 lies below 0.42 as float64, and is at the threshold all the same.
    assert to_masks(probs, 0.42).tolist() == [[0, 1, 1]]
    assert to_masks(probs, 0.42).dtype == np.uint8


def test_the_most_probable_class_wins_where_it_reaches_the_threshold() -> None:
    probs = np.array([[[0.2, 0.7], [0.6, 0.6], [0.45, 0.3], [0.5, 0.1]]], dtype=np.float32)
    # the second; the first of two equal; none reaches 0.5; equality reaches it
    assert to_masks(probs, 0.5).tolist() == [[2, 1, 0, 1]]
    assert pick_classes(probs)[0].tolist() == [[2, 1, 1, 1]]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
def test_one_class_is_the_general_rule(threshold: float) -> None:
    probs = np.random.default_rng(0).random((5, 7, 1), dtype=np.float32)
    never = np.concatenate([probs, np.full_like(probs, -1)], axis=-1)
    np.testing.assert_array_equal(to_masks(probs, threshold), to_masks(never, threshold))


@pytest.mark.parametrize(
    ("min_area_px", "expected"),
    # class 1 has 3 pixels, class 2 has 2
    [(0, [1, 1, 1, 2, 2, 0]), (2, [1, 1, 1, 2, 2, 0]), (3, [1, 1, 1, 0, 0, 0]), (4, [0, 0, 0, 0, 0, 0])],
)
def test_a_class_with_fewer_pixels_is_emptied(min_area_px: int, expected: list[int]) -> None:
    mask = np.array([[1, 1, 1, 2, 2, 0]], dtype=np.uint8)
    dropped = drop_small(mask, min_area_px)
    assert dropped.tolist() == [expected]
    assert dropped.dtype == np.uint8
    assert mask.tolist() == [[1, 1, 1, 2, 2, 0]]


def test_an_empty_mask_stays() -> None:
    assert drop_small(np.zeros((2, 2), dtype=np.uint8), 100).tolist() == [[0, 0], [0, 0]]
