"""What an experiment will cost, before it is paid: memory, hours and disk, and the nearest plan that works.

Memory is estimated from the net's graph (`unets.training.memory`), hours are measured on this machine
(`unets.training.speed`), disk follows from sizes.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras

from unets.config import MIN_SIDE_PX, DatasetConfig, ExperimentConfig, ModelConfig
from unets.data.cache import Kind, choose_kind, measure_cache
from unets.data.geometry import SizeHW
from unets.data.samples import Sample
from unets.dataset.manifest import Manifest
from unets.dataset.pseudo_labels import count_pseudo_labels
from unets.errors import InputError
from unets.nets.cost import count_multiply_adds, count_parameters
from unets.store.paths import Project
from unets.training.learner import build_net
from unets.training.memory import (
    GIB,
    LESS_MEMORY,
    Machine,
    Memory,
    count_slots,
    find_micro_batch,
    measure_machine,
    measure_prediction,
    measure_training,
)
from unets.training.speed import NOT_MEASURED, Speed, measure_speed

PRECISIONS = ("float32", "mixed")
_GB = 10**9

# A probability map's PNG grows with its contour, hence with the side. At 640 x 959 made-up maps with noise took 15.6 KB
# (`unets.data.io`), 20 bytes times the root of the pixels; blurred true masks of 24 cars took 12.7 at 256 x 384, 14.4
# at 640 x 959, 15.4 at 1280 x 1918.
_MAP_BYTES_PER_ROOT_PIXEL = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """How many images there are."""

    num_train: int
    num_test: int
    num_pseudo: int = 0  # test images with pseudo-labels that a fold is trained on too; the most of any fold


@dataclass(frozen=True, kw_only=True, slots=True)
class Disk:
    """Bytes that an experiment writes, and what is free for them."""

    own_bytes: int  # checkpoints of all folds and probability maps
    cache_bytes: int  # of a cache on disk, which experiments of one size share; else 0
    new_own_bytes: int  # of these what is not there yet
    new_cache_bytes: int
    free_bytes: int

    @property
    def missing_bytes(self) -> int:
        """Returns what is lacking; 0 where all fits."""
        return max(self.new_own_bytes + self.new_cache_bytes - self.free_bytes, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What an experiment costs on this machine."""

    name: str
    experiment: ExperimentConfig
    counts: Counts
    num_folds: int  # that are trained
    held_out: float  # share of the training images that a fold validates on
    machine: Machine
    num_devices: int  # that share a step, each with a memory of its own
    micro_batch: int  # images a step, over all devices together
    parameters: int
    trainable_parameters: int
    multiply_adds: int  # of a forward pass of an image, at the size that training sees
    training: Memory
    prediction: Memory
    on_gpus: dict[str, Memory]  # of training, in each of `PRECISIONS`
    cache: Kind
    cache_bytes: int
    disk: Disk
    speed: Speed = NOT_MEASURED

    @property
    def training_bytes(self) -> int:
        """Peak of training, on each device."""
        accumulates = self.micro_batch < self.experiment.data.batch_size
        return self.training.measure(-(-self.micro_batch // self.num_devices), accumulates=accumulates)

    @property
    def prediction_bytes(self) -> int:
        """Peak of prediction, all flips of a batch at once."""
        prediction = self.experiment.prediction
        return self.prediction.measure(prediction.batch_size * len(prediction.tta))

    @property
    def usable_bytes(self) -> int:
        """What training may take: all that is usable, less a cache that shares it."""
        shares = self.cache == "ram" and not self.machine.is_gpu
        return self.machine.usable_bytes - shares * self.cache_bytes

    @property
    def net_seconds(self) -> float:
        """Seconds of an image in training; devices never wait for each other. 0, as what follows, if not measured."""
        return self.speed.train_seconds / self.num_devices

    @property
    def ready_seconds(self) -> float:
        """Seconds until an image is ready for training: read and changed, or changed alone where it is cached."""
        return self._read_seconds if self.cache == "none" else self.speed.augment_seconds

    @property
    def epoch_seconds(self) -> float:
        """Seconds of an epoch, validation included."""
        validated = self.counts.num_train * self.held_out
        if (most := self.experiment.training.validation_images) is not None:
            validated = min(validated, most)
        trained = self._num_trained * self._join(self.net_seconds, self.ready_seconds)
        return trained + validated * self.speed.predict_seconds / self.num_devices

    @property
    def training_seconds(self) -> float:
        """Seconds of all epochs of all folds."""
        return self.num_folds * self.epoch_seconds * self.experiment.training.epochs

    @property
    def prediction_seconds(self) -> float:
        """Seconds of all maps: a training image is predicted by the fold that holds it out, a test image by all."""
        forward, reading = len(self.experiment.prediction.tta) * self.speed.predict_seconds, self._read_seconds
        out_of_fold = self.counts.num_train * self.held_out * self.num_folds * self._join(forward, reading)
        return out_of_fold + self.counts.num_test * self._join(self.num_folds * forward, reading)

    @property
    def _num_trained(self) -> float:
        """Images of an epoch."""
        if (steps := self.experiment.training.steps_per_epoch) is not None:
            return float(steps * self.experiment.data.batch_size)
        return self.counts.num_train * (1 - self.held_out) + self.counts.num_pseudo

    @property
    def _read_seconds(self) -> float:
        return self.speed.augment_seconds if self.speed.read_seconds is None else self.speed.read_seconds

    def _join(self, net_seconds: float, read_seconds: float) -> float:
        """Adds them up where both share the cores; beside a GPU's work the CPU reads ahead."""
        return max(net_seconds, read_seconds) if self.machine.is_gpu else net_seconds + read_seconds


def count_images(manifest: Manifest, *, num_pseudo: int = 0) -> Counts:
    """Counts the images of a data set: those at hand, else those that dataset.py declares."""
    dataset = manifest.dataset
    return Counts(
        num_train=len(manifest.train) or dataset.num_train or 0,
        num_test=len(manifest.test) or dataset.num_test or 0,
        num_pseudo=num_pseudo,
    )


def estimate_all(
    project: Project,
    manifest: Manifest,
    experiments: Mapping[str, ExperimentConfig],
    folds_of: Mapping[str, Sequence[int]],
    *,
    micro_batch: int | None = None,
    num_devices: int = 1,
    with_hours: bool = True,
) -> Iterator[Estimate]:
    """Estimates what experiments cost, one after the other; see `estimate_cost` and `add_hours`."""
    for name, experiment in experiments.items():
        labels, folds = experiment.data.pseudo_labels, folds_of[name]
        num_pseudo = max(count_pseudo_labels(project, labels, fold) for fold in folds) if labels else 0
        estimate = estimate_cost(
            project,
            manifest.dataset,
            name,
            experiment,
            num_folds=len(folds),
            counts=count_images(manifest, num_pseudo=num_pseudo),
            micro_batch=micro_batch,
            num_devices=num_devices,
        )
        yield add_hours(estimate, manifest.dataset, manifest.train) if with_hours else estimate


def estimate_cost(
    project: Project,
    dataset: DatasetConfig,
    name: str,
    experiment: ExperimentConfig,
    *,
    num_folds: int,
    counts: Counts,
    micro_batch: int | None = None,
    num_devices: int = 1,
) -> Estimate:
    """Estimates what an experiment costs on this machine, without the hours.

    Args:
        project: the folders, whose disk is asked.
        dataset: its classes and folds.
        name: of the experiment.
        experiment: its config.
        num_folds: folds that are trained.
        counts: of images.
        micro_batch: images a step on this machine; None: as the config has it.
        num_devices: that a step is shared by. CPU devices share one memory and the cores, so they count as one.

    Raises:
        InputError: there is no such net for this size; see `check_sizes`.
    """
    check_sizes(experiment)
    _check_width(experiment.model)
    data, config, machine = experiment.data, experiment.training, measure_machine()
    fed_hw, shown_hw = data.crop_hw or data.size_hw, experiment.prediction.tile_hw or data.size_hw
    net = build_net(experiment, dataset, fed_hw)
    whole = net if shown_hw == fed_hw else build_net(experiment, dataset, shown_hw)
    cache_bytes = measure_cache(counts.num_train + counts.num_pseudo, dataset, data.size_hw)
    cache = choose_kind(cache_bytes, project.cache_dir) if data.cache == "auto" else data.cache
    if cache == "disk":  # where the labels of every fold stay; memory holds those of one at a time
        cache_bytes += (num_folds - 1) * measure_cache(counts.num_pseudo, dataset, data.size_hw)
    own_bytes = _measure_files(experiment, net, len(dataset.classes), counts, num_folds)
    return Estimate(
        name=name,
        experiment=experiment,
        counts=counts,
        num_folds=num_folds,
        held_out=1 / dataset.num_folds,
        machine=machine,
        num_devices=num_devices if machine.is_gpu else 1,
        micro_batch=micro_batch or config.micro_batch or data.batch_size,
        parameters=count_parameters(net.variables),
        trainable_parameters=count_parameters(net.trainable_variables),
        multiply_adds=count_multiply_adds(net),
        training=measure_training(net, config, is_gpu=machine.is_gpu),
        prediction=measure_prediction(whole, num_folds, is_gpu=machine.is_gpu),
        on_gpus={kind: measure_training(net, config, is_gpu=True, precision=kind) for kind in PRECISIONS},
        cache=cache,
        cache_bytes=cache_bytes,
        disk=_measure_disk(project, name, experiment, own_bytes, cache_bytes if cache == "disk" else 0),
    )


def add_hours(estimate: Estimate, dataset: DatasetConfig, samples: Sequence[Sample] = ()) -> Estimate:
    """Adds the hours, from some steps on this machine; on a GPU also the largest step that its memory was seen to hold.

    Args:
        estimate: without them.
        dataset: its classes, and how images are read.
        samples: training images at hand, on which reading is timed.

    Raises:
        InputError: a GPU's memory does not hold the step of a single image.
    """
    is_gpu, share = estimate.machine.is_gpu, -(-estimate.micro_batch // estimate.num_devices)
    # Elsewhere a step that does not fit would end this process.
    step = share if is_gpu else find_micro_batch(estimate.training, estimate.usable_bytes, share)
    if not step:
        return estimate
    speed = measure_speed(estimate.experiment, dataset, samples, micro_batch=step, is_gpu=is_gpu)
    micro_batch = speed.micro_batch * estimate.num_devices if is_gpu else estimate.micro_batch
    return replace(estimate, speed=speed, micro_batch=micro_batch)


def check_sizes(experiment: ExperimentConfig) -> None:
    """Checks what sizes, stride, depth and tiles say of each other, and proposes the nearest that works.

    Raises:
        InputError: the net halves so often that its padding cannot be reflected, or a tile is larger than the image.
    """
    data, model, tile_hw = experiment.data, experiment.model, experiment.prediction.tile_hw
    if tile_hw is not None and (tile_hw[0] > data.size_hw[0] or tile_hw[1] > data.size_hw[1]):
        nearest = (min(tile_hw[0], data.size_hw[0]), min(tile_hw[1], data.size_hw[1]))
        raise InputError(
            f"`tile_hw` must be at most size_hw={data.size_hw}; the nearest that works is {nearest}. "
            f"Received: tile_hw={tile_hw}"
        )
    multiple = model.stride * 2**model.depth
    for field, size_hw in (("crop_hw", data.crop_hw), ("size_hw", data.size_hw), ("tile_hw", tile_hw)):
        if size_hw is None or multiple <= 2 * min(size_hw):
            continue
        depth = max((2 * min(size_hw) // model.stride).bit_length() - 1, 1)
        side = max(multiple // 2, MIN_SIDE_PX)
        grown = (max(size_hw[0], side), max(size_hw[1], side))
        raise InputError(
            f"`depth` must be at most {depth} for {field}={size_hw} at stride={model.stride}, or {field} at least "
            f"{grown}: stride * 2^depth may be twice a side. Received: depth={model.depth}"
        )


def _check_width(model: ModelConfig) -> None:
    """Refuses a net whose weights alone memory does not hold, before they are made."""
    widths = [min(model.base_filters << level, model.max_filters) for level in range(model.depth)]
    # Convolutions of a level from its own width to its own: two on the way down, one on the way up, at the least.
    num_convolutions = 3 if model.encoder == "unet" else 1
    least_bytes, most_bytes = 4 * 9 * num_convolutions * sum(w * w for w in widths), measure_machine().usable_bytes
    if least_bytes > most_bytes:
        raise InputError(
            f"`base_filters`, `max_filters` and `depth` must give a net whose weights fit into {most_bytes / GIB:.1f} "
            f"GiB. Received: at least {least_bytes / GIB:.1f} GiB, {max(widths)} channels wide"
        )


def check_estimate(estimate: Estimate) -> None:
    """Stops a plan that cannot work.

    Raises:
        InputError: memory or disk does not suffice; the message says what would.
    """
    if faults := find_faults(estimate):
        raise InputError("; ".join(faults))


def find_faults(estimate: Estimate) -> list[str]:
    """Returns why a plan cannot work here, and the nearest that does, one sentence each."""
    found = (_check_training(estimate), _check_prediction(estimate), _check_disk(estimate))
    return [fault for fault in found if fault]


def find_common_fault(estimates: Sequence[Estimate]) -> str | None:
    """Says what is lacking where experiments fit on the disk one by one, but not together; None where they do."""
    wanted = sum(estimate.disk.new_own_bytes for estimate in estimates) + sum_caches(estimates, only_new=True)
    free = min(estimate.disk.free_bytes for estimate in estimates)
    if wanted <= free or any(estimate.disk.missing_bytes for estimate in estimates):
        return None
    return (
        f"{', '.join(estimate.name for estimate in estimates)} must find {format_gb(wanted)} together on the disk of "
        f"the models folder; {format_gb(wanted - free)} are missing. Received: {format_gb(free)} free, enough for each "
        f"alone"
    )


def sum_caches(estimates: Sequence[Estimate], *, only_new: bool = False) -> int:
    """Returns the bytes of all caches on disk: experiments of one size share one, the largest that any of them wants.

    Args:
        estimates: of all experiments.
        only_new: whether what is there already is left out.
    """
    bytes_of: dict[SizeHW, int] = {}
    for estimate in estimates:
        size_hw, disk = estimate.experiment.data.size_hw, estimate.disk
        num_bytes = disk.new_cache_bytes if only_new else disk.cache_bytes
        bytes_of[size_hw] = max(bytes_of.get(size_hw, 0), num_bytes)
    return sum(bytes_of.values())


def format_gib(num_bytes: int) -> str:
    """Writes bytes of memory, in powers of two."""
    return f"{num_bytes / GIB:.1f} GiB"


def format_gb(num_bytes: int) -> str:
    """Writes bytes of a disk, in powers of ten."""
    return f"{num_bytes / _GB:.1f} GB"


def _check_training(estimate: Estimate) -> str | None:
    # A card that does not hold a step says so without ending the process, and the step is halved.
    if estimate.machine.is_gpu or estimate.training_bytes <= estimate.usable_bytes:
        return None
    batch_size, name = estimate.experiment.data.batch_size, estimate.name
    received = f"Received: {format_gib(estimate.training_bytes)} for {estimate.micro_batch} images a step"
    wanted = f"training of {name} must fit into {format_gib(estimate.usable_bytes)} of {estimate.machine.memory_name}"
    if estimate.training_bytes <= estimate.machine.usable_bytes:
        nearest = "disk" if estimate.cache_bytes <= estimate.disk.free_bytes else "none"
        cached = f"the cache takes {format_gib(estimate.cache_bytes)}"
        return f'{wanted}; it does with cache="{nearest}", as {cached}. {received}'
    if micro_batch := find_micro_batch(estimate.training, estimate.usable_bytes, batch_size):
        return (
            f"{wanted}; it does with {micro_batch} images a step, whose gradients are added up to batches of "
            f"{batch_size}: `unets train --exp {name} --micro-batch {micro_batch}`. {received}"
        )
    return f"{wanted}, and not one image does. {LESS_MEMORY}. {received}"


def _check_prediction(estimate: Estimate) -> str | None:
    usable = estimate.machine.usable_bytes
    if estimate.prediction_bytes <= usable:
        return None
    prediction = estimate.experiment.prediction
    batch_size = estimate.prediction.find_largest_batch(usable) // len(prediction.tta)
    nearest = f"it does with prediction.batch_size={batch_size}" if batch_size else "smaller prediction.tile_hw do"
    return (
        f"prediction of {estimate.name} must fit into {format_gib(usable)} of {estimate.machine.memory_name}; "
        f"{nearest}. Received: {format_gib(estimate.prediction_bytes)} for batch_size={prediction.batch_size}"
    )


def _check_disk(estimate: Estimate) -> str | None:
    disk = estimate.disk
    if not disk.missing_bytes:
        return None
    wanted = disk.new_own_bytes + disk.new_cache_bytes
    proposal = f"{format_gb(disk.missing_bytes)} are missing"
    if disk.cache_bytes and disk.new_own_bytes <= disk.free_bytes:
        proposal += '; it works with cache="none"'
    return (
        f"{estimate.name} must find {format_gb(wanted)} on the disk of the models folder; {proposal}. "
        f"Received: {format_gb(disk.free_bytes)} free"
    )


def _measure_files(
    experiment: ExperimentConfig, net: keras.Model, num_classes: int, counts: Counts, num_folds: int
) -> int:
    """Returns the bytes of an experiment's checkpoints and probability maps."""
    config, (height, width) = experiment.training, experiment.data.size_hw
    weights = 4 * count_parameters(net.variables)
    state = weights + int(4 * count_parameters(net.trainable_variables) * (count_slots(config) + bool(config.ema)))
    # A file is written whole beside the one that it replaces.
    checkpoints = num_folds * (weights + state) + state
    kept_maps = 1 + (len(experiment.prediction.tta) > 1)  # out-of-fold, those without TTA are kept too
    num_maps = (counts.num_train * kept_maps + counts.num_test) * num_classes
    return checkpoints + int(num_maps * _MAP_BYTES_PER_ROOT_PIXEL * (height * width) ** 0.5)


def _measure_disk(project: Project, name: str, experiment: ExperimentConfig, own_bytes: int, cache_bytes: int) -> Disk:
    height, width = experiment.data.size_hw
    cached = [_count_bytes(folder) for folder in project.cache_dir.glob(f"{height}x{width}_train_*")]
    if experiment.data.pseudo_labels is not None:
        labels = project.cache_dir.glob(f"{height}x{width}_{experiment.data.pseudo_labels}_fold*")
        cached.append(sum(_count_bytes(folder) for folder in labels))
    folder = next(parent for parent in (project.models_dir, *project.models_dir.absolute().parents) if parent.exists())
    return Disk(
        own_bytes=own_bytes,
        cache_bytes=cache_bytes,
        new_own_bytes=max(own_bytes - _count_bytes(project.experiment_dir(name)), 0),
        new_cache_bytes=max(cache_bytes - sum(cached), 0),
        free_bytes=shutil.disk_usage(folder).free,
    )


def _count_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
