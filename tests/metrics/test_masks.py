"""Each metric by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unets.data.samples import IGNORE
from unets.errors import InputError
from unets.metrics.masks import dice, find_metric, iou, measure
from unets.metrics.pixels import count_pixels_of, describe_pixels, sum_counts


@pytest.mark.parametrize(
    ("truth", "predicted", "dice_wanted", "iou_wanted"),
    [
        # both 1, truth 2, predicted 3: 2 * 1 / (2 + 3) = 0.4; 1 / (2 + 3 - 1) = 0.25
        ([1, 1, 0, 0, 0], [0, 1, 1, 1, 0], 0.4, 0.25),
        *(([1, 1, 0], [1, 1, 0], 1.0, 1.0), ([0, 0], [0, 0], 1.0, 1.0)),  # both empty: 1 by the rule
        *(([1, 0], [0, 1], 0.0, 0.0), ([0, 0], [1, 0], 0.0, 0.0), ([1, 0], [0, 0], 0.0, 0.0)),
    ],
)
def test_by_hand(truth: list[int], predicted: list[int], dice_wanted: float, iou_wanted: float) -> None:
    for dtype in (np.uint8, bool, np.int64):
        arguments = np.array(truth, dtype=dtype), np.array(predicted, dtype=dtype)
        assert dice(*arguments) == pytest.approx(dice_wanted)
        assert iou(*arguments) == pytest.approx(iou_wanted)


@given(
    st.tuples(st.integers(1, 8), st.integers(1, 8)).flatmap(
        lambda shape: st.tuples(*[arrays(np.uint8, shape, elements=st.integers(0, 1))] * 2)
    )
)
def test_dice_and_iou_agree(masks: tuple[np.ndarray, np.ndarray]) -> None:
    # dice = 2 iou / (1 + iou); both are symmetric and in 0..1
    truth, predicted = masks
    assert dice(truth, predicted) == pytest.approx(2 * iou(truth, predicted) / (1 + iou(truth, predicted)))
    for metric in ("dice", "iou", "surface_dice_1px", "boundary_f_1px", "ap", "ap_50"):
        score = measure(metric, truth, predicted)
        assert score == pytest.approx(measure(metric, predicted, truth)) and 0 <= score <= 1
        assert measure(metric, truth, truth) == 1


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"`predicted` must have the shape of `target`, \(2, 3\). Received: \(1, 3\)"):
        dice(np.zeros((2, 3)), np.zeros((1, 3)))


def draw(*rows: str) -> np.ndarray:
    return np.array([[sign == "#" for sign in row] for row in rows])


def test_f_beta_weighs_recall_against_precision() -> None:
    # both 2, truth 4, predicted 3: precision 2/3, recall 1/2
    truth, predicted = draw("####.."), draw("..###.")
    for beta in (0.5, 1, 2):
        expected = (1 + beta**2) * (2 / 3) * (1 / 2) / (beta**2 * (2 / 3) + 1 / 2)
        assert measure(f"f{beta:g}", truth, predicted) == pytest.approx(expected)
    assert measure("f1", truth, predicted) == dice(truth, predicted)


def test_contours_within_a_tolerance() -> None:
    # A square of 4 x 4 has a contour of 12 pixels; moved right by one, 6 of its pixels lie on the other's contour (the
    # common 3 columns of the upper and lower row), its left side is 1 px off: at 1 px all are near, at 0 px 6 of 12.
    truth, predicted = np.zeros((8, 9), bool), np.zeros((8, 9), bool)
    truth[2:6, 2:6], predicted[2:6, 3:7] = True, True
    assert measure("surface_dice_1px", truth, predicted) == 1
    assert measure("surface_dice_0px", truth, predicted) == pytest.approx((6 + 6) / 24)
    assert measure("boundary_f_0px", truth, predicted) == pytest.approx(0.5)  # precision and recall 6 / 12
    # Two squares predicted, one of them far off: recall 1, precision 1 / 2; of 12 + 24 contour pixels 24 are near.
    twice = np.pad(truth, ((0, 8), (0, 0)))
    twice[10:14, 2:6] = True
    alone = np.pad(truth, ((0, 8), (0, 0)))
    assert measure("boundary_f_2px", alone, twice) == pytest.approx(2 * 0.5 * 1 / 1.5)
    assert measure("surface_dice_2px", alone, twice) == pytest.approx(24 / 36)
    assert measure("boundary_f_2px", alone, np.zeros_like(alone)) == 0


def test_objects_are_matched_by_their_iou() -> None:
    # Of three true objects one is found with IoU 6/8 = 0.75, one with 4/4 = 1, one is missed; one more is made up.
    truth = draw("######..", "........", "####....", "........", "##......", "........")
    predicted = draw("########", "........", "####....", "........", "........", ".....###")
    # at 0.50 to 0.75: 2 / (2 + 1 + 1) = 1/2; at 0.80 to 0.95: 1 / (1 + 2 + 2) = 1/5
    assert measure("ap_50", truth, predicted) == pytest.approx(1 / 2)
    assert measure("ap_80", truth, predicted) == pytest.approx(1 / 5)
    assert measure("ap", truth, predicted) == pytest.approx((6 / 2 + 4 / 5) / 10)
    # corners connect: one object each
    assert measure("ap_50", draw("#.", ".#"), draw("#.", ".#")) == 1


def test_numbered_objects_are_counted_by_their_numbers() -> None:
    truth = np.array([[7, 7, 3, 3, 0, 3]])  # two that touch; the second in two parts
    metric = find_metric("ap_50")
    assert metric.measure(truth, np.array([[1, 1, 1, 1, 0, 0]]) > 0) == (0.5 / 1.5 * 0 + 1 / 2, 1)
    assert metric.measure(truth, np.array([[4, 4, 9, 9, 0, 0]])) == (1.0, 1)
    assert metric.measure(np.array([[0, 0]]), np.array([[False, False]])) == (0, 0)


def test_over_pixels_images_add_up_before_the_division() -> None:
    # (2 both, 4 true, 2 predicted), (0, 0, 6): 2 * 2 / (4 + 8) = 1/3, where the mean over images is (2/3 + 0) / 2
    counts = np.array([[2, 4, 2], [0, 0, 6]]).T
    alone, together = find_metric("dice"), find_metric("global_dice")
    assert alone.to_values(alone.count(*counts)).tolist() == pytest.approx([2 / 3, 0])
    values = together.to_values(together.count(*counts))
    assert values.mean() == pytest.approx(1 / 3)
    # 1/3 + (a - b / 3) / mean(b): a, b of 4, 6 and 0, 6
    assert values.tolist() == pytest.approx([1 / 3 + (4 - 2) / 6, 1 / 3 - 2 / 6])


@pytest.mark.parametrize("name", ["dise", "f", "global_ap", "surface_dice", "ap_5", "dice ", ""])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="`metric` must be dice, iou"):
        find_metric(name)


def test_over_the_pixels_of_all_images() -> None:
    truth = np.array([[1, 1, 0, 2, IGNORE]], dtype=np.uint8)
    mask = np.array([[1, 2, 1, 2, 1]], dtype=np.uint8)
    counts = count_pixels_of(truth, mask, 3)
    # (both, true, predicted): the last pixel counts nowhere
    assert counts.tolist() == [[1, 2, 2], [1, 1, 2], [0, 0, 0]]
    pixels = describe_pixels(sum_counts([counts, counts]), ("a", "b", "c"))
    assert pixels["classes"] == {"a": {"dice": 0.5, "iou": 2 / 6}, "b": {"dice": 2 / 3, "iou": 0.5}, "c": None}
    assert pixels["mean_iou"] == pytest.approx((2 / 6 + 0.5) / 2)
    assert pixels["mean_dice"] == pytest.approx((0.5 + 2 / 3) / 2)

    nothing = np.zeros((2, 2), dtype=np.uint8)  # a class that is nowhere has no mean
    assert describe_pixels(count_pixels_of(nothing, nothing, 1), ("a",)) == {"classes": {"a": None}}
