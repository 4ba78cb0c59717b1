import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unets.config import Postprocessing
from unets.ensemble.blend import blend
from unets.ensemble.postprocess import blur, blur_reach, clean_mask, to_masks
from unets.ensemble.recipe import Recipe, make_mask, score_recipes
from unets.ensemble.score import score_mask
from unets.metrics.masks import METRICS, dice

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
    averaging=st.sampled_from(["probability", "logit"]),
    threshold=st.sampled_from([0.4, 0.5, 0.62]),
    postprocessing=st.builds(
        Postprocessing,
        blur_px=st.sampled_from([0.0, 1.0]),
        max_hole_px=st.sampled_from([0, 3, None]),
        max_components=st.sampled_from([None, 1, 2]),
        min_area_px=st.sampled_from([0, 60, 10**4]),
    ),
)


def test_a_mask_is_blended_smoothed_cut_and_cleaned() -> None:
    maps, steps = make_maps(0, 2), Postprocessing(blur_px=1.0, max_hole_px=4, max_components=2, min_area_px=20)
    recipe = Recipe(weights=(1, 2, 3), averaging="logit", threshold=0.45, postprocessing=steps)
    probs = blur(blend(maps, (1, 2, 3), FULL_HW, "logit"), 1.0)
    expected = clean_mask(to_masks(probs, 0.45), steps)
    np.testing.assert_array_equal(make_mask(recipe, maps, FULL_HW), expected)
    assert expected.any()


@pytest.mark.parametrize("metric", ["dice", "iou", "own"])
@settings(deadline=None, max_examples=40)
@given(
    recipes=st.lists(RECIPES, min_size=1, max_size=12, unique=True), seed=st.integers(0, 99), classes=st.integers(1, 2)
)
def test_many_recipes_score_as_each_alone(metric: str, recipes: list[Recipe], seed: int, classes: int) -> None:
    maps, truth = make_maps(seed, classes), make_truth(seed, classes)
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(METRICS, "own", dice)  # one that no short cut knows
        scores = score_recipes(truth, maps, recipes, metric=metric)
        for recipe, score in zip(recipes, scores, strict=True):
            mask = make_mask(recipe, maps, FULL_HW)
            assert score == pytest.approx(score_mask(truth, mask, num_classes=classes, metric=metric), abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(recipes=st.lists(RECIPES, min_size=1, max_size=8, unique=True), seed=st.integers(0, 99), top=st.integers(0, 60))
def test_the_background_around_an_object_changes_no_score(recipes: list[Recipe], seed: int, top: int) -> None:
    """Of an object at or near the photo's border, in a photo that is far larger, with sharp edges."""
    maps = [np.pad(probs_u8_hwc, ((top, 80 - top), (3, 100), (0, 0))) for probs_u8_hwc in make_maps(seed, 1)]
    maps = [probs_u8_hwc[:88, :113] for probs_u8_hwc in maps]  # of one size, so that they still lie over one another
    full_hw = (176, 226)
    truth = np.zeros(full_hw, dtype=np.uint8)
    truth[2 * top : 2 * top + 24, 6:36] = make_truth(seed, 1)
    for recipe, score in zip(recipes, score_recipes(truth, maps, recipes, metric="dice"), strict=True):
        mask = make_mask(recipe, maps, full_hw)
        assert score == score_mask(truth, mask, num_classes=1, metric="dice")


def test_of_a_photo_without_anything_each_recipe_scores_one() -> None:
    empty, steps = [np.zeros((12, 15, 1), dtype=np.uint8)], Postprocessing(blur_px=2.0, max_hole_px=None)
    recipes = [Recipe(weights=(1.0,)), Recipe(weights=(1.0,), postprocessing=steps)]
    assert score_recipes(np.zeros(FULL_HW, dtype=np.uint8), empty, recipes, metric="dice").tolist() == [1.0, 1.0]


@given(sigma_px=st.floats(0.1, 30))
def test_a_blur_looks_no_further_than_it_says(sigma_px: float) -> None:
    reach = blur_reach(sigma_px)
    probs = np.zeros((1, 2 * reach + 3, 1), dtype=np.float32)
    probs[0, reach + 1] = 1
    assert not blur(probs, sigma_px)[0, [0, -1]].any()
