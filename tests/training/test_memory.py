import re
from typing import Any

import pytest

from unets.errors import InputError, is_out_of_memory
from unets.training.learner import Learner
from unets.training.memory import find_micro_batch

from .conftest import EXPERIMENT, Scene, change, read_metrics


@pytest.mark.parametrize("num_devices", [1, 2, 3])
def test_a_step_divides_the_batch_and_is_shared_equally(num_devices: int) -> None:
    for batch_size in range(num_devices, 33, num_devices):
        sizes = [size for size in range(num_devices, batch_size + 1, num_devices) if batch_size % size == 0]
        for most in range(40):
            assert find_micro_batch(batch_size, most, num_devices) == max(
                (size for size in sizes if size <= most), default=0
            )


def test_what_says_that_memory_did_not_suffice() -> None:
    assert is_out_of_memory(
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.")
    )  # JAX's
    assert is_out_of_memory(MemoryError("Unable to allocate 9. GiB for an array"))  # NumPy's
    assert not is_out_of_memory(RuntimeError("INVALID_ARGUMENT: shapes differ"))
    errors = pytest.importorskip("tensorflow").errors
    assert is_out_of_memory(errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"))
    assert not is_out_of_memory(errors.InvalidArgumentError(None, None, "shapes differ"))


@pytest.mark.slow
def test_a_step_that_memory_does_not_hold_is_halved(
    run_dir: Any, scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors = pytest.importorskip("tensorflow").errors
    fit, most = Learner.fit, 1

    def fit_if_it_fits(learner: Learner, batches: Any, **options: Any) -> Any:
        if batches.micro_batch > most:
            raise errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return fit(learner, batches, **options)

    monkeypatch.setattr(Learner, "fit", fit_if_it_fits)
    experiment = change("training", change("data", EXPERIMENT, batch_size=4), epochs=1, warmup=0)
    (run_dir / ".lock-owner").parent.mkdir(parents=True, exist_ok=True)
    (run_dir / ".lock-owner").write_text("1 on another_machine")  # what a kill by the kernel leaves
    with caplog.at_level("WARNING"):
        scene.train(run_dir, experiment)
    assert "the last start was killed. If that was for lack of memory: --micro-batch 2 takes less" in caplog.text
    halved = re.findall(
        r"does not hold (\d) images per step; goes on with (\d), whose gradients are added up to 4", caplog.text
    )
    assert halved == [("4", "2"), ("2", "1")]
    assert read_metrics(run_dir)["micro_batches"][-1] == 1


@pytest.mark.slow
def test_one_image_that_memory_does_not_hold_and_other_failures_end_the_run(
    run_dir: Any, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[Exception] = [RuntimeError("RESOURCE_EXHAUSTED: Out of memory")]

    def fail(*args: Any, **options: Any) -> None:
        raise failures[0]

    monkeypatch.setattr(Learner, "fit", fail)
    with pytest.raises(InputError, match=r"too little for 1 images\. A `data\.crop_hw`"):
        scene.train(run_dir)
    failures[0] = RuntimeError("INVALID_ARGUMENT: shapes differ")
    with pytest.raises(RuntimeError, match="shapes differ"):
        scene.train(run_dir)
