"""What an experiment will cost, before it is paid: memory, hours and disk, and the nearest plan that works.

Memory of training is estimated (`unets.training.memory`), hours are measured on this machine (`unets.training.speed`),
disk follows from sizes. What prediction takes is checked as its nets are loaded: `prediction.batch_size` may change
after the training.
"""

import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace

from unets.config import ExperimentConfig
from unets.data.cache import Kind, choose_kind, measure_cache
from unets.dataset.manifest import Manifest
from unets.dataset.pseudo_labels import count_pseudo_labels
from unets.errors import InputError
from unets.log import format_count, format_duration, format_number
from unets.nets.backend import choose_precision
from unets.nets.cost import Cost, count_parameters, measure_cost
from unets.nets.unet import count_least_weights
from unets.store.paths import Project
from unets.tables import render_table
from unets.training.learner import build_learner
from unets.training.memory import (
    GIB,
    LESS_MEMORY,
    Machine,
    Memory,
    find_micro_batch,
    find_usable_of_gpu,
    measure_machine,
    measure_training,
)
from unets.training.speed import NOT_MEASURED, Speed, measure_speed

logger = logging.getLogger(__name__)

GPUS_GB = (6, 8, 12, 16, 24, 40, 80, 141)
_CACHE_WORDS = {"ram": "in memory", "disk": "on disk", "none": "left out"}
# A probability map's PNG grows with its contour, hence with the side. At 640 x 959 made-up maps with noise took 15.6 KB
# (`unets.data.io`), 20 bytes times the root of the pixels; blurred true masks of 24 cars took 12.7 at 256 x 384, 14.4
# at 640 x 959, 15.4 at 1280 x 1918.
_MAP_BYTES_PER_ROOT_PIXEL = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What an experiment costs on this machine; seconds are 0 where they were not measured."""

    name: str
    experiment: ExperimentConfig
    num_train: int  # images
    num_test: int
    num_pseudo: int  # test images with pseudo-labels that a fold is trained on too; the most of any fold
    num_folds: int  # that are trained
    held_out: float  # share of the training images that a fold validates on
    machine: Machine
    num_devices: int  # that share a step, each with a memory of its own
    micro_batch: int  # images per step, over all devices together
    net: Cost  # at the size that training sees
    training: Memory
    on_gpus: dict[str, Memory]  # of training, by precision
    cache: Kind
    cache_bytes: int
    own_bytes: int  # on the disk: checkpoints of all folds and probability maps
    free_bytes: int  # on the disk, or taken by these files already
    speed: Speed = NOT_MEASURED

    @property
    def disk_bytes(self) -> int:
        """What it wants of the disk; experiments of one size share a cache."""
        return self.own_bytes + (self.cache == "disk") * self.cache_bytes

    @property
    def training_bytes(self) -> int:
        """Peak of training, on each device."""
        return self.training.measure(-(-self.micro_batch // self.num_devices))

    @property
    def usable_bytes(self) -> int:
        """What training may take: all that is usable, less a cache that shares it."""
        shares = self.cache == "ram" and not self.machine.is_gpu
        return self.machine.usable_bytes - shares * self.cache_bytes

    @property
    def most_images(self) -> int:
        """Images per step that memory holds."""
        return self.training.find_largest_batch(self.usable_bytes)

    @property
    def step_seconds(self) -> tuple[float, float]:
        """Seconds of an image in training: in the net, and until it is ready, which from a cache is changing it alone.

        Devices never wait for each other.
        """
        ready_seconds = self.speed.read_seconds if self.cache == "none" else self.speed.augment_seconds
        return self.speed.train_seconds / self.num_devices, ready_seconds

    @property
    def epoch_seconds(self) -> float:
        """Seconds of an epoch, validation included."""
        config, validated = self.experiment.training, self.num_train * self.held_out
        trained = self.num_train - validated + self.num_pseudo
        if config.steps_per_epoch is not None:
            trained = config.steps_per_epoch * self.experiment.data.batch_size
        if config.validation_images is not None:
            validated = min(validated, config.validation_images)
        validation_seconds = validated * self.speed.predict_seconds / self.num_devices
        return trained * self._join(*self.step_seconds) + validation_seconds

    @property
    def training_seconds(self) -> float:
        """Seconds of all epochs of all folds."""
        return self.num_folds * self.epoch_seconds * self.experiment.training.epochs

    @property
    def prediction_seconds(self) -> float:
        """Seconds of all maps: a training image is predicted by the fold that holds it out, a test image by all."""
        forward, reading = self.experiment.prediction.cost * self.speed.predict_seconds, self.speed.read_seconds
        out_of_fold = self.num_train * self.held_out * self.num_folds * self._join(forward, reading)
        return out_of_fold + self.num_test * self._join(self.num_folds * forward, reading)

    def _join(self, net_seconds: float, read_seconds: float) -> float:
        """Adds them up where both share the cores; beside a GPU's work the CPU reads ahead."""
        return max(net_seconds, read_seconds) if self.machine.is_gpu else net_seconds + read_seconds


def estimate_cost(
    project: Project,
    manifest: Manifest,
    name: str,
    experiment: ExperimentConfig,
    folds: Sequence[int],
    *,
    micro_batch: int | None = None,
    num_devices: int = 1,
) -> Estimate:
    """Estimates what training folds of an experiment costs on this machine, without the hours.

    Where the manifest has no images, those count that dataset.py declares; without `micro_batch` a step is a
    whole batch. CPU devices share one memory and the cores, so they count as one. Raises InputError where memory does
    not hold the net's weights.
    """
    data, dataset, machine = experiment.data, manifest.dataset, measure_machine()
    if (least_bytes := 4 * count_least_weights(experiment.model)) > machine.usable_bytes:  # before they are made
        raise InputError(
            f"`base_filters`, `max_filters` and `depth` must give a net whose weights fit into "
            f"{_gib(machine.usable_bytes)}. Received: at least {_gib(least_bytes)}"
        )
    labels = [count_pseudo_labels(project, data.pseudo_labels, fold) for fold in folds] if data.pseudo_labels else [0]
    num_train, num_pseudo = len(manifest.train) or dataset.num_train or 0, max(labels)
    num_test = len(manifest.test) or dataset.num_test or 0
    learner = build_learner(experiment, dataset, updates_per_epoch=1)
    cache_bytes = measure_cache(num_train + num_pseudo, dataset, data.size_hw)
    cache = choose_kind(cache_bytes, data.size_hw, project.cache_dir) if data.cache == "auto" else data.cache
    if cache == "disk":  # where the labels of every fold stay; memory holds those of one at a time
        cache_bytes += (len(folds) - 1) * measure_cache(num_pseudo, dataset, data.size_hw)
    weights = 4 * count_parameters(learner.net.variables)
    state = 4 * count_parameters([*learner.variables, *learner.optimizer.variables])
    # A file is written whole beside the one that it replaces; out-of-fold, maps without TTA are kept too.
    maps = ((1 + experiment.prediction.has_tta) * num_train + num_test) * len(dataset.classes)
    map_bytes = _MAP_BYTES_PER_ROOT_PIXEL * math.prod(data.size_hw) ** 0.5
    return Estimate(
        name=name,
        experiment=experiment,
        num_train=num_train,
        num_test=num_test,
        num_pseudo=num_pseudo,
        num_folds=len(folds),
        held_out=1 / dataset.num_folds,
        machine=machine,
        num_devices=num_devices if machine.is_gpu else 1,
        micro_batch=micro_batch or data.batch_size,
        net=measure_cost(learner.net),
        training=measure_training(learner, is_gpu=machine.is_gpu),
        on_gpus={kind: measure_training(learner, is_gpu=True, precision=kind) for kind in ("float32", "mixed")},
        cache=cache,
        cache_bytes=cache_bytes,
        own_bytes=len(folds) * (weights + state) + state + int(maps * map_bytes),
        free_bytes=_find_room(project, name, experiment),
    )


def add_hours(estimate: Estimate, manifest: Manifest) -> Estimate:
    """Adds the hours, from some steps on this machine; on a GPU also the largest step that its memory was seen to hold.

    Raises InputError where a GPU's memory does not hold the step of a single image.
    """
    is_gpu, share = estimate.machine.is_gpu, -(-estimate.micro_batch // estimate.num_devices)
    # Elsewhere a step that does not fit would end this process.
    micro_batch = share if is_gpu else find_micro_batch(share, estimate.most_images)
    if not micro_batch:
        return estimate
    speed = measure_speed(estimate.experiment, manifest.dataset, manifest.train, micro_batch=micro_batch, is_gpu=is_gpu)
    micro_batch = speed.micro_batch * estimate.num_devices if is_gpu else estimate.micro_batch
    return replace(estimate, speed=speed, micro_batch=micro_batch)


def fit_micro_batch(estimate: Estimate) -> Estimate:
    """Takes the largest micro-batch that memory holds, where it does not hold the config's and holds any."""
    batch_size = estimate.experiment.data.batch_size
    fitting = find_micro_batch(batch_size, estimate.most_images)
    if not 0 < fitting < estimate.micro_batch:
        return estimate
    logger.warning(
        "%s: steps of %d images, as memory holds them; their gradients are added up to batches of %d",
        *(estimate.name, fitting, batch_size),
    )
    return replace(estimate, micro_batch=fitting)


def check_estimate(estimate: Estimate) -> None:
    """Stops a plan that cannot work.

    Raises InputError where memory or disk does not suffice; the message says what would.
    """
    if faults := find_faults(estimate):
        raise InputError("; ".join(faults))


def find_faults(estimate: Estimate) -> list[str]:
    """Returns why a plan cannot work here, and the nearest that does, one sentence each."""
    faults, name = list[str](), estimate.name
    # A card that does not hold a step says so without ending the process, and the step is halved.
    if not estimate.machine.is_gpu and estimate.training_bytes > estimate.usable_bytes:
        faults.append(
            f"training of {name} must fit into {_gib(estimate.usable_bytes)} of free memory"
            f"{_propose_training(estimate)}. Received: {_gib(estimate.training_bytes)} for {estimate.micro_batch} "
            f"images per step"
        )
    if estimate.disk_bytes > estimate.free_bytes:
        fits_without = estimate.own_bytes <= estimate.free_bytes
        faults.append(
            f"{name} must find {_gb(estimate.disk_bytes)} on the disk of the models folder; "
            f"{_gb(estimate.disk_bytes - estimate.free_bytes)} are missing"
            f"""{'; it works with cache="none"' * fits_without}. Received: {_gb(estimate.free_bytes)} free"""
        )
    return faults


def render_estimate(estimate: Estimate) -> str:
    """Says an estimate in words, some lines."""
    data, net, machine = estimate.experiment.data, estimate.net, estimate.machine
    steps = "" if estimate.micro_batch == data.batch_size else f" in steps of {estimate.micro_batch}"
    crops = f", crops of {data.crop_hw[0]} x {data.crop_hw[1]}" if data.crop_hw else ""
    is_parallel = estimate.num_devices > 1
    devices, on_each = (f" over {estimate.num_devices} devices", " on each device") if is_parallel else ("", "")
    return "\n".join(
        [
            f"{estimate.name}: {data.size_hw[0]} x {data.size_hw[1]}{crops}, batches of {data.batch_size}{steps}"
            f"{devices}, {choose_precision(estimate.experiment.training.precision)}, on {machine.device}",
            f"  net         {net.parameters / 1e6:.2f} M parameters, {net.trainable_parameters / 1e6:.2f} M trained; "
            f"{net.multiply_adds / 1e9:.1f} G multiply-adds an image",
            f"  memory      training {_gib(estimate.training_bytes)}{on_each}; {_gib(estimate.usable_bytes)} of "
            f"{'the GPU' if machine.is_gpu else 'free memory'} to be had",
            *(f"  time        {line}" for line in _describe_time(estimate)),
            f"  disk        checkpoints and maps {_gb(estimate.own_bytes)}, cache "
            f"{_gb(estimate.cache_bytes)} {_CACHE_WORDS[estimate.cache]}; {_gb(estimate.free_bytes)} free",
            *(f"  impossible  {fault}" for fault in find_faults(estimate)),
        ]
    )


def render_gpu_table(estimates: Sequence[Estimate]) -> str:
    """Returns a table of the largest batch that a GPU trains at once, by its memory; - where no image fits."""
    header = ["experiment", "precision", *(f"{size} GB" for size in GPUS_GB)]
    rows = []
    for estimate in estimates:
        for precision, memory in estimate.on_gpus.items():
            batches = [memory.find_largest_batch(find_usable_of_gpu(size * GIB)) for size in GPUS_GB]
            rows.append([estimate.name, precision, *(str(batch or "-") for batch in batches)])
    return f"largest batch size by GPU memory\n\n{render_table(header, rows, right=header[2:])}"


def render_total(estimates: Sequence[Estimate]) -> str:
    """Sums estimates up in one table, a line each; experiments of one size share a cache."""
    header = ["experiment", "parameters", "training GiB", "epoch", "all folds", "prediction", "together", "disk"]
    rows, trained, predicted = [], 0.0, 0.0
    for one in estimates:
        parts = (one.epoch_seconds, one.training_seconds, one.prediction_seconds)
        sizes = (f"{one.net.parameters / 1e6:.1f} M", f"{one.training_bytes / GIB:.1f}")
        rows.append([one.name, *sizes, *map(_tell, (*parts, sum(parts[1:]))), _gb(one.disk_bytes)])
        trained, predicted = trained + one.training_seconds, predicted + one.prediction_seconds
    caches = {one.experiment.data.size_hw: one.disk_bytes - one.own_bytes for one in estimates}
    on_disk = _gb(sum(one.own_bytes for one in estimates) + sum(caches.values()))
    rows.append(["together", "", "", "", *map(_tell, (trained, predicted, trained + predicted)), on_disk])
    return render_table(header, rows, right=header[1:])


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / GIB:.1f} GiB"  # of memory


def _gb(num_bytes: int) -> str:
    return f"{num_bytes / 10**9:.1f} GB"  # of a disk


def _tell(seconds: float) -> str:
    return format_duration(seconds) if seconds else "-"


def _propose_training(estimate: Estimate) -> str:
    """Returns what makes the training fit, as the end of a sentence."""
    batch_size = estimate.experiment.data.batch_size
    if estimate.training_bytes <= estimate.machine.usable_bytes:
        nearest = "disk" if estimate.cache_bytes <= estimate.free_bytes else "none"
        return f'; it does with cache="{nearest}", as the cache takes {_gib(estimate.cache_bytes)}'
    if micro_batch := find_micro_batch(batch_size, estimate.most_images):
        words = f"{micro_batch} images per step, whose gradients are added up to batches of {batch_size}"
        return f"; it does with {words}: `unets train --exp {estimate.name} --micro-batch {micro_batch}`"
    return f", and not one image does. {LESS_MEMORY}"


def _find_room(project: Project, name: str, experiment: ExperimentConfig) -> int:
    """Returns the bytes that are free for an experiment's files, or taken by them already."""
    models_dir, (height, width) = project.models_dir.absolute(), experiment.data.size_hw
    labels = experiment.data.pseudo_labels
    sets = ["train_*", *([] if labels is None else [f"{labels}_fold*"])]
    caches = (folder for pattern in sets for folder in project.cache_dir.glob(f"{height}x{width}_{pattern}"))
    there = (path for folder in (project.experiment_dir(name), *caches) for path in folder.rglob("*") if path.is_file())
    existing = next(folder for folder in (models_dir, *models_dir.parents) if folder.exists())
    return shutil.disk_usage(existing).free + sum(path.stat().st_size for path in there)


def _describe_time(estimate: Estimate) -> list[str]:
    """Says what limits the speed, and the hours of epochs, folds and maps."""
    speed = estimate.speed
    if speed == NOT_MEASURED:
        return ["not measured here (`unets plan` does): the first epoch will tell"]
    source = "changed" if estimate.cache != "none" or not speed.has_read else "read and changed"
    unread = "" if speed.has_read else "; images not at hand, reading not timed"
    labels = f", {estimate.num_pseudo:,} pseudo-labels each" if estimate.num_pseudo else ""
    net_seconds, ready_seconds = estimate.step_seconds
    slower = "the net" if net_seconds >= ready_seconds else "reading"
    epochs, folds = estimate.experiment.training.epochs, estimate.num_folds
    return [
        f"{format_number(1 / net_seconds)} images/s through a training step, "
        f"{format_number(1 / ready_seconds)} {source}: {slower} limits{unread}",
        f"epoch {_tell(estimate.epoch_seconds)}, fold {_tell(estimate.epoch_seconds * epochs)} "
        f"({format_count(epochs, 'epoch')}{labels}), {format_count(folds, 'fold')} {_tell(estimate.training_seconds)}",
        f"maps {_tell(estimate.prediction_seconds)} ({format_number(1 / speed.predict_seconds)} images/s by a fold "
        f"without TTA; {estimate.num_train:,} and {estimate.num_test:,} images)",
    ]
