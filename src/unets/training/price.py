"""The price of experiments in words: what a plan takes, and what all of them take together."""

from collections.abc import Sequence

from unets.log import format_duration
from unets.tables import render_table
from unets.training.memory import GIB, usable_of_card
from unets.training.planner import Plan, find_common_fault, find_faults, format_gb, format_gib, share_caches

CARDS_GB = (6, 8, 12, 16, 24, 40, 80, 141)


def render_plan(plan: Plan) -> str:
    """Says a plan in words, some lines."""
    data, disk = plan.experiment.data, plan.disk
    fed_hw = data.crop_hw or data.size_hw
    steps = "" if plan.micro_batch == data.batch_size else f" in steps of {plan.micro_batch}"
    crops = f", crops of {fed_hw[0]} x {fed_hw[1]}" if data.crop_hw else ""
    cache_words = {"ram": "in memory", "disk": "on disk", "none": "left out"}
    spread = f" over {plan.num_devices} devices" if plan.num_devices > 1 else ""
    on_each = " on each device" if plan.num_devices > 1 else ""
    lines = [
        f"{plan.name}: {data.size_hw[0]} x {data.size_hw[1]}{crops}, batches of {data.batch_size}{steps}{spread}, "
        f"{plan.precision}, on {plan.machine.device}",
        f"  net         {plan.parameters / 1e6:.2f} M parameters, {plan.trainable_parameters / 1e6:.2f} M trained; "
        f"{plan.multiply_adds / 1e9:.1f} G multiply-adds a photo",
        f"  memory      training {format_gib(plan.training_bytes)}{on_each}, "
        f"prediction {format_gib(plan.prediction_bytes)}; "
        f"{format_gib(plan.usable_bytes)} of {plan.machine.memory_name} to be had",
        *(f"  {line}" for line in _render_cards(plan).splitlines()),
        *(f"  time        {line}" for line in _describe_time(plan)),
        f"  disk        checkpoints {format_gb(disk.checkpoint_bytes)}, maps {format_gb(disk.map_bytes)}, cache "
        f"{format_gb(plan.cache_bytes)} {cache_words[plan.cache]}; {format_gb(disk.free_bytes)} free",
        *(f"  impossible  {fault}" for fault in find_faults(plan)),
    ]
    return "\n".join(lines)


def render_total(plans: Sequence[Plan]) -> str:
    """Sums plans up in one table, a line each, with the total, and warns where the disk does not hold all of them."""
    header = [
        "experiment",
        "parameters",
        "training GiB",
        "epoch",
        "fold",
        "all folds",
        "prediction",
        "together",
        "disk",
    ]
    rows = [
        [
            plan.name,
            f"{plan.parameters / 1e6:.1f} M",
            f"{plan.training_bytes / GIB:.1f}",
            _tell(plan.epoch_seconds),
            _tell(plan.fold_seconds),
            _tell(plan.num_folds * plan.fold_seconds),
            _tell(plan.prediction_seconds),
            _tell(plan.total_seconds),
            format_gb(plan.disk.own_bytes + plan.disk.cache_bytes),
        ]
        for plan in plans
    ]
    all_folds = sum(plan.num_folds * plan.fold_seconds for plan in plans)
    predicted = sum(plan.prediction_seconds for plan in plans)
    on_disk = sum(plan.disk.own_bytes for plan in plans) + sum(share_caches(plans, lambda disk: disk.cache_bytes))
    total = ["together", "", "", "", "", _tell(all_folds), _tell(predicted), _tell(all_folds + predicted)]
    rows.append([*total, format_gb(on_disk)])
    fault = find_common_fault(plans)
    return render_table(header, rows, right=header[1:]) + (f"\n\nwarning: {fault}" if fault else "")


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
    labels = f", {plan.photos.num_pseudo:,} pseudo-labels each" if plan.photos.num_pseudo else ""
    binds = "the net" if plan.net_seconds >= plan.ready_seconds else "reading"
    return [
        f"{1 / plan.net_seconds:.3g} photos/s through a training step{estimated}, {1 / plan.ready_seconds:.3g} "
        f"{source}: {binds} binds{unread}",
        f"epoch {_tell(plan.epoch_seconds)}, fold {_tell(plan.fold_seconds)} "
        f"({plan.experiment.training.epochs} epochs{labels}), {plan.num_folds} folds "
        f"{_tell(plan.num_folds * plan.fold_seconds)}",
        f"maps {_tell(plan.prediction_seconds)} ({1 / speed.map_seconds:.3g} photos/s a view and fold; "
        f"{plan.photos.num_train:,} and {plan.photos.num_test:,} photos)",
    ]


def _tell(seconds: float) -> str:
    """Writes a duration; a dash where nothing was probed."""
    return format_duration(seconds) if seconds else "-"
