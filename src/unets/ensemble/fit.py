"""Fitting an ensemble: its members' out-of-fold maps are scored, candidates tried, contributions measured."""

import logging
from collections.abc import Sequence
from functools import partial

import numpy as np

from unets.config import DatasetConfig, EnsembleConfig
from unets.dataset.manifest import read_masks_digest
from unets.ensemble.ensemble import Ensemble, Member, describe_ground_truth
from unets.ensemble.mask_scores import Fractions
from unets.ensemble.oof import open_oof, score_images, write_scores
from unets.ensemble.recipe import Recipe, default_recipe
from unets.ensemble.selection import list_candidates, select, split_parts
from unets.ensemble.weights import count_pixels, draw_pixels
from unets.errors import InputError
from unets.metrics.intervals import Interval, bootstrap_mean
from unets.metrics.masks import Values, find_metric
from unets.store.paths import Project
from unets.store.runs import hash_file, write_json

logger = logging.getLogger(__name__)


def fit_ensemble(
    project: Project,
    dataset: DatasetConfig,
    config: EnsembleConfig,
    *,
    name: str = "ensemble",
    folds: Sequence[int] | None = None,
) -> Ensemble:
    """Fits and evaluates an ensemble on its out-of-fold maps; writes its json, and a csv of each image's score.

    Every image is scored at full size with the competition's metric, by nets that did not see its group, under a recipe
    that was fitted on other groups. No more than some images' maps are in memory at once: the maps are read once for
    the members and the pixels that weights are fitted to, once for all candidates, once more after each candidate that
    is kept, and once for what each part of the whole contributes.

    Without folds, it is evaluated on all that every member has maps of. Raises InputError where a member lacks
    out-of-fold maps of an image, they are damaged, or they are of other classes.
    """
    oof, metric = open_oof(project, dataset, config.experiments, folds), find_metric(dataset.metric)
    groups, num_members = [sample.group for sample in oof.samples], len(config.experiments)
    part_of = split_parts(groups, [oof.fold_of[sample.id] for sample in oof.samples])
    part_of_group = dict(zip(groups, part_of.tolist(), strict=True))

    def score(recipes: Sequence[Recipe]) -> Fractions:
        return score_images(oof, lambda _: (recipes, ()), what=f"{name}: candidates")[0]

    start = _start(config, dataset)
    is_weighed, default = config.weights == "fit" and num_members > 1, default_recipe(dataset, num_members)
    look = partial(draw_pixels, max_pixels=count_pixels(len(groups)), recipe=start) if is_weighed else None
    members = [default.change(weights=tuple(row)) for row in np.eye(num_members).tolist()]
    scored, pixels = score_images(oof, lambda _: (members, members), what=f"{name}: members", look=look)
    alone, alone_no_tta = np.split(metric.to_values(scored).mean(axis=-1), 2, axis=1)  # (images, members)
    candidates = list_candidates(config, start, pixels, part_of, metric, dataset.classes)
    selection = select(candidates, start, part_of, groups, score, metric, dataset.classes)
    # As it is, before any fit, without each member, and without TTA: each image by the recipe fitted without its part.
    by_part = [([one, start, *_leave_out_each(one)], [one]) for one in selection.recipes_by_part]
    scored, _ = score_images(oof, lambda sample: by_part[part_of_group[sample.group]], what=f"{name}: contributions")
    final, started, *without, no_tta = metric.to_values(scored).mean(axis=-1).T
    means_no_tta = [None if np.isnan(mean) else mean for mean in alone_no_tta.mean(axis=0).tolist()]
    best, recipe = int(np.argmax(alone.mean(axis=0))), selection.recipe
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
                score_no_tta=means_no_tta[index],
                gain=_bound(final - without[index], groups) if without else None,
            )
            for index, experiment in enumerate(config.experiments)
        ),
        **recipe.model_dump(include={"threshold", "postprocessing", "overlapping"}),
        metric=dataset.metric,
        ground_truth=describe_ground_truth(dataset) | {"masks": read_masks_digest(project)},
        image_hw=dataset.size_hw,
        folds=oof.folds,
        folds_sha256=hash_file(project.folds_path),
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
    steps = () if isinstance(config.postprocessing, str) else config.postprocessing
    for name, value in (("threshold", config.threshold), *steps):
        if isinstance(value, tuple) and len(value) != len(dataset.classes):
            raise InputError(
                f"`{name}` must be one, or one for each of {', '.join(dataset.classes)}. Received: {value}"
            )
    given = {name: getattr(config, name) for name in ("threshold", "postprocessing")}
    return start.change(**{name: value for name, value in given.items() if value != "fit"})


def _leave_out_each(recipe: Recipe) -> list[Recipe]:
    """Returns a recipe without each member, if it has several; the others share equally where none has a weight."""
    found, members = list[Recipe](), range(len(recipe.weights))
    for left_out in members if len(members) > 1 else ():
        weights = [0.0 if index == left_out else weight for index, weight in enumerate(recipe.weights)]
        if not any(weights):
            weights = [float(index != left_out) for index in members]
        found.append(recipe.change(weights=tuple(weights)))
    return found


def _bound(differences: Values, groups: Sequence[str]) -> Interval | None:
    return None if np.isnan(differences).any() else bootstrap_mean(differences, groups)
