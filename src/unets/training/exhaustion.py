"""What to do when a device's memory does not suffice.

Nothing can be said where the process ends with it: by the kernel's killer, or in XLA on a CPU, which aborts where
TensorFlow raises. What is on the disk stays, and the next start, which finds that the last was killed, says it then.
"""

from pathlib import Path

from unets.config import ExperimentConfig
from unets.nets.backend import accumulates_spread

ONE_TOO_MANY = "A `data.crop_hw`, a smaller `data.size_hw` or a larger `model.stride` takes less"


def is_exhaustion(error: BaseException) -> bool:
    """Tells whether an error says that memory did not suffice: in TensorFlow's words, JAX's, or Python's (NumPy's)."""
    if isinstance(error, MemoryError):
        return True
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
    words = f"Memory must hold a step. Received: too little for {share} photos"
    fitting = find_smaller_batch(experiment, micro_batch, num_devices)
    if fitting is None:
        return f"{words}. {ONE_TOO_MANY}"
    num_left = _count_left(num_devices)
    spread = " DATA_PARALLEL=1" if num_left > 1 else ""
    alone = " on one device" if num_left < num_devices else ""
    return (
        f"{words}. `make train EXP={name} FOLD={fold}{spread} MICRO_BATCH={fitting}` goes on with {fitting} a "
        f"step{alone}; gradients are added up, so that an update still sees {batch_size}"
    )


def find_smaller_batch(experiment: ExperimentConfig, micro_batch: int, num_devices: int = 1) -> int | None:
    """Returns the largest micro batch of which a device takes half the photos or fewer; None where it takes one now.

    Args:
        experiment: what is trained.
        micro_batch: photos a step, over all devices together.
        num_devices: that the step is spread over.
    """
    batch_size, share, num_left = experiment.data.batch_size, micro_batch // num_devices, _count_left(num_devices)
    if share == 1:
        return None
    sizes = range(num_left, num_left * share // 2 + 1, num_left)
    return max(size for size in sizes if batch_size % size == 0)


def _count_left(num_devices: int) -> int:
    """Returns the devices that can share a step in part: where they cannot add gradients up, one alone can."""
    return num_devices if accumulates_spread() else 1
