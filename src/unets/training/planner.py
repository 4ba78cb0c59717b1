"""What an experiment will cost, before it is paid: memory, hours and disk, and the nearest plan that works.

Memory is predicted from the net's graph (`unets.training.memory`), hours from a short probe on this machine
(`unets.training.probe`), disk from sizes.
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras

from unets.config import MIN_SIDE_PX, DatasetConfig, ExperimentConfig
from unets.data.cache import Kind, choose_kind, measure_cache
from unets.data.geometry import SizeHW
from unets.data.samples import Sample
from unets.errors import InputError
from unets.nets.backend import choose_precision
from unets.nets.cost import count_multiply_adds, count_parameters
from unets.nets.unet import build_unet
from unets.paths import Project
from unets.tables import render_table
from unets.training.memory import (
    GIB,
    Machine,
    Memory,
    count_slots,
    largest_micro_batch,
    measure_machine,
    measure_prediction,
    measure_training,
    usable_of_card,
)
from unets.training.probe import Speed, probe_speed

logger = logging.getLogger(__name__)

CARDS_GB = (6, 8, 12, 16, 24, 40, 80, 141)
PRECISIONS = ("float32", "mixed")
GB = 10**9

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
    present_bytes: int  # what of this is there already
    free_bytes: int

    @property
    def missing_bytes(self) -> int:
        """Returns what is lacking; 0 where all fits."""
        wanted = self.cache_bytes + self.checkpoint_bytes + self.map_bytes - self.present_bytes
        return max(wanted - self.free_bytes, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Photos:
    """How many photos there are."""

    num_train: int
    num_test: int


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

    @property
    def micro_batch(self) -> int:
        """Photos a step."""
        return self.experiment.training.micro_batch or self.experiment.data.batch_size

    @property
    def training_bytes(self) -> int:
        """Peak of training."""
        accumulates = self.micro_batch < self.experiment.data.batch_size
        return self.training.measure(self.micro_batch, accumulates=accumulates)

    @property
    def prediction_bytes(self) -> int:
        """Peak of prediction, all views of a batch at once."""
        prediction = self.experiment.prediction
        return self.prediction.measure(prediction.batch_size * len(prediction.views))

    @property
    def usable_bytes(self) -> int:
        """What training may take: all that is usable, less a cache that shares it."""
        shares = self.cache == "ram" and not self.machine.is_gpu
        return self.machine.usable_bytes - shares * self.cache_bytes

    @property
    def epoch_seconds(self) -> float:
        """Seconds of an epoch, validation included; 0 where nothing was probed."""
        if self.speed is None:
            return 0.0
        trained = self.photos.num_train * (1 - self.held_out)
        step = self._join(self.net_seconds, self.ready_seconds)
        return trained * step + self.photos.num_train * self.held_out * self.speed.predict_seconds

    @property
    def net_seconds(self) -> float:
        """Seconds of a photo in training, with its share of the step's update."""
        return 0.0 if self.speed is None else self.speed.train_seconds + self.speed.update_seconds / self.micro_batch

    @property
    def fold_seconds(self) -> float:
        """Seconds of all epochs of a fold."""
        return self.epoch_seconds * self.experiment.training.epochs

    @property
    def prediction_seconds(self) -> float:
        """Seconds of all maps: a training photo is predicted by the fold that holds it out, a test photo by all."""
        if self.speed is None:
            return 0.0
        forward = len(self.experiment.prediction.views) * self.speed.predict_seconds
        reading = self._find_read_seconds()
        out_of_fold = self.photos.num_train * self.held_out * self.num_folds * self._join(forward, reading)
        return out_of_fold + self.photos.num_test * self._join(self.num_folds * forward, reading)

    @property
    def total_seconds(self) -> float:
        """Seconds of all folds and all maps."""
        return self.num_folds * self.fold_seconds + self.prediction_seconds

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
    cache_bytes = measure_cache(photos.num_train, classes, data.size_hw)
    cache = choose_kind(cache_bytes, project.cache_dir) if data.cache == "auto" else data.cache
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
    )
    if not probe:
        return plan
    # The step that fits: a plan that does not is still told its hours.
    step = largest_micro_batch(plan.training, plan.usable_bytes, plan.micro_batch) or 1
    speed = probe_speed(experiment, dataset, samples, is_gpu=machine.is_gpu, micro_batch=step)
    return replace(plan, speed=speed)


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


def _check_memory(plan: Plan) -> str | None:
    if plan.training_bytes <= plan.usable_bytes:
        return None
    batch_size, name = plan.experiment.data.batch_size, plan.name
    received = f"Received: {_gib(plan.training_bytes)} for {plan.micro_batch} photos a step"
    wanted = f"training of {name} must fit into {_gib(plan.usable_bytes)} of {_name_memory(plan.machine)}"
    if plan.training_bytes <= plan.machine.usable_bytes:
        nearest = "disk" if plan.cache_bytes <= plan.disk.free_bytes else "none"
        return f'{wanted}; it does with cache="{nearest}", as the cache takes {_gib(plan.cache_bytes)}. {received}'
    micro_batch = largest_micro_batch(plan.training, plan.usable_bytes, batch_size)
    if micro_batch:
        return (
            f"{wanted}; it does with {micro_batch} photos a step, whose gradients are added up to batches of "
            f"{batch_size}: `make train EXP={name} BATCH={micro_batch}`. {received}"
        )
    crop_hw = _find_largest_crop(plan)
    proposal = "no crop is small enough" if crop_hw is None else f"it does with crop_hw={crop_hw} and BATCH=1"
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
    batch_size = plan.prediction.find_largest_batch(usable) // len(prediction.views)
    wanted = f"prediction of {name} must fit into {_gib(usable)} of {_name_memory(plan.machine)}"
    received = f"Received: {_gib(plan.prediction_bytes)} for prediction.batch_size={prediction.batch_size}"
    if batch_size:
        return f"{wanted}; it does with prediction.batch_size={batch_size}. {received}"
    return f"{wanted}; smaller tiles do (prediction.tile_hw). {received}"


def _check_disk(plan: Plan) -> str | None:
    disk = plan.disk
    if not disk.missing_bytes:
        return None
    wanted = disk.cache_bytes + disk.checkpoint_bytes + disk.map_bytes
    without = replace(disk, cache_bytes=0)
    proposal = f"{_gb(disk.missing_bytes)} are missing"
    if disk.cache_bytes and not without.missing_bytes:
        proposal += '; it works with cache="none"'
    return (
        f"{plan.name} must find {_gb(wanted - disk.present_bytes)} on the disk of the models folder; {proposal}. "
        f"Received: {_gb(disk.free_bytes)} free"
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
    kept_views = 1 + (len(experiment.prediction.views) > 1)  # out-of-fold, the first view is kept alone too
    num_maps = (photos.num_train * kept_views + photos.num_test) * classes
    present = _count_bytes(project.experiment_dir(name))
    if cache_bytes:
        made = (_count_bytes(folder) for folder in project.cache_dir.glob(f"{height}x{width}_*"))
        present += min(max(made, default=0), cache_bytes)
    existing = next(
        parent for parent in (project.models_dir, *project.models_dir.absolute().parents) if parent.exists()
    )
    return Disk(
        cache_bytes=cache_bytes,
        checkpoint_bytes=checkpoint_bytes,
        map_bytes=int(num_maps * _MAP_BYTES_PER_ROOT_PIXEL * (height * width) ** 0.5),
        present_bytes=present,
        free_bytes=shutil.disk_usage(existing).free,
    )


def _count_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def render_plan(plan: Plan) -> str:
    """Says a plan in words, some lines."""
    data, disk = plan.experiment.data, plan.disk
    fed_hw = data.crop_hw or data.size_hw
    steps = "" if plan.micro_batch == data.batch_size else f" in steps of {plan.micro_batch}"
    crops = f", crops of {fed_hw[0]} x {fed_hw[1]}" if data.crop_hw else ""
    cache_words = {"ram": "in memory", "disk": "on disk", "none": "left out"}
    lines = [
        f"{plan.name}: {data.size_hw[0]} x {data.size_hw[1]}{crops}, batches of {data.batch_size}{steps}, "
        f"{plan.precision}, on {plan.machine.device}",
        f"  net         {plan.parameters / 1e6:.2f} M parameters, {plan.trainable_parameters / 1e6:.2f} M trained; "
        f"{plan.multiply_adds / 1e9:.1f} G multiply-adds a photo",
        f"  memory      training {_gib(plan.training_bytes)}, prediction {_gib(plan.prediction_bytes)}; "
        f"{_gib(plan.usable_bytes)} of {_name_memory(plan.machine)} to be had",
        *(f"  {line}" for line in _render_cards(plan).splitlines()),
        *(f"  time        {line}" for line in _describe_time(plan)),
        f"  disk        checkpoints {_gb(disk.checkpoint_bytes)}, maps {_gb(disk.map_bytes)}, cache "
        f"{_gb(plan.cache_bytes)} {cache_words[plan.cache]}; {_gb(disk.free_bytes)} free",
        *(f"  impossible  {fault}" for fault in find_faults(plan)),
    ]
    return "\n".join(lines)


def render_total(plans: Sequence[Plan]) -> str:
    """Sums plans up in one table, a line each, and the total of the ensemble."""
    header = [
        "experiment",
        "parameters",
        "training GiB",
        "epoch",
        "fold",
        "all folds",
        "prediction",
        "together",
        "disk GB",
    ]
    rows = [
        [
            plan.name,
            f"{plan.parameters / 1e6:.1f} M",
            f"{plan.training_bytes / GIB:.1f}",
            _duration(plan.epoch_seconds),
            _duration(plan.fold_seconds),
            _duration(plan.num_folds * plan.fold_seconds),
            _duration(plan.prediction_seconds),
            _duration(plan.total_seconds),
            f"{_sum_disk(plan) / GB:.1f}",
        ]
        for plan in plans
    ]
    all_folds, predicted = (
        sum(plan.num_folds * plan.fold_seconds for plan in plans),
        sum(plan.prediction_seconds for plan in plans),
    )
    total = ["together", "", "", "", "", _duration(all_folds), _duration(predicted), _duration(all_folds + predicted)]
    rows.append([*total, f"{sum(map(_sum_disk, plans)) / GB:.1f}"])
    return render_table(header, rows, right=header[1:])


def _render_cards(plan: Plan) -> str:
    """The largest batch that a card trains at once, for each size and precision; - where not even one photo fits."""
    header = ["card of GB", *(str(size) for size in CARDS_GB)]
    rows = []
    for kind, memory in plan.on_cards.items():
        batches = [memory.find_largest_batch(usable_of_card(size * GIB)) for size in CARDS_GB]
        rows.append([kind, *(str(batch) if batch else "-" for batch in batches)])
    return render_table(header, rows, right=header[1:])


def _describe_time(plan: Plan) -> list[str]:
    """Says what binds, and the hours of epoch, fold, experiment and maps."""
    speed = plan.speed
    if speed is None:
        return ["not probed: the first epoch will tell"]
    data = plan.experiment.data
    estimated = ""
    if speed.probe_hw != (data.crop_hw or data.size_hw):
        estimated = f" (estimated from {speed.probe_hw[0]} x {speed.probe_hw[1]})"
    source = "changed" if plan.cache != "none" or speed.read_seconds is None else "read and changed"
    unread = "" if speed.read_seconds is not None else "; photos not at hand, reading not timed"
    binds = "the net" if plan.net_seconds >= plan.ready_seconds else "reading"
    return [
        f"{1 / plan.net_seconds:.3g} photos/s through a training step{estimated}, {1 / plan.ready_seconds:.3g} "
        f"{source}: {binds} binds{unread}",
        f"epoch {_duration(plan.epoch_seconds)}, fold {_duration(plan.fold_seconds)} "
        f"({plan.experiment.training.epochs} epochs), {plan.num_folds} folds "
        f"{_duration(plan.num_folds * plan.fold_seconds)}",
        f"maps {_duration(plan.prediction_seconds)} ({1 / speed.predict_seconds:.3g} photos/s a view and fold; "
        f"{plan.photos.num_train:,} and {plan.photos.num_test:,} photos)",
    ]


def _sum_disk(plan: Plan) -> int:
    return plan.disk.cache_bytes + plan.disk.checkpoint_bytes + plan.disk.map_bytes


def _name_memory(machine: Machine) -> str:
    return "the GPU" if machine.is_gpu else "free memory"


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / GIB:.1f} GiB"


def _gb(num_bytes: int) -> str:
    return f"{num_bytes / GB:.1f} GB"


def _duration(seconds: float) -> str:
    """As people say it: 45 s, 12 min, 3.4 h, 6 days; a dash where it is not known."""
    if seconds == 0:
        return "-"
    units = ((86400, 2, "days"), (3600, 2, "h"), (60, 2, "min"))
    for unit, least, word in units:
        if seconds >= least * unit:
            return f"{seconds / unit:.{1 if seconds < 10 * unit else 0}f} {word}"
    return f"{seconds:.2g} s"
