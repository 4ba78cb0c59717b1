"""Training of the folds of an experiment: resolve config and data, estimate cost, build, fit, save."""

import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import keras

from unets.config import DatasetConfig, ExperimentConfig
from unets.data.batches import Batches
from unets.data.cache import JoinedReader, PairReader, choose_shared_kind, measure_cache, open_reader
from unets.dataset.manifest import Manifest
from unets.dataset.pseudo_labels import hash_pseudo_labels, read_pseudo_labels
from unets.errors import InputError
from unets.log import Bar
from unets.nets.backend import check_data_parallel, choose_precision, count_devices, data_parallel, describe_device
from unets.nets.encoders import load_pretrained
from unets.store.paths import Project
from unets.store.provenance import describe_commit
from unets.store.run_folder import check_snapshot, is_trained, write_snapshot
from unets.store.runs import lock, was_killed
from unets.training.callbacks import Watch
from unets.training.estimate import check_estimate, estimate_cost, fit_micro_batch, render_estimate
from unets.training.learner import Learner, build_experiment_loss, build_learner, build_net
from unets.training.memory import LESS_MEMORY, find_micro_batch, find_smaller_micro_batch
from unets.training.state import Fold, Progress
from unets.training.validation import Validator, score_nothing
from unets.workers.machine import count_cores

logger = logging.getLogger(__name__)

_NO_DIFFERENCE = 1e-4  # of two Dice scores
SAVE_SECONDS = 600.0  # what a kill within a long epoch can cost


def train_experiment(
    project: Project,
    manifest: Manifest,
    name: str,
    experiment: ExperimentConfig,
    *,
    fold_of: Mapping[str, int],
    folds_hash: str,
    folds: Sequence[int],
    micro_batch: int | None = None,
    in_parallel: bool = False,
    is_cache_shared: bool = False,
    on_epoch: Sequence[Callable[[Path], object]] = (),
) -> None:
    """Trains some folds of one experiment one after the other; they share the cache of decoded images.

    `fold_of` has the fold of each training id, `folds_hash` is that of their file. A step has `micro_batch` images on
    this machine; without, it is a whole batch, or less where memory wants it. All devices at hand share a fold's steps
    where it is trained `in_parallel`. Other processes of this machine may want a cache of the same images
    (`is_cache_shared`). For `on_epoch` see `Fold`. For the errors see `train_fold`; what is wrong with a config, a
    run folder or pseudo-labels is found before any fold is trained.
    """
    check_training(experiment, manifest.dataset, micro_batch, in_parallel=in_parallel)
    data = experiment.data
    if is_cache_shared and data.cache == "auto":
        num_bytes = measure_cache(len(manifest.train), manifest.dataset, data.size_hw)
        data = data.model_copy(update={"cache": choose_shared_kind(num_bytes, data.size_hw, project.cache_dir)})
        experiment = experiment.model_copy(update={"data": data})
    todo = list[Fold]()
    for number in folds:
        fold = Fold(
            run_dir=project.run_dir(name, number),
            manifest=manifest,
            experiment=experiment,
            number=number,
            fold_of=fold_of,
            folds_hash=folds_hash,
            on_epoch=on_epoch,
        )
        if _is_done(fold):
            continue
        fold.check_source()
        if (labels := data.pseudo_labels) is not None:
            samples = read_pseudo_labels(project, manifest, labels, number)
            sha256 = hash_pseudo_labels(project, labels, number)
            fold = replace(fold, pseudo_labels=samples, pseudo_labels_hash=sha256)
        todo.append(fold)
    if not todo:
        return
    num_devices, numbers = count_devices() if in_parallel else 1, [fold.number for fold in todo]
    estimate = estimate_cost(
        project, manifest, name, experiment, numbers, micro_batch=micro_batch, num_devices=num_devices
    )
    if micro_batch is None and not in_parallel:
        estimate = fit_micro_batch(estimate)
    logger.info("%s", render_estimate(estimate))
    check_estimate(estimate)
    cache = (manifest.dataset, data.size_hw, estimate.cache, project.cache_dir)
    reader = open_reader(manifest.train, *cache)
    for fold in todo:
        keras.utils.clear_session()  # nets of other folds
        joined = reader
        if fold.pseudo_labels:
            more = open_reader(fold.pseudo_labels, *cache, what=f"{data.pseudo_labels}_fold{fold.number}")
            joined = JoinedReader(reader, len(manifest.train), more)
        # A run goes on with the step that memory chose, so that it ends as one that was not killed.
        earlier = [] if in_parallel else fold.load_last().micro_batches
        fitting = micro_batch or (earlier[-1] if earlier else estimate.micro_batch)
        train_fold(fold, joined, micro_batch=fitting, in_parallel=in_parallel)


def train_fold(
    fold: Fold,
    reader: PairReader,
    *,
    micro_batch: int | None = None,
    in_parallel: bool = False,
    workers: int | None = None,
    save_seconds: float = SAVE_SECONDS,
) -> None:
    """Trains one fold; goes on where it stopped, and does nothing where it is finished.

    Where a device's memory does not hold a step, the step is halved and its gradients are added up. The reader gives
    image and soft target of each of the fold's samples; `workers` threads, or one a core, prepare batches. The state is
    saved after each epoch, and within one every `save_seconds`. For the rest see `train_experiment`. Raises InputError
    where the folder holds a run of another config, another process is at work in it, a file cannot be read, the loss is
    not finite, or memory does not hold a single image.
    """
    micro_batch = check_training(fold.experiment, fold.manifest.dataset, micro_batch, in_parallel=in_parallel)
    batch_size, is_after_kill = fold.experiment.data.batch_size, was_killed(fold.run_dir)
    with lock(fold.run_dir):
        if _is_done(fold):
            return
        if is_after_kill:
            fewer = find_micro_batch(batch_size, micro_batch // 2)
            remedy = f"--micro-batch {fewer} takes less" if fewer else LESS_MEMORY
            logger.warning("%s: the last start was killed. If that was for lack of memory: %s", fold, remedy)
        write_snapshot(fold.run_dir, fold.snapshot, fold.manifest.train_hashes)
        while True:
            train, valid = fold.build_batches(reader, micro_batch, workers or count_cores())
            try:
                with data_parallel() if in_parallel else nullcontext():
                    _train(fold, train, valid, save_seconds)
                return
            except Exception as error:
                # All but a lack of memory is raised again. TensorFlow wraps what a generator raises. No name keeps the
                # error: it would hold the failed step.
                num_devices = count_devices() if in_parallel else 1
                smaller = find_smaller_micro_batch(
                    train.failure or valid.failure or error, batch_size, micro_batch, num_devices
                )
            if in_parallel:
                check_data_parallel(smaller)
            logger.warning(
                "%s: memory does not hold %d images per step; goes on with %d, whose gradients are added up to %d",
                *(fold, micro_batch, smaller, batch_size),
            )
            micro_batch = smaller
            keras.utils.clear_session()
            gc.collect()  # what the failed step held


def check_training(
    experiment: ExperimentConfig, dataset: DatasetConfig, micro_batch: int | None, *, in_parallel: bool = False
) -> int:
    """Checks what no config can check by itself, before anything is read; returns the micro-batch.

    Raises InputError where `class_weights` are not one a class, `micro_batch` does not divide the batch, or the devices
    cannot share it.
    """
    batch_size = experiment.data.batch_size
    if (weights := experiment.training.class_weights) is not None and len(weights) != len(dataset.classes):
        raise InputError(
            f"`class_weights` must have a number for each of {', '.join(dataset.classes)}. Received: {weights}"
        )
    if micro_batch is not None and not (1 <= micro_batch <= batch_size and batch_size % micro_batch == 0):
        raise InputError(f"`--micro-batch` must divide data.batch_size={batch_size}. Received: {micro_batch}")
    micro_batch = micro_batch or batch_size
    if in_parallel:
        check_data_parallel(micro_batch)
    return micro_batch


def _is_done(fold: Fold) -> bool:
    """Tells whether a fold is trained, and refuses a folder of another config."""
    check_snapshot(fold.run_dir, fold.snapshot, fold.manifest.train_hashes)
    is_done = is_trained(fold.run_dir)
    if is_done:
        logger.info("%s: already trained", fold)
    return is_done


def _train(fold: Fold, train: Batches, valid: Batches, save_seconds: float) -> None:
    """Builds the net, goes on where the run stopped, fits and saves."""
    experiment, dataset, per_update = fold.experiment, fold.manifest.dataset, train.steps_per_update
    data, config = experiment.data, experiment.training
    learner = build_learner(experiment, dataset, len(train) // per_update, steps_per_update=per_update)
    net, loss = learner.net, build_experiment_loss(experiment, dataset)
    if data.crop_hw not in (None, data.size_hw) or config.ema is not None:
        net = build_net(experiment, dataset, data.size_hw, "valid")  # of other images, or weights
    validator = Validator(net, loss, valid, dataset)
    progress = _start(fold, learner, train.micro_batch)
    parameters, precision = learner.net.count_params() / 1e6, progress.computed["precision"]
    images = f"{len(train.indices)} images, {len(valid.indices)} held out"
    logger.info("%s: %.2f M parameters, %s, %s", fold, parameters, precision, images)
    if progress.starts > 1:
        updates = f" and {progress.updates} updates" if progress.updates else ""
        logger.info("%s: goes on after epoch %d%s", fold, progress.next_epoch, updates)
    done = progress.next_epoch * train.count_images() + progress.updates * per_update * train.micro_batch
    with Bar(str(fold), total=config.epochs * train.count_images(), unit="image", initial=done) as bar:
        watch = Watch(fold, progress, train, validator, bar, save_seconds)
        # An epoch that was begun is a `fit` of its own: Keras counts batches at its start.
        while not progress.is_finished(config.epochs, config.patience):
            train.start_epoch(progress.next_epoch, progress.updates * per_update)
            learner.fit(
                train,
                initial_epoch=progress.next_epoch,
                epochs=progress.next_epoch + 1 if progress.updates else config.epochs,
                callbacks=[watch],
                shuffle=False,  # Keras would shuffle whole batches, through Python's global generator
                verbose=0,
            )
    fold.write_scores(progress, is_finished=True)
    chosen = f"the best by {validator.metric} of the held-out images themselves: a little too good"
    logger.info(
        "%s: Dice %.5f in epoch %d of %d, %s",
        *(fold, progress.best_dice, progress.best_epoch + 1, progress.next_epoch),
        chosen if config.keep == "best" else "the last",
    )
    if abs(progress.best_dice - score_nothing(valid, len(dataset.classes))) < _NO_DIFFERENCE:
        logger.warning(
            "%s: no better than empty masks, so no object is found. More training, `data.balance=class` (images with "
            "and without objects equally often), `data.crop_hw` with `data.crop_objects`, or a larger `data.size_hw` "
            "may help",
            fold,
        )


def _start(fold: Fold, learner: Learner, micro_batch: int) -> Progress:
    """Takes a run up where it stopped, or gives it its first weights.

    Raises InputError where it would go on with other files, another backend or precision than it began with; or its
    first weights cannot be had.
    """
    config, model, hashes = fold.experiment.training, fold.experiment.model, fold.hash_sources()
    progress = fold.load_last(learner)
    computed = {"backend": keras.backend.backend(), "precision": choose_precision(config.precision)}
    if not progress.starts:
        progress.sources, progress.computed = hashes, computed
        if fold.source_path is not None:
            learner.net.load_weights(fold.source_path)
            logger.info("first weights: those of %s", fold.source_path)
        elif model.weights != "none":
            load_pretrained(learner.net, model.encoder, model.weights)
    if progress.sources != hashes:
        raise InputError(
            f"{fold} must go on with the files that it began with. Received: others than then as "
            f"{', '.join(sorted({*progress.sources, *hashes}))}. {fold.remedy}"
        )
    if progress.computed != computed:
        began, found = (", ".join(map(" ".join, of.items())) for of in (progress.computed, computed))
        raise InputError(
            f"{fold} must go on as it began, with {began}. Received: {found}. `KERAS_BACKEND` and "
            f"`training.precision` set them; {fold.remedy}"
        )
    device = f"{describe_device()} ({keras.backend.backend()})"
    progress.note_start(device, micro_batch, describe_commit())
    return progress
