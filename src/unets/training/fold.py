"""Training of one fold of one experiment, from batches to weights in its run folder.

models/<competition>/<experiment>/fold<k>/
    config.json        what the run is; a run of another config is refused
    best.weights.h5    the weights that predict: of the best epoch, or a mean of several
    last/state.npz     all that going on needs, bit for bit: the learner's state, and the progress
    checkpoints/       weights of the epochs to be averaged, until the end
    history.csv        one row an epoch
    metrics.json       what it reached and what it cost, over all restarts
    events/            the history for TensorBoard
    panel/             the worst validation photos, for TensorBoard
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import keras

from unets.config import ExperimentConfig, TrainingConfig
from unets.data.batches import Batches
from unets.data.cache import JoinedReader, PairReader, open_reader
from unets.data.samples import Sample
from unets.data.sampling import weigh_samples
from unets.dataset.manifest import Manifest
from unets.dataset.pseudo_labels import hash_pseudo_labels, read_pseudo_labels
from unets.errors import InputError
from unets.nets.backend import (
    check_spread,
    choose_precision,
    count_devices,
    count_spread,
    describe_device,
    spread_devices,
)
from unets.nets.losses import build_loss
from unets.nets.unet import build_unet
from unets.store.fingerprint import check_snapshot, take_snapshot, write_snapshot
from unets.store.paths import Project
from unets.store.provenance import describe_commit
from unets.store.runs import hash_file, lock, read_json, was_killed
from unets.training.averages import average_checkpoints, drop_checkpoints
from unets.training.callbacks import DealEpoch, ProgressBar, Save, StopOnNonFinite, Validate
from unets.training.exhaustion import ONE_TOO_MANY, explain_exhaustion, find_smaller_batch, is_exhaustion
from unets.training.learner import Learner, build_learner
from unets.training.optimizers import build_optimizer
from unets.training.panel import WorstPanel
from unets.training.planner import Photos, check_plan, plan_experiment, probe_plan
from unets.training.price import render_plan
from unets.training.source import find_source, load_first_weights
from unets.training.state import Progress, RunFiles
from unets.training.validation import Validator
from unets.workers.machine import count_cores

logger = logging.getLogger(__name__)

SAVE_SECONDS = 600.0  # what a kill within a long epoch can cost
# Multiply-adds of a training whose hours are worth the seconds of a probe: two cores take ten minutes for them.
WORTH_PROBING = 1e13


@dataclass(frozen=True, kw_only=True, slots=True)
class PseudoLabels:
    """Test photos that one fold is trained on too."""

    samples: tuple[Sample, ...] = ()
    sha256: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What a run is made from besides its config and the training photos."""

    weights_path: Path | None  # of the first weights, where another experiment gives them
    hashes: Mapping[str, str]  # SHA-256 by name; a run that goes on must find the same


@dataclass(frozen=True, kw_only=True, slots=True)
class Feed:
    """What a fold is fed."""

    train: Batches
    valid: Batches
    ids: list[str]  # of all that their reader reads, in its order


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
    spread: bool = False,
) -> None:
    """Trains folds of one experiment one after the other; they share the cache of decoded photos.

    Args:
        project: the folders.
        manifest: its training samples, and its test samples where the experiment has pseudo-labels.
        name: of the experiment.
        experiment: its config.
        folds: fold of each training id.
        folds_hash: of the file they come from.
        use_folds: the folds to train.
        micro_batch: photos a step on this machine; None: as the config has it.
        spread: whether a fold uses all devices at hand.

    Raises:
        InputError: see `train_fold`. What is wrong with a config, a run folder or pseudo-labels is found before any
            fold is trained.
    """
    check_training(experiment, micro_batch, spread=spread)
    todo = []
    for fold in use_folds:
        run_dir = project.run_dir(name, fold)
        check_snapshot(run_dir, take_snapshot(experiment, manifest.dataset, fold, folds_hash, manifest.train_digest))
        if is_finished(run_dir):
            logger.info("%s fold %d: already trained", name, fold)
            if RunFiles(run_dir).checkpoints_dir.exists():  # a kill came between the last word and the clean-up
                with lock(run_dir):
                    drop_checkpoints(RunFiles(run_dir))
        else:
            find_source(run_dir, experiment, manifest.dataset.classes, folds_hash)
            todo.append(fold)
    if not todo:
        return
    labels_of = {fold: load_pseudo_labels(project, manifest, experiment.data.pseudo_labels, fold) for fold in todo}
    photos = Photos(
        num_train=len(manifest.train),
        num_test=len(manifest.test) or manifest.dataset.num_test or 0,
        num_pseudo=max(len(labels.samples) for labels in labels_of.values()),
    )
    plan = plan_experiment(
        project,
        manifest.dataset,
        name,
        experiment,
        num_folds=len(todo),
        photos=photos,
        micro_batch=micro_batch,
        num_devices=count_devices() if spread else 1,
        probe=False,
    )
    if plan.train_multiply_adds >= WORTH_PROBING:
        try:
            plan = probe_plan(plan, manifest.dataset, manifest.train)
        except Exception as error:
            if not is_exhaustion(error):
                raise
            # The plan thought that it fits; a card is timed at the very step that training would take.
            run_dir = project.run_dir(name, todo[0])
            raise InputError(explain_exhaustion(run_dir, experiment, plan.micro_batch, plan.num_devices)) from error
    logger.info("%s", render_plan(plan))
    check_plan(plan)
    data = experiment.data
    reader = open_reader(manifest.train, manifest.dataset, data.size_hw, plan.cache, project.cache_dir)
    for fold in todo:
        keras.utils.clear_session()  # nets of other folds
        joined = reader
        if labels_of[fold].samples:
            more = open_reader(
                labels_of[fold].samples,
                manifest.dataset,
                data.size_hw,
                plan.cache,
                project.cache_dir,
                what=f"{data.pseudo_labels}_fold{fold}",
            )
            joined = JoinedReader(reader, len(manifest.train), more)
        train_fold(
            project.run_dir(name, fold),
            manifest,
            experiment,
            fold=fold,
            folds=folds,
            folds_hash=folds_hash,
            reader=joined,
            pseudo_labels=labels_of[fold],
            micro_batch=micro_batch,
            spread=spread,
        )


def load_pseudo_labels(project: Project, manifest: Manifest, name: str | None, fold: int) -> PseudoLabels:
    """Loads the pseudo-labels of that name for a fold; none without a name.

    Raises:
        InputError: there are none of that name, or they are not whole.
    """
    if name is None:
        return PseudoLabels()
    samples = read_pseudo_labels(project, manifest, name, fold)
    return PseudoLabels(samples=tuple(samples), sha256=hash_pseudo_labels(project, name, fold))


def train_fold(
    run_dir: Path,
    manifest: Manifest,
    experiment: ExperimentConfig,
    *,
    fold: int,
    folds: Mapping[str, int],
    folds_hash: str,
    reader: PairReader,
    pseudo_labels: PseudoLabels = PseudoLabels(),
    micro_batch: int | None = None,
    spread: bool = False,
    workers: int | None = None,
    save_seconds: float = SAVE_SECONDS,
) -> None:
    """Trains one fold; goes on where it stopped, and does nothing where it is finished.

    Args:
        run_dir: the run's folder, `models/<competition>/<experiment>/fold<k>`.
        manifest: its training samples, which `reader` reads by their position.
        experiment: what is trained.
        fold: the fold that is left out for validation.
        folds: fold of each training id.
        folds_hash: of the file they come from; a run goes on with the same folds only.
        reader: gives photo and coverage of a sample; those of the pseudo-labels come after the manifest's.
        pseudo_labels: more samples to train on.
        micro_batch: photos a step on this machine; None: as the config has it.
        spread: whether the fold uses all devices at hand.
        workers: threads that prepare batches; None is one a core.
        save_seconds: how often the state is saved within an epoch, besides after it.

    Raises:
        InputError: the folder holds a run of another config, another process is at work in it, a file cannot be read,
            the loss is not finite, or memory does not suffice.
    """
    files, micro_batch = RunFiles(run_dir), check_training(experiment, micro_batch, spread=spread)
    num_devices, is_next_to_a_kill = count_devices() if spread else 1, was_killed(run_dir)
    with lock(run_dir):
        snapshot = take_snapshot(experiment, manifest.dataset, fold, folds_hash, manifest.train_digest)
        check_snapshot(run_dir, snapshot)
        if is_finished(run_dir):
            logger.info("%s: already trained", files.what)
            return
        if is_next_to_a_kill:
            fewer = find_smaller_batch(experiment, micro_batch, num_devices)
            remedy = ONE_TOO_MANY if fewer is None else f"MICRO_BATCH={fewer} takes less"
            logger.warning("%s: the last start was killed. If that was for lack of memory: %s", files.what, remedy)
        weights_path = find_source(run_dir, experiment, manifest.dataset.classes, folds_hash)
        write_snapshot(run_dir, snapshot)
        train, valid = split_batches(
            manifest,
            experiment,
            fold,
            folds,
            reader,
            workers or count_cores(),
            micro_batch=micro_batch,
            pseudo_labels=pseudo_labels.samples,
        )
        hashes = {} if weights_path is None else {"start_from": hash_file(weights_path)}
        if pseudo_labels.samples:
            hashes["pseudo_labels"] = pseudo_labels.sha256
        pretrained_path = Path(experiment.model.weights)  # none and imagenet are no files
        if weights_path is None and pretrained_path.is_file():
            hashes["weights"] = hash_file(pretrained_path)
        source = Source(weights_path=weights_path, hashes=hashes)
        ids = [sample.id for sample in (*manifest.train, *pseudo_labels.samples)]
        try:
            with spread_devices() if spread else nullcontext():
                _train(files, manifest, experiment, Feed(train=train, valid=valid, ids=ids), source, save_seconds)
        except Exception as error:
            failure = train.failure or valid.failure
            if is_exhaustion(failure or error):
                raise InputError(explain_exhaustion(run_dir, experiment, micro_batch, num_devices)) from error
            if failure is not None:
                raise failure from error
            raise


def check_training(experiment: ExperimentConfig, micro_batch: int | None, *, spread: bool = False) -> int:
    """Checks what no config can check by itself, before anything is read.

    Args:
        experiment: what is trained.
        micro_batch: photos a step; None: as the config has it.
        spread: whether all devices at hand are to share a step.

    Returns:
        Photos a step.

    Raises:
        InputError: a loss, optimizer or schedule has no such argument, `micro_batch` does not divide the batch, or the
            devices cannot share it.
    """
    data, config = experiment.data, experiment.training
    build_loss(config.loss, overlapping=False, **config.loss_args)
    build_optimizer(config, updates_per_epoch=1)
    if micro_batch is not None and not (1 <= micro_batch <= data.batch_size and data.batch_size % micro_batch == 0):
        raise InputError(f"`MICRO_BATCH` must divide data.batch_size={data.batch_size}. Received: {micro_batch}")
    micro_batch = micro_batch or config.micro_batch or data.batch_size
    if spread:
        check_spread(micro_batch, data.batch_size // micro_batch)
    return micro_batch


def is_finished(run_dir: Path) -> bool:
    """Tells whether a run was trained to its end."""
    files = RunFiles(run_dir)
    return files.metrics_path.exists() and files.best_path.exists() and read_json(files.metrics_path)["is_finished"]


def split_batches(
    manifest: Manifest,
    experiment: ExperimentConfig,
    fold: int,
    folds: Mapping[str, int],
    reader: PairReader,
    workers: int,
    *,
    micro_batch: int | None = None,
    pseudo_labels: Sequence[Sample] = (),
) -> tuple[Batches, Batches]:
    """Returns the batches of training, a step each, and of validation; the latter keep every photo of the fold, whole.

    A batch for validation takes no more memory than one for training.
    """
    data, seed = experiment.data, experiment.training.seed
    micro_batch = micro_batch or data.batch_size
    inside = [index for index, sample in enumerate(manifest.train) if folds[sample.id] == fold]
    outside = [index for index, sample in enumerate(manifest.train) if folds[sample.id] != fold]
    outside += range(len(manifest.train), len(manifest.train) + len(pseudo_labels))
    samples = (*manifest.train, *pseudo_labels)
    trained = [samples[index] for index in outside]
    train = Batches(
        reader,
        outside,
        draw_weights=weigh_samples(trained, manifest.dataset, data.balance, jobs=workers),
        batch_size=micro_batch,
        steps_per_update=data.batch_size // micro_batch,
        targets=data.targets,
        augment_config=data.augment,
        crop_hw=data.crop_hw,
        shuffle=True,
        seed=seed,
        workers=workers,
    )
    # A whole photo takes as much memory as several crops.
    crop_hw, size_hw = data.crop_hw or data.size_hw, data.size_hw
    fitting = micro_batch * crop_hw[0] * crop_hw[1] // (size_hw[0] * size_hw[1])
    return train, Batches(reader, inside, batch_size=max(fitting, 1), workers=workers)


def _train(
    files: RunFiles, manifest: Manifest, experiment: ExperimentConfig, feed: Feed, source: Source, save_seconds: float
) -> None:
    config, train, valid = experiment.training, feed.train, feed.valid
    what, num_classes = files.what, len(manifest.dataset.classes)
    updates_per_epoch = len(train) // train.steps_per_update
    learner = build_learner(experiment, num_classes, updates_per_epoch, steps_per_update=train.steps_per_update)
    validator = build_validator(learner, experiment, num_classes, valid)
    progress, precision = files.load_last(learner), choose_precision(config.precision)
    computed = {"backend": keras.backend.backend(), "precision": precision}
    if not files.last_path.exists():
        progress.sources, progress.computed = dict(source.hashes), computed
        load_first_weights(learner.net, experiment, source.weights_path)
    elif progress.sources != source.hashes:
        raise InputError(
            f"{what} must go on with the files that it began with. Received: others than then as "
            f"{', '.join(sorted(source.hashes))}. {files.start_anew} deletes the run, so that training starts anew"
        )
    elif progress.computed != computed:
        raise InputError(
            f"{what} must go on as it began, with {_describe(progress.computed)}. Received: {_describe(computed)}. "
            f"`KERAS_BACKEND` and `training.precision` set them; {files.start_anew} deletes the run, so that training "
            "starts anew"
        )
    device = f"{describe_device()} ({keras.backend.backend()})"
    progress.note_start(device, train.batch_size, describe_commit(Path(__file__).parent))
    photos = f"{len(train.indices)} photos, {len(valid.indices)} held out"
    logger.info("%s: %.2f M parameters, %s, %s", what, learner.net.count_params() / 1e6, precision, photos)
    if files.last_path.exists():
        updates = f" and {progress.updates} updates" if progress.updates else ""
        logger.info("%s: goes on after epoch %d%s", what, progress.next_epoch, updates)
    save = Save(files, progress, train, validator, config, save_seconds)
    panel = WorstPanel(
        validator.predict,
        valid.reader,
        valid.indices.tolist(),
        ids=feed.ids,
        classes=manifest.dataset.classes,
        folder=files.panel_dir,
        num_epochs=config.epochs,
        batch_size=max(valid.batch_size // count_spread(), 1),  # every device may predict the whole batch
    )
    callbacks = [
        DealEpoch(train, progress),
        StopOnNonFinite(train, feed.ids),
        Validate(validator),
        ProgressBar(what, train, config.epochs),
        panel,  # before the state is saved: an epoch that is saved has its panel
        save,
    ]
    _fit(learner, train, progress, config, callbacks)
    save.close()
    if config.average != "none":
        average_checkpoints(files, progress, validator, config)
    files.write_history(progress)
    files.write_metrics(progress, is_finished=True)
    drop_checkpoints(files)
    logger.info("%s: best Dice %.5f in epoch %d", what, progress.best_dice, progress.best_epoch + 1)


def _describe(computed: Mapping[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in computed.items())


def build_validator(learner: Learner, experiment: ExperimentConfig, num_classes: int, valid: Batches) -> Validator:
    """Builds what scores each epoch: the learner's own net, or one of its own where photos or weights differ."""
    data, config = experiment.data, experiment.training
    net = learner.net
    if data.crop_hw not in (None, data.size_hw) or config.ema is not None:
        net = build_unet(experiment.model, data.size_hw, num_classes, choose_precision(config.precision), name="valid")
    return Validator(net, build_loss(config.loss, overlapping=False, **config.loss_args), valid)


def _fit(
    learner: Learner,
    train: Batches,
    progress: Progress,
    config: TrainingConfig,
    callbacks: list[keras.callbacks.Callback],
) -> None:
    """Trains the epochs that are left. One that was begun is a `fit` of its own: Keras counts batches at its start."""
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
