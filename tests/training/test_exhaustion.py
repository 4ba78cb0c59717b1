import re
from pathlib import Path
from typing import Any

import pytest

from unets.config import DataConfig, ExperimentConfig
from unets.errors import InputError
from unets.training.exhaustion import explain_exhaustion, is_exhaustion
from unets.training.learner import Learner

from .conftest import EXPERIMENT, Scene, change

RUN_DIR = Path("models/tiny/unet_a/fold2")


@pytest.mark.parametrize("batch_size", range(2, 33))
def test_the_proposed_micro_batch_divides_and_takes_half_the_memory(batch_size: int) -> None:
    experiment = ExperimentConfig(data=DataConfig(batch_size=batch_size))
    divisors = [size for size in range(1, batch_size + 1) if batch_size % size == 0]
    for micro_batch in divisors[1:]:
        words = explain_exhaustion(RUN_DIR, experiment, micro_batch)
        found = re.search(r"`make train EXP=unet_a FOLD=2 MICRO_BATCH=(\d+)`", words)
        assert found is not None and f"too little for {micro_batch} photos" in words
        proposed = int(found[1])
        assert proposed in divisors and proposed <= micro_batch / 2
        assert not [size for size in divisors if proposed < size <= micro_batch / 2], "the largest such"


@pytest.mark.parametrize("num_devices", [2, 3, 4])
@pytest.mark.parametrize("accumulates", [False, True])
def test_a_spread_step_stays_spread_where_its_gradients_can_be_added_up(
    num_devices: int, accumulates: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unets.training.exhaustion.accumulates_spread", lambda: accumulates)
    for batch_size in range(num_devices, 33, num_devices):
        experiment = ExperimentConfig(data=DataConfig(batch_size=batch_size))
        for micro_batch in range(num_devices, batch_size + 1, num_devices):
            if batch_size % micro_batch:
                continue
            words, share = explain_exhaustion(RUN_DIR, experiment, micro_batch, num_devices), micro_batch // num_devices
            assert f"too little for {share} photos" in words
            if share == 1:
                assert "BATCH" not in words
                continue
            found = re.search(r"`make train EXP=unet_a FOLD=2( DATA_PARALLEL=1)? MICRO_BATCH=(\d+)`", words)
            assert found is not None and (found[1] is not None) == accumulates
            proposed, num_left = int(found[2]), num_devices if accumulates else 1
            assert batch_size % proposed == 0 and proposed % num_left == 0 and proposed / num_left <= share / 2
            assert ("on one device" in words) == (not accumulates)


def test_where_one_photo_is_too_much_no_batch_is_proposed() -> None:
    words = explain_exhaustion(RUN_DIR, ExperimentConfig(), 1)
    assert "BATCH" not in words and "`data.crop_hw`" in words


def test_what_says_that_memory_did_not_suffice() -> None:
    assert is_exhaustion(RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes."))  # JAX's
    assert is_exhaustion(MemoryError("Unable to allocate 9. GiB for an array"))  # NumPy's
    assert not is_exhaustion(RuntimeError("INVALID_ARGUMENT: shapes differ"))
    errors = pytest.importorskip("tensorflow").errors
    assert is_exhaustion(errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"))
    assert not is_exhaustion(errors.InvalidArgumentError(None, None, "shapes differ"))


@pytest.mark.slow
def test_a_step_that_memory_does_not_hold_names_the_command(
    run_dir: Path, scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors = pytest.importorskip("tensorflow").errors
    failures: list[Exception] = [errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")]

    def fail(*args: Any, **kwargs: Any) -> None:
        raise failures[0]

    monkeypatch.setattr(Learner, "compute_loss", fail)
    with pytest.raises(
        InputError, match=r"`make train EXP=unet_a FOLD=0 MICRO_BATCH=2` goes on with 2 a step"
    ) as caught:
        scene.train(run_dir, change("data", EXPERIMENT, batch_size=4))
    assert "\n" not in str(caught.value)
    assert "was killed" not in caplog.text
    # The kernel's killer lets nothing be said; the name of who held the folder stays behind.
    (run_dir / ".lock-owner").write_text("1 on another_machine")
    with pytest.raises(InputError, match="MICRO_BATCH=1"), caplog.at_level("WARNING"):
        scene.train(run_dir, change("data", EXPERIMENT, batch_size=4), micro_batch=2)
    assert (
        "unet_a fold 0: the last start was killed. If that was for lack of memory: MICRO_BATCH=1 takes less"
        in caplog.text
    )
    # Any other failure is told as it is.
    monkeypatch.setattr(Learner, "fit", fail)
    failures[0] = RuntimeError("INVALID_ARGUMENT: shapes differ")
    with pytest.raises(RuntimeError, match="shapes differ"):
        scene.train(run_dir, change("data", EXPERIMENT, batch_size=4))
