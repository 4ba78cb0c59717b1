import math

import numpy as np
import pandas as pd
import pytest

from unets.pages.measure import FIGURES
from unets.pages.oddness import SCALES, compare_with_group, measure_distance, measure_oddness


def test_distances_by_hand() -> None:
    values = np.array([1.0, 2, 3, 4, 100])
    # median 3; deviations 2, 1, 0, 1, 97, whose median is 1
    assert measure_distance(SCALES["loose"], values, values).tolist() == pytest.approx(
        [deviation / 1.4826 for deviation in (2, 1, 0, 1, 97)]
    )
    # more than half are equal: the mean deviation, 0.2, takes the place of the median one
    flat = np.array([0.0, 0, 0, 0, 1])
    assert measure_distance(SCALES["loose"], flat, flat).tolist() == pytest.approx([0, 0, 0, 0, 1 / (1.2533 * 0.2)])
    same = np.full(4, 0.3)
    assert measure_distance(SCALES["loose"], same, same).tolist() == [0, 0, 0, 0]


def test_the_reference_may_be_others() -> None:
    train = np.array([0.1, 0.2, 0.4])
    # log2 apart by 1 each: scale 1.4826
    offset = SCALES["area"].offset
    assert offset is not None
    expected = abs(math.log2(0.8 + offset) - math.log2(0.2 + offset)) / 1.4826
    assert measure_distance(SCALES["area"], np.array([0.8, 0.2]), train).tolist() == pytest.approx(
        [expected, 0], rel=1e-3
    )


def test_a_view_is_compared_with_its_group_and_its_kind() -> None:
    groups = [group for group in "abc" for _ in range(3)]
    views = ["1", "2", "3"] * 3
    # Each group has its size, each view its share of it: nothing is odd.
    shares = np.array([size * share for size in (0.1, 0.2, 0.3) for share in (1, 1.5, 0.5)])
    assert compare_with_group(shares, groups, views) == pytest.approx(np.zeros(9), abs=1e-3)
    shares[4] *= 2
    found = compare_with_group(shares, groups, views)
    assert found[4] == pytest.approx(1, abs=1e-3)
    assert np.delete(found, 4) == pytest.approx(np.zeros(8), abs=1e-3)


def test_oddness_is_the_sum_of_what_counts() -> None:
    rows = pd.DataFrame(np.tile([0.2, 1, 0, 0, 4.2, 3, 0.001, 0.99], (40, 1)), columns=list(FIGURES))
    rows.loc[7, "parts"] = 3  # 4 of the least scale
    rows.loc[9, "parts"] = 40  # log2(41 / 2) / 0.25 = 17, of which 10 count
    rows.loc[9, "holes"] = 1  # log2(2) / 0.25 = 4
    rows.loc[11, "agreement"] = 0.987  # 1.5 of the least scale, 0.002: does not count
    odd = measure_oddness(rows, [str(index) for index in range(40)], [None] * 40, [0.2, 0.2])
    assert odd.total[[7, 9, 11]].tolist() == pytest.approx([4, 14, 0])
    assert odd.order[:3].tolist() == [9, 7, 11]
    assert odd.order[3:].tolist() == [index for index in range(40) if index not in (7, 9, 11)]
    assert odd.list_reasons(9) == ["parts", "holes"] and odd.list_reasons(11) == []
    assert "group" not in odd.values  # a group each
