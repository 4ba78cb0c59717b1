import math
from io import BytesIO

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from unets.data.geometry import SizeHW
from unets.data.samples import IGNORE
from unets.ensemble.recipe import Recipe, make_mask
from unets.pages.gallery import encode_planes, list_planes
from unets.pages.measure import DISTANCES_PX, THRESHOLDS, count_errors, measure_image, score_thresholds

MapU8 = npt.NDArray[np.uint8]


def measure(recipe: Recipe, maps: list[MapU8], full_hw: SizeHW) -> dict[str, float]:
    return measure_image(make_mask(recipe, maps, full_hw), recipe, maps)


def build(*weights: float) -> Recipe:
    return Recipe(weights=weights)


def draw(*boxes: tuple[int, int, int, int], size: int = 8, value: int = 255) -> MapU8:
    """Draws boxes of (top, left, height, width)."""
    probs_u8_hwc = np.zeros((size, size, 1), dtype=np.uint8)
    for top, left, height, width in boxes:
        probs_u8_hwc[top : top + height, left : left + width] = value
    return probs_u8_hwc


def test_two_members_that_differ_by_a_column() -> None:
    maps = [draw((2, 2, 4, 4)), draw((2, 3, 4, 4))]
    figures = measure(build(1, 1), maps, (8, 8))
    # Blended: 3 columns of 1 between 2 of 0.5, which is foreground: 4 x 5 pixels, 14 of them on the contour.
    assert figures["area"] == 20 / 64
    assert (figures["parts"], figures["holes"], figures["loose"]) == (1, 0, 0)
    assert figures["contour"] == pytest.approx(14 / math.sqrt(20))
    assert figures["band"] == pytest.approx(8 / 14)  # 2 columns of 4 pixels at 0.5
    assert figures["difference"] == pytest.approx(8 * 0.5 / 64)  # each member, at those 8 pixels
    assert figures["agreement"] == pytest.approx(2 * 16 / (16 + 20))


def test_a_mask_of_nothing() -> None:
    figures = measure(build(1, 1), [draw((2, 2, 4, 4), value=100)] * 2, (8, 8))
    # All of it is uncertain, and there is no contour.
    expected = {"area": 0, "parts": 0, "contour": 0, "loose": 0, "band": 16, "agreement": 1}
    assert {name: figures[name] for name in expected} == expected


def test_masks_are_of_the_image_s_size_and_the_band_of_its_pixels() -> None:
    maps = [draw((0, 0, 8, 4), (0, 4, 8, 1))]
    maps[0][:, 4] = 128  # a column of 8 that is uncertain, a little above the threshold
    figures = measure(build(1), maps, (32, 32))
    # At 4 times the size, linearly between pixel centres: 0.5 is left a little right of the column's centre, at 18.
    assert figures["area"] == 18 / 32
    assert (figures["parts"], figures["contour"]) == (1, (2 * 18 + 2 * 32 - 4) / math.sqrt(18 * 32))
    assert figures["band"] == (8 / 64 * 32 * 32) / (2 * 18 + 2 * 32 - 4)


def test_classes_count_together() -> None:
    probs = np.concatenate([draw((0, 0, 2, 2)), draw((4, 4, 3, 3), (0, 6, 1, 1))], axis=-1)
    figures = measure(build(1), [probs], (8, 8))
    assert (figures["area"], figures["parts"], figures["loose"]) == (14 / 64, 3, 1 / 14)


def test_totals_by_hand() -> None:
    ground_truth_hw = np.zeros((8, 8), dtype=np.uint8)
    ground_truth_hw[0, :4], ground_truth_hw[7, :] = 1, IGNORE
    probs = np.zeros((8, 8, 1), dtype=np.uint8)
    probs[0, 0:2], probs[0, 2], probs[1, 0], probs[7, 0] = 255, 51, 204, 255  # 1, 1, 0.2, and 0.8 beside the object
    mask_hw = make_mask(build(1), [probs], (8, 8))
    mask_hw[4, 0] = 1  # a pixel far away
    totals = count_errors(ground_truth_hw, mask_hw, build(1), [probs], "dice")
    low, high = THRESHOLDS.index(0.1), THRESHOLDS.index(0.9)
    assert totals["pixels"][:, low].tolist() == [3, 4, 4] and totals["pixels"][:, high].tolist() == [2, 2, 4]
    assert score_thresholds(totals)[[low, high]].tolist() == pytest.approx([2 * 3 / 8, 2 * 2 / 6])
    # Every fourth row and column: (0, 0), (0, 4), (4, 0), (4, 4).
    assert totals["calibration"][0].tolist() == [3, *[0] * 8, 1] and totals["calibration"][1].tolist() == [*[0] * 9, 1]
    # Wrong: two pixels missed and one beside the object, all next to the contour; and one four pixels from it.
    assert totals["distances"].tolist() == [3, 0, 1, *[0] * (len(DISTANCES_PX) - 1)]
    assert totals["confusion"].tolist() == [[56 - 4 - 2, 2], [2, 2]]


@pytest.mark.parametrize(
    ("metric", "expected"), [("global_iou", (4 + 1 + 0) / (4 + 4 + 1)), ("iou", (1 + 1 / 4 + 0) / 3)]
)
def test_thresholds_score_images_as_the_metric_does(metric: str, expected: float) -> None:
    rows = []
    for num_true, num_found in ((4, 4), (4, 1), (0, 1)):
        ground_truth_hw, probs = np.zeros((1, 8), dtype=np.uint8), np.zeros((1, 8, 1), dtype=np.uint8)
        ground_truth_hw[0, :num_true], probs[0, :num_found] = 1, 255
        mask_hw = make_mask(build(1), [probs], (1, 8))
        rows.append(count_errors(ground_truth_hw, mask_hw, build(1), [probs], metric)["fractions"])
    assert score_thresholds({"fractions": np.sum(rows, axis=0)}).tolist() == pytest.approx([expected] * len(THRESHOLDS))


def test_errors_of_a_class_that_is_not_in_the_image_have_a_bin_and_overlapping_classes_no_confusion() -> None:
    probs = np.full((4, 4, 2), 255, dtype=np.uint8)
    recipe = build(1).change(overlapping=True)
    target_hwc = np.zeros((4, 4, 2), dtype=np.uint8)
    target_hwc[..., 0] = 1
    totals = count_errors(target_hwc, make_mask(recipe, [probs], (4, 4)), recipe, [probs], "dice")
    assert totals["distances"].tolist() == [*[0] * (len(DISTANCES_PX) + 1), 16] and totals["confusion"].size == 0


def test_planes_are_bits_the_ignored_pixels_last() -> None:
    ground_truth_hw = np.array([[0, 1, 2, IGNORE]], dtype=np.uint8)
    mask_hw = np.array([[1, 1, 0, 2]], dtype=np.uint8)
    planes = list_planes([ground_truth_hw, mask_hw], 2)
    picture = Image.open(BytesIO(encode_planes(planes, (1, 4))))
    assert picture.mode == "P" and picture.size == (4, 5)
    expected = ["0100", "0010", "1100", "0001", "0001"]
    alpha = np.array(picture.convert("RGBA"))[..., 3]
    assert ["".join("1" if value else "0" for value in row) for row in alpha] == expected
    small = Image.open(BytesIO(encode_planes(planes, (1, 2)))).convert("RGBA")
    assert (np.array(small)[..., 3] > 0).tolist() == [[True, False], [False, True], [True, False], *[[False, True]] * 2]
