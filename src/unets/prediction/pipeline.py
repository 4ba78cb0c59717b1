"""The prediction pipeline: images stream through nets into shards of probability maps.

    files -> read -> batch -> predict -> encode -> write -> shards
             threads          1 thread   threads   1 thread

Each stage works a fixed number of images ahead of the next one, so memory does not grow with the number of images. An
image is read once for all jobs of its size: folds, flips and experiments.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from unets.config import DatasetConfig, ExperimentConfig
from unets.data.image import ImageU8
from unets.data.samples import Sample, read_image
from unets.dataset.manifest import Manifest
from unets.log import show_progress
from unets.nets.backend import describe_arithmetic
from unets.prediction.loading import load_predictor, predict_batch
from unets.prediction.maps import EncodedMap, MapStore, encode_map
from unets.prediction.sources import find_fold_weights, hash_weights, list_nets
from unets.store.paths import Project
from unets.store.runs import lock
from unets.workers.cluster import find_cluster
from unets.workers.machine import count_cores
from unets.workers.pool import in_chunks, map_ahead, run_tasks

logger = logging.getLogger(__name__)

BUNDLES_PER_GPU = 4  # of shards, on a cluster


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionJob:
    """An experiment's nets, whose mean fills a store, and the shards that it lacks."""

    name: str  # of the experiment
    what: str  # the images are, in words: jobs of the same images have the same
    experiment: ExperimentConfig
    dataset: DatasetConfig
    weights_paths: tuple[Path, ...]  # of one fold or several
    store: MapStore
    shards: Mapping[int, tuple[Sample, ...]]  # images of each missing shard, by its number


class _Shard(NamedTuple):
    position: int  # of the job
    number: int  # of the shard in the job's store


@dataclass(frozen=True, kw_only=True, slots=True)
class _Chunk:
    """Some images, and the shards that are made of them."""

    samples: tuple[Sample, ...]
    shards: tuple[_Shard, ...]


def predict_experiments(
    project: Project,
    manifest: Manifest,
    experiments: Mapping[str, ExperimentConfig],
    *,
    fold_of: Mapping[str, int],
    folds: Mapping[str, Sequence[int]],
    force: bool = False,
) -> None:
    """Predicts every training image by the fold that did not see it, and every test image by the mean of the folds.

    Experiments of one size read each image once, together. Shards that are there, whole and made by the same nets are
    kept; damaged ones, and test maps of only some of the folds, are made again.

    `fold_of` has the fold of each training id, `folds` by experiment those whose nets predict: out-of-fold maps are
    made of their images only. `force` replaces maps that other nets made, in place of an error. Raises InputError where
    a fold is not trained to its end, with this config and on these folds, or other nets made the maps that are there:
    nothing is predicted then; or an image or weights cannot be read.
    """
    with ExitStack() as stack:
        for name in sorted(experiments):
            stack.enter_context(lock(project.maps_dir(name, "test").parent))
        weights_paths = {
            name: {fold: find_fold_weights(project, manifest, name, experiment, fold) for fold in folds[name]}
            for name, experiment in experiments.items()
        }
        jobs = []
        for name, experiment in experiments.items():
            command = f"`unets predict --exp {name} --fold {','.join(map(str, folds[name]))} --force`"
            plan = partial(plan_job, name, experiment, manifest.dataset, command=command, force=force)
            oof_dir, no_tta_dir, test_dir = (project.maps_dir(name, kind) for kind in ("oof", "oof_no_tta", "test"))
            for fold, path in weights_paths[name].items():
                samples = [sample for sample in manifest.train if fold_of[sample.id] == fold]
                place, what = f"fold{fold}", f"fold {fold} out-of-fold"
                no_tta_folder = no_tta_dir / place if experiment.prediction.has_tta else None
                jobs.append(plan({fold: path}, oof_dir / place, samples, what=what, no_tta_folder=no_tta_folder))
            jobs.append(plan(weights_paths[name], test_dir, manifest.test, what="test"))
        run_jobs(jobs)


def plan_job(
    name: str,
    experiment: ExperimentConfig,
    dataset: DatasetConfig,
    weights_paths: Mapping[int, Path],
    folder: Path,
    samples: Sequence[Sample],
    *,
    what: str,
    command: str,
    no_tta_folder: Path | None = None,
    force: bool = False,
) -> PredictionJob:
    """Plans the job that makes what a folder lacks of the maps of some images; see `MapStore.find_missing`.

    The maps are the mean of the nets of all folds in `weights_paths`; those without TTA are kept where they have a
    folder. For `what` see `PredictionJob`; the command is what replaces maps of another origin, for errors.
    """
    store = MapStore(
        folder=folder,
        no_tta_folder=no_tta_folder,
        nets=list_nets(experiment, dataset.classes, hash_weights(weights_paths)),
        classes=dataset.classes,
        size_hw=experiment.data.size_hw,
        command=command,
    )
    shards = store.find_missing(in_chunks(samples, experiment.prediction.shard_size), force=force)
    return PredictionJob(
        name=name,
        what=what,
        experiment=experiment,
        dataset=dataset,
        weights_paths=tuple(weights_paths.values()),
        store=store,
        shards=shards,
    )


def run_jobs(jobs: Sequence[PredictionJob]) -> None:
    """Makes the missing shards of jobs, reading each image once for all that are of the same images and size.

    Raises InputError where an image or weights cannot be read, or a store was begun on a machine with other arithmetic.
    """
    together: dict[object, list[PredictionJob]] = defaultdict(list)
    for job in jobs:
        if job.shards:
            together[job.what, job.experiment.data.size_hw, job.experiment.prediction.shard_size].append(job)
        else:
            logger.info("%s %s: all maps are there", job.name, job.what)
    for some in together.values():
        _run_together(some)


def _run_together(jobs: Sequence[PredictionJob]) -> None:
    """Runs jobs of the same images and size here, or as some bundles of shards per GPU on a cluster."""
    shards_of: dict[tuple[Sample, ...], list[_Shard]] = defaultdict(list)
    for position, job in enumerate(jobs):
        for index, samples in job.shards.items():
            shards_of[samples].append(_Shard(position, index))
    chunks = [_Chunk(samples=samples, shards=tuple(shards)) for samples, shards in shards_of.items()]
    what = f"{', '.join(job.name for job in jobs)} {jobs[0].what}"
    make = partial(make_shards, [replace(job, shards={}) for job in jobs], what)  # chunks say which: sent once
    cluster = find_cluster()
    if cluster is None:
        make(chunks)
        return
    # A bundle loads its nets once; some per GPU, so that a slow one, or one that is lost, is not waited for.
    bundles = in_chunks(chunks, -(-len(chunks) // (BUNDLES_PER_GPU * cluster.count_gpus())))
    for _ in run_tasks(make, bundles, what=what, unit="bundle", on_gpu=True):
        pass


def make_shards(jobs: Sequence[PredictionJob], what: str, chunks: Sequence[_Chunk]) -> None:
    """Runs the pipeline over chunks, but for shards that another worker made before it was lost."""
    missing = [tuple(one for one in chunk.shards if not jobs[one.position].store.has(one.number)) for chunk in chunks]
    chunks = [replace(chunk, shards=shards) for chunk, shards in zip(chunks, missing, strict=True) if shards]
    used = {position: jobs[position] for position in sorted({one.position for chunk in chunks for one in chunk.shards})}
    if not used:
        return
    arithmetic = {p: describe_arithmetic(job.experiment.training.precision) for p, job in used.items()}
    for position, job in used.items():
        job.store.check_made_with(arithmetic[position])
    keras.utils.clear_session()  # nets of other folds
    predictors, size_hw = {}, next(iter(used.values())).experiment.data.size_hw
    for position, job in used.items():
        shown_hw = job.experiment.prediction.tile_hw or size_hw
        predictors[position] = load_predictor(job.weights_paths, job.experiment, shown_hw, job.dataset)
    batch_sizes = {position: job.experiment.prediction.batch_size for position, job in used.items()}
    cores, ahead = count_cores(), 2 * max(batch_sizes.values())

    def predict(batch: tuple[int, ImageU8]) -> list[tuple[int, tuple[ImageU8, ...]]]:
        position, images_nhwc = batch
        pairs = predict_batch(predictors[position], images_nhwc, used[position].experiment.prediction)
        is_kept = used[position].store.no_tta_folder is not None
        # In the order of `MapStore.folders`.
        return [(position, (no_tta, mean) if is_kept else (mean,)) for mean, no_tta in pairs]

    def encode(predicted: tuple[int, tuple[ImageU8, ...]]) -> tuple[int, list[EncodedMap]]:
        return predicted[0], list(map(encode_map, predicted[1]))

    def write(shard: tuple[int, int, Sequence[Sample], list[list[EncodedMap]]]) -> None:
        position, index, samples, maps = shard
        used[position].store.write(index, samples, maps, arithmetic[position])

    samples = (sample for chunk in chunks for sample in chunk.samples)
    images = map_ahead(lambda sample: read_image(sample, size_hw), samples, workers=cores, ahead=ahead)
    shown = show_progress(images, what=what, total=sum(len(chunk.samples) for chunk in chunks), unit="image")
    # In a thread of its own: while the net works on a batch, the next is stacked and the last one's maps are handed on.
    predicted = map_ahead(predict, _batch(chunks, batch_sizes, shown), workers=1, ahead=0)
    encoded = map_ahead(encode, chain.from_iterable(predicted), workers=cores, ahead=ahead)
    for _ in map_ahead(write, _collect(chunks, encoded), workers=1, ahead=0):
        pass


def _batch(
    chunks: Iterable[_Chunk], batch_sizes: Mapping[int, int], images: Iterator[ImageU8]
) -> Iterator[tuple[int, ImageU8]]:
    """Yields (position of a job, its next images); batches never cross chunks, so that a shard made again after a kill
    has the same bytes.
    """
    for chunk in chunks:
        takers: dict[int, list[int]] = defaultdict(list)
        for shard in chunk.shards:
            takers[batch_sizes[shard.position]].append(shard.position)
        waiting: dict[int, list[ImageU8]] = {batch_size: [] for batch_size in takers}
        num_images = len(chunk.samples)
        for number, image_hwc in enumerate(islice(images, num_images), start=1):
            for batch_size, taken in waiting.items():
                taken.append(image_hwc)
                if len(taken) == batch_size or number == num_images:
                    images_nhwc = np.stack(taken)
                    taken.clear()
                    yield from ((position, images_nhwc) for position in takers[batch_size])


def _collect(
    chunks: Iterable[_Chunk], encoded: Iterator[tuple[int, list[EncodedMap]]]
) -> Iterator[tuple[int, int, tuple[Sample, ...], list[list[EncodedMap]]]]:
    """Yields (position of a job, number of its shard, images, maps) as soon as a shard's maps are all there."""
    for chunk in chunks:
        index_of, made = dict(chunk.shards), defaultdict[int, list[list[EncodedMap]]](list)
        for position, maps in islice(encoded, len(chunk.samples) * len(chunk.shards)):
            made[position].append(maps)
            if len(made[position]) == len(chunk.samples):
                yield position, index_of[position], chunk.samples, made.pop(position)
