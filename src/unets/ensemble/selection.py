"""Selection by cross-fitting: a recipe is changed only where images on which nothing was fitted show a gain.

Images are split into parts by whole groups: the folds, or five parts where there is one fold. For each part there is a
recipe, fitted on the other parts, and one that is fitted on all, which is the one to use. A candidate is tried on all
of them; what it gains on each part, by the recipe that did not see the part, is a gain that can be hoped for.

Several candidates are tried, and each has its chance to look good by luck. Holm's procedure keeps the probability that
any useless one is kept below 2.5 %: of m candidates the surest is kept where its p is at most 0.025 / m, then, tried
again on what that left, the surest of the rest at 0.025 / (m - 1), and so on. That holds where what is kept leaves the
gains of the rest as they were; drawn again each time, it would be some 3.5 % beside three useful ones. What is
kept must also gain at least `MIN_GAIN`, cost no class more than that, and rest on `MIN_GROUPS` groups.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain, compress
from typing import Any

import numpy as np
import numpy.typing as npt

from unets.config import Config, EnsembleConfig, Postprocessing
from unets.ensemble.mask_scores import Fractions
from unets.ensemble.recipe import Recipe, describe_threshold
from unets.ensemble.weights import PixelSample, select_members
from unets.metrics.intervals import MIN_GROUPS, Interval, bootstrap_mean, find_p_value
from unets.metrics.masks import Metric, Values

MIN_GAIN = 5e-5  # of the score: less is not worth a step more for every image
_ALPHA = 0.025  # that any useless candidate is kept
_NUM_PARTS = 5  # of the groups of one fold
_SEED = 0  # of splitting them
THRESHOLDS = tuple(percent / 100 for percent in range(30, 72, 2))  # tried by `threshold="fit"`, and the default
# Tried by `postprocessing="fit"`, field by field, in full-size pixels.
POSTPROCESSING_VALUES: dict[str, tuple[Any, ...]] = {
    "blur_px": (1.0, 2.0, 4.0),
    "max_hole_px": (10, 100, 1000, None),
    "max_components": (1, 2, 3),
    "min_area_px": (10, 100, 1000, 10_000),
    "neck_px": (3, 6, 12, 24),
    "min_object_px": (10, 30, 100, 300),
}
OBJECT_STEPS = ("neck_px", "min_object_px")  # tried where the metric is of objects

PartOf = npt.NDArray[np.intp]  # of each image the part, 0, 1, ...
LeftOut = int | None  # the part that something is fitted without; None: it is fitted on all images
ScoreRecipes = Callable[[Sequence[Recipe]], Fractions]  # gives (images, recipes, classes, 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """Something to try on a recipe."""

    what: str  # the field of the recipe, or of its post-processing
    of_class: str = ""  # that it changes; the others keep what they have
    index: int = 0  # of that class
    # Gets a recipe and what it is fitted without. The proposal with the best score on the rest is taken; ties: the
    # first.
    propose: Callable[[Recipe, LeftOut], Sequence[Recipe]]


class CandidateResult(Config):
    """A candidate that was tried, and what came of it."""

    what: str
    of_class: str = ""  # empty: of all
    value: str  # fitted on all parts
    values_by_part: tuple[str, ...]  # each fitted without that part
    gain: Interval  # of those over the recipe before, each on its own part; paired
    p_value: float  # of as much by chance, one-sided
    is_kept: bool
    reason: str  # in words


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """What was found."""

    recipe: Recipe  # fitted on all images
    recipes_by_part: tuple[Recipe, ...]  # each fitted without that part, to evaluate it by
    results: tuple[CandidateResult, ...]  # in the order in which they were decided


def split_parts(groups: Sequence[str], folds: Sequence[int]) -> PartOf:
    """Splits images, of each its group and fold, into parts: the folds, or five parts of one fold's groups at random.

    Returns the part of each image, 0, 1, ...; all 0 where there is one group.
    """
    names, fold_of = np.unique(np.asarray(folds), return_inverse=True)
    if len(names) > 1:
        return fold_of
    names, group_of = np.unique(np.asarray(groups), return_inverse=True)
    part_of_group = np.arange(len(names)) % _NUM_PARTS
    return np.asarray(np.random.default_rng(_SEED).permutation(part_of_group)[group_of], dtype=np.intp)


def list_candidates(
    config: EnsembleConfig,
    start: Recipe,
    pixels: Sequence[PixelSample],  # of each image
    part_of: PartOf,
    metric: Metric,
    classes: Sequence[str],
) -> list[Candidate]:
    """Lists what is to be tried; without pixels, weights are not. Thresholds and steps are tried a class at a time.

    A start at threshold 0, where every pixel is of a class, keeps it.
    """
    candidates = [Candidate(what="weights", propose=_propose_weights(pixels, part_of, metric))] if pixels else []
    tried = {"threshold": THRESHOLDS} if config.threshold == "fit" and start.threshold != 0 else {}
    if config.postprocessing == "fit":
        tried |= {
            n: v for n, v in POSTPROCESSING_VALUES.items() if n not in OBJECT_STEPS or metric.name.startswith("ap")
        }
    for what, values in tried.items():
        num_values = 1 if what == "blur_px" else len(classes)  # a map is blurred as a whole
        for index in range(num_values):
            propose = partial(_propose_values, what, values, index, num_values)
            of_class = classes[index] if num_values > 1 else ""
            candidates.append(Candidate(what=what, of_class=of_class, index=index, propose=propose))
    return candidates


def select(
    candidates: Sequence[Candidate],
    start: Recipe,
    part_of: PartOf,
    groups: Sequence[str],
    score: ScoreRecipes,
    metric: Metric,
    classes: Sequence[str],
) -> Selection:
    """Tries candidates, and keeps those that show a gain; see the top of this module.

    All candidates that are left are scored in one call of `score`, which goes over all maps: only one that is kept
    makes the rest be scored again. Nothing is tried below `MIN_GROUPS` groups.
    """
    parts, family = range(int(part_of.max()) + 1), len(candidates)
    recipes: dict[LeftOut, Recipe] = dict.fromkeys((*parts, None), start)
    results: list[CandidateResult] = []
    pending = list(candidates) if len(set(groups)) >= MIN_GROUPS else []
    while pending:
        proposals = [
            {left_out: one.propose(recipe, left_out) for left_out, recipe in recipes.items()} for one in pending
        ]
        table = _Table(recipes, proposals, part_of, score, metric)
        before, tried = table.evaluate(recipes), []
        for candidate, proposal in zip(pending, proposals, strict=True):
            chosen = table.choose(proposal)
            gains = table.evaluate(chosen) - before
            tried.append((find_p_value(gains.mean(axis=1), groups), candidate, chosen, gains))
        for p_value, candidate, chosen, gains in sorted(tried, key=lambda one: one[0]):
            num_kept = sum(result.is_kept for result in results)
            reason = _explain_refusal(gains, p_value, _ALPHA / (family - num_kept), classes)
            values = {
                left_out: describe_choice(one, candidate.what, candidate.index) for left_out, one in chosen.items()
            }
            result = CandidateResult(
                what=candidate.what,
                of_class=candidate.of_class,
                value=values[None],
                values_by_part=tuple(values[part] for part in parts),
                gain=bootstrap_mean(gains.mean(axis=1), groups),
                p_value=p_value,
                is_kept=not reason,
                reason=reason or "kept",
            )
            results.append(result)
            pending.remove(candidate)
            if not reason:
                recipes = chosen
                break
    by_part = tuple(recipes[part] for part in parts)
    return Selection(recipe=recipes[None], recipes_by_part=by_part, results=tuple(results))


def _find_rest(part_of: PartOf, left_out: LeftOut) -> npt.NDArray[np.bool_]:
    """Tells of each image whether something is fitted on it."""
    return np.full(len(part_of), True) if left_out is None else part_of != left_out


def _explain_refusal(gains: Values, p_value: float, alpha: float, classes: Sequence[str]) -> str:
    """Says why gains, (images, classes), do not suffice; empty where they do."""
    if p_value > alpha:
        return "may be chance" if p_value > _ALPHA else "may be chance, as several are tried"
    if gains.mean() < MIN_GAIN:
        return f"less than {MIN_GAIN:.5f}"
    if (gains.mean(axis=0) < -MIN_GAIN).any():
        return f"class {classes[int(np.argmin(gains.mean(axis=0)))]} loses"
    return ""


class _Table:
    """The fractions of each image under each recipe that is tried.

    `proposals` has of each candidate some recipes in place of each of `recipes`.
    """

    def __init__(
        self,
        recipes: Mapping[LeftOut, Recipe],
        proposals: Sequence[Mapping[LeftOut, Sequence[Recipe]]],
        part_of: PartOf,
        score: ScoreRecipes,
        metric: Metric,
    ) -> None:
        self._part_of, self._metric = part_of, metric
        options = chain.from_iterable(options for proposal in proposals for options in proposal.values())
        self._column_of = {one: column for column, one in enumerate(dict.fromkeys([*recipes.values(), *options]))}
        self._fractions = score(tuple(self._column_of))

    def evaluate(self, recipes: Mapping[LeftOut, Recipe]) -> Values:
        """Returns the value of each image and class under the recipe that was fitted without the image's part."""
        columns = np.array([self._column_of[recipes[part]] for part in range(int(self._part_of.max()) + 1)])
        return self._metric.to_values(self._fractions[np.arange(len(self._part_of)), columns[self._part_of]])

    def choose(self, proposal: Mapping[LeftOut, Sequence[Recipe]]) -> dict[LeftOut, Recipe]:
        """Chooses the best of what is proposed without each part, by the scores of the rest."""
        chosen = {}
        for left_out, options in proposal.items():
            columns = [self._column_of[recipe] for recipe in options]
            fractions = self._fractions[_find_rest(self._part_of, left_out)][:, columns]
            chosen[left_out] = options[int(np.argmax(self._metric.to_values(fractions).mean(axis=(0, 2))))]
        return chosen


def _propose_weights(
    pixels: Sequence[PixelSample], part_of: PartOf, metric: Metric
) -> Callable[[Recipe, LeftOut], Sequence[Recipe]]:
    """Proposes the weights that are best for a recipe's threshold, fitted without a part."""

    @cache
    def fit(recipe: Recipe, left_out: LeftOut) -> tuple[float, ...]:
        used = list(compress(pixels, _find_rest(part_of, left_out)))
        return select_members(PixelSample.join(used), recipe, metric)

    def propose(recipe: Recipe, left_out: LeftOut) -> list[Recipe]:
        # A candidate that is kept makes the others be proposed again: selecting takes seconds.
        same_fit = recipe.change(weights=(1.0,), postprocessing=Postprocessing())  # all that fitting depends on
        return [recipe.change(weights=fit(same_fit, left_out))]

    return propose


def _propose_values(
    what: str, values: Sequence[Any], index: int, num_classes: int, recipe: Recipe, _: LeftOut
) -> list[Recipe]:
    """Proposes values of the threshold or a step of one class, or of all where `num_classes` is 1.

    The recipe as it is comes first: it wins ties.
    """
    if num_classes > 1:
        present = recipe.find(what)
        own = present if isinstance(present, tuple) else (present,) * num_classes
        values = [(*own[:index], one, *own[index + 1 :]) for one in values]
    return [recipe, *(recipe.change(**{what: value}) for value in values)]


def describe_choice(recipe: Recipe, what: str, index: int = 0) -> str:
    """Returns the value that a recipe has for a candidate, in words; where classes have their own, that of one."""
    if what == "weights":
        return " ".join(f"{weight:.3f}" for weight in recipe.weights)
    value, default = recipe.find(what), getattr(Postprocessing(), what, None)
    one = value[index] if isinstance(value, tuple) else value
    if what == "threshold":
        return describe_threshold(one)
    return "none" if one == default else "all" if one is None else f"{one:g}"
