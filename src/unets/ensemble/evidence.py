"""Evidence: a recipe is changed only where out-of-fold photos prove a gain, on which the change was not fitted.

Photos are dealt to parts by whole groups: the folds, or five parts where there is one fold. For each part there is a
recipe, fitted on the other parts, and one that is fitted on all, which is the one to use. A change is tried on all of
them; what it gains on each part, by the recipe that did not see the part, is a gain that can be hoped for. It is kept
where the 95 % interval of the mean gain, paired and drawn over groups, lies above zero, and there are five groups at
least: that all of four gain by chance happens once in 16 times. Changes are tried in a fixed order, each on what the
ones before it left.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unets.config import Config
from unets.ensemble.recipe import Recipe
from unets.ensemble.score import Scores
from unets.metrics.intervals import Interval, bootstrap_mean

_NUM_PARTS = 5  # of the groups of one fold
_SEED = 0  # of dealing them
MIN_GROUPS = 5  # to keep anything: by chance all of n gain once in 2^n times, and 1 / 16 is not the 2.5 % of the gate

PartOf = npt.NDArray[np.intp]
# Gets recipes, and for each part the numbers of those that its photos need; gives (photos, recipes), NaN elsewhere.
ScoreRecipes = Callable[[Sequence[Recipe], Sequence[Sequence[int]]], Scores]


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Something to try on a recipe."""

    what: str
    # Gets a recipe and the part that it must not be fitted on (the number of parts: none). Of several proposals the one
    # with the best score on the other parts is taken, of equal ones the first.
    propose: Callable[[Recipe, int], Sequence[Recipe]]
    describe: Callable[[Recipe], str]  # the value that a recipe has for it


class Trial(Config):
    """A change that was tried, and what came of it."""

    what: str
    value: str  # fitted on all parts
    values_by_part: tuple[str, ...]  # each fitted without that part
    gain: Interval  # of those over the recipe before, each on its own part; paired
    is_kept: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """What was found."""

    recipe: Recipe  # fitted on all photos
    recipes_by_part: tuple[Recipe, ...]  # each fitted without that part, to judge it by
    trials: tuple[Trial, ...]  # in the order in which they were decided


def deal_parts(groups: Sequence[str], folds: Sequence[int]) -> PartOf:
    """Deals photos to parts: to their folds, or, where these are one, their groups at random to five parts.

    Args:
        groups: of each photo.
        folds: of each photo.

    Returns:
        The part of each photo, 0, 1, ...; all 0 where there is one group.
    """
    names, fold_of = np.unique(np.asarray(folds), return_inverse=True)
    if len(names) > 1:
        return fold_of
    names, group_of = np.unique(np.asarray(groups), return_inverse=True)
    part_of_group = np.arange(len(names)) % _NUM_PARTS
    return np.asarray(np.random.default_rng(_SEED).permutation(part_of_group)[group_of], dtype=np.intp)


def prove(
    changes: Sequence[Change], start: Recipe, part_of: PartOf, groups: Sequence[str], score: ScoreRecipes
) -> Proof:
    """Tries changes one after the other, and keeps those that prove a gain.

    All changes that are left are scored in one call of `score`, which goes over all maps: only one that is kept makes
    the rest be scored anew.

    Args:
        changes: in the order in which they are tried; of fewer than `MIN_GROUPS` groups none is kept.
        start: the recipe before any of them.
        part_of: the part of each photo, from `deal_parts`. With a single part nothing can be judged, so nothing is
            tried.
        groups: of each photo.
        score: scores photos under recipes.
    """
    num_parts = int(part_of.max()) + 1
    recipes = [start] * (num_parts + 1)  # the last is fitted on all
    trials: list[Trial] = []
    pending = list(changes) if num_parts > 1 else []
    while pending:
        proposals = [[change.propose(recipe, part) for part, recipe in enumerate(recipes)] for change in pending]
        table = _Table(recipes, proposals, part_of, score)
        before = table.judge(recipes)
        while pending:
            change, proposal = pending.pop(0), proposals.pop(0)
            chosen = table.choose(proposal)
            gain = bootstrap_mean(table.judge(chosen) - before, groups)
            is_kept = gain.low is not None and gain.low > 0 and len(set(groups)) >= MIN_GROUPS
            *by_part, value = map(change.describe, chosen)
            trials.append(
                Trial(what=change.what, value=value, values_by_part=tuple(by_part), gain=gain, is_kept=is_kept)
            )
            if is_kept:
                recipes = chosen
                break
    return Proof(recipe=recipes[-1], recipes_by_part=tuple(recipes[:-1]), trials=tuple(trials))


class _Table:
    """The score of each photo under each recipe that it is needed for."""

    def __init__(
        self,
        recipes: Sequence[Recipe],
        proposals: Sequence[Sequence[Sequence[Recipe]]],  # of each change, for each part and for all, some recipes
        part_of: PartOf,
        score: ScoreRecipes,
    ) -> None:
        self._part_of = part_of
        everything = [*recipes, *(recipe for proposal in proposals for options in proposal for recipe in options)]
        self._column_of = {recipe: column for column, recipe in enumerate(dict.fromkeys(everything))}
        needed = []
        for part in range(len(recipes) - 1):
            # Its own recipe's changes judge a part; those of the others are fitted on it, if there is a choice.
            own = {recipes[part]} | {
                recipe
                for proposal in proposals
                for other, options in enumerate(proposal)
                if other == part or len(options) > 1
                for recipe in options
            }
            needed.append(sorted(self._column_of[recipe] for recipe in own))
        self._scores = score(tuple(self._column_of), needed)

    def judge(self, recipes: Sequence[Recipe]) -> Scores:
        """Returns the score of each photo under the recipe that was fitted without its part."""
        columns = np.array([self._column_of[recipe] for recipe in recipes])
        return np.asarray(self._scores[np.arange(len(self._part_of)), columns[self._part_of]])

    def choose(self, proposal: Sequence[Sequence[Recipe]]) -> list[Recipe]:
        """Chooses the best of what is proposed for each part, by the scores of all other parts."""
        chosen = []
        for part, options in enumerate(proposal):
            best = 0
            if len(options) > 1:
                columns = [self._column_of[recipe] for recipe in options]
                best = int(np.argmax(self._scores[self._part_of != part][:, columns].mean(axis=0)))
            chosen.append(options[best])
        return chosen
