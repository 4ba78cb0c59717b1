"""One fold over several devices: two virtual ones learn what one does, on TensorFlow and on JAX.

This file is also the program that each case runs, as devices are fixed when a backend starts:
`KERAS_BACKEND=jax python test_backend.py <number of devices> <case> <file>`.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest

from unets.config import ModelConfig
from unets.data.batches import Batches
from unets.data.cache import ArrayReader
from unets.errors import InputError
from unets.nets import backend, blocks
from unets.nets.losses import build_loss
from unets.nets.metrics import MeanDice
from unets.nets.unet import build_unet

Arrays = dict[str, npt.NDArray[Any]]

SIZE_HW = (32, 40)
BATCH_SIZE = 4
BACKENDS = ("tensorflow", "jax")


class ClippedSum(keras.optimizers.SGD):  # type: ignore[misc]
    """Clips as training's optimizers do."""

    def _clip_gradients(self, grads: list[Any]) -> list[Any]:
        return backend.clip_sum(super()._clip_gradients, grads)


class Losses(keras.callbacks.Callback):  # type: ignore[misc]
    """Notes the running mean of the loss after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[float] = []

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.values.append(float((logs or {})["loss"]))


def learn(case: str) -> Arrays:
    """Trains two epochs of five batches on the devices at hand, as training does."""
    rng = np.random.default_rng(0)
    targets = (rng.random((20, *SIZE_HW, 1)) < rng.random((20, 1, 1, 1))).astype(np.uint8) * 255
    # The photos differ in brightness, so that a part of a batch has other statistics than the whole.
    photos = (targets // 2 * rng.random((20, 1, 1, 3)) + rng.integers(0, 100, (20, *SIZE_HW, 3))).astype(np.uint8)
    reader, indices = ArrayReader(photos, targets), list(range(20))
    # Two workers: with one, Keras reads nothing ahead.
    batches = Batches(reader, indices, batch_size=BATCH_SIZE, shuffle=True, seed=1, workers=2)
    keras.utils.set_random_seed(0)
    with backend.spread_devices(BATCH_SIZE):
        if case == "unsynchronized":
            blocks.needs_synchronized_batch_norm = lambda: False  # type: ignore[attr-defined]
        model = build_unet(ModelConfig(depth=2, base_filters=4), SIZE_HW, 1, "float32")
        dice, losses, parts = MeanDice(), Losses(), list[int]()
        optimizer = ClippedSum(0.02, momentum=0.5, global_clipnorm=0.2 if case == "clipped" else None)
        loss = look_at_parts(build_loss("bce_dice"), parts)
        model.compile(optimizer=optimizer, loss=loss, metrics=[dice], jit_compile=backend.prefers_xla())
        model.optimizer.build(model.trainable_variables)
        model.evaluate(photos[:BATCH_SIZE], targets[:BATCH_SIZE], verbose=0)  # builds loss and metrics
        parts.clear()
        backend.skip_first_look(model)
        model.fit(batches, epochs=2, shuffle=False, verbose=0, callbacks=[losses])
        if keras.backend.backend() == "tensorflow":
            parts += [int(value) // len(batches) for value in getattr(dice.count.value, "values", [dice.count.value])]
        seen, spread = np.array(parts), backend.count_spread()
        judged = model.evaluate(photos[:18], targets[:18], batch_size=BATCH_SIZE, verbose=0)
    made = {f"weight_{index:02d}": np.array(weight.numpy()) for index, weight in enumerate(model.weights)}
    return made | {
        "losses": np.array(losses.values),
        "judged": np.array(judged),
        "parts": seen,
        "spread": np.array([spread, backend.count_spread()]),
    }


def look_at_parts(loss: Callable[[Any, Any], Any], parts: list[int]) -> Callable[[Any, Any], Any]:
    """Returns the loss, which on JAX notes how many photos of a batch each device has."""

    def looking_loss(targets: Any, logits: Any) -> Any:
        if keras.backend.backend() == "jax":
            import jax

            def note(sharding: Any) -> None:
                part = sharding.shard_shape(tuple(logits.shape))[0]
                parts[:] = [part] * len(sharding.device_set)

            jax.debug.inspect_array_sharding(logits, callback=note)
        return loss(targets, logits)

    return looking_loss


def run_on(name: str, num_devices: int, case: str, path: Path) -> Arrays:
    """Runs this file in a process of its own, on virtual devices of a CPU."""
    flags = f"--xla_force_host_platform_device_count={num_devices} --xla_backend_optimization_level=0"
    device = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "-1", "XLA_FLAGS": flags}
    done = subprocess.run(
        [sys.executable, __file__, str(num_devices), case, str(path)],
        env=os.environ | device | {"KERAS_BACKEND": name},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    with np.load(path) as made:
        return dict(made)


Run = Callable[..., Arrays]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`run("jax", 2)` gives what that backend made on so many devices; each case runs once."""
    folder, made = tmp_path_factory.mktemp("spread"), dict[tuple[str, int, str], Arrays]()

    def get(name: str, num_devices: int, case: str = "whole") -> Arrays:
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
        key = (name, num_devices, case)
        if key not in made:
            made[key] = run_on(name, num_devices, case, folder / f"{name}_{num_devices}_{case}.npz")
        return made[key]

    return get


def assert_learned_the_same(one: Arrays, two: Arrays) -> None:
    assert len(one["losses"]) == 10
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-4)
    for key in one:
        if key.startswith("weight"):
            np.testing.assert_allclose(two[key], one[key], rtol=1e-3, atol=1e-4, err_msg=key)


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKENDS)
def test_two_devices_learn_what_one_does(run: Run, name: str) -> None:
    one, two = run(name, 1), run(name, 2)
    # A device of two takes two photos of each batch of four.
    assert one["parts"].tolist() == [4] and two["parts"].tolist() == [2, 2]
    assert one["spread"].tolist() == [1, 1] and two["spread"].tolist() == [2, 1]
    assert one["losses"][-1] < 0.95 * one["losses"][4]
    assert_learned_the_same(one, two)
    np.testing.assert_allclose(
        two["judged"], one["judged"], rtol=1e-3
    )  # 18 photos in fours: the last two are judged too


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKENDS)
def test_two_devices_clip_as_one_does(run: Run, name: str) -> None:
    one, two = run(name, 1, "clipped"), run(name, 2, "clipped")
    assert abs(one["losses"] / run(name, 1)["losses"] - 1).max() > 1e-2  # it does clip
    assert_learned_the_same(one, two)


@pytest.mark.slow
def test_each_device_by_itself_normalizes_otherwise(run: Run) -> None:
    one, two = run("tensorflow", 1), run("tensorflow", 2, "unsynchronized")
    assert two["parts"].tolist() == [2, 2]
    assert abs(two["losses"] / one["losses"] - 1).max() > 1e-3


def test_one_device_takes_any_batch() -> None:
    with backend.spread_devices(3):
        assert backend.count_spread() == 1
        assert not backend.needs_synchronized_batch_norm()


def test_a_batch_that_cannot_be_dealt_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_list_devices", lambda: ["GPU:0", "GPU:1", "GPU:2", "GPU:3"])
    with (
        pytest.raises(InputError, match=r"must be a multiple of the 4 devices .* Received: 6"),
        backend.spread_devices(6),
    ):
        pass


def test_gradients_of_one_device_are_clipped_as_they_are() -> None:
    assert backend.clip_sum(lambda gradients: [min(gradient, 1) for gradient in gradients], [3, 0.5]) == [1, 0.5]


if __name__ == "__main__":
    num_devices = int(sys.argv[1])
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * num_devices)
    np.savez(sys.argv[3], **learn(sys.argv[2]))
