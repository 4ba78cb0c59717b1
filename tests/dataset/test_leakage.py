"""Nearest images and a color table, by hand; a car that is remembered."""

import numpy as np
import pytest

from unets.dataset.leakage import count_colors, find_neighbors, score_table, split_parts


def test_colors_are_shares_of_the_image() -> None:
    image = np.zeros((2, 2, 3), dtype=np.uint8)
    image[0, 0] = 255, 0, 127
    shares = count_colors(image[None], levels=2)
    # Two levels a channel, 0 and 1 from 128 on: (255, 0, 127) is (1, 0, 0), number 4 of 8.
    assert shares.tolist() == [[0.75, 0, 0, 0, 0.25, 0, 0, 0]]


def test_nearest_images_within_and_between_groups() -> None:
    shares = np.array([[1, 0], [0.9, 0.1], [0.4, 0.6], [0.85, 0.15]], dtype=np.float32)
    near = find_neighbors(shares, ["a", "a", "b", "c"])
    assert near.within.tolist() == [1, 0, -1, -1]
    assert near.within_distance.tolist() == pytest.approx([0.1, 0.1, np.inf, np.inf])
    assert near.between.tolist() == [3, 3, 3, 1]
    # 0.85 and 0.15 against 1 and 0: (0.15 + 0.15) / 2
    assert near.between_distance.tolist() == pytest.approx([0.15, 0.05, 0.45, 0.05])


def test_parts_are_dealt_by_name() -> None:
    names = [f"car{number:02d}" for number in range(10) for _ in range(4)]
    parts = split_parts(names, 5)
    assert all(len(set(parts[start : start + 4])) == 1 for start in range(0, 40, 4))
    assert np.bincount(parts).tolist() == [8] * 5
    assert parts.tolist() == split_parts(names, 5).tolist() != split_parts(names, 5, seed=1).tolist()


def make_cars(num_cars: int, num_views: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Cars of one shape on a wall of many greys; each has a paint of its own, which is another's wall."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (num_cars * num_views, 16, 24, 1), dtype=np.uint8).repeat(3, axis=-1)
    targets = np.zeros((num_cars * num_views, 16, 24), dtype=np.uint8)
    for index in range(num_cars * num_views):
        place = int(rng.integers(2, 10))
        targets[index, 4:12, place : place + 12] = 255
        images[index, 4:12, place : place + 12] = 255, 8 * (index // num_views), 8
    return images, targets, [f"car{index // num_views}" for index in range(num_cars * num_views)]


def test_a_split_by_image_flatters_what_remembers_paints() -> None:
    images, targets, cars = make_cars(num_cars=10, num_views=8)
    by_image = score_table(images, targets, split_parts([str(index) for index in range(80)], 5))
    by_car = score_table(images, targets, split_parts(cars, 5))
    assert by_image.mean() > 0.95 > 0.9 > by_car.mean()


def test_a_part_needs_another() -> None:
    images, targets, _ = make_cars(num_cars=1, num_views=2)
    with pytest.raises(ValueError, match="`parts` must be two or more"):
        score_table(images, targets, np.zeros(2, dtype=np.intp))
