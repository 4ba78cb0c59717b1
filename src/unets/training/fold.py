"""Training of one fold of one experiment, from batches to weights in its run folder.

models/<competition>/<experiment>/fold<k>/
    config.json        what the run is; a run of another config is refused
    best.weights.h5    the weights of the best epoch, which predict
    last/state.npz     all that going on needs: variables of net and optimizer, and the progress
    history.csv        one row an epoch
    metrics.json       what it reached and what it cost, over all restarts
    events/            the history for TensorBoard
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras

from unets.catalog import Catalog
from unets.config import ExperimentConfig, TrainingConfig
from unets.data.batches import Batches
from unets.data.cache import PairReader, open_reader
from unets.nets.backend import choose_precision, describe_device, prefers_xla
from unets.nets.losses import build_loss
from unets.nets.metrics import MeanDice
from unets.nets.unet import build_unet
from unets.parallel import count_cores
from unets.paths import Project
from unets.runs import hold, read_json
from unets.snapshot import check_snapshot, take_snapshot, write_snapshot
from unets.training.callbacks import DealEpoch, Progress, ProgressBar, RunFiles, Save, StopOnNonFinite

logger = logging.getLogger(__name__)


def train_experiment(
    project: Project,
    catalog: Catalog,
    name: str,
    experiment: ExperimentConfig,
    *,
    folds: Mapping[str, int],
    folds_hash: str,
    use_folds: Sequence[int],
) -> None:
    """Trains folds of one experiment one after the other; they share the cache of decoded photos.

    Args:
        project: the folders.
        catalog: its training samples.
        name: of the experiment.
        experiment: its config.
        folds: fold of each training id.
        folds_hash: of the file they come from.
        use_folds: the folds to train.

    Raises:
        InputError: see `train_fold`. A run folder of another config is refused before any fold is trained.
    """
    todo = []
    for fold in use_folds:
        run_dir = project.run_dir(name, fold)
        check_snapshot(run_dir, take_snapshot(experiment, catalog.dataset.classes, fold, folds_hash))
        if is_finished(run_dir):
            logger.info("%s fold %d: already trained", name, fold)
        else:
            todo.append(fold)
    if not todo:
        return
    data = experiment.data
    reader = open_reader(catalog.train, catalog.dataset, data.size_hw, data.cache, project.cache_dir)
    for fold in todo:
        keras.utils.clear_session()  # nets of other folds
        run_dir = project.run_dir(name, fold)
        train_fold(run_dir, catalog, experiment, fold=fold, folds=folds, folds_hash=folds_hash, reader=reader)


def train_fold(
    run_dir: Path,
    catalog: Catalog,
    experiment: ExperimentConfig,
    *,
    fold: int,
    folds: Mapping[str, int],
    folds_hash: str,
    reader: PairReader,
    workers: int | None = None,
) -> None:
    """Trains one fold; goes on from its last finished epoch, and does nothing where it is finished.

    Args:
        run_dir: the run's folder, `models/<competition>/<experiment>/fold<k>`.
        catalog: its training samples, which `reader` reads by their position.
        experiment: what is trained.
        fold: the fold that is left out for validation.
        folds: fold of each training id.
        folds_hash: of the file they come from; a run goes on with the same folds only.
        reader: gives photo and coverage of a sample.
        workers: threads that prepare batches; None is one a core.

    Raises:
        InputError: the folder holds a run of another config, another process is at work in it, a file cannot be read,
            or the loss is not finite.
    """
    what = f"{run_dir.parent.name} fold {fold}"
    with hold(run_dir):
        snapshot = take_snapshot(experiment, catalog.dataset.classes, fold, folds_hash)
        check_snapshot(run_dir, snapshot)
        if is_finished(run_dir):
            logger.info("%s: already trained", what)
            return
        write_snapshot(run_dir, snapshot)
        train, valid = split_batches(catalog, experiment, fold, folds, reader, workers or count_cores())
        _fit(run_dir, what, catalog, experiment, train, valid)


def is_finished(run_dir: Path) -> bool:
    """Tells whether a run was trained to its end."""
    files = RunFiles(run_dir)
    return files.metrics_path.exists() and files.best_path.exists() and read_json(files.metrics_path)["is_finished"]


def split_batches(
    catalog: Catalog,
    experiment: ExperimentConfig,
    fold: int,
    folds: Mapping[str, int],
    reader: PairReader,
    workers: int,
) -> tuple[Batches, Batches]:
    """Returns the batches of training and of validation; the latter keep every photo of the fold."""
    data, seed = experiment.data, experiment.training.seed
    inside = [index for index, sample in enumerate(catalog.train) if folds[sample.id] == fold]
    outside = [index for index, sample in enumerate(catalog.train) if folds[sample.id] != fold]
    train = Batches(
        reader,
        outside,
        batch_size=data.batch_size,
        targets=data.targets,
        augment_config=data.augment,
        shuffle=True,
        seed=seed,
        workers=workers,
    )
    return train, Batches(reader, inside, batch_size=data.batch_size, workers=workers)


def compile_unet(catalog: Catalog, experiment: ExperimentConfig, steps_per_epoch: int) -> keras.Model:
    """Builds the net with its loss, metric and optimizer."""
    keras.utils.set_random_seed(experiment.training.seed)
    precision = choose_precision(experiment.training.precision)
    model = build_unet(experiment.model, experiment.data.size_hw, len(catalog.dataset.classes), precision)
    optimizer = build_optimizer(experiment.training, steps_per_epoch)
    loss = build_loss(experiment.training.loss)
    model.compile(optimizer=optimizer, loss=loss, metrics=[MeanDice()], jit_compile=prefers_xla())
    model.optimizer.build(model.trainable_variables)
    return model


def build_optimizer(config: TrainingConfig, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), linear warm-up to the peak, cosine decay to zero."""
    warmup_steps = round(config.warmup_epochs * steps_per_epoch)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=config.learning_rate / 100,
        decay_steps=max(config.epochs * steps_per_epoch - warmup_steps, 1),
        warmup_target=config.learning_rate,
        warmup_steps=warmup_steps,
    )
    if warmup_steps == 0:
        schedule = keras.optimizers.schedules.CosineDecay(config.learning_rate, config.epochs * steps_per_epoch)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay, global_clipnorm=config.clip_norm)
    # Decay pulls filters towards zero; pulling shifts and scales of a normalization has no such meaning.
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    return optimizer


def _fit(
    run_dir: Path,
    what: str,
    catalog: Catalog,
    experiment: ExperimentConfig,
    train: Batches,
    valid: Batches,
) -> None:
    config, files = experiment.training, RunFiles(run_dir)
    model = compile_unet(catalog, experiment, len(train))
    progress = files.load_last(model)
    _note_start(progress)
    if progress.is_finished(config.epochs, config.patience):
        # A kill came after the last epoch's state, before the files that are written from it.
        files.write_history(progress)
        files.write_metrics(progress, is_finished=True)
        return
    photos = f"{len(train.indices)} photos, {len(valid.indices)} held out"
    precision = choose_precision(config.precision)
    logger.info("%s: %.2f M parameters, %s, %s", what, model.count_params() / 1e6, precision, photos)
    if progress.next_epoch:
        logger.info("%s: goes on after epoch %d", what, progress.next_epoch)
    callbacks = [
        DealEpoch(train),
        StopOnNonFinite(train, [sample.id for sample in catalog.train]),
        ProgressBar(what, train, config.epochs),
        Save(files, progress, train, patience=config.patience, num_epochs=config.epochs),
    ]
    try:
        model.fit(
            train,
            validation_data=valid,
            initial_epoch=progress.next_epoch,
            epochs=config.epochs,
            callbacks=callbacks,
            shuffle=False,  # Keras would shuffle whole batches, through Python's global generator
            verbose=0,
        )
    except Exception as error:
        failure = train.failure or valid.failure
        if failure is not None:
            raise failure from error
        raise
    logger.info("%s: best Dice %.5f in epoch %d", what, progress.best_dice, progress.best_epoch + 1)


def _note_start(progress: Progress) -> None:
    progress.starts += 1
    device = f"{describe_device()} ({keras.backend.backend()})"
    if device not in progress.devices:
        progress.devices.append(device)
