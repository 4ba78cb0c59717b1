"""Random changes: nothing where nothing is asked, image and mask together, the same draws for the same generator."""

from itertools import product
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unets.config import AugmentConfig
from unets.data.augment import augment, crop_pair, distort_pair, draw_colors, draw_warp, recolor
from unets.data.degrade import degrade
from unets.metrics.masks import dice

Image = npt.NDArray[np.uint8]

NOTHING: dict[str, Any] = dict.fromkeys(AugmentConfig.model_fields, 0.0) | {"quarter_turns": False}


def draw_pair(size_hw: tuple[int, int], num_classes: int = 1) -> tuple[Image, Image]:
    """Draws noise that must not be written to."""
    rng = np.random.default_rng(0)
    image, target = (rng.integers(0, 256, (*size_hw, channels), dtype=np.uint8) for channels in (3, num_classes))
    image.flags.writeable = target.flags.writeable = False
    return image, target


def draw_blob(size_hw: tuple[int, int]) -> tuple[Image, Image]:
    """Draws a bright ellipse off the center, and its mask."""
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    inside = ((rows - 0.45 * size_hw[0]) / 14) ** 2 + ((columns - 0.6 * size_hw[1]) / 19) ** 2 < 1
    image = np.where(inside, 220, 30).astype(np.uint8)
    return np.stack([image] * 3, axis=-1), (inside * np.uint8(255))[..., None]


@pytest.mark.parametrize(("hflip", "vflip", "forced"), product((0.0, 1.0), repeat=3))
@pytest.mark.parametrize("num_classes", [1, 2, 5])
@pytest.mark.parametrize("size_hw", [(1, 1), (33, 48), (32, 47)])
def test_flips_are_exact_and_no_other_change_comes_unasked(
    hflip: float, vflip: float, forced: float, num_classes: int, size_hw: tuple[int, int]
) -> None:
    pair = draw_pair(size_hw, num_classes)
    flips = {"hflip": hflip, "vflip": vflip, "warp_probability": forced, "color_probability": forced}
    made = augment(*pair, AugmentConfig(**NOTHING | flips), np.random.default_rng(0))
    for array, changed in zip(pair, made, strict=True):
        np.testing.assert_array_equal(changed, array[:: -1 if vflip else 1, :: -1 if hflip else 1])


@given(seed=st.integers(0, 2**32))
def test_the_generator_alone_decides(seed: int) -> None:
    image, target = draw_pair((32, 48))
    config = AugmentConfig()
    once, again = (augment(image, target, config, np.random.default_rng(seed)) for _ in range(2))
    assert [array.tobytes() for array in once] == [array.tobytes() for array in again]
    assert [array.shape for array in once] == [image.shape, target.shape]
    assert [array.dtype for array in once] == [np.uint8, np.uint8]


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32))
def test_image_and_mask_move_together(seed: int) -> None:
    image, target = draw_blob((72, 96))
    moves = {"hflip": 0.5, "vflip": 0.5, "shift": 0.2, "scale": 0.4, "aspect": 0.3, "rotate_deg": 180.0}
    config = AugmentConfig(**NOTHING | moves | {"warp_probability": 1.0})
    moved, mask = augment(image, target, config, np.random.default_rng(seed))
    # bright is above (30 + 220) / 2, inside above 255 / 2: the same contour
    assert dice(mask[..., 0] >= 128, moved[..., 0] > 125) > 0.98


def test_warps_stay_within_their_ranges() -> None:
    config = AugmentConfig(shift=0.1, scale=0.2, aspect=0.3, rotate_deg=10.0)
    height, width = 33, 48
    center = np.array([(width - 1) / 2, (height - 1) / 2, 1])
    seen = []
    for seed in range(300):
        matrix = draw_warp(config, (height, width), np.random.default_rng(seed))
        shift_x, shift_y, _ = (matrix @ center - center) / (width, height, 1)
        # matrix = turn @ diag(a, b): the columns' lengths are a = zoom * stretch and b = zoom / stretch
        across, down = np.linalg.norm(matrix[:2, :2], axis=0)
        angle = np.rad2deg(np.arctan2(matrix[1, 0], matrix[0, 0]))
        seen.append((shift_x, shift_y, np.log(across * down) / 2, np.log(across / down), angle))
    limits = np.array([0.1, 0.1, np.log(1.2), np.log(1.3), 10])
    largest, smallest = np.max(seen, axis=0), np.min(seen, axis=0)
    assert (largest <= limits + 1e-9).all() and (largest > 0.9 * limits).all()
    assert (smallest >= -limits - 1e-9).all() and (smallest < -0.9 * limits).all()


def test_colors_stay_within_their_ranges() -> None:
    def draw(field: str) -> list[tuple[npt.NDArray[np.float64], float]]:
        config = AugmentConfig(**NOTHING | {field: 0.2})
        return [draw_colors(config, np.random.default_rng(seed)) for seed in range(200)]

    def check_range(found: list[float], least: float, most: float) -> None:
        margin = 0.05 * (most - least)
        assert least - 1e-9 <= min(found) < least + margin and most - margin < max(found) <= most + 1e-9

    contrasts = [matrix for matrix, _ in draw("contrast")]
    check_range([matrix[0, 0] for matrix in contrasts], 0.8, 1.2)
    for matrix in contrasts:  # mid-grey stays
        np.testing.assert_allclose(matrix @ [127.5, 127.5, 127.5, 1], 127.5)
    # 0.2 of 255 is 51
    check_range([matrix[0, 3] for matrix, _ in draw("brightness")], -51, 51)
    # a row is luma + s (one - luma): from one row to the next its own channel changes by s
    saturations = [matrix for matrix, _ in draw("saturation")]
    check_range([matrix[0, 0] - matrix[1, 0] for matrix in saturations], 0.8, 1.2)
    for matrix in saturations:  # every grey stays
        np.testing.assert_allclose(matrix @ [90, 90, 90, 1], 90)
    check_range([gamma for _, gamma in draw("gamma")], 1 / 1.2, 1.2)


def test_recolor_by_hand() -> None:
    # 0.2 brighter is 51 levels: 100 + 51, 220 + 51 saturates, 0 + 51
    # contrast 1.2 about 127.5: 1.2 * 100 - 25.5 = 94.5 (to even: 94), 1.2 * 220 - 25.5 = 238.5 (238), -25.5
    for factor, plus, wanted in ((1, 51, [151, 255, 51]), (1.2, -25.5, [94, 238, 0])):
        matrix = np.column_stack([factor * np.eye(3), np.full(3, plus)])
        made = recolor(np.array([[[100, 220, 0]]], dtype=np.uint8), matrix, 1.0)
        np.testing.assert_allclose(made[0, 0], wanted, atol=1)  # .5 may be rounded either way


def find_corner(whole: tuple[Image, Image], crop: tuple[Image, Image], within: int) -> tuple[int, int]:
    """Returns the one (top, left) at which both crops lie in their wholes, within some grey levels."""
    (height, width), (crop_height, crop_width) = whole[0].shape[:2], crop[0].shape[:2]
    corners = [
        (top, left)
        for top, left in product(range(height - crop_height + 1), range(width - crop_width + 1))
        if all(
            np.abs(large[top : top + crop_height, left : left + crop_width].astype(int) - small).max() <= within
            for large, small in zip(whole, crop, strict=True)
        )
    ]
    assert len(corners) == 1
    return corners[0]


@pytest.mark.parametrize("num_classes", [1, 2])
@pytest.mark.parametrize("size_hw", [(40, 57), (57, 40)])
def test_a_crop_is_cut_from_the_changed_image(size_hw: tuple[int, int], num_classes: int) -> None:
    """Bit by bit where no pixel is interpolated; else within what cv2 rounds, as the shifted matrix is rounded again.

    Within one grey level for the four channels of one class. For two it rounds places to 1/32 px: 8 levels in noise.
    """
    rounded = 1 if num_classes == 1 else 8
    image, target = draw_pair(size_hw, num_classes)
    exact = AugmentConfig(**NOTHING | {"hflip": 0.5, "vflip": 0.5, "quarter_turns": True, "warp_probability": 0.5})
    mild = AugmentConfig(vflip=0.5, quarter_turns=True)
    wild = mild.model_copy(update={"shift": 1.0, "scale": 1.0, "aspect": 1.0, "rotate_deg": 180.0})
    for config, within in ((exact, 0), (mild, rounded), (wild, rounded)):
        config = config.model_copy(update={"color_probability": 0.0})
        corners = set()
        for seed in range(25):
            whole, crop = (augment(image, target, config, np.random.default_rng(seed), hw) for hw in (None, (33, 33)))
            assert [array.shape for array in crop] == [(33, 33, 3), (33, 33, num_classes)]
            corners.add(find_corner(whole, crop, within))
        assert len(corners) > 15  # of 8 * 25


def test_crops_without_changes_are_slices() -> None:
    image, target = draw_pair((33, 34))
    crops = [crop_pair(image, target, (32, 32), np.random.default_rng(seed)) for seed in range(40)]
    assert {find_corner((image, target), crop, 0) for crop in crops} == set(product(range(2), range(3)))
    assert all(np.shares_memory(crop[0], image) for crop in crops)  # nothing is copied


@pytest.mark.parametrize("config", [None, AugmentConfig(quarter_turns=True, vflip=0.5, shift=0)])
@pytest.mark.parametrize(("y", "x"), [(12, 15), (40, 85), (66, 20)])
def test_crops_show_an_object_where_that_is_asked(config: AugmentConfig | None, y: int, x: int) -> None:
    image, target = (np.zeros((80, 100, 3), np.uint8) for _ in range(2))
    target[..., 2] = 255  # ignored pixels, which are no object
    target[y - 1 : y + 2, x - 1 : x + 2, 1] = 255
    for rng in map(np.random.default_rng, range(40)):
        if config is None:
            _, crop = crop_pair(image, target, (32, 32), rng, 1.0, 2)
        else:
            _, crop = augment(image, target, config, rng, (32, 32), 1.0, 2)
        assert crop.shape == (32, 32, 3) and crop[..., :2].any()
    empty = np.zeros_like(target)
    assert not augment(image, empty, AugmentConfig(), np.random.default_rng(0), (32, 32), 1.0)[1].any()


@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("field", ["blur", "noise", "jpeg", "dropout"])
def test_what_spoils_an_image_leaves_its_mask(field: str, channels: int) -> None:
    rng = np.random.default_rng(1)
    image, target = (rng.integers(0, 256, (40, 64, count), dtype=np.uint8) for count in (channels, 2))
    image.flags.writeable = False
    config = AugmentConfig(**NOTHING | {field: 1.0})
    changed, mask = augment(image, target, config, np.random.default_rng(3))
    assert (changed.shape, changed.dtype) == (image.shape, np.uint8)
    assert mask.tobytes() == target.tobytes()
    assert (changed != image).mean() > (0.003 if field == "dropout" else 0.5)
    assert abs(float(changed.mean()) - float(image.mean())) < 3


def test_dropout_hides_one_to_four_boxes_and_the_rest_stays() -> None:
    image = np.zeros((64, 96, 3), dtype=np.uint8)
    image[:, ::2] = 200  # the mean, 100, stands nowhere
    counts = set()
    for seed in range(60):
        changed = degrade(image, AugmentConfig(**NOTHING | {"dropout": 1.0}), np.random.default_rng(seed))
        hidden = (changed == 100).all(axis=-1)
        assert (changed == image)[~hidden].all()
        assert 4 * 6 <= hidden.sum() <= 4 * 16 * 24  # a sixteenth to a quarter of each side
        counts.add(int(cv2.connectedComponents(hidden.astype(np.uint8))[0]) - 1)
    assert counts == {1, 2, 3, 4}


def test_elastic_changes_distort_image_and_mask_alike() -> None:
    image, target = draw_blob((96, 128))
    for seed in range(5):
        distorted, mask = augment(
            image, target, AugmentConfig(**NOTHING | {"elastic_px": 6.0}), np.random.default_rng(seed)
        )
        bright = (distorted[..., 0] > 125).astype(np.uint8)
        assert dice(bright, (mask[..., 0] >= 128).astype(np.uint8)) > 0.99
        assert 0.7 < dice(bright, (target[..., 0] >= 128).astype(np.uint8)) < 0.995


def test_elastic_changes_move_a_pixel_by_the_largest_shift_at_most() -> None:
    rows, columns = np.mgrid[:90, :200].astype(np.uint8)
    image = np.stack([rows, columns, rows], axis=-1)
    for seed in range(10):
        moved, _ = distort_pair(image, image[..., :1], 5.0, np.random.default_rng(seed))
        apart = np.abs(moved[5:-5, 5:-5].astype(int) - image[5:-5, 5:-5])
        assert 1 < apart.max() <= 5


def test_a_change_that_is_switched_on_leaves_the_others_as_they_were() -> None:
    image, target = draw_blob((64, 96))
    base = augment(image, target, AugmentConfig(), np.random.default_rng(7))
    config = AugmentConfig(dropout=1.0)
    changed = augment(image, target, config, np.random.default_rng(7))
    assert changed[1].tobytes() == base[1].tobytes()
    assert 0.5 < (changed[0] == base[0]).mean() < 1
