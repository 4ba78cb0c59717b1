"""Which candidates are kept, on scores by hand: no map and no net is needed."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from unets.config import EnsembleConfig, Postprocessing
from unets.ensemble.recipe import Recipe
from unets.ensemble.selection import MIN_GAIN, Candidate, PartOf, Selection, list_candidates, select, split_parts
from unets.metrics.masks import find_metric

START = Recipe(weights=(1.0,))
THRESHOLDS = (0.5, 0.4, 0.6)
FIT = Candidate(
    what="threshold",
    propose=lambda recipe, _: [recipe.model_copy(update={"threshold": threshold}) for threshold in THRESHOLDS],
)
BLURRED = Postprocessing(blur_px=1.0)
BLUR = Candidate(what="blur_px", propose=lambda recipe, _: [recipe.change(postprocessing=BLURRED)])
ScoreOne = Callable[[int, Recipe], float | list[float]]  # of an image under a recipe, or of each class


class Counter:
    """Scores images by a rule. Counts the passes."""

    def __init__(self, part_of: PartOf, rule: ScoreOne) -> None:
        self.part_of, self.rule = part_of, rule
        self.passes: list[int] = []  # recipes of each

    def __call__(self, recipes: Sequence[Recipe]) -> np.ndarray:
        self.passes.append(len(recipes))
        values = [[np.atleast_1d(self.rule(image, one)) for one in recipes] for image in range(len(self.part_of))]
        return np.stack([values, np.ones_like(values)], axis=-1)


def run(
    candidates: Sequence[Candidate], start: Recipe, part_of: PartOf, groups: Sequence[str], score: Counter
) -> Selection:
    return select(candidates, start, part_of, groups, score, find_metric("dice"), ("one", "two"))


def make_groups(num_images: int) -> list[str]:
    return [f"g{photo}" for photo in range(num_images)]


def test_the_groups_of_one_fold_are_dealt_whole_to_five_parts() -> None:
    groups = [f"g{photo // 3}" for photo in range(36)]  # 12 groups
    parts = split_parts(groups, [2] * 36)
    assert (np.diff(parts.reshape(12, 3), axis=1) == 0).all()
    assert sorted(np.bincount(parts.reshape(12, 3)[:, 0]).tolist()) == [2, 2, 2, 3, 3]
    np.testing.assert_array_equal(parts, split_parts(groups, [2] * 36))
    assert split_parts(["a", "b", "b"], [0, 0, 0]).max() == 1  # two groups, two parts
    assert split_parts(["a", "a"], [0, 0]).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("gains", "is_kept"),
    [
        ([0.01, 0.02, 0.01, 0.03, 0.02, 0.01], True),
        ([0.01, 0.02, -0.03, 0.03, -0.02, 0.01], False),  # 0.0033 in the mean, but of both signs
        ([-0.01, -0.02, -0.01, -0.03, -0.02, -0.01], False),  # sure to be worse
        ([0.0] * 6, False),
    ],
)
def test_a_candidate_is_kept_where_its_gain_is_sure(gains: list[float], is_kept: bool) -> None:
    part_of = np.arange(6) % 3
    score = Counter(part_of, lambda photo, recipe: 0.9 + gains[photo] * (recipe.postprocessing == BLURRED))
    found = run([BLUR], START, part_of, make_groups(6), score)
    assert found.results[0].is_kept is is_kept
    assert found.results[0].gain.mean == pytest.approx(np.mean(gains), abs=1e-12)
    assert found.recipe.postprocessing == (BLURRED if is_kept else Postprocessing())
    assert set(found.recipes_by_part) == {found.recipe}


@pytest.mark.parametrize(("num_groups", "is_kept"), [(2, False), (4, False), (5, True)])
def test_below_five_groups_nothing_is_tried(num_groups: int, is_kept: bool) -> None:
    """Every group gains: of four that happens by chance once in 16 times, and the gate is to let one in 40 through."""
    groups = [f"g{photo // 3}" for photo in range(3 * num_groups)]  # groups count, not photos
    part_of = split_parts(groups, [0] * len(groups))
    score = Counter(part_of, lambda photo, recipe: 0.9 + 0.01 * (photo + 1) * (recipe.postprocessing == BLURRED))
    found = run([BLUR], START, part_of, groups, score)
    assert [result.is_kept for result in found.results] == [True] * is_kept
    assert (found.recipe.postprocessing == BLURRED) is is_kept


def test_what_a_fit_gains_on_its_own_photos_is_no_gain() -> None:
    """The leak by name. Each part likes another threshold: fitted on all photos, 0.4 gains 0.1 in the mean; fitted on
    the other parts it loses.
    """
    part_of = np.repeat([0, 1, 2], 4)
    # photos of part 0 gain 0.36 at 0.4, those of 1 and 2 lose 0.03; at 0.6 nothing candidates
    score = Counter(
        part_of, lambda photo, recipe: 0.5 + (recipe.threshold == 0.4) * (0.36 if part_of[photo] == 0 else -0.03)
    )
    found = run([FIT], START, part_of, make_groups(12), score)
    (result,) = found.results
    in_sample = np.mean([score.rule(photo, START.model_copy(update={"threshold": 0.4})) - 0.5 for photo in range(12)])
    assert in_sample == pytest.approx(0.1)
    assert (result.value, result.values_by_part) == ("0.4", ("0.5", "0.4", "0.4"))
    # part 0 keeps 0.5, as parts 1 and 2 lose at 0.4; these are evaluated at 0.4, which part 0 made them take
    assert result.gain.mean == pytest.approx((0 - 0.03 - 0.03) / 3)
    assert not result.is_kept
    assert found.recipe == START


def test_the_rest_is_fitted_and_evaluated_on_what_was_kept() -> None:
    part_of = np.arange(6) % 2
    weights = {0: (0.1,), 1: (0.2,), None: (0.3,)}  # by the part that they are fitted without
    candidate = Candidate(what="weights", propose=lambda recipe, left: [recipe.change(weights=weights[left])])

    # 0.4 helps with the new weights alone
    def rule(image: int, recipe: Recipe) -> float:
        has_weights = recipe.weights != (1.0,)
        return 0.8 + 0.05 * has_weights + 0.01 * (has_weights and recipe.threshold == 0.4)

    score = Counter(part_of, rule)
    found = run([BLUR, FIT, candidate], START, part_of, make_groups(6), score)
    assert [(result.what, result.is_kept) for result in found.results] == [
        ("weights", True),
        ("threshold", True),
        ("blur_px", False),
    ]
    assert found.recipe == Recipe(weights=(0.3,), threshold=0.4)
    assert found.recipes_by_part == (Recipe(weights=(0.1,), threshold=0.4), Recipe(weights=(0.2,), threshold=0.4))
    # A pass for all three, one for the two that were left, one for the last. In the first: the start, blurred, two more
    # thresholds, three weights; in the second: three weights at three thresholds and blurred.
    assert score.passes == [7, 12, 6]


def test_of_eight_useless_candidates_one_in_forty_fits_keeps_any() -> None:
    """One at a time at 2.5 %, 18 % of the fits would keep something useless."""
    values = [0.1 * number for number in range(1, 9)]
    candidates = [
        Candidate(what="threshold", propose=lambda recipe, _, value=value: [recipe.change(threshold=value)])
        for value in values
    ]
    num_fits, num_wrong, num_single = 100, 0, 0
    for seed in range(num_fits):
        noise = np.random.default_rng(seed).normal(0, 0.01, (20, 8))
        score = Counter(
            np.arange(20) % 5,
            lambda image, recipe, noise=noise: (
                0.5 + (noise[image, values.index(recipe.threshold)] if recipe.threshold in values else 0.0)
            ),
        )
        results = run(candidates, START.change(threshold=0.95), score.part_of, make_groups(20), score).results
        num_wrong += any(result.is_kept for result in results)
        num_single += any(result.p_value < 0.025 for result in results)
    assert num_wrong <= 0.08 * num_fits  # 2.5 expected, with a standard deviation of 1.6
    assert num_single > 0.1 * num_fits


def test_steps_are_tried_a_class_at_a_time() -> None:
    """Emptying small masks helps the second class; the first, and so both at once, would lose by it."""
    part_of, config = np.arange(12) % 3, EnsembleConfig(experiments=("a",), threshold=0.5)
    candidates = list_candidates(config, START, [], part_of, find_metric("dice"), ("one", "two"))
    assert [one.of_class for one in candidates if one.what == "min_area_px"] == ["one", "two"]

    def rule(image: int, recipe: Recipe) -> list[float]:
        first, second = (recipe.postprocessing.of_class(index).min_area_px for index in range(2))
        return [0.9 - 0.1 * (first > 0), 0.8 + image / 1000 * (second == 100)]

    found = run(candidates, START, part_of, make_groups(12), Counter(part_of, rule))
    kept = [(result.what, result.of_class, result.value) for result in found.results if result.is_kept]
    assert kept == [("min_area_px", "two", "100")]
    assert found.recipe.postprocessing == Postprocessing(min_area_px=(0, 100))


def test_a_gain_must_be_worth_a_step() -> None:
    """A blur was kept for a gain of 0.0000099, of which nobody could doubt that it is one."""
    part_of = np.arange(12) % 3
    for gain, is_kept in ((MIN_GAIN / 5, False), (MIN_GAIN * 2, True)):
        score = Counter(
            part_of,
            lambda image, recipe, gain=gain: 0.9 + gain * (1 + image / 100) * (recipe.postprocessing == BLURRED),
        )
        (result,) = run([BLUR], START, part_of, make_groups(12), score).results
        assert (result.is_kept, result.p_value < 0.001) == (is_kept, True)
        assert result.reason == ("kept" if is_kept else "less than 0.00005")


def test_no_class_may_lose() -> None:
    part_of = np.arange(12) % 3
    for loss, is_kept in ((0.01, False), (0.0, True)):
        score = Counter(
            part_of,
            lambda image, recipe, loss=loss: (
                [0.95 + image / 1000, 0.9 - loss] if recipe.postprocessing == BLURRED else [0.9, 0.9]
            ),
        )
        (result,) = run([BLUR], START, part_of, make_groups(12), score).results
        assert result.gain.mean > 0.01 and result.is_kept is is_kept
        assert result.reason == ("kept" if is_kept else "class two loses")
