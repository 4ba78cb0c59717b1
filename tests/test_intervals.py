import numpy as np
import pytest

from unets.intervals import Interval, bootstrap_mean


def test_the_mean_is_over_photos() -> None:
    # two photos of a, one of b: (1 + 2 + 6) / 3 = 3, not the mean over groups (1.5 + 6) / 2 = 3.75
    assert bootstrap_mean(np.array([1.0, 2.0, 6.0]), ["a", "a", "b"]).mean == 3.0


def test_two_groups_give_their_own_means_as_bounds() -> None:
    # Draws of two groups: aa (1/4) mean 0, ab (1/2) mean 0.5, bb (1/4) mean 1: 2.5 % and 97.5 % lie in aa and bb.
    interval = bootstrap_mean(np.array([0.0, 0.0, 1.0, 1.0]), ["a", "a", "b", "b"])
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_the_interval_is_that_of_the_normal_law_for_many_groups() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, 400)
    interval = bootstrap_mean(values, [str(index) for index in range(400)])
    half = 1.96 * values.std() / np.sqrt(400)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.02)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.02)


def test_photos_alike_within_groups_widen_it() -> None:
    per_group = np.random.default_rng(0).normal(0.0, 1.0, 25)
    values = np.repeat(per_group, 16)
    grouped = bootstrap_mean(values, np.repeat(np.arange(25).astype(str), 16).tolist())
    single = bootstrap_mean(values, np.arange(400).astype(str).tolist())
    # the standard error of 25 means is sqrt(16) = 4 times that of 400 values of the same spread
    assert (grouped.high - grouped.low) / (single.high - single.low) == pytest.approx(4, rel=0.1)


def test_equal_arguments_give_equal_intervals() -> None:
    values, groups = np.random.default_rng(0).random(3000), np.arange(3000).astype(str).tolist()
    assert bootstrap_mean(values, groups, seed=3) == bootstrap_mean(values, groups, seed=3)
    assert bootstrap_mean(values, groups, seed=3) != bootstrap_mean(values, groups, seed=4)


def test_one_group_bounds_nothing() -> None:
    interval = bootstrap_mean(np.array([1.0, 2.0]), ["a", "a"])
    assert interval == Interval(mean=1.5, low=None, high=None)
    assert not interval.excludes_zero


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (Interval(mean=0.996123, low=0.995871, high=0.996344), "0.99612 (0.99587 to 0.99634)"),
        (Interval(mean=0.00012345, low=-0.00001, high=0.0002), "0.0001234 (-0.0000100 to 0.0002000)"),
        (Interval(mean=0.5, low=None, high=None), "0.50000 (one group: no interval)"),
    ],
)
def test_it_is_written_with_digits_that_tell_scores_apart(interval: Interval, expected: str) -> None:
    assert str(interval) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.1, 0.2, True), (-0.2, -0.1, True), (-0.1, 0.1, False), (0.0, 0.1, False)]
)
def test_excludes_zero(low: float, high: float, expected: bool) -> None:
    assert Interval(mean=(low + high) / 2, low=low, high=high).excludes_zero == expected


@pytest.mark.parametrize("values", [[], [1.0]])
def test_lengths_must_agree(values: list[float]) -> None:
    with pytest.raises(ValueError, match="`groups` must name one for each"):
        bootstrap_mean(np.array(values), ["a", "b"] if values else [])
