"""One framework's step of training, in a process of its own that steps when it is told to.

The first line that it writes says what it is; then it reads a number of steps a line, and answers when they are done.
Run by `training_speed.py`; PyTorch needs nothing but NumPy beside it.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.uint8]


class Stepper(Protocol):
    """A framework's net, optimizer and batch."""

    is_gpu: bool
    parameters: int

    def step(self) -> float:
        """Makes a step of training and returns the loss before it."""


class KerasStepper:
    """Ours: the learner as training builds it, with its Dice.

    Args:
        experiment: as JSON.
        photos: uint8 (batch, height, width, 3).
        targets: uint8 (batch, height, width, 1).
    """

    def __init__(self, experiment: dict[str, Any], photos: Array, targets: Array) -> None:
        from unets.config import DatasetConfig, ExperimentConfig
        from unets.nets.backend import choose_precision
        from unets.nets.cost import count_parameters
        from unets.training.learner import build_learner
        from unets.training.memory import measure_machine

        self.photos, self.targets = photos, targets
        config = ExperimentConfig.model_validate(experiment)
        self.learner = build_learner(config, DatasetConfig(), updates_per_epoch=100)
        self.precision, self.auto = choose_precision(config.training.precision), choose_precision("auto")
        self.is_gpu = measure_machine().is_gpu
        self.parameters = count_parameters(self.learner.net.variables)

    def step(self) -> float:
        """Makes a step of training and returns the loss before it."""
        return float(self.learner.train_on_batch(self.photos, self.targets, return_dict=True)["loss"])

    def write_reference(self, path: Path) -> None:
        """Writes weights, logits and the loss of the first step, which is made."""
        arrays: dict[str, Any] = {variable.path: np.array(variable.numpy()) for variable in self.learner.net.weights}
        logits = self.learner.net.predict_on_batch(self.photos)
        np.savez(path, logits=logits, loss=self.step(), **arrays)


def main() -> None:
    """Builds what the argument says, and steps."""
    spec = json.loads(sys.argv[1])
    # What others print must not be taken for an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    try:
        stepper, facts = _build(spec)
    except ModuleNotFoundError as error:
        stepper, facts = None, {"missing": error.name}
    print(json.dumps(facts), file=answers, flush=True)
    if stepper is None:
        return
    for line in sys.stdin:
        for _ in range(int(line)):
            stepper.step()
        print("done", file=answers, flush=True)


def _build(spec: dict[str, Any]) -> tuple[Stepper, dict[str, Any]]:
    """Returns the stepper, and what it says of itself."""
    data = spec["experiment"]["data"]
    rng = np.random.default_rng(0)
    shape = (data["batch_size"], *data["size_hw"])
    photos, targets = (rng.integers(0, 256, (*shape, channels), dtype=np.uint8) for channels in (3, 1))
    build = _build_torch if spec["framework"] == "torch" else _build_keras
    stepper, facts = build(spec, photos, targets)
    return stepper, {**facts, "is_gpu": stepper.is_gpu, "parameters": stepper.parameters}


def _build_keras(spec: dict[str, Any], photos: Array, targets: Array) -> tuple[Stepper, dict[str, Any]]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = spec["framework"]
    stepper = KerasStepper(spec["experiment"], photos, targets)
    if stepper.precision == "float32" and not Path(spec["reference"]).exists():
        stepper.write_reference(Path(spec["reference"]))
    return stepper, {"precision": stepper.precision, "auto": stepper.auto}


def _build_torch(spec: dict[str, Any], photos: Array, targets: Array) -> tuple[Stepper, dict[str, Any]]:
    from torch_unet import TorchStepper

    model, training = spec["experiment"]["model"], spec["experiment"]["training"]
    sizes = {name: model[name] for name in ("depth", "base_filters", "max_filters", "stride")}
    precision, clip_norm = training["precision"], training["clip_norm"]
    stepper = TorchStepper(sizes, photos, targets, precision=precision, clip_norm=clip_norm)
    return stepper, {"distances": stepper.compare(Path(spec["reference"]))} if precision == "float32" else {}


if __name__ == "__main__":
    main()
