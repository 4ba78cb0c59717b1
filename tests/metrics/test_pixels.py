"""Dice and IoU over the pixels of all photos."""

import numpy as np
import pytest

from unets.data.samples import IGNORE
from unets.metrics.pixels import count_pixels_of, describe_pixels, sum_counts


def test_by_hand() -> None:
    truth = np.array([[1, 1, 0, 2, IGNORE]], dtype=np.uint8)
    mask = np.array([[1, 2, 1, 2, 1]], dtype=np.uint8)
    counts = count_pixels_of(truth, mask, 3)
    # (both, true, predicted): the last pixel counts nowhere
    assert counts.tolist() == [[1, 2, 2], [1, 1, 2], [0, 0, 0]]
    pixels = describe_pixels(sum_counts([counts, counts]), ("a", "b", "c"))
    assert pixels["classes"] == {"a": {"dice": 0.5, "iou": 2 / 6}, "b": {"dice": 2 / 3, "iou": 0.5}, "c": None}
    assert pixels["mean_iou"] == pytest.approx((2 / 6 + 0.5) / 2)
    assert pixels["mean_dice"] == pytest.approx((0.5 + 2 / 3) / 2)


def test_no_class_anywhere_has_no_mean() -> None:
    nothing = np.zeros((2, 2), dtype=np.uint8)
    assert describe_pixels(count_pixels_of(nothing, nothing, 1), ("a",)) == {"classes": {"a": None}}
