import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from unets.ensemble.weights import (
    PixelSample,
    count_pixels,
    draw_pixels,
    fit_weights,
    project_to_simplex,
    select_members,
)


def make_sample(
    probs: list[list[float]] | npt.NDArray[np.float32], is_true: list[int], costs: list[float] | None = None
) -> PixelSample:
    return PixelSample(
        probs=np.array(probs, dtype=np.float32),
        is_true=np.array(is_true, dtype=np.bool_),
        costs=np.array(costs or [1.0] * len(is_true), dtype=np.float32),
    )


def test_a_sample_holds_the_pixels_that_members_put_on_two_sides() -> None:
    truth = np.array([[1, 1, 0, 0]], dtype=np.uint8)
    # 0.5 is foreground, as it is of a mask: of 127 and 128 only 128 reaches it
    maps = [np.array([[[255], [127], [200], [0]]], np.uint8), np.array([[[128], [128], [201], [100]]], np.uint8)]
    sample = draw_pixels(truth, maps, 10)
    np.testing.assert_allclose(sample.probs, [[127 / 255, 128 / 255]], atol=1e-6)
    assert sample.is_true.tolist() == [True]
    assert sample.costs.tolist() == [0.5]  # a mistake among 2 pixels


def test_pixels_are_drawn_about_the_threshold_of_the_blend() -> None:
    truth = np.array([[1, 1, 0]], dtype=np.uint8)
    maps = [np.array([[[255], [140], [60]]], np.uint8), np.array([[[160], [110], [30]]], np.uint8)]
    for threshold, expected in ((0.5, [140]), (0.7, [255]), (0.2, [60]), (0.0, [140])):
        assert (draw_pixels(truth, maps, 10, threshold).probs[:, 0] * 255).round().tolist() == expected


def test_drawn_pixels_stand_for_those_between_them() -> None:
    truth = np.ones((1, 9), dtype=np.uint8)
    values = np.arange(9, dtype=np.uint8)
    maps = [values[None, :, None], np.full((1, 9, 1), 255, dtype=np.uint8)]
    sample = draw_pixels(truth, maps, 3)
    np.testing.assert_allclose(sample.probs[:, 0] * 255, [1, 4, 7], atol=1e-4)
    np.testing.assert_allclose(sample.costs, [3 / 9] * 3)


def test_each_class_is_drawn_on_its_own() -> None:
    truth = np.array([[1, 2, 2, 0]], dtype=np.uint8)
    low, high = np.zeros((1, 4, 2), dtype=np.uint8), np.zeros((1, 4, 2), dtype=np.uint8)
    high[0, 0, 0] = high[0, 1:3, 1] = 255
    sample = draw_pixels(truth, [low, high], 10)
    assert sample.is_true.tolist() == [True, True, True]
    assert sample.costs.tolist() == [0.5, 0.25, 0.25]  # half for each class, over its area


def test_no_disagreement_gives_no_pixels_and_equal_weights() -> None:
    same = [np.full((2, 2, 1), 200, dtype=np.uint8)] * 4
    sample = draw_pixels(np.zeros((2, 2), dtype=np.uint8), same, 10)
    assert sample.probs.shape == (0, 4)
    assert fit_weights(sample) == (0.25,) * 4


def test_all_photos_pixels_together_are_bounded() -> None:
    assert count_pixels(5_088, 1) == 206
    assert count_pixels(128, 1) == 4096
    assert count_pixels(128, 4) == 2048
    assert count_pixels(10**9, 1) == 1


def test_the_least_loss_by_hand() -> None:
    # One pixel of the class, members at 0.9 and 0.2, one beside it at 0.4 and 0.7: the first is right about both.
    assert fit_weights(make_sample([[0.9, 0.2], [0.4, 0.7]], [1, 0])) == (1.0, 0.0)
    # Blends 0.2 + 0.7 w and 0.1 + 0.7 w, margins 0.7 w - 0.3 and 0.4 - 0.7 w: as steep on both sides at w = 0.5.
    sample = [[0.9, 0.2], [0.8, 0.1]]
    assert fit_weights(make_sample(sample, [1, 0])) == pytest.approx((0.5, 0.5), abs=2e-4)
    # The first costs thrice: with u = exp(20 (0.7 w - 0.3)), 3 / (1 + u) = 1 / (1 + e^2 / u), u^2 - 2 u - 3 e^2 = 0.
    u = 1 + math.sqrt(1 + 3 * math.e**2)
    first = (0.3 + math.log(u) / 20) / 0.7
    assert fit_weights(make_sample(sample, [1, 0], [3.0, 1.0])) == pytest.approx((first, 1 - first), abs=2e-4)


def test_the_least_loss_of_logits_by_hand() -> None:
    """Weights that are right for means of probabilities are wrong for means of logits, and the other way round."""

    def sigmoid(logit: float) -> float:
        return 1 / (1 + math.exp(-logit))

    # Logits 4 and -1 of the class, 5.5 and -2 not. Their means 5 w - 1 and 7.5 w - 2 are right where 0.2 < w < 0.267.
    # Of probabilities, 0.982 w + 0.269 (1 - w) and 0.996 w + 0.119 (1 - w) are where 0.324 < w < 0.434.
    sample = make_sample([[sigmoid(4), sigmoid(-1)], [sigmoid(5.5), sigmoid(-2)]], [1, 0])
    assert 0.324 < fit_weights(sample)[0] < 0.434
    assert 0.2 < fit_weights(sample, "logit")[0] < 2 / 7.5
    # Two pixels as steep in w: logits 1.5 and -1 of the class, 1 and -1.5 not. Margins 2.5 w - 1 and 1.5 - 2.5 w are
    # equal at 0.5. Cut at 0.6, whose logit is 0.405: 2.5 w - 1.405 and 1.905 - 2.5 w, equal at 0.662.
    steep = make_sample([[sigmoid(1.5), sigmoid(-1)], [sigmoid(1), sigmoid(-1.5)]], [1, 0])
    assert fit_weights(steep, "logit") == pytest.approx((0.5, 0.5), abs=2e-4)
    assert fit_weights(steep, "logit", 0.6)[0] == pytest.approx((2.5 + 2 * math.log(1.5)) / 5, abs=1e-3)


@pytest.mark.parametrize("threshold", [0.5, 0.002, 1.0])
def test_members_that_are_sure_and_wrong_lose_their_weight(threshold: float) -> None:
    """Nine members at 1 leave a margin beyond what float32 tells from 1; the tenth alone is right."""
    sample = make_sample([[1.0] * 9 + [0.0]], [0])
    assert fit_weights(sample, "logit", threshold) == pytest.approx((0.0,) * 9 + (1.0,), abs=0.05)


def test_the_cut_decides_the_weights() -> None:
    # Blends 0.2 + 0.7 w and 0.1 + 0.7 w: at 0.5 w = 0.5 is best (above), at 0.36 it is 0.3.
    sample = make_sample([[0.9, 0.2], [0.8, 0.1]], [1, 0])
    assert fit_weights(sample, threshold=0.36) == pytest.approx((0.3, 0.7), abs=1e-3)
    # Where every pixel is of a class (0), one half is certain to be the most.
    assert fit_weights(sample, threshold=0.0) == fit_weights(sample)


def test_selection_of_logits_by_hand() -> None:
    # Logits 3 and -1 of the class, 1 and -2 not, cut at 0.7, whose logit is 0.85: the means of both, 1 and -0.5, are
    # right. Those of probabilities, 0.61 and 0.43, are not; with the first twice they are, 0.72 and 0.53.
    sample = make_sample([[0.9526, 0.2689], [0.7311, 0.1192]], [1, 0])
    assert select_members(sample, "logit", 0.7) == (0.5, 0.5)
    assert select_members(sample, "probability", 0.7) == pytest.approx((2 / 3, 1 / 3))


def test_a_member_that_is_noise_gets_nothing() -> None:
    rng = np.random.default_rng(0)
    is_true = rng.random(20_000) < 0.5
    good = np.clip(is_true + rng.normal(0, 0.4, (2, 20_000)), 0, 1)
    sample = make_sample(np.stack([*good, rng.random(20_000)], axis=-1).astype(np.float32), is_true.tolist())
    for weights in (fit_weights(sample), select_members(sample)):
        assert weights[2] <= 0.05
        assert weights[:2] == pytest.approx((0.5, 0.5), abs=0.08)


def test_copies_share_their_weight() -> None:
    weights = fit_weights(make_sample([[0.9, 0.9, 0.3], [0.1, 0.1, 0.4], [0.6, 0.6, 0.2]], [1, 0, 1]))
    assert weights[0] == pytest.approx(weights[1], abs=1e-4)
    assert weights[0] > weights[2]


def test_selection_by_hand() -> None:
    # Alone, the first is wrong at pixel 1, the second at 0 and 2. Their sums are 1.1, 1.05, 0.65: with both, only pixel
    # 2 is wrong (0.325), which costs 0.5; the first alone costs 1. With the first twice, all three are right:
    # (0.6 + 0.6 + 0.5) / 3, (0.4 + 0.4 + 0.75) / 3 and (0.55 + 0.55 + 0.41) / 3 reach 0.5.
    sample = make_sample([[0.6, 0.5], [0.4, 0.75], [0.55, 0.41]], [1, 1, 1], [1.0, 1.0, 0.5])
    assert select_members(sample) == pytest.approx((2 / 3, 1 / 3))


def test_selection_keeps_the_fewest_rounds_that_reach_the_best() -> None:
    assert select_members(make_sample([[0.9, 0.2, 0.1], [0.1, 0.6, 0.9]], [1, 0])) == (1.0, 0.0, 0.0)


@given(hnp.arrays(np.float64, st.integers(1, 8), elements=st.floats(-5, 5)))
def test_the_projection_lies_on_the_simplex_and_is_the_nearest(values: npt.NDArray[np.float64]) -> None:
    projected = project_to_simplex(values)
    assert projected.min() >= 0 and projected.sum() == pytest.approx(1)
    # The nearest point of a convex set: no corner lies on the far side of the plane through it.
    for corner in np.eye(len(values)):
        assert (values - projected) @ (corner - projected) <= 1e-9


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(2, 6))
def test_no_other_weights_have_a_lower_score(seed: int, num_members: int) -> None:
    rng = np.random.default_rng(seed)
    probs, is_true = rng.random((200, num_members)).astype(np.float32), rng.random(200) < 0.5
    sample = make_sample(probs, is_true.tolist(), rng.uniform(0.1, 2, 200).tolist())

    def score(weights: npt.NDArray[np.float64]) -> float:
        margins = np.where(is_true, 20, -20) * (probs @ weights - 0.5)
        return float(sample.costs @ np.logaddexp(0, -margins))

    weights = fit_weights(sample)
    assert min(weights) >= 0 and sum(weights) == pytest.approx(1, abs=1e-12)
    others = rng.dirichlet(np.ones(num_members), 200)
    # the ridge may cost a thousandth
    near = np.array(weights) + 0.01 * (others - np.array(weights))
    assert score(np.array(weights)) <= min(map(score, (*others, *near, *np.eye(num_members)))) * 1.001
    assert fit_weights(sample) == weights
