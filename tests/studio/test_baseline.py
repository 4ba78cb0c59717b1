"""The difference baseline, by hand."""

import numpy as np
import pytest

from unets.studio.baseline import dice_by_threshold, difference_baseline, measure_baseline
from unets.studio.cars import build_car
from unets.studio.render import render_empty, render_photo


def test_dice_of_every_threshold_by_hand():
    empty = np.full((1, 4, 3), 100, np.uint8)
    photo = empty.copy()
    photo[0, :, 1] = [100, 110, 80, 160]  # differences 0, 10, 20, 60
    mask = np.array([[0, 0, 1, 1]], np.uint8)
    dice = dice_by_threshold(photo, mask, empty)
    # t = 0 finds three pixels, two of them right: 2 * 2 / (3 + 2). t = 10 finds the two.
    assert dice[[0, 9, 10, 19, 20, 59, 60]] == pytest.approx([0.8, 0.8, 1.0, 1.0, 2 / 3, 2 / 3, 0.0])


def test_one_threshold_serves_all_photos():
    empty = np.zeros((1, 4, 3), np.uint8)
    first, second = np.zeros((2, 1, 4, 3), np.uint8)
    first[0, :, 0] = [0, 0, 30, 90]
    second[0, :, 2] = [0, 40, 50, 90]
    masks = [np.array([[0, 0, 1, 1]], np.uint8)] * 2
    result = difference_baseline(zip((first, second), masks, strict=True), empty)
    # Below 30: 1 and 0.8. From 30 to 39: 2/3 and 0.8. From 40: 2/3 and 1. The first is the best, 0.9.
    assert result.threshold == 0
    assert result.dice == pytest.approx(0.9)
    assert result.dices == pytest.approx((1.0, 0.8))
    assert result.shares == pytest.approx([0.5, 0.5])


def test_the_demo_cannot_be_solved_without_learning():
    size_hw = (96, 144)
    fleet = [build_car(0, index) for index in range(6)]
    pairs = [render_photo(car, view, 0, size_hw) for car in fleet for view in (1, 6, 12)]
    assert 0.5 < difference_baseline(pairs, render_empty(0, size_hw)).dice < 0.93


def test_the_measurement_is_the_baseline_of_a_fleets_photos():
    size_hw = (64, 96)
    car = build_car(2, 0)
    pairs = [render_photo(car, view, 2, size_hw) for view in range(1, 17)]
    assert measure_baseline(2, 1, jobs=1, size_hw=size_hw) == difference_baseline(pairs, render_empty(2, size_hw))
