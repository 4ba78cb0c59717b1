"""What to do when a device's memory does not suffice."""

from pathlib import Path

from unets.config import ExperimentConfig
from unets.nets.backend import accumulates_spread


def is_exhaustion(error: BaseException) -> bool:
    """Tells whether an error says that a device's memory did not suffice, in TensorFlow's words or in JAX's."""
    return type(error).__name__ == "ResourceExhaustedError" or "RESOURCE_EXHAUSTED" in str(error)


def explain_exhaustion(run_dir: Path, experiment: ExperimentConfig, micro_batch: int, num_devices: int = 1) -> str:
    """Says which micro batch takes half the memory or less, and the command that goes on with it.

    Args:
        run_dir: of the run.
        experiment: what is trained.
        micro_batch: photos a step that were too many, over all devices together.
        num_devices: that the step was spread over.
    """
    name, fold = run_dir.parent.name, run_dir.name.removeprefix("fold")
    batch_size, share = experiment.data.batch_size, micro_batch // num_devices
    words = f"The device's memory must hold a step. Received: too little for {share} photos"
    if share == 1:
        return f"{words}. A `data.crop_hw`, a smaller `data.size_hw` or a larger `model.stride` takes less"
    # Where devices that share a step cannot add gradients up, one alone can.
    num_left = num_devices if accumulates_spread() else 1
    sizes = range(num_left, num_left * share // 2 + 1, num_left)
    fitting = max(size for size in sizes if batch_size % size == 0)
    spread = " SPREAD=1" if num_left > 1 else ""
    alone = " on one device" if num_left < num_devices else ""
    return (
        f"{words}. `make train EXP={name} FOLD={fold}{spread} BATCH={fitting}` goes on with {fitting} a step{alone}; "
        f"gradients are added up, so that an update still sees {batch_size}"
    )
