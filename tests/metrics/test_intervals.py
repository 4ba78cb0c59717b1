import numpy as np
import pytest
from scipy import stats

from unets.metrics.intervals import Interval, bootstrap_mean, find_p_value, find_percentiles, note_few_groups


def test_the_mean_is_over_images_each_of_a_group() -> None:
    # two images of a, one of b: (1 + 2 + 6) / 3 = 3, not the mean over groups (1.5 + 6) / 2 = 3.75
    assert bootstrap_mean(np.array([1.0, 2.0, 6.0]), ["a", "a", "b"]).mean == 3.0
    for values, groups in (([], []), ([1.0], ["a", "b"])):
        with pytest.raises(ValueError, match="`groups` must name one for each"):
            bootstrap_mean(np.array(values), groups)


def test_percentiles_widen_with_few_groups() -> None:
    # 5 groups: sqrt(5 / 4) 2.7764 = 3.1042, and the normal law has 0.0954 % beyond it
    assert find_percentiles(5) == pytest.approx((0.0954, 99.9046), abs=1e-4)
    assert find_percentiles(100_000) == pytest.approx((2.5, 97.5), abs=1e-3)
    lows = [find_percentiles(num_groups)[0] for num_groups in range(2, 60)]
    assert lows == sorted(lows)


@pytest.mark.parametrize(("num_groups", "expected"), [(5, 0.93), (8, 0.95), (20, 0.95)])
def test_it_holds_the_truth_as_often_as_it_says(num_groups: int, expected: float) -> None:
    groups = [str(group) for group in range(num_groups)]
    draws = np.random.default_rng(0).normal(0, 1, (600, num_groups))
    holds = [not bootstrap_mean(values, groups).excludes_zero for values in draws]
    assert np.mean(holds) == pytest.approx(expected, abs=0.03)  # three standard errors


def test_the_p_value_is_that_of_student() -> None:
    # one value a group: mean 2, standard deviation 1 of 4, t = 2 / (1 / 2) = 4 at 3 degrees of freedom: p = 0.01401
    values = 2 + np.array([-1.0, -1.0, 1.0, 1.0]) * np.sqrt(3) / 2
    assert find_p_value(values, list("abcd")) == pytest.approx(0.01401, abs=1e-5)
    # the same, each group twice as large: nothing is learned from copies
    assert find_p_value(np.repeat(values, 2), list("aabbccdd")) == pytest.approx(0.01401, abs=1e-5)
    assert find_p_value(-values, list("abcd")) == 1
    assert find_p_value(np.ones(4), list("aaaa")) == 1
    assert find_p_value(np.ones(4), list("abcd")) == 0


@pytest.mark.parametrize("num_groups", [2, 3, 5, 20, 1000])
def test_quantiles_and_probabilities_are_those_of_scipy_stats(num_groups: int) -> None:
    reach = np.sqrt(num_groups / (num_groups - 1)) * stats.t.ppf(0.975, num_groups - 1)
    share = stats.norm.cdf(-reach)
    np.testing.assert_allclose(find_percentiles(num_groups), (100 * share, 100 * (1 - share)), rtol=1e-12, atol=1e-12)
    values = np.random.default_rng(num_groups).normal(0.3, 1, num_groups)
    expected = stats.ttest_1samp(values, 0, alternative="greater").pvalue if values.mean() > 0 else 1
    assert find_p_value(values, [str(number) for number in range(num_groups)]) == pytest.approx(expected, rel=1e-9)


def test_photos_alike_within_groups_widen_it() -> None:
    per_group = np.random.default_rng(0).normal(0.0, 1.0, 25)
    values = np.repeat(per_group, 16)
    grouped = bootstrap_mean(values, np.repeat(np.arange(25).astype(str), 16).tolist())
    single = bootstrap_mean(values, np.arange(400).astype(str).tolist())
    # the standard error of 25 means is sqrt(16) = 4 times that of 400 values of the same spread
    assert (grouped.high - grouped.low) / (single.high - single.low) == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("num_groups", [1, 2, 4])
def test_below_five_groups_there_is_no_interval(num_groups: int) -> None:
    """Two groups on one side of the truth are no rare thing: what is printed would be no 95 % interval."""
    interval = bootstrap_mean(np.arange(num_groups) + 1.0, [str(group) for group in range(num_groups)])
    assert interval == Interval(mean=(num_groups + 1) / 2, low=None, high=None)
    assert not interval.excludes_zero


def test_scores_and_gains_are_written_with_digits_that_tell_them_apart() -> None:
    narrow, wide = Interval(mean=0.996123, low=0.995871, high=0.996344), Interval(mean=-0.5, low=None, high=None)
    assert [str(narrow), narrow.excludes_zero] == ["0.99612 (0.99587 to 0.99634)", True]
    assert [str(wide), wide.excludes_zero] == ["-0.50000 (too few groups for an interval)", False]
    assert Interval(mean=0.00084, low=0.00041, high=0.00124).format_gain() == "+0.84 (0.41 to 1.24) x 1e-3"
    assert wide.format_gain() == "-500.00 x 1e-3 (too few groups for an interval)"
    assert not Interval(mean=0.05, low=0.0, high=0.1).excludes_zero


@pytest.mark.parametrize(
    ("num_groups", "expected"),
    [(1, "too few"), (4, "too few groups for a 95 % interval: 4 of the 5 that are needed"), (5, "rough"), (20, None)],
)
def test_few_groups_are_noted(num_groups: int, expected: str | None) -> None:
    notes = note_few_groups(num_groups)
    assert expected in notes[0] if expected else notes == []
