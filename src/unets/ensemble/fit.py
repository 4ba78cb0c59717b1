"""Fitting an ensemble: its members' out-of-fold maps are scored, candidates tried, contributions measured."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from unets.config import DatasetConfig, EnsembleConfig
from unets.dataset.folds import hash_folds
from unets.ensemble.ensemble import Ensemble, Member, describe_ground_truth
from unets.ensemble.mask_scores import Fractions, Scores, score_recipes
from unets.ensemble.oof import OofTask, open_oof, run_oof, score_alone, write_scores
from unets.ensemble.recipe import Recipe, default_recipe
from unets.ensemble.selection import list_candidates, select, split_parts
from unets.ensemble.weights import PixelSample, count_pixels, draw_pixels
from unets.errors import InputError
from unets.metrics.intervals import Interval, bootstrap_mean
from unets.metrics.masks import find_metric
from unets.store.paths import Project
from unets.store.runs import write_json

logger = logging.getLogger(__name__)


def fit_ensemble(
    project: Project,
    dataset: DatasetConfig,
    config: EnsembleConfig,
    *,
    name: str = "ensemble",
    folds: Sequence[int] | None = None,
    jobs: int | None = None,
) -> Ensemble:
    """Fits and evaluates an ensemble on its out-of-fold maps; writes its json, and a csv of each image's score.

    Every image is scored at full size with the competition's metric, by nets that did not see its group, under a recipe
    that was fitted on other groups. No more than some images' maps are in memory at once: the maps are read once for
    the members and the pixels that weights are fitted to, once for all candidates, once more after each candidate that
    is kept, and once for what each part of the whole contributes.

    Without folds, it is evaluated on all that every member has maps of.

    Raises:
        InputError: a member lacks out-of-fold maps of an image, they are damaged, or they are of other classes.
    """
    oof, metric = open_oof(project, dataset, config.experiments, folds), find_metric(dataset.metric)
    groups = [sample.group for sample in oof.samples]
    part_of = split_parts(groups, [oof.fold_of[sample.id] for sample in oof.samples])
    part_of_group = dict(zip(groups, part_of.tolist(), strict=True))
    num_members = len(config.experiments)

    def score(recipes: Sequence[Recipe], needed: Sequence[Sequence[int]]) -> Fractions:
        task = partial(_score_candidates, recipes, needed, part_of_group)
        return np.concatenate(list(run_oof(task, oof, what=f"{name}: candidates", jobs=jobs)))

    start = _start(config, dataset)
    is_weighed = config.weights == "fit" and num_members > 1
    look = partial(_score_members, start, count_pixels(len(groups)) if is_weighed else 0)
    members = list(run_oof(look, oof, what=f"{name}: members", jobs=jobs))
    alone = metric.to_values(np.concatenate([fractions for fractions, _ in members])).mean(axis=-1)
    pixels = [one for _, samples in members for one in samples]
    candidates = list_candidates(config, start, pixels, part_of, metric, dataset.classes)
    selection = select(candidates, start, part_of, groups, score, metric)
    recipe_of_group = {group: selection.recipes_by_part[part] for group, part in part_of_group.items()}
    contribute = partial(_score_contributions, start, recipe_of_group)
    closed = np.concatenate(list(run_oof(contribute, oof, what=f"{name}: contributions", jobs=jobs)))
    final, started, no_tta, *without = metric.to_values(closed).mean(axis=-1).T
    means = alone.mean(axis=0)
    best = int(np.argmax(means[:num_members]))
    recipe = selection.recipe
    ensemble = Ensemble(
        competition=project.competition,
        name=name,
        config=config,
        members=tuple(
            Member(
                experiment=experiment,
                weight=recipe.weights[index],
                fingerprint=oof.readers[index].fingerprint,
                score=bootstrap_mean(alone[:, index], groups),
                score_no_tta=None if np.isnan(means[num_members + index]) else float(means[num_members + index]),
                gain=_bound(final - without[index], groups),
            )
            for index, experiment in enumerate(config.experiments)
        ),
        **recipe.model_dump(include={"averaging", "threshold", "postprocessing", "overlapping"}),
        metric=dataset.metric,
        ground_truth=describe_ground_truth(dataset),
        image_hw=dataset.size_hw,
        folds=oof.folds,
        folds_sha256=hash_folds(project.folds_path),
        num_images=len(groups),
        num_groups=len(set(groups)),
        num_parts=len(selection.recipes_by_part),
        score=bootstrap_mean(final, groups),
        gain_over_start=bootstrap_mean(final - started, groups),
        best_member=config.experiments[best],
        gain_over_best_member=bootstrap_mean(final - alone[:, best], groups),
        gain_of_tta=_bound(final - no_tta, groups),
        candidates=selection.results,
        start=start,
        recipes_by_part=selection.recipes_by_part,
        part_of_group={} if len(oof.folds) > 1 else part_of_group,
    )
    write_scores(project.ensemble_oof_path(name), oof, {dataset.metric: final})
    write_json(project.ensemble_path(name), ensemble.model_dump(mode="json"), sealed=True)
    logger.info("%s of the %s, out-of-fold: %s", dataset.metric, name, ensemble.score)
    return ensemble


def _start(config: EnsembleConfig, dataset: DatasetConfig) -> Recipe:
    """Returns what the config gives, and the default of what it leaves to be fitted."""
    start = default_recipe(dataset, len(config.experiments))
    if not isinstance(config.weights, str):
        start = start.change(weights=tuple(share / sum(config.weights) for share in config.weights))
    if isinstance(config.threshold, tuple) and len(config.threshold) != len(dataset.classes):
        raise InputError(
            f"`threshold` must be one, or one for each of {', '.join(dataset.classes)}. Received: {config.threshold}"
        )
    given = {name: getattr(config, name) for name in ("averaging", "threshold", "postprocessing")}
    return start.change(**{name: value for name, value in given.items() if value != "fit"})


def _score_members(start: Recipe, max_pixels: int, task: OofTask) -> tuple[Fractions, list[PixelSample]]:
    """Scores images under each member alone, see `score_alone`; draws the pixels that weights decide, if any."""
    rows, drawn = [], []
    for sample in task.samples:
        target, maps = task.read_maps(sample)
        rows.append(score_alone(task, sample, target, maps))
        if max_pixels:
            drawn.append(draw_pixels(target, maps, max_pixels, start))
    return np.stack(rows), drawn


def _score_candidates(
    recipes: Sequence[Recipe], needed: Sequence[Sequence[int]], part_of_group: Mapping[str, int], task: OofTask
) -> Fractions:
    """Scores images under recipes; NaN where an image's part does not need one (`needed`: its recipes' numbers)."""
    fractions = np.full((len(task.samples), len(recipes), len(task.dataset.classes), 2), np.nan)
    for index, sample in enumerate(task.samples):
        target, maps = task.read_maps(sample)
        columns = list(needed[part_of_group[sample.group]])
        own = [recipes[column] for column in columns]
        fractions[index, columns] = score_recipes(target, maps, own, find_metric(task.dataset.metric))
    return fractions


def _score_contributions(start: Recipe, recipe_of_group: Mapping[str, Recipe], task: OofTask) -> Fractions:
    """Scores images under the recipe fitted without their part: as it is, before any fit, without TTA, without each
    member; NaN where there are no such maps or no other member.
    """
    metric, missing = find_metric(task.dataset.metric), np.full((len(task.dataset.classes), 2), np.nan)
    rows = []
    for sample in task.samples:
        target, maps = task.read_maps(sample)
        recipe = recipe_of_group[sample.group]
        without = [_leave_out(recipe, member) for member in range(len(maps))] if len(maps) > 1 else []
        distinct = list(dict.fromkeys((recipe, start, *without)))
        fractions_of = dict(zip(distinct, score_recipes(target, maps, distinct, metric), strict=True))
        known = [probs_u8_hwc for probs_u8_hwc in task.read_no_tta(sample) if probs_u8_hwc is not None]
        alone = score_recipes(target, known, [recipe], metric)[0] if len(known) == len(maps) else missing
        others = [fractions_of[one] for one in without] or [missing]
        rows.append([fractions_of[recipe], fractions_of[start], alone, *others])
    return np.array(rows)


def _leave_out(recipe: Recipe, member: int) -> Recipe:
    """Returns a recipe without a member; the others share equally where it was the only one with a weight."""
    weights = [0.0 if index == member else weight for index, weight in enumerate(recipe.weights)]
    if not any(weights):
        weights = [float(index != member) for index in range(len(weights))]
    return recipe.change(weights=tuple(weights))


def _bound(differences: Scores, groups: Sequence[str]) -> Interval | None:
    return None if np.isnan(differences).any() else bootstrap_mean(differences, groups)
