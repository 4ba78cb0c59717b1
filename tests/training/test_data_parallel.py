"""One fold over several devices: two virtual ones of JAX train what one does.

This file is also the program that trains, as devices are fixed when a backend starts:
`KERAS_BACKEND=jax python test_data_parallel.py FOLDER` leaves FOLDER/<case>_<number of devices>.npz.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from unets.config import DataConfig, DatasetConfig, ExperimentConfig, ModelConfig, TrainingConfig
from unets.data.batches import Batches
from unets.data.cache import ArrayReader
from unets.data.samples import Sample
from unets.dataset.manifest import Manifest
from unets.nets import backend
from unets.training import learner, panel
from unets.training.fold import train_fold
from unets.training.state import Fold
from unets.training.validation import split_equally

Arrays = dict[str, npt.NDArray[Any]]

SIZE_HW = (32, 48)
NUM_TRAIN, NUM_VALID = 12, 7  # of the latter two devices take six alike, and one each for itself
BATCH_SIZE = 4
DEVICES = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"} | {
    "XLA_FLAGS": "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
}
EPOCHS = 2


def train(folder: Path, case: str, *, in_parallel: bool, micro_batch: int | None = None, **training: Any) -> None:
    """Trains a fold on photos of random noise, and writes its history, its state and who had which part of a batch."""
    rng = np.random.default_rng(0)
    number = NUM_TRAIN + NUM_VALID
    targets = (rng.random((number, *SIZE_HW, 1)) < rng.random((number, 1, 1, 1))).astype(np.uint8) * 255
    # The photos differ in brightness, so that a part of a batch has other statistics than the whole.
    photos = (targets // 2 * rng.random((number, 1, 1, 3)) + rng.integers(0, 100, (number, *SIZE_HW, 3))).astype(
        "uint8"
    )
    samples = tuple(Sample(id=f"{i:02d}", group=f"{i:02d}", view=None, image="none") for i in range(number))
    given = {"learning_rate": 0.02, "optimizer": "SGD", "precision": "float32", "epochs": EPOCHS} | training
    parts = list[tuple[int, int]]()
    build_loss = learner.build_experiment_loss
    learner.build_experiment_loss = lambda *args: look_at_parts(build_loss(*args), parts)
    run_dir = folder / f"{case}_{2 if in_parallel else 1}"
    fold = Fold(
        run_dir=run_dir,
        manifest=Manifest(dataset=DatasetConfig(size_hw=SIZE_HW), train=samples, test=()),
        experiment=ExperimentConfig(
            data=DataConfig(size_hw=SIZE_HW, batch_size=BATCH_SIZE, cache="ram"),
            model=ModelConfig(depth=1, base_filters=4, dropout=0.0),
            training=TrainingConfig(**given),
        ),
        number=0,
        fold_of={sample.id: int(i >= NUM_VALID) for i, sample in enumerate(samples)},
        folds_hash="of none",
    )
    # Of one worker Keras reads nothing ahead.
    train_fold(fold, ArrayReader(photos, targets), micro_batch=micro_batch, in_parallel=in_parallel, workers=2)
    history = np.genfromtxt(run_dir / "history.csv", delimiter=",", names=True)
    made = {name: history[name] for name in ("loss", "dice", "val_loss", "val_dice")}
    with np.load(fold.last_path) as state:
        made |= {f"state/{key}": state[key] for key in state if key.startswith(("net/", "mean/", "optimizer/"))}
    learner.build_experiment_loss = build_loss
    np.savez(f"{run_dir}.npz", **made, parts=np.array(sorted(set(parts))), after=backend.count_replicas())


def look_at_parts(loss: Callable[[Any, Any], Any], parts: list[tuple[int, int]]) -> Callable[[Any, Any], Any]:
    """Returns the loss, which notes (device, photos of a batch that it has)."""

    def looking_loss(targets: Any, logits: Any) -> Any:
        import jax

        def note(sharding: Any) -> None:
            part = sharding.shard_shape(tuple(logits.shape))[0]
            parts.extend((device.id, part) for device in sharding.device_set)

        jax.debug.inspect_array_sharding(logits, callback=note)
        return loss(targets, logits)

    return looking_loss


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Arrays]:
    """`make("whole_2")` gives what became of the case on two devices."""
    if find_spec("jax") is None:
        pytest.skip("jax is not installed")
    folder = tmp_path_factory.mktemp("jax")
    command = [sys.executable, __file__, str(folder)]
    done = subprocess.run(command, env=os.environ | DEVICES, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-4000:]
    return lambda case: dict(np.load(folder / f"{case}.npz"))


def assert_learned_the_same(one: Arrays, two: Arrays) -> None:
    assert one["loss"].shape == (EPOCHS,)
    for key in ("loss", "dice", "val_loss", "val_dice"):
        np.testing.assert_allclose(two[key], one[key], rtol=1e-4, err_msg=key)
    state = [key for key in one if key.startswith("state/")]
    assert len(state) > 10
    for key in state:
        np.testing.assert_allclose(two[key], one[key], rtol=1e-3, atol=1e-4, err_msg=key)


@pytest.mark.slow
def test_two_devices_train_what_one_does(make: Callable[[str], Arrays]) -> None:
    one, two = make("whole_1"), make("whole_2")
    # Of each batch of four a device of two takes two photos.
    assert one["parts"].tolist() == [[0, 4]] and two["parts"].tolist() == [[0, 2], [1, 2]]
    assert two["after"] == 1
    assert_learned_the_same(one, two)


@pytest.mark.slow
def test_two_devices_clip_add_up_and_average_as_one_does(make: Callable[[str], Arrays]) -> None:
    one, two, unclipped = make("micro_1"), make("micro_2"), make("whole_1")
    assert one["parts"].tolist() == [[0, 2]] and two["parts"].tolist() == [[0, 1], [1, 1]]
    assert abs(one["loss"] / unclipped["loss"] - 1).max() > 1e-3  # it does clip
    assert "state/mean/0000" in one  # statistics of batch normalization have a running mean too
    assert_learned_the_same(one, two)


@pytest.mark.parametrize("num_devices", [1, 2, 3, 4])
@pytest.mark.parametrize("micro_batch", [1, 2, 3, 8])
@pytest.mark.parametrize("num_images", range(1, 10))
def test_every_photo_counts_once_on_any_number_of_devices(num_images: int, micro_batch: int, num_devices: int) -> None:
    numbers = np.zeros((10, 1, 1, 3), np.uint8) + np.arange(10, dtype=np.uint8)[:, None, None, None]
    indices = list(range(10 - num_images, 10))
    batches = Batches(ArrayReader(numbers, numbers[..., :1]), indices, micro_batch=micro_batch)
    weights, largest = np.zeros(10), max(micro_batch, num_devices)
    for part, weight in split_equally(batches, num_devices):
        split = [part[index][0][:, 0, 0, 0] for index in range(len(part))]
        assert all(len(batch) <= largest and len(batch) % num_devices == 0 for batch in split)
        # A mean over this many: the weight of the part is shared by all photos in it.
        np.add.at(weights, np.concatenate(split), weight / sum(map(len, split)))
    np.testing.assert_allclose(weights, [index in indices for index in range(10)])


def main(folder: Path) -> None:
    """Trains every case."""
    panel.TILE_WIDTH_PX = SIZE_HW[1]  # a PNG of 2 megapixels takes half a second
    for in_parallel in (False, True):
        train(folder, "whole", in_parallel=in_parallel)
        train(folder, "micro", in_parallel=in_parallel, micro_batch=2, clip_norm=0.2, ema=0.5)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
