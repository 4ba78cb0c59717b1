"""What an experiment will cost, before it is paid: memory, hours and disk, and the nearest plan that works.

Memory is predicted from the net's graph (`unets.training.memory`), hours from a short probe on this machine
(`unets.training.probe`), disk from sizes.
"""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras

from unets.config import MIN_SIDE_PX, DatasetConfig, ExperimentConfig
from unets.data.cache import Kind, choose_kind, measure_cache
from unets.data.geometry import SizeHW
from unets.data.samples import Sample
from unets.errors import InputError
from unets.nets.backend import accumulates_spread, choose_precision
from unets.nets.cost import count_multiply_adds, count_parameters
from unets.nets.unet import build_unet
from unets.store.paths import Project
from unets.training.memory import (
    GIB,
    Machine,
    Memory,
    count_slots,
    largest_micro_batch,
    measure_machine,
    measure_prediction,
    measure_training,
)
from unets.training.probe import Speed, probe_speed

logger = logging.getLogger(__name__)

PRECISIONS = ("float32", "mixed")
_GB = 10**9

# A map's PNG grows with its contour, hence with the side. At 640 x 959 made-up maps with noise took 15.6 KB
# (`unets.data.io`), 20 bytes times the root of the pixels; blurred true masks of 24 cars took 12.7 at 256 x 384, 14.4
# at 640 x 959, 15.4 at 1280 x 1918.
_MAP_BYTES_PER_ROOT_PIXEL = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Disk:
    """Bytes that an experiment writes, and what is free for them."""

    cache_bytes: int  # 0 where the cache is not on disk
    checkpoint_bytes: int  # of all folds
    map_bytes: int
    present_bytes: int  # of the experiment's own, what is there already
    present_cache_bytes: int  # of the cache
    free_bytes: int

    @property
    def own_bytes(self) -> int:
        """Returns all that no other experiment shares."""
        return self.checkpoint_bytes + self.map_bytes

    @property
    def new_own_bytes(self) -> int:
        """Returns what of `own_bytes` is still to be written."""
        return max(self.own_bytes - self.present_bytes, 0)

    @property
    def new_cache_bytes(self) -> int:
        """Returns what of the cache is still to be written."""
        return max(self.cache_bytes - self.present_cache_bytes, 0)

    @property
    def missing_bytes(self) -> int:
        """Returns what is lacking; 0 where all fits."""
        return max(self.new_own_bytes + self.new_cache_bytes - self.free_bytes, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Photos:
    """How many photos there are."""

    num_train: int
    num_test: int
    num_pseudo: int = 0  # test photos with pseudo-labels that a fold is trained on too; the most of any fold


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The price of an experiment on this machine."""

    name: str
    experiment: ExperimentConfig
    precision: str
    photos: Photos
    num_folds: int  # that are trained
    held_out: float  # share of the training photos that a fold validates on
    machine: Machine
    parameters: int
    trainable_parameters: int
    multiply_adds: int  # of a forward pass of a photo, at the size that training sees
    training: Memory
    prediction: Memory
    on_cards: dict[str, Memory]  # of training, in each of `PRECISIONS`
    cache: Kind
    cache_bytes: int
    disk: Disk
    speed: Speed | None  # None: not probed
    num_devices: int = 1  # that share a step, each with a memory of its own

    @property
    def micro_batch(self) -> int:
        """Photos a step, over all devices together."""
        return self.experiment.training.micro_batch or self.experiment.data.batch_size

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
    def epoch_seconds(self) -> float:
        """Seconds of an epoch, validation included; 0 where nothing was probed.

        What takes the same time whatever the photos is left out: saving the state, drawing the panel of some epochs.
        """
        if self.speed is None:
            return 0.0
        trained = self.photos.num_train * (1 - self.held_out) + self.photos.num_pseudo
        step = self._join(self.net_seconds, self.ready_seconds)
        validated = self.photos.num_train * self.held_out
        return trained * step + validated * self.speed.predict_seconds / self.num_devices

    @property
    def net_seconds(self) -> float:
        """Seconds of a photo in training, with its share of the step's update; devices never wait for each other."""
        if self.speed is None:
            return 0.0
        return self.speed.train_seconds / self.num_devices + self.speed.update_seconds / self.micro_batch

    @property
    def fold_seconds(self) -> float:
        """Seconds of all epochs of a fold."""
        return self.epoch_seconds * self.experiment.training.epochs

    @property
    def prediction_seconds(self) -> float:
        """Seconds of all maps: a training photo is predicted by the fold that holds it out, a test photo by all."""
        if self.speed is None:
            return 0.0
        forward = len(self.experiment.prediction.tta) * self.speed.map_seconds
        reading = self._find_read_seconds()
        out_of_fold = self.photos.num_train * self.held_out * self.num_folds * self._join(forward, reading)
        return out_of_fold + self.photos.num_test * self._join(self.num_folds * forward, reading)

    @property
    def total_seconds(self) -> float:
        """Seconds of all folds and all maps."""
        return self.num_folds * self.fold_seconds + self.prediction_seconds

    @property
    def train_multiply_adds(self) -> float:
        """Multiply-adds of all folds' training: three times a forward pass's, the way back has two."""
        seen = (self.photos.num_train * (1 - self.held_out) + self.photos.num_pseudo) * self.experiment.training.epochs
        return 3.0 * self.multiply_adds * seen * self.num_folds

    @property
    def ready_seconds(self) -> float:
        """Seconds until a photo is ready for training: read and changed, or changed alone where it is cached."""
        if self.speed is None:
            return 0.0
        return self._find_read_seconds() if self.cache == "none" else self.speed.augment_seconds

    def _find_read_seconds(self) -> float:
        if self.speed is None:
            return 0.0
        return self.speed.augment_seconds if self.speed.read_seconds is None else self.speed.read_seconds

    def _join(self, net_seconds: float, read_seconds: float) -> float:
        """Adds them up where both share the cores; beside a card's work the CPU reads ahead."""
        return max(net_seconds, read_seconds) if self.machine.is_gpu else net_seconds + read_seconds


def plan_experiment(
    project: Project,
    dataset: DatasetConfig,
    name: str,
    experiment: ExperimentConfig,
    *,
    num_folds: int,
    photos: Photos,
    micro_batch: int | None = None,
    num_devices: int = 1,
    samples: Sequence[Sample] = (),
    probe: bool = True,
    net: keras.Model | None = None,
) -> Plan:
    """Plans an experiment on this machine.

    Args:
        project: the folders, whose disk is asked.
        dataset: its classes and folds.
        name: of the experiment.
        experiment: its config.
        num_folds: folds that are trained.
        photos: how many there are.
        micro_batch: photos a step on this machine; None: as the config has it.
        num_devices: that a step is spread over. CPU devices share one memory and the cores, so they count as one.
        samples: training photos at hand, on which reading is timed.
        probe: whether to time some steps; without, the plan has no hours.
        net: the experiment's net for the size that training sees, where it is built already.

    Raises:
        InputError: there is no such net for this size; see `check_sizes`.
    """
    check_sizes(experiment)
    if micro_batch is not None:
        training = experiment.training.model_copy(update={"micro_batch": micro_batch})
        experiment = experiment.model_copy(update={"training": training})
    data, classes = experiment.data, len(dataset.classes)
    precision = choose_precision(experiment.training.precision)
    fed_hw, shown_hw = data.crop_hw or data.size_hw, experiment.prediction.tile_hw or data.size_hw
    net = build_unet(experiment.model, fed_hw, classes, precision) if net is None else net
    whole = net if shown_hw == fed_hw else build_unet(experiment.model, shown_hw, classes, precision)
    machine, config = measure_machine(), experiment.training
    cache_bytes = measure_cache(photos.num_train + photos.num_pseudo, dataset, data.size_hw)
    cache = choose_kind(cache_bytes, project.cache_dir) if data.cache == "auto" else data.cache
    if cache == "disk":  # where the labels of every fold stay; memory holds those of one at a time
        cache_bytes += (num_folds - 1) * measure_cache(photos.num_pseudo, dataset, data.size_hw)
    plan = Plan(
        name=name,
        experiment=experiment,
        precision=precision,
        photos=photos,
        num_folds=num_folds,
        held_out=1 / dataset.num_folds,
        machine=machine,
        parameters=count_parameters(net.variables),
        trainable_parameters=count_parameters(net.trainable_variables),
        multiply_adds=count_multiply_adds(net),
        training=measure_training(net, config, is_gpu=machine.is_gpu),
        prediction=measure_prediction(whole, num_folds, is_gpu=machine.is_gpu),
        on_cards={kind: measure_training(net, config, is_gpu=True, precision=kind) for kind in PRECISIONS},
        cache=cache,
        cache_bytes=cache_bytes,
        disk=_measure_disk(project, name, experiment, net, classes, photos, num_folds, cache_bytes * (cache == "disk")),
        speed=None,
        num_devices=num_devices if machine.is_gpu else 1,
    )
    return probe_plan(plan, dataset, samples) if probe else plan


def probe_plan(plan: Plan, dataset: DatasetConfig, samples: Sequence[Sample] = ()) -> Plan:
    """Adds the hours to a plan, from some steps on this machine.

    Args:
        plan: without them.
        dataset: its classes, and how photos are read.
        samples: training photos at hand, on which reading is timed.
    """
    # A device's part of the step that fits: a plan that does not is still told its hours.
    share = -(-plan.micro_batch // plan.num_devices)
    step = largest_micro_batch(plan.training, plan.usable_bytes, share) or 1
    return replace(
        plan,
        speed=probe_speed(plan.experiment, dataset, samples, is_gpu=plan.machine.is_gpu, micro_batch=step),
    )


def check_sizes(experiment: ExperimentConfig) -> None:
    """Checks what sizes, stride, depth and tiles say of each other, and proposes the nearest that works.

    Raises:
        InputError: the net halves so often that its padding cannot be reflected, or a tile is larger than the photo.
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


def check_plan(plan: Plan) -> None:
    """Stops an impossible plan.

    Raises:
        InputError: memory or disk does not suffice; the message says what would.
    """
    faults = find_faults(plan)
    if faults:
        raise InputError("; ".join(faults))


def find_faults(plan: Plan) -> list[str]:
    """Returns why a plan cannot work here, and the nearest that does, one sentence each."""
    return [fault for fault in (_check_memory(plan), _check_prediction(plan), _check_disk(plan)) if fault]


def find_common_fault(plans: Sequence[Plan]) -> str | None:
    """Says what is lacking where plans fit on the disk one by one, but not together; None where they do."""
    wanted = sum(plan.disk.new_own_bytes for plan in plans)
    wanted += sum(share_caches(plans, lambda disk: disk.new_cache_bytes))
    free = min(plan.disk.free_bytes for plan in plans)
    if wanted <= free or any(plan.disk.missing_bytes for plan in plans):
        return None
    return (
        f"{', '.join(plan.name for plan in plans)} must find {format_gb(wanted)} together on the disk of the models "
        f"folder; {format_gb(wanted - free)} are missing. Received: {format_gb(free)} free, enough for each alone"
    )


def share_caches(plans: Sequence[Plan], measure: Callable[[Disk], int]) -> list[int]:
    """Returns the bytes of each cache on disk once: experiments of one size share it, the one with most labels pays."""
    bytes_of: dict[SizeHW, int] = {}
    for plan in plans:
        if plan.cache == "disk":
            size_hw = plan.experiment.data.size_hw
            bytes_of[size_hw] = max(bytes_of.get(size_hw, 0), measure(plan.disk))
    return list(bytes_of.values())


def format_gib(num_bytes: int) -> str:
    """Writes bytes of memory, in powers of two."""
    return f"{num_bytes / GIB:.1f} GiB"


def format_gb(num_bytes: int) -> str:
    """Writes bytes of a disk, in powers of ten."""
    return f"{num_bytes / _GB:.1f} GB"


def _check_memory(plan: Plan) -> str | None:
    if plan.training_bytes <= plan.usable_bytes:
        return None
    batch_size, name = plan.experiment.data.batch_size, plan.name
    devices = f" over {plan.num_devices} devices" if plan.num_devices > 1 else ""
    received = f"Received: {format_gib(plan.training_bytes)} for {plan.micro_batch} photos a step{devices}"
    wanted = f"training of {name} must fit into {format_gib(plan.usable_bytes)} of {plan.machine.memory_name}"
    if plan.training_bytes <= plan.machine.usable_bytes:
        nearest = "disk" if plan.cache_bytes <= plan.disk.free_bytes else "none"
        return (
            f'{wanted}; it does with cache="{nearest}", as the cache takes {format_gib(plan.cache_bytes)}. {received}'
        )
    num_devices = plan.num_devices if accumulates_spread() else 1
    micro_batch = largest_micro_batch(plan.training, plan.usable_bytes, batch_size, num_devices)
    if micro_batch:
        spread = " DATA_PARALLEL=1" if num_devices > 1 else ""
        alone = " on one device" if num_devices < plan.num_devices else ""
        return (
            f"{wanted}; it does with {micro_batch} photos a step{alone}, whose gradients are added up to batches of "
            f"{batch_size}: `make train EXP={name}{spread} MICRO_BATCH={micro_batch}`. {received}"
        )
    crop_hw = _find_largest_crop(plan)
    proposal = "no crop is small enough" if crop_hw is None else f"it does with crop_hw={crop_hw} and MICRO_BATCH=1"
    return f"{wanted}; {proposal}. {received}"


def _find_largest_crop(plan: Plan) -> SizeHW | None:
    """Returns the largest crop, of about the photo's shape, of which one fits into memory."""
    data, model = plan.experiment.data, plan.experiment.model
    fed_hw = data.crop_hw or data.size_hw
    room = plan.usable_bytes - plan.training.measure(0, accumulates=data.batch_size > 1)
    share = (max(room, 0) / plan.training.photo_bytes) ** 0.5
    # What the net pads to: padding takes memory as photos do.
    multiple = model.stride * 2**model.depth
    height, width = (int(side * share) // multiple * multiple for side in fed_hw)
    return (height, width) if min(height, width) >= MIN_SIDE_PX else None


def _check_prediction(plan: Plan) -> str | None:
    usable = plan.machine.usable_bytes
    if plan.prediction_bytes <= usable:
        return None
    prediction, name = plan.experiment.prediction, plan.name
    batch_size = plan.prediction.find_largest_batch(usable) // len(prediction.tta)
    wanted = f"prediction of {name} must fit into {format_gib(usable)} of {plan.machine.memory_name}"
    received = f"Received: {format_gib(plan.prediction_bytes)} for prediction.batch_size={prediction.batch_size}"
    if batch_size:
        return f"{wanted}; it does with prediction.batch_size={batch_size}. {received}"
    return f"{wanted}; smaller tiles do (prediction.tile_hw). {received}"


def _check_disk(plan: Plan) -> str | None:
    disk = plan.disk
    if not disk.missing_bytes:
        return None
    wanted = disk.new_own_bytes + disk.new_cache_bytes
    without = replace(disk, cache_bytes=0)
    proposal = f"{format_gb(disk.missing_bytes)} are missing"
    if disk.cache_bytes and not without.missing_bytes:
        proposal += '; it works with cache="none"'
    return (
        f"{plan.name} must find {format_gb(wanted)} on the disk of the models folder; {proposal}. "
        f"Received: {format_gb(disk.free_bytes)} free"
    )


def _measure_disk(
    project: Project,
    name: str,
    experiment: ExperimentConfig,
    net: keras.Model,
    classes: int,
    photos: Photos,
    num_folds: int,
    cache_bytes: int,
) -> Disk:
    config, (height, width) = experiment.training, experiment.data.size_hw
    weights = 4 * count_parameters(net.variables)
    state = weights + int(4 * count_parameters(net.trainable_variables) * (count_slots(config) + bool(config.ema)))
    averaged = config.average_epochs * weights * (config.average != "none")
    # A file is written whole beside the one that it replaces.
    checkpoint_bytes = num_folds * (weights + state + averaged) + state
    kept_maps = 1 + (len(experiment.prediction.tta) > 1)  # out-of-fold, that without TTA is kept too
    num_maps = (photos.num_train * kept_maps + photos.num_test) * classes
    made = [_count_bytes(folder) for folder in project.cache_dir.glob(f"{height}x{width}_train_*")]
    if experiment.data.pseudo_labels is not None:
        labels = project.cache_dir.glob(f"{height}x{width}_{experiment.data.pseudo_labels}_fold*")
        made.append(sum(_count_bytes(folder) for folder in labels))
    existing = next(
        parent for parent in (project.models_dir, *project.models_dir.absolute().parents) if parent.exists()
    )
    return Disk(
        cache_bytes=cache_bytes,
        checkpoint_bytes=checkpoint_bytes,
        map_bytes=int(num_maps * _MAP_BYTES_PER_ROOT_PIXEL * (height * width) ** 0.5),
        present_bytes=_count_bytes(project.experiment_dir(name)),
        present_cache_bytes=min(sum(made), cache_bytes),
        free_bytes=shutil.disk_usage(existing).free,
    )


def _count_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
