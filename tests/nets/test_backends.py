"""TensorFlow and JAX: the same weights give the same maps, the same losses, the same metric; and both can train.

This file is also the program that each backend runs: `KERAS_BACKEND=jax python test_backends.py <folder>` fills the
folder, with the weights that lie in it already or with its own.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import pytest

from unets.config import DatasetConfig, ModelConfig, SubmissionConfig
from unets.nets.backend import choose_precision, describe_device, prefers_xla
from unets.nets.losses import LOSSES, build_loss
from unets.nets.metrics import MeanScore
from unets.nets.predictor import Predictor
from unets.nets.unet import build_unet

Arrays = dict[str, npt.NDArray[np.generic]]

SIZE_HW = (37, 45)
DATASETS = {1: DatasetConfig(), 2: DatasetConfig(classes=("cat", "dog"), submission=SubmissionConfig(sample=None))}
TINY = ModelConfig(depth=2, base_filters=4)
LITE = ModelConfig(encoder="efficientnet_lite0", depth=2, base_filters=4)
# Every choice of `ModelConfig` in some net, several in most: building and compiling is what takes the time.
NETS: dict[str, tuple[ModelConfig, int]] = {
    "default": (TINY, 1),
    "stem": (TINY.model_copy(update={"depth": 1, "stride": 4}), 2),
    "paper": (TINY.model_copy(update={"upsampling": "transpose", "normalization": "none", "dropout": 0.5}), 1),
    "residual": (TINY.model_copy(update={"block": "residual", "normalization": "group", "upsampling": "nearest"}), 1),
    "stride": (TINY.model_copy(update={"stride": 2}), 2),
    "lite0": (LITE, 1),
}
# One of each kind of layers, down to stride 4 only, the least that all have, and without a step: lite0's is as theirs.
FORWARD: dict[str, tuple[ModelConfig, int]] = {
    name: (LITE.model_copy(update={"encoder": name, "depth": 1, "stride": 2}), 1)
    for name in ("mobilenetv3small", "convnexttiny")
}
PREDICTED = ("paper", "stride")  # with views; each is compiled once more


def record(folder: Path) -> Arrays:
    """Runs everything on the backend at hand."""
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (3, *SIZE_HW, 3), dtype=np.uint8)
    targets = {classes: rng.integers(0, 256 // classes, (3, *SIZE_HW, classes), dtype=np.uint8) for classes in (1, 2)}
    logits = {classes: rng.normal(size=(3, *SIZE_HW, 2 * classes - 1)).astype(np.float32) * 4 for classes in (1, 2)}
    made: Arrays = {}
    for classes in (1, 2):
        for name in LOSSES:
            values = build_loss({name: 1})(targets[classes], keras.ops.convert_to_tensor(logits[classes]))
            made[f"loss_{name}_{classes}"] = keras.ops.convert_to_numpy(values)
        metric = MeanScore("dice", classes)
        metric.update_state(targets[classes], logits[classes])
        made[f"metric_{classes}"] = np.array(float(metric.result()))
    for name, (config, classes) in (NETS | FORWARD).items():
        keras.utils.set_random_seed(0)
        net = build_unet(config, SIZE_HW, DATASETS[classes], name=name)
        path = folder / f"{name}.weights.h5"
        if not path.exists():
            # Zero biases and unmoved statistics would hide what is done with them. Each net draws by itself: another
            # net more or less must not leave one whose units are dead.
            rng = np.random.default_rng(1)
            for weight in net.weights:
                weight.assign(weight + rng.uniform(-0.2, 0.2, weight.shape) * (len(weight.shape) == 1))
            net.save_weights(path)
        net.load_weights(path)
        made[f"logits_{name}"] = net.predict_on_batch(photos)
        if name in PREDICTED:
            made[f"maps_{name}"], _ = Predictor([net], ["identity", "hflip"], batch_size=3)(photos)
        if name in NETS:
            made[f"step_{name}"], made[f"moved_{name}"] = train_step(net, photos, targets[classes])
    made["backend"] = np.array([keras.backend.backend(), choose_precision("auto"), describe_device()])
    return made


def train_step(
    net: keras.Model, photos: npt.NDArray[np.uint8], targets: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]:
    """Returns the loss, and how far a step moves a weight: typically, and at most."""
    # Lion has the fewest operations to compile, and its step is the rate's length, whatever the gradient.
    optimizer = keras.optimizers.Lion(learning_rate=1e-3)
    net.compile(optimizer=optimizer, loss=build_loss({"bce": 1, "dice": 1}), jit_compile=prefers_xla())
    before = [np.array(weight) for weight in net.trainable_variables]
    loss = net.train_on_batch(photos, targets)
    moved = [abs(np.array(now) - then).max() for now, then in zip(net.trainable_variables, before, strict=True)]
    return np.array(loss, np.float64), np.array([np.median(moved), max(moved)])


def run_on(backend: str, folder: Path) -> Arrays:
    """Runs this file in a process of its own, on a CPU."""
    device = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "-1"}
    # XLA's time goes into compiling; the work itself takes milliseconds.
    environment = os.environ | device | {"KERAS_BACKEND": backend, "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    done = subprocess.run(
        [sys.executable, __file__, str(folder)], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-4000:]
    with np.load(folder / f"{backend}.npz") as made:
        return dict(made)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Arrays, Arrays]:
    """What TensorFlow made, which wrote the weights, and what JAX made of them."""
    for module in ("tensorflow", "jax"):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    folder = tmp_path_factory.mktemp("backends")
    return run_on("tensorflow", folder), run_on("jax", folder)


pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", list(NETS | FORWARD))
def test_the_same_weights_give_the_same_logits(both: tuple[Arrays, Arrays], name: str) -> None:
    tensorflow, jax = (made[f"logits_{name}"] for made in both)
    assert np.ptp(tensorflow) > 0.1  # there is something to compare
    np.testing.assert_allclose(jax, tensorflow, atol=1e-3)


@pytest.mark.parametrize("name", PREDICTED)
def test_the_same_weights_give_the_same_maps_over_views(both: tuple[Arrays, Arrays], name: str) -> None:
    maps = [made[f"maps_{name}"].astype(int) for made in both]
    assert np.ptp(maps[0]) > 5
    assert abs(maps[1] - maps[0]).max() <= 1  # a rounding to 8 bits may go either way


@pytest.mark.parametrize("classes", [1, 2])
def test_losses_and_metric_agree(both: tuple[Arrays, Arrays], classes: int) -> None:
    for key in (*(f"loss_{name}_{classes}" for name in LOSSES), f"metric_{classes}"):
        np.testing.assert_allclose(both[1][key], both[0][key], rtol=1e-5, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("name", list(NETS))
def test_each_net_trains_a_step(both: tuple[Arrays, Arrays], name: str) -> None:
    for made in both:
        assert 0 < made[f"step_{name}"] < 5
        # by the rate, 0.001, and a rounding
        typical, largest = made[f"moved_{name}"]
        assert 5e-4 < typical <= largest < 2e-3
    if NETS[name][0].dropout == 0:  # else each drops its own
        np.testing.assert_allclose(both[1][f"step_{name}"], both[0][f"step_{name}"], rtol=1e-3)


if __name__ == "__main__":
    np.savez(Path(sys.argv[1]) / f"{keras.backend.backend()}.npz", **record(Path(sys.argv[1])))
