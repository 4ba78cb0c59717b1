"""Training of the folds of an experiment: resolve config and data, estimate cost, build, fit, save.

models/<competition>/<experiment>/fold<k>/
    config.json        what the run is; a run of another config is refused
    best.weights.h5    the weights that predict: of the best epoch, or of the last
    last/state.npz     all that going on needs, bit for bit: the learner's state, and the progress
    history.csv        one row an epoch
    metrics.json       what it reached and what it cost, over all restarts
    panel/             the worst validation images, worst.jpg, and which they are
"""

import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import keras

from unets.config import DatasetConfig, ExperimentConfig
from unets.data.augment import drop_colors
from unets.data.batches import Batches
from unets.data.cache import JoinedReader, PairReader, choose_shared_kind, measure_cache, open_reader
from unets.data.samples import Sample
from unets.data.sampling import weigh_samples
from unets.dataset.manifest import Manifest
from unets.dataset.pseudo_labels import hash_pseudo_labels, read_pseudo_labels
from unets.errors import InputError
from unets.log import Bar
from unets.nets.backend import (
    check_data_parallel,
    choose_precision,
    count_devices,
    count_replicas,
    data_parallel,
    describe_device,
)
from unets.nets.losses import build_loss
from unets.store.fingerprint import check_snapshot, is_trained, take_snapshot, write_snapshot
from unets.store.paths import Project
from unets.store.provenance import describe_commit
from unets.store.runs import hash_file, lock, was_killed
from unets.training.callbacks import ProgressBar, Save, StartEpoch, StopOnNonFinite, Validate
from unets.training.estimate import Estimate, check_estimate, count_images, estimate_cost
from unets.training.estimate_tables import render_estimate
from unets.training.learner import build_learner, build_net
from unets.training.memory import LESS_MEMORY, find_micro_batch, halve_micro_batch, is_out_of_memory
from unets.training.optimizers import build_optimizer
from unets.training.panel import WorstPanel
from unets.training.source import find_source, load_first_weights
from unets.training.state import Progress, RunFiles
from unets.training.validation import Validator
from unets.workers.machine import count_cores

logger = logging.getLogger(__name__)

SAVE_SECONDS = 600.0  # what a kill within a long epoch can cost


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One fold of one experiment: all that decides its weights, and where they lie.

    Args:
        run_dir: the run's folder, `models/<competition>/<experiment>/fold<k>`.
        manifest: the data set with its training samples.
        experiment: what is trained.
        number: of the fold, which is left out for validation.
        folds: fold of each training id.
        folds_hash: of the file they come from; a run goes on with the same folds only.
        pseudo_labels: test images that it is trained on too.
        pseudo_labels_hash: SHA-256 of their file.
        on_epoch: each is called with the run's folder after an epoch, whose files are written then, and at the end.
    """

    run_dir: Path
    manifest: Manifest
    experiment: ExperimentConfig
    number: int
    folds: Mapping[str, int]
    folds_hash: str
    pseudo_labels: tuple[Sample, ...] = ()
    pseudo_labels_hash: str = ""
    on_epoch: Sequence[Callable[[Path], object]] = ()

    @cached_property
    def files(self) -> RunFiles:
        """The files of its folder."""
        return RunFiles(self.run_dir)

    @cached_property
    def snapshot(self) -> dict[str, Any]:
        """What the run is, as `config.json` has it."""
        return take_snapshot(
            self.experiment, self.manifest.dataset, self.number, self.folds_hash, self.manifest.train_digest
        )

    @cached_property
    def source_path(self) -> Path | None:
        """The weights of another experiment that it starts from; see `find_source` for the errors."""
        return find_source(self.run_dir, self.experiment, self.manifest.dataset.classes, self.folds_hash)

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All samples, in the order of the reader: those of the data set, then those with pseudo-labels."""
        return (*self.manifest.train, *self.pseudo_labels)

    def call_on_epoch(self) -> None:
        """Calls each of `on_epoch`."""
        for call in self.on_epoch:
            call(self.run_dir)

    def hash_sources(self) -> dict[str, str]:
        """Returns the SHA-256 by name of all that it is made from besides its config and the training images."""
        hashes = {} if self.source_path is None else {"start_from": hash_file(self.source_path)}
        if self.pseudo_labels:
            hashes["pseudo_labels"] = self.pseudo_labels_hash
        weights_path = Path(self.experiment.model.weights)  # none and imagenet are no files
        if self.source_path is None and weights_path.is_file():
            hashes["weights"] = hash_file(weights_path)
        return hashes

    def build_batches(self, reader: PairReader, micro_batch: int, workers: int) -> tuple[Batches, Batches]:
        """Returns the batches of training, a step each, and of validation.

        A batch for validation, of whole images, takes no more memory than one for training.

        Args:
            reader: gives image and soft target of each of `samples`.
            micro_batch: images a step.
            workers: threads that prepare batches.
        """
        data, train = self.experiment.data, self.manifest.train
        inside = [index for index, sample in enumerate(train) if self.folds[sample.id] == self.number]
        if (most := self.experiment.training.validation_images) is not None and most < len(inside):
            inside = [inside[place * len(inside) // most] for place in range(most)]
        outside = [index for index, sample in enumerate(train) if self.folds[sample.id] != self.number]
        outside += range(len(train), len(self.samples))
        trained = [self.samples[index] for index in outside]
        (height, width), (crop_height, crop_width) = data.size_hw, data.crop_hw or data.size_hw
        fitting = micro_batch * crop_height * crop_width // (height * width)
        augment = data.augment
        if augment is not None and isinstance(self.manifest.dataset.channels, int):
            augment = drop_colors(augment)
        batches = Batches(
            reader,
            outside,
            draw_weights=weigh_samples(trained, self.manifest.dataset, data.balance, jobs=workers),
            batch_size=micro_batch,
            steps_per_update=data.batch_size // micro_batch,
            updates_per_epoch=self.experiment.training.steps_per_epoch,
            targets=data.targets,
            augment_config=augment,
            crop_hw=data.crop_hw,
            shuffle=True,
            seed=self.experiment.training.seed,
            workers=workers,
        )
        return batches, Batches(reader, inside, batch_size=max(fitting, 1), workers=workers)


def train_experiment(
    project: Project,
    manifest: Manifest,
    name: str,
    experiment: ExperimentConfig,
    *,
    folds: Mapping[str, int],
    folds_hash: str,
    use_folds: Sequence[int],
    micro_batch: int | None = None,
    in_parallel: bool = False,
    is_beside_others: bool = False,
    on_epoch: Sequence[Callable[[Path], object]] = (),
) -> None:
    """Trains folds of one experiment one after the other; they share the cache of decoded images.

    Args:
        project: the folders.
        manifest: its training samples, and its test samples where the experiment has pseudo-labels.
        name: of the experiment.
        experiment: its config.
        folds: fold of each training id.
        folds_hash: of the file they come from.
        use_folds: the folds to train.
        micro_batch: images a step on this machine; None: as the config has it, or less where memory wants it.
        in_parallel: whether a fold's steps are shared by all devices at hand.
        is_beside_others: whether other processes of this machine want a cache of the same images.
        on_epoch: see `Fold`.

    Raises:
        InputError: see `train_fold`. What is wrong with a config, a run folder or pseudo-labels is found before any
            fold is trained.
    """
    check_training(experiment, manifest.dataset, micro_batch, in_parallel=in_parallel)
    data = experiment.data
    if is_beside_others and data.cache == "auto":
        num_bytes = measure_cache(len(manifest.train), manifest.dataset, data.size_hw)
        data = data.model_copy(update={"cache": choose_shared_kind(num_bytes, data.size_hw, project.cache_dir)})
        experiment = experiment.model_copy(update={"data": data})
    todo = []
    for number in use_folds:
        fold = Fold(
            run_dir=project.run_dir(name, number),
            manifest=manifest,
            experiment=experiment,
            number=number,
            folds=folds,
            folds_hash=folds_hash,
            on_epoch=on_epoch,
        )
        check_snapshot(fold.run_dir, fold.snapshot)
        if is_trained(fold.run_dir):
            logger.info("%s: already trained", fold.files.what)
            continue
        _ = fold.source_path  # it must be there
        if (labels := experiment.data.pseudo_labels) is not None:
            samples = read_pseudo_labels(project, manifest, labels, number)
            sha256 = hash_pseudo_labels(project, labels, number)
            fold = replace(fold, pseudo_labels=samples, pseudo_labels_hash=sha256)
        todo.append(fold)
    if not todo:
        return
    estimate = _estimate(project, name, todo, micro_batch, in_parallel=in_parallel)
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
        begun = None if in_parallel else fold.files.find_micro_batch()
        step = micro_batch or begun or estimate.micro_batch
        train_fold(fold, joined, micro_batch=step, in_parallel=in_parallel)


def check_training(
    experiment: ExperimentConfig, dataset: DatasetConfig, micro_batch: int | None, *, in_parallel: bool = False
) -> int:
    """Checks what no config can check by itself, before anything is read.

    Args:
        experiment: what is trained.
        dataset: its classes.
        micro_batch: images a step; None: as the config has it.
        in_parallel: whether all devices at hand are to share a step.

    Returns:
        Images a step.

    Raises:
        InputError: a loss, optimizer or schedule has no such argument, `micro_batch` does not divide the batch, or the
            devices cannot share it.
    """
    data, config = experiment.data, experiment.training
    build_loss(config.losses, config.loss_args)
    if (weights := config.class_weights) is not None and len(weights) != len(dataset.classes):
        raise InputError(
            f"`class_weights` must have a number for each of {', '.join(dataset.classes)}. Received: {weights}"
        )
    build_optimizer(config, updates_per_epoch=1)
    if micro_batch is not None and not (1 <= micro_batch <= data.batch_size and data.batch_size % micro_batch == 0):
        raise InputError(f"`--micro-batch` must divide data.batch_size={data.batch_size}. Received: {micro_batch}")
    micro_batch = micro_batch or config.micro_batch or data.batch_size
    if in_parallel:
        check_data_parallel(micro_batch, data.batch_size // micro_batch)
    return micro_batch


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

    Where a device's memory does not hold a step, the step is halved and its gradients are added up.

    Args:
        fold: what is trained.
        reader: gives image and soft target of each of its samples.
        micro_batch: images a step on this machine; None: as the config has it.
        in_parallel: whether its steps are shared by all devices at hand.
        workers: threads that prepare batches; None is one a core.
        save_seconds: how often the state is saved within an epoch, besides after it.

    Raises:
        InputError: the folder holds a run of another config, another process is at work in it, a file cannot be read,
            the loss is not finite, or memory does not hold a single image.
    """
    micro_batch = check_training(fold.experiment, fold.manifest.dataset, micro_batch, in_parallel=in_parallel)
    batch_size, is_next_to_a_kill = fold.experiment.data.batch_size, was_killed(fold.run_dir)
    with lock(fold.run_dir):
        check_snapshot(fold.run_dir, fold.snapshot)
        if is_trained(fold.run_dir):
            logger.info("%s: already trained", fold.files.what)
            return
        if is_next_to_a_kill:
            fewer = halve_micro_batch(batch_size, micro_batch)
            remedy = LESS_MEMORY if fewer is None else f"--micro-batch {fewer} takes less"
            logger.warning("%s: the last start was killed. If that was for lack of memory: %s", fold.files.what, remedy)
        hashes = fold.hash_sources()
        write_snapshot(fold.run_dir, fold.snapshot)
        while True:
            train, valid = fold.build_batches(reader, micro_batch, workers or count_cores())
            try:
                with data_parallel() if in_parallel else nullcontext():
                    _train(fold, train, valid, hashes, save_seconds)
                return
            except Exception as error:
                failure = train.failure or valid.failure
                if not is_out_of_memory(failure or error):
                    if failure is not None:
                        raise failure from error
                    raise
                smaller = _find_smaller(fold, micro_batch, in_parallel=in_parallel)
                if smaller is None:
                    words = f"Memory must hold a step. Received: too little for {micro_batch} images"
                    raise InputError(f"{words}. {LESS_MEMORY}") from error
            logger.warning(
                "%s: memory does not hold %d images a step; goes on with %d, whose gradients are added up to %d",
                *(fold.files.what, micro_batch, smaller, batch_size),
            )
            micro_batch = smaller
            keras.utils.clear_session()
            gc.collect()  # what the failed step held


def _find_smaller(fold: Fold, micro_batch: int, *, in_parallel: bool) -> int | None:
    """Returns a smaller step; None where there is none, or the devices cannot add its gradients up."""
    num_devices = count_devices() if in_parallel else 1
    smaller = halve_micro_batch(fold.experiment.data.batch_size, micro_batch, num_devices)
    if smaller is not None and in_parallel:
        check_data_parallel(smaller, fold.experiment.data.batch_size // smaller)
    return smaller


def _estimate(
    project: Project, name: str, todo: Sequence[Fold], micro_batch: int | None, *, in_parallel: bool
) -> Estimate:
    """Estimates the cost of some folds, with the largest step that memory holds where nobody asked for another."""
    fold = todo[0]
    estimate = estimate_cost(
        project,
        fold.manifest.dataset,
        name,
        fold.experiment,
        num_folds=len(todo),
        counts=count_images(fold.manifest, num_pseudo=max(len(other.pseudo_labels) for other in todo)),
        micro_batch=micro_batch,
        num_devices=count_devices() if in_parallel else 1,
    )
    batch_size, usable = fold.experiment.data.batch_size, estimate.usable_bytes
    if micro_batch is not None or in_parallel or estimate.training_bytes <= usable:
        return estimate
    if not (fitting := find_micro_batch(estimate.training, usable, batch_size)):
        return estimate
    logger.warning(
        "%s: steps of %d images, as memory holds them; their gradients are added up to batches of %d",
        *(name, fitting, batch_size),
    )
    return replace(estimate, micro_batch=fitting)


def _train(fold: Fold, train: Batches, valid: Batches, hashes: Mapping[str, str], save_seconds: float) -> None:
    experiment, dataset, files = fold.experiment, fold.manifest.dataset, fold.files
    config, what, ids = experiment.training, files.what, [sample.id for sample in fold.samples]
    updates_per_epoch = len(train) // train.steps_per_update
    learner = build_learner(experiment, dataset, updates_per_epoch, steps_per_update=train.steps_per_update)
    net = learner.net
    if experiment.data.crop_hw not in (None, experiment.data.size_hw) or config.ema is not None:
        net = build_net(experiment, dataset, experiment.data.size_hw, "valid")  # of other images, or weights
    args: dict[str, Any] = {"class_weights": config.class_weights, "overlapping": dataset.overlapping}
    loss = build_loss(config.losses, config.loss_args, **args)
    validator = Validator(net, loss, valid, metric=dataset.metric, overlapping=dataset.overlapping)
    progress, precision = files.load_last(learner), choose_precision(config.precision)
    computed = {"backend": keras.backend.backend(), "precision": precision}
    if files.last_path.exists():
        _check_progress(files, progress, hashes, computed)
    else:
        progress.sources, progress.computed = dict(hashes), computed
        load_first_weights(learner.net, experiment, fold.source_path)
    device = f"{describe_device()} ({keras.backend.backend()})"
    progress.note_start(device, train.batch_size, describe_commit(Path(__file__).parent))
    images = f"{len(train.indices)} images, {len(valid.indices)} held out"
    logger.info("%s: %.2f M parameters, %s, %s", what, learner.net.count_params() / 1e6, precision, images)
    if files.last_path.exists():
        updates = f" and {progress.updates} updates" if progress.updates else ""
        logger.info("%s: goes on after epoch %d%s", what, progress.next_epoch, updates)
    save = Save(files, progress, train, validator, config, save_seconds)
    panel = WorstPanel(
        validator.predict,
        valid.reader,
        valid.indices.tolist(),
        ids=ids,
        classes=dataset.classes,
        folder=files.panel_dir,
        num_epochs=config.epochs,
        batch_size=max(valid.batch_size // count_replicas(), 1),  # every device may predict the whole batch
        overlapping=dataset.overlapping,
    )
    done = progress.next_epoch * train.count_images() + progress.updates * train.steps_per_update * train.batch_size
    with Bar(what, total=config.epochs * train.count_images(), unit="image", initial=done) as bar:
        callbacks = [
            StartEpoch(train, progress),
            StopOnNonFinite(train, ids),
            Validate(validator),
            ProgressBar(bar, train, config.epochs),
            panel,  # before the state is saved: an epoch that is saved has its panel
            save,
            keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: fold.call_on_epoch()),
        ]
        # An epoch that was begun is a `fit` of its own: Keras counts batches at its start.
        while not progress.is_finished(config.epochs, config.patience):
            train.start_epoch(progress.next_epoch, progress.updates * train.steps_per_update)
            learner.fit(
                train,
                initial_epoch=progress.next_epoch,
                epochs=progress.next_epoch + 1 if progress.updates else config.epochs,
                callbacks=callbacks,
                shuffle=False,  # Keras would shuffle whole batches, through Python's global generator
                verbose=0,
            )
    files.write_history(progress)
    files.write_metrics(progress, is_finished=True)
    fold.call_on_epoch()
    chosen = f"the best by {validator.metric} of the held-out images themselves: a little too good"
    logger.info(
        "%s: Dice %.5f in epoch %d of %d, %s",
        *(what, progress.best_dice, progress.best_epoch + 1, progress.next_epoch),
        chosen if config.keep == "best" else "the last",
    )


def _check_progress(
    files: RunFiles, progress: Progress, hashes: Mapping[str, str], computed: Mapping[str, str]
) -> None:
    """Checks that a run goes on with what it began with.

    Raises:
        InputError: its files, backend or precision are others.
    """
    again = f"{files.start_again} deletes the run, so that training starts again"
    if progress.sources != hashes:
        raise InputError(
            f"{files.what} must go on with the files that it began with. Received: others than then as "
            f"{', '.join(sorted({*progress.sources, *hashes}))}. {again}"
        )
    if progress.computed != computed:
        began, found = (
            ", ".join(f"{key} {value}" for key, value in items.items()) for items in (progress.computed, computed)
        )
        raise InputError(
            f"{files.what} must go on as it began, with {began}. Received: {found}. `KERAS_BACKEND` and "
            f"`training.precision` set them; {again}"
        )
