"""Out-of-fold maps: each training image's, made by the net that did not see its group."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unets.config import DatasetConfig
from unets.data.samples import Sample, read_mask, read_objects
from unets.dataset.folds import read_folds
from unets.dataset.manifest import read_manifest, read_masks_digest
from unets.ensemble.ensemble import open_member_maps
from unets.ensemble.mask_scores import Fractions, score_recipes
from unets.ensemble.postprocess import ClassMask
from unets.ensemble.recipe import MapU8, Recipe, default_recipe, make_mask
from unets.errors import InputError
from unets.metrics.masks import Values, find_metric
from unets.metrics.pixels import Counts, Numbers, count_pixels_of, describe_pixels, sum_counts
from unets.prediction.maps import MapReader, list_shards, open_maps
from unets.store.paths import Project
from unets.store.run_folder import WEIGHTS
from unets.store.runs import hash_file, write_csv, write_json
from unets.workers.pool import in_chunks, run_tasks

logger = logging.getLogger(__name__)

Recipes = tuple[Sequence[Recipe], Sequence[Recipe]]  # that an image's maps are scored under, and those without TTA
Look = Callable[[ClassMask, list[MapU8]], Any]
# Some images with their recipes, and readers of their maps and of those without TTA.
_Task = tuple[list[tuple[Sample, Recipes]], list[list[Any]]]
_CHUNK = 16  # images a task


@dataclass(frozen=True, kw_only=True, slots=True)
class OutOfFold:
    """Training images and the way to their maps."""

    dataset: DatasetConfig
    samples: tuple[Sample, ...]
    fold_of: dict[str, int]
    readers: tuple[MapReader, ...]  # one an experiment
    no_tta_readers: tuple[MapReader | None, ...]  # of the maps without TTA; None where there are none

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that the images are in."""
        return tuple(sorted({self.fold_of[sample.id] for sample in self.samples}))


def open_oof(
    project: Project, dataset: DatasetConfig, experiments: Sequence[str], folds: Sequence[int] | None = None
) -> OutOfFold:
    """Opens the out-of-fold maps of experiments, for images of folds; None: of all that each has maps of.

    Raises InputError where a fold wanted is missing, there are maps of only some images of a fold, of other classes, or
    by the net of another fold than the image is in now: that net may have seen its group.
    """
    manifest = read_manifest(project, dataset)
    fold_of = read_folds(project.folds_path, manifest)
    readers = tuple(open_member_maps(project, dataset, name, "oof") for name in experiments)
    found = [{fold_of[id_] for id_ in reader.ids if id_ in fold_of} for reader in readers]
    used = set.intersection(*found) if folds is None else set(folds)
    if not used:
        raise InputError(f"{', '.join(experiments)} must have out-of-fold maps of a common fold. Received: none")
    if not used <= set(fold_of.values()):
        raise InputError(f"`--fold` must be among the folds {sorted(set(fold_of.values()))}. Received: {sorted(used)}")
    samples = tuple(sample for sample in manifest.train if fold_of[sample.id] in used)
    for name, reader in zip(experiments, readers, strict=True):
        if missing := [sample.id for sample in samples if sample.id not in reader.shard_of]:
            lacking = ",".join(map(str, sorted({fold_of[id_] for id_ in missing})))
            raise InputError(
                f"{reader.folder} must hold maps of all images of the folds used. Received: none of {len(missing)} "
                f"images of fold {lacking}, {missing[0]} first. Run `unets predict --exp {name}`, or use --fold of "
                f"those it has"
            )
        for sample in samples:
            made_by, fold = reader.shard_of[sample.id].rpartition("/")[0], f"fold{fold_of[sample.id]}"
            if made_by not in ("", fold):
                raise InputError(
                    f"{reader.folder} must hold the map of {sample.id} by the net of {fold}, as {project.folds_path} "
                    f"has it. Received: one by that of {made_by}; the folds changed since. `unets clean --exp {name}` "
                    f"deletes runs and maps, so that they can be made again"
                )
        reader.check_samples(samples)
    no_tta = tuple(_open_no_tta(project, *named, samples) for named in zip(experiments, readers, strict=True))
    return OutOfFold(dataset=dataset, samples=samples, fold_of=fold_of, readers=readers, no_tta_readers=no_tta)


def score_images(
    oof: OutOfFold, choose: Callable[[Sample], Recipes], *, what: str, look: Look | None = None
) -> tuple[Fractions, list[Any]]:
    """Scores images in worker processes under the recipes that are chosen for each.

    Returns float64 (images, recipes, classes, 2), see `unets.metrics.masks`: of the image's maps, then of those without
    TTA, NaN where a member has no such map. And what `look` finds in each ground truth and its maps.
    """
    chunks, readers = in_chunks(oof.samples, _CHUNK), (oof.readers, oof.no_tta_readers)

    def build(chunk: Sequence[Sample]) -> _Task:
        ids, chosen = [sample.id for sample in chunk], [(sample, choose(sample)) for sample in chunk]
        return chosen, [[one and one.select(ids) for one in own] for own in readers]

    score = partial(_score_task, oof.dataset, look)
    parts = list(run_tasks(score, map(build, chunks), what=what, total=len(chunks), unit="chunk"))
    return np.concatenate([part for part, _ in parts]), [one for _, found in parts for one in found]


def score_oof(
    project: Project, dataset: DatasetConfig, experiment: str, *, folds: Sequence[int] | None = None
) -> Values:
    """Scores each out-of-fold map of an experiment at full size under the default recipe; writes `oof_scores.csv`.

    Its columns are `id,group,fold,<metric>,<metric>_no_tta`; the last is empty where there are no maps without TTA. Of
    a metric over the pixels of all images, an image has what it adds (`Metric.to_values`): the mean is the score.
    `oof_pixels.json` gets Dice and IoU of each class over the pixels of all these images, the hash of the csv, and
    those of each fold's weights and of all masks, which tell whether the scores are of the present ones. Returns
    float64 (images, 2): with TTA, and without (NaN where there are no such maps).
    """
    oof, metric, alone = open_oof(project, dataset, [experiment], folds), dataset.metric, default_recipe(dataset)
    look = partial(_count_pixels, alone, len(dataset.classes))
    fractions, counts = score_images(oof, lambda _: ([alone], [alone]), what=f"score {experiment}", look=look)
    scores: Values = find_metric(metric).to_values(fractions).mean(axis=-1)
    path, runs = project.oof_scores_path(experiment), {fold: project.run_dir(experiment, fold) for fold in oof.folds}
    write_scores(path, oof, {metric: scores[:, 0], f"{metric}_no_tta": scores[:, 1]})
    found = {str(fold): weights for fold, run_dir in runs.items() if (weights := run_dir / WEIGHTS).exists()}
    record = describe_pixels(sum_counts(counts), dataset.classes)
    record |= {"weights": {fold: hash_file(weights) for fold, weights in found.items()}, "scores": hash_file(path)}
    record["masks"] = read_masks_digest(project)
    write_json(project.oof_pixels_path(experiment), record, sealed=True)
    return scores


def write_scores(path: Path, oof: OutOfFold, columns: Mapping[str, Values]) -> None:
    """Writes a csv of `id,group,fold` and columns of scores, one row an image; NaN is an empty cell."""
    rows = (
        [s.id, s.group, oof.fold_of[s.id], *("" if np.isnan(score) else f"{score:.6f}" for score in row)]
        for s, *row in zip(oof.samples, *columns.values(), strict=True)
    )
    write_csv(path, ["id", "group", "fold", *columns], rows)


def _count_pixels(recipe: Recipe, num_classes: int, target: ClassMask, maps: Sequence[MapU8]) -> Counts:
    return count_pixels_of(target, make_mask(recipe, maps, (target.shape[0], target.shape[1])), num_classes)


def _score_task(dataset: DatasetConfig, look: Look | None, task: _Task) -> tuple[Fractions, list[Any]]:
    rows, found, (chosen, (readers, no_tta_readers)) = [], [], task
    for sample, (recipes, recipes_no_tta) in chosen:
        target, maps = read_mask(sample), [reader.read_map(sample.id) for reader in readers]
        score = partial(_score, dataset, target, read_objects(sample))
        rows.append(score(maps, recipes))
        if recipes_no_tta:
            maps_no_tta = [None if one is None else one.read_map(sample.id) for one in no_tta_readers]
            rows[-1] += score(maps_no_tta, recipes_no_tta)
        if look is not None:
            found.append(look(target, maps))
    return np.array(rows), found


def _score(
    dataset: DatasetConfig,
    target: ClassMask,
    objects: Numbers | None,
    maps: Sequence[MapU8 | None],
    recipes: Sequence[Recipe],
) -> list[Fractions]:
    missing, there = np.full((len(dataset.classes), 2), np.nan), [one for one in maps if one is not None]
    lacking = {index for index, one in enumerate(maps) if one is None}
    distinct = [one for one in dict.fromkeys(recipes) if not any(one.weights[index] for index in lacking)]
    if not distinct or not there:
        return [missing] * len(recipes)
    filled = [there[0] if one is None else one for one in maps]  # of a weight of 0
    fractions = score_recipes(target, filled, distinct, find_metric(dataset.metric), objects)
    fractions_of = dict(zip(distinct, fractions, strict=True))
    return [fractions_of.get(recipe, missing) for recipe in recipes]


def _open_no_tta(project: Project, experiment: str, with_tta: MapReader, samples: Sequence[Sample]) -> MapReader | None:
    folder = project.maps_dir(experiment, "oof_no_tta")
    if not list_shards(folder):
        return None
    reader = open_maps(folder)
    if any(sample.id not in reader.shard_of for sample in samples):
        logger.warning("%s lacks maps of some images: no score without TTA", folder)
        return None
    if not with_tta.nets.items() <= reader.nets.items():
        logger.warning("%s holds maps of other nets or flips: no score without TTA", folder)
        return None
    reader.check_samples(samples)
    return reader
