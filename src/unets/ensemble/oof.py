"""Out-of-fold maps: each training photo's, made by the net that did not see its group."""

import csv
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from unets.config import DatasetConfig
from unets.data.samples import Sample, read_mask
from unets.dataset.folds import read_folds
from unets.dataset.manifest import read_manifest
from unets.ensemble.postprocess import ClassMask
from unets.ensemble.recipe import Recipe, make_mask, score_recipes
from unets.ensemble.score import Scores, default_threshold
from unets.errors import InputError
from unets.metrics.pixels import Counts, count_pixels_of, describe_pixels, sum_counts
from unets.prediction.maps import MapReader, list_shards, open_maps
from unets.store.paths import Project
from unets.store.runs import write_json, write_text
from unets.workers.pool import run_tasks

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
MapU8 = npt.NDArray[np.uint8]
_CHUNK = 16  # photos a task


@dataclass(frozen=True, kw_only=True, slots=True)
class OofTask:
    """Some training photos and the way to their maps; all of them, or a worker's share."""

    dataset: DatasetConfig
    samples: tuple[Sample, ...]
    fold_of: dict[str, int]
    readers: tuple[MapReader, ...]  # one an experiment
    no_tta_readers: tuple[MapReader | None, ...]  # of the map without TTA; None where there are no such maps

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that the photos are in."""
        return tuple(sorted({self.fold_of[sample.id] for sample in self.samples}))

    def select(self, samples: Sequence[Sample]) -> "OofTask":
        """Returns a worker's share."""
        ids = [sample.id for sample in samples]
        return OofTask(
            dataset=self.dataset,
            samples=tuple(samples),
            fold_of={id_: self.fold_of[id_] for id_ in ids},
            readers=tuple(reader.select(ids) for reader in self.readers),
            no_tta_readers=tuple(reader and reader.select(ids) for reader in self.no_tta_readers),
        )

    def read(self, index: int) -> tuple[ClassMask, list[MapU8], list[MapU8 | None]]:
        """Reads a photo's (full-size mask, map of each experiment, first view's map of each)."""
        id_ = self.samples[index].id
        no_tta = [None if reader is None else reader.read_map(id_) for reader in self.no_tta_readers]
        return *self.read_maps(index), no_tta

    def read_maps(self, index: int) -> tuple[ClassMask, list[MapU8]]:
        """Reads a photo's (full-size mask, map of each experiment)."""
        sample = self.samples[index]
        return read_mask(sample), [reader.read_map(sample.id) for reader in self.readers]


def open_oof(
    project: Project, dataset: DatasetConfig, experiments: Sequence[str], folds: Sequence[int] | None = None
) -> OofTask:
    """Opens the out-of-fold maps of experiments, for the photos that all of them have.

    Args:
        project: the folders.
        dataset: the dataset's declaration.
        experiments: names.
        folds: those wanted; None is all that every experiment has maps of.

    Raises:
        InputError: a fold wanted is missing, there are maps of only some photos of a fold, or of other classes.
    """
    manifest = read_manifest(project, dataset)
    fold_of = read_folds(project.folds_path, manifest)
    readers = tuple(open_maps(project.maps_dir(name, "oof")) for name in experiments)
    found = [{fold_of[id_] for id_ in reader.ids if id_ in fold_of} for reader in readers]
    used = set.intersection(*found) if folds is None else set(folds)
    if not used:
        raise InputError(f"{', '.join(experiments)} must have out-of-fold maps of a common fold. Received: none")
    if not used <= set(fold_of.values()):
        raise InputError(f"`FOLD` must be among the folds {sorted(set(fold_of.values()))}. Received: {sorted(used)}")
    samples = tuple(sample for sample in manifest.train if fold_of[sample.id] in used)
    for name, reader in zip(experiments, readers, strict=True):
        if reader.classes != dataset.classes:
            raise InputError(
                f"{reader.folder} must hold maps of the classes {', '.join(dataset.classes)}, as every member of an "
                f"ensemble. Received: {', '.join(reader.classes)}. Run `make predict EXP={name} FORCE=1`"
            )
        _check_complete(name, reader, samples, fold_of)
    everything = OofTask(
        dataset=dataset,
        samples=samples,
        fold_of=fold_of,
        readers=readers,
        no_tta_readers=tuple(_open_no_tta(project, name, samples) for name in experiments),
    )
    return everything.select(samples)


def run_oof(function: Callable[[OofTask], Result], oof: OofTask, *, what: str, jobs: int | None) -> Iterator[Result]:
    """Runs `function` over shares of the photos in worker processes; yields what it returns, in the photos' order."""
    chunks = [oof.samples[start : start + _CHUNK] for start in range(0, len(oof.samples), _CHUNK)]
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
    """Scores each out-of-fold map of an experiment at full size, cut at 0.5, and writes `oof_scores.csv`.

    Its columns are `id,group,fold,<metric>,<metric>_no_tta`; the last is empty where there are no maps of the first
    view alone. `oof_pixels.json` gets Dice and IoU of each class over the pixels of all these photos.

    Args:
        project: the folders.
        dataset: the dataset's declaration.
        experiment: its name.
        folds: those to score; None is all that there are maps of.
        jobs: worker processes; None is one a core.

    Returns:
        float64 (photos, 2): with TTA, and without (NaN where there are no such maps).
    """
    oof = open_oof(project, dataset, [experiment], folds)
    parts = list(run_oof(_score_views, oof, what=f"score {experiment}", jobs=jobs))
    scores = np.concatenate([part for part, _ in parts])
    pixels = describe_pixels(sum_counts(counts for _, counts in parts), dataset.classes)
    write_json(project.oof_pixels_path(experiment), pixels)
    columns = {dataset.metric: scores[:, 0], f"{dataset.metric}_no_tta": scores[:, 1]}
    write_scores(project.oof_scores_path(experiment), oof, columns)
    return scores


def write_scores(path: Path, oof: OofTask, columns: Mapping[str, Scores]) -> None:
    """Writes a csv of `id,group,fold` and columns of scores, one row a photo; NaN is an empty cell."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "group", "fold", *columns])
    for sample, *row in zip(oof.samples, *columns.values(), strict=True):
        cells = ["" if np.isnan(score) else f"{score:.6f}" for score in row]
        writer.writerow([sample.id, sample.group, oof.fold_of[sample.id], *cells])
    write_text(path, text.getvalue())


def _score_views(task: OofTask) -> tuple[Scores, Counts]:
    dataset, rows, counts = task.dataset, [], []
    recipe = Recipe(weights=(1.0,), threshold=default_threshold(dataset))
    for index in range(len(task.samples)):
        truth_hw, maps, no_tta = task.read(index)
        rows.append([score_map(truth_hw, probs_u8_hwc, dataset) for probs_u8_hwc in (*maps, *no_tta)])
        mask_hw = make_mask(recipe, maps, (truth_hw.shape[0], truth_hw.shape[1]))
        counts.append(count_pixels_of(truth_hw, mask_hw, len(dataset.classes)))
    return np.array(rows), sum_counts(counts)


def score_map(truth_hw: ClassMask, probs_u8_hwc: MapU8 | None, dataset: DatasetConfig) -> float:
    """Scores a map at full size with the competition's metric; NaN where there is none.

    It is cut at 0.5; where the dataset has no background, each pixel gets its most probable class.
    """
    if probs_u8_hwc is None:
        return float("nan")
    recipe = Recipe(weights=(1.0,), threshold=default_threshold(dataset))
    (score,) = score_recipes(truth_hw, [probs_u8_hwc], [recipe], metric=dataset.metric)
    return float(score)


def _open_no_tta(project: Project, experiment: str, samples: Sequence[Sample]) -> MapReader | None:
    folder = project.maps_dir(experiment, "oof_no_tta")
    if not list_shards(folder):
        return None
    reader = open_maps(folder)
    if any(sample.id not in reader.shard_of for sample in samples):
        logger.warning("%s lacks maps of some photos: no score of the map without TTA", folder)
        return None
    return reader


def _check_complete(experiment: str, reader: MapReader, samples: Sequence[Sample], fold_of: Mapping[str, int]) -> None:
    missing = [sample.id for sample in samples if sample.id not in reader.shard_of]
    if missing:
        folds = ",".join(map(str, sorted({fold_of[id_] for id_ in missing})))
        raise InputError(
            f"{reader.folder} must hold maps of all photos of the folds used. Received: none of {len(missing)} photos "
            f"of fold {folds}, {missing[0]} first. Run `make predict EXP={experiment}`, or use FOLD= of those it has"
        )
