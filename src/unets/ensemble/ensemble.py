"""The ensemble: which maps are averaged how, where they are cut, and what that reached out-of-fold.

All that is fitted must prove itself (`evidence`); what does not leaves equal weights, the dataset's default threshold
and no post-processing.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field

from unets.config import Config, DatasetConfig, EnsembleConfig, Postprocessing, Share, SizeHW, is_ensemble
from unets.dataset.folds import hash_folds
from unets.ensemble.changes import Pixels, change, list_changes
from unets.ensemble.evidence import Trial, deal_parts, prove
from unets.ensemble.oof import OofTask, open_oof, run_oof, score_map, write_scores
from unets.ensemble.recipe import Judges, Recipe, score_recipes
from unets.ensemble.score import Scores, default_threshold
from unets.ensemble.weights import PixelSample, count_pixels, draw_pixels
from unets.errors import InputError
from unets.metrics.intervals import Interval, bootstrap_mean
from unets.store.paths import Project
from unets.store.runs import read_config, write_text

logger = logging.getLogger(__name__)

# What of a data set decides how true masks are scored.
_TRUTH = {"classes", "overlapping", "has_background", "has_ignored"}


class Member(Config):
    """One experiment of an ensemble."""

    experiment: str
    weight: float  # all members' weights sum to 1
    fingerprint: str  # of its maps


class MemberScore(Config):
    """What a member reaches alone, out-of-fold, cut at the default threshold; and what it adds to the ensemble."""

    experiment: str
    score: float
    score_no_tta: float | None  # its map without TTA, without averaging over flips; None: no such maps
    interval: Interval  # of the score
    gain: Interval | None  # of the ensemble over itself without this member, paired; None: it is the only one


class Ensemble(Config):
    """What the final masks are made of, and what they reached out-of-fold; `ensemble.json`.

    Scores and gains are of photos under the recipe that was fitted without their part.
    """

    competition: str
    name: str  # `ensemble` or `ensemble_<...>`, as its config file
    config: EnsembleConfig  # what was asked for
    members: tuple[Member, ...]
    averaging: Literal["probability", "logit"]
    threshold: Share
    postprocessing: Postprocessing
    metric: str
    folds: tuple[int, ...]  # whose photos it was judged on
    folds_sha256: str  # of the fold file
    num_photos: int
    num_groups: int
    num_parts: int  # that photos were dealt to; 1: there was nothing to judge a fit by
    score: Interval
    gain_over_start: Interval  # of all that was kept over `start`; paired
    best_member: str
    gain_over_best_member: Interval  # paired, photo by photo
    gain_of_tta: Interval | None  # of all views over the first alone, in all members; None: no such maps
    member_scores: tuple[MemberScore, ...]
    trials: tuple[Trial, ...]
    start: Recipe  # what the config gives, the rest at its default: nothing of it is fitted
    recipe_without_fold: dict[int, Recipe]  # fitted on the other folds; empty where there is one fold
    recipe_without_part: tuple[Recipe, ...] = ()  # of one fold: fitted on the other parts of its groups
    part_of_group: dict[str, int] = Field(default_factory=dict)  # of one fold: which of them judged a group
    truth: dict[str, Any]  # what of the dataset decides true masks
    photo_hw: SizeHW | None = None  # size of all photos, whose pixels post-processing counts in; None: of many sizes

    @property
    def recipe(self) -> Recipe:
        """How maps of `used_members` become the final mask."""
        return Recipe(
            weights=tuple(member.weight for member in self.used_members),
            averaging=self.averaging,
            threshold=self.threshold,
            postprocessing=self.postprocessing,
        )

    @property
    def used_members(self) -> tuple[Member, ...]:
        """Members whose weight is not 0."""
        return tuple(member for member in self.members if member.weight > 0)

    def find_judges(self, fold: int) -> Judges:
        """Returns the recipes by which a fold's photos were scored.

        Raises:
            InputError: it was not judged on that fold.
        """
        if fold in self.recipe_without_fold:
            return Judges(recipes=(self.recipe_without_fold[fold],))
        if fold not in self.folds or not self.recipe_without_part:
            raise InputError(
                f"{self.name} must say by which recipes fold {fold} was judged. Received: nothing of it. "
                f"Run `make ensemble`"
            )
        return Judges(recipes=self.recipe_without_part, part_of_group=self.part_of_group)

    def find_recipe(self, unseen_fold: int) -> Recipe:
        """Returns how maps of all `members` become a mask, of which nothing was fitted on a fold's photos.

        It is for photos that are of no group, as those that get pseudo-labels: an ensemble of one fold has no recipe
        that was fitted without all of it but the start. What its photos were scored by, `find_judges` says.
        """
        if unseen_fold in self.recipe_without_fold:
            return self.recipe_without_fold[unseen_fold]
        if unseen_fold in self.folds:
            return self.start
        return self.recipe.model_copy(update={"weights": tuple(member.weight for member in self.members)})


def fit_ensemble(
    project: Project,
    dataset: DatasetConfig,
    config: EnsembleConfig,
    *,
    name: str = "ensemble",
    folds: Sequence[int] | None = None,
    jobs: int | None = None,
) -> Ensemble:
    """Fits and judges an ensemble on its out-of-fold maps; writes its json, and a csv of each photo's score.

    Every photo is scored at full size with the competition's metric, by nets that did not see its group, under a recipe
    that was fitted on other groups. No more than some photos' maps are in memory at once: the maps are read once for
    the members and the pixels that weights are fitted to, once for all that is tried, once more after each change that
    is kept, and once for what each part of the whole contributes.

    Args:
        project: the folders.
        dataset: the dataset's declaration.
        config: members, and what is given or to be fitted.
        name: of the ensemble, `ensemble` or `ensemble_<...>`.
        folds: those to judge on; None is all that every member has maps of.
        jobs: worker processes; None is one a core.

    Raises:
        InputError: a member lacks out-of-fold maps of a photo, they are damaged, or they are of other classes.
    """
    oof = open_oof(project, dataset, config.experiments, folds)
    groups = [sample.group for sample in oof.samples]
    part_of = deal_parts(groups, [oof.fold_of[sample.id] for sample in oof.samples])
    part_of_group = dict(zip(groups, part_of.tolist(), strict=True))

    def score(recipes: Sequence[Recipe], needed: Sequence[Sequence[int]]) -> Scores:
        judge = _Judge(recipes=tuple(recipes), needed=tuple(map(tuple, needed)), part_of_group=part_of_group)
        return np.concatenate(list(run_oof(judge, oof, what=f"{name}: judge", jobs=jobs)))

    start = _start(config, dataset)
    survey = _Survey(max_pixels=_count_pixels(config, oof), threshold=start.threshold)
    alone, pixels = _join_survey(run_oof(survey, oof, what=f"{name}: survey", jobs=jobs))
    proof = prove(list_changes(config, start, pixels, part_of), start, part_of, groups, score)
    has_folds = len(oof.folds) > 1  # else parts are of one fold's groups
    closing = _Closing(start=start, recipes_by_part=proof.recipes_by_part, part_of_group=part_of_group)
    closed = np.concatenate(list(run_oof(closing, oof, what=f"{name}: contributions", jobs=jobs)))
    final, started, no_tta, *without = closed.T
    num_members = len(config.experiments)
    means = alone.mean(axis=0)
    best = int(np.argmax(means[:num_members]))
    ensemble = Ensemble(
        competition=project.competition,
        name=name,
        config=config,
        members=tuple(
            Member(experiment=experiment, weight=weight, fingerprint=reader.fingerprint)
            for experiment, weight, reader in zip(config.experiments, proof.recipe.weights, oof.readers, strict=True)
        ),
        averaging=proof.recipe.averaging,
        threshold=proof.recipe.threshold,
        postprocessing=proof.recipe.postprocessing,
        metric=dataset.metric,
        truth=_describe_truth(dataset),
        photo_hw=dataset.size_hw,
        folds=oof.folds,
        folds_sha256=hash_folds(project.folds_path),
        num_photos=len(groups),
        num_groups=len(set(groups)),
        num_parts=len(proof.recipes_by_part),
        score=bootstrap_mean(final, groups),
        gain_over_start=bootstrap_mean(final - started, groups),
        best_member=config.experiments[best],
        gain_over_best_member=bootstrap_mean(final - alone[:, best], groups),
        gain_of_tta=_bound(final - no_tta, groups),
        member_scores=tuple(
            MemberScore(
                experiment=experiment,
                score=float(means[index]),
                interval=bootstrap_mean(alone[:, index], groups),
                score_no_tta=_drop_nan(float(means[num_members + index])),
                gain=_bound(final - without[index], groups),
            )
            for index, experiment in enumerate(config.experiments)
        ),
        trials=proof.trials,
        start=start,
        recipe_without_fold=dict(zip(oof.folds, proof.recipes_by_part, strict=True)) if has_folds else {},
        recipe_without_part=() if has_folds else proof.recipes_by_part,
        part_of_group={} if has_folds else part_of_group,
    )
    write_scores(project.ensemble_oof_path(name), oof, {dataset.metric: final})
    write_text(project.ensemble_path(name), ensemble.to_json() + "\n")
    logger.info("%s of the %s, out-of-fold: %s", dataset.metric, name, ensemble.score)
    return ensemble


def read_ensemble(project: Project, name: str = "ensemble") -> Ensemble:
    """Reads what `fit_ensemble` wrote.

    Raises:
        InputError: there is none, or it is something else.
    """
    return read_config(project.ensemble_path(name), Ensemble, remedy="Run `make ensemble`")


def list_fitted(project: Project) -> list[str]:
    """Returns the names of the ensembles that were fitted, sorted."""
    return sorted(path.stem for path in project.models_dir.glob("ensemble*.json") if is_ensemble(path.stem))


def check_maps(ensemble: Ensemble, fingerprints: Mapping[str, str]) -> None:
    """Checks that an ensemble was fitted on the present maps of its members.

    Args:
        ensemble: what `fit_ensemble` made.
        fingerprints: of the present out-of-fold maps, by experiment.

    Raises:
        InputError: a member has none, or others.
    """
    for member in ensemble.members:
        found = fingerprints.get(member.experiment, "none")
        if found != member.fingerprint:
            raise InputError(
                f"{ensemble.name} must be of the present maps of {member.experiment}, of fingerprint "
                f"{member.fingerprint}. Received: {found}. Run `make ensemble`"
            )


def check_ensemble(ensemble: Ensemble, dataset: DatasetConfig, config: EnsembleConfig, folds: Sequence[int]) -> None:
    """Checks that an ensemble is the one asked for: its experiments and folds, what is given or fitted, and by which
    metric and true masks it was judged.

    Raises:
        InputError: it is another; names the command that makes the one asked for.
    """
    experiments = config.experiments
    found = [member.experiment for member in ensemble.members]
    if sorted(found) != sorted(experiments) or sorted(ensemble.folds) != sorted(folds):
        names, numbers = ",".join(experiments), ",".join(map(str, folds))
        raise InputError(
            f"The ensemble must be of {names}, folds {numbers}. Received: one of {','.join(found)}, folds "
            f"{','.join(map(str, ensemble.folds))}. Run `make ensemble EXP={names} FOLD={numbers}`"
        )
    wanted = {"metric": dataset.metric, **_describe_truth(dataset), **_describe_choices(config)}
    made = {"metric": ensemble.metric, **ensemble.truth, **_describe_choices(ensemble.config)}
    if wanted != made:
        fields = [field for field in wanted if wanted[field] != made.get(field)]
        asked, received = (", ".join(f"{f}={choices.get(f)}" for f in fields) for choices in (wanted, made))
        raise InputError(f"The {ensemble.name} must be made with {asked}. Received: {received}. Run `make ensemble`")


def _describe_truth(dataset: DatasetConfig) -> dict[str, Any]:
    return dataset.model_dump(mode="json", include=_TRUTH)


def _describe_choices(config: EnsembleConfig) -> dict[str, object]:
    """Returns what is given or to be fitted; weights by experiment, whose order decides nothing."""
    choices = config.model_dump(exclude={"experiments"})
    if not isinstance(config.weights, str):
        choices["weights"] = dict(zip(config.experiments, config.weights, strict=True))
    return choices


def _start(config: EnsembleConfig, dataset: DatasetConfig) -> Recipe:
    """Returns what the config gives, and the default of what it leaves to be fitted."""
    weights = config.weights
    shares = (1.0,) * len(config.experiments) if isinstance(weights, str) else weights
    return Recipe(
        weights=tuple(share / sum(shares) for share in shares),
        averaging="probability" if config.averaging == "fit" else config.averaging,
        threshold=default_threshold(dataset) if config.threshold == "fit" else config.threshold,
        postprocessing=Postprocessing() if config.postprocessing == "fit" else config.postprocessing,
    )


def _count_pixels(config: EnsembleConfig, oof: OofTask) -> int:
    """Returns how many pixels of a photo and class weights are fitted to; 0 where they are not."""
    is_fitted = config.weights == "fit" and len(config.experiments) > 1
    return count_pixels(len(oof.samples), len(oof.dataset.classes)) if is_fitted else 0


def _join_survey(results: Iterable[tuple[Scores, list[PixelSample]]]) -> tuple[Scores, Pixels | None]:
    rows, samples = zip(*results, strict=True)
    by_photo = [sample for part in samples for sample in part]
    if not by_photo:
        return np.concatenate(rows), None
    photo_of = np.repeat(np.arange(len(by_photo)), [len(sample.costs) for sample in by_photo])
    return np.concatenate(rows), Pixels(sample=PixelSample.join(by_photo), photo_of=photo_of)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Survey:
    """Scores photos under each member alone, with flips and by its first view; draws the pixels that weights decide."""

    max_pixels: int
    threshold: float

    def __call__(self, task: OofTask) -> tuple[Scores, list[PixelSample]]:
        rows, samples = [], []
        for index in range(len(task.samples)):
            truth_hw, maps, no_tta = task.read(index)
            rows.append([score_map(truth_hw, probs_u8_hwc, task.dataset) for probs_u8_hwc in (*maps, *no_tta)])
            samples += [draw_pixels(truth_hw, maps, self.max_pixels, self.threshold)] if self.max_pixels else []
        return np.array(rows), samples


@dataclass(frozen=True, kw_only=True, slots=True)
class _Judge:
    """Scores photos under recipes; NaN where a photo's part does not need one."""

    recipes: tuple[Recipe, ...]
    needed: tuple[tuple[int, ...], ...]  # of each part, numbers of recipes
    part_of_group: dict[str, int]

    def __call__(self, task: OofTask) -> Scores:
        scores = np.full((len(task.samples), len(self.recipes)), np.nan)
        for index, sample in enumerate(task.samples):
            truth_hw, maps = task.read_maps(index)
            columns = self.needed[self.part_of_group[sample.group]]
            recipes = [self.recipes[column] for column in columns]
            scores[index, columns] = score_recipes(truth_hw, maps, recipes, metric=task.dataset.metric)
        return scores


@dataclass(frozen=True, kw_only=True, slots=True)
class _Closing:
    """Scores photos under the recipe fitted without their part: as it is, before any fit, on first views, without each
    member; NaN where there are no such maps or no other member.
    """

    start: Recipe
    recipes_by_part: tuple[Recipe, ...]
    part_of_group: dict[str, int]

    def __call__(self, task: OofTask) -> Scores:
        return np.array([list(self._score(task, index)) for index in range(len(task.samples))])

    def _score(self, task: OofTask, index: int) -> Iterator[float]:
        truth_hw, maps, no_tta = task.read(index)
        recipe = self.recipes_by_part[self.part_of_group[task.samples[index].group]]
        wanted = [recipe, self.start]
        if len(maps) > 1:
            wanted += [_leave_out(recipe, member) for member in range(len(maps))]
        distinct = list(dict.fromkeys(wanted))
        scores = score_recipes(truth_hw, maps, distinct, metric=task.dataset.metric)
        score_of = dict(zip(distinct, scores.tolist(), strict=True))
        nan = float("nan")
        yield score_of[recipe]
        yield score_of[self.start]
        known = [probs_u8_hwc for probs_u8_hwc in no_tta if probs_u8_hwc is not None]
        is_known = len(known) == len(maps)
        yield float(score_recipes(truth_hw, known, [recipe], metric=task.dataset.metric)[0]) if is_known else nan
        yield from (score_of[without] for without in wanted[2:]) if len(maps) > 1 else [nan]


def _leave_out(recipe: Recipe, member: int) -> Recipe:
    """Returns a recipe without a member; the others share equally where it was the only one with a weight."""
    weights = [0.0 if index == member else weight for index, weight in enumerate(recipe.weights)]
    if not any(weights):
        weights = [float(index != member) for index in range(len(weights))]
    return change(recipe, weights=tuple(weights))


def _bound(differences: Scores, groups: Sequence[str]) -> Interval | None:
    return None if np.isnan(differences).any() else bootstrap_mean(differences, groups)


def _drop_nan(value: float) -> float | None:
    return None if np.isnan(value) else value
