"""Cost estimates in words: what an experiment takes, and what all of them take together."""

from collections.abc import Sequence

from unets.log import format_duration
from unets.nets.backend import choose_precision
from unets.tables import render_table
from unets.training.estimate import Estimate, find_common_fault, find_faults, format_gb, format_gib, sum_caches
from unets.training.memory import GIB, find_usable_of_gpu
from unets.training.speed import NOT_MEASURED

GPUS_GB = (6, 8, 12, 16, 24, 40, 80, 141)


def render_estimate(estimate: Estimate) -> str:
    """Says an estimate in words, some lines."""
    data, disk = estimate.experiment.data, estimate.disk
    steps = "" if estimate.micro_batch == data.batch_size else f" in steps of {estimate.micro_batch}"
    crops = f", crops of {data.crop_hw[0]} x {data.crop_hw[1]}" if data.crop_hw else ""
    cache_words = {"ram": "in memory", "disk": "on disk", "none": "left out"}
    is_parallel = estimate.num_devices > 1
    devices, on_each = (f" over {estimate.num_devices} devices", " on each device") if is_parallel else ("", "")
    return "\n".join(
        [
            f"{estimate.name}: {data.size_hw[0]} x {data.size_hw[1]}{crops}, batches of {data.batch_size}{steps}"
            f"{devices}, {choose_precision(estimate.experiment.training.precision)}, on {estimate.machine.device}",
            f"  net         {estimate.parameters / 1e6:.2f} M parameters, "
            f"{estimate.trainable_parameters / 1e6:.2f} M trained; "
            f"{estimate.multiply_adds / 1e9:.1f} G multiply-adds an image",
            f"  memory      training {format_gib(estimate.training_bytes)}{on_each}, "
            f"prediction {format_gib(estimate.prediction_bytes)}; "
            f"{format_gib(estimate.usable_bytes)} of {estimate.machine.memory_name} to be had",
            *(f"  time        {line}" for line in _describe_time(estimate)),
            f"  disk        checkpoints and maps {format_gb(disk.own_bytes)}, cache {format_gb(estimate.cache_bytes)} "
            f"{cache_words[estimate.cache]}; {format_gb(disk.free_bytes)} free",
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
            rows.append([estimate.name, precision, *(str(batch) if batch else "-" for batch in batches)])
    return f"largest batch size by GPU memory\n\n{render_table(header, rows, right=header[2:])}"


def render_total(estimates: Sequence[Estimate]) -> str:
    """Sums estimates up in one table, a line each, and warns where the disk does not hold all of them."""
    header = ["experiment", "parameters", "training GiB", "epoch", "all folds", "prediction", "together", "disk"]
    rows = [
        [
            estimate.name,
            f"{estimate.parameters / 1e6:.1f} M",
            f"{estimate.training_bytes / GIB:.1f}",
            _tell(estimate.epoch_seconds),
            _tell(estimate.training_seconds),
            _tell(estimate.prediction_seconds),
            _tell(estimate.training_seconds + estimate.prediction_seconds),
            format_gb(estimate.disk.own_bytes + estimate.disk.cache_bytes),
        ]
        for estimate in estimates
    ]
    trained = sum(estimate.training_seconds for estimate in estimates)
    predicted = sum(estimate.prediction_seconds for estimate in estimates)
    on_disk = sum(estimate.disk.own_bytes for estimate in estimates) + sum_caches(estimates)
    total = ["together", "", "", "", _tell(trained), _tell(predicted), _tell(trained + predicted), format_gb(on_disk)]
    fault = find_common_fault(estimates)
    return render_table(header, [*rows, total], right=header[1:]) + (f"\n\nwarning: {fault}" if fault else "")


def _describe_time(estimate: Estimate) -> list[str]:
    """Says what limits the speed, and the hours of epochs, folds and maps."""
    speed = estimate.speed
    if speed == NOT_MEASURED:
        return ["not measured: the first epoch will tell"]
    source = "changed" if estimate.cache != "none" or speed.read_seconds is None else "read and changed"
    unread = "" if speed.read_seconds is not None else "; images not at hand, reading not timed"
    counts = estimate.counts
    labels = f", {counts.num_pseudo:,} pseudo-labels each" if counts.num_pseudo else ""
    slower = "the net" if estimate.net_seconds >= estimate.ready_seconds else "reading"
    epochs, folds = estimate.experiment.training.epochs, estimate.num_folds
    return [
        f"{1 / estimate.net_seconds:.3g} images/s through a training step, {1 / estimate.ready_seconds:.3g} "
        f"{source}: {slower} limits{unread}",
        f"epoch {_tell(estimate.epoch_seconds)}, fold {_tell(estimate.epoch_seconds * epochs)} ({epochs} epochs"
        f"{labels}), {folds} folds {_tell(estimate.training_seconds)}",
        f"maps {_tell(estimate.prediction_seconds)} ({1 / speed.predict_seconds:.3g} images/s by a fold without TTA; "
        f"{counts.num_train:,} and {counts.num_test:,} images)",
    ]


def _tell(seconds: float) -> str:
    """Writes a duration; a dash where nothing was measured."""
    return format_duration(seconds) if seconds else "-"
