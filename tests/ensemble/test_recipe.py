import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trained_competition import blend
from unets.config import Postprocessing, Threshold
from unets.data.samples import IGNORE
from unets.ensemble.mask_scores import blend_small, compare_members, score_recipes
from unets.ensemble.recipe import Recipe, describe_threshold, enlarge_map, make_mask
from unets.metrics.masks import find_metric
from unets.metrics.pixels import pair_masks
from unets.prediction.maps import from_u8

FULL_HW = (24, 30)


def make_maps(seed: int, num_classes: int) -> list[npt.NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, num_classes), dtype=np.uint8) for size in ((12, 15), (12, 15), (8, 10))]


def make_truth(seed: int, num_classes: int) -> npt.NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, num_classes + 1, (6, 6), dtype=np.uint8)
    return np.kron(coarse, np.ones((4, 5), dtype=np.uint8))


RECIPES = st.builds(
    Recipe,
    weights=st.sampled_from([(1.0, 1.0, 1.0), (0.2, 0.0, 0.8)]),
    threshold=st.sampled_from([0.4, 0.5, 0.62, (0.4, 0.55, 0.62)]),
    postprocessing=st.builds(
        Postprocessing,
        blur_px=st.sampled_from([0.0, 1.0]),
        max_hole_px=st.sampled_from([0, 3, None]),
        max_components=st.sampled_from([None, 1, 2]),
        min_area_px=st.sampled_from([0, 60, 10**4]),
        neck_px=st.sampled_from([0, 4]),
        min_object_px=st.sampled_from([0, 30]),
    ),
)


def cut_to(threshold: Threshold, num_classes: int) -> Threshold:
    return threshold[:num_classes] if isinstance(threshold, tuple) else threshold


@pytest.mark.parametrize("metric", ["dice", "iou", "f2", "surface_dice_1px", "ap_50"])
@pytest.mark.parametrize("overlapping", [False, True])
@settings(deadline=None, max_examples=25)
@given(
    recipes=st.lists(RECIPES, min_size=1, max_size=8, unique=True), seed=st.integers(0, 99), classes=st.integers(1, 3)
)
def test_many_recipes_score_as_each_alone(
    metric: str, overlapping: bool, recipes: list[Recipe], seed: int, classes: int
) -> None:
    """Ignored pixels and all: what is evaluated is the mask that is sent."""
    maps, truth = make_maps(seed, classes), make_truth(seed, 1 if overlapping else classes)
    if overlapping:
        truth = np.stack([np.roll(truth, index, axis=0) for index in range(classes)], axis=-1)
        recipes = [recipe.change(overlapping=True) for recipe in recipes]
    recipes = list({one.change(threshold=cut_to(one.threshold, classes)): None for one in recipes})
    truth[5:12, 3:9] = IGNORE
    fractions = score_recipes(truth, maps, recipes, find_metric(metric))
    for recipe, scored in zip(recipes, fractions, strict=True):
        pairs = pair_masks(truth, make_mask(recipe, maps, FULL_HW), classes)
        np.testing.assert_allclose(scored, [find_metric(metric).measure(*pair) for pair in pairs], atol=1e-12)


def test_the_area_of_a_small_mask_is_that_of_the_mask_that_is_sent() -> None:
    """100 predicted pixels, 60 of them ignored: with a least area of 100 the mask stays, whole as it is sent."""
    truth, probs = np.zeros((40, 40), np.uint8), np.zeros((40, 40, 1), np.uint8)
    truth[5:10, 5:13], truth[10:16, 5:15] = 1, IGNORE
    probs[5:10, 5:13], probs[10:16, 5:15] = 255, 255
    for area_px, expected in ((0, 1.0), (100, 1.0), (101, 0.0)):
        recipe = Recipe(weights=(1.0,), postprocessing=Postprocessing(min_area_px=area_px))
        metric = find_metric("dice")
        assert metric.to_values(score_recipes(truth, [probs], [recipe], metric))[0, 0] == expected


def test_parted_objects_are_found_by_their_precision() -> None:
    """Two squares that a bridge joins are one object of IoU 0.5 with either; parted, both are found."""
    truth, probs = np.zeros((12, 26), np.uint8), np.zeros((12, 26, 1), np.uint8)
    truth[1:10, 1:10] = truth[1:10, 12:21] = 1
    probs[truth == 1] = probs[5, 10:12] = 255
    recipes = [Recipe(weights=(1.0,), postprocessing=Postprocessing(neck_px=px)) for px in (0, 4)]
    metric = find_metric("ap_75")
    assert metric.to_values(score_recipes(truth, [probs], recipes, metric)).tolist() == [[0.0], [1.0]]


def test_the_mean_is_weighted() -> None:
    low, high = np.full((2, 2, 1), 51, dtype=np.uint8), np.full((2, 2, 1), 255, dtype=np.uint8)
    # (1 x 51 + 3 x 255) / 4 / 255 = 816 / 1020 = 0.8
    np.testing.assert_allclose(blend([low, high], [1, 3], (2, 2)), np.full((2, 2, 1), 0.8), atol=1e-6)
    np.testing.assert_allclose(blend([low, high], [0, 0.5], (2, 2)), np.ones((2, 2, 1)), atol=1e-6)


@pytest.mark.parametrize("num_classes", [1, 3])
def test_averaging_first_is_enlarging_first(num_classes: int) -> None:
    rng = np.random.default_rng(0)
    sizes = [(8, 12), (8, 12), (16, 20)]
    maps = [rng.integers(0, 256, (*size, num_classes), dtype=np.uint8) for size in sizes]
    weights = [0.2, 0.3, 0.5]
    expected = sum(w * enlarge_map(from_u8(m), (37, 53)) for w, m in zip(weights, maps, strict=True))
    blended = blend(maps, weights, (37, 53))
    assert (blended.shape, blended.dtype) == ((37, 53, num_classes), np.float32)
    np.testing.assert_allclose(blended, expected, atol=1e-6)


def draw_columns(columns: slice, size: int = 4) -> np.ndarray:
    probs_u8_hwc = np.zeros((size, size, 1), dtype=np.uint8)
    probs_u8_hwc[:, columns] = 255
    return probs_u8_hwc


def test_a_column_of_two_that_one_member_lacks() -> None:
    maps, recipe = [draw_columns(slice(0, 2)), draw_columns(slice(0, 1))], Recipe(weights=(0.5, 0.5))
    difference, agreement = compare_members(maps, recipe, blend_small(maps, recipe))
    # The blend is 1, 0.5, 0, 0: it has two columns at 0.5. The second member shares one: 2 x 4 / (4 + 8).
    assert agreement == pytest.approx(2 / 3)
    assert difference == pytest.approx(0.5 / 4)


def test_thresholds_are_named_by_their_classes() -> None:
    assert describe_threshold(0.5, ("cat", "dog")) == "0.5"
    assert describe_threshold((0.42, 0.5)) == "0.42 0.5"
    assert describe_threshold((0.42, 0.5), ("cat",)) == "0.42 0.5"  # of a file that is damaged
    assert describe_threshold((0.42, 0.5), ("cat", "dog")) == "0.42 cat, 0.5 dog"
