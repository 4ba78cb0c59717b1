import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unets.data.samples import IGNORE
from unets.ensemble.mask_scores import score_recipes
from unets.ensemble.recipe import Recipe
from unets.ensemble.weights import PixelSample, count_pixels, draw_pixels, select_members
from unets.metrics.masks import find_metric

HALF, DICE = Recipe(weights=(0.5, 0.5)), find_metric("dice")


def row(*values: int) -> npt.NDArray[np.uint8]:
    return np.array([values], dtype=np.uint8)[..., None]


def test_a_sample_holds_the_pixels_that_members_give_different_classes() -> None:
    truth = np.array([[1, 1, 0, 0]], dtype=np.uint8)
    # 0.5 is foreground, as it is of a mask: of 127 and 128 only 128 reaches it
    sample = draw_pixels(truth, [row(255, 127, 200, 0), row(128, 128, 201, 100)], 10, HALF)
    np.testing.assert_allclose(sample.probs[:, :, 0], [[127 / 255, 128 / 255]], atol=1e-6)
    assert sample.is_true.tolist() == sample.is_known.tolist() == [[True]]
    # of the others both say class 1 to the first, which is true, and to the third, which is not
    assert (sample.agreed.tolist(), sample.true_px.tolist()) == ([[[1, 2]]], [[2]])


def test_pixels_are_drawn_about_the_threshold() -> None:
    truth, maps = np.array([[1, 1, 0]], dtype=np.uint8), [row(255, 140, 60), row(160, 110, 30)]
    for threshold, expected in ((0.5, [140]), (0.7, [255]), (0.2, [60]), (0.0, [])):
        drawn = draw_pixels(truth, maps, 10, HALF.change(threshold=threshold))
        assert (drawn.probs[:, 0, 0] * 255).round().tolist() == expected


def test_ignored_pixels_count_nowhere() -> None:
    truth = np.array([[1, IGNORE, IGNORE, 0]], dtype=np.uint8)
    sample = draw_pixels(truth, [row(255, 255, 255, 0), row(255, 255, 0, 255)], 10, HALF)
    assert sample.is_known.tolist() == [[False], [True]]
    assert (sample.agreed.tolist(), sample.true_px.tolist()) == ([[[1, 1]]], [[1]])


@pytest.mark.parametrize("metric", ["dice", "iou", "global_dice", "f2"])
@pytest.mark.parametrize("overlapping", [False, True])
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), num_classes=st.integers(1, 3))
def test_a_whole_sample_scores_weights_as_their_masks_do(
    metric: str, overlapping: bool, seed: int, num_classes: int
) -> None:
    rng = np.random.default_rng(seed)
    recipe = Recipe(weights=(0.2871, 0.7129), threshold=0.4507, overlapping=overlapping)  # means of levels never tie
    samples, fractions = [], []
    for _ in range(3):
        maps = [rng.integers(0, 255 // num_classes, (6, 7, num_classes), dtype=np.uint8) for _ in range(2)]
        shape = (6, 7, num_classes) if overlapping else (6, 7)
        truth = rng.integers(0, 2 if overlapping else num_classes + 1, shape, dtype=np.uint8)
        truth[0, 0] = IGNORE
        samples.append(draw_pixels(truth, maps, 100, recipe))
        fractions.append(score_recipes(truth, maps, [recipe], find_metric(metric))[0])
    sample = PixelSample.join(samples)
    probs = np.asarray(sample.probs[:, 0] * np.float32(0.2871) + sample.probs[:, 1] * np.float32(0.7129))
    expected = find_metric(metric).to_values(np.stack(fractions)).mean()
    assert sample.score(probs, recipe, find_metric(metric)) == pytest.approx(expected, abs=0.02)


def test_the_better_member_is_chosen() -> None:
    truth = np.array([[1, 1, 1, 0, 0, 0]], dtype=np.uint8)
    right, wrong = row(255, 255, 255, 0, 0, 0), row(0, 255, 255, 255, 255, 0)
    assert select_members(draw_pixels(truth, [wrong, right], 10, HALF), HALF, DICE) == (0.0, 1.0)
    # members that are alike: the first, and no more rounds than needed
    assert select_members(draw_pixels(truth, [right, right], 10, HALF), HALF, DICE) == (1.0, 0.0)


def test_empty_images_count_no_more_than_others() -> None:
    """Of 100 images 3 are empty, where A marks 300 pixels; of the others B gets 300 of 3,600 wrong. A alone scores .97,
    B about .96: a wrong pixel of an empty image must not cost as much as a whole object.
    """
    rng = np.random.default_rng(0)
    samples, images = [], []
    for number in range(100):
        truth = np.zeros((101, 101), dtype=np.uint8)
        if number >= 3:
            truth[20:80, 20:80] = 1
        first, second = truth.copy(), truth.copy()
        wrong = rng.choice(truth.size, 300, replace=False)
        spoiled = first if number < 3 else second
        spoiled.ravel()[wrong] = 1 - spoiled.ravel()[wrong]
        maps = [255 * mask[..., None] for mask in (first, second)]
        images.append((truth, maps))
        samples.append(draw_pixels(truth, maps, count_pixels(100), HALF))
    weights = select_members(PixelSample.join(samples), HALF, DICE)
    score = {
        chosen: np.mean(
            [DICE.to_values(score_recipes(*image, [HALF.change(weights=chosen)], DICE))[0] for image in images]
        )
        for chosen in (weights, (1.0, 0.0), (0.0, 1.0))
    }
    assert score[weights] == max(score.values()) == pytest.approx(0.97)
