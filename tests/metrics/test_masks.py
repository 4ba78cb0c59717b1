"""Dice and IoU by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unets.metrics.masks import METRICS, dice, iou


@pytest.mark.parametrize(
    ("truth", "predicted", "dice_wanted", "iou_wanted"),
    [
        # both 1, truth 2, predicted 3: 2 * 1 / (2 + 3) = 0.4; 1 / (2 + 3 - 1) = 0.25
        ([1, 1, 0, 0, 0], [0, 1, 1, 1, 0], 0.4, 0.25),
        # both 2, 2, 2: 2 * 2 / 4 = 1; 2 / 2 = 1
        ([1, 1, 0], [1, 1, 0], 1.0, 1.0),
        # nothing in common: 0 / 2; 0 / 2
        ([1, 0], [0, 1], 0.0, 0.0),
        # both empty: 1 by the rule
        ([0, 0], [0, 0], 1.0, 1.0),
        # one empty: 0 / 1
        ([0, 0], [1, 0], 0.0, 0.0),
        ([1, 0], [0, 0], 0.0, 0.0),
    ],
)
def test_by_hand(truth: list[int], predicted: list[int], dice_wanted: float, iou_wanted: float) -> None:
    for dtype in (np.uint8, bool, np.int64):
        arguments = np.array(truth, dtype=dtype), np.array(predicted, dtype=dtype)
        assert dice(*arguments) == pytest.approx(dice_wanted)
        assert iou(*arguments) == pytest.approx(iou_wanted)


def test_values_do_not_weigh() -> None:
    # 255 is foreground like 1; 255 + 255 in uint8 must not wrap
    truth = np.full((100, 100), 255, dtype=np.uint8)
    assert dice(truth, truth) == 1.0
    assert dice(truth, truth // 255) == 1.0
    assert dice(np.array([1, 2, 0]), np.array([2, 1, 0])) == 1.0


@given(
    st.tuples(st.integers(1, 8), st.integers(1, 8)).flatmap(
        lambda shape: st.tuples(*[arrays(np.uint8, shape, elements=st.integers(0, 1))] * 2)
    )
)
def test_dice_and_iou_agree(masks: tuple[np.ndarray, np.ndarray]) -> None:
    # dice = 2 iou / (1 + iou); both are symmetric and in 0..1
    truth, predicted = masks
    assert dice(truth, predicted) == pytest.approx(2 * iou(truth, predicted) / (1 + iou(truth, predicted)))
    for metric in METRICS.values():
        assert metric(truth, predicted) == metric(predicted, truth)
        assert 0 <= metric(truth, predicted) <= 1


def test_shapes_must_agree() -> None:
    for metric in METRICS.values():
        with pytest.raises(
            ValueError, match=r"`predicted` must have the shape of `truth`, \(2, 3\). Received: \(1, 3\)"
        ):
            metric(np.zeros((2, 3)), np.zeros((1, 3)))
