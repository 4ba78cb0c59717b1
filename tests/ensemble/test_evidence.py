"""Which changes are kept, on scores by hand: no map and no net is needed."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from unets.ensemble.evidence import Change, PartOf, deal_parts, prove
from unets.ensemble.recipe import Recipe
from unets.ensemble.score import Scores

START = Recipe(weights=(1.0,))
THRESHOLDS = (0.5, 0.4, 0.6)
FIT = Change(
    what="threshold",
    propose=lambda recipe, _: [recipe.model_copy(update={"threshold": threshold}) for threshold in THRESHOLDS],
    describe=lambda recipe: str(recipe.threshold),
)
LOGIT = Change(
    what="averaging",
    propose=lambda recipe, _: [recipe.model_copy(update={"averaging": "logit"})],
    describe=lambda recipe: recipe.averaging,
)
ScoreOne = Callable[[int, Recipe], float]  # of a photo under a recipe


class Counter:
    """Scores photos by a rule; where a recipe is not asked for NaN. Counts the passes."""

    def __init__(self, part_of: PartOf, rule: ScoreOne) -> None:
        self.part_of, self.rule = part_of, rule
        self.passes: list[int] = []  # recipes of each

    def __call__(self, recipes: Sequence[Recipe], needed: Sequence[Sequence[int]]) -> Scores:
        self.passes.append(len(recipes))
        scores = np.full((len(self.part_of), len(recipes)), np.nan)
        for photo, part in enumerate(self.part_of):
            for column in needed[part]:
                scores[photo, column] = self.rule(photo, recipes[column])
        return scores


def make_groups(num_photos: int) -> list[str]:
    return [f"g{photo}" for photo in range(num_photos)]


def test_parts_are_the_folds() -> None:
    assert deal_parts(["a", "a", "b", "c"], [3, 3, 0, 3]).tolist() == [1, 1, 0, 1]


def test_the_groups_of_one_fold_are_dealt_whole_to_five_parts() -> None:
    groups = [f"g{photo // 3}" for photo in range(36)]  # 12 groups
    parts = deal_parts(groups, [2] * 36)
    assert (np.diff(parts.reshape(12, 3), axis=1) == 0).all()
    assert sorted(np.bincount(parts.reshape(12, 3)[:, 0]).tolist()) == [2, 2, 2, 3, 3]
    np.testing.assert_array_equal(parts, deal_parts(groups, [2] * 36))
    assert deal_parts(["a", "b", "b"], [0, 0, 0]).max() == 1  # two groups, two parts
    assert deal_parts(["a", "a"], [0, 0]).tolist() == [0, 0]


def test_a_gain_of_every_group_is_kept() -> None:
    part_of = np.arange(6) % 2
    score = Counter(part_of, lambda photo, recipe: 0.9 + 0.01 * (recipe.threshold == 0.6) + photo / 1000)
    proof = prove([FIT], START, part_of, make_groups(6), score)
    (trial,) = proof.trials
    assert (trial.is_kept, trial.value, trial.values_by_part) == (True, "0.6", ("0.6", "0.6"))
    assert trial.gain.mean == pytest.approx(0.01)
    assert proof.recipe.threshold == 0.6
    assert [recipe.threshold for recipe in proof.recipes_by_part] == [0.6, 0.6]


@pytest.mark.parametrize(
    ("gains", "is_kept"),
    [
        ([0.01, 0.02, 0.01, 0.03, 0.02, 0.01], True),
        ([0.01, 0.02, -0.03, 0.03, -0.02, 0.01], False),  # 0.0033 in the mean, but of both signs
        ([-0.01, -0.02, -0.01, -0.03, -0.02, -0.01], False),  # sure to be worse
        ([0.0] * 6, False),
    ],
)
def test_a_change_is_kept_where_the_interval_lies_above_zero(gains: list[float], is_kept: bool) -> None:
    part_of = np.arange(6) % 3
    score = Counter(part_of, lambda photo, recipe: 0.9 + gains[photo] * (recipe.averaging == "logit"))
    proof = prove([LOGIT], START, part_of, make_groups(6), score)
    assert proof.trials[0].is_kept is is_kept
    assert proof.trials[0].gain.mean == pytest.approx(np.mean(gains), abs=1e-12)
    assert proof.recipe.averaging == ("logit" if is_kept else "probability")
    assert {recipe.averaging for recipe in proof.recipes_by_part} == {proof.recipe.averaging}


@pytest.mark.parametrize(("num_groups", "is_kept"), [(2, False), (4, False), (5, True)])
def test_below_five_groups_nothing_is_kept(num_groups: int, is_kept: bool) -> None:
    """Every group gains: of four that happens by chance once in 16 times, and the gate is to let one in 40 through."""
    groups = [f"g{photo // 3}" for photo in range(3 * num_groups)]  # groups count, not photos
    part_of = deal_parts(groups, [0] * len(groups))
    score = Counter(part_of, lambda photo, recipe: 0.9 + 0.01 * (photo + 1) * (recipe.averaging == "logit"))
    proof = prove([LOGIT], START, part_of, groups, score)
    assert proof.trials[0].gain.low is not None and proof.trials[0].gain.low > 0
    assert proof.trials[0].is_kept is is_kept
    assert proof.recipe.averaging == ("logit" if is_kept else "probability")


def test_of_useless_changes_of_five_groups_one_in_forty_is_kept() -> None:
    """Gains of groups from a normal law around zero. By 2.5 and 97.5 percentiles, 7 in 100 would be kept."""
    part_of = np.arange(5)
    num_kept = 0
    for seed in range(400):
        gains = np.random.default_rng(seed).normal(0, 0.01, 5)
        score = Counter(part_of, lambda photo, recipe, gains=gains: gains[photo] * (recipe.averaging == "logit"))
        num_kept += prove([LOGIT], START, part_of, make_groups(5), score).trials[0].is_kept
    assert num_kept <= 20  # of 10 expected, with a standard deviation of 3


def test_what_a_fit_gains_on_its_own_photos_is_no_gain() -> None:
    """The leak by name. Each part likes another threshold: fitted on all photos, 0.4 gains 0.1 in the mean; fitted on
    the other parts it loses.
    """
    part_of = np.repeat([0, 1, 2], 4)
    # photos of part 0 gain 0.36 at 0.4, those of 1 and 2 lose 0.03; at 0.6 nothing changes
    score = Counter(
        part_of,
        lambda photo, recipe: 0.5 + (recipe.threshold == 0.4) * (0.36 if part_of[photo] == 0 else -0.03),
    )
    proof = prove([FIT], START, part_of, make_groups(12), score)
    (trial,) = proof.trials
    in_sample = np.mean([score.rule(photo, START.model_copy(update={"threshold": 0.4})) - 0.5 for photo in range(12)])
    assert in_sample == pytest.approx(0.1)
    assert (trial.value, trial.values_by_part) == ("0.4", ("0.5", "0.4", "0.4"))
    # part 0 keeps 0.5, as parts 1 and 2 lose at 0.4; these are judged at 0.4, which part 0 made them take
    assert trial.gain.mean == pytest.approx((0 - 0.03 - 0.03) / 3)
    assert not trial.is_kept
    assert proof.recipe == START


def test_noise_gains_in_sample_and_not_honestly() -> None:
    """The best of 41 by chance: in-sample its gain is always positive, honestly about zero."""
    values = [index / 40 for index in range(41)]
    change = Change(
        what="threshold",
        propose=lambda recipe, _: [recipe.model_copy(update={"threshold": value}) for value in values],
        describe=lambda recipe: str(recipe.threshold),
    )
    part_of, start = np.arange(100) % 5, Recipe(weights=(1.0,), threshold=0.0)
    in_sample, honest, num_kept = [], [], 0
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(0, 0.02, (100, 41))
        noise[:, 0] = 0
        score = Counter(part_of, lambda photo, recipe, noise=noise: noise[photo, values.index(recipe.threshold)])
        (trial,) = prove([change], start, part_of, make_groups(100), score).trials
        in_sample.append(noise[:, values.index(float(trial.value))].mean())
        honest.append(trial.gain.mean)
        num_kept += trial.is_kept
    assert min(in_sample) > 0.002  # a standard error
    assert abs(np.mean(honest)) < np.mean(in_sample) / 4
    assert num_kept <= 2


def test_each_part_s_own_fit_is_judged_and_no_other() -> None:
    """Weights come fitted for each part: photo by photo only those without its part may be looked at."""
    part_of = np.arange(6) % 2
    fitted = [(0.1,), (0.2,), (0.3,)]  # without part 0, without part 1, on all
    change = Change(
        what="weights",
        propose=lambda recipe, part: [recipe.model_copy(update={"weights": fitted[part]})],
        describe=lambda recipe: str(recipe.weights[0]),
    )

    def rule(photo: int, recipe: Recipe) -> float:
        assert recipe.weights in ((1.0,), fitted[part_of[photo]])
        return 0.9 if recipe == START else 0.91

    proof = prove([change], START, part_of, make_groups(6), Counter(part_of, rule))
    assert proof.trials[0].values_by_part == ("0.1", "0.2")
    assert [recipe.weights for recipe in (*proof.recipes_by_part, proof.recipe)] == fitted


def test_later_changes_are_fitted_and_judged_on_what_was_kept() -> None:
    part_of = np.arange(6) % 2
    weights = [(0.1,), (0.2,), (0.3,)]
    change = Change(
        what="weights",
        propose=lambda recipe, part: [recipe.model_copy(update={"weights": weights[part]})],
        describe=lambda recipe: str(recipe.weights[0]),
    )

    # 0.4 helps with the new weights, 0.6 before
    def rule(photo: int, recipe: Recipe) -> float:
        helpful = 0.6 if recipe.weights == (1.0,) else 0.4
        return 0.8 + 0.05 * (recipe.weights != (1.0,)) + 0.01 * (recipe.threshold == helpful)

    score = Counter(part_of, rule)
    proof = prove([LOGIT, change, FIT], START, part_of, make_groups(6), score)
    assert [(trial.what, trial.is_kept) for trial in proof.trials] == [
        ("averaging", False),
        ("weights", True),
        ("threshold", True),
    ]
    assert proof.recipe == Recipe(weights=(0.3,), threshold=0.4)
    assert proof.recipes_by_part == (Recipe(weights=(0.1,), threshold=0.4), Recipe(weights=(0.2,), threshold=0.4))
    # One pass for all three, and one for what came after the change that was kept: three weights at three thresholds.
    # In the first: the start, logits, three weights, two more thresholds.
    assert score.passes == [7, 9]


def test_with_one_part_nothing_is_tried() -> None:
    part_of = np.zeros(3, dtype=np.intp)
    proof = prove([FIT], START, part_of, ["a", "a", "a"], Counter(part_of, lambda photo, recipe: recipe.threshold))
    assert proof.trials == ()
    assert (proof.recipe, proof.recipes_by_part) == (START, (START,))
