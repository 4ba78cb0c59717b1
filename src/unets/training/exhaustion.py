"""What to do when a device's memory does not suffice."""

from pathlib import Path

from unets.config import ExperimentConfig


def is_exhaustion(error: BaseException) -> bool:
    """Tells whether an error says that a device's memory did not suffice, in TensorFlow's words or in JAX's."""
    return type(error).__name__ == "ResourceExhaustedError" or "RESOURCE_EXHAUSTED" in str(error)


def explain_exhaustion(run_dir: Path, experiment: ExperimentConfig, micro_batch: int) -> str:
    """Says which micro batch takes half the memory or less, and the command that goes on with it.

    Args:
        run_dir: of the run.
        experiment: what is trained.
        micro_batch: photos a step that were too many.
    """
    name, fold = run_dir.parent.name, run_dir.name.removeprefix("fold")
    batch_size = experiment.data.batch_size
    words = f"The device's memory must hold a step. Received: too little for {micro_batch} photos"
    if micro_batch == 1:
        return f"{words}. A `data.crop_hw`, a smaller `data.size_hw` or a larger `model.stride` takes less"
    fitting = max(size for size in range(1, micro_batch // 2 + 1) if batch_size % size == 0)
    return (
        f"{words}. `make train EXP={name} FOLD={fold} BATCH={fitting}` goes on with {fitting} a step; "
        f"gradients are added up, so that an update still sees {batch_size}"
    )
