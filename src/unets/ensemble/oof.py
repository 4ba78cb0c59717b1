"""Out-of-fold maps: each training image's, made by the net that did not see its group."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from unets.config import DatasetConfig
from unets.data.samples import Sample, read_mask
from unets.dataset.folds import read_folds
from unets.dataset.manifest import read_manifest
from unets.ensemble.ensemble import open_member_maps
from unets.ensemble.mask_scores import Fractions, Scores, score_recipes
from unets.ensemble.postprocess import ClassMask
from unets.ensemble.recipe import MapU8, default_recipe, make_mask
from unets.errors import InputError
from unets.metrics.masks import find_metric
from unets.metrics.pixels import Counts, count_pixels_of, describe_pixels, sum_counts
from unets.prediction.maps import MapReader, list_shards, open_maps, split_shards
from unets.store.paths import Project
from unets.store.runs import hash_file, write_csv, write_json
from unets.workers.pool import run_tasks

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
_CHUNK = 16  # images a task


@dataclass(frozen=True, kw_only=True, slots=True)
class OofTask:
    """Some training images and the way to their maps; all of them, or a worker's share."""

    dataset: DatasetConfig
    samples: tuple[Sample, ...]
    fold_of: dict[str, int]
    readers: tuple[MapReader, ...]  # one an experiment
    no_tta_readers: tuple[MapReader | None, ...]  # of the maps without TTA; None where there are none

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that the images are in."""
        return tuple(sorted({self.fold_of[sample.id] for sample in self.samples}))

    def select(self, samples: Sequence[Sample]) -> "OofTask":
        """Returns a worker's share."""
        ids = [sample.id for sample in samples]
        return replace(
            self,
            samples=tuple(samples),
            fold_of={id_: self.fold_of[id_] for id_ in ids},
            readers=tuple(reader.select(ids) for reader in self.readers),
            no_tta_readers=tuple(reader and reader.select(ids) for reader in self.no_tta_readers),
        )

    def read_maps(self, sample: Sample) -> tuple[ClassMask, list[MapU8]]:
        """Reads an image's (ground truth at full size, map of each experiment)."""
        return read_mask(sample), [reader.read_map(sample.id) for reader in self.readers]

    def read_no_tta(self, sample: Sample) -> list[MapU8 | None]:
        """Reads an image's map without TTA of each experiment."""
        return [None if reader is None else reader.read_map(sample.id) for reader in self.no_tta_readers]


def open_oof(
    project: Project, dataset: DatasetConfig, experiments: Sequence[str], folds: Sequence[int] | None = None
) -> OofTask:
    """Opens the out-of-fold maps of experiments, for images of folds; None: of all that each has maps of.

    Raises:
        InputError: a fold wanted is missing, there are maps of only some images of a fold, or of other classes.
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
        missing = [sample.id for sample in samples if sample.id not in reader.shard_of]
        if missing:
            lacking = ",".join(map(str, sorted({fold_of[id_] for id_ in missing})))
            raise InputError(
                f"{reader.folder} must hold maps of all images of the folds used. Received: none of {len(missing)} "
                f"images of fold {lacking}, {missing[0]} first. Run `unets predict --exp {name}`, or use --fold of "
                f"those it has"
            )
        reader.check_samples(samples)
    no_tta = tuple(_open_no_tta(project, name, samples) for name in experiments)
    everything = OofTask(dataset=dataset, samples=samples, fold_of=fold_of, readers=readers, no_tta_readers=no_tta)
    return everything.select(samples)


def run_oof(function: Callable[[OofTask], Result], oof: OofTask, *, what: str, jobs: int | None) -> Iterator[Result]:
    """Runs `function` over shares of the images in worker processes; yields what it returns, in the images' order."""
    chunks = split_shards(oof.samples, _CHUNK)
    tasks = (oof.select(chunk) for chunk in chunks)
    return run_tasks(function, tasks, what=what, jobs=jobs, total=len(chunks), unit="chunk")


def score_oof(
    project: Project,
    dataset: DatasetConfig,
    experiment: str,
    *,
    folds: Sequence[int] | None = None,
    jobs: int | None = None,
) -> Scores:
    """Scores each out-of-fold map of an experiment at full size under the default recipe; writes `oof_scores.csv`.

    Its columns are `id,group,fold,<metric>,<metric>_no_tta`; the last is empty where there are no maps without TTA. Of
    a metric over the pixels of all images, an image has what it adds (`Metric.to_values`): the mean is the score.
    `oof_pixels.json` gets Dice and IoU of each class over the pixels of all these images, the hash of the csv, and that
    of each fold's weights, which tells whether the scores are of the present ones. Returns float64 (images, 2): with
    TTA, and without (NaN where there are no such maps).
    """
    oof = open_oof(project, dataset, [experiment], folds)
    parts = list(run_oof(_score_alone, oof, what=f"score {experiment}", jobs=jobs))
    scores: Scores = find_metric(dataset.metric).to_values(np.concatenate([part for part, _ in parts])).mean(axis=-1)
    pixels = describe_pixels(sum_counts(counts for _, counts in parts), dataset.classes)
    runs = {str(fold): project.run_dir(experiment, fold) / "best.weights.h5" for fold in oof.folds}
    weights = {fold: hash_file(path) for fold, path in runs.items() if path.exists()}
    path = project.oof_scores_path(experiment)
    write_scores(path, oof, {dataset.metric: scores[:, 0], f"{dataset.metric}_no_tta": scores[:, 1]})
    record = pixels | {"weights": weights, "scores": hash_file(path)}
    write_json(project.oof_pixels_path(experiment), record, sealed=True)
    return scores


def write_scores(path: Path, oof: OofTask, columns: Mapping[str, Scores]) -> None:
    """Writes a csv of `id,group,fold` and columns of scores, one row an image; NaN is an empty cell."""
    rows = (
        [s.id, s.group, oof.fold_of[s.id], *("" if np.isnan(score) else f"{score:.6f}" for score in row)]
        for s, *row in zip(oof.samples, *columns.values(), strict=True)
    )
    write_csv(path, ["id", "group", "fold", *columns], rows)


def score_alone(task: OofTask, sample: Sample, target: ClassMask, maps: Sequence[MapU8]) -> Fractions:
    """Scores an image under each experiment alone by the default recipe, with TTA and then without.

    It is float64 (2 x experiments, classes, 2), see `unets.metrics.masks`; NaN where there are no maps without TTA.
    """
    recipe, metric = default_recipe(task.dataset), find_metric(task.dataset.metric)
    missing = np.full((1, len(task.dataset.classes), 2), np.nan)
    fractions = [
        missing if probs_u8_hwc is None else score_recipes(target, [probs_u8_hwc], [recipe], metric)
        for probs_u8_hwc in (*maps, *task.read_no_tta(sample))
    ]
    return np.concatenate(fractions)


def _score_alone(task: OofTask) -> tuple[Fractions, Counts]:
    rows, counts = [], []
    for sample in task.samples:
        target, maps = task.read_maps(sample)
        mask = make_mask(default_recipe(task.dataset), maps, (target.shape[0], target.shape[1]))
        rows.append(score_alone(task, sample, target, maps))
        counts.append(count_pixels_of(target, mask, len(task.dataset.classes)))
    return np.stack(rows), sum_counts(counts)


def _open_no_tta(project: Project, experiment: str, samples: Sequence[Sample]) -> MapReader | None:
    folder = project.maps_dir(experiment, "oof_no_tta")
    if not list_shards(folder):
        return None
    reader = open_maps(folder)
    if any(sample.id not in reader.shard_of for sample in samples):
        logger.warning("%s lacks maps of some images: no score without TTA", folder)
        return None
    reader.check_samples(samples)
    return reader
